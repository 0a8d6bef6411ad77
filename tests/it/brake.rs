//! The deletion brake (G18): up to its limit all go, beyond it none does before a person has said so.
//!
//! `drip.rs` has deletions that come one by one, `deletion.rs` what approving means in detail. `G18_ROWS` is how many
//! rows there are.

use futures_util::future::join_all;
use serde_json::json;

use crate::{
    runs::{notes, run, text},
    services::{say, seed, size},
    world::World,
};

/// By default a run may delete a twentieth of the rows, five at least and a hundred at most.
fn limit(rows: usize) -> usize {
    (rows / 20).clamp(5, 100)
}

/// So many of so many users vanish, and nobody hears of it.
async fn vanished(rows: usize, gone: usize) -> World {
    let world = World::filled(&[], rows).await;
    world.unheard(|clerk| {
        for id in clerk.user_ids().iter().take(gone) {
            clerk.delete_user(id).expect("deleted");
        }
    });
    world
}

fn nobody_is_gone(world: &World, rows: usize) {
    assert_eq!(world.convex.count("users"), rows);
    assert_eq!(world.convex.count("profiles"), rows);
    assert!(world.convex.tombstones("users").is_empty());
}

/// So many vanish of so many: all go, or none.
async fn judged(rows: usize, gone: usize) {
    let world = vanished(rows, gone).await;
    let ran = run(&world.door(), json!({"kind": "reconcile"})).await;
    if gone == rows {
        // An empty listing is no evidence, so there is not even a plan.
        let failed = ran.map_or(true, |report| {
            report["outcome"] == "failed" && report["plan_digest"].is_null()
        });
        assert!(failed, "{gone} of {rows}");
        return nobody_is_gone(&world, rows);
    }
    let report = ran.expect("a report");
    let outcome = text(&report["outcome"]);
    match gone {
        0 => assert_eq!(outcome, "in_sync", "{}", notes(&report)),
        few if few <= limit(rows) => {
            assert_eq!(outcome, "repaired", "{gone} of {rows}: {}", notes(&report));
            assert_eq!(world.convex.count("users"), rows - gone);
        }
        _ => {
            assert_eq!(outcome, "held", "{gone} of {rows}: {}", notes(&report));
            nobody_is_gone(&world, rows);
            approved(world, rows, gone, &text(&report["plan_digest"])).await;
        }
    }
}

/// The plan outlives a restart, and only its own digest carries it out.
async fn approved(mut world: World, rows: usize, gone: usize, digest: &str) {
    world.stop_daemon().await;
    world.start_daemon().await;
    assert!(
        world
            .door()
            .alerts()
            .await
            .contains(&"plan_held".to_owned())
    );
    let mut other = digest.to_owned();
    let last = if digest.ends_with('0') { "1" } else { "0" };
    other.replace_range(digest.len() - 1.., last);
    for wrong in [other.as_str(), ""] {
        let wish = json!({"kind": "reconcile", "approve": wrong});
        run(&world.door(), wish).await.expect_err("no such plan");
        nobody_is_gone(&world, rows);
    }
    let asked = || world.clerk.requests().to("GET /v1/users/{user_id}");
    let before = asked();
    let wish = json!({"kind": "reconcile", "approve": digest});
    let done = run(&world.door(), wish).await.expect("a report");
    assert_eq!(done["outcome"], "repaired", "{}", notes(&done));
    assert_eq!(world.convex.count("users"), rows - gone);
    // Who has said so is on record, with what was said.
    let told = world.door().get("/log?limit=10000").await;
    let told = told["entries"].as_array().expect("a list");
    let did = format!("reconcile, approve {digest}");
    let said = told
        .iter()
        .find(|one| one["reason"] == did.as_str())
        .expect("an entry");
    let who = format!("uid {}", rustix::process::geteuid().as_raw());
    assert_eq!(
        (&said["what"], &said["by"]["who"]),
        (&json!("POST /runs"), &json!(who))
    );
    assert!(asked() - before >= gone as u64, "each was asked for");
}

#[tokio::test(flavor = "multi_thread")]
async fn g18_at_the_limit_all_go_and_beyond_it_none_before_a_person_says_so() {
    let (seed, rows) = (seed(), size("G18_ROWS", 200));
    let most = limit(rows);
    let sizes = [0, most - 1, most, most + 1, rows / 2, rows];
    join_all(sizes.map(|gone| judged(rows, gone))).await;
    say(
        "G18",
        seed,
        format!("of {rows} rows {sizes:?} vanished: all went up to {most}, none beyond"),
    );
}
