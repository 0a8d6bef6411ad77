//! When Convex refuses every record, the fault is not theirs: none of them pays for it.

use tokio_util::sync::CancellationToken;

use super::*;
use crate::sandbox::convex::{FaultKind, FaultRule};

/// More than it takes to be no coincidence.
const USERS: usize = 45;

async fn until(mut check: impl FnMut() -> bool) {
    while !check() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn refusals_of_everybody_hold_everybody_raise_one_alert_and_make_no_dead_letter() {
    let mut bench = Bench::start().await;
    let mut rule = FaultRule::new(FaultKind::Error);
    rule.function = Some("apply".into());
    rule.code = Some("unknown_field".into());
    bench.convex.fault(rule);
    for n in 0..USERS {
        bench.store(event(&format!("user_{n}"), 1)).await;
    }
    let (applier, handle) = bench.applier();
    let stop = CancellationToken::new();
    let running = tokio::spawn(applier.run(stop.clone(), Duration::from_secs(1)));
    until(|| bench.alerts().contains(&"all_refused".to_owned())).await;
    let calls = bench.convex.calls().mutations;
    // Time runs ahead from here on while everybody waits.
    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let status = handle.status().await.unwrap();
    assert_eq!((status.depth, status.dead_letters), (USERS, 0));
    let more = bench.convex.calls().mutations - calls;
    assert!(
        more <= 60,
        "{more} calls in a minute: held, and probed now and then"
    );

    bench.convex.clear_faults();
    until(|| bench.convex.count("users") == USERS).await;
    until(|| bench.alerts().is_empty()).await;
    assert_eq!(handle.status().await.unwrap().dead_letters, 0);
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn a_few_records_at_fault_become_dead_letters_and_raise_no_such_alert() {
    let mut bench = Bench::start().await;
    for n in 0..5 {
        let mut rule = FaultRule::new(FaultKind::RejectKey);
        rule.key = Some(format!("user_{n}"));
        rule.code = Some("too_large".into());
        bench.convex.fault(rule);
    }
    for n in 0..USERS {
        bench.store(event(&format!("user_{n}"), 1)).await;
    }
    let (applier, handle) = bench.applier();
    let stop = CancellationToken::new();
    let running = tokio::spawn(applier.run(stop.clone(), Duration::from_secs(1)));
    until(|| bench.convex.count("users") == USERS - 5).await;
    while handle.status().await.unwrap().depth > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(handle.status().await.unwrap().dead_letters, 5);
    assert_eq!(bench.alerts(), ["dead_letters"]);
    stop.cancel();
    running.await.unwrap();
}
