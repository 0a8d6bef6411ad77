//! One message again and again (G10): one after another, many at once, and after restarts, gentle and not.
//!
//! Each copy is acknowledged and the first one alone has an effect. `repetition.rs` counts what repetitions cost;
//! `twins/repeats.rs` runs this against a daemon that has forgotten how to tell a copy. `CCS_SOAK_REPEATS` is
//! the number of copies.

use tokio::task::JoinSet;

use crate::{
    hand::{created, new_id},
    measure::size,
    process::System,
};

/// Copies at once.
const AT_ONCE: usize = 100;
/// Restarts, every other one a kill.
const RESTARTS: usize = 5;

/// Sends a copy so many times, so many at once; what was not acknowledged.
async fn copies(system: &System, id: &str, body: &[u8], count: usize, at_once: usize) -> usize {
    let (hand, mut lanes) = (system.hand(), JoinSet::new());
    for lane in 0..at_once {
        let (hand, id, body) = (hand.clone(), id.to_owned(), body.to_vec());
        lanes.spawn(async move {
            let mut refused = 0;
            for _ in (lane..count).step_by(at_once) {
                let answer = hand.post(&id, body.clone()).await;
                refused += usize::from(answer.status != 200);
            }
            refused
        });
    }
    lanes.join_all().await.into_iter().sum()
}

/// What of the promise was broken; nothing, if it was kept.
pub async fn breaches(repeats: usize, settings: &[(&str, &str)]) -> Vec<String> {
    let mut breaches = Vec::new();
    let mut system = System::with(settings).await;
    let id = new_id();
    let body = created("user_once", 1, "Ada").to_string().into_bytes();
    let mut sent = 0;
    // Many at once first, so that they meet before one of them is durable.
    for (count, at_once) in [(AT_ONCE, AT_ONCE), (repeats, 8)] {
        let refused = copies(&system, &id, &body, count, at_once).await;
        sent += count;
        if refused > 0 {
            breaches.push(format!("{refused} of {count} copies were not acknowledged"));
        }
    }
    // The first restart is a gentle one, so that the journal holds what was done before the first kill.
    system.door().idle().await;
    for restart in 0..RESTARTS {
        if restart % 2 == 0 {
            assert_eq!(system.terminate().await, 0);
        } else {
            system.kill().await;
        }
        system.start_daemon().await;
        let refused = copies(&system, &id, &body, 20, 4).await;
        sent += 20;
        if refused > 0 {
            breaches.push(format!("{refused} of 20 copies after a restart"));
        }
    }
    system.door().idle().await;
    // The user and its profile, in one call.
    let calls = system.convex.calls();
    let (calls, changes) = (calls.mutations, calls.changes);
    println!("G10: {sent} copies of one message, acknowledged; {calls} call(s), {changes} changes");
    if calls != 1 {
        breaches.push(format!("Convex was called {calls} times for one message"));
    }
    if system.convex.count("users") != 1 {
        breaches.push(format!("{} rows", system.convex.count("users")));
    }
    breaches
}

#[tokio::test(flavor = "multi_thread")]
async fn g10_one_message_a_thousand_times_is_acknowledged_each_time_and_applied_once() {
    assert_eq!(
        breaches(size("REPEATS", 1_000), &[]).await,
        Vec::<String>::new()
    );
}
