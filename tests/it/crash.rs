//! What a killed process must not lose and not do twice: S01, S02, and cuts in between.
//!
//! The real binary, killed by SIGKILL. Every test ends with the rows and the sums: each delivery that
//! was acknowledged has one final state.

use std::collections::BTreeSet;

use clerk_convex_sync::sandbox::convex::{FaultKind, FaultRule};
use tokio::task::JoinSet;

use crate::{
    hand::{created, new_id, updated},
    process::System,
    world::{eventually, written},
};

/// Lets as many tasks deliver at once.
const SENDERS: usize = 16;

#[tokio::test(flavor = "multi_thread")]
async fn s01_a_kill_between_storing_and_writing_is_no_loss_and_the_second_copy_is_no_duplicate_yet()
{
    let mut system = System::start().await;
    system.convex.down();
    let (id, event) = (new_id(), created("user_s01", 1, "Ada"));
    assert_eq!(system.hand().deliver(&id, &event).await.status, 200);
    system.kill().await;
    assert_eq!(system.convex.row("users", "user_s01"), None);

    system.start_daemon().await;
    assert_eq!(system.recovered(), 1);
    assert_eq!(system.hand().deliver(&id, &event).await.status, 200);
    let figures = system.door().figures().await;
    assert_eq!(figures.webhooks("waiting"), 1.0, "{figures:?}");
    assert_eq!(figures.webhooks("duplicate"), 0.0);

    system.convex.up();
    system.door().idle().await;
    let row = system.convex.row("users", "user_s01").expect("a row");
    assert_eq!(row["name"], "Ada Varga");
    eventually("the verdict has reached the journal's index", async || {
        assert_eq!(system.hand().deliver(&id, &event).await.status, 200);
        system.door().figures().await.webhooks("duplicate") > 0.0
    })
    .await;
    assert_eq!(
        written(&system.convex),
        ["users", "profiles"],
        "applied once"
    );
    system.door().every_delivery_has_one_end(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s01_a_kill_between_the_write_and_its_answer_is_applied_once_in_effect() {
    let mut system = System::start().await;
    system
        .convex
        .fault(FaultRule::new(FaultKind::AppliedThenCut));
    let (id, event) = (new_id(), created("user_cut", 1, "Ada"));
    assert_eq!(system.hand().deliver(&id, &event).await.status, 200);
    eventually("Convex has the row", async || {
        system.convex.row("users", "user_cut").is_some()
    })
    .await;
    system.kill().await;
    let before = system.convex.row("users", "user_cut");

    system.convex.clear_faults();
    system.start_daemon().await;
    assert_eq!(system.recovered(), 1);
    system.door().idle().await;
    assert_eq!(
        system.convex.row("users", "user_cut"),
        before,
        "not even a time has moved"
    );
    assert_eq!(system.convex.rows("users").len(), 1);
    assert_eq!(written(&system.convex), ["users", "profiles"]);
    system.door().every_delivery_has_one_end(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s02_500_acknowledged_events_outlive_a_kill_and_the_start_says_how_many() {
    let mut system = System::start().await;
    system.convex.down();
    let acknowledged = deliver_until(&system, 500).await;
    assert_eq!(acknowledged.len(), 500);
    system.kill().await;
    assert_eq!(system.convex.rows("users").len(), 0);

    system.convex.up();
    system.start_daemon().await;
    assert_eq!(system.recovered(), 500, "{}", system.log.text());
    system.door().idle().await;
    for user in &acknowledged {
        let row = system.convex.row("users", user);
        assert_eq!(row.expect("a row")["name"], "Ada Varga");
    }
    assert_eq!(system.convex.rows("users").len(), 500);
    system.door().every_delivery_has_one_end(500).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_was_acknowledged_before_a_kill_under_load_is_applied_after_it() {
    let mut system = System::start().await;
    let mut acknowledged = BTreeSet::new();
    for round in 0..3 {
        let (hand, log) = (system.hand(), &system.log);
        let mut senders = JoinSet::new();
        for sender in 0..SENDERS {
            let hand = hand.clone();
            // Ends with the first request that has no answer: the daemon is gone.
            senders.spawn(async move {
                let mut done = Vec::new();
                for n in 0.. {
                    let user = format!("user_{round}_{sender}_{n}");
                    let body = created(&user, 1, "Ada").to_string().into_bytes();
                    match hand.try_post(&new_id(), body).await {
                        Ok(answer) if answer.status == 200 => done.push(user),
                        Ok(answer) => panic!("{answer:?}"),
                        Err(_) => break,
                    }
                }
                done
            });
        }
        let wanted = 100 * (round + 1);
        eventually("some rows are written", async || {
            system.convex.count("users") >= wanted
        })
        .await;
        assert_eq!(log.count("panicked"), 0);
        system.kill().await;
        acknowledged.extend(senders.join_all().await.into_iter().flatten());
        system.start_daemon().await;
    }
    system.door().idle().await;
    let rows = system.convex.rows("users");
    let keys: BTreeSet<&str> = rows.iter().filter_map(|r| r["clerkId"].as_str()).collect();
    assert_eq!(keys.len(), rows.len(), "no key has two rows");
    let lost: Vec<_> = acknowledged
        .iter()
        .filter(|user| !keys.contains(user.as_str()))
        .collect();
    assert!(
        lost.is_empty(),
        "{} of {}: {lost:?}",
        lost.len(),
        acknowledged.len()
    );
    system
        .door()
        .every_delivery_has_one_end(system.recovered())
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mutations_whose_answers_are_lost_are_applied_once_in_effect() {
    let system = System::start().await;
    let mut cut = FaultRule::new(FaultKind::AppliedThenCut);
    cut.ratio = Some(0.4);
    system.convex.fault(cut);
    let hand = system.hand();
    for user in 0..40 {
        for version in 1..=3 {
            let name = ["Ada", "Bea", "Cleo"][version - 1];
            hand.say(&updated(&format!("user_{user}"), version as i64, name))
                .await;
        }
    }
    system.door().idle().await;
    let rows = system.convex.rows("users");
    assert_eq!(rows.len(), 40);
    assert!(
        rows.iter().all(|row| row["name"] == "Cleo Varga"),
        "{rows:?}"
    );
    let outcomes = system.convex.calls().outcomes;
    assert!(outcomes["applied_then_cut"] > 0, "{outcomes:?}");
    assert_eq!(system.door().failures().await.len(), 0);
    system.door().every_delivery_has_one_end(0).await;
}

/// Delivers new users until so many are acknowledged; answers which.
async fn deliver_until(system: &System, wanted: usize) -> Vec<String> {
    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        let hand = system.hand();
        let share = wanted / SENDERS + usize::from(sender < wanted % SENDERS);
        senders.spawn(async move {
            let mut done = Vec::new();
            for n in 0..share {
                let user = format!("user_{sender}_{n}");
                let answer = hand.deliver(&new_id(), &created(&user, 1, "Ada")).await;
                assert_eq!(answer.status, 200, "{answer:?}");
                done.push(user);
            }
            done
        });
    }
    senders.join_all().await.into_iter().flatten().collect()
}
