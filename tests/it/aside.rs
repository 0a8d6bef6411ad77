//! Intake shares nothing that can stall: whatever goes on beside it, each delivery is acknowledged.
//!
//! A full diff of thousands, operators who ask for status and metrics all the time and some who read no answer,
//! and a Convex that takes calls and answers none. No time is asserted: each delivery is counted.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use serde_json::json;
use tokio::{io::AsyncWriteExt, net::UnixStream, task::JoinSet};

use crate::{
    door::Door,
    hand::created,
    world::{World, eventually},
};

/// Requests for the status.
const ASKED: usize = 1_000;
/// Users whom the full diff goes through.
const USERS: usize = 500;

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_are_acknowledged_beside_a_full_diff_busy_operators_and_a_service_that_hangs() {
    let world = World::start().await;
    world.clerk.enable_endpoint(false);
    for n in 0..USERS {
        let user = json!({ "first_name": format!("Ada {n}") });
        world.clerk.create_user(user).expect("created");
    }
    let socket = world.daemon().admin_socket().to_owned();
    // Operators who ask and do not listen.
    let mut deaf = Vec::new();
    for _ in 0..5 {
        let mut operator = UnixStream::connect(&socket).await.expect("a connection");
        let asking = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(20);
        operator.write_all(&asking).await.expect("written");
        deaf.push(operator);
    }
    // A call that takes longer than the test: whoever waits for it waits.
    world
        .convex
        .set_latency(std::time::Duration::from_secs(600));
    let run = {
        let socket = socket.clone();
        tokio::spawn(async move {
            let kind = json!({ "kind": "reconcile" });
            Door::at(&socket).text("POST", "/runs", Some(kind)).await
        })
    };
    let mut asking = JoinSet::new();
    let asked = Arc::new(AtomicUsize::new(0));
    for operator in 0..10 {
        let (socket, asked) = (socket.clone(), Arc::clone(&asked));
        asking.spawn(async move {
            let door = Door::at(&socket);
            for n in 0..ASKED / 10 {
                let path = ["/status", "/metrics", "/failures"][(operator + n) % 3];
                assert!(!door.text("GET", path, None).await.is_empty());
                asked.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let over = Arc::new(AtomicBool::new(false));
    let mut sending = JoinSet::new();
    for lane in 0..4 {
        let (hand, over) = (world.hand(), Arc::clone(&over));
        sending.spawn(async move {
            let mut acknowledged = 0;
            while !over.load(Ordering::Relaxed) || acknowledged < 20 {
                let user = format!("user_{lane}_{acknowledged}");
                // Says 200, or panics.
                hand.say(&created(&user, 1, "Ada")).await;
                acknowledged += 1;
            }
            acknowledged
        });
    }
    asking.join_all().await;
    over.store(true, Ordering::Relaxed);
    let acknowledged: usize = sending.join_all().await.into_iter().sum();
    assert_eq!(asked.load(Ordering::Relaxed), ASKED);
    let figures = world.door().figures().await;
    assert_eq!(figures.webhooks("stored"), acknowledged as f64);
    eventually("all of them wait", async || {
        world.door().get("/status").await["queue"]["depth"] == acknowledged
    })
    .await;
    println!(
        "{acknowledged} deliveries, each acknowledged, beside {ASKED} questions of operators and a run that hangs"
    );
    run.abort();
}
