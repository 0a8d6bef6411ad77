//! G30: what the daemon takes while nothing happens, and with much that waits. Measured and said; memory is judged.
//!
//! `CCS_SOAK_IDLE_SECONDS` is how long it is watched, `CCS_SOAK_WAITING` how many events wait when it starts,
//! `CCS_SOAK_KNOWN` how many users it knows.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    hand::created,
    measure::{memory, mib, open_files, own_memory, peak, processor, size, threads},
    process::System,
    runs::report,
    services::send,
};

/// What it may hold while nothing happens, in bytes.
const IDLE: u64 = 40 << 20;
/// What it may ever hold, in bytes.
const PEAK: u64 = 256 << 20;

/// With the schedule that it has unless told otherwise.
const BY_DEFAULT: [(&str, &str); 3] = [
    ("CCS_SCHEDULE__SWEEP", ""),
    ("CCS_SCHEDULE__CENSUS", ""),
    ("CCS_SCHEDULE__FULL", ""),
];

#[tokio::test(flavor = "multi_thread")]
async fn g30_at_rest_the_daemon_takes_little() {
    let watched = Duration::from_secs(size("IDLE_SECONDS", 2) as u64);
    let began = Instant::now();
    let system = System::with(&BY_DEFAULT).await;
    let started = began.elapsed();
    system.hand().say(&created("user_1", 1, "Ada")).await;
    system.door().idle().await;
    let (spent, from) = (processor(system.pid()), Instant::now());
    tokio::time::sleep(watched).await;
    let share = (processor(system.pid()) - spent).as_secs_f64() / from.elapsed().as_secs_f64();
    let (now, most) = (memory(system.pid()), peak(system.pid()));
    let own = own_memory(system.pid());
    println!(
        "G30: at rest {:.1} MiB of memory, {:.1} of them its own ({:.1} at most), {:.2} % of a processor over {watched:?}, {} threads, {} \
         descriptors; ready {started:.2?} after the first start",
        mib(now),
        mib(own),
        mib(most),
        100.0 * share,
        threads(system.pid()),
        open_files(system.pid()).map_or("?".to_owned(), |files| files.to_string()),
    );
    // The file of a debug build is many times that of a release.
    let judged = if cfg!(debug_assertions) { own } else { now };
    assert!(judged <= IDLE, "{:.1} MiB at rest", mib(judged));
}

#[tokio::test(flavor = "multi_thread")]
async fn g30_with_much_that_waits_it_starts_and_drains_within_its_memory() {
    let (waiting, known) = (size("WAITING", 1_000), size("KNOWN", 500));
    let mut system = System::prepared(&[]).await;
    system.clerk.seed_users(known);
    system.start_daemon().await;
    // The users that it knows are in the ledger.
    report(&system.door(), "reconcile").await;
    system.convex.down();
    let events = (0..waiting).map(|n| created(&format!("user_{n}"), 1, "Ada"));
    send(&system.hand(), events.collect()).await;
    let while_away = peak(system.pid());
    assert_eq!(system.terminate().await, 0);
    let began = Instant::now();
    system.start_daemon().await;
    let started = began.elapsed();
    assert_eq!(system.recovered(), waiting);
    let at_start = memory(system.pid());
    system.convex.up();
    system.door().idle().await;
    let drained = began.elapsed() - started;
    let most = while_away.max(peak(system.pid()));
    println!(
        "G30: {known} users known and {waiting} events waiting: ready {started:.2?} after the start with {:.1} MiB, empty \
         {drained:.1?} later, {:.1} MiB at most",
        mib(at_start),
        mib(most),
    );
    assert_eq!(system.convex.count("users"), known + waiting);
    assert!(most <= PEAK, "{:.1} MiB", mib(most));
    assert_eq!(system.terminate().await, 0);
}
