//! A day in a few lines: runs, drift, repairs, what deliveries missed, cost, dead letters.
//!
//! Pure; knows nothing of who is told. Holds no personal value.

use std::collections::BTreeMap;

use super::{
    Calls, RunKind, RunOutcome, Summary, TableFigures,
    history::{QuietRuns, Spent},
    words,
};
use crate::model::DriftKind;

/// What a digest looks back on, in milliseconds.
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// A day in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// Lines for a person.
    pub text: String,
    /// True if somebody should look: something failed, waits for approval or was given up,
    /// or nothing ran.
    pub needs_a_look: bool,
}

/// What is known beside the reports.
#[derive(Clone, Debug, Default)]
pub struct Beside {
    /// Runs that left no report.
    pub quiet: QuietRuns,
    /// Dead letters that are there now.
    pub dead_letters: u64,
}

/// The day before `now_ms`. Of the summaries only those of runs that ended in it count.
pub fn digest(summaries: &[Summary], beside: &Beside, now_ms: i64) -> Digest {
    let day: Vec<&Summary> = summaries
        .iter()
        .filter(|run| (now_ms - DAY_MS..=now_ms).contains(&run.finished_ms))
        .collect();
    let quiet = beside.quiet.since(now_ms - DAY_MS);
    let mut total = TableFigures::default();
    for run in &day {
        add(&mut total, &run.total());
    }
    let failed = day
        .iter()
        .filter(|run| run.outcome == RunOutcome::Failed)
        .count() as u64;
    let held = day.iter().find(|run| run.outcome == RunOutcome::Held);
    let mut text = format!("The day before {}\n\n", words::time(now_ms));
    let mut line = |name: &str, value: String| text += &format!("{name:<14}{value}\n");
    line("Runs", runs(&day, &quiet, failed));
    line("Drift", drift(&total));
    line(
        "Repairs",
        format!(
            "{} repaired, {} held, {} failed",
            words::number(total.repaired),
            words::number(total.held),
            words::number(total.failed)
        ),
    );
    let any = !day.is_empty() || !quiet.is_empty();
    line("Missed", missed(&day, any));
    line("Cost", cost(&day, &quiet));
    line("Dead letters", dead_letters(beside.dead_letters));
    if let Some(digest) = held.and_then(|run| run.plan_digest.as_deref()) {
        let digest = words::inert(digest);
        line("Waiting", format!("deletions: {} {digest}", words::APPROVE));
    }
    let trouble = failed + total.failed + total.held + beside.dead_letters;
    let needs_a_look = trouble > 0 || held.is_some() || !any;
    Digest { text, needs_a_look }
}

fn add(sum: &mut TableFigures, figures: &TableFigures) {
    for kind in DriftKind::ALL {
        *sum.of_mut(kind) += figures.of(kind);
    }
    sum.repaired += figures.repaired;
    sum.held += figures.held;
    sum.failed += figures.failed;
}

fn runs(day: &[&Summary], quiet: &BTreeMap<RunKind, Spent>, failed: u64) -> String {
    let mut parts = Vec::new();
    for (kind, one, many) in [
        (RunKind::Reconcile, "full comparison", "full comparisons"),
        (RunKind::Audit, "audit", "audits"),
        (RunKind::Census, "census", "censuses"),
        (RunKind::Sweep, "sweep", "sweeps"),
    ] {
        let reported = day.iter().filter(|run| run.kind == kind).count() as u64;
        let all = reported + quiet.get(&kind).map_or(0, |spent| spent.runs);
        if all > 0 {
            parts.push(words::count(all, one, many));
        }
    }
    let failures = match failed {
        0 => String::new(),
        n => format!("; {} failed", words::number(n)),
    };
    match parts.as_slice() {
        [] => "none".to_owned(),
        parts => words::and(parts) + &failures,
    }
}

fn drift(total: &TableFigures) -> String {
    let kinds: Vec<_> = DriftKind::ALL
        .into_iter()
        .filter(|kind| total.of(*kind) > 0)
        .map(|kind| format!("{} {}", words::number(total.of(kind)), kind.name()))
        .collect();
    match kinds.as_slice() {
        [] => "no differences".to_owned(),
        kinds => {
            let all = words::count(total.differences(), "difference", "differences");
            format!("{all}: {}", kinds.join(", "))
        }
    }
}

/// What a scan repairs should have come by a delivery, unless somebody changed the rows by hand.
fn missed(day: &[&Summary], any: bool) -> String {
    match day.iter().map(|run| run.total().repaired).sum() {
        0 if !any => "unknown: nothing was compared".to_owned(),
        0 => "nothing: every change came by a delivery".to_owned(),
        n => {
            let changes = words::count(n, "change", "changes");
            format!(
                "{changes} came by a scan: deliveries were late or lost, or rows changed by hand"
            )
        }
    }
}

fn cost(day: &[&Summary], quiet: &BTreeMap<RunKind, Spent>) -> String {
    let reported = day.iter().map(|run| run.calls);
    let counted = quiet.values().map(|spent| spent.calls);
    let mut sum = Calls::default();
    for calls in reported.chain(counted) {
        sum.clerk += calls.clerk;
        sum.convex_queries += calls.convex_queries;
        sum.convex_mutations += calls.convex_mutations;
    }
    words::requests(sum)
}

fn dead_letters(n: u64) -> String {
    match n {
        0 => "none".to_owned(),
        n => format!(
            "{} waiting: clerk-convex-sync failures list",
            words::number(n)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    #[test]
    fn a_day_in_a_few_lines() {
        let (mut runs, mut beside) = (vec![], Beside::default());
        for report in [samples::three(), samples::sweep(), samples::held()] {
            runs.push(Summary::of(&report));
        }
        let mut quiet = samples::none();
        quiet.kind = RunKind::Sweep;
        for at in 0..2_870 {
            quiet.finished_ms = samples::none().finished_ms - at * 30_000;
            beside.quiet.add(&quiet);
        }
        beside.dead_letters = 2;
        // What was before the day is not told.
        runs.extend(samples::past(1).into_iter().map(|mut run| {
            run.finished_ms -= 60_000;
            run
        }));
        let now_ms = samples::none().finished_ms;
        let told = digest(&runs, &beside, now_ms);
        assert!(told.needs_a_look);
        insta::assert_snapshot!(told.text);
    }

    #[test]
    fn a_day_without_runs_asks_for_a_look_and_one_that_found_nothing_does_not() {
        let now_ms = samples::none().finished_ms;
        let agreed = [Summary::of(&samples::none())];
        assert!(!digest(&agreed, &Beside::default(), now_ms).needs_a_look);
        let told = digest(&[], &Beside::default(), now_ms);
        assert!(told.needs_a_look);
        insta::assert_snapshot!("quiet_day", told.text);
    }

    #[test]
    fn a_failed_run_asks_for_a_look() {
        let failed = samples::failed();
        let told = digest(
            &[Summary::of(&failed)],
            &Beside::default(),
            failed.finished_ms,
        );
        assert!(
            told.needs_a_look && told.text.contains("1 failed"),
            "{}",
            told.text
        );
    }
}
