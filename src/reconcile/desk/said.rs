//! What is said of a run when it has ended: metrics, a line of the log, an alert.
//!
//! Knows reports and names, not desks.

use std::{sync::Arc, time::Duration};

use crate::{
    model::DriftKind,
    reconcile::{
        memory::{Memory, Slot},
        run::RunError,
    },
    report::{Report, RunKind, alert::Alerts},
    telemetry::Metrics,
};

/// A sweep comes again within a minute: so many in a row that fail are news.
const SWEEPS: u32 = 3;

/// The outcome's name in metrics.
pub(super) fn outcome_of(result: &Result<Arc<Report>, RunError>) -> &'static str {
    match result {
        Ok(report) => report.outcome.name(),
        Err(RunError::Busy(_)) => "busy",
        Err(RunError::Refused(_)) => "refused",
        Err(RunError::Interrupted(_) | RunError::Early(_)) => "interrupted",
    }
}

/// When a sort of runs last saw everything, and what full diffs have found.
pub(super) fn publish(metrics: &Metrics, slot: Slot, memory: &Memory) {
    if let Some(ms) = memory.success_ms {
        metrics.runs.succeeded(slot.name(), ms / 1000);
    }
    for (table, figures) in &memory.found {
        for kind in DriftKind::ALL {
            let found = figures.of(kind);
            metrics.runs.found(table.name(), kind.name(), found);
        }
    }
}

/// The line of the log.
pub(super) fn log(kind: RunKind, result: &Result<Arc<Report>, RunError>, took: Duration) {
    let elapsed_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let kind = kind.name();
    let report = match result {
        Ok(report) => report,
        Err(error @ RunError::Early(_)) => {
            return tracing::info!(kind, elapsed_ms, "a run came too early: {error}");
        }
        Err(error) => {
            return tracing::warn!(kind, elapsed_ms, "a run did not come to a report: {error}");
        }
    };
    let differences: u64 = report
        .tables
        .values()
        .map(|table| table.differences())
        .sum();
    let repaired: u64 = report.tables.values().map(|table| table.repaired).sum();
    let (run, outcome) = (&report.id, report.outcome.name());
    // A sweep that finds nothing ends twice a minute.
    let quiet =
        differences == 0 && report.outcome.is_complete() && Slot::of(report.kind) != Slot::Full;
    if quiet {
        tracing::debug!(run, kind, outcome, elapsed_ms, "a run ended");
    } else {
        tracing::info!(
            run,
            kind,
            outcome,
            differences,
            repaired,
            elapsed_ms,
            "a run ended"
        );
    }
}

/// Why a person should look at a run that has just ended, if so.
pub(super) fn concern(
    slot: Slot,
    memory: &Memory,
    result: &Result<Arc<Report>, RunError>,
) -> Option<String> {
    let (why, refused) = match result {
        Ok(report) if report.outcome.is_complete() => return None,
        Ok(report) => (report.notes.first().cloned().unwrap_or_default(), false),
        Err(RunError::Early(_)) => return None,
        Err(error) => (error.to_string(), matches!(error, RunError::Refused(_))),
    };
    let news = slot != Slot::Sweep || refused || memory.failures >= SWEEPS;
    news.then(|| format!("the last {} did not come to its end: {why}", slot.name()))
}

/// Tells of all sorts of runs at once, since they have one alert.
pub(super) fn alert(alerts: &Alerts, concerns: &[String], now_ms: i64) {
    if concerns.is_empty() {
        return alerts.clear("run_failed");
    }
    let message = format!(
        "{}. What was not seen was not deleted; it is tried again, more seldom each time",
        concerns.join("; ")
    );
    alerts.raise("run_failed", message, now_ms);
}
