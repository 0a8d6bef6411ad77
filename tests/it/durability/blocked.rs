//! G27: the disk does not answer.
//!
//! Nothing is acknowledged meanwhile, readiness says no, and the service manager's watchdog is not fed; when the disk is back,
//! or after the kill that the watchdog would have sent, all is as it should be.

use std::{
    os::unix::net::UnixDatagram,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rustix::process::Signal;

use super::{
    load::{Breach, Load, Sent},
    volume::Volume,
};
use crate::{
    process::System,
    soak::{self, Dice},
    world::eventually,
};

/// What the service manager allows between two beats, in microseconds.
const WATCHDOG_US: &str = "3000000";

/// Listens as a service manager does; counts the beats.
fn beats(socket: UnixDatagram) -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length) = socket.recv(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]);
            counted.fetch_add(text.matches("WATCHDOG=1").count(), Ordering::Relaxed);
        }
    });
    count
}

async fn readiness(system: &System) -> u16 {
    let answer = reqwest::get(format!("http://{}/readyz", system.address())).await;
    answer.map_or(0, |answer| answer.status().as_u16())
}

async fn beats_again(beats: &AtomicUsize) {
    let before = beats.load(Ordering::Relaxed);
    eventually("the watchdog is fed", async || {
        beats.load(Ordering::Relaxed) > before
    })
    .await;
}

/// How often the watchdog is fed while the disk does not answer; the reason if none can be held up here.
#[cfg(feature = "twins")]
pub async fn fed_while_frozen(twin: &str) -> Result<usize, String> {
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let beats = beats(UnixDatagram::bind(path("notify")).expect("a socket"));
    let settings = [
        ("NOTIFY_SOCKET", path("notify")),
        ("WATCHDOG_USEC", WATCHDOG_US.to_owned()),
        ("CCS_ADMIN__SOCKET", path("admin.sock")),
        ("CCS_TWIN", twin.to_owned()),
    ];
    let settings: Vec<_> = settings
        .iter()
        .map(|(key, value)| (*key, value.as_str()))
        .collect();
    let mut system = System::prepared(&settings).await;
    let volume = Volume::on_loop_device(system.state.path(), 256)?;
    system.start_daemon().await;
    let load = Load::begin(&system.hand(), &mut Dice::new(), "frozen", &[]);
    eventually("the load is on", async || load.acknowledged() > 0).await;
    beats_again(&beats).await;
    volume.freeze()?;
    eventually("it is not ready", async || readiness(&system).await == 503).await;
    let before = beats.load(Ordering::Relaxed);
    // Three times as long as between two beats.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let fed = beats.load(Ordering::Relaxed) - before;
    volume.thaw();
    load.end().await;
    Ok(fed)
}

#[tokio::test(flavor = "multi_thread")]
async fn g27_a_disk_that_does_not_answer_is_not_ready_feeds_no_watchdog_and_loses_nothing() {
    let mut dice = Dice::new();
    let seconds = soak::size("CCS_SOAK_FROZEN_SECONDS", 2);
    let dir = tempfile::tempdir().expect("a directory");
    let socket = dir.path().join("notify");
    let beats = beats(UnixDatagram::bind(&socket).expect("a socket"));
    let mut system = System::prepared(&[
        ("NOTIFY_SOCKET", socket.to_str().expect("a path of ours")),
        ("WATCHDOG_USEC", WATCHDOG_US),
        // The door must not be what freezes.
        (
            "CCS_ADMIN__SOCKET",
            dir.path()
                .join("admin.sock")
                .to_str()
                .expect("a path of ours"),
        ),
    ])
    .await;
    let volume = match Volume::on_loop_device(system.state.path(), 256) {
        Ok(volume) => volume,
        Err(why) => return soak::not_run("G27", &format!("no disk can be held up here: {why}")),
    };
    system.start_daemon().await;
    let (mut breach, mut sent) = (Breach::default(), Sent::default());
    for (round, killed) in [false, true].into_iter().enumerate() {
        let name = format!("{}_{round}", dice.seed);
        let load = Load::begin(&system.hand(), &mut dice, &name, &[]);
        eventually("the load is on", async || load.acknowledged() > 10).await;
        beats_again(&beats).await;
        if let Err(why) = volume.freeze() {
            return soak::not_run("G27", &why);
        }
        eventually("it is not ready", async || readiness(&system).await == 503).await;
        // What was on its way when the disk stopped has arrived.
        let (acknowledged, fed) = (load.acknowledged(), beats.load(Ordering::Relaxed));
        tokio::time::sleep(Duration::from_secs(seconds as u64)).await;
        let while_frozen = load.acknowledged() - acknowledged;
        let fed = beats.load(Ordering::Relaxed) - fed;
        if killed {
            // It ends when the kernel lets go of it.
            system.signal(Signal::KILL);
        }
        volume.thaw();
        assert_eq!(
            (while_frozen, fed),
            (0, 0),
            "acknowledged, and fed, while nothing moved"
        );
        if killed {
            system.ended().await;
            system.start_daemon().await;
        }
        eventually("it is ready again", async || {
            readiness(&system).await == 200
        })
        .await;
        beats_again(&beats).await;
        let truth = load.end().await;
        eventually("the rows are there", async || {
            truth.breach(&system.convex).is_none()
        })
        .await;
        breach = breach.and(truth.breach(&system.convex));
        sent = sent.and(truth.sent);
    }
    system.kill().await;
    drop(volume);
    soak::say(
        "G27",
        &format!(
            "the disk held up for {seconds} s twice, {} events acknowledged before and after and none meanwhile, \
             readiness 503, the watchdog not fed, killed once: {}; seed {}",
            sent.acknowledged,
            breach.words(),
            dice.seed
        ),
    );
}
