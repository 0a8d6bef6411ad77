//! Users change their profiles in the app, and Clerk hears of it; Clerk is told which row a user has.
//!
//! The real daemon between the simulated ends. The edits are made as the app would make them, Clerk's own
//! changes as an administrator would, both at once where it matters. What is counted is what the simulated
//! Clerk was asked and what both sides hold when it is quiet.

mod both;
mod failures;
mod thousand;
mod told;
mod waiting;

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    samples::node::Host,
    world::{World, eventually},
};

const PATCH: &str = "PATCH /v1/users/{user_id}";
const PATCH_METADATA: &str = "PATCH /v1/users/{user_id}/metadata";
/// The longest name that the simulated Clerk takes has 256 characters.
const TOO_LONG: usize = 300;

/// Lets edits travel.
const ON: (&str, &str) = ("CCS_PROFILE_EDITS__ENABLED", "true");

async fn world() -> World {
    World::with(&[ON]).await
}

/// A user on both sides.
async fn user(world: &World, first_name: &str) -> String {
    let user = json!({"first_name": first_name, "last_name": "Varga",
                      "email_address": [format!("{}@post.example", first_name.to_lowercase())]});
    let id = world.clerk.create_user(user).expect("a user");
    world.quiet().await;
    id
}

fn profile(world: &World, id: &str) -> Value {
    world.convex.row("profiles", id).expect("a profile")
}

fn edit(world: &World, id: &str, fields: Value) {
    let edited = world.convex.edit_profile(id, &fields);
    edited.expect("an edit");
}

/// Edits that were settled this way.
async fn settled(world: &World, result: &str) -> f64 {
    let figures = world.door().figures().await;
    figures.sum("edits_total", &[&format!("result=\"{result}\"")])
}

fn same(world: &World, id: &str) -> bool {
    let (clerk, row) = (world.clerk.user(id).expect("a user"), profile(world, id));
    clerk["first_name"] == row["firstName"] && clerk["last_name"] == row["lastName"]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_reaches_clerk_and_its_echo_starts_nothing() {
    let world = world().await;
    let id = user(&world, "Ada").await;
    edit(
        &world,
        &id,
        json!({"firstName": "Augusta", "lastName": null}),
    );
    assert_eq!(profile(&world, &id)["firstName"], "Augusta");
    eventually("the edit is settled", async || {
        settled(&world, "done").await == 1.0
    })
    .await;
    let shown = world.clerk.user(&id).expect("a user");
    assert_eq!(
        (&shown["first_name"], &shown["last_name"]),
        (&json!("Augusta"), &Value::Null)
    );
    world.quiet().await;
    assert_eq!(world.user_row(&id).expect("a row")["name"], "Augusta");
    assert_eq!(profile(&world, &id)["firstName"], "Augusta");
    let before = world.clerk.requests().total;
    // Another change of the user's: nothing is carried a second time.
    world.clerk.sign_in(&id, true).expect("signed in");
    world.quiet().await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(world.clerk.requests().total, before);
    assert_eq!(world.clerk.requests().to(PATCH), 1);
    assert_eq!(
        world.clerk.fates().sent,
        3,
        "created, the echo, the sign-in"
    );
    world.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_edits_of_a_field_in_ten_seconds_are_two_requests_at_most() {
    let world = world().await;
    let id = user(&world, "Ada").await;
    for n in 0..200 {
        edit(&world, &id, json!({"firstName": format!("Ada {n}")}));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    eventually("the last value is in Clerk", async || {
        world.clerk.user(&id).expect("a user")["first_name"] == "Ada 199"
    })
    .await;
    world.quiet().await;
    assert_eq!(profile(&world, &id)["firstName"], "Ada 199");
    let asked = world.clerk.requests().to(PATCH);
    assert!((1..=2).contains(&asked), "{asked} requests");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_clerk_refuses_goes_back_to_what_clerk_holds() {
    let world = world().await;
    let id = user(&world, "Ada").await;
    edit(
        &world,
        &id,
        json!({"firstName": "x".repeat(TOO_LONG), "lastName": "King"}),
    );
    eventually("the edit is refused", async || {
        settled(&world, "refused").await == 1.0
    })
    .await;
    world.quiet().await;
    assert!(same(&world, &id));
    assert_eq!(profile(&world, &id)["firstName"], "Ada");
    // Who knows whether both were one change: what Clerk takes alone is not lost with the other.
    assert_eq!(profile(&world, &id)["lastName"], "King");
    assert_eq!(world.clerk.requests().to(PATCH), 3);
    // The user may try again.
    edit(&world, &id, json!({"firstName": "Augusta"}));
    eventually("the edit is carried", async || {
        settled(&world, "done").await == 1.0
    })
    .await;
    assert!(same(&world, &id));
    assert_eq!(world.door().failures().await, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_stay_where_they_are_unless_the_configuration_lets_them_travel() {
    let world = World::start().await;
    let id = user(&world, "Ada").await;
    edit(&world, &id, json!({"firstName": "Augusta"}));
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let requests = world.clerk.requests();
    assert_eq!((requests.to(PATCH), requests.to(PATCH_METADATA)), (0, 0));
    assert_eq!(world.convex.calls().counts.get("edits"), None);
}

/// The same with the TypeScript that runs in a deployment in the place of the simulated Convex.
#[tokio::test(flavor = "multi_thread")]
async fn the_real_functions_hold_hand_over_and_put_back() {
    if std::env::var_os("CCS_SKIP_NODE").is_some_and(|value| value == "1") {
        println!("!!! CCS_SKIP_NODE=1: EDITS ARE NOT TRIED WITH THE REAL TYPESCRIPT !!!");
        return;
    }
    let host = Host::start().await;
    let world = World::with(&[
        ("CCS_PROFILE_EDITS__ENABLED", "true"),
        ("CCS_CLERK__WRITE_BACK", "true"),
        ("CONVEX_URL", host.url()),
        ("CONVEX_DEPLOY_KEY", host.key()),
    ])
    .await;
    let names = async || {
        let rows = host.rows("profiles").await;
        let name = |row: &Value| (row["firstName"].clone(), row["lastName"].clone());
        rows.iter().map(name).collect::<Vec<_>>()
    };
    let id = user(&world, "Ada").await;
    host.edit(&id, &json!({"firstName": "Augusta"})).await;
    assert_eq!(names().await, [(json!("Augusta"), json!("Varga"))]);
    eventually("the edit is settled", async || {
        settled(&world, "done").await == 1.0
    })
    .await;
    world.quiet().await;
    assert_eq!(
        world.clerk.user(&id).expect("a user")["first_name"],
        "Augusta"
    );
    assert_eq!(host.rows("users").await[0]["name"], "Augusta Varga");
    host.edit(&id, &json!({"lastName": "x".repeat(TOO_LONG)}))
        .await;
    eventually("the edit is refused", async || {
        settled(&world, "refused").await == 1.0
    })
    .await;
    assert_eq!(names().await, [(json!("Augusta"), json!("Varga"))]);
    let outbox = host.rows("clerkEdits").await;
    let told: Vec<_> = outbox
        .iter()
        .map(|row| (&row["status"], &row["reason"]))
        .collect();
    let code = json!("form_param_max_length_exceeded");
    assert!(told.contains(&(&json!("refused"), &code)), "{told:?}");
    // Back to what stood there before, by the administrator and after the edit: no old news.
    let back = json!({"first_name": "Ada"});
    world.clerk.update_user(&id, back).expect("changed");
    eventually("Clerk's word goes again", async || {
        names().await == [(json!("Ada"), json!("Varga"))]
    })
    .await;
    eventually("Clerk knows the row", async || {
        let shown = world.clerk.user(&id).expect("a user");
        shown["private_metadata"]["convexUserId"] == host.rows("users").await[0]["_id"]
    })
    .await;
    assert_eq!(world.clerk.requests().to(PATCH), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_that_edits_whatever_was_synced_is_stopped() {
    let world = world().await;
    let id = user(&world, "Ada").await;
    // What a trigger of the app would do, each time another value; Clerk's time is not what is tested, so
    // an administrator plays the other half of the circle.
    for n in 0.. {
        edit(&world, &id, json!({"firstName": format!("round {n}")}));
        eventually("the edit is settled", async || {
            let figures = world.door().figures().await;
            figures.sum("edits_total", &[]) > f64::from(n)
        })
        .await;
        if settled(&world, "frozen").await > 0.0 {
            break;
        }
        assert!(n < 6, "it is not stopped");
    }
    assert!(world.clerk.requests().to(PATCH) <= 5);
    let alerts = world.door().alerts().await;
    assert!(alerts.contains(&"edit_loop".to_owned()), "{alerts:?}");
    world.quiet().await;
    assert!(same(&world, &id));
}

#[tokio::test(flavor = "multi_thread")]
async fn clerk_is_told_once_which_row_a_user_has() {
    let world = World::with(&[("CCS_CLERK__WRITE_BACK", "true")]).await;
    let id = user(&world, "Ada").await;
    eventually("Clerk knows the row", async || {
        world.clerk.user(&id).expect("a user")["private_metadata"]["convexUserId"].is_string()
    })
    .await;
    world.quiet().await;
    let row = world.user_row(&id).expect("a row");
    let shown = world.clerk.user(&id).expect("a user");
    assert_eq!(shown["private_metadata"]["convexUserId"], row["_id"]);
    let synced_at = shown["private_metadata"]["syncedAt"]
        .as_str()
        .expect("a time");
    assert!(
        synced_at.ends_with('Z') && synced_at.starts_with("20"),
        "{synced_at}"
    );
    tokio::time::sleep(Duration::from_millis(1000)).await;
    world.quiet().await;
    assert_eq!(
        world.clerk.requests().to(PATCH_METADATA),
        1,
        "the echo is no change"
    );
    assert_eq!(world.clerk.requests().to(PATCH), 0);
    let figures = world.door().figures().await;
    assert_eq!(
        figures.sum("write_backs_total", &["result=\"written\""]),
        1.0
    );
    world.settled().await;
}
