//! Goals about the two services: what they may do to the daemon, and what it may never do because of it.
//!
//! Each test is named after its goal and says in one line what it measured and under which seed. The size is
//! small here; an environment variable named in the test makes it as large as one likes, `GOAL_SEED` repeats a
//! run. Most of them put a stretch of wire ([`between::Between`]) before a simulated service.

mod away;
mod between;
mod convex;
mod drift;
mod hostile;
mod keys;
mod manners;
mod network;
mod pins;
pub mod refused;
mod shuffled;
pub mod tls;

use std::{
    collections::{HashMap, HashSet},
    fmt::Display,
    str::FromStr,
};

use clerk_convex_sync::sandbox::convex::ConvexSim;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{door::Door, hand::Hand, world::World};

pub use between::{Between, Cut, Deed, Heard, Play};

/// Deliveries under way at once.
const SENDERS: usize = 16;

/// What this variable says, or the short form's size.
pub fn size<T: FromStr>(variable: &str, short: T) -> T {
    let said = std::env::var(variable).ok();
    said.map_or(short, |text| {
        let size = text.parse();
        size.unwrap_or_else(|_| panic!("{variable} is no number: {text}"))
    })
}

/// The seed of this run: `GOAL_SEED`, or another one each time.
pub fn seed() -> u64 {
    size("GOAL_SEED", rand::random())
}

/// The line that a goal says of itself.
pub fn say(goal: &str, seed: u64, measured: impl Display) {
    println!("{goal}: {measured}; GOAL_SEED={seed}");
}

/// Delivers all of these, many at once; each must be acknowledged.
pub async fn send(hand: &Hand, events: Vec<Value>) {
    let mut shares = vec![Vec::new(); SENDERS];
    for (at, event) in events.into_iter().enumerate() {
        shares[at % SENDERS].push(event);
    }
    let mut senders = JoinSet::new();
    for share in shares {
        let hand = hand.clone();
        senders.spawn(async move {
            for event in share {
                hand.say(&event).await;
            }
        });
    }
    senders.join_all().await;
}

/// No row was written twice with one version, or with an older one after a newer.
pub fn never_twice_never_back(convex: &ConvexSim) {
    let mut newest: HashMap<(&str, String), f64> = HashMap::new();
    let gone: HashMap<&str, HashSet<String>> =
        ["users", "profiles", "organizations", "memberships"]
            .map(|table| (table, convex.tombstones(table).into_iter().collect()))
            .into();
    for commit in convex.commits(0, usize::MAX) {
        let row = (commit.table, commit.key.to_string());
        // A deletion is noted with the version of the row that goes.
        let deleted = gone[commit.table].contains(&row.1);
        let before = newest.insert(row, commit.version);
        let again = deleted && before == Some(commit.version);
        assert!(
            again || before < Some(commit.version),
            "{commit:?} after {before:?}"
        );
    }
}

/// Lets all dead letters try again.
pub async fn retry_all(door: &Door) {
    let wish = Some(json!({ "all": true }));
    door.order("POST", "/failures/retry", wish).await;
}

impl World {
    /// A world with a stretch of wire before Clerk and one before Convex.
    pub async fn wired(settings: &[(&str, &str)]) -> (World, Between, Between) {
        let mut world = World::with(settings).await;
        world.stop_daemon().await;
        let clerk = Between::before(world.clerk.url()).await;
        let convex = Between::before(world.convex.url()).await;
        world.set("CLERK_API_URL", &clerk.url);
        world.set("CONVEX_URL", &convex.url);
        world.start_daemon().await;
        (world, clerk, convex)
    }
}
