//! The state directory is that of yesterday: somebody has brought a backup back.
//!
//! Nothing in it can tell. What it has still to do was done since, what it believes of the rows is old; nobody alive
//! is deleted for that, nobody comes back, and no row goes back to what it was.

use serde_json::json;

use super::damage::{copy, empty};
use crate::{
    process::System,
    runs::{report, same_records},
    services::never_twice_never_back,
    world::PATH,
};

const USERS: usize = 60;

fn new(system: &System, name: &str) -> String {
    let named = json!({ "first_name": name });
    system.clerk.create_user(named).expect("created")
}

fn name(system: &System, key: &str) -> String {
    let row = system.convex.row("users", key);
    row.map_or_else(String::new, |row| row["name"].to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_of_yesterday_deletes_nobody_and_takes_nothing_back() {
    let mut system = System::prepared(&[]).await;
    system.clerk.seed_users(USERS);
    system.start_daemon().await;
    report(&system.door(), "reconcile").await;
    let url = format!("http://{}{PATH}", system.address());
    system.clerk.set_webhook_url(Some(url));
    // Two deliveries wait in it.
    system.convex.down();
    let (changes, leaves) = (new(&system, "Waits"), new(&system, "Leaves"));
    system.clerk.quiet().await;
    assert_eq!(system.terminate().await, 0);
    let yesterday = tempfile::tempdir().expect("a directory");
    copy(system.state.path(), yesterday.path());

    system.convex.up();
    system.start_daemon().await;
    assert_eq!(system.recovered(), 2);
    let mut users = system.clerk.user_ids();
    users.retain(|id| *id != changes && *id != leaves);
    for id in users.iter().skip(3).take(10).chain([&changes]) {
        let named = json!({ "first_name": "Today" });
        system.clerk.update_user(id, named).expect("updated");
    }
    for id in users.iter().take(3).chain([&leaves]) {
        system.clerk.delete_user(id).expect("deleted");
    }
    new(&system, "Newcomer");
    system.clerk.quiet().await;
    system.door().idle().await;
    let mut dead = system.convex.tombstones("users");
    assert_eq!(dead.len(), 4);
    assert_eq!(system.terminate().await, 0);

    empty(system.state.path());
    copy(yesterday.path(), system.state.path());
    system.start_daemon().await;
    assert_eq!(system.recovered(), 2, "it does not know that it was done");
    system.door().idle().await;
    for _ in 0..2 {
        let found = report(&system.door(), "reconcile").await;
        assert!(
            ["in_sync", "repaired"].contains(&found["outcome"].as_str().expect("a word")),
            "{found:#}"
        );
    }
    for id in users.iter().skip(3).take(10).chain([&changes]) {
        assert!(name(&system, id).contains("Today"), "{id} went back");
    }
    let mut now = system.convex.tombstones("users");
    dead.sort();
    now.sort();
    assert_eq!(now, dead, "nobody else was deleted");
    same_records(&system.clerk, &system.convex);
    never_twice_never_back(&system.convex);
    system.door().every_delivery_has_one_end(2).await;
}
