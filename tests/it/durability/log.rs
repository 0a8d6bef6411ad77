//! The operations log on a disk that fails: it tells what it has lost, and holds nobody up.

use std::{fs, path::PathBuf};

use serde_json::Value;

use super::failing::{counted, on_a_failing_disk};
use crate::{hand::created, process::System, soak, world::eventually};

/// What the log tells, oldest first.
async fn entries(system: &System) -> Vec<Value> {
    let told = system.door().get("/log?limit=10000").await;
    told["entries"].as_array().cloned().unwrap_or_default()
}

/// The number of the entry about a user; none if there is none.
async fn entry_of(system: &System, user: &str) -> Option<u64> {
    let told = entries(system).await;
    told.iter().find(|one| one["key"] == user)?["n"].as_u64()
}

/// The number of the last entry that is noted as synced.
fn synced(system: &System) -> u64 {
    let marks = fs::read(system.state.path().join("oplog/marks.json")).unwrap_or_default();
    let marks: Value = serde_json::from_slice(&marks).unwrap_or_default();
    marks["tail"]["n"].as_u64().unwrap_or(0)
}

fn segments(system: &System) -> usize {
    let files = fs::read_dir(system.state.path().join("oplog")).expect("the log");
    let names = files.map(|file| PathBuf::from(file.expect("a file").file_name()));
    names
        .filter(|name| name.extension().is_some_and(|end| end == "ndjson"))
        .count()
}

async fn is_raised(system: &System, code: &str) -> bool {
    system
        .door()
        .alerts()
        .await
        .iter()
        .any(|raised| raised == code)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_of_the_operations_log_is_not_asked_again_and_it_tells_what_may_be_lost() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut system, order) = match on_a_failing_disk(dir.path(), "").await {
        Ok(found) => found,
        Err(why) => return soak::not_run("The operations log", &why),
    };
    system.hand().say(&created("user_kept", 1, "Ada")).await;
    let mut kept = None;
    eventually("the first entry is synced", async || {
        kept = entry_of(&system, "user_kept").await;
        kept.is_some_and(|n| synced(&system) >= n)
    })
    .await;
    fs::write(&order, "oplog").expect("written");
    system.hand().say(&created("user_gone", 1, "Ada")).await;
    // What was not synced is gone with the first failure; the second is that of what was begun behind it.
    let mut failed = 0;
    eventually("two syncs fail, and it is said", async || {
        failed += counted(&order, "failed");
        failed >= 2 && is_raised(&system, "oplog_failed").await
    })
    .await;
    fs::remove_file(&order).expect("removed");
    failed += counted(&order, "failed");
    system.hand().say(&created("user_later", 1, "Ada")).await;
    eventually("it is well again", async || {
        !is_raised(&system, "oplog_failed").await
    })
    .await;
    let last = entry_of(&system, "user_later").await.expect("it is kept");
    eventually("it is synced", async || synced(&system) >= last).await;
    assert_eq!(
        segments(&system) as u64,
        failed + 1,
        "each file was asked once"
    );
    let told = entries(&system).await;
    let told = told.iter().rfind(|one| one["what"] == "not synced");
    let told = told.expect("it says so");
    let gone = kept.expect("a number") + 1;
    let words = told["reason"].as_str().expect("words");
    assert!(words.starts_with(&format!("{gone} to ")), "{words}");
    assert_eq!(system.terminate().await, 0);
    let verified = system.run(&["log", "verify"]).await;
    let said = String::from_utf8_lossy(&verified.stdout);
    assert_eq!(verified.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("entry {gone}:")), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operations_log_that_cannot_be_read_is_set_aside_and_deliveries_are_taken_in() {
    let mut system = System::start().await;
    system.hand().say(&created("user_before", 1, "Ada")).await;
    system.door().idle().await;
    assert_eq!(system.terminate().await, 0);
    // What a disk that fails answers as well: an error in the place of what was read.
    let marks = system.state.path().join("oplog/marks.json");
    fs::remove_file(&marks).expect("removed");
    fs::create_dir(&marks).expect("a directory");
    system.start_daemon().await;
    system.hand().say(&created("user_after", 1, "Ada")).await;
    system.door().idle().await;
    assert_eq!(system.convex.count("users"), 2);
    assert!(is_raised(&system, "oplog_damaged").await);
    let told = entries(&system).await;
    assert_eq!(told[0]["what"], "set aside", "{told:?}");
    assert!(entry_of(&system, "user_after").await.is_some(), "{told:?}");
    assert_eq!(system.door().get("/log/verify").await["ok"], true);
    let kept = fs::read_dir(system.state.path()).expect("the state");
    let kept = kept.map(|entry| entry.expect("an entry"));
    let mut kept = kept.filter(|entry| {
        entry
            .file_name()
            .to_string_lossy()
            .starts_with("oplog.corrupt-")
    });
    let kept = kept.next().expect("it is kept").path();
    assert!(kept.join("00000000000000000001.ndjson").is_file());
}
