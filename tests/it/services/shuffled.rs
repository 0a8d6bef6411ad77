//! G11: events in any order end in the same rows.

use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};

use super::{never_twice_never_back, say, seed, send, size};
use crate::{
    hand::{created, deleted, updated},
    world::World,
};

/// Events about each user.
const EVENTS: i64 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn g11_in_any_order_the_newest_stays_and_who_is_deleted_stays_deleted() {
    let (seed, users) = (seed(), size("G11_USERS", 40));
    let rounds = size("G11_ROUNDS", 1);
    let mut dice = StdRng::seed_from_u64(seed);
    for _ in 0..rounds {
        let world = World::start().await;
        let mut events = Vec::new();
        let mut gone = Vec::new();
        for user in 0..users {
            let key = format!("user_{user}");
            events.push(created(&key, 0, "Ada 0"));
            for version in 1..EVENTS - 1 {
                events.push(updated(&key, version, &format!("Ada {version}")));
            }
            gone.push(dice.random_bool(0.5));
            events.push(match gone[user] {
                true => deleted(&key, EVENTS),
                false => updated(&key, EVENTS, "Ada Last"),
            });
        }
        events.shuffle(&mut dice);
        send(&world.hand(), events).await;
        world.door().idle().await;
        for (user, gone) in gone.iter().enumerate() {
            let row = world.user_row(&format!("user_{user}"));
            assert_eq!(row.is_none(), *gone, "user_{user}");
            if let Some(row) = row {
                assert_eq!(row["name"], "Ada Last Varga");
            }
        }
        let dead = gone.iter().filter(|gone| **gone).count();
        assert_eq!(world.convex.tombstones("users").len(), dead);
        never_twice_never_back(&world.convex);
        world.settled().await;
    }
    say(
        "G11",
        seed,
        format!("{rounds} orders of {users} users with {EVENTS} events each, 0 back, 0 risen"),
    );
}
