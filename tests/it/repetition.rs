//! What is known already costs no call to Convex: copies, replays, events that change no synced column.
//!
//! Convex bills every call, and every write wakes the app's live queries, so this is counted.

use serde_json::json;

use crate::{
    hand::{created, deleted, new_id, updated},
    world::World,
};

/// Users in each of the tests.
const USERS: usize = 30;

#[tokio::test(flavor = "multi_thread")]
async fn copies_and_replays_under_the_same_id_cost_no_call() {
    let world = World::start().await;
    world.clerk.repeat_ratio(1.0);
    for n in 0..USERS {
        let user = json!({ "first_name": format!("Ada {n}") });
        world.clerk.create_user(user).expect("created");
    }
    world.quiet().await;
    let before = (world.convex.calls().changes, world.convex.rows("users"));
    assert_eq!(
        before.0,
        2 * USERS as u64,
        "each was sent once, with its profile"
    );
    for message in world.clerk.messages() {
        assert!(world.clerk.replay(&message.id));
    }
    world.quiet().await;
    assert_eq!(world.clerk.fates().repeated, 2 * USERS as u64);
    assert_eq!(world.convex.calls().changes, before.0);
    assert_eq!(world.convex.rows("users"), before.1);
    world.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_changes_no_synced_column_and_costs_no_call() {
    let world = World::start().await;
    let create = |n| {
        world
            .clerk
            .create_user(json!({ "first_name": format!("Ada {n}") }))
    };
    let users: Vec<String> = (0..USERS).map(|n| create(n).expect("created")).collect();
    world.quiet().await;
    let before = (world.convex.calls().mutations, world.convex.rows("users"));
    for user in &users {
        world.clerk.sign_in(user, true).expect("signed in");
        let private = json!({ "private_metadata": { "seen": true } });
        world.clerk.merge_metadata(user, private).expect("merged");
    }
    world.quiet().await;
    assert_eq!(world.clerk.fates().delivered, 3 * USERS as u64);
    assert_eq!(world.convex.calls().mutations, before.0);
    assert_eq!(world.convex.rows("users"), before.1);
    world.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_content_under_new_ids_and_versions_costs_no_call_and_after_a_restart_one_that_changes_nothing()
 {
    let mut world = World::start().await;
    world.hand().say(&created("user_same", 1, "Ada")).await;
    world.hand().say(&created("user_gone", 1, "Bea")).await;
    world.door().idle().await;
    world.hand().say(&deleted("user_gone", 2)).await;
    world.door().idle().await;
    let before = (world.convex.calls().mutations, world.convex.rows("users"));
    for _ in 0..2 {
        for version in 1..6 {
            world
                .hand()
                .say(&updated("user_same", version, "Ada"))
                .await;
            world
                .hand()
                .say(&updated("user_gone", version, "Bea"))
                .await;
            world.hand().say(&deleted("user_gone", version)).await;
            world.door().idle().await;
        }
        world.stop_daemon().await;
        world.start_daemon().await;
    }
    // A process that has had no answer about a row does not believe the ledger alone.
    assert_eq!(world.convex.calls().mutations, before.0 + 1);
    // Which moves the version and nothing else.
    let mut rows = world.convex.rows("users");
    rows[0]["clerkUpdatedAt"] = before.1[0]["clerkUpdatedAt"].clone();
    assert_eq!(rows, before.1);
    let answer = world
        .hand()
        .deliver(&new_id(), &updated("user_same", 9, "Cleo"))
        .await;
    assert_eq!(answer.status, 200);
    world.door().idle().await;
    assert_eq!(
        world.convex.calls().mutations,
        before.0 + 2,
        "a change is one call"
    );
    assert_eq!(
        world.user_row("user_same").expect("a row")["name"],
        "Cleo Varga"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn many_events_of_one_record_that_wait_become_one_change() {
    let world = World::start().await;
    world.door().pause(true).await;
    for version in 1..=50 {
        let event = updated("user_busy", version, &format!("Ada {version}"));
        world.hand().say(&event).await;
    }
    world.door().pause(false).await;
    world.door().idle().await;
    assert_eq!(world.convex.calls().changes, 2, "the user and its profile");
    assert_eq!(
        world.user_row("user_busy").expect("a row")["name"],
        "Ada 50 Varga"
    );
    assert_eq!(world.door().figures().await.changes("superseded"), 49.0);
    world.settled().await;
}
