//! `audit`, `reconcile` and `sync` as a person gives them, with a daemon and without; and the schedule.
//!
//! The built binary between the simulated ends. What a full diff finds is tested elsewhere; here it is who
//! carries it out, what is printed, and how the command ends.

use std::{process::Stdio, time::Duration};

use clerk_convex_sync::sandbox::convex::{FaultKind, FaultRule};
use serde_json::{Value, json};

use crate::{
    hand::created,
    process::System,
    world::{World, eventually},
};

/// A command's end: its code, what it printed, what it complained of.
async fn ends(system: &System, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = system.run(arguments).await;
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

fn document(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| panic!("one document and nothing else: {text}"))
}

/// Every call of `apply` takes so long from now on.
fn slow_down(system: &System, ms: u64) {
    let mut slow = FaultRule::new(FaultKind::Latency);
    slow.function = Some("apply".to_owned());
    slow.ms = Some(ms);
    system.convex.fault(slow);
}

/// What must hold whether a daemon runs or not.
async fn a_whole_life(system: &System) {
    let (code, text, complaint) = ends(system, &["audit", "--json"]).await;
    assert_eq!(code, Some(3), "{complaint}");
    let report = document(&text);
    assert_eq!(report["kind"], "audit");
    assert_eq!(report["outcome"], "differences");
    assert_eq!(report["tables"]["users"]["missing"], 20);
    assert_eq!(system.convex.count("users"), 0, "an audit writes nothing");

    let (code, text, complaint) = ends(system, &["reconcile"]).await;
    assert_eq!(code, Some(0), "{text}{complaint}");
    assert!(text.contains("20"), "{text}");
    assert_eq!(system.convex.count("users"), 20);

    let (code, text, complaint) = ends(system, &["audit", "--table", "users"]).await;
    assert_eq!(code, Some(0), "{text}{complaint}");

    let user = system.clerk.user_ids()[0].clone();
    let synced = system.run_json(&["sync", "user", &user, "--json"]).await;
    assert_eq!(
        (&synced["clerk"], &synced["action"]),
        (&json!("found"), &json!("none"))
    );
    system.clerk.lose_next(1);
    system
        .clerk
        .update_user(&user, json!({ "first_name": "Changed" }))
        .expect("updated");
    let synced = system.run_json(&["sync", "user", &user, "--json"]).await;
    assert_eq!(synced["action"], "updated", "{synced}");
    let row = system.convex.row("users", &user).expect("a row");
    assert!(
        row["name"].as_str().unwrap_or("").starts_with("Changed"),
        "{row}"
    );

    let (code, _, complaint) = ends(system, &["sync", "user", "no id"]).await;
    assert_eq!(code, Some(2), "{complaint}");
    // It would be kept as the id of a user who is gone.
    let (code, _, complaint) = ends(system, &["sync", "user", "org_1"]).await;
    assert_eq!(code, Some(2), "{complaint}");
    assert!(complaint.contains("sync organization"), "{complaint}");
    for (digest, expected) in [("0123456789abcdef", 1), ("NOT-A-DIGEST", 2)] {
        let (code, _, complaint) = ends(system, &["reconcile", "--approve", digest]).await;
        assert_eq!(code, Some(expected), "{complaint}");
        assert!(complaint.contains(digest), "{complaint}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_is_asked_where_one_runs() {
    let system = System::start().await;
    system.clerk.seed_users(20);
    a_whole_life(&system).await;
    let status = system.door().get("/status").await;
    assert_eq!(status["last"]["full"]["outcome"], "in_sync", "{status}");
    assert!(
        status["runs"]["full"]["success_age_s"].is_number(),
        "{status}"
    );
    let figures = system.door().figures().await;
    assert_eq!(
        figures.sum(
            "runs_total",
            &["kind=\"reconcile\"", "outcome=\"repaired\""]
        ),
        1.0
    );
    assert_eq!(figures.sum("differences", &["table=\"users\""]), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_daemon_the_command_does_it_itself_and_the_next_daemon_knows() {
    let mut system = System::prepared(&[]).await;
    system.clerk.seed_users(20);
    a_whole_life(&system).await;
    system.start_daemon().await;
    let status = system.door().get("/status").await;
    assert_eq!(status["last"]["full"]["outcome"], "in_sync", "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_a_silent_process_holds_ends_with_code_4() {
    let system = System::start().await;
    let socket = system.state.path().join("admin.sock");
    std::fs::remove_file(socket).expect("the socket");
    for command in [&["audit"][..], &["sync", "user", "user_1"]] {
        let (code, _, complaint) = ends(&system, command).await;
        assert_eq!(code, Some(4), "{command:?}: {complaint}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_in_the_journal_is_left_alone_by_an_audit_and_applied_by_a_reconcile() {
    let mut system = System::with(&[("SYNC_ENABLED", "false")]).await;
    system.hand().say(&created("user_waits", 1, "Ada")).await;
    system.door().depth(1).await;
    let (code, _, complaint) = ends(&system, &["reconcile"]).await;
    assert_eq!(code, Some(1));
    assert!(complaint.contains("sync.enabled"), "{complaint}");
    assert_eq!(system.terminate().await, 0);
    system.set("SYNC_ENABLED", "true");
    let (code, text, complaint) = ends(&system, &["audit"]).await;
    assert_eq!(code, Some(0), "{text}{complaint}");
    assert_eq!(system.convex.count("users"), 0);
    system.start_daemon().await;
    system.door().idle().await;
    assert_eq!(system.convex.count("users"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clock_starts_scans_and_a_pause_holds_them() {
    let world = World::with(&[("CCS_SCHEDULE__SWEEP", "* * * * * *")]).await;
    let swept = async || {
        let figures = world.door().figures().await;
        figures.sum("runs_total", &["kind=\"sweep\""])
    };
    world.door().pause(true).await;
    eventually("a sweep is skipped", async || {
        let figures = world.door().figures().await;
        figures.sum("runs_skipped_total", &["reason=\"paused\""]) > 0.0
    })
    .await;
    let before = swept().await;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert!(swept().await <= before + 1.0, "one may have been under way");
    world.door().pause(false).await;
    let before = swept().await;
    eventually("sweeps go on", async || swept().await >= before + 2.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_compares_everything_soon() {
    let mut world = World::with(&[("CCS_SCHEDULE__FULL", "@yearly")]).await;
    world.clerk.seed_users(10);
    eventually("everything was compared", async || {
        world.door().get("/status").await["last"]["full"]["outcome"] == "repaired"
    })
    .await;
    assert_eq!(world.convex.count("users"), 10);
    // It has succeeded since the last strike, so a restart owes nothing.
    world.stop_daemon().await;
    let asked = world.convex.calls().queries;
    world.start_daemon().await;
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert_eq!(world.convex.calls().queries, asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_told_line_by_line_and_goes_on_when_nobody_listens() {
    let system = System::start().await;
    system.clerk.seed_users(3_000);
    slow_down(&system, 1_000);
    let door = system.door();
    let wish = json!({ "kind": "reconcile" });
    let listening = tokio::time::timeout(
        Duration::from_millis(400),
        door.text("POST", "/runs", Some(wish.clone())),
    );
    assert!(listening.await.is_err(), "it takes longer than that");
    let busy = door
        .order("POST", "/runs", Some(json!({ "kind": "audit" })))
        .await;
    let error = busy["error"].as_str().expect("a sentence");
    assert!(error.contains("is running already"), "{busy}");
    let running = &door.get("/status").await["runs"]["full"]["running"];
    assert_eq!(running["kind"], "reconcile", "{running}");
    eventually("the run that nobody listens to ends", async || {
        door.get("/status").await["last"]["full"]["outcome"] == "repaired"
    })
    .await;
    assert_eq!(system.convex.count("users"), 3_000);

    let told = door.text("POST", "/runs", Some(wish)).await;
    let lines: Vec<Value> = told.lines().map(document).collect();
    let (last, before) = lines.split_last().expect("a line");
    assert_eq!(last["report"]["outcome"], "in_sync", "{last}");
    assert!(
        before.iter().all(|line| line["progress"].is_object()),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_killed_is_taken_up_by_the_next_start() {
    let mut system = System::with(&[("CCS_SCHEDULE__FULL", "@yearly")]).await;
    system.clerk.seed_users(5_000);
    slow_down(&system, 700);
    eventually("the first copy is half done", async || {
        system.convex.count("users") > 500
    })
    .await;
    system.kill().await;
    assert!(system.convex.count("users") < 5_000, "killed too late");
    system.convex.clear_faults();
    system.start_daemon().await;
    eventually("the next start has finished it", async || {
        system.door().get("/status").await["last"]["full"]["outcome"] == "repaired"
    })
    .await;
    assert_eq!(system.convex.count("users"), 5_000);
    let status = system.door().get("/status").await;
    let id = status["last"]["full"]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let report = system.run_json(&["reports", "show", &id, "--json"]).await;
    assert_eq!(report["resumed"], true, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_without_a_daemon_stops_where_the_next_run_goes_on() {
    let mut system = System::prepared(&[]).await;
    system.clerk.seed_users(5_000);
    slow_down(&system, 700);
    system.start_by(&["timeout", "--preserve-status", "-s", "INT", "3"]);
    let (code, text, complaint) = ends(&system, &["reconcile", "--json"]).await;
    assert_eq!(code, Some(1), "{text}{complaint}");
    assert!(
        complaint.contains("the next run goes on where this one was"),
        "{complaint}"
    );
    assert!(text.is_empty(), "{text}");
    assert!(system.convex.count("users") < 5_000, "stopped too late");
    system.convex.clear_faults();
    system.start_by(&[]);
    let report = system.run_json(&["reconcile", "--json"]).await;
    assert_eq!(report["outcome"], "repaired");
    assert_eq!(report["resumed"], true);
    assert_eq!(system.convex.count("users"), 5_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_on_this_machine_is_asked_through_a_proxy() {
    let proxy = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let url = format!("http://{}", proxy.local_addr().expect("an address"));
    let names = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"];
    let mut system = System::prepared(&names.map(|name| (name, url.as_str()))).await;
    system.start_daemon().await;
    for command in [
        &["check", "--online"][..],
        &["webhook", "send", "--type", "user.created"],
    ] {
        let output = system.run(command).await;
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
    eventually("the event is written", async || {
        system.convex.count("users") == 1
    })
    .await;
    system.door().idle().await;
    let came = tokio::time::timeout(std::time::Duration::from_millis(100), proxy.accept()).await;
    assert!(came.is_err(), "{came:?}");
}

/// A command's code when its data goes there.
async fn into(system: &System, arguments: &[&str], stdout: impl Into<Stdio>) -> Option<i32> {
    let mut command = system.command(arguments);
    let mut child = command.stdout(stdout).spawn().expect("the built binary");
    let ended = tokio::time::timeout(Duration::from_secs(60), child.wait()).await;
    ended.expect("it ends").expect("its code").code()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_away_changes_no_verdict_and_a_full_disk_is_told() {
    let mut system = System::prepared(&[]).await;
    system.clerk.seed_users(3);
    let nobody = || {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        writer
    };
    assert_eq!(into(&system, &["audit"], nobody()).await, Some(3));
    assert_eq!(
        into(&system, &["reconcile", "--json"], nobody()).await,
        Some(0)
    );
    assert_eq!(into(&system, &["audit"], nobody()).await, Some(0));
    for command in [&["check"][..], &["check", "--json"], &["reports", "list"]] {
        let full = std::fs::File::create("/dev/full").expect("the device");
        assert_eq!(into(&system, command, full).await, Some(1), "{command:?}");
    }
    system.start_daemon().await;
    let watch = ["status", "--watch"];
    assert_eq!(into(&system, &watch, nobody()).await, Some(0), "it ends");
    system.set("CONVEX_URL", "http://example.com");
    assert_eq!(into(&system, &["check"], nobody()).await, Some(2));
}
