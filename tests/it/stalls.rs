//! G27: nothing stands still in silence. While 256 connections never rest, no second passes without an acknowledgement.
//!
//! `CCS_SOAK_STALL_SECONDS` is how long that goes on. What the machine takes is not the daemon's: a witness beside the
//! senders syncs a file of its own on the same disk all the time, and how long it was held up meanwhile is taken off.

use std::{
    collections::BTreeMap,
    io::{Seek, Write},
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use crate::{hand::updated, lane::Lane, measure::size, process::System, world::eventually};

const CONNECTIONS: usize = 256;
/// Whose users take their turns; few enough that a row is there for each soon after the last answer.
const USERS_OF_EACH: usize = 4;
/// From which time without an acknowledgement on something stands still.
const LONG: Duration = Duration::from_secs(1);
/// How often the witness looks, and from which time on it was held up.
const LOOK: Duration = Duration::from_millis(10);
const HELD_UP: Duration = Duration::from_millis(200);

/// What the senders saw together.
#[derive(Default)]
struct Seen {
    /// When the last acknowledgement came, in microseconds since the beginning.
    last: AtomicU64,
    acknowledged: AtomicU64,
    refused: Arc<AtomicUsize>,
    /// The longest times without one.
    pauses: Mutex<Vec<Span>>,
}

/// From when until when, since the beginning.
type Span = (Duration, Duration);

impl Seen {
    /// One has come.
    fn acknowledged(&self, at: Duration) {
        let now = u64::try_from(at.as_micros()).expect("within the life of a machine");
        let last = self.last.fetch_max(now, Ordering::Relaxed);
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
        self.paused(Duration::from_micros(last), at);
    }

    fn paused(&self, from: Duration, to: Duration) {
        if to.saturating_sub(from) >= HELD_UP {
            let mut pauses = self.pauses.lock().expect("no panic while held");
            pauses.push((from, to));
        }
    }
}

/// Looks how long the machine and its disk hold up somebody who has nothing to do with the daemon.
struct Witness {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Span>>,
}

impl Witness {
    /// Beside the state of this daemon.
    fn begin(system: &System, began: Instant) -> Witness {
        let beside = system.state.path().parent().expect("a directory");
        let mut file = tempfile::tempfile_in(beside).expect("a file");
        let over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            let mut held_up = Vec::new();
            let mut from = began.elapsed();
            while !ended.load(Ordering::Relaxed) {
                std::thread::sleep(LOOK);
                file.rewind().expect("a file of ours");
                file.write_all(b"here").expect("a disk with room");
                file.sync_data().expect("a disk that works");
                let now = began.elapsed();
                if now - from >= HELD_UP {
                    held_up.push((from, now));
                }
                from = now;
            }
            held_up
        });
        Witness { over, thread }
    }

    /// When it was held up.
    fn end(self) -> Vec<Span> {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().expect("a witness that goes on")
    }
}

/// What of a pause is left without the times in which the machine stood still.
fn own(pause: Span, held_up: &[Span]) -> Duration {
    let common = |other: &Span| {
        let end = pause.1.min(other.1);
        end.saturating_sub(pause.0.max(other.0))
    };
    (pause.1 - pause.0).saturating_sub(held_up.iter().map(common).sum())
}

/// One connection's deliveries, each sent when the one before it is answered; the last version of each of its users.
async fn lane(
    address: SocketAddr,
    name: String,
    seen: Arc<Seen>,
    began: Instant,
    ends: Duration,
) -> Vec<(String, i64)> {
    let mut lane = Lane::to(address, &seen.refused).await;
    let mut users: Vec<_> = (0..USERS_OF_EACH)
        .map(|n| (format!("user_{name}_{n}"), 0))
        .collect();
    for turn in 0.. {
        if began.elapsed() >= ends {
            break;
        }
        let (id, version) = &mut users[turn % USERS_OF_EACH];
        *version += 1;
        lane.deliver(&updated(id, *version, &format!("Ada{version}")))
            .await;
        seen.acknowledged(began.elapsed());
    }
    users
}

/// What so long a time without rest brought.
#[derive(Debug)]
pub struct Restless {
    pub acknowledged: u64,
    pub refused: usize,
    /// The longest time without an acknowledgement for which nobody but the daemon can be blamed.
    pub longest: Duration,
    /// How long the machine stood still.
    pub held_up: Duration,
}

impl Restless {
    /// Whether something stood still.
    pub fn stalls(&self) -> bool {
        self.longest >= LONG
    }
}

/// Keeps a daemon busy for so long; every row is the newest one afterwards.
pub async fn without_rest(system: &System, ends: Duration) -> Restless {
    let began = Instant::now();
    let seen = Arc::new(Seen::default());
    let witness = Witness::begin(system, began);
    let mut lanes = JoinSet::new();
    for at in 0..CONNECTIONS {
        let (address, seen) = (system.address(), Arc::clone(&seen));
        lanes.spawn(lane(address, at.to_string(), seen, began, ends));
    }
    let mut newest = Vec::new();
    while let Some(users) = lanes.join_next().await {
        newest.extend(users.expect("no connection fails"));
    }
    let held_up = witness.end();
    system.door().idle().await;
    eventually("every row is the newest one", async || {
        let rows = system.convex.rows("users");
        let names: BTreeMap<_, _> = rows
            .iter()
            .filter_map(|row| Some((row["clerkId"].as_str()?, row["name"].as_str()?)))
            .collect();
        let is_there = |(id, version): &(String, i64)| {
            *version == 0 || names.get(id.as_str()) == Some(&&*format!("Ada{version} Varga"))
        };
        newest.iter().all(is_there)
    })
    .await;
    let pauses = seen.pauses.lock().expect("no panic while held");
    let longest = pauses.iter().map(|pause| own(*pause, &held_up)).max();
    Restless {
        acknowledged: seen.acknowledged.load(Ordering::Relaxed),
        refused: seen.refused.load(Ordering::Relaxed),
        longest: longest.unwrap_or_default(),
        held_up: held_up.iter().map(|(from, to)| *to - *from).sum(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn g27_no_second_passes_without_an_acknowledgement() {
    let seconds = size("STALL_SECONDS", 4);
    let system = System::start().await;
    let restless = without_rest(&system, Duration::from_secs(seconds as u64)).await;
    assert!(
        restless.acknowledged > 0 && !restless.stalls(),
        "{restless:?}"
    );
    println!(
        "G27: {} deliveries over {CONNECTIONS} connections in {seconds} s, {} refused before; the longest time without an \
         acknowledgement {:.1?} beside {:.1?} in which the machine stood still (less than {HELD_UP:?} is not told)",
        restless.acknowledged, restless.refused, restless.longest, restless.held_up,
    );
}

#[test]
fn what_the_machine_took_is_not_the_daemons() {
    let at = Duration::from_secs;
    let pause = (at(10), at(14));
    assert_eq!(own(pause, &[]), at(4));
    assert_eq!(own(pause, &[(at(1), at(11)), (at(13), at(20))]), at(2));
    assert_eq!(own(pause, &[(at(1), at(9)), (at(15), at(20))]), at(4));
    assert_eq!(own(pause, &[(at(9), at(20))]), at(0));
}
