//! What must not be lost or done twice, against builds that lose it or do it twice.

use clerk_convex_sync::twin::Twin;

use crate::{
    durability::{kills::kill_under_load, power::cut_under_load},
    soak::Dice,
};

/// Rounds after which a twin that was not noticed is not going to be.
const PATIENCE: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn an_event_acknowledged_before_it_is_stored_is_lost_in_a_kill() {
    let mut dice = Dice::new();
    for _ in 0..PATIENCE {
        let setting = ("CCS_TWIN", Twin::AckBeforeStore.name());
        let killed = kill_under_load(5, &mut dice, &[setting]).await;
        if !killed.breach.lost.is_empty() {
            return;
        }
    }
    panic!("nothing was lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_not_known_again_is_done_twice() {
    let mut dice = Dice::new();
    for _ in 0..PATIENCE {
        let setting = ("CCS_TWIN", Twin::NoDedupe.name());
        let killed = kill_under_load(5, &mut dice, &[setting]).await;
        if !killed.breach.doubled.is_empty() || !killed.breach.regressed.is_empty() {
            return;
        }
    }
    panic!("nothing was done twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_not_synced_is_lost_in_a_power_cut() {
    let mut dice = Dice::new();
    for _ in 0..PATIENCE {
        let setting = ("CCS_TWIN", Twin::NoSync.name());
        match cut_under_load(3, &mut dice, &[setting]).await {
            Ok(came) if !came.breach.lost.is_empty() => return,
            Ok(_) => {}
            Err(why) => return println!("NOT RUN: no power can be cut here: {why}"),
        }
    }
    panic!("nothing was lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_as_it_is_passes_the_same_scenarios() {
    let mut dice = Dice::new();
    let killed = kill_under_load(5, &mut dice, &[]).await;
    assert!(killed.breach.is_none(), "{:?}", killed.breach);
    if let Ok(came) = cut_under_load(2, &mut dice, &[]).await {
        assert!(came.breach.is_none(), "{:?}", came.breach);
    }
}
