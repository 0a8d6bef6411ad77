//! G22: the disk fails at a write or at a sync, once or for good.
//!
//! Nothing is acknowledged on the word of a sync that failed, it is not asked again, and the daemon ends. What was
//! acknowledged before is there at the next start. A library between the daemon and the disk fails on request, and
//! throws away what was not synced, as a kernel may.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    load::{Breach, Load, Sent},
    native,
};
use crate::{
    process::System,
    soak::{self, Dice},
    world::eventually,
};

/// What can be ordered of the library; see `native/shim.c`.
const FAULTS: [&str; 4] = ["sync", "sync-once", "write", "short"];

/// How often this happened since it was looked at last.
pub fn counted(order: &Path, what: &str) -> u64 {
    // Put aside before it is measured: what happens in between is there the next time.
    let seen = order.with_extension("seen");
    match fs::rename(order.with_extension(what), &seen) {
        Ok(()) => fs::metadata(&seen).map_or(0, |meta| meta.len()),
        Err(_) => 0,
    }
}

async fn fail(system: &mut System, load: &Load, order: &Path, fault: &str, dice: &mut Dice) {
    let before = load.acknowledged();
    eventually("the load is on", async || load.acknowledged() > before).await;
    tokio::time::sleep(Duration::from_millis(dice.below(100))).await;
    // As a whole: half a word would be another order.
    let draft = order.with_extension("draft");
    fs::write(&draft, fault).expect("written");
    fs::rename(&draft, order).expect("renamed");
    if fault == "short" {
        eventually("writes are cut short", async || counted(order, "short") > 0).await;
        let before = load.acknowledged();
        eventually("it goes on", async || load.acknowledged() > before + 5).await;
        fs::remove_file(order).expect("removed");
        return;
    }
    let ended = system.ended().await;
    assert_eq!(ended.code(), Some(1), "{}", system.log.text());
    let syncs = u64::from(fault != "write");
    assert_eq!(
        counted(order, "failed"),
        syncs,
        "a failed sync is not asked again"
    );
    let _gone = fs::remove_file(order);
    system.start_daemon().await;
}

/// The library, where it is told what to do, and a daemon on top of it; the reason if there can be none.
pub async fn on_a_failing_disk(dir: &Path, twin: &str) -> Result<(System, PathBuf), String> {
    let (shim, order) = (native::shim(dir)?, dir.join("order"));
    let settings = [
        ("LD_PRELOAD", shim.to_str().expect("a path of ours")),
        ("DISK_ORDER", order.to_str().expect("a path of ours")),
        ("CCS_TWIN", twin),
    ];
    Ok((System::with(&settings).await, order))
}

/// Whether the process whose sync has failed once acknowledges anything after that; the reason if no disk can fail
/// here.
#[cfg(feature = "twins")]
pub async fn acknowledges_after_a_failed_sync(twin: &str) -> Result<bool, String> {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut system, order) = on_a_failing_disk(dir.path(), twin).await?;
    let mut dice = Dice::new();
    let load = Load::begin(&system.hand(), &mut dice, "again", &[]);
    eventually("the load is on", async || load.acknowledged() > 0).await;
    let draft = order.with_extension("draft");
    fs::write(&draft, "sync-once").expect("written");
    fs::rename(&draft, &order).expect("renamed");
    eventually("a sync fails", async || counted(&order, "failed") > 0).await;
    let before = load.acknowledged();
    let (mut goes_on, mut ended) = (false, false);
    eventually("it ends, or goes on", async || {
        ended = system.has_ended().is_some();
        goes_on = load.acknowledged() > before + 20;
        ended || goes_on
    })
    .await;
    let _gone = fs::remove_file(&order);
    if ended {
        system.start_daemon().await;
    }
    load.end().await;
    Ok(goes_on)
}

#[tokio::test(flavor = "multi_thread")]
async fn g23_a_derived_state_that_met_a_full_disk_is_opened_anew_when_there_is_room() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut system, order) = match on_a_failing_disk(dir.path(), "").await {
        Ok(found) => found,
        Err(why) => return soak::not_run("G23", &why),
    };
    let mut dice = Dice::new();
    let load = Load::begin(&system.hand(), &mut dice, "state", &[]);
    fs::write(&order, "state").expect("written");
    // There is room in fact, so it gives up soon; until then deliveries are taken in and applied.
    eventually("the state fails", async || counted(&order, "state") > 0).await;
    let ended = system.ended().await;
    assert_eq!(ended.code(), Some(1), "{}", system.log.text());
    // The last words come through a pipe, which may be read after the end of the process.
    eventually("it says why", async || {
        system
            .log
            .count("the derived state failed under the daemon")
            == 1
    })
    .await;
    fs::remove_file(&order).expect("removed");
    system.start_daemon().await;
    let truth = load.end().await;
    system.door().idle().await;
    let breach = truth.breach(&system.convex);
    let alerts = system.door().alerts().await;
    soak::say(
        "G23",
        &format!(
            "the derived state met a full disk: ended with 1, started anew, {}",
            breach.words()
        ),
    );
    assert!(breach.is_none(), "{breach:?}");
    assert!(!alerts.contains(&"state_failed".to_owned()), "{alerts:?}");
    assert_eq!(system.terminate().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn g22_a_disk_that_fails_ends_the_daemon_and_loses_nothing_that_was_acknowledged() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut system, order) = match on_a_failing_disk(dir.path(), "").await {
        Ok(found) => found,
        Err(why) => return soak::not_run("G22", &why),
    };
    let mut dice = Dice::new();
    let rounds = soak::size("CCS_SOAK_DISK_FAULTS", 4);
    let (mut breach, mut sent) = (Breach::default(), Sent::default());
    for round in 0..rounds {
        // Only what is not in Convex yet can be lost.
        system.convex.down();
        let name = format!("{}_{round}", dice.seed);
        let load = Load::begin(&system.hand(), &mut dice, &name, &[]);
        fail(
            &mut system,
            &load,
            &order,
            FAULTS[round % FAULTS.len()],
            &mut dice,
        )
        .await;
        let truth = load.end().await;
        system.convex.up();
        system.door().idle().await;
        breach = breach.and(truth.breach(&system.convex));
        sent = sent.and(truth.sent);
    }
    assert_eq!(system.terminate().await, 0);
    soak::say(
        "G22",
        &format!(
            "{rounds} failures (EIO for good, EIO once, a write that fails, writes cut short), {} events acknowledged: \
             {}; each failed sync asked once, each time exit code 1; seed {}",
            sent.acknowledged,
            breach.words(),
            dice.seed
        ),
    );
    assert!(breach.is_none(), "{breach:?}");
}
