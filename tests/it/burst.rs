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

use tokio::{task::JoinSet, time::Instant};

use crate::{
    hand::created, lane::Lane, measure::size, process::System, runs::keys, world::eventually,
};

const CONNECTIONS: usize = 256;
/// Beside the usual 700 bytes of a body.
const FILLING: usize = 1_300;

/// One connection's share: from its first delivery to the answer of its last. `gap` is the time between two of them.
async fn lane(
    address: SocketAddr,
    users: Vec<String>,
    gap: Duration,
    refused: Arc<AtomicUsize>,
) -> Vec<Duration> {
    let mut lane = Lane::to(address, &refused).await;
    let mut took = Vec::with_capacity(users.len());
    let begun = Instant::now();
    for (at, user) in users.iter().enumerate() {
        let mut event = created(user, 1, "Ada");
        event["data"]["private_metadata"]["filling"] = "x".repeat(FILLING).into();
        let due = gap * u32::try_from(at).expect("few for one connection");
        tokio::time::sleep_until(begun + due).await;
        took.push(lane.deliver(&event).await);
    }
    took
}

/// Sends so many within this time; how long each answer took that said "stored". What is refused is counted meanwhile.
async fn burst(
    system: &System,
    name: &str,
    deliveries: usize,
    within: Duration,
    refused: &Arc<AtomicUsize>,
) -> Vec<Duration> {
    let mut lanes = JoinSet::new();
    for at in 0..CONNECTIONS.min(deliveries) {
        let share = (at..deliveries).step_by(CONNECTIONS);
        let users: Vec<String> = share.map(|n| format!("user_{name}_{n}")).collect();
        let gap = within / u32::try_from(users.len()).expect("few for one connection");
        lanes.spawn(lane(system.address(), users, gap, Arc::clone(refused)));
    }
    let mut took = lanes.join_all().await.concat();
    took.sort_unstable();
    took
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
    let refused = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let answers = burst(&system, "free", deliveries, within, &refused).await;
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
        refused.load(Ordering::Relaxed),
        answers[deliveries / 2],
        answers[(deliveries - 1) * 99 / 100],
        answers[deliveries - 1],
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
    let (answers, ()) = tokio::join!(sent, resumed);
    assert_eq!(answers.len(), deliveries);
    all_are_there(&system, "bound", deliveries).await;
    assert_eq!(system.convex.count("users"), deliveries);
    system.door().every_delivery_has_one_end(0).await;
    println!(
        "G05: {deliveries} deliveries where {bound} may wait: {} answered 503 with Retry-After, all stored when they came again",
        refused.load(Ordering::Relaxed)
    );
}
