//! Full comparisons, small scans and the move into an empty Convex, seen from outside.
//!
//! `cargo bench --bench reconcile` takes about ten minutes and three gigabytes, `-- --quick` one minute. What is
//! compared and how is told in `docs/benchmarks.md`. Ends with a failure when a run does not come to the end that
//! it has to come to.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark reads clocks, waits, and tells a person what it found"
)]

mod reconciling;
#[allow(dead_code, reason = "each benchmark needs its part of what they share")]
mod support;

use std::process::ExitCode;

use reconciling::{clubs, plan::Plan, report, runs::install_script, scenes};
use support::setup;

fn main() -> ExitCode {
    setup::to_the_end(Plan::from_args(std::env::args().skip(1)), run)
}

fn run(plan: &Plan) -> std::io::Result<()> {
    plan.setup.prepare()?;
    let say = |what: &str| plan.setup.say(what);
    let settings = report::settings(plan.setup.rounds);
    say(&settings);
    let mut told = Vec::new();
    if ["audit", "limit", "scans"]
        .iter()
        .any(|scene| plan.setup.runs(scene))
    {
        told.extend(scenes::agreeing(plan, &say)?);
    }
    if plan.setup.runs("organizations") {
        told.extend(clubs::organizations(plan, &say)?);
    }
    if ["move", "plan"].iter().any(|scene| plan.setup.runs(scene)) {
        if plan.setup.runs("move") && !plan.setup.without_node {
            install_script(plan)?;
        }
        told.extend(scenes::moving(plan, &say)?);
    }
    if plan.setup.json {
        println!("{:#}", report::document(&settings, &told));
    } else {
        println!("{}", report::text(&told));
    }
    std::fs::remove_dir_all(&plan.setup.work)
}
