//! A drip of single deletions, which the brake must hold as it holds a mass of them at once.
//!
//! The scenario says what it saw break: the program as it is breaks nothing, a build without the brake does.

use serde_json::json;

use crate::{
    hand::{deleted, now_s},
    process::System,
    runs::{run, text},
    world::eventually,
};

/// What may go in a day here.
const LIMIT: usize = 3;

async fn is_held(system: &System) -> bool {
    let alerts = system.door().alerts().await;
    alerts.contains(&"plan_held".to_owned())
}

/// So many users on both sides; from here on no delivery tells of anything. Their ids, in order.
pub async fn filled(system: &System, users: usize) -> Vec<String> {
    system.clerk.set_webhook_url(None);
    system.clerk.seed_users(users);
    eventually("a run has moved them", async || {
        // The clock's own may be at it.
        let _busy = run(&system.door(), json!({"kind": "reconcile"})).await;
        system.convex.count("users") == users
    })
    .await;
    // Only a second look shows that the key knows these rows.
    eventually("a run has seen them", async || {
        run(&system.door(), json!({"kind": "reconcile"}))
            .await
            .is_ok()
    })
    .await;
    let mut ids = system.clerk.user_ids();
    ids.sort();
    ids
}

/// Users vanish one after another, each found by a run of the clock's before the next goes. Rows that went beyond
/// what may go in a day.
pub async fn one_by_one(settings: &[(&str, &str)]) -> usize {
    let limit = LIMIT.to_string();
    let own = [
        ("CCS_SCHEDULE__FULL", "* * * * * *"),
        ("CCS_SCHEDULE__SWEEP", "off"),
        ("CCS_SCHEDULE__CENSUS", "off"),
        ("CCS_REPAIR__MAX_DELETES", &limit),
    ];
    let mut system = System::with(&[&own, settings].concat()).await;
    let ids = filled(&system, 40).await;
    let row = |system: &System, id: &str| system.convex.row("users", id).is_some();
    // What deliveries delete is nobody's leak.
    system.hand().say(&deleted(&ids[0], now_s() * 1000)).await;
    eventually("it is gone", async || !row(&system, &ids[0])).await;
    system.clerk.delete_user(&ids[0]).expect("deleted");

    for id in &ids[1..=LIMIT] {
        system.clerk.delete_user(id).expect("deleted");
        eventually("a run has found it", async || !row(&system, id)).await;
        assert!(!is_held(&system).await, "within the limit");
    }
    let next = &ids[LIMIT + 1];
    system.clerk.delete_user(next).expect("deleted");
    eventually("it is held, or gone", async || {
        !row(&system, next) || is_held(&system).await
    })
    .await;
    if !row(&system, next) {
        return 1;
    }

    // The count and the plan outlive the process, and are told of again.
    let last = async |system: &System| system.door().get("/status").await["last"]["full"].clone();
    let before = last(&system).await;
    assert_eq!(system.terminate().await, 0);
    system.start_daemon().await;
    assert!(is_held(&system).await, "it waits still");
    eventually("another run of the clock's", async || {
        let full = last(&system).await;
        full["outcome"] == "held" && full["id"] != before["id"]
    })
    .await;
    assert!(row(&system, next));
    // A person who looks may let it go, and the alert ends with it.
    eventually("a person's own run", async || {
        let ran = run(&system.door(), json!({"kind": "reconcile"})).await;
        ran.is_ok_and(|report| text(&report["outcome"]) == "repaired")
    })
    .await;
    assert!(!row(&system, next));
    assert!(!is_held(&system).await);
    0
}

#[tokio::test(flavor = "multi_thread")]
async fn one_by_one_no_more_go_in_a_day_than_at_once_and_a_person_can_let_them() {
    assert_eq!(one_by_one(&[]).await, 0);
}
