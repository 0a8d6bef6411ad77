//! Clerk is busy, an answer is lost, applying is paused: an edit waits, and is carried once.

use std::time::Duration;

use clerk_convex_sync::sandbox::clerk::faults::{Fault, Wrong};
use serde_json::json;

use super::{PATCH, edit, same, settled, user, world};
use crate::world::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost_is_asked_for_and_not_repeated() {
    let mut world = world().await;
    let id = user(&world, "Ada").await;
    world.clerk.fault(Fault::next(PATCH, Wrong::CutAnswer));
    edit(&world, &id, json!({"firstName": "Augusta"}));
    eventually("Clerk has it", async || {
        world.clerk.user(&id).expect("a user")["first_name"] == "Augusta"
    })
    .await;
    // Another process finds the edit where the first one left it.
    world.stop_daemon().await;
    world.start_daemon().await;
    eventually("the edit is over", async || {
        settled(&world, "done").await == 1.0
    })
    .await;
    assert_eq!(world.clerk.requests().to(PATCH), 1);
    world.quiet().await;
    assert!(same(&world, &id));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clerk_that_is_busy_costs_an_edit_only_time() {
    let world = world().await;
    let id = user(&world, "Ada").await;
    let busy = Wrong::Status {
        status: 429,
        retry_after_secs: Some(1),
        json: true,
    };
    let down = Wrong::Status {
        status: 503,
        retry_after_secs: None,
        json: false,
    };
    world.clerk.fault(Fault::next(PATCH, busy));
    world
        .clerk
        .fault(Fault::next(PATCH, down).after(1).times(2));
    edit(&world, &id, json!({"firstName": "Augusta"}));
    eventually("the edit is settled", async || {
        settled(&world, "done").await == 1.0
    })
    .await;
    assert!(same(&world, &id));
    assert_eq!(world.clerk.requests().inside_penalty, 0);
    assert_eq!(settled(&world, "refused").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_carried_while_applying_is_paused() {
    let world = world().await;
    let id = user(&world, "Ada").await;
    world.door().pause(true).await;
    edit(&world, &id, json!({"firstName": "Augusta"}));
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(world.clerk.requests().to(PATCH), 0);
    world.door().pause(false).await;
    eventually("the edit is settled", async || {
        settled(&world, "done").await == 1.0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn that_changes_are_held_is_told_until_none_is_left() {
    let world = world().await;
    let id = user(&world, "Ada").await;
    let down = Wrong::Status {
        status: 503,
        retry_after_secs: None,
        json: false,
    };
    world.clerk.fault(Fault::next(PATCH, down).times(10_000));
    edit(&world, &id, json!({"firstName": "Augusta"}));
    let is_told = async || {
        let alerts = world.door().alerts().await;
        alerts.contains(&"clerk_writes_held".to_owned())
    };
    eventually("it is told", async || is_told().await).await;
    // The edit goes with the user: Clerk is never asked again.
    world.clerk.delete_user(&id).expect("deleted");
    eventually("nothing is held any more", async || !is_told().await).await;
}
