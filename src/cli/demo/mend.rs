//! The scans of a demo, one after the other: what each finds, repairs and costs, and the page about it.
//!
//! Asks the daemon over its operators' socket, as a person would, and believes only its reports. A plan that is
//! held is approved here: what would be deleted was put there by the demo itself.

use std::{io::Write, path::PathBuf};

use anyhow::Context as _;
use serde::Serialize;

use super::system::System;
use crate::{
    cli::{
        exit::Failure,
        output::{self, Output},
    },
    model::DriftKind,
    report::{self, Format, Report, RunKind, RunOutcome, Summary, TableFigures},
};

/// One run, or several of a kind, in figures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Step {
    /// What it is called.
    pub name: &'static str,
    /// The figures of all tables.
    pub figures: TableFigures,
    /// The records that were looked at, on whichever side there are more.
    pub records: u64,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// How the last of them ended.
    pub outcome: &'static str,
}

impl Step {
    /// Of these runs.
    pub fn of(name: &'static str, runs: &[Summary]) -> Step {
        let mut step = Step {
            name,
            figures: TableFigures::default(),
            records: 0,
            took_ms: 0,
            outcome: RunOutcome::InSync.name(),
        };
        for run in runs {
            let total = run.total();
            for kind in DriftKind::ALL {
                *step.figures.of_mut(kind) += total.of(kind);
            }
            step.figures.repaired += total.repaired;
            step.figures.held += total.held;
            step.figures.failed += total.failed;
            step.records += run
                .tables
                .values()
                .map(|figures| figures.clerk.max(figures.convex))
                .sum::<u64>();
            step.took_ms += run.took_ms();
            step.outcome = run.outcome.name();
        }
        step
    }

    /// In a few words, for the moment.
    pub fn words(&self) -> String {
        let found = match (self.figures.differences(), self.figures.repaired) {
            (0, _) => "nothing differs".to_owned(),
            (found, repaired) if found == repaired => format!("{found} found and put right"),
            (found, repaired) => format!("{found} found, {repaired} put right"),
        };
        format!("{}: {found}, in {}", self.name, took(self.took_ms))
    }
}

/// All scans of a demo.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Mended {
    /// In the order in which they ran.
    pub steps: Vec<Step>,
    /// Deletions that were too many to go without a person's word, and got it.
    pub approved: u64,
    /// Whether the audit at the end found both sides equal.
    pub in_sync: bool,
    /// The report of the repair, as a page for a browser.
    pub page: PathBuf,
}

impl Mended {
    /// The scans as a table.
    pub fn table(&self) -> String {
        let rows = self.steps.iter().map(|step| {
            let figures = &step.figures;
            let numbers = [
                step.records,
                figures.missing,
                figures.stale,
                figures.orphaned,
                figures.repaired,
            ];
            std::iter::once(step.name.to_owned())
                .chain(numbers.iter().map(u64::to_string))
                .chain([took(step.took_ms)])
                .collect()
        });
        let headings = [
            "run", "records", "missing", "stale", "orphaned", "repaired", "took",
        ];
        output::table(&headings, rows)
    }
}

/// The first full diff: whoever is there already is copied.
///
/// # Errors
/// Exit code 1 when it comes to no report.
pub(super) async fn first_copy(system: &System, output: Output) -> Result<Step, Failure> {
    let report = system.run(RunKind::Reconcile, None, output).await?;
    Ok(Step::of("first copy", &[Summary::of(&report)]))
}

/// Sweep, census, full diff and audit.
///
/// # Errors
/// Exit code 1 when one of them comes to no report, or the page cannot be written.
pub(super) async fn mend(system: &System, first: Step, output: Output) -> Result<Mended, Failure> {
    let run = |kind, approve| system.run(kind, approve, output);
    let say = |step: &Step| output.note(&format!("  {}", step.words()));
    let mut steps = vec![first];
    run(RunKind::Sweep, None).await?;
    // Those of the clock during the traffic, and this one; what found nothing left no report.
    let past = system.past()?;
    let sweeps: Vec<_> = past
        .into_iter()
        .filter(|run| run.kind == RunKind::Sweep)
        .collect();
    steps.push(Step::of("sweeps", &sweeps));
    say(&steps[1]);
    let census = run(RunKind::Census, None).await?;
    steps.push(Step::of("census", &[Summary::of(&census)]));
    say(&steps[2]);
    let full = run(RunKind::Reconcile, None).await?;
    steps.push(Step::of("reconcile", &[Summary::of(&full)]));
    say(&steps[3]);
    let mut approved = 0;
    if let Some(digest) = full.plan_digest.clone() {
        let carried_out = run(RunKind::Reconcile, Some(digest)).await?;
        let step = Step::of("approved", &[Summary::of(&carried_out)]);
        say(&step);
        approved = step.figures.repaired;
        steps.push(step);
    }
    let audit = run(RunKind::Audit, None).await?;
    let step = Step::of("audit", &[Summary::of(&audit)]);
    say(&step);
    steps.push(step);
    Ok(Mended {
        steps,
        approved,
        in_sync: audit.outcome == RunOutcome::InSync,
        page: page(&full, &system.past()?)?,
    })
}

/// Writes the report as a page where it outlives the demo's state; for its owner only.
fn page(report: &Report, past: &[Summary]) -> Result<PathBuf, Failure> {
    let mut file = tempfile::Builder::new()
        .prefix("clerk-convex-sync-demo-")
        .suffix(".html")
        .tempfile()
        .context("cannot make a file for the report")?;
    // The daemon has masked the values already.
    let html = report::render(report, past, Format::Html, true);
    file.write_all(html.as_bytes())
        .context("cannot write the report")?;
    let (_, path) = file.keep().context("cannot keep the report")?;
    Ok(path)
}

fn took(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        _ => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
    }
}
