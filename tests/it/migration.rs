//! The bulk migration: everybody into an empty Convex, killed at each page, and taken up again.

use std::time::Duration;

use serde_json::json;

use crate::{
    process::System,
    runs::{pages, report, same_records},
};

/// Users, and the pages that hold them.
const USERS: usize = 4_800;
const PAGES: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn s24_killed_at_every_page_of_a_bulk_migration_it_finishes_and_asks_for_no_page_in_vain() {
    let system = System::prepared(&[]).await;
    system.clerk.set_webhook_url(None);
    system.clerk.seed_users(USERS);
    let mut restarts = 0;
    // How many pages were asked for when the last user was there.
    let mut moved = None;
    let end = loop {
        let before = pages(&system.clerk);
        let mut process = system.spawn(&["reconcile"]);
        let end = loop {
            let asked = pages(&system.clerk);
            if moved.is_none() && system.convex.count("users") == USERS {
                moved = Some((asked, restarts));
            }
            // The second page is asked for once the first has been dealt with: that is the boundary.
            if asked >= before + 2 {
                break None;
            }
            if let Some(end) = process.try_wait().expect("a status") {
                break Some(end);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        if let Some(end) = end {
            break end;
        }
        process.kill().await.expect("killed");
        restarts += 1;
        assert!(restarts <= 3 * PAGES, "it makes no headway");
    };
    assert_eq!(end.code(), Some(0));
    assert!(restarts >= PAGES, "killed {restarts} times");
    let (asked, killed) = moved.expect("everybody is there");
    assert!(
        asked <= PAGES + killed,
        "{asked} pages, killed {killed} times"
    );
    // What was moved is walked a second time, to see that it arrived.
    let all = pages(&system.clerk);
    assert!(
        all <= 2 * PAGES + restarts,
        "{all} pages, killed {restarts} times"
    );
    same_records(&system.clerk, &system.convex);
    let written = system.convex.commits(0, 1_000_000).len();
    assert_eq!(written, 2 * USERS, "each row was written once");
    let reports = system.run_json(&["reports", "list", "--json"]).await;
    assert_eq!(reports[0]["resumed"], true, "{reports}");

    let (mutations, before) = (system.convex.calls().mutations, pages(&system.clerk));
    let audit = system.run_json(&["audit", "--json"]).await;
    assert_eq!(audit["outcome"], "in_sync", "{audit:#}");
    assert_eq!(system.convex.calls().mutations, mutations);
    assert_eq!(pages(&system.clerk) - before, PAGES);
}

#[tokio::test(flavor = "multi_thread")]
async fn s24_an_audit_that_is_killed_at_every_page_finishes_too() {
    let system = System::prepared(&[]).await;
    system.clerk.set_webhook_url(None);
    system.clerk.seed_users(2_300);
    system.run_json(&["reconcile", "--json"]).await;
    let first = pages(&system.clerk);
    let mut restarts = 0;
    loop {
        let before = pages(&system.clerk);
        let mut process = system.spawn(&["audit"]);
        let end = loop {
            if pages(&system.clerk) >= before + 2 {
                break None;
            }
            if let Some(end) = process.try_wait().expect("a status") {
                break Some(end);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        if let Some(end) = end {
            assert_eq!(end.code(), Some(0));
            break;
        }
        process.kill().await.expect("killed");
        restarts += 1;
        assert!(restarts <= 20, "it makes no headway");
    }
    assert!(restarts >= 4, "killed {restarts} times");
    let asked = pages(&system.clerk) - first;
    assert!(
        asked <= 5 + restarts,
        "{asked} pages, killed {restarts} times"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn s24_a_daemon_that_is_killed_in_a_migration_goes_on_after_its_start() {
    let mut system = System::with(&[("CCS_SCHEDULE__FULL", "@yearly")]).await;
    system.clerk.set_webhook_url(None);
    system.clerk.seed_users(2_300);
    system.clerk.set_latency(Duration::from_millis(200));
    let door = system.door();
    let running = tokio::spawn(async move {
        let wish = json!({"kind": "reconcile"});
        door.text("POST", "/runs", Some(wish)).await
    });
    crate::world::eventually("two pages were read", async || pages(&system.clerk) >= 2).await;
    system.kill().await;
    assert!(running.await.is_err(), "the answer broke off");
    let asked = pages(&system.clerk);
    system.clerk.set_latency(Duration::ZERO);
    system.start_daemon().await;
    system.clerk.set_webhook_url(None);
    crate::world::eventually("it went on by itself", async || {
        system.door().get("/status").await["last"]["full"]["outcome"] == "repaired"
    })
    .await;
    let again = pages(&system.clerk) - asked;
    assert!(
        again <= 5 - 1 + 1 + 5,
        "{again} pages: what was dealt with is not asked for again"
    );
    same_records(&system.clerk, &system.convex);
    assert_eq!(report(&system.door(), "audit").await["outcome"], "in_sync");
}
