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

// What the benchmark of intake is made of serves here as well, as far as it is needed.
#[allow(
    dead_code,
    reason = "shared with the benchmark of intake, which needs all of it"
)]
#[path = "support/process.rs"]
mod process;
mod reconciling;
#[allow(
    dead_code,
    reason = "shared with the benchmark of intake, which needs all of it"
)]
#[path = "support/convex.rs"]
mod sandbox;
#[allow(
    dead_code,
    reason = "shared with the benchmark of intake, which needs all of it"
)]
#[path = "support/spread.rs"]
mod spread;

use std::process::ExitCode;

use reconciling::{clubs, plan::Plan, report, runs::install_script, scenes};

fn main() -> ExitCode {
    let plan = match Plan::from_args(std::env::args().skip(1)) {
        Ok(plan) => plan,
        Err(sentence) => {
            eprintln!("{sentence}");
            return ExitCode::from(2);
        }
    };
    match run(&plan) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the benchmark did not come to its end: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(plan: &Plan) -> std::io::Result<()> {
    plan.prepare()?;
    let say = |what: &str| {
        if !plan.json {
            println!("… {what}");
        }
    };
    let settings = report::settings(plan.rounds);
    say(&settings);
    let mut told = Vec::new();
    if ["audit", "limit", "scans"]
        .iter()
        .any(|scene| plan.runs(scene))
    {
        told.extend(scenes::agreeing(plan, &say)?);
    }
    if plan.runs("organizations") {
        told.extend(clubs::organizations(plan, &say)?);
    }
    if ["move", "plan"].iter().any(|scene| plan.runs(scene)) {
        if plan.runs("move") && !plan.without_node {
            install_script(plan)?;
        }
        told.extend(scenes::moving(plan, &say)?);
    }
    if plan.json {
        println!("{:#}", report::document(&settings, &told));
    } else {
        println!("{}", report::text(&told));
    }
    std::fs::remove_dir_all(&plan.work)
}
