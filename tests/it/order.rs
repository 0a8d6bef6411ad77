//! Events that come in the wrong order, too late, or with one version for two contents: S05 to S08.
//!
//! Each order is tried with the events apart, where the ledger decides, and together in the queue,
//! where they collapse; and past a ledger that was lost, where Convex itself must hold the line.

use clerk_convex_sync::sandbox::clerk::faults::{Fault, Wrong};
use serde_json::{Value, json};

use crate::{
    hand::{SIGNED_UP, created, deleted, updated},
    process::System,
    world::World,
};

/// How far apart ten hours are, in milliseconds.
const TEN_HOURS: i64 = 36_000_000;

/// Delivers these one after another, each when the one before is settled.
async fn apart(world: &World, events: &[Value]) {
    for event in events {
        world.hand().say(event).await;
        world.door().idle().await;
    }
}

/// Delivers these so that they meet in the queue.
async fn together(world: &World, events: &[Value]) {
    world.door().pause(true).await;
    for event in events {
        world.hand().say(event).await;
    }
    world.door().pause(false).await;
    world.door().idle().await;
}

/// Delivers these one after another to daemons that remember nothing of one another.
async fn to_strangers(world: &mut World, events: &[Value]) {
    for event in events {
        world.hand().say(event).await;
        world.door().idle().await;
        world.stop_daemon().await;
        world.state = tempfile::tempdir().expect("a directory for the state");
        world.start_daemon().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s05_an_update_and_then_its_older_creation_leave_one_row_with_the_newer_content() {
    let events = [
        updated("user_s05", 2_000, "Bea"),
        created("user_s05", 1_000, "Ada"),
    ];
    let check = |world: &World| {
        let rows = world.convex.rows("users");
        assert_eq!(rows.len(), 1, "{rows:?}");
        assert_eq!(rows[0]["name"], "Bea Varga");
        assert_eq!(rows[0]["clerkUpdatedAt"], SIGNED_UP + 2_000);
    };
    let world = World::start().await;
    apart(&world, &events).await;
    check(&world);
    let figures = world.door().figures().await;
    assert_eq!(figures.changes("stale"), 1.0, "{figures:?}");
    assert_eq!(world.convex.calls().mutations, 1, "the ledger knew");
    world.settled().await;

    let world = World::start().await;
    together(&world, &events).await;
    check(&world);
    assert_eq!(world.door().figures().await.changes("superseded"), 1.0);
    world.settled().await;

    let mut world = World::start().await;
    to_strangers(&mut world, &events).await;
    check(&world);
    assert_eq!(world.convex.calls().mutations, 2, "Convex knew");
}

#[tokio::test(flavor = "multi_thread")]
async fn s06_a_deletion_and_then_the_older_creation_leave_no_row_and_a_tombstone() {
    let events = [
        deleted("user_s06", 2_000),
        created("user_s06", 1_000, "Ada"),
    ];
    let check = |world: &World| {
        assert_eq!(world.user_row("user_s06"), None);
        assert_eq!(world.convex.tombstones("users"), ["user_s06"]);
        // A hook fires with a write: nothing was ever inserted, and it was deleted at most once.
        assert_eq!(world.convex.commits(0, 10).len(), 0);
    };
    let world = World::start().await;
    apart(&world, &events).await;
    check(&world);
    assert_eq!(world.door().figures().await.changes("absent"), 1.0);
    assert_eq!(world.door().figures().await.changes("stale"), 1.0);
    world.settled().await;

    let world = World::start().await;
    together(&world, &events).await;
    check(&world);
    world.settled().await;

    let mut world = World::start().await;
    to_strangers(&mut world, &events).await;
    check(&world);
}

#[tokio::test(flavor = "multi_thread")]
async fn s07_an_update_from_ten_hours_ago_brings_no_deleted_user_back_and_the_log_says_why() {
    let mut system = System::with(&[("CCS_LOG__LEVEL", "debug")]).await;
    for event in [
        created("user_s07", 0, "Ada"),
        deleted("user_s07", TEN_HOURS + 60_000),
        updated("user_s07", 60_000, "Bea"),
    ] {
        system.hand().say(&event).await;
        system.door().idle().await;
    }
    assert_eq!(system.convex.row("users", "user_s07"), None);
    assert_eq!(system.door().figures().await.changes("stale"), 1.0);
    let said = system
        .log
        .field_since(0, "the record was deleted before", "outcome");
    assert_eq!(said.as_deref(), Some("stale"), "{}", system.log.text());
    system.door().every_delivery_has_one_end(0).await;

    // The same after a restart, under another new id.
    assert_eq!(system.terminate().await, 0);
    system.start_daemon().await;
    system.hand().say(&updated("user_s07", 60_000, "Bea")).await;
    system.door().idle().await;
    assert_eq!(system.convex.row("users", "user_s07"), None);
    assert_eq!(system.door().figures().await.changes("stale"), 1.0);
    assert_eq!(system.convex.tombstones("users"), ["user_s07"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn s07_nothing_comes_back_either_when_the_daemon_has_forgotten_the_deletion() {
    let mut world = World::start().await;
    let events = [
        created("user_s07", 0, "Ada"),
        deleted("user_s07", TEN_HOURS + 60_000),
        updated("user_s07", 60_000, "Bea"),
    ];
    to_strangers(&mut world, &events).await;
    assert_eq!(world.user_row("user_s07"), None);
    assert_eq!(world.convex.tombstones("users"), ["user_s07"]);
}

/// Two contents of one version, as events, and the same user in Clerk, where the one is true.
async fn torn_user(truth: usize) -> (World, [Value; 2], String) {
    let world = World::start().await;
    // Clerk says nothing of itself; the test delivers.
    world.clerk.enable_endpoint(false);
    let contents = ["Ada", "Bea"];
    let stamp = SIGNED_UP + 5_000;
    let id = world
        .clerk
        .create_user(json!({ "first_name": contents[truth], "last_name": "Varga",
            "email_address": ["torn@post.example"], "updated_at": stamp }))
        .expect("created");
    let seen = world.clerk.user(&id).expect("a user");
    assert_eq!(seen["updated_at"], stamp, "both events claim this version");
    let event = |name: &str| {
        let mut event = updated(&id, 5_000, name);
        event["data"]["created_at"] = seen["created_at"].clone();
        event
    };
    (
        world,
        contents.map(event),
        format!("{} Varga", contents[truth]),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn s08_two_contents_with_one_version_end_as_clerk_has_it_in_both_orders() {
    for truth in [0, 1] {
        for turned in [false, true] {
            for meeting in [false, true] {
                let (world, mut events, name) = torn_user(truth).await;
                if turned {
                    events.reverse();
                }
                match meeting {
                    true => together(&world, &events).await,
                    false => apart(&world, &events).await,
                }
                let rows = world.convex.rows("users");
                assert_eq!(rows.len(), 1);
                assert_eq!(
                    rows[0]["name"], name,
                    "truth {truth}, turned {turned}, meeting {meeting}"
                );
                let asked = world.door().figures().await;
                assert!(asked.sum("clerk_requests_total", &["status=\"200\""]) >= 1.0);
                world.settled().await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s08_while_clerk_does_not_answer_a_tie_waits_and_costs_no_attempt() {
    let (world, events, name) = torn_user(0).await;
    let away = Wrong::Status {
        status: 503,
        retry_after_secs: None,
        json: true,
    };
    assert!(
        world
            .clerk
            .fault(Fault::next("GET /v1/users", away).times(4))
    );
    apart(&world, &events).await;
    assert_eq!(world.convex.rows("users")[0]["name"], name);
    assert_eq!(world.door().failures().await.len(), 0);
    let figures = world.door().figures().await;
    assert_eq!(figures.sum("retries_total", &["cause=\"record\""]), 0.0);
    assert!(figures.sum("retries_total", &["cause=\"clerk\""]) >= 4.0);
    world.settled().await;
}
