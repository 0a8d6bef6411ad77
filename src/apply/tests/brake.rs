//! When Convex refuses every record, the fault is not theirs: none of them pays for it.

use super::*;
use crate::apply::Whereabouts;
use crate::sandbox::convex::{FaultKind, FaultRule};
use crate::store::journal::{CauseKind, Meta, Parked, ParkedMeta, Position};

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
    let applier = bench.applying();
    until(|| bench.alerts().contains(&"all_refused".to_owned())).await;
    let calls = bench.convex.calls().mutations;
    // Time runs ahead from here on while everybody waits.
    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let status = applier.handle.status().await.unwrap();
    assert_eq!((status.depth, status.dead_letters), (USERS, 0));
    let more = bench.convex.calls().mutations - calls;
    assert!(
        more <= 60,
        "{more} calls in a minute: held, and probed now and then"
    );

    bench.convex.clear_faults();
    until(|| bench.convex.count("users") == USERS).await;
    until(|| bench.alerts().is_empty()).await;
    assert_eq!(applier.handle.status().await.unwrap().dead_letters, 0);
    applier.end().await;
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
    let applier = bench.applying();
    until(|| bench.convex.count("users") == USERS - 5).await;
    while applier.handle.status().await.unwrap().depth > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(applier.handle.status().await.unwrap().dead_letters, 5);
    assert_eq!(bench.alerts(), ["dead_letters"]);
    let users = [
        record(Table::Users, "user_0"),
        record(Table::Users, "user_7"),
    ];
    let told = bench.shared.whereabouts(&users).await.unwrap();
    assert_eq!(told, [Whereabouts::DeadLetter, Whereabouts::Nowhere]);
    applier.end().await;
}

#[tokio::test]
async fn a_pause_is_answered_once_it_holds_and_is_kept() {
    let mut bench = Bench::start().await;
    let applier = bench.applying();
    assert_eq!(applier.handle.pause(true).await, Some(()));
    assert!(bench.shared.is_paused());
    let kept = bench.shared.state.get_cell("paused").unwrap();
    assert!(kept.is_some(), "for the next process");
    let handle = applier.end().await;
    assert_eq!(handle.pause(false).await, None, "nobody applies any more");
}

#[tokio::test]
async fn a_pause_of_which_nobody_can_say_whether_it_is_one_holds_until_a_person_says() {
    let mut bench = Bench::start().await;
    bench.shared.state.spoil_cell("paused");
    let applier = bench.applying();
    assert!(bench.shared.is_paused());
    assert_eq!(bench.alerts(), ["pause_unknown"]);
    assert_eq!(applier.handle.pause(false).await, Some(()));
    assert!(!bench.shared.is_paused());
    assert!(bench.alerts().is_empty());
    applier.end().await;
}

#[tokio::test]
async fn dead_letters_of_an_earlier_process_are_told_of_and_what_waits_is_known_to_wait() {
    let mut bench = Bench::start().await;
    bench.store(event("user_1", 1)).await;
    let applier = bench.applying();
    bench.shared.set_paused(true);
    let asked = [
        record(Table::Users, "user_1"),
        record(Table::Users, "user_2"),
    ];
    let told = applier.handle.whereabouts(&asked).await.unwrap();
    assert_eq!(told, [Whereabouts::Queued, Whereabouts::Nowhere]);
    assert!(bench.alerts().is_empty());
    applier.end().await;

    let mut next = Bench::start().await;
    let (recovered, _) = next.stored.as_mut().unwrap();
    let parked = Parked {
        seq: 1,
        attempts: 4,
        code: "rejected".into(),
        reason: "Convex refused the row".into(),
        at_ms: 1,
    };
    let meta = Meta {
        seq: 1,
        position: Position {
            segment: 1,
            offset: 0,
            len: 0,
        },
        received_ms: 1,
        record: Some(record(Table::Users, "user_1")),
        version: Version(1),
        deleted: false,
        fingerprint: 0,
        cause: CauseKind::Delivery,
    };
    recovered.parked.push(ParkedMeta { meta, parked });
    let _applier = next.applier();
    assert_eq!(next.alerts(), ["dead_letters"]);
}

#[tokio::test]
async fn a_service_that_nobody_asks_any_more_is_asked_whether_it_is_back() {
    let bench = Bench::start().await;
    bench.convex.down();
    for _ in 0..5 {
        if let Ok(ticket) = bench.shared.convex.admit() {
            bench.shared.convex.failed(ticket, &"no answer", None);
        }
    }
    assert_eq!(bench.alerts(), ["convex_away"]);
    // As long as it is away, a look changes nothing.
    for _ in 0..3 {
        bench.shared.look_who_is_back().await;
    }
    assert_eq!(bench.alerts(), ["convex_away"]);
    bench.convex.up();
    while !bench.alerts().is_empty() {
        bench.shared.look_who_is_back().await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_deployment_that_has_written_its_share_of_this_second_is_not_away() {
    let mut bench = Bench::start().await;
    let mut rule = FaultRule::new(FaultKind::Status);
    (rule.function, rule.code) = (Some("apply".into()), Some("TooManyWrites".into()));
    // An outage would be one after three in a row.
    (rule.status, rule.times) = (Some(429), Some(5));
    bench.convex.fault(rule);
    bench.store(event("user_1", 1)).await;
    let applier = bench.applying();
    until(|| {
        let (_, circuit) = bench.shared.convex.state();
        assert_eq!(circuit, "closed");
        bench.convex.count("users") == 1
    })
    .await;
    assert_eq!(bench.convex.calls().mutations, 6);
    applier.end().await;
}
