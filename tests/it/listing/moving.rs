//! The world moves while it is listed: changes that show late, deliveries between a page and its rows, and a
//! listing that never stands still.

use std::{
    collections::{BTreeSet, HashSet},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use clerk_convex_sync::sandbox::convex::{FaultKind, FaultRule};
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    runs::{notes, pages},
    services::{say, seed, size},
    world::{World, eventually},
};

/// Every page of Convex's takes so long: between Clerk's page and what is written from it lies that much.
fn slow_lists(world: &World, ms: u64) {
    world.convex.fault(FaultRule {
        function: Some("list".to_owned()),
        ms: Some(ms),
        ..FaultRule::new(FaultKind::Latency)
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn s09_a_change_that_shows_five_seconds_after_a_newer_one_is_applied() {
    let world = World::filled(&[("CCS_SCHEDULE__SWEEP", "* * * * * *")], 40).await;
    let swept = async || {
        let figures = world.door().figures().await;
        figures.sum("runs_total", &["kind=\"sweep\""])
    };
    eventually("a first sweep", async || swept().await >= 1.0).await;
    let users = world.clerk.user_ids();
    let (late, newer) = (&users[3], &users[4]);
    world.clerk.set_webhook_url(None);
    world.clerk.lag_next(1, Duration::from_secs(5));
    let change = |id: &str, name: &str| {
        let named = json!({"first_name": name});
        world.clerk.update_user(id, named).expect("updated");
    };
    change(late, "Late");
    change(newer, "Newer");
    let is_named = |id: &str, name: &str| {
        let row = world.user_row(id).expect("a row");
        row["name"].to_string().contains(name)
    };
    eventually("the newer one is there", async || is_named(newer, "Newer")).await;
    assert!(!is_named(late, "Late"), "it does not show yet");
    eventually("the late one is there", async || is_named(late, "Late")).await;
    world.heard();
    world.agrees().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s11_what_a_delivery_wrote_after_the_page_was_read_survives_the_page() {
    let world = World::filled(&[], 300).await;
    let users = world.clerk.user_ids();
    // More than a hundred of one page are written as they were listed, which is the dangerous way.
    world.unheard(|clerk| {
        for id in &users[..150] {
            let named = json!({"first_name": "Listed"});
            clerk.update_user(id, named).expect("updated");
        }
    });
    slow_lists(&world, 2_500);
    let before = pages(&world.clerk);
    let running = world.begin("reconcile");
    world.page_read(before).await;
    let id = &users[0];
    let named = json!({"first_name": "Delivered"});
    world.clerk.update_user(id, named).expect("updated");
    let name = || world.user_row(id).expect("a row")["name"].to_string();
    eventually("the delivery is applied", async || {
        name().contains("Delivered")
    })
    .await;
    assert!(!running.is_finished());
    world.convex.clear_faults();
    let report = running.await.expect("no panic").expect("a report");
    assert!(name().contains("Delivered"), "{}", name());
    assert_eq!(report["tables"]["users"]["repaired"], 149);
    let words = notes(&report);
    assert!(
        words.contains("1 record(s) were changed by deliveries"),
        "{words}"
    );
    world.agrees().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s12_a_user_who_is_deleted_between_the_page_and_the_insert_is_not_inserted() {
    let world = World::start().await;
    world.unheard(|clerk| clerk.seed_users(200));
    let id = world.clerk.user_ids()[0].clone();
    slow_lists(&world, 2_500);
    let running = world.begin("reconcile");
    world.page_read(0).await;
    world.clerk.delete_user(&id).expect("deleted");
    eventually("the deletion is applied", async || {
        world.convex.tombstones("users").contains(&id)
    })
    .await;
    assert!(!running.is_finished());
    world.convex.clear_faults();
    let report = running.await.expect("no panic").expect("a report");
    assert_ne!(report["outcome"], "failed", "{}", notes(&report));
    assert_eq!(world.convex.count("users"), 199);
    let commits = world.convex.commits(0, 1_000_000);
    let inserted = commits
        .iter()
        .filter(|commit| *commit.key == *id && commit.version > 0.0);
    assert_eq!(inserted.count(), 0, "not even for a moment");
    world.agrees().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g19_no_living_user_is_ever_deleted_while_the_listing_shifts_under_full_diffs() {
    let (seed, users, times) = (seed(), size("G19_USERS", 2_000), size("G19_DIFFS", 10));
    // What is left over may be many deletions at once; the brake is not what is looked at here.
    let settings = [
        ("CCS_REPAIR__MAX_DELETES", "1000000"),
        ("CCS_REPAIR__MAX_DELETE_RATIO", "1.0"),
    ];
    let world = World::filled(&settings, users).await;
    let (end, from) = (
        AtomicBool::new(false),
        world.convex.commits(0, 1_000_000).len(),
    );
    let mut deleted = BTreeSet::new();
    // Two hundred changes a second, half of them without a delivery: only the diffs can find those.
    let shifting = async {
        let mut pace = interval(Duration::from_millis(5));
        pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut alive: Vec<String> = world.clerk.user_ids();
        for turn in 0.. {
            pace.tick().await;
            if end.load(Ordering::Relaxed) {
                break;
            }
            if turn % 4 < 2 {
                world.clerk.lose_next(1);
            }
            if turn % 2 == 0 {
                let named = json!({"first_name": format!("Shift{turn}")});
                alive.push(world.clerk.create_user(named).expect("created"));
            } else {
                let id = alive.swap_remove(turn * 7919 % alive.len());
                world.clerk.delete_user(&id).expect("deleted");
                deleted.insert(id);
            }
        }
    };
    let diffs = async {
        for _ in 0..times {
            let report = world.report("reconcile").await;
            assert_ne!(report["outcome"], "differences", "{report:#}");
        }
        end.store(true, Ordering::Relaxed);
    };
    tokio::join!(shifting, diffs);
    assert!(
        deleted.len() > 10 * times,
        "it did shift: {}",
        deleted.len()
    );
    let living: HashSet<String> = world.clerk.user_ids().into_iter().collect();
    let lost: Vec<String> = world
        .convex
        .tombstones("users")
        .into_iter()
        .filter(|id| living.contains(id))
        .collect();
    assert!(lost.is_empty(), "deleted although they live: {lost:?}");
    let gone = deleted.len();
    say(
        "G19",
        seed,
        format!("{times} full diffs of {users} users while {gone} left and as many came: 0 killed"),
    );
    let commits = world.convex.commits(from as u64, 1_000_000);
    assert!(!commits.is_empty());
    world.quiet().await;
    world.report("reconcile").await;
    world.agrees().await;
}
