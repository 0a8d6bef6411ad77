//! G34, G40: a network that fails in the usual ways, and addresses that nobody asked to visit.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::{Between, Deed, Play, say, seed, size};
use crate::{
    hand::{created, new_id},
    world::{World, eventually},
};

/// How the wire to Convex fails: nobody answers, everything is hung up on, half an answer and then nothing.
fn outages() -> Vec<(&'static str, Play)> {
    let minute = Duration::from_secs(60);
    vec![
        ("silence", Play::bytes("").every(minute)),
        ("hung up", Play::bytes("")),
        (
            "half",
            Play::bytes("HTTP/1.1 200 OK\r\ncontent-le").every(minute),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn g34_whatever_the_network_does_deliveries_are_taken_in_and_written_when_it_is_back() {
    let (seed, events) = (seed(), size("G34_EVENTS", 40));
    let (world, _, wire) = World::wired(&[("CCS_CONVEX__TIMEOUT", "1s")]).await;
    let mut users = 0;
    for (how, play) in outages() {
        wire.rule(move |_| Deed::Say(play.clone()));
        let mut slowest = Duration::ZERO;
        for _ in 0..events {
            users += 1;
            let asked = Instant::now();
            let event = created(&format!("user_{users}"), 1, "Ada");
            assert_eq!(
                world.hand().deliver(&new_id(), &event).await.status,
                200,
                "{how}"
            );
            slowest = slowest.max(asked.elapsed());
        }
        eventually("it is noticed", async || {
            world
                .door()
                .alerts()
                .await
                .contains(&"convex_away".to_owned())
        })
        .await;
        wire.pass();
        let back = Instant::now();
        eventually("all are written", async || {
            world.convex.count("users") == users
        })
        .await;
        let back = back.elapsed();
        say(
            "G34",
            seed,
            format!("{how}: slowest answer {slowest:.1?}, written {back:.1?} after its return"),
        );
        assert!(back < Duration::from_secs(30), "{how}: {back:?}");
    }
    assert_eq!(world.door().failures().await.len(), 0);
    world.settled().await;
}

/// How many requests came to the address of two users' pictures, through deliveries, an audit and a full diff.
/// `lured`: it is Clerk's address as well, where the daemon does go.
async fn visits(lured: bool) -> usize {
    let (world, clerk, _) = World::wired(&[]).await;
    let canary = match lured {
        true => clerk,
        false => Between::before(world.clerk.url()).await,
    };
    let picture = format!("{}/face.png", canary.url);
    let mut event = created("user_1", 1, "Ada");
    event["data"]["image_url"] = picture.as_str().into();
    world.hand().say(&event).await;
    let bea = json!({"first_name": "Bea"});
    let id = world.clerk.create_user(bea).expect("created");
    world.quiet().await;
    // Nobody but the event knows of the first one: the diff takes it away again.
    let row = world.user_row("user_1").expect("a row");
    assert_eq!(row["imageUrl"], picture.as_str());
    assert!(world.user_row(&id).is_some());
    world.report("audit").await;
    world.report("reconcile").await;
    // Whoever has set out by now arrives by then.
    tokio::time::sleep(Duration::from_millis(200)).await;
    canary.count()
}

#[tokio::test(flavor = "multi_thread")]
async fn g40_the_address_of_a_picture_is_data_and_nobody_goes_there() {
    assert_eq!(visits(false).await, 0, "somebody came");
    say("G40", seed(), "0 visits to the address of a picture");
}

#[tokio::test(flavor = "multi_thread")]
async fn g40_who_goes_to_the_address_of_a_picture_is_noticed() {
    assert!(visits(true).await > 0, "nobody sees that the daemon comes");
}
