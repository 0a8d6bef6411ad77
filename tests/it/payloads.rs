//! What is done with does not stay: nothing of somebody who has left is in the journal two weeks later (G37).
//!
//! The daemon's clock is moved on instead of waiting. What a person has still to look at stays, wherever it lies.

use std::{fs, path::PathBuf, time::Duration};

use clerk_convex_sync::sandbox::convex::{FaultKind, FaultRule};

use crate::{
    durability::native::Clock,
    hand::{created, deleted, updated},
    measure::contents,
    process::System,
    soak,
    world::eventually,
};

/// What those who leave, and who is waited for, are called.
const LEAVES: &str = "L3avescanary";
const STAYS: &str = "St4yscanary";
/// A day more than two weeks, in seconds.
const LATER: i64 = 15 * 86_400;

/// Segments of the journal that hold this word. One may go meanwhile.
fn segments_with(system: &System, word: &str) -> usize {
    let files = fs::read_dir(system.state.path().join("journal")).expect("a directory");
    let holds = |path: PathBuf| fs::read(path).is_ok_and(|bytes| holds(&bytes, word));
    files.flatten().filter(|file| holds(file.path())).count()
}

fn holds(bytes: &[u8], word: &str) -> bool {
    bytes
        .windows(word.len())
        .any(|part| part == word.as_bytes())
}

async fn ready(system: &System) {
    let url = format!("http://{}/readyz", system.address());
    let ready = reqwest::get(url).await.expect("an answer");
    assert_eq!(ready.status(), 200);
}

/// Whether what somebody said who has left since is still in the journal two weeks later, after this time at most;
/// the reason if no clock can be moved here.
pub async fn is_still_there(twin: &str, patience: Duration) -> Result<bool, String> {
    let dir = tempfile::tempdir().expect("a directory");
    let clock = Clock::right(dir.path())?;
    let settings = [&clock.settings()[..], &[("CCS_TWIN", twin)]].concat();
    let mut system = System::with(&settings).await;
    let mut refuse = FaultRule::new(FaultKind::RejectKey);
    refuse.key = Some("user_stays".to_owned());
    system.convex.fault(refuse);
    let hand = system.hand();
    for version in 1..4 {
        hand.say(&updated("user_leaves", version, LEAVES)).await;
    }
    hand.say(&created("user_stays", 1, STAYS)).await;
    hand.say(&deleted("user_leaves", 9)).await;
    system.door().idle().await;
    let letters = system.door().failures().await;
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(
        (
            segments_with(&system, LEAVES),
            segments_with(&system, STAYS)
        ),
        (1, 1)
    );
    clock.set(LATER);
    let begun = tokio::time::Instant::now();
    while segments_with(&system, LEAVES) > 0 && begun.elapsed() < patience {
        // Otherwise the journal looks once an hour whether there is anything to do.
        ready(&system).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let there = segments_with(&system, LEAVES) > 0;
    clock.set(0);
    for restart in [false, true] {
        if restart {
            assert_eq!(system.terminate().await, 0);
            let everywhere = contents(system.state.path());
            let found = everywhere.values().any(|bytes| holds(bytes, LEAVES));
            assert_eq!(found, there, "elsewhere in the state");
            system.start_daemon().await;
        }
        let id = letters[0]["id"].as_str().expect("an id");
        let shown = system
            .door()
            .text("GET", &format!("/failures/{id}"), None)
            .await;
        assert!(shown.contains(STAYS), "{shown}");
    }
    let alerts = system.door().alerts().await;
    let harm = ["damaged", "lost", "rebuilt", "failed"];
    let harmed = |code: &String| harm.iter().any(|word| code.contains(word));
    assert!(!alerts.iter().any(harmed), "{alerts:?}");
    // What was carried on is what it was.
    system.convex.clear_faults();
    crate::services::retry_all(&system.door()).await;
    eventually("it is written", async || {
        system.convex.row("users", "user_stays").is_some()
    })
    .await;
    Ok(there)
}

#[tokio::test(flavor = "multi_thread")]
async fn g37_nothing_of_who_has_left_is_in_the_journal_two_weeks_later() {
    match is_still_there("", Duration::from_secs(60)).await {
        Ok(there) => assert!(!there, "it is there"),
        Err(why) => soak::not_run("G37", &why),
    }
}
