//! What a listing lacks is not deleted before Clerk was asked about that very id.
//!
//! Somebody signs up, and the event arrives before the listings show them: to a full diff the row is an orphan.
//! Both sides of the listing agree, so nothing but the question about the id saves them.

use std::time::Duration;

use clerk_convex_sync::twin::Twin;
use serde_json::json;

use crate::{
    process::System,
    runs::report,
    world::{PATH, eventually},
};

/// Who lives in Clerk and was deleted in Convex.
async fn killed(twin: Option<Twin>) -> Vec<String> {
    let mut system = System::prepared(&[]).await;
    if let Some(twin) = twin {
        system.set("CCS_TWIN", twin.name());
    }
    system.start_daemon().await;
    system.clerk.seed_users(200);
    report(&system.door(), "reconcile").await;
    let url = format!("http://{}{PATH}", system.address());
    system.clerk.set_webhook_url(Some(url));
    system.clerk.lag_next(3, Duration::from_secs(600));
    for name in ["Ada", "Bea", "Cleo"] {
        let named = json!({ "first_name": name });
        system.clerk.create_user(named).expect("created");
    }
    eventually("their rows are there", async || {
        system.convex.count("users") == 203
    })
    .await;
    system.door().idle().await;
    report(&system.door(), "reconcile").await;
    let living = system.clerk.user_ids();
    let deleted = system.convex.tombstones("users").into_iter();
    deleted.filter(|id| living.contains(id)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn g19_nobody_is_deleted_because_a_listing_is_late() {
    let none = killed(None).await;
    assert!(none.is_empty(), "{none:?}");
    let some = killed(Some(Twin::NoConfirm)).await;
    assert_eq!(some.len(), 3, "the twin deletes without asking");
}
