//! S29: what happens to a user, its organization and the membership, told in every order.
//!
//! Each of the 720 orders of six events has a user, an organization and a membership of its own, so all
//! orders go through one daemon at once: the first event of each order, then the second of each, and so
//! on. The rows must be those that `expected` derives from the events without looking at their order.
//! Tried with the events apart (the ledger decides), together in the queue (where they collapse), and told
//! to daemons that remember nothing of one another (Convex decides).

use std::collections::BTreeMap;

use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    hand::{self, Hand, SIGNED_UP},
    samples::expected::{Rows, rows_of, synced},
    world::World,
};

/// Deliveries on their way at once.
const SENDERS: usize = 32;
/// The seed of the shuffles, so that a failure can be had again.
const SEED: u64 = 29;

/// What happens: whom, and which of created (0), updated (1) and deleted (2).
type Happening = (Whom, usize);

#[derive(Clone, Copy, Debug)]
enum Whom {
    User,
    Organization,
    Membership,
}

use Whom::{Membership, Organization, User};

const VERBS: [&str; 3] = ["created", "updated", "deleted"];

/// An event of the story number `n`. An update changes something in each.
fn event(n: usize, (whom, step): Happening) -> Value {
    let (user, organization) = (format!("user_{n}"), format!("org_{n}"));
    let version = 1_000 * (step as i64 + 1);
    let changing = |words: [&'static str; 2]| words[step % 2];
    let (kind, id, data) = match whom {
        User => {
            let kind = format!("user.{}", VERBS[step]);
            return match step {
                2 => hand::deleted(&user, version),
                _ => hand::user(&kind, &user, version, changing(["Ada", "Bea"])),
            };
        }
        Organization => (
            "organization",
            organization.clone(),
            json!({ "name": changing(["Quiet Orchard", "Loud Orchard"]), "slug": organization,
                    "image_url": "https://img.example/org" }),
        ),
        Membership => (
            "organizationMembership",
            format!("orgmem_{n}"),
            json!({ "organization": { "id": organization }, "public_user_data": { "user_id": user },
                    "role": changing(["org:member", "org:admin"]) }),
        ),
    };
    let mut data = match (whom, step) {
        (Organization, 2) => json!({ "deleted": true }),
        _ => data,
    };
    data["id"] = id.into();
    data["created_at"] = SIGNED_UP.into();
    data["updated_at"] = (SIGNED_UP + version).into();
    json!({ "object": "event", "type": format!("{kind}.{}", VERBS[step]),
            "timestamp": SIGNED_UP + version, "data": data })
}

/// All orders of six.
fn permutations(of: &[Happening; 6]) -> Vec<Vec<Happening>> {
    let mut orders = vec![Vec::new()];
    for happening in of {
        let insert = |order: Vec<Happening>| {
            (0..=order.len()).map(move |place| {
                let mut longer = order.clone();
                longer.insert(place, *happening);
                longer
            })
        };
        orders = orders.into_iter().flat_map(insert).collect();
    }
    assert_eq!(orders.len(), 720);
    orders
}

/// 720 orders of all nine events.
fn shuffles() -> Vec<Vec<Happening>> {
    let mut dice = StdRng::seed_from_u64(SEED);
    let all = [User, Organization, Membership].map(|whom| [0, 1, 2].map(|step| (whom, step)));
    let shuffled = |_| {
        let mut order = all.concat();
        order.shuffle(&mut dice);
        order
    };
    (0..720).map(shuffled).collect()
}

async fn send(hand: &Hand, events: Vec<Value>) {
    let mut senders = JoinSet::new();
    for part in events.chunks(events.len().div_ceil(SENDERS)) {
        let (hand, part) = (hand.clone(), part.to_vec());
        senders.spawn(async move {
            for event in &part {
                hand.say(event).await;
            }
        });
    }
    senders.join_all().await;
}

#[derive(Clone, Copy, PartialEq)]
enum Way {
    Apart,
    Together,
    ToStrangers,
}

/// Tells all orders, and compares the rows.
async fn tell(orders: &[Vec<Happening>], way: Way) {
    let mut world = World::start().await;
    world.clerk.enable_endpoint(false);
    if way == Way::Together {
        world.door().pause(true).await;
    }
    for step in 0..orders[0].len() {
        let events = orders.iter().enumerate();
        let events = events.map(|(n, order)| event(n, order[step]));
        send(&world.hand(), events.collect()).await;
        if way != Way::Together {
            world.door().idle().await;
        }
        if way == Way::ToStrangers {
            world.settled().await;
            world.stop_daemon().await;
            world.state = tempfile::tempdir().expect("a directory for the state");
            world.start_daemon().await;
        }
    }
    if way == Way::Together {
        world.door().pause(false).await;
        world.door().idle().await;
    }
    assert_eq!(world.door().failures().await, Vec::<Value>::new());
    compare(&world, orders);
    world.settled().await;
}

fn compare(world: &World, orders: &[Vec<Happening>]) {
    let told: Vec<Value> = orders
        .iter()
        .enumerate()
        .flat_map(|(n, order)| order.iter().map(move |happening| event(n, *happening)))
        .collect();
    let mut wanted = rows_of(&told.iter().collect::<Vec<_>>());
    let mut found = Rows::new();
    for table in ["users", "profiles", "organizations", "memberships"] {
        found.insert(table, synced(table, world.convex.rows(table)));
    }
    let mut wrong = BTreeMap::new();
    for (table, rows) in &found {
        let mut wanted = wanted.remove(table).expect("all four tables");
        for (key, row) in rows {
            if wanted.remove(key).as_ref() != Some(row) {
                wrong.insert((table, key.clone()), Some(row.clone()));
            }
        }
        wrong.extend(wanted.into_keys().map(|key| ((table, key), None)));
    }
    for ((table, key), row) in wrong.iter().take(3) {
        let (_, n) = key.split_once('_').expect("a number");
        let order = &orders[n.parse::<usize>().expect("a number")];
        println!("{table} {key} after {order:?}: {row:?}");
    }
    assert_eq!(wrong.len(), 0, "rows that are not as they should be");
    for row in found["memberships"].values() {
        for (parent, column) in [
            ("users", "clerkUserId"),
            ("organizations", "clerkOrganizationId"),
        ] {
            let key = row[column].as_str().expect("a key");
            assert!(found[parent].contains_key(key), "an orphan of {key}");
        }
    }
}

const COME_AND_GO: [Happening; 6] = [
    (User, 0),
    (User, 2),
    (Organization, 0),
    (Organization, 2),
    (Membership, 0),
    (Membership, 2),
];
const COME_AND_CHANGE: [Happening; 6] = [
    (User, 0),
    (User, 1),
    (Organization, 0),
    (Organization, 1),
    (Membership, 0),
    (Membership, 1),
];
const THE_USER_GOES: [Happening; 6] = [
    (User, 0),
    (User, 1),
    (User, 2),
    (Organization, 0),
    (Membership, 0),
    (Membership, 1),
];
const THE_ORGANIZATION_GOES: [Happening; 6] = [
    (User, 0),
    (Organization, 0),
    (Organization, 1),
    (Organization, 2),
    (Membership, 0),
    (Membership, 1),
];
const THE_MEMBER_LEAVES: [Happening; 6] = [
    (User, 0),
    (User, 1),
    (Organization, 0),
    (Membership, 0),
    (Membership, 1),
    (Membership, 2),
];

#[tokio::test(flavor = "multi_thread")]
async fn s29_who_comes_and_goes_leaves_the_same_rows_in_all_720_orders() {
    tell(&permutations(&COME_AND_GO), Way::Apart).await;
    tell(&permutations(&COME_AND_CHANGE), Way::Apart).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s29_a_user_an_organization_or_a_member_that_goes_leaves_no_orphan_in_all_720_orders() {
    tell(&permutations(&THE_USER_GOES), Way::Apart).await;
    tell(&permutations(&THE_ORGANIZATION_GOES), Way::Apart).await;
    tell(&permutations(&THE_MEMBER_LEAVES), Way::Apart).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s29_all_720_orders_end_alike_when_they_meet_in_the_queue() {
    tell(&permutations(&COME_AND_GO), Way::Together).await;
    tell(&permutations(&COME_AND_CHANGE), Way::Together).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s29_all_720_orders_end_alike_when_every_event_meets_a_daemon_that_knows_nothing() {
    tell(&permutations(&COME_AND_GO), Way::ToStrangers).await;
    tell(&permutations(&THE_USER_GOES), Way::ToStrangers).await;
    tell(&permutations(&COME_AND_CHANGE), Way::ToStrangers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s29_all_nine_events_end_alike_in_720_orders() {
    println!("the orders are shuffled with seed {SEED}");
    tell(&shuffles(), Way::Apart).await;
    tell(&shuffles(), Way::ToStrangers).await;
}
