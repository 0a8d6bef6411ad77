//! Users change their profiles in the app, and Clerk hears of it; Clerk is told which row a user has.
//!
//! The real daemon between the simulated ends. The edits are made as the app would make them, Clerk's own
//! changes as an administrator would, both at once where it matters. What is counted is what the simulated
//! Clerk was asked and what both sides hold when it is quiet.

use std::time::Duration;

use clerk_convex_sync::sandbox::{
    clerk::faults::{Fault, Wrong},
    convex::Commit,
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

use crate::{
    samples::node::Host,
    world::{World, eventually},
};

const PATCH: &str = "PATCH /v1/users/{user_id}";
const PATCH_METADATA: &str = "PATCH /v1/users/{user_id}/metadata";
/// The longest name that the simulated Clerk takes has 256 characters.
const TOO_LONG: usize = 300;

async fn world() -> World {
    World::with(&[("CCS_PROFILE_EDITS__ENABLED", "true")]).await
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
    assert_eq!(profile(&world, &id)["lastName"], "Varga");
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

/// Edits and an administrator's changes at once, while both services fail at random.
#[tokio::test(flavor = "multi_thread")]
async fn many_users_changed_on_both_sides_under_failures_end_equal() {
    const USERS: usize = 60;
    let world = world().await;
    let mut ids = Vec::new();
    for n in 0..USERS {
        let user = json!({"first_name": format!("Ada{n}"), "last_name": "Varga"});
        ids.push(world.clerk.create_user(user).expect("a user"));
    }
    world.quiet().await;
    let before = world.convex.commits(0, usize::MAX).len() as u64;
    let mut dice = StdRng::seed_from_u64(20_260_202);
    for _ in 0..12 {
        let wrong = match dice.random_range(0..4) {
            0 => Wrong::CutAnswer,
            1 => Wrong::Cut,
            2 => Wrong::Garbage,
            _ => Wrong::Status {
                status: 500,
                retry_after_secs: None,
                json: true,
            },
        };
        let after = dice.random_range(0..40);
        world.clerk.fault(Fault::next(PATCH, wrong).after(after));
    }
    for function in ["settle", "edits", "apply"] {
        world
            .convex
            .answer(503, "Overloaded")
            .of(function)
            .for_calls(2);
    }
    for (n, id) in ids.iter().enumerate() {
        let in_app = json!({"firstName": format!("App{n}")});
        let in_clerk = json!({"first_name": format!("Clerk{n}")});
        let other = json!({"last_name": format!("King{n}")});
        match n % 3 {
            0 => edit(&world, id, in_app),
            1 => {
                edit(&world, id, in_app);
                world.clerk.update_user(id, in_clerk).expect("changed");
            }
            _ => {
                world.clerk.update_user(id, other).expect("changed");
                edit(&world, id, in_app);
            }
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    eventually("both sides are equal", async || {
        ids.iter().all(|id| same(&world, id))
    })
    .await;
    eventually("no edit waits", async || {
        let figures = world.door().figures().await;
        let all = figures.sum("edits_total", &[]);
        all + (0..USERS).filter(|n| n % 3 == 1).count() as f64 >= USERS as f64
    })
    .await;
    world.quiet().await;
    assert!(ids.iter().all(|id| same(&world, id)));
    for (n, id) in ids.iter().enumerate() {
        let first_name = &profile(&world, id)["firstName"];
        match n % 3 {
            0 | 2 => assert_eq!(*first_name, format!("App{n}"), "the edit was the later one"),
            _ => assert!(
                *first_name == format!("App{n}") || *first_name == format!("Clerk{n}"),
                "{first_name}"
            ),
        }
        let path = format!("/v1/users/{id}");
        let requests = world.clerk.requests();
        let writes = requests
            .last()
            .filter(|r| r.path == path && r.endpoint == PATCH && r.status == 200);
        assert!(writes.count() <= 2, "{id}");
    }
    // The app's own edits are no writes of the daemon's: its commits after them are.
    for (id, table) in ids.iter().flat_map(|id| [(id, "users"), (id, "profiles")]) {
        let of_row = |commit: &&Commit| commit.table == table && *commit.key == **id;
        let commits = world.convex.commits(before, usize::MAX);
        let written = commits.iter().filter(of_row).count();
        assert!(written <= 2, "{table} {id}: {written} writes");
    }
    assert_eq!(world.door().failures().await, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_that_edits_whatever_was_synced_is_stopped() {
    let world = World::with(&[("CCS_PROFILE_EDITS__ENABLED", "true")]).await;
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
