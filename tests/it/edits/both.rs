//! Changes of one user on both sides: the later one stays, whichever side it was made on, and both end equal.
//!
//! Time is Clerk's version of the user against the moment at which a field was edited. How it ends for a thousand
//! users while both services fail is in `thousand.rs`.

use std::time::Duration;

use clerk_convex_sync::sandbox::clerk::faults::{Fault, Wrong};
use serde_json::{Value, json};

use super::{PATCH, edit, profile, same, settled, user, world};
use crate::world::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn of_changes_on_both_sides_the_later_one_stays() {
    let world = world().await;
    let (first, second) = (user(&world, "Ada").await, user(&world, "Grace").await);
    // Deliveries come late, so the daemon has to look for itself.
    world
        .clerk
        .delay(Duration::from_secs(3), Duration::from_secs(3));
    let change = json!({"first_name": "By the administrator"});
    edit(&world, &first, json!({"firstName": "Augusta"}));
    tokio::time::sleep(Duration::from_millis(20)).await;
    world
        .clerk
        .update_user(&first, change.clone())
        .expect("changed");
    world.clerk.update_user(&second, change).expect("changed");
    tokio::time::sleep(Duration::from_millis(20)).await;
    edit(&world, &second, json!({"firstName": "Hopper"}));
    eventually("the later edit is carried", async || {
        world.clerk.user(&second).expect("a user")["first_name"] == "Hopper"
    })
    .await;
    world.quiet().await;
    assert_eq!(profile(&world, &first)["firstName"], "By the administrator");
    assert_eq!(profile(&world, &second)["firstName"], "Hopper");
    assert!(same(&world, &first) && same(&world, &second));
    assert_eq!(world.clerk.requests().to(PATCH), 1, "only what was later");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_field_has_its_own_time() {
    let world = world().await;
    let id = user(&world, "Ada").await;
    // Nothing is heard of Clerk's change before the edits are carried.
    world
        .clerk
        .delay(Duration::from_secs(3), Duration::from_secs(3));
    let later = async || tokio::time::sleep(Duration::from_millis(5)).await;
    edit(&world, &id, json!({"firstName": "Augusta"}));
    later().await;
    let change = json!({"first_name": "By the administrator"});
    world.clerk.update_user(&id, change).expect("changed");
    later().await;
    // One edit of both fields waits now, and this field's part of it is the latest of all.
    edit(&world, &id, json!({"lastName": "King"}));
    eventually("what was later is carried", async || {
        world.clerk.user(&id).expect("a user")["last_name"] == "King"
    })
    .await;
    world.quiet().await;
    assert_eq!(profile(&world, &id)["firstName"], "By the administrator");
    assert_eq!(profile(&world, &id)["lastName"], "King");
    assert!(same(&world, &id));
    assert_eq!(world.clerk.requests().to(PATCH), 1);
    world.agrees().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_edit_on_both_sides_within_a_second_is_asked_for_and_changes_nothing() {
    let world = world().await;
    let (first, second) = (user(&world, "Ada").await, user(&world, "Grace").await);
    world
        .clerk
        .delay(Duration::from_secs(1), Duration::from_secs(1));
    let change = || json!({"first_name": "Augusta"});
    let typed = || json!({"firstName": "Augusta"});
    edit(&world, &first, typed());
    world.clerk.update_user(&first, change()).expect("changed");
    world.clerk.update_user(&second, change()).expect("changed");
    edit(&world, &second, typed());
    eventually("both edits are settled", async || {
        settled(&world, "done").await == 2.0
    })
    .await;
    world.quiet().await;
    for id in [&first, &second] {
        assert_eq!(profile(&world, id)["firstName"], "Augusta");
        assert!(same(&world, id));
    }
    assert_eq!(world.clerk.requests().to(PATCH), 0, "Clerk has it already");
    assert_eq!(world.convex.edits_waiting(), 0);
    world.agrees().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_changed_in_clerk_in_the_moment_of_our_request_is_told_and_put_back() {
    let world = world().await;
    let id = user(&world, "Ada").await;
    let looks = || world.clerk.requests().to("GET /v1/users");
    let before = looks();
    // Our request is under way for so long.
    let late = Wrong::Latency { ms: 2000 };
    world.clerk.fault(Fault::next(PATCH, late));
    edit(&world, &id, json!({"firstName": "Augusta"}));
    eventually("the user was looked at", async || looks() > before).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let change = json!({"first_name": "By the administrator"});
    world.clerk.update_user(&id, change).expect("changed");
    eventually("the edit has overwritten it", async || {
        world.clerk.user(&id).expect("a user")["first_name"] == "Augusta"
    })
    .await;
    eventually("the later word is back", async || {
        world.clerk.user(&id).expect("a user")["first_name"] == "By the administrator"
    })
    .await;
    world.quiet().await;
    assert_eq!(profile(&world, &id)["firstName"], "By the administrator");
    assert!(same(&world, &id));
    assert_eq!(world.clerk.requests().to(PATCH), 2);
    let log = world.door().get(&format!("/log?limit=100&key={id}")).await;
    let entries = log["entries"].as_array().expect("entries");
    let of = |outcome: &str| entries.iter().find(|one| one["outcome"] == outcome);
    let told = of("overwritten").expect("both words");
    let [conflict] = &told["conflict"].as_array().expect("one")[..] else {
        panic!("{told}")
    };
    assert_eq!(conflict["winner"], "clerk");
    let words = [&conflict["clerk"]["value"], &conflict["convex"]["value"]];
    assert_eq!(words, [&json!("B…"), &json!("A…")]);
    assert_eq!(of("restored").map(|one| &one["to"]), Some(&json!("clerk")));
    assert_eq!(world.door().failures().await, Vec::<Value>::new());
    world.agrees().await;
}
