//! G02: the power goes at any moment, and nothing acknowledged is lost.
//!
//! The state lies on an ext4 file system of its own, which is shut down without its journal: what was not
//! synced is gone. A drive that lies about its own cache is not shown. A sync that meets the shut-down may be
//! answered with yes though nothing was kept (ext4 does that to any program), so only what was acknowledged
//! before the order counts.

use std::{path::Path, process::Command, time::Duration};

use serde_json::Value;

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
pub const FILLINGS: &[usize] = &[800, 800, 800, 800, 20_000, 20_000, 120_000, 300_000];
/// The latest moment of a cut after the daemon was ready, in milliseconds.
const LATEST_MS: u64 = 500;
/// Room enough for all that waits while Convex is away.
const MIB: u64 = 1024;
/// Cuts after which the rows are looked at, and all begins anew on a file system that nobody has cut off yet.
const EPOCH: usize = 25;

/// What a number of power cuts came to.
#[derive(Default)]
pub struct Cut {
    pub breach: Breach,
    pub sent: Sent,
    /// After how many of them e2fsck found something wrong with the file system itself.
    broken_volumes: usize,
}

/// Cuts the power so often; the reason if that cannot be done here.
pub async fn cut_under_load(
    cuts: usize,
    dice: &mut Dice,
    settings: &[(&str, &str)],
) -> Result<Cut, String> {
    let tools = tempfile::tempdir().expect("a directory");
    let cut = native::cut(tools.path())?;
    let mut system = System::prepared(settings).await;
    let mut came = Cut::default();
    let mut done = 0;
    while done < cuts {
        let volume = Volume::on_loop_device(system.state.path(), MIB)?;
        system.start_daemon().await;
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
            load.power_goes();
            let ordered = Command::new(&cut).arg(system.state.path()).output();
            let ordered = ordered.expect("the program that was built");
            if !ordered.status.success() {
                return Err(String::from_utf8_lossy(&ordered.stderr).into_owned());
            }
            system.kill_if_it_lives().await;
            load.power_is_gone();
            volume.unmount();
            done += 1;
            if let Some(why) = volume.recover() {
                println!("cut {done}: {why}");
                came.broken_volumes += 1;
            }
            system.start_daemon().await;
        }
        system.convex.up();
        let truth = load.end().await;
        system.door().idle().await;
        came.sent = came.sent.and(truth.sent);
        let found = truth.breach(&system.convex);
        let dead = system.door().failures().await;
        if !found.is_none() || !dead.is_empty() {
            tell(&system, done, &found, &dead);
        }
        came.breach = came.breach.and(found);
        system.convex.reset();
        system.kill().await;
    }
    Ok(came)
}

/// What there is to know about a breach.
fn tell(system: &System, done: usize, found: &Breach, dead: &[Value]) {
    let codes: Vec<&str> = dead.iter().filter_map(|one| one["code"].as_str()).collect();
    println!(
        "{found:?} at cut {done}; dead letters: {codes:?}; the state was built anew {} times, the journal damaged {} \
         times",
        system.log.count("state_rebuilt"),
        system.log.count("journal_damaged"),
    );
    let Some(to) = std::env::var_os("CCS_SOAK_EVIDENCE") else {
        return println!("CCS_SOAK_EVIDENCE names a directory in which the state is kept");
    };
    let to = Path::new(&to).join(format!("cut_{done}"));
    let mut copy = Command::new("cp");
    let kept = copy.arg("-a").arg(system.state.path()).arg(&to).status();
    println!("the state is kept in {to:?}: {kept:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn g02_power_cuts_lose_nothing_that_was_acknowledged() {
    let mut dice = Dice::new();
    let cuts = soak::size("CCS_SOAK_CUTS", 4);
    let came = match cut_under_load(cuts, &mut dice, &[]).await {
        Ok(came) => came,
        Err(why) => return soak::not_run("G02", &format!("no power can be cut here: {why}")),
    };
    let Sent {
        acknowledged,
        late,
        late_lost,
        ..
    } = came.sent;
    soak::say(
        "G02",
        &format!(
            "{cuts} power cuts, {acknowledged} events of 1 to 300 kB acknowledged: {}; the state opened every time; \
             {late} answers during a cut not counted, of which {late_lost} were not on the disk; the file system was \
             damaged {} times; seed {}",
            came.breach.words(),
            came.broken_volumes,
            dice.seed
        ),
    );
    assert!(acknowledged > cuts as u64, "there was no load");
    assert!(came.breach.is_none(), "{:?}", came.breach);
}
