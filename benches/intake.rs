//! The daemon beside a webhook route on Node, on the same simulated Convex, seen from outside.
//!
//! `cargo bench --bench intake` takes about five minutes, `-- --quick` one. What is compared and how is
//! told in `docs/benchmarks.md`. Ends with a failure when anything acknowledged is not in Convex.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::too_many_lines,
    reason = "a benchmark reads clocks, waits, and tells a person what it found"
)]

mod support;

use std::process::ExitCode;

use support::{
    contender::install_node_route,
    convex::Sandbox,
    plan::Plan,
    report::{Report, Settings},
    scenes,
};

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
    let file_system = plan.prepare()?;
    let node = if plan.without_node {
        "not run".to_owned()
    } else {
        install_node_route(plan)?
    };
    let settings = Settings::of(plan, file_system, node);
    let mut report = Report::new(settings);
    let sandbox = Sandbox::start(&plan.binary, &plan.work.join("sandbox.log"))?;
    let say = |what: &str| {
        if !plan.json {
            println!("… {what}");
        }
    };
    if plan.runs("flood") {
        for latency_ms in [0, 20] {
            say(&format!("full speed, Convex answers after {latency_ms} ms"));
            report
                .floods
                .extend(scenes::flood(plan, &sandbox, latency_ms)?);
        }
    }
    if plan.runs("steady") {
        say("a fixed rate");
        report.steadies = scenes::steady(plan, &sandbox)?;
    }
    if plan.runs("memory") {
        say("memory");
        report.memory = Some(scenes::memory(plan, &sandbox)?);
    }
    if plan.runs("ready") {
        say("starts");
        report.ready = Some(scenes::ready(plan, &sandbox)?);
    }
    if plan.json {
        println!("{:#}", report.document());
    } else {
        println!("{}", report.text());
    }
    std::fs::remove_dir_all(&plan.work)
}
