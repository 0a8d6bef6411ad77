//! Any history of users, delivered in any order, repeated and with losses, ends in the rows of a model.
//!
//! The model is what the contract says and no more: of what was delivered the newest version counts,
//! and a deletion wins over everything. One world serves all cases; each case has users of its own.

use std::collections::BTreeMap;

use proptest::{prelude::*, sample::Index, test_runner::TestRunner};
use serde_json::Value;

use crate::{
    hand::{SIGNED_UP, deleted, new_id, user},
    world::World,
};

/// Histories that are tried.
const CASES: u32 = 48;
/// Users in a history.
const USERS: usize = 4;
/// Names that contents are made of: few, so that different versions often say the same.
const NAMES: [&str; 3] = ["Ada", "Bea", "Cleo"];

/// One event of a history, before anybody knows what becomes of it.
#[derive(Clone, Debug)]
struct Told {
    user: usize,
    version: i64,
    gone: bool,
}

/// What is done with the events.
#[derive(Clone, Debug)]
struct Journey {
    told: Vec<Told>,
    /// Which event goes next; those that are never named are lost, others come several times.
    order: Vec<(Index, Kind)>,
}

/// How an event is delivered.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Under its own id: a second time it is a copy.
    Again,
    /// Under a new id.
    Anew,
    /// Under its own id, after everything before it is settled.
    Later,
}

fn journeys() -> impl Strategy<Value = Journey> {
    let told = (0..USERS, 1..8i64, prop::bool::weighted(0.1));
    let told = told.prop_map(|(user, version, gone)| Told {
        user,
        version,
        gone,
    });
    let kind = prop_oneof![3 => Just(Kind::Again), 1 => Just(Kind::Anew), 1 => Just(Kind::Later)];
    let order = prop::collection::vec((any::<Index>(), kind), 1..40);
    (prop::collection::vec(told, 1..20), order).prop_map(|(told, order)| Journey { told, order })
}

/// The content that a version of a user has; a user's versions never have two.
fn name(user: usize, version: i64) -> &'static str {
    NAMES[(user + version as usize / 2) % NAMES.len()]
}

impl Told {
    fn event(&self, key: &str) -> Value {
        match self.gone {
            true => deleted(key, self.version),
            false => {
                let kind = if self.version == 1 {
                    "user.created"
                } else {
                    "user.updated"
                };
                user(kind, key, self.version, name(self.user, self.version))
            }
        }
    }
}

/// What the rows must be after these deliveries: a name for each user that lives.
fn model<'a>(delivered: impl Iterator<Item = &'a Told>) -> BTreeMap<usize, Option<&'static str>> {
    let mut newest: BTreeMap<usize, Option<i64>> = BTreeMap::new();
    for told in delivered {
        let version = newest.entry(told.user).or_insert(Some(0));
        *version = version
            .filter(|_| !told.gone)
            .map(|known| known.max(told.version));
    }
    let named = |(user, version): (usize, Option<i64>)| (user, version.map(|v| name(user, v)));
    newest.into_iter().map(named).collect()
}

async fn travel(world: &World, case: usize, journey: &Journey) -> Result<(), TestCaseError> {
    let key = |user: usize| format!("user_{case}_{user}");
    let ids: Vec<String> = journey.told.iter().map(|_| new_id()).collect();
    let hand = world.hand();
    let mut delivered = Vec::new();
    for (index, kind) in &journey.order {
        let at = index.index(journey.told.len());
        let told = &journey.told[at];
        if matches!(kind, Kind::Later) {
            world.door().idle().await;
        }
        let id = if matches!(kind, Kind::Anew) {
            new_id()
        } else {
            ids[at].clone()
        };
        let answer = hand.deliver(&id, &told.event(&key(told.user))).await;
        prop_assert_eq!(answer.status, 200);
        delivered.push(told);
    }
    world.door().idle().await;
    let expected = model(delivered.iter().copied());
    let rows = |world: &World| -> Vec<Option<Value>> {
        (0..USERS).map(|user| world.user_row(&key(user))).collect()
    };
    let before = rows(world);
    for (user, row) in before.iter().enumerate() {
        let wanted = expected.get(&user).copied().flatten();
        let found = row.as_ref().map(|row| row["name"].as_str());
        let wanted_name = wanted.map(|name| format!("{name} Varga"));
        prop_assert_eq!(found, wanted_name.as_deref().map(Some), "user {}", user);
        let created = row.as_ref().map(|row| row["clerkCreatedAt"].as_i64());
        prop_assert_eq!(created, wanted.map(|_| Some(SIGNED_UP)));
        let buried = world.convex.tombstones("users").contains(&key(user));
        prop_assert_eq!(buried, expected.get(&user) == Some(&None));
    }

    // The same once more under new ids: nothing moves, and Convex is not even asked.
    let calls = world.convex.calls().mutations;
    for told in &delivered {
        hand.say(&told.event(&key(told.user))).await;
    }
    world.door().idle().await;
    prop_assert_eq!(world.convex.calls().mutations, calls);
    prop_assert_eq!(rows(world), before);
    Ok(())
}

#[test]
fn any_history_ends_in_the_rows_of_the_model_and_its_repetition_costs_no_call() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("threads");
    let world = runtime.block_on(World::start());
    let config = ProptestConfig {
        cases: CASES,
        max_shrink_iters: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let case = std::cell::Cell::new(0);
    let outcome = TestRunner::new(config).run(&journeys(), |journey| {
        case.set(case.get() + 1);
        runtime.block_on(travel(&world, case.get(), &journey))
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    runtime.block_on(world.settled());
}
