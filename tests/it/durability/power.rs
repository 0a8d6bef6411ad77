//! G02: the power goes at any moment, and nothing acknowledged is lost.
//!
//! The state lies on an ext4 file system of its own, which is shut down without its journal: what was not
//! synced is gone. A drive that lies about its own cache is not shown.

use std::{process::Command, time::Duration};

use super::{
    load::{Breach, Load, Sent},
    native,
    volume::Volume,
};
use crate::{
    process::System,
    soak::{self, Dice},
};

/// Bytes beside a user's own: small ones, and those that take many pages.
const FILLINGS: &[usize] = &[800, 800, 800, 800, 20_000, 20_000, 120_000, 300_000];
/// The latest moment of a cut after the daemon was ready, in milliseconds.
const LATEST_MS: u64 = 500;
/// Room enough for all that waits while Convex is away.
const MIB: u64 = 1024;
/// Cuts after which the rows are looked at, and forgotten.
const EPOCH: usize = 25;

/// Cuts the power so often; the reason if that cannot be done here.
pub async fn cut_under_load(
    cuts: usize,
    dice: &mut Dice,
    settings: &[(&str, &str)],
) -> Result<(Breach, Sent), String> {
    let tools = tempfile::tempdir().expect("a directory");
    let cut = native::cut(tools.path())?;
    let mut system = System::prepared(settings).await;
    let volume = Volume::on_loop_device(system.state.path(), MIB)?;
    system.start_daemon().await;
    let (mut breach, mut sent) = (Breach::default(), Sent::default());
    let mut done = 0;
    while done < cuts {
        let name = format!("{}_{done}", dice.seed);
        let load = Load::begin(&system.hand(), dice, &name, FILLINGS);
        for _ in 0..EPOCH.min(cuts - done) {
            // What has reached Convex already cannot be lost, so mostly nothing does.
            match dice.percent(75) {
                true => system.convex.down(),
                false => system.convex.up(),
            }
            let moment = Duration::from_millis(dice.below(LATEST_MS));
            tokio::time::sleep(moment).await;
            load.dark(true);
            let ordered = Command::new(&cut).arg(system.state.path()).output();
            let ordered = ordered.expect("the program that was built");
            if !ordered.status.success() {
                return Err(String::from_utf8_lossy(&ordered.stderr).into_owned());
            }
            system.kill_if_it_lives().await;
            load.dark(false);
            volume.unmount();
            volume.mount().expect("as after a reboot");
            system.start_daemon().await;
            done += 1;
        }
        system.convex.up();
        let truth = load.end().await;
        system.door().idle().await;
        let found = truth.breach(&system.convex);
        let dead = system.door().failures().await;
        if !found.is_none() || !dead.is_empty() {
            let codes: Vec<&str> = dead.iter().filter_map(|one| one["code"].as_str()).collect();
            println!(
                "{} at cut {done}; dead letters: {codes:?}; the state was built anew {} times, the journal damaged {} times",
                found.words(),
                system.log.count("state_rebuilt"),
                system.log.count("journal_damaged"),
            );
        }
        breach = breach.and(found);
        sent = sent.and(truth.sent);
        system.convex.reset();
    }
    system.kill().await;
    drop(volume);
    Ok((breach, sent))
}

#[tokio::test(flavor = "multi_thread")]
async fn g02_power_cuts_lose_nothing_that_was_acknowledged() {
    let mut dice = Dice::new();
    let cuts = soak::size("CCS_SOAK_CUTS", 4);
    let (breach, sent) = match cut_under_load(cuts, &mut dice, &[]).await {
        Ok(found) => found,
        Err(why) => return soak::not_run("G02", &format!("no power can be cut here: {why}")),
    };
    let acknowledged = sent.acknowledged;
    soak::say(
        "G02",
        &format!(
            "{cuts} power cuts, {acknowledged} events of 1 to 300 kB acknowledged: {}; the state opened every time; \
             seed {}",
            breach.words(),
            dice.seed
        ),
    );
    assert!(acknowledged > cuts as u64, "there was no load");
    assert!(breach.is_none(), "{breach:?}");
}
