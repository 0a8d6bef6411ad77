//! What scans promise (G11, G17, G21, G24, G26), against builds that do not keep it.

use std::{fs, time::Duration};

use clerk_convex_sync::{
    sandbox::clerk::faults::{Fault, Wrong},
    twin::Twin,
};
use serde_json::json;

use super::system;
use crate::{
    drip::filled,
    hand::updated,
    process::System,
    runs::{pages, report},
    world::eventually,
};

/// How many of five users an older event has changed back.
async fn set_back(twin: Option<Twin>) -> usize {
    let system = system(twin, &[]).await;
    for (version, name) in [(5, "Now"), (3, "Before")] {
        for n in 0..5 {
            system
                .hand()
                .say(&updated(&format!("user_{n}"), version, name))
                .await;
        }
        system.door().idle().await;
    }
    let rows = system.convex.rows("users");
    assert_eq!(rows.len(), 5);
    rows.iter()
        .filter(|row| row["name"] == "Before Varga")
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn g11_an_older_event_that_wins_is_noticed() {
    assert_eq!(set_back(None).await, 0);
    assert_eq!(set_back(Some(Twin::NoDedupe)).await, 5);
}

/// What a full diff makes of a listing that ends early.
async fn of_a_short_listing(twin: Option<Twin>) -> String {
    let system = system(twin, &[]).await;
    filled(&system, 60).await;
    let short = Fault::next("GET /v1/users$", Wrong::ShortPage { rows: 10 });
    system.clerk.fault(short.times(1_000_000));
    let report = report(&system.door(), "reconcile").await;
    report["outcome"].as_str().expect("a word").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn g17_a_listing_that_is_believed_is_noticed() {
    assert_eq!(of_a_short_listing(None).await, "failed");
    let believed = of_a_short_listing(Some(Twin::NoProof)).await;
    assert_ne!(believed, "failed");
}

/// Whether a row that somebody has spoiled stays so.
async fn stays_spoiled(twin: Option<Twin>) -> bool {
    let system = system(twin, &[]).await;
    // Rows that came by deliveries: there is nothing to be told from a comparison.
    let url = format!("http://{}{}", system.address(), crate::world::PATH);
    system.clerk.set_webhook_url(Some(url));
    let id = system
        .clerk
        .create_user(json!({"first_name": "Ada"}))
        .expect("created");
    eventually("it is written", async || system.convex.count("users") == 1).await;
    let row = system.convex.row("users", &id).expect("a row");
    let place = row["_id"].as_str().expect("an id");
    let patched = system
        .convex
        .patch_row("users", place, &json!({"name": "Mallory"}));
    patched.expect("patched");
    report(&system.door(), "reconcile").await;
    system.convex.row("users", &id).expect("a row")["name"] == "Mallory"
}

#[tokio::test(flavor = "multi_thread")]
async fn g21_a_drift_that_nobody_sees_is_noticed() {
    assert!(!stays_spoiled(None).await);
    assert!(stays_spoiled(Some(Twin::BlindDiff)).await);
}

/// Whether a scan deletes by itself after the derived state was lost.
async fn deletes_in_doubt(twin: Option<Twin>) -> bool {
    let mut system = system(twin, &[]).await;
    let ids = filled(&system, 40).await;
    system.kill().await;
    system.clerk.delete_user(&ids[0]).expect("deleted");
    fs::remove_dir_all(system.inside().join("derived")).expect("removed");
    system.start_daemon().await;
    report(&system.door(), "reconcile").await;
    system.convex.row("users", &ids[0]).is_none()
}

#[tokio::test(flavor = "multi_thread")]
async fn g24_a_deletion_in_doubt_is_noticed() {
    assert!(!deletes_in_doubt(None).await);
    assert!(deletes_in_doubt(Some(Twin::NoDoubt)).await);
}

/// Whether a full diff that was ended in its middle goes on where it was.
async fn goes_on(twin: Option<Twin>) -> bool {
    let mut system: System = system(twin, &[]).await;
    system.clerk.seed_users(2_000);
    let slow = Duration::from_millis(300);
    system.clerk.delay(slow, slow);
    let before = pages(&system.clerk);
    let mut asking = system.spawn(&["reconcile"]);
    eventually("some pages are read", async || {
        pages(&system.clerk) > before + 5
    })
    .await;
    assert_eq!(system.terminate().await, 0);
    asking.wait().await.expect("a child of ours");
    system.clerk.delay(Duration::ZERO, Duration::ZERO);
    system.start_daemon().await;
    report(&system.door(), "reconcile").await["resumed"] == true
}

#[tokio::test(flavor = "multi_thread")]
async fn g26_a_full_diff_that_begins_anew_is_noticed() {
    assert!(goes_on(None).await);
    assert!(!goes_on(Some(Twin::NoCheckpoint)).await);
}
