//! What is said of a run when it has ended: metrics, a line of the log.
//!
//! Knows reports and names, not desks.

use std::{sync::Arc, time::Duration};

use crate::{
    model::DriftKind,
    reconcile::{
        memory::{Memory, Slot},
        run::RunError,
    },
    report::{Report, RunKind},
    telemetry::Metrics,
};

/// The outcome's name in metrics.
pub(super) fn outcome_of(result: &Result<Arc<Report>, RunError>) -> &'static str {
    match result {
        Ok(report) => report.outcome.name(),
        Err(RunError::Busy(_)) => "busy",
        Err(RunError::Refused(_)) => "refused",
        Err(RunError::Interrupted(_)) => "interrupted",
    }
}

/// When a sort of runs last saw everything.
pub(super) fn publish(metrics: &Metrics, slot: Slot, memory: &Memory) {
    if let Some(ms) = memory.success_ms {
        metrics.runs.succeeded(slot.name(), ms / 1000);
    }
}

/// What a full diff found.
pub(super) fn differences(metrics: &Metrics, report: &Report) {
    for (table, figures) in &report.tables {
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
