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

mod intaking;
#[allow(dead_code, reason = "each benchmark needs its part of what they share")]
mod support;

use std::process::ExitCode;

use intaking::{
    contender::install_node_route,
    plan::Plan,
    report::{Report, Settings},
    scenes,
};
use support::{convex::Sandbox, setup};

fn main() -> ExitCode {
    setup::to_the_end(Plan::from_args(std::env::args().skip(1)), run)
}

fn run(plan: &Plan) -> std::io::Result<()> {
    let file_system = plan.prepare()?;
    let node = if plan.setup.without_node {
        "not run".to_owned()
    } else {
        install_node_route(plan)?
    };
    let settings = Settings::of(plan, file_system, node);
    let mut report = Report::new(settings);
    let sandbox = Sandbox::start(&plan.setup.binary, &plan.setup.work.join("sandbox.log"))?;
    let say = |what: &str| plan.setup.say(what);
    if plan.setup.runs("flood") {
        for &latency_ms in &plan.latencies_ms {
            say(&format!("full speed, Convex answers after {latency_ms} ms"));
            report
                .floods
                .extend(scenes::flood(plan, &sandbox, latency_ms)?);
        }
    }
    if plan.setup.runs("steady") {
        say("a fixed rate");
        report.steadies = scenes::steady(plan, &sandbox)?;
    }
    if plan.setup.runs("memory") {
        say("memory");
        report.memory = Some(scenes::memory(plan, &sandbox)?);
    }
    if plan.setup.runs("ready") {
        say("starts");
        report.ready = Some(scenes::ready(plan, &sandbox)?);
    }
    if plan.setup.json {
        println!("{:#}", report.document());
    } else {
        println!("{}", report.text());
    }
    std::fs::remove_dir_all(&plan.setup.work)
}
