//! Keys that are refused and functions that are not there: an outage of one's own making, which a person ends.
//!
//! Nothing is lost, no record pays for it, nobody is hammered, and deliveries go on being taken in.

use std::time::Duration;

use clerk_convex_sync::sandbox::clerk::faults::{Fault, Wrong};
use serde_json::json;

use super::{say, seed};
use crate::{
    hand::{created, updated},
    runs::run,
    world::{World, eventually},
};

/// Long enough for somebody without patience to be seen.
const WHILE: Duration = Duration::from_secs(2);
/// More than the records that may be refused in a row before all are held.
const USERS: usize = 30;

async fn is_raised(world: &World, code: &str) -> bool {
    world.door().alerts().await.contains(&code.to_owned())
}

/// Delivers to a daemon whose Convex refuses everything; answers with the alert's words.
async fn refused(world: &World, from: usize) -> String {
    for user in from..from + USERS {
        let event = created(&format!("user_{user}"), 1, "Ada");
        world.hand().say(&event).await;
    }
    eventually("it is told", async || is_raised(world, "convex_away").await).await;
    let calls = async || {
        let figures = world.door().figures().await;
        figures.sum("convex_requests_total", &[])
    };
    let before = calls().await;
    tokio::time::sleep(WHILE).await;
    let more = calls().await - before;
    assert!(more <= 2.0, "{more} calls in {WHILE:?}");
    assert_eq!(
        world.door().failures().await.len(),
        0,
        "it is not the records' fault"
    );
    let figures = world.door().figures().await;
    assert_eq!(figures.sum("retries_total", &["cause=\"record\""]), 0.0);
    let status = world.door().get("/status").await;
    assert_eq!(status["queue"]["depth"], USERS, "{status}");
    status["alerts"].to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_key_that_is_refused_pauses_everything_but_intake_until_a_new_one_is_there() {
    let world = World::start().await;
    let ours = world.convex.deploy_key();
    let mut users = 0;
    for status in [401, 403] {
        match status {
            401 => world.convex.set_deploy_key("prod:other|another"),
            _ => world.convex.answer(403, "Forbidden").always(),
        }
        let words = refused(&world, users).await;
        assert!(words.contains("CONVEX_DEPLOY_KEY"), "{words}");
        assert!(!words.contains(&ours), "no secret is said");
        users += USERS;
        world.convex.set_deploy_key(&ours);
        world.convex.clear_faults();
        // As after a person has put the new key in place.
        world.daemon().reload().expect("the settings as they are");
        eventually("all are written", async || {
            world.convex.count("users") == users
        })
        .await;
        assert!(!is_raised(&world, "convex_away").await);
    }
    world.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_that_are_not_there_are_an_outage_and_no_fault_of_any_record() {
    // A deploy of the app renamed the module.
    let mut world = World::with(&[("CCS_CONVEX__MODULE", "renamed")]).await;
    let words = refused(&world, 0).await;
    assert!(words.contains("deploy the functions"), "{words}");
    world.stop_daemon().await;
    world.set("CCS_CONVEX__MODULE", "clerkSync");
    world.start_daemon().await;
    eventually("all are written", async || {
        world.convex.count("users") == USERS
    })
    .await;
    assert_eq!(world.door().failures().await.len(), 0);
    world.door().every_delivery_has_one_end(USERS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_key_that_is_refused_is_told_and_only_what_needs_clerk_waits() {
    let seed = seed();
    let world = World::filled(&[("CCS_SCHEDULE__SWEEP", "* * * * * *")], 30).await;
    for status in [401, 403] {
        let wrong = Wrong::Status {
            status,
            retry_after_secs: None,
            json: true,
        };
        world
            .clerk
            .fault(Fault::next("GET /v1/", wrong).times(1_000_000));
        let rows = world.convex.rows("users");
        let error = run(&world.door(), json!({"kind": "reconcile"})).await;
        let error = error.expect_err("it cannot be compared");
        assert!(error.contains("CLERK_SECRET_KEY"), "{error}");
        eventually("it is told", async || is_raised(&world, "run_failed").await).await;
        // Two contents of one version: only Clerk can say which one holds.
        let doubtful = format!("user_doubtful_{status}");
        for name in ["Ada", "Grace"] {
            world.hand().say(&updated(&doubtful, 1, name)).await;
        }
        let sure = format!("user_sure_{status}");
        world.hand().say(&created(&sure, 1, "Ada")).await;
        eventually("what needs no Clerk is written", async || {
            world.user_row(&sure).is_some()
        })
        .await;
        eventually("doubt waits", async || {
            is_raised(&world, "clerk_away").await
        })
        .await;
        let asked = world.clerk.requests().total;
        tokio::time::sleep(WHILE).await;
        let more = world.clerk.requests().total - asked;
        assert!(more <= 4, "{more} requests in {WHILE:?}");
        say(
            "G32",
            seed,
            format!("a key refused with {status}: {more} requests in {WHILE:?}"),
        );
        assert_eq!(world.door().failures().await.len(), 0);
        assert!(
            rows.iter()
                .all(|row| world.convex.rows("users").contains(row))
        );
        world.clerk.clear_faults();
        world.daemon().reload().expect("the settings as they are");
        eventually("Clerk is asked again", async || {
            !is_raised(&world, "clerk_away").await
        })
        .await;
    }
}
