//! G17: each way in which a listing lies. Nobody is deleted on its word, nobody who is not ours is written, the
//! run counts as incomplete, and it is told.

use std::time::Duration;

use clerk_convex_sync::sandbox::clerk::faults::{Fault, Wrong};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{drift, over};
use crate::{
    runs::{keys, run},
    services::{Between, Deed, Heard, Play, say, seed, size},
    world::{World, eventually},
};

/// What nobody of ours is called.
const FOREIGN: &str = "user_foreign";

/// One way to lie.
type Lie = (&'static str, fn(&World, &Between));

fn is_page(heard: &Heard) -> bool {
    heard.what == "/v1/users" && heard.query.contains("limit=500")
}

fn wrong(world: &World, wrong: Wrong, after: u32) {
    let fault = Fault::next("GET /v1/users$", wrong);
    world.clerk.fault(fault.after(after).times(1_000_000));
}

/// The first so many of a page are somebody else's people.
fn foreigners(wire: &Between, most: usize) {
    wire.rule(move |heard| match is_page(heard) {
        false => Deed::Pass,
        true => Deed::Lie(Box::new(move |page| {
            let users = page.as_array_mut().into_iter().flatten();
            for (at, user) in users.take(most).enumerate() {
                user["id"] = format!("{FOREIGN}{at:05}").into();
            }
        })),
    });
}

const LIES: [Lie; 9] = [
    ("an empty page", |world, _| {
        wrong(world, Wrong::EmptyListing, 0)
    }),
    ("a short page", |world, _| {
        wrong(world, Wrong::ShortPage { rows: 10 }, 1);
    }),
    ("a total that is not so", |_, wire| {
        wire.rule(|heard| match heard.what == "/v1/users/count" {
            false => Deed::Pass,
            true => Deed::Lie(Box::new(|count| {
                let said = count["total_count"].as_u64().expect("a count");
                count["total_count"] = json!(said + 7);
            })),
        });
    }),
    ("500 in the middle", |world, _| {
        let status = Wrong::Status {
            status: 500,
            retry_after_secs: None,
            json: true,
        };
        wrong(world, status, 1);
    }),
    ("pages of another instance's people", |_, wire| {
        foreigners(wire, usize::MAX)
    }),
    ("some of another instance's people", |_, wire| {
        foreigners(wire, 40)
    }),
    ("200 and a page of HTML", |_, wire| {
        wire.rule(|heard| match is_page(heard) {
            false => Deed::Pass,
            true => Deed::Say(Play::answer(
                "200 OK",
                "content-type: text/html\r\n",
                b"<html>",
            )),
        });
    }),
    ("ids that come twice", |world, _| {
        wrong(world, Wrong::RepeatLast, 1)
    }),
    ("the first page for ever", |_, wire| {
        let first = std::sync::Arc::new(std::sync::Mutex::new(None::<Value>));
        wire.rule(move |heard| {
            let first = std::sync::Arc::clone(&first);
            match is_page(heard) {
                false => Deed::Pass,
                true => Deed::Lie(Box::new(move |page| {
                    let mut first = first.lock().expect("no panic while held");
                    *page = first.get_or_insert_with(|| page.clone()).clone();
                })),
            }
        });
    }),
];

#[tokio::test(flavor = "multi_thread")]
async fn g17_however_a_listing_lies_nobody_is_deleted_or_taken_in_and_it_is_told() {
    let (seed, rounds) = (seed(), size("G17_ROUNDS", 1));
    let (world, wire, _) = World::wired(&[]).await;
    world.unheard(|clerk| clerk.seed_users(600));
    world.report("reconcile").await;
    world.agrees().await;
    let told = async || {
        let alerts = world.door().alerts().await;
        alerts
            .iter()
            .any(|code| ["run_failed", "empty_listing"].contains(&code.as_str()))
    };
    let (mut lies, mut slowest) = (0, Duration::ZERO);
    for (name, lie) in (0..rounds).flat_map(|_| LIES) {
        println!("{name}");
        let drift = drift(&world);
        let there = keys(&world.convex, "users");
        lie(&world, &wire);
        let ran = run(&world.door(), json!({"kind": "reconcile"})).await;
        let ended = Instant::now();
        let incomplete = ran
            .as_ref()
            .map_or(true, |report| report["outcome"] == "failed");
        assert!(incomplete, "{name}: {ran:?}");
        let now = keys(&world.convex, "users");
        assert!(there.is_subset(&now), "{name}: somebody was deleted");
        assert!(
            now.iter().all(|key| !key.contains(FOREIGN)),
            "{name}: somebody was taken in"
        );
        assert!(drift.gone.iter().all(|key| now.contains(key)), "{name}");
        eventually("it is told", async || told().await).await;
        slowest = slowest.max(ended.elapsed());
        wire.pass();
        // As many as before: what is a lie about six hundred on two pages is none about fewer, or more.
        world.unheard(|clerk| {
            for _ in 0..2 {
                let newcomer = json!({"first_name": "Newcomer"});
                clerk.create_user(newcomer).expect("created");
            }
        });
        over(&world).await;
        assert!(!told().await, "{name}: it is over");
        lies += 1;
    }
    say(
        "G17",
        seed,
        format!(
            "{lies} lies: 0 deleted, 0 taken in, each run incomplete and told within {slowest:.1?}"
        ),
    );
}
