//! G15: Convex is away for a day. Everything is taken in, waits within bounds, and is written once per user afterwards.
//!
//! `CCS_SOAK_OUTAGE_EVENTS` come about `CCS_SOAK_OUTAGE_USERS` within `CCS_SOAK_OUTAGE_SECONDS`; zero: as fast as they
//! are answered. Times are measured and said; the test judges memory, disk, calls, order and what is there in the end.

use std::{
    net::SocketAddr,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use clerk_convex_sync::sandbox::convex::ConvexOptions;
use tokio::{task::JoinSet, time::Instant};

use crate::{
    hand::{created, updated},
    lane::Lane,
    measure::{disk, mib, peak, size},
    process::System,
    world::eventually,
};

const CONNECTIONS: usize = 64;
/// Beside the usual 700 bytes of a body.
const FILLING: usize = 1_300;
/// What the daemon may ever hold, in bytes.
const MEMORY: u64 = 256 << 20;
/// What the journal may take beside twice what waits, in bytes: the segments that it always keeps, the one that is being
/// emptied and the one that is being written.
const SEGMENTS: u64 = 6 * (64 << 20);

/// Versions as the clock gives them: who is changed later has a higher one, whoever it is.
fn now() -> i64 {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    i64::try_from(BEGAN.elapsed().as_micros()).expect("within the life of a machine")
}

/// One connection's users, all of them once, then again, until each has had so many events; how long each answer took.
async fn lane(
    address: SocketAddr,
    users: Vec<usize>,
    versions: usize,
    gap: Duration,
    refused: Arc<AtomicUsize>,
) -> Vec<Duration> {
    let mut lane = Lane::to(address, &refused).await;
    let mut took = Vec::with_capacity(users.len() * versions);
    let mut due = Instant::now();
    for version in 1..=versions {
        for user in &users {
            tokio::time::sleep_until(due).await;
            let id = format!("user_{user}");
            let name = format!("Ada{version}");
            let mut event = match version {
                1 => created(&id, now(), &name),
                _ => updated(&id, now(), &name),
            };
            event["data"]["private_metadata"]["filling"] = "x".repeat(FILLING).into();
            took.push(lane.deliver(&event).await);
            due += gap;
        }
    }
    took
}

/// Delivers events about new users, and waits for the row of each, until it is told to end; how long each took, and how many
/// rows there were then.
async fn fresh(system: &System, over: &AtomicBool) -> Vec<(Duration, usize)> {
    let (mut took, mut looked_at) = (Vec::new(), 0);
    while !over.load(Ordering::Relaxed) {
        let id = format!("user_fresh_{}", took.len());
        let said = Instant::now();
        system.hand().say(&created(&id, now(), "Ada")).await;
        eventually("a new user is there although many wait", async || {
            // Only what is new: the rows are many.
            let new = system.convex.commits(looked_at, usize::MAX);
            looked_at += new.len() as u64;
            new.iter().any(|commit| *commit.key == *id)
        })
        .await;
        took.push((said.elapsed(), system.convex.count("users")));
    }
    took
}

#[tokio::test(flavor = "multi_thread")]
async fn g15_a_day_without_convex_waits_within_bounds_and_is_written_once_per_user() {
    let (events, users) = (size("OUTAGE_EVENTS", 4_000), size("OUTAGE_USERS", 1_000));
    let within = Duration::from_secs(size("OUTAGE_SECONDS", 0) as u64);
    let versions = events.div_ceil(users);
    let convex = ConvexOptions {
        latency: Duration::from_millis(20),
        ..ConvexOptions::default()
    };
    let mut system = System::beside(convex, &[]).await;
    system.set_as_the_unit();
    system.start_daemon().await;
    system.convex.down();

    let refused = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let mut lanes = JoinSet::new();
    for at in 0..CONNECTIONS {
        let share: Vec<usize> = (at..users).step_by(CONNECTIONS).collect();
        let deliveries = u32::try_from(share.len() * versions).expect("few for one connection");
        let gap = within / deliveries.max(1);
        let refused = Arc::clone(&refused);
        lanes.spawn(lane(system.address(), share, versions, gap, refused));
    }
    let mut took: Vec<Duration> = lanes.join_all().await.concat();
    took.sort_unstable();
    let away = began.elapsed();
    let calls = system
        .door()
        .figures()
        .await
        .sum("convex_requests_total", &[]);
    let on_disk = disk(&system.state.path().join("journal"));
    let while_away = peak(system.pid());
    system.door().depth(users).await;

    system.convex.up();
    let began = Instant::now();
    // Nobody asks for up to a minute, which is as long as one waits for anything at once.
    while system.convex.count("users") == 0 {
        assert!(began.elapsed() < Duration::from_secs(180), "nobody asks");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let closed = began.elapsed();
    let over = AtomicBool::new(false);
    let all = async {
        let mut there = 0;
        // One that is new may be among them.
        while there <= users {
            let before = there;
            eventually("more users are there", async || {
                there = system.convex.count("users");
                there > before
            })
            .await;
        }
        over.store(true, Ordering::Relaxed);
        began.elapsed()
    };
    let (fresh, drained) = tokio::join!(fresh(&system, &over), all);
    system.door().idle().await;

    let (slowest, _) = fresh.iter().max().expect("one at least");
    let (_, beside) = fresh[0];
    println!(
        "G15: {} deliveries about {users} users in {away:.1?} without Convex, {} of them refused before, answers p50 {:.1?}, p99 {:.1?}; \
         {} calls meanwhile; {:.1} MiB of journal; all written {drained:.1?} after the return, {closed:.1?} of which nobody asked; \
         {} new users meanwhile, the first one there when {beside} were, the slowest after {slowest:.1?}; {:.1} MiB of memory at most",
        took.len(),
        refused.load(Ordering::Relaxed),
        took[took.len() / 2],
        took[(took.len() - 1) * 99 / 100],
        calls,
        mib(on_disk),
        fresh.len(),
        mib(while_away.max(peak(system.pid()))),
    );
    // A few at first, and one in five seconds at last.
    let patient = 16.0 + away.as_secs_f64() / 5.0;
    assert!((1.0..=patient).contains(&calls), "{calls} within {away:?}");
    let waiting = (users * (FILLING + 800)) as u64;
    assert!(on_disk <= 2 * waiting + SEGMENTS, "{:.1} MiB", mib(on_disk));
    assert!(while_away.max(peak(system.pid())) <= MEMORY, "memory");
    let newest = format!("Ada{versions} Varga");
    let rows = system.convex.rows("users");
    let old: Vec<_> = rows
        .iter()
        .filter(|row| {
            !row["clerkId"]
                .as_str()
                .is_some_and(|id| id.contains("fresh"))
        })
        .filter(|row| row["name"] != newest.as_str())
        .collect();
    assert!(
        old.is_empty(),
        "{} are not the newest: {:?}",
        old.len(),
        old[0]
    );
    assert_eq!(rows.len(), users + fresh.len());
    // A user is two changes, its own and that of its profile.
    let written = system.convex.calls().changes;
    let once = 2 * rows.len() as u64;
    assert_eq!(written, once, "each user's newest event once");
    assert_eq!(system.terminate().await, 0);
}
