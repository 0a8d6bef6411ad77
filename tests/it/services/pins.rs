//! A state belongs to one pair of services: another deployment, or a key of another kind, is refused before
//! anything that waits in the state could be written to it. (Another instance: `listing/strangers.rs`.)

use std::process::Output;

use crate::{hand::created, process::System, runs::report};

/// The words with which it does not start.
fn complaint(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A state that has seen a run, and a delivery that waits in it.
async fn with_something_that_waits() -> System {
    let mut system = System::start().await;
    system.clerk.seed_users(20);
    report(&system.door(), "reconcile").await;
    system.convex.down();
    system.hand().say(&created("user_waits", 1, "Ada")).await;
    assert_eq!(system.terminate().await, 0);
    system.convex.up();
    system
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_not_written_to_another_deployment() {
    let mut system = with_something_that_waits().await;
    let (ours, mutations) = (system.convex.url(), system.convex.calls().mutations);
    // The same machine by another name: the state cannot know that it is the same.
    system.set("CONVEX_URL", &ours.replace("127.0.0.1", "localhost"));
    let words = complaint(&system.run(&["run"]).await);
    assert!(words.contains("the Convex deployment 127.0.0.1"), "{words}");
    assert!(words.contains("state.dir"), "{words}");
    assert_eq!(system.convex.calls().mutations, mutations);
    system.set("CONVEX_URL", &ours);
    system.start_daemon().await;
    system.door().idle().await;
    assert!(system.convex.row("users", "user_waits").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_another_kind_is_refused_whoever_starts() {
    let mut system = with_something_that_waits().await;
    let mutations = system.convex.calls().mutations;
    system.set(
        "CLERK_SECRET_KEY",
        "sk_live_another000000000000000000000000000000",
    );
    system.set("CCS_CONVEX__ALLOW_MIXED_ENVIRONMENTS", "true");
    for command in ["run", "audit", "reconcile"] {
        let words = complaint(&system.run(&[command]).await);
        assert!(
            words.contains("a Clerk key of kind test"),
            "{command}: {words}"
        );
        assert!(!words.contains("sk_live_another"), "no secret is said");
    }
    assert_eq!(system.convex.calls().mutations, mutations);
    assert!(system.convex.row("users", "user_waits").is_none());
}
