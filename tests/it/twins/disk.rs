//! What is promised about the disk (G03, G04, G22, G23, G25, G27), against builds that do not keep it.

use std::time::Duration;

use clerk_convex_sync::twin::Twin;

use super::{prepared, system};
use crate::{
    durability::{
        blocked::fed_while_frozen, failing::acknowledges_after_a_failed_sync,
        full::goes_on_by_itself, slow::to_a_slow_disk,
    },
    stalls::without_rest,
    syscalls::early,
};

#[tokio::test(flavor = "multi_thread")]
async fn g03_an_answer_before_the_sync_is_noticed() {
    for (twin, answers) in [(Twin::NoSync, 40), (Twin::AckBeforeStore, 40)] {
        match early(answers, &[("CCS_TWIN", twin.name())]).await {
            Some((answered, early)) => assert!(!early.is_empty(), "none of {answered}: {twin:?}"),
            None => return println!("NOT RUN: nothing can be traced here"),
        }
    }
    let kept = early(40, &[]).await.expect("a trace");
    assert_eq!(kept, (40, Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn g04_who_syncs_for_each_delivery_alone_is_noticed() {
    for (twin, shared) in [("", true), (Twin::SyncAlone.name(), false)] {
        match to_a_slow_disk(64, twin).await {
            Ok(slow) => assert_eq!(slow.is_shared(), shared, "{twin}: {slow:?}"),
            Err(why) => return println!("NOT RUN: no disk can be slow here: {why}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn g22_a_failed_sync_that_is_asked_again_is_noticed() {
    for (twin, goes_on) in [("", false), (Twin::SyncAgain.name(), true)] {
        match acknowledges_after_a_failed_sync(twin).await {
            Ok(acknowledges) => assert_eq!(acknowledges, goes_on, "{twin}"),
            Err(why) => return println!("NOT RUN: no disk can fail here: {why}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn g23_a_disk_that_stays_full_for_ever_is_noticed() {
    for (twin, goes_on, patience) in [("", true, 60), (Twin::FullForEver.name(), false, 5)] {
        match goes_on_by_itself(twin, Duration::from_secs(patience)).await {
            Ok(went_on) => assert_eq!(went_on, goes_on, "{twin}"),
            Err(why) => return println!("NOT RUN: no disk can be full here: {why}"),
        }
    }
}

/// How a second process on one state ends.
async fn second(twin: Option<Twin>) -> Option<i32> {
    let first = system(twin, &[]).await;
    let mut other = prepared(twin, &[]).await;
    other.set("CCS_STATE__DIR", &first.state.path().display().to_string());
    other.run(&["run"]).await.status.code()
}

#[tokio::test(flavor = "multi_thread")]
async fn g25_a_second_process_on_one_state_is_noticed() {
    assert_eq!(second(None).await, Some(4));
    assert_ne!(second(Some(Twin::NoLock)).await, Some(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn g27_a_committer_that_stands_still_now_and_then_is_noticed() {
    let seconds = Duration::from_secs(4);
    for (twin, stalls) in [(None, false), (Some(Twin::Dawdling), true)] {
        let restless = without_rest(&system(twin, &[]).await, seconds).await;
        assert_eq!(restless.stalls(), stalls, "{twin:?}: {restless:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn g27_a_watchdog_that_is_fed_by_a_timer_is_noticed() {
    for (twin, fed) in [("", false), (Twin::BlindWatchdog.name(), true)] {
        match fed_while_frozen(twin).await {
            Ok(beats) => assert_eq!(beats > 0, fed, "{twin}"),
            Err(why) => return println!("NOT RUN: no disk can be held up here: {why}"),
        }
    }
}
