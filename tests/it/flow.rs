//! The main job: from a signed webhook to a row.

use serde_json::json;

use crate::{
    hand::{created, now_s},
    world::{World, eventually},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_new_user_becomes_a_row_and_a_change_of_it_too() {
    let world = World::start().await;
    let id = world
        .clerk
        .create_user(json!({"first_name": "Ada", "last_name": "Lovelace", "email_address": ["ada@example.com"]}))
        .expect("created");
    world.quiet().await;
    let row = world.user_row(&id).expect("a row");
    assert_eq!(row["name"], "Ada Lovelace");
    assert_eq!(row["email"], "ada@example.com");
    world
        .clerk
        .update_user(&id, json!({"first_name": "Augusta"}))
        .expect("updated");
    world.quiet().await;
    assert_eq!(
        world.user_row(&id).expect("a row")["name"],
        "Augusta Lovelace"
    );
    world.clerk.delete_user(&id).expect("deleted");
    world.quiet().await;
    assert_eq!(world.user_row(&id), None);
    assert!(world.convex.tombstones("users").contains(&id));
}

/// A row is as late as its event says, also where what the event says is not enough.
#[tokio::test(flavor = "multi_thread")]
async fn how_late_a_fetched_record_is_counts_from_its_event() {
    let world = World::start().await;
    world.clerk.enable_endpoint(false);
    let id = world.clerk.create_user(json!({})).expect("created");
    let mut event = created(&id, 1, "Ada");
    event["data"]["email_addresses"] = json!("none");
    event["timestamp"] = json!((now_s() - 3600) * 1000);
    world.hand().say(&event).await;
    eventually("it is written", async || world.user_row(&id).is_some()).await;
    world.door().idle().await;
    let figures = world.door().figures().await;
    assert!(figures.sum("sync_latency_seconds_sum", &[]) >= 3600.0);
}
