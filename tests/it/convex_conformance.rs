//! The conformance cases of the Convex side, run against whatever plays it.
//!
//! The cases are data (`tests/fixtures/apply_cases.json`), each named by a sentence of the contract or
//! of Convex's documentation. They run against the Rust stand-in, against the real TypeScript behind
//! the Node host (`CCS_SKIP_NODE=1` leaves that out, loudly), and against a real deployment when
//! `LIVE_CONVEX_URL` and `LIVE_CONVEX_DEPLOY_KEY` are set; there, only what needs no control interface
//! and no empty tables. `matching` explains the matchers, `steps` the steps.

mod control;
mod expand;
mod matching;
mod steps;
mod target;

use clerk_convex_sync::sandbox::convex::{ConvexOptions, ConvexSim};
use serde_json::Value;

use steps::Runner;
use target::{NodeHost, Target, check_with_official_client};

const KEY: &str = "conformance|0123456789abcdef";

fn cases() -> Vec<Value> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/apply_cases.json"
    );
    let text = std::fs::read_to_string(path).expect("the fixture is there");
    let file: Value = serde_json::from_str(&text).expect("the fixture is JSON");
    file["cases"]
        .as_array()
        .expect("the fixture has cases")
        .clone()
}

/// Runs every case that the target can run; one panic that tells all failures.
async fn run_all(target: Target) {
    let (mut failures, mut ran, mut left_out) = (Vec::new(), 0, 0);
    for case in cases() {
        let name = case["name"].as_str().expect("a case has a name").to_owned();
        if !target.can_run(&case) {
            left_out += 1;
            continue;
        }
        ran += 1;
        if let Err(why) = Runner::new(&target, ran).run(&case).await {
            failures.push(format!("{name}\n    {why}"));
        }
    }
    println!("{}: {ran} cases run, {left_out} left out", target.name);
    assert!(ran > 0, "no case could be run");
    assert!(
        failures.is_empty(),
        "{} of {ran} cases fail on {}:\n  {}",
        failures.len(),
        target.name,
        failures.join("\n  ")
    );
}

#[test]
fn there_are_sixty_cases_at_least_and_no_name_occurs_twice() {
    let cases = cases();
    let mut names: Vec<&str> = cases
        .iter()
        .filter_map(|case| case["name"].as_str())
        .collect();
    assert_eq!(names.len(), cases.len(), "every case has a name");
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), cases.len(), "no name occurs twice");
    assert!(cases.len() >= 60, "{} cases", cases.len());
}

#[tokio::test]
async fn the_rust_stand_in_meets_every_case() {
    let options = ConvexOptions {
        deploy_key: KEY.to_owned(),
        ..ConvexOptions::default()
    };
    let sim = ConvexSim::start(options).await.expect("a free port");
    run_all(Target::controlled("the Rust stand-in", sim.url(), KEY)).await;
    sim.stop().await;
}

#[tokio::test]
async fn the_rust_stand_in_meets_every_case_with_redacted_messages() {
    let options = ConvexOptions {
        deploy_key: KEY.to_owned(),
        redact: true,
        ..ConvexOptions::default()
    };
    let sim = ConvexSim::start(options).await.expect("a free port");
    run_all(Target::controlled(
        "the Rust stand-in, redacted",
        sim.url(),
        KEY,
    ))
    .await;
    sim.stop().await;
}

/// Whether the run was told to do without Node; says so loudly.
fn node_is_left_out() -> bool {
    let left_out = std::env::var_os("CCS_SKIP_NODE").is_some_and(|value| value == "1");
    if left_out {
        println!("!!! CCS_SKIP_NODE=1: THE REAL TYPESCRIPT IS NOT TESTED IN THIS RUN !!!");
    }
    left_out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn convexs_own_client_works_with_the_rust_stand_in() {
    if node_is_left_out() {
        return;
    }
    let options = ConvexOptions {
        deploy_key: KEY.to_owned(),
        ..ConvexOptions::default()
    };
    let sim = ConvexSim::start(options).await.expect("a free port");
    match check_with_official_client(&sim.url(), KEY).await {
        Ok(report) => println!("the official client says: {report}"),
        Err(why) => panic!("{why}"),
    }
    sim.stop().await;
}

#[tokio::test]
async fn the_typescript_functions_meet_every_case() {
    if node_is_left_out() {
        return;
    }
    let host = NodeHost::start(KEY)
        .await
        .unwrap_or_else(|why| panic!("{why}"));
    run_all(Target::controlled(
        "the TypeScript functions",
        host.url.clone(),
        KEY,
    ))
    .await;
}

#[tokio::test]
async fn a_real_deployment_meets_the_cases_it_can_run() {
    let named = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let (Some(url), Some(key)) = (named("LIVE_CONVEX_URL"), named("LIVE_CONVEX_DEPLOY_KEY")) else {
        println!("LIVE_CONVEX_URL and LIVE_CONVEX_DEPLOY_KEY are not set: no real deployment");
        return;
    };
    run_all(Target::live("the real deployment", url, &key)).await;
}
