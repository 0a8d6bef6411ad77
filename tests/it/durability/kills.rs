//! G01: killed at any moment, under load, also while it starts: nothing acknowledged is lost or done twice.
//!
//! `CCS_SOAK_KILLS` is the number of kills, `CCS_SOAK_KILLED_AT_ONCE` that of daemons that share them, side by
//! side: most of the time of each is a wait for the moment of its kill.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rustix::process::Signal;

use super::load::{Breach, Load, Sent};
use crate::{
    hand::created,
    process::System,
    soak::{self, Dice},
    world::eventually,
};

/// Kills after which the rows are looked at, and forgotten.
const EPOCH: usize = 500;
/// The latest moment of a kill after the daemon was ready, in milliseconds.
const LATEST_MS: u64 = 300;
/// The latest moment of a kill during the start, in milliseconds.
const LATEST_IN_START_MS: u64 = 60;

/// What a number of kills came to.
#[derive(Default)]
pub struct Killed {
    pub breach: Breach,
    pub sent: Sent,
    in_start: usize,
    starts: Vec<Duration>,
}

/// Kills the daemon so often, from its first start on.
pub async fn kill_under_load(kills: usize, dice: &mut Dice, settings: &[(&str, &str)]) -> Killed {
    let mut killed = Killed::default();
    let mut system = System::with(settings).await;
    let mut done = 0;
    while done < kills {
        let name = format!("{}_{done}", dice.seed);
        let load = Load::begin(&system.hand(), dice, &name, &[]);
        for _ in 0..EPOCH.min(kills - done) {
            let moment = Duration::from_millis(dice.below(LATEST_MS));
            tokio::time::sleep(moment).await;
            system.kill().await;
            while dice.percent(10) {
                system.launch();
                let moment = Duration::from_millis(dice.below(LATEST_IN_START_MS));
                tokio::time::sleep(moment).await;
                system.kill().await;
                killed.in_start += 1;
            }
            let start = Instant::now();
            system.start_daemon().await;
            killed.starts.push(start.elapsed());
            done += 1;
        }
        let truth = load.end().await;
        system.door().idle().await;
        killed.breach = killed.breach.and(truth.breach(&system.convex));
        killed.sent = killed.sent.and(truth.sent);
        // A twin may break that sum as well, and is to be told by its rows.
        if settings.is_empty() {
            let recovered = system.recovered();
            system.door().every_delivery_has_one_end(recovered).await;
        }
        system.convex.reset();
    }
    assert_eq!(system.log.count("panicked"), 0, "{}", system.log.text());
    killed
}

/// The same by so many daemons at once, each with its own two services, state and dice.
async fn kill_side_by_side(kills: usize, daemons: usize, dice: &mut Dice) -> Killed {
    let mut lanes = Vec::new();
    for at in 0..daemons {
        let share = (at..kills).step_by(daemons).len();
        let mut own = match daemons {
            1 => Dice::of(dice.seed),
            _ => Dice::of(dice.below(u64::MAX)),
        };
        lanes.push(async move { kill_under_load(share, &mut own, &[]).await });
    }
    let mut all = Killed::default();
    for mut one in join_all(lanes).await {
        all.breach = all.breach.and(one.breach);
        all.sent = all.sent.and(one.sent);
        all.in_start += one.in_start;
        all.starts.append(&mut one.starts);
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn g01_kills_at_any_moment_lose_nothing_and_do_nothing_twice() {
    let mut dice = Dice::new();
    let kills = soak::size("CCS_SOAK_KILLS", 30);
    let daemons = soak::size("CCS_SOAK_KILLED_AT_ONCE", 1);
    let mut killed = kill_side_by_side(kills, daemons, &mut dice).await;
    killed.starts.sort_unstable();
    let p99 = killed.starts[killed.starts.len() * 99 / 100];
    let Sent {
        acknowledged,
        repeated,
        ..
    } = killed.sent;
    soak::say(
        "G01",
        &format!(
            "{kills} kills of {daemons} daemon(s) under load and {} during the start, {acknowledged} events acknowledged and {repeated} \
             of them repeated: {}; ready again p50 {} ms, p99 {} ms; seed {}",
            killed.in_start,
            killed.breach.words(),
            killed.starts[killed.starts.len() / 2].as_millis(),
            p99.as_millis(),
            dice.seed
        ),
    );
    assert!(acknowledged > kills as u64, "there was no load");
    assert!(killed.breach.is_none(), "{:?}", killed.breach);
}

/// While a process is stopped, so is what it waits for: what opens late for that is not damaged, and must not be
/// replaced while it is still being opened.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_is_held_up_takes_nothing_for_damage() {
    // Longer than the derived state may take to open.
    const HELD_UP: Duration = Duration::from_secs(9);
    let mut system = System::with(&[]).await;
    system.hand().say(&created("user_1", 1, "Ada")).await;
    system.door().idle().await;
    system.kill().await;
    let starts = system.log.count("recovered from the journal");
    system.launch();
    // The last word before the derived state is opened.
    eventually("the journal is open", async || {
        system.log.count("recovered from the journal") > starts
    })
    .await;
    system.signal(Signal::STOP);
    tokio::time::sleep(HELD_UP).await;
    system.signal(Signal::CONT);
    eventually("it is ready", async || {
        system.log.count("ready to take deliveries in") > starts
    })
    .await;
    assert_eq!(system.log.count("state_rebuilt"), 0);
    system.hand().say(&created("user_2", 1, "Bea")).await;
    system.door().idle().await;
    assert_eq!(system.convex.count("users"), 2);
}

/// Only the end of its process ends an opener that hangs, so nothing may go on beside it.
#[tokio::test(flavor = "multi_thread")]
async fn a_derived_state_that_hangs_ends_the_process_and_the_third_one_sets_it_aside() {
    let mut system = System::with(&[]).await;
    system.hand().say(&created("user_1", 1, "Ada")).await;
    system.door().idle().await;
    system.kill().await;
    let conf = system.inside().join("derived/sled/conf");
    std::fs::remove_file(&conf).expect("removed");
    // sled waits for ever for somebody who writes into it.
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    let pipe = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &conf, pipe, mode, 0).expect("a pipe");
    for _ in 0..2 {
        let told = system.log.count("sled has worked at it");
        system.launch();
        assert_eq!(
            system.ended().await.code(),
            Some(1),
            "{}",
            system.log.text()
        );
        assert_eq!(system.log.count("sled has worked at it"), told + 1);
        assert_eq!(system.log.count("ready to take"), 1, "it went on beside it");
    }
    system.start_daemon().await;
    assert!(system.log.text().contains("hung 2 times in a row"));
    let alerts = system.door().alerts().await;
    assert!(alerts.contains(&"state_rebuilt".to_owned()), "{alerts:?}");
    // What may be older than what was forgotten is asked for.
    let bea = system
        .clerk
        .create_user(serde_json::json!({ "first_name": "Bea" }));
    let event = created(&bea.expect("created"), 1, "Bea");
    system.hand().say(&event).await;
    system.door().idle().await;
    assert_eq!(system.convex.count("users"), 2);
}
