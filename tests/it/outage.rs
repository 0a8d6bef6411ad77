//! Services and disks that are away: S03 (nothing can be stored) and S04 (nothing can be written).
//!
//! An outage is nobody's fault: it costs no delivery and no attempt, and ends by itself.

use std::{collections::BTreeMap, fs};

use clerk_convex_sync::sandbox::convex::{ConvexSim, FaultKind, FaultRule};
use tokio::task::JoinSet;

use crate::{
    hand::{Hand, created, new_id, updated},
    process::System,
    world::{World, eventually},
};

/// Records that the events of S04 are about.
const USERS: usize = 500;
/// Events about each of them.
const VERSIONS: usize = 20;

/// Delivers all versions of all users, each user's in order, many users at once; all must be taken in.
async fn deliver_everything(hand: &Hand) {
    const SENDERS: usize = 50;
    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        let hand = hand.clone();
        senders.spawn(async move {
            for version in 1..=VERSIONS {
                for user in (sender..USERS).step_by(SENDERS) {
                    let name = format!("Ada {version}");
                    let event = updated(&format!("user_{user}"), version as i64, &name);
                    hand.say(&event).await;
                }
            }
        });
    }
    senders.join_all().await;
}

/// Every record was written in the order of its versions, and ended with the last.
fn check_order_and_end(convex: &ConvexSim) {
    let mut newest: BTreeMap<(&str, String), f64> = BTreeMap::new();
    for commit in convex.commits(0, usize::MAX) {
        let row = (commit.table, commit.key.to_string());
        let before = newest.insert(row, commit.version);
        assert!(before < Some(commit.version), "{commit:?} after {before:?}");
    }
    let rows = convex.rows("users");
    assert_eq!(rows.len(), USERS);
    let last = format!("Ada {VERSIONS} Varga");
    assert!(rows.iter().all(|row| row["name"] == last));
}

async fn no_attempt_was_burnt(world: &World) {
    let figures = world.door().figures().await;
    assert_eq!(figures.sum("retries_total", &["cause=\"record\""]), 0.0);
    assert!(figures.sum("retries_total", &["cause=\"convex\""]) > 0.0);
    assert_eq!(figures.webhooks("stored"), (USERS * VERSIONS) as f64);
    assert_eq!(world.door().failures().await.len(), 0);
    world.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s04_while_convex_answers_503_all_is_acknowledged_and_afterwards_drained_in_order() {
    let world = World::start().await;
    world.convex.down();
    deliver_everything(&world.hand()).await;
    assert_eq!(world.convex.count("users"), 0);
    assert!(
        world
            .door()
            .alerts()
            .await
            .contains(&"convex_away".to_owned())
    );
    let status = world.door().get("/status").await;
    assert_ne!(status["convex"]["circuit"], "closed", "{status}");
    // A circuit, not a hammer: far fewer calls than events.
    let calls = world
        .door()
        .figures()
        .await
        .sum("convex_requests_total", &["status=\"503\""]);
    assert!(
        calls < (USERS * VERSIONS / 10) as f64,
        "{calls} calls to a service that is away"
    );
    world.convex.up();
    world.door().idle().await;
    check_order_and_end(&world.convex);
    no_attempt_was_burnt(&world).await;
    assert!(
        !world
            .door()
            .alerts()
            .await
            .contains(&"convex_away".to_owned())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn s04_while_convex_times_out_cuts_or_talks_nonsense_nothing_is_lost_or_reordered() {
    let world = World::with(&[("CCS_CONVEX__TIMEOUT", "1s")]).await;
    // Latency beyond the timeout now and then, and all other ways to be away in between.
    for (kind, ratio) in [
        (FaultKind::Latency, 0.02),
        (FaultKind::Cut, 0.15),
        (FaultKind::AppliedThenCut, 0.15),
        (FaultKind::Garbage, 0.1),
        (FaultKind::Status, 0.1),
    ] {
        let mut rule = FaultRule::new(kind);
        rule.ratio = Some(ratio);
        rule.ms = (kind == FaultKind::Latency).then_some(1_500);
        world.convex.fault(rule);
    }
    deliver_everything(&world.hand()).await;
    world.convex.clear_faults();
    world.door().idle().await;
    check_order_and_end(&world.convex);
    no_attempt_was_burnt(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s03_a_full_disk_is_503_and_an_alert_until_there_is_room_and_loses_nothing() {
    let mut system = System::prepared(&[]).await;
    let state = system.state.path().display().to_string();
    // A small file system of the daemon's own, which goes away with it.
    let mount = "mount -t tmpfs -o size=4m,mode=700 tmpfs \"$0\" && exec \"$@\"";
    let unshare = [
        "unshare",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        mount,
        &state,
    ];
    if !can_mount(&unshare[..3]).await {
        println!(
            "!!! NO FILE SYSTEM CAN BE MOUNTED HERE: a full queue stands in for a full disk !!!"
        );
        return full_queue_stands_in().await;
    }
    system.start_by(&unshare);
    system.start_daemon().await;
    system.hand().say(&created("user_before", 1, "Ada")).await;
    system.door().idle().await;

    let ballast = system.inside().join("ballast");
    fill(&ballast);
    let large = "x".repeat(200_000);
    let mut event = created("user_during", 1, "Ada");
    event["data"]["private_metadata"]["filling"] = large.into();
    let id = new_id();
    eventually("there is no room for a delivery", async || {
        let answer = system.hand().deliver(&new_id(), &event).await;
        assert!([200, 503].contains(&answer.status), "{answer:?}");
        answer.status == 503
    })
    .await;
    let refused = system.hand().deliver(&id, &event).await;
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.retry_after.is_some());
    let readiness = || async {
        let url = format!("http://{}/readyz", system.address());
        reqwest::get(url)
            .await
            .expect("an answer")
            .status()
            .as_u16()
    };
    assert_eq!(readiness().await, 503);
    let health = format!("http://{}/healthz", system.address());
    assert_eq!(reqwest::get(health).await.expect("an answer").status(), 200);
    assert!(
        system
            .door()
            .alerts()
            .await
            .contains(&"cannot_store".to_owned())
    );

    fs::remove_file(&ballast).expect("removed");
    eventually("deliveries are taken in again", async || {
        system.hand().deliver(&id, &event).await.status == 200
    })
    .await;
    eventually("the alert is over", async || {
        let alerts = system.door().alerts().await;
        readiness().await == 200 && !alerts.contains(&"cannot_store".to_owned())
    })
    .await;
    system.hand().say(&created("user_after", 1, "Ada")).await;
    system.door().idle().await;
    let rows = system.convex.rows("users");
    assert_eq!(rows.len(), 3, "{rows:?}");
    assert_eq!(system.log.count("panicked"), 0, "{}", system.log.text());
    system.door().every_delivery_has_one_end(0).await;
    assert_eq!(system.terminate().await, 0);
}

/// Whether this user may mount something in a space of its own.
async fn can_mount(unshare: &[&str]) -> bool {
    let try_out = "mount -t tmpfs tmpfs /mnt";
    let mut command = tokio::process::Command::new(unshare[0]);
    let output = command
        .args(&unshare[1..])
        .args(["sh", "-c", try_out])
        .output();
    output.await.is_ok_and(|output| output.status.success())
}

/// Writes zeros until the file system has no room left.
fn fill(path: &std::path::Path) {
    use std::io::Write;
    let mut file = fs::File::create(path).expect("a file");
    let mut size = 1 << 20;
    while size > 0 {
        // What does not fit whole is tried in smaller pieces, to the last byte.
        if file.write_all(&vec![0; size]).is_err() {
            size /= 2;
        }
    }
}

async fn full_queue_stands_in() {
    let settings = [("CCS_STATE__MAX_QUEUE_EVENTS", "2")];
    let world = World::with(&settings).await;
    world.door().pause(true).await;
    for n in 0..2 {
        world
            .hand()
            .say(&created(&format!("user_{n}"), 1, "Ada"))
            .await;
    }
    let answer = world
        .hand()
        .deliver(&new_id(), &created("user_3", 1, "Ada"))
        .await;
    assert_eq!(answer.status, 503);
    world.door().pause(false).await;
    eventually("deliveries are taken in again", async || {
        let answer = world
            .hand()
            .deliver(&new_id(), &created("user_3", 1, "Ada"))
            .await;
        answer.status == 200
    })
    .await;
    world.settled().await;
}
