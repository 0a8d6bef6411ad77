//! Clerk is told of rows even if the process that was to do it is gone; and a reload switches both ways on and off.

use clerk_convex_sync::sandbox::clerk::faults::{Fault, Wrong};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{PATCH, PATCH_METADATA};
use crate::{
    process::System,
    runs::{notes, report},
    world::{PATH, eventually},
};

/// Users who have just signed up, and their rows.
async fn people(system: &System, count: usize) -> Vec<String> {
    let url = format!("http://{}{PATH}", system.address());
    system.clerk.set_webhook_url(Some(url));
    let new = |n| json!({"first_name": format!("Ada{n}"), "last_name": "Varga"});
    let create = |n| system.clerk.create_user(new(n)).expect("a user");
    let ids: Vec<String> = (0..count).map(create).collect();
    eventually("everybody has a profile", async || {
        system.convex.count("profiles") == count
    })
    .await;
    ids
}

/// Whether Clerk names the row that this user has.
fn is_named(system: &System, id: &str) -> bool {
    let row = system.convex.row("users", id).expect("a row");
    let user = system.clerk.user(id).expect("a user");
    user["private_metadata"]["convexUserId"] == row["_id"]
}

/// Changes of metadata that Clerk has taken.
fn told(system: &System) -> u64 {
    let requests = system.clerk.requests();
    let answers = requests.by_endpoint.get(PATCH_METADATA);
    answers
        .and_then(|answers| answers.get(&200).copied())
        .unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_kill_took_before_clerk_was_told_the_next_full_diff_finds() {
    const USERS: usize = 5;
    let mut system = System::with(&[("CCS_CLERK__WRITE_BACK", "true")]).await;
    let away = Wrong::Status {
        status: 503,
        retry_after_secs: None,
        json: false,
    };
    let always = Fault::next(PATCH_METADATA, away).times(u32::MAX);
    system.clerk.fault(always);
    let ids = people(&system, USERS).await;
    eventually("it has tried", async || {
        system.clerk.requests().to(PATCH_METADATA) > 0
    })
    .await;
    system.kill().await;
    system.clerk.clear_faults();
    system.start_daemon().await;
    system.door().idle().await;

    // The applier has nothing to do, so nobody tells; an audit says it, and writes nothing.
    let audit = report(&system.door(), "audit").await;
    assert_eq!(audit["outcome"], "in_sync", "{audit:#}");
    let words = "does not name the row of 5 user(s)";
    assert!(notes(&audit).contains(words), "{audit:#}");
    assert!(!ids.iter().any(|id| is_named(&system, id)));
    let full = report(&system.door(), "reconcile").await;
    assert_eq!(full["outcome"], "in_sync", "{full:#}");
    assert_eq!(full["differences"], json!([]));
    assert!(notes(&full).contains(words), "{full:#}");
    eventually("Clerk names all rows", async || {
        ids.iter().all(|id| is_named(&system, id))
    })
    .await;

    // Once each: neither the echoes nor another full diff start anything.
    tokio::time::timeout(std::time::Duration::from_secs(60), system.clerk.quiet())
        .await
        .expect("every delivery has a fate");
    system.door().idle().await;
    let full = report(&system.door(), "reconcile").await;
    assert!(!notes(&full).contains("does not name"), "{full:#}");
    assert_eq!(told(&system), USERS as u64);

    // A row that Clerk does not name any more, after a restore there or by somebody's hand.
    let other = json!({"private_metadata": {"convexUserId": "another", "plan": "gold"}});
    system.clerk.merge_metadata(&ids[2], other).expect("merged");
    assert_eq!(system.terminate().await, 0);
    system.start_daemon().await;
    report(&system.door(), "reconcile").await;
    eventually("Clerk names the row again", async || {
        is_named(&system, &ids[2])
    })
    .await;
    let user = system.clerk.user(&ids[2]).expect("a user");
    assert_eq!(user["private_metadata"]["plan"], "gold");
    assert_eq!(told(&system), USERS as u64 + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_lets_changes_travel_to_clerk_and_stops_them_again() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let configure = |text: &str| std::fs::write(file.path(), text).expect("written");
    configure("");
    let mut system = System::prepared(&[]).await;
    system.configured_by(file.path());
    system.start_daemon().await;
    let ids = people(&system, 2).await;
    let edit = |name: &str| {
        let edited = system
            .convex
            .edit_profile(&ids[0], &json!({ "firstName": name }));
        edited.expect("an edit");
    };
    let name = || system.clerk.user(&ids[0]).expect("a user")["first_name"].clone();
    let rename = async |name: &str| {
        let change = json!({ "last_name": name });
        system.clerk.update_user(&ids[1], change).expect("changed");
        eventually("the change is in Convex", async || {
            let row: Value = system.convex.row("profiles", &ids[1]).expect("a row");
            row["lastName"] == name
        })
        .await;
    };
    let reload = async |nth| {
        system.signal(Signal::HUP);
        eventually("the configuration is read again", async || {
            system.log.count("configuration reloaded") == nth
        })
        .await;
    };
    edit("Augusta");
    rename("King").await;
    assert_eq!(name(), "Ada0");
    assert_eq!(system.clerk.requests().to(PATCH_METADATA), 0);

    configure(
        "[clerk]\nwrite_back = true\n[profile_edits]\nenabled = true\nfields = [\"firstName\"]\n",
    );
    reload(1).await;
    let restart = system
        .log
        .field_since(0, "configuration reloaded", "needs_restart");
    assert_eq!(restart.as_deref(), Some("[]"));
    eventually("the edit is in Clerk", async || name() == "Augusta").await;
    rename("Byron").await;
    eventually("Clerk is told which row it is", async || {
        is_named(&system, &ids[1])
    })
    .await;
    eventually("no edit waits", async || system.convex.edits_waiting() == 0).await;

    configure("");
    reload(2).await;
    let before = system.clerk.requests();
    edit("Ada Augusta");
    rename("Lovelace").await;
    // Longer than the outbox is left alone while edits travel.
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    let after = system.clerk.requests();
    for endpoint in [PATCH, PATCH_METADATA] {
        assert_eq!(after.to(endpoint), before.to(endpoint), "{endpoint}");
    }
    assert_eq!(name(), "Augusta");
    assert_eq!(system.convex.edits_waiting(), 1);
}
