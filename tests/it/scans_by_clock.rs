//! Scans that the clock starts: what they find when deliveries stop, how they fail, how they keep to Clerk's
//! limits, and what they do when the state does not tell where they stood.

use std::time::Duration;

use chrono::Utc;
use clerk_convex_sync::{
    sandbox::clerk::{
        faults::{Fault, Wrong},
        limits::LimitSettings,
    },
    store::state::{DIR, Options, State},
};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    hand::now_s,
    process::System,
    runs::{notes, pages, report, run, text},
    world::{World, eventually},
};

const EVERY_SECOND: &str = "* * * * * *";

fn name_of(world: &World, id: &str) -> String {
    world.user_row(id).expect("a row")["name"].to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn s22_with_the_endpoint_disabled_changes_arrive_by_sweeps_and_the_silence_is_told() {
    let settings = [
        ("CCS_SCHEDULE__SWEEP", EVERY_SECOND),
        ("CCS_SCHEDULE__CENSUS", EVERY_SECOND),
    ];
    let world = World::filled(&settings, 60).await;
    let users = world.clerk.user_ids();
    let named = |name: &str| json!({"first_name": name});
    world
        .clerk
        .update_user(&users[0], named("Heard"))
        .expect("updated");
    eventually("a delivery", async || {
        name_of(&world, &users[0]).contains("Heard")
    })
    .await;

    // Only what came after a first sweep can have been missed.
    eventually("a first sweep", async || {
        !world.door().get("/status").await["last"]["sweep"].is_null()
    })
    .await;
    world.clerk.enable_endpoint(false);
    for id in &users[1..4] {
        world
            .clerk
            .update_user(id, named("Unheard"))
            .expect("updated");
    }
    let new = world.clerk.create_user(named("Newcomer")).expect("created");
    let changed = Instant::now();
    eventually("all of it is there", async || {
        world.user_row(&new).is_some()
            && users[1..4]
                .iter()
                .all(|id| name_of(&world, id).contains("Unheard"))
    })
    .await;
    let took = changed.elapsed();
    assert!(
        took < Duration::from_secs(10),
        "one sweep a second: {took:?}"
    );
    world.clerk.delete_user(&users[5]).expect("deleted");
    eventually("the deletion too", async || {
        world.user_row(&users[5]).is_none()
    })
    .await;

    let alerts = async || world.door().alerts().await;
    assert!(
        !alerts().await.contains(&"silent_endpoint".to_owned()),
        "it is no silence yet"
    );
    // A minute of it.
    eventually("the last change is a while ago", async || {
        changed.elapsed() > Duration::from_secs(40)
    })
    .await;
    eventually("the silence is told", async || {
        alerts().await.contains(&"silent_endpoint".to_owned())
    })
    .await;
    world.clerk.enable_endpoint(true);
    world
        .clerk
        .update_user(&users[7], named("Again"))
        .expect("updated");
    eventually("it is over", async || {
        !alerts().await.contains(&"silent_endpoint".to_owned())
    })
    .await;
    world.agrees().await;
}

/// Three seconds of today, soon: close to each other, so that the first run begins without much ado.
fn soon() -> String {
    let mut first = Utc::now().timestamp() + 8;
    // All three in one minute.
    if first % 60 > 57 {
        first += 60 - first % 60;
    }
    let at = chrono::DateTime::from_timestamp(first, 0).expect("a time");
    let second = first % 60;
    format!(
        "{second},{},{} {} * * *",
        second + 1,
        second + 2,
        at.format("%M %H")
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn s23_a_full_diff_that_dies_of_429s_leaves_the_last_success_and_is_tried_again_with_backoff()
{
    let world = World::filled(&[("CCS_SCHEDULE__FULL", &soon())], 1_200).await;
    let id = world.clerk.user_ids()[0].clone();
    world.unheard(|clerk| {
        let named = json!({"first_name": "Unheard"});
        clerk.update_user(&id, named).expect("updated");
    });
    let limited = Wrong::Status {
        status: 429,
        retry_after_secs: Some(1),
        json: true,
    };
    world.clerk.fault(
        Fault::next("GET /v1/users$", limited)
            .after(1)
            .times(1_000_000),
    );
    let full = async || world.door().get("/status").await["runs"]["full"].clone();
    let success = async || {
        let figures = world.door().figures().await;
        figures.sum("run_last_success_timestamp_seconds", &["kind=\"full\""])
    };
    let before = success().await;
    assert!(before > 0.0);
    assert_eq!(full().await["failures_in_a_row"], 0);
    eventually("the run has failed", async || {
        full().await["failures_in_a_row"] == 1
    })
    .await;
    let failed = Instant::now();
    let age = |full: &Value| full["success_age_s"].as_f64().expect("an age");
    let young = age(&full().await);
    assert_eq!(success().await, before, "it is no success");
    let refused = world.clerk.requests().answered(429);
    assert!((2..=12).contains(&refused), "{refused} refusals");
    world.clerk.clear_faults();
    let asked = pages(&world.clerk);
    eventually("half a minute passes", async || {
        failed.elapsed() > Duration::from_secs(20)
    })
    .await;
    assert_eq!(pages(&world.clerk), asked, "it waits");
    assert_eq!(success().await, before);
    assert!(age(&full().await) > young + 15.0, "the age goes on growing");
    eventually("the next try", async || success().await > before).await;
    let wait = failed.elapsed();
    assert!(wait < Duration::from_secs(45), "soon: {wait:?}");
    assert_eq!(full().await["failures_in_a_row"], 0);
    assert!(pages(&world.clerk) - asked <= 3, "it went on where it was");
    world.agrees().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s25_no_request_goes_out_inside_a_penalty_and_a_delivery_does_not_wait_behind_the_scan() {
    let settings = [
        ("CCS_CLERK__REQUESTS_PER_10S", "0"),
        ("CCS_REPAIR__MAX_DELETES", "1000"),
        ("CCS_REPAIR__MAX_DELETE_RATIO", "1.0"),
    ];
    let world = World::filled(&settings, 400).await;
    world.clerk.set_limits(LimitSettings {
        per_10s: 100,
        ..LimitSettings::default()
    });
    // Each of these is asked for by its id: more than fit into two windows.
    let id = world.unheard(|clerk| {
        let mut users = clerk.user_ids();
        let waiting = users.pop().expect("somebody");
        for gone in users.iter().take(120) {
            clerk.delete_user(gone).expect("deleted");
        }
        let named = json!({"first_name": "Waiting"});
        clerk.update_user(&waiting, named).expect("updated");
        waiting
    });
    let asked = |world: &World| world.clerk.requests().to("GET /v1/users/{user_id}");
    let before = asked(&world);
    let running = world.begin("reconcile");
    eventually("the scan has used up its share", async || {
        asked(&world) >= before + 30
    })
    .await;
    // An event that tells no more than whom it is about: the record has to be fetched.
    let named = json!({"first_name": "Fetched"});
    world.unheard(|clerk| clerk.update_user(&id, named).expect("updated"));
    let event = json!({
        "object": "event",
        "type": "user.updated",
        "timestamp": now_s() * 1000,
        "data": {"id": id, "object": "user"},
    });
    let said = Instant::now();
    world.hand().say(&event).await;
    eventually("it is fetched", async || {
        name_of(&world, &id).contains("Fetched")
    })
    .await;
    let took = said.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert!(!running.is_finished(), "the scan is under way");

    // The app's own backend takes its part, so that less is left than the daemon may believe.
    world.clerk.set_limits(LimitSettings {
        per_10s: 40,
        ..LimitSettings::default()
    });
    let report = running.await.expect("no panic").expect("a report");
    assert_eq!(report["outcome"], "repaired", "{}", notes(&report));
    let requests = world.clerk.requests();
    let limited = requests.by_endpoint["GET /v1/users/{user_id}"].get(&429);
    assert!(
        limited.is_some_and(|times| *times > 0),
        "it met the limit: {requests:?}"
    );
    assert_eq!(requests.inside_penalty, 0);
    assert_eq!(world.convex.count("users"), 280);
    world.clerk.set_limits(LimitSettings::default());
    world.agrees().await;
}

/// Changes a cell of the state while nobody has it open.
fn spoil(system: &System, cell: &str) {
    let now = Utc::now();
    let opened = State::open(&system.state.path().join(DIR), &Options::at(now, None));
    let state = opened.expect("a state").state;
    let mut bytes = state.get_cell(cell).expect("a state").expect("a cell");
    bytes[2] ^= 0x55;
    state.put_cell(cell, Some(&bytes)).expect("put");
    state.sync().expect("written");
}

/// The notes of all kept reports of a kind, newest first.
async fn said(system: &System, kind: &str) -> Vec<String> {
    let list = system
        .run_json(&["reports", "list", "--kind", kind, "--json"])
        .await;
    let mut said = Vec::new();
    for one in list.as_array().expect("a list") {
        let id = text(&one["id"]);
        let report = system.run_json(&["reports", "show", &id, "--json"]).await;
        said.push(notes(&report));
    }
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn s10_a_damaged_position_of_the_sweep_is_said_and_a_full_diff_follows_by_itself() {
    let settings = [
        ("CCS_SCHEDULE__SWEEP", EVERY_SECOND),
        ("CCS_SCHEDULE__FULL", "@yearly"),
    ];
    let mut system = System::with(&settings).await;
    system.clerk.set_webhook_url(None);
    system.clerk.seed_users(100);
    let first = report(&system.door(), "reconcile").await;
    eventually("a sweep knows where it stands", async || {
        !system.door().get("/status").await["last"]["sweep"].is_null()
    })
    .await;
    assert_eq!(system.terminate().await, 0);
    spoil(&system, "sweep/cursor");
    let users = system.clerk.user_ids();
    for (at, name) in [(3, "Older"), (4, "Newer")] {
        let named = json!({"first_name": name});
        system
            .clerk
            .update_user(&users[at], named)
            .expect("updated");
        system.clerk.advance_ms(120_000);
    }
    system.start_daemon().await;
    let is_named = |at: usize, name: &str| {
        let row = system.convex.row("users", &users[at]).expect("a row");
        row["name"].to_string().contains(name)
    };
    eventually("the sweep begins with the newest", async || {
        is_named(4, "Newer")
    })
    .await;
    eventually("the rest is compared", async || is_named(3, "Older")).await;
    eventually("the full diff has ended", async || {
        let status = system.door().get("/status").await;
        status["last"]["full"]["id"] != first["id"] && status["runs"]["full"]["running"].is_null()
    })
    .await;
    let said = said(&system, "sweep").await;
    let damaged = said.iter().any(|notes| notes.contains("could not be read"));
    assert!(damaged, "{said:?}");
    // It is over with that one full diff.
    let audit = report(&system.door(), "audit").await;
    assert_eq!(audit["outcome"], "in_sync", "{audit:#}");
    let runs = async || {
        let figures = system.door().figures().await;
        let full = figures.sum("runs_total", &["kind=\"reconcile\""]);
        (full, figures.sum("runs_total", &["kind=\"sweep\""]))
    };
    let (full, sweeps) = runs().await;
    eventually("some more sweeps", async || runs().await.1 >= sweeps + 3.0).await;
    assert_eq!(runs().await.0, full);
}

#[tokio::test(flavor = "multi_thread")]
async fn s10_a_damaged_place_of_a_cut_off_run_is_said_and_everything_is_compared_anew() {
    let system = System::prepared(&[]).await;
    system.clerk.set_webhook_url(None);
    system.clerk.seed_users(1_200);
    let mut process = system.spawn(&["reconcile"]);
    eventually("a page was dealt with", async || pages(&system.clerk) >= 2).await;
    process.kill().await.expect("killed");
    let output = system.run(&["status"]).await;
    assert_eq!(output.status.code(), Some(4), "nobody is there");
    spoil(&system, "run/reconcile");
    let report = system.run_json(&["reconcile", "--json"]).await;
    assert_eq!(report["resumed"], false);
    assert!(
        notes(&report).contains("could not be read"),
        "{}",
        notes(&report)
    );
    assert_eq!(system.convex.count("users"), 1_200);
    let audit = system.run_json(&["audit", "--json"]).await;
    assert_eq!(audit["outcome"], "in_sync");
    assert_eq!(notes(&audit), "[]");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_census_before_the_first_full_diff_says_what_it_needs_and_is_no_alarm() {
    let world = World::start().await;
    let door = world.door();
    let early = run(&door, json!({"kind": "census"})).await;
    let early = early.expect_err("nobody has counted");
    assert!(early.contains("full diff"), "{early}");
    assert_eq!(door.alerts().await, Vec::<String>::new());
    report(&door, "reconcile").await;
    assert_eq!(report(&door, "census").await["outcome"], "in_sync");
}
