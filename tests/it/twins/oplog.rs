//! A log of operations that lacks something, or whose entries do not hang together.

use clerk_convex_sync::twin::Twin;
use serde_json::Value;

use crate::{hand::created, oplog::words, process::System, runs};

/// What the log lacks after a kill under load: rows without an entry, and where the chain breaks.
async fn gaps(settings: &[(&str, &str)]) -> Vec<String> {
    let mut system = System::with(settings).await;
    for n in 0..20 {
        let event = created(&format!("user_{n}"), 1, "Ada");
        system.hand().say(&event).await;
    }
    system.kill().await;
    system.start_daemon().await;
    system.door().idle().await;
    let mut gaps = Vec::new();
    let told = system.door().get("/log?limit=10000").await;
    let told = told["entries"].as_array().cloned().unwrap_or_default();
    for key in runs::keys(&system.convex, "users") {
        let upserts = |one: &Value| words(one).1 == "upsert" && one["key"] == key.as_str();
        if !told.iter().any(upserts) {
            gaps.push(format!("{key} was written"));
        }
    }
    let verified = system.door().get("/log/verify").await;
    if verified["ok"] != true {
        gaps.push(format!("it breaks: {verified}"));
    }
    gaps
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_in_the_log_and_a_chain_that_is_none_are_noticed() {
    assert_eq!(gaps(&[]).await, Vec::<String>::new());
    for (twin, word) in [
        (Twin::UnnotedWrites, "user_7"),
        (Twin::LooseChain, "breaks"),
    ] {
        let gaps = gaps(&[("CCS_TWIN", twin.name())]).await;
        assert!(
            gaps.iter().any(|gap| gap.contains(word)),
            "{twin:?}: {gaps:?}"
        );
    }
}
