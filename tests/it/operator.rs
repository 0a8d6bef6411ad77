//! What an operator does with the daemon: replays (S28), dead letters, a switch that is off.
//!
//! Through the command line of the built binary, as a person would.

use std::io::Write;

use clerk_convex_sync::sandbox::convex::{FaultKind, FaultRule};

use crate::{
    hand::{created, new_id, updated},
    process::System,
    world::{World, eventually, written},
};

#[tokio::test(flavor = "multi_thread")]
async fn s28_an_event_that_is_replayed_twice_runs_twice_and_the_effect_is_the_same() {
    let system = System::with(&[("CCS_LOG__LEVEL", "debug")]).await;
    let event = created("user_s28", 1, "Ada");
    system.hand().say(&event).await;
    system.door().idle().await;
    let row = system.convex.row("users", "user_s28").expect("a row");
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(event.to_string().as_bytes())
        .expect("written");
    let path = file.path().display().to_string();
    let url = format!("http://{}{}", system.address(), crate::world::PATH);
    for _ in 0..2 {
        let id = new_id();
        let send = ["webhook", "send", "--type", "user.created", "--data", &path];
        let more = ["--url", &url, "--id", &id, "--json"];
        let sent = system.run_json(&[&send[..], &more[..]].concat()).await;
        assert_eq!(sent["status"], 200, "{sent}");
    }
    system.door().idle().await;
    let figures = system.door().figures().await;
    assert_eq!(figures.webhooks("stored"), 3.0);
    assert_eq!(figures.changes("unchanged"), 2.0, "both ran");
    assert_eq!(
        system.log.count("\"message\":\"settled\""),
        3,
        "and are logged"
    );
    assert_eq!(system.convex.row("users", "user_s28"), Some(row));
    assert_eq!(written(&system.convex), ["users", "profiles"]);
    system.door().every_delivery_has_one_end(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn since_when_a_person_is_waited_for_outlives_a_restart() {
    let mut world = World::start().await;
    world.hand().say(&serde_json::json!([])).await;
    let since = async |world: &World| {
        let status = world.door().get("/status").await;
        let alerts = status["alerts"].as_array().expect("a list");
        let waiting = alerts.iter().find(|alert| alert["code"] == "dead_letters");
        waiting.map(|alert| alert["since"].clone())
    };
    eventually("it is a dead letter", async || {
        since(&world).await.is_some()
    })
    .await;
    let before = since(&world).await;
    world.stop_daemon().await;
    world.start_daemon().await;
    assert_eq!(since(&world).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn s28_a_dead_letter_that_is_retried_twice_runs_twice_and_is_written_once() {
    let mut system = System::start().await;
    let mut refuses = FaultRule::new(FaultKind::RejectKey);
    refuses.key = Some("user_s28".to_owned());
    system.convex.fault(refuses);
    system.hand().say(&created("user_s28", 1, "Ada")).await;
    system.door().idle().await;
    let listed = system.run_json(&["failures", "list", "--json"]).await;
    let id = listed["failures"][0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let retry = ["failures", "retry", &id, "--json"];
    assert_eq!(system.run_json(&retry).await["retried"], 1);
    system.door().idle().await;
    assert_eq!(
        system.door().failures().await.len(),
        1,
        "the cause is still there"
    );
    assert_eq!(system.door().failures().await[0]["id"], id.as_str());

    // A dead letter outlives the process, too.
    assert_eq!(system.terminate().await, 0);
    system.convex.clear_faults();
    system.start_daemon().await;
    assert_eq!(system.door().failures().await.len(), 1);
    assert_eq!(system.run_json(&retry).await["retried"], 1);
    system.door().idle().await;
    let row = system.convex.row("users", "user_s28").expect("a row");
    assert_eq!(row["name"], "Ada Varga");
    assert_eq!(
        written(&system.convex),
        ["users", "profiles"],
        "written once"
    );
    assert_eq!(
        system.log.count("dead letter is tried again"),
        2,
        "both are logged"
    );
    assert_eq!(system.door().failures().await.len(), 0);
    system.door().every_delivery_has_one_end(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_was_written_since_is_no_dead_letter_and_a_retry_brings_nothing_old_back() {
    let system = System::start().await;
    let mut refuses = FaultRule::new(FaultKind::RejectKey);
    refuses.key = Some("user_late".to_owned());
    system.convex.fault(refuses);
    system.hand().say(&created("user_late", 1, "Ada")).await;
    system.door().idle().await;
    assert_eq!(system.door().failures().await.len(), 1);
    system.convex.clear_faults();
    system.hand().say(&updated("user_late", 2, "Bea")).await;
    system.door().idle().await;
    assert_eq!(system.door().failures().await.len(), 0);
    let retried = system
        .run_json(&["failures", "retry", "--all", "--json"])
        .await;
    assert_eq!(retried["retried"], 0, "{retried}");
    system.door().idle().await;
    let row = system.convex.row("users", "user_late").expect("a row");
    assert_eq!(row["name"], "Bea Varga");
    system.door().every_delivery_has_one_end(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_that_is_newer_than_what_was_written_since_stays_and_its_retry_counts() {
    let system = System::start().await;
    let mut refuses = FaultRule::new(FaultKind::RejectKey);
    refuses.key = Some("user_newer".to_owned());
    system.convex.fault(refuses);
    system.hand().say(&updated("user_newer", 2, "Bea")).await;
    system.door().idle().await;
    assert_eq!(system.door().failures().await.len(), 1);
    system.convex.clear_faults();
    system.hand().say(&created("user_newer", 1, "Ada")).await;
    system.door().idle().await;
    let row = system.convex.row("users", "user_newer").expect("a row");
    assert_eq!(row["name"], "Ada Varga");
    assert_eq!(
        system.door().failures().await.len(),
        1,
        "it says more than the row"
    );
    let retried = system
        .run_json(&["failures", "retry", "--all", "--json"])
        .await;
    assert_eq!(retried["retried"], 1, "{retried}");
    system.door().idle().await;
    let row = system.convex.row("users", "user_newer").expect("a row");
    assert_eq!(row["name"], "Bea Varga");
    system.door().every_delivery_has_one_end(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_can_be_listed_and_dropped_without_a_daemon() {
    let mut system = System::start().await;
    let mut refuses = FaultRule::new(FaultKind::RejectKey);
    refuses.key = Some("user_dropped".to_owned());
    system.convex.fault(refuses);
    system.hand().say(&created("user_dropped", 1, "Ada")).await;
    system.door().idle().await;
    assert_eq!(system.door().failures().await.len(), 1);
    assert_eq!(system.terminate().await, 0);
    let listed = system.run_json(&["failures", "list", "--json"]).await;
    let id = listed["failures"][0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    assert_eq!(listed["failures"][0]["key"], "user_dropped");
    let dropped = system.run(&["failures", "drop", &id]).await;
    assert_eq!(dropped.status.code(), Some(0), "{dropped:?}");
    system.convex.clear_faults();
    system.start_daemon().await;
    assert_eq!(system.recovered(), 0);
    assert_eq!(system.door().failures().await.len(), 0);
    assert_eq!(system.convex.count("users"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn paused_and_disabled_daemons_take_in_and_apply_nothing_until_they_may() {
    let mut system = System::with(&[("SYNC_ENABLED", "false")]).await;
    system.hand().say(&created("user_1", 1, "Ada")).await;
    system.door().depth(1).await;
    assert_eq!(system.door().get("/status").await["enabled"], false);
    assert_eq!(system.terminate().await, 0);
    system.set("SYNC_ENABLED", "true");
    system.start_daemon().await;
    system.door().idle().await;
    assert_eq!(system.convex.count("users"), 1);

    let paused = system.run(&["pause"]).await;
    assert_eq!(paused.status.code(), Some(0), "{paused:?}");
    system.hand().say(&created("user_2", 1, "Ada")).await;
    // A pause is a person's word: it outlives a crash.
    system.kill().await;
    system.start_daemon().await;
    system.door().depth(1).await;
    assert_eq!(system.door().get("/status").await["paused"], true);
    assert_eq!(system.convex.count("users"), 1);
    let resumed = system.run(&["resume"]).await;
    assert_eq!(resumed.status.code(), Some(0), "{resumed:?}");
    system.door().idle().await;
    assert_eq!(system.convex.count("users"), 2);
    system.door().every_delivery_has_one_end(1).await;
}
