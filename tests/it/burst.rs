//! G05: a burst over 256 connections that are kept open. Each request has an answer, and what was refused for want
//! of room is stored when it comes again.
//!
//! `CCS_SOAK_BURST` is the number of deliveries, `CCS_SOAK_BURST_SECONDS` the time in which they arrive; zero: as
//! fast as they are answered. Times are measured and said; the test judges answers only.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use clerk_convex_sync::sandbox::clerk::DEFAULT_WEBHOOK_SECRET;
use tokio::{task::JoinSet, time::Instant};

use crate::{
    hand::created,
    measure::size,
    process::System,
    runs::keys,
    wire::{Wire, post, signed_headers},
    world::eventually,
};

const CONNECTIONS: usize = 256;
/// Before a refused delivery comes again. Senders wait longer than `Retry-After` says; a test does not.
const AGAIN: Duration = Duration::from_millis(50);
/// Beside the usual 700 bytes of a body.
const FILLING: usize = 1_300;

/// What came of a burst.
#[derive(Default)]
struct Burst {
    /// How long the answer took that said "stored".
    took: Vec<Duration>,
    refused: usize,
}

/// One connection's share: from its first delivery to the answer of its last. `gap` is the time between two of them.
async fn lane(
    address: SocketAddr,
    users: Vec<String>,
    gap: Duration,
    refused: Arc<AtomicUsize>,
) -> Burst {
    let mut wire = Wire::to(address).await;
    let mut burst = Burst::default();
    let begun = Instant::now();
    for (at, user) in users.iter().enumerate() {
        let mut event = created(user, 1, "Ada");
        event["data"]["private_metadata"]["filling"] = "x".repeat(FILLING).into();
        let body = event.to_string().into_bytes();
        let request = post(&signed_headers(&[DEFAULT_WEBHOOK_SECRET], &body), &body);
        let due = gap * u32::try_from(at).expect("few for one connection");
        tokio::time::sleep_until(begun + due).await;
        loop {
            let asked = Instant::now();
            wire.write(&request).await;
            // None within half a minute, and the end of the connection, are failures.
            let reply = wire.reply().await.expect("each request is answered");
            match reply.status {
                200 => {
                    burst.took.push(asked.elapsed());
                    break;
                }
                503 => {
                    let wait = reply.header("retry-after").expect("a time to come again");
                    assert!(wait.parse::<u64>().is_ok_and(|wait| wait > 0), "{wait}");
                    burst.refused += 1;
                    refused.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(AGAIN).await;
                }
                other => panic!("{other}: {reply:?}"),
            }
        }
    }
    burst
}

/// Sends so many within this time; what is refused is counted while it goes on.
async fn burst(
    system: &System,
    name: &str,
    deliveries: usize,
    within: Duration,
    refused: &Arc<AtomicUsize>,
) -> Burst {
    let mut lanes = JoinSet::new();
    for at in 0..CONNECTIONS.min(deliveries) {
        let share = (at..deliveries).step_by(CONNECTIONS);
        let users: Vec<String> = share.map(|n| format!("user_{name}_{n}")).collect();
        let gap = within / u32::try_from(users.len()).expect("few for one connection");
        lanes.spawn(lane(system.address(), users, gap, Arc::clone(refused)));
    }
    let mut all = Burst::default();
    while let Some(one) = lanes.join_next().await {
        let one = one.expect("no connection fails");
        all.took.extend(one.took);
        all.refused += one.refused;
    }
    all.took.sort_unstable();
    all
}

/// Convex holds each of these users once.
async fn all_are_there(system: &System, name: &str, deliveries: usize) {
    system.door().idle().await;
    let there = keys(&system.convex, "users");
    let missing = (0..deliveries).filter(|n| !there.contains(&format!("user_{name}_{n}")));
    assert_eq!(missing.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn g05_each_request_of_a_burst_is_answered_and_all_of_it_is_stored() {
    let deliveries = size("BURST", 2_000);
    let within = Duration::from_secs(size("BURST_SECONDS", 0) as u64);
    let system = System::start().await;
    let refused = Arc::default();
    let began = Instant::now();
    let free = burst(&system, "free", deliveries, within, &refused).await;
    let took = began.elapsed();
    all_are_there(&system, "free", deliveries).await;
    let figures = system.door().figures().await;
    assert_eq!(figures.webhooks("stored"), deliveries as f64);
    assert_eq!(figures.sum("handler_panics_total", &[]), 0.0);
    system.door().every_delivery_has_one_end(0).await;
    println!(
        "G05: {deliveries} deliveries over {CONNECTIONS} connections in {took:.1?}: {:.0} a second stored, {} refused \
         before, answers p50 {:.1?}, p99 {:.1?}, slowest {:.1?}",
        deliveries as f64 / took.as_secs_f64(),
        free.refused,
        free.took[deliveries / 2],
        free.took[(deliveries - 1) * 99 / 100],
        free.took[deliveries - 1],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn g05_what_a_burst_has_no_room_for_is_refused_in_so_many_words_and_stored_later() {
    let deliveries = size("BURST", 2_000).min(5_000);
    let bound = (deliveries / 4).to_string();
    let system = System::with(&[("CCS_STATE__MAX_QUEUE_EVENTS", &bound)]).await;
    system.door().pause(true).await;
    let refused = Arc::new(AtomicUsize::new(0));
    let sent = burst(&system, "bound", deliveries, Duration::ZERO, &refused);
    let resumed = async {
        eventually("the queue is full", async || {
            refused.load(Ordering::Relaxed) >= CONNECTIONS
        })
        .await;
        system.door().pause(false).await;
    };
    let (sent, ()) = tokio::join!(sent, resumed);
    assert_eq!(sent.took.len(), deliveries);
    all_are_there(&system, "bound", deliveries).await;
    assert_eq!(system.convex.count("users"), deliveries);
    system.door().every_delivery_has_one_end(0).await;
    println!(
        "G05: {deliveries} deliveries where {bound} may wait: {} answered 503 with Retry-After, all stored when they came again",
        sent.refused
    );
}
