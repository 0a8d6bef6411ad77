//! Scans: which parts of Clerk are read, how often, and in what order.
//!
//! [`sweep`] reads the newest changes, [`census`] counts and looks into the [`ranges`] whose count is not what was
//! believed. Both hand what they find to the queue's second lane and say in a report what came of it.

pub mod census;
pub mod missed;
pub mod ranges;
pub mod slices;
pub mod sweep;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use self::missed::{Cause, Counted, Known, Trickle};
use super::ends::Ends;
use crate::{
    report::{Report, RunKind, RunOutcome},
    telemetry::Metrics,
};

/// What both scans say of an empty list, as an alert and in the report.
const EMPTY: &str = "Clerk answers that it has no users, although there were some; nothing was written or \
    deleted. Check that CLERK_SECRET_KEY belongs to the right instance and that Clerk works; if all users really \
    are gone, the next full diff holds their deletion for approval";

/// Changes that scans found before any delivery: counted, and said aloud when they are more than a trickle.
/// One for both scans; clones share what they remember.
#[derive(Clone)]
pub struct MissedDeliveries {
    metrics: Metrics,
    trickle: Arc<Mutex<Trickle>>,
    counted: Arc<Mutex<Counted>>,
}

impl MissedDeliveries {
    /// Remembers nothing yet.
    pub fn new(metrics: Metrics) -> MissedDeliveries {
        MissedDeliveries {
            metrics,
            trickle: Arc::default(),
            counted: Arc::default(),
        }
    }

    /// Takes in what a scan found: why, and when it was changed by Clerk's clock; and the times of changes so
    /// `young` that their deliveries may be on their way. Answers how many deliveries are missing.
    fn tell(&self, ends: &Ends, known: &dyn Known, missed: &[(Cause, i64)], young: &[i64]) -> u64 {
        let lost = |all: &[(Cause, i64)]| -> Vec<i64> {
            let lost = all.iter().filter(|(cause, _)| cause.is_missing_delivery());
            lost.map(|(_, changed_ms)| *changed_ms).collect()
        };
        let fresh = {
            let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
            counted.fresh(missed)
        };
        for (cause, _) in &fresh {
            self.metrics.runs.missed(cause.name());
        }
        let now_ms = (ends.now)();
        let concern = {
            let mut trickle = self.trickle.lock().unwrap_or_else(PoisonError::into_inner);
            trickle.swept(now_ms, &lost(&fresh), young, known.deliveries())
        };
        match concern.missed {
            Some(message) => ends.alerts.raise("missed_deliveries", message, now_ms),
            None => ends.alerts.clear("missed_deliveries"),
        }
        match concern.silent {
            Some(message) => ends.alerts.raise("silent_endpoint", message, now_ms),
            None => ends.alerts.clear("silent_endpoint"),
        }
        lost(missed).len() as u64
    }
}

/// The sentence of a report about changes that had to be found.
pub(super) fn lost_note(lost: u64) -> Option<String> {
    (lost > 0).then(|| format!("{lost} change(s) were told by no delivery"))
}

/// A report without its findings, as of now.
fn report(ends: &Ends, kind: RunKind, started_ms: i64, outcome: RunOutcome) -> Report {
    Report {
        id: ends.run_id(started_ms),
        kind,
        started_ms,
        finished_ms: (ends.now)(),
        plan_digest: None,
        outcome,
        resumed: false,
        tables: BTreeMap::new(),
        files: None,
        differences: Vec::new(),
        calls: ends.cost.calls(),
        bytes: ends.cost.bytes(),
        notes: Vec::new(),
    }
}
