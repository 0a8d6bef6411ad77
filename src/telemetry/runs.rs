//! What is counted of runs: how they ended, how long they took, what they found, what did not take place.
//!
//! Every label comes from a closed set: kinds of runs, outcomes, tables, reasons.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DifferenceLabels {
    table: &'static str,
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RunLabels {
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SkipLabels {
    kind: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MissedLabels {
    cause: &'static str,
}

/// From a sweep that finds nothing to the first copy of a large instance, which takes hours.
const SECONDS: [f64; 14] = [
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1200.0, 3600.0, 14_400.0, 43_200.0,
];

/// See the module's words. Cheap to clone.
#[derive(Clone)]
pub struct RunMetrics {
    differences: Family<DifferenceLabels, Gauge>,
    total: Family<RunLabels, Counter>,
    duration: Family<KindLabels, Histogram, fn() -> Histogram>,
    last_success: Family<KindLabels, Gauge>,
    skipped: Family<SkipLabels, Counter>,
    missed: Family<MissedLabels, Counter>,
}

impl RunMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let duration: fn() -> Histogram = || Histogram::new(SECONDS);
        let runs = RunMetrics {
            differences: Family::default(),
            total: Family::default(),
            duration: Family::new_with_constructor(duration),
            last_success: Family::default(),
            skipped: Family::default(),
            missed: Family::default(),
        };
        registry.register(
            "differences",
            "What the last full diff found, by table and kind",
            runs.differences.clone(),
        );
        // An alarm about failed runs needs a first value to see the first failure.
        for kind in ["audit", "reconcile", "sweep", "census"] {
            let outcome = "failed";
            drop(runs.total.get_or_create(&RunLabels { kind, outcome }));
            drop(runs.duration.get_or_create(&KindLabels { kind }));
        }
        for table in ["users", "profiles", "organizations", "memberships"] {
            for kind in ["missing", "stale", "orphaned", "duplicate"] {
                runs.found(table, kind, 0);
            }
        }
        registry.register("runs", "Runs by kind and outcome", runs.total.clone());
        registry.register(
            "run_duration_seconds",
            "How long runs took",
            runs.duration.clone(),
        );
        registry.register(
            "run_last_success_timestamp_seconds",
            "When the last run ended that saw everything it was to see",
            runs.last_success.clone(),
        );
        registry.register(
            "runs_skipped",
            "Scheduled runs that did not take place, and why",
            runs.skipped.clone(),
        );
        registry.register(
            "missed_deliveries",
            "Changes that a scan found before any delivery told of them, by cause",
            runs.missed.clone(),
        );
        runs
    }

    /// A run came to an end.
    pub fn ended(&self, kind: &'static str, outcome: &'static str, seconds: f64) {
        self.total.get_or_create(&RunLabels { kind, outcome }).inc();
        let duration = self.duration.get_or_create(&KindLabels { kind });
        duration.observe(seconds);
    }

    /// A scheduled run did not take place.
    pub fn skipped(&self, kind: &'static str, reason: &'static str) {
        self.skipped
            .get_or_create(&SkipLabels { kind, reason })
            .inc();
    }

    /// A scan found a change before any delivery told of it. `cause` is one of a closed set.
    pub fn missed(&self, cause: &'static str) {
        self.missed.get_or_create(&MissedLabels { cause }).inc();
    }

    /// When a sort of runs last saw everything, seconds since the epoch.
    pub fn succeeded(&self, kind: &'static str, at_s: i64) {
        let last = self.last_success.get_or_create(&KindLabels { kind });
        last.set(at_s);
    }

    /// What a full diff found in a table, of one kind.
    pub fn found(&self, table: &'static str, kind: &'static str, count: u64) {
        let gauge = self
            .differences
            .get_or_create(&DifferenceLabels { table, kind });
        gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}
