//! Large bodies (G09): where the bound lies, what many at once take, and that a signed one over it is told of.
//!
//! `bounds.rs` has what is answered beyond the bound, `strangers.rs` two lengths at once, `answers.rs` what is
//! compressed; how much is read of a body without an end stands beside the code, where it can be counted.
//! `CCS_SOAK_BODIES` is how many large bodies come at once.

use serde_json::Value;

use crate::{
    answers::{counted, signed},
    hand::{created, new_id},
    measure::{memory, mib, size},
    process::System,
    wire::{Wire, ask, post},
    world::{World, eventually},
};

/// A large body, in bytes; half of what is allowed.
const LARGE: usize = 512 * 1024;
/// What memory may grow by, in bytes.
const GROWTH: u64 = 160 << 20;
const TOO_LARGE: &str = "delivery_too_large";

/// An event of exactly so many bytes. Its type is not synced, so nothing of it is kept.
fn event_of(bytes: usize) -> Vec<u8> {
    let mut event = created("user_large", 1, "Ada");
    event["type"] = "session.created".into();
    event["padding"] = "".into();
    let bare = event.to_string().len();
    event["padding"] = Value::from("x".repeat(bytes - bare));
    let body = event.to_string().into_bytes();
    assert_eq!(body.len(), bytes);
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_the_bound_is_taken_and_a_signed_one_over_it_is_told_of() {
    const BOUND: usize = 20_000;
    let world = World::with(&[("CCS_LISTEN__MAX_BODY_BYTES", "20000")]).await;
    let address = world.daemon().public_addr();
    let told = async || world.door().alerts().await.contains(&TOO_LARGE.to_owned());
    let fits = event_of(BOUND);
    let reply = ask(address, &post(&signed(&fits), &fits)).await;
    assert_eq!(reply.expect("an answer").status, 200);

    let over = event_of(BOUND + 1);
    let mut forged = signed(&over);
    forged[2].1 = "v1,Zm9yZ2Vk".to_owned();
    // Nobody is told of what somebody else sends, or of what is beyond all bounds.
    let vast = event_of(4 * BOUND + 1);
    for (headers, body) in [(forged, &over), (signed(&vast), &vast)] {
        let mut wire = Wire::to(address).await;
        wire.write(&post(&headers, body)).await;
        assert_eq!(wire.reply().await.expect("an answer").status, 413);
        // It has been looked at, or not, when the connection ends.
        wire.hung_up().await;
        assert!(!told().await);
    }
    eventually("a signed one is told of", async || {
        let mut wire = Wire::to(address).await;
        wire.write(&post(&signed(&over), &over)).await;
        assert_eq!(wire.reply().await.expect("an answer").status, 413);
        wire.hung_up().await;
        told().await
    })
    .await;
    let alerts = world.door().get("/status").await["alerts"].to_string();
    assert!(alerts.contains("of 20001 bytes"), "{alerts}");
    assert_eq!(counted(&world, "stored").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn g09_many_large_bodies_at_once_take_no_more_memory_than_they_may() {
    let bodies = size("BODIES", 60);
    let system = System::start().await;
    let body = event_of(LARGE);
    let one = ask(system.address(), &post(&signed(&body), &body)).await;
    assert_eq!(one.expect("an answer").status, 200);
    let before = memory(system.pid());
    let mut open = Vec::new();
    for _ in 0..bodies {
        let mut wire = Wire::to(system.address()).await;
        let mut headers = signed(&body);
        headers.push(("x-request".to_owned(), new_id()));
        let request = post(&headers, &body);
        wire.write(&request[..request.len() - 1]).await;
        open.push(wire);
    }
    let mut most = memory(system.pid());
    // All are there but for their last byte.
    eventually("they have been read", async || {
        let now = memory(system.pid());
        let rests = now <= most;
        most = most.max(now);
        rests
    })
    .await;
    let last = &body[body.len() - 1..];
    let (mut taken, mut crowded) = (0, 0);
    for wire in &mut open {
        wire.write(last).await;
        match wire.reply().await.expect("an answer") {
            reply if reply.status == 200 => taken += 1,
            reply => {
                assert_eq!(
                    (reply.status, reply.header("retry-after")),
                    (503, Some("1"))
                );
                crowded += 1;
            }
        }
        most = most.max(memory(system.pid()));
    }
    let grown = most.saturating_sub(before);
    println!(
        "G09: {bodies} bodies of {} KiB at once, {taken} taken in, {crowded} sent away; memory +{:.1} MiB",
        LARGE / 1024,
        mib(grown)
    );
    assert!(grown <= GROWTH, "memory grew by {:.1} MiB", mib(grown));
    // All of the room is for 256 of them.
    assert!(crowded == 0 || bodies > 250, "{crowded} of {bodies}");
    let again = ask(system.address(), &post(&signed(&body), &body)).await;
    assert_eq!(
        again.expect("an answer").status,
        200,
        "the room is given back"
    );
}
