//! G23: the disk is full, by others or by what waits itself, or takes no new file; and it is so when the daemon starts.
//!
//! Deliveries are refused in so many words, the operators' door goes on answering, and all goes on by itself when there
//! is room. The test stands in for the service manager: what ends with a failure is started again.

#[cfg(feature = "twins")]
use std::time::Instant;
use std::{fs, path::PathBuf, time::Duration};

use super::{
    load::{Breach, Load, Sent},
    volume::{Volume, fill, fill_with_files},
};
use crate::{
    hand::{Answer, created, new_id},
    process::System,
    soak::{self, Dice},
    world::eventually,
};

/// Of the file system, in MiB.
const MIB: usize = 16;

async fn readiness(system: &System) -> u16 {
    let answer = reqwest::get(format!("http://{}/readyz", system.address())).await;
    answer.map_or(0, |answer| answer.status().as_u16())
}

/// Starts the daemon again if it has ended by itself, which it may do only with a failure.
async fn look_after(system: &mut System) -> bool {
    let Some(end) = system.has_ended() else {
        return false;
    };
    assert_eq!(end.code(), Some(1), "{}", system.log.text());
    system.start_daemon().await;
    true
}

/// Both ends, and a daemon on a small disk; the reason if there can be none.
async fn on_a_small_disk(twin: &str) -> Result<(System, Volume), String> {
    let mut system = System::prepared(&[("CCS_TWIN", twin)]).await;
    let volume = Volume::in_memory(system.state.path(), MIB)?;
    system.start_daemon().await;
    Ok((system, volume))
}

/// Fills the disk under load and empties it again. True if the daemon had to be started anew for it.
async fn full_and_empty_again(system: &mut System, load: &Load, ballast: &PathBuf) -> bool {
    // Some wait, so that verdicts and the derived state are written while there is no room.
    system.convex.down();
    let before = load.acknowledged();
    eventually("some deliveries wait", async || {
        load.acknowledged() > before + 5
    })
    .await;
    let before = load.refused();
    fill(ballast);
    system.convex.up();
    eventually("deliveries are refused", async || {
        load.refused() > before + 3
    })
    .await;
    assert_eq!(readiness(system).await, 503);
    let mut alerts = Vec::new();
    eventually("the alerts are raised", async || {
        alerts = system.door().alerts().await;
        ["cannot_store", "disk_nearly_full"]
            .iter()
            .all(|code| alerts.iter().any(|raised| raised == code))
    })
    .await;
    fs::remove_file(ballast).expect("removed");
    let acknowledged = load.acknowledged();
    let mut again = false;
    while load.acknowledged() < acknowledged + 3 {
        again |= look_after(system).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    eventually("it is ready", async || readiness(system).await == 200).await;
    again
}

#[tokio::test(flavor = "multi_thread")]
async fn g23_a_full_disk_refuses_until_there_is_room_and_loses_nothing() {
    let mut dice = Dice::new();
    let rounds = soak::size("CCS_SOAK_FULL_DISKS", 2);
    let (mut system, _volume) = match on_a_small_disk("").await {
        Ok(found) => found,
        Err(why) => return soak::not_run("G23", &format!("no file system can be mounted: {why}")),
    };
    let ballast = system.state.path().join("ballast");
    let (mut breach, mut sent, mut restarts) = (Breach::default(), Sent::default(), 0);
    for round in 0..rounds {
        let name = format!("{}_{round}", dice.seed);
        let load = Load::begin(&system.hand(), &mut dice, &name, &[]);
        restarts += usize::from(full_and_empty_again(&mut system, &load, &ballast).await);
        let truth = load.end().await;
        system.door().idle().await;
        breach = breach.and(truth.breach(&system.convex));
        sent = sent.and(truth.sent);
        // Started on a full disk, it says so, and touches nothing.
        assert_eq!(end(&mut system).await, Some(0));
        fill(&ballast);
        let refused = system.run(&["run"]).await;
        let complaint = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(1), "{complaint}");
        assert!(complaint.contains("no room left"), "{complaint}");
        fs::remove_file(&ballast).expect("removed");
        system.start_daemon().await;
        system.convex.reset();
    }
    assert_eq!(end(&mut system).await, Some(0));
    assert_eq!(system.log.count("panicked"), 0, "{}", system.log.text());
    soak::say(
        "G23",
        &format!(
            "a disk of {MIB} MiB filled under load {rounds} times, {} events acknowledged and {} requests refused: {}; \
             {restarts} new starts for a derived state that had failed; seed {}",
            sent.acknowledged,
            sent.refused,
            breach.words(),
            dice.seed
        ),
    );
    assert!(breach.is_none(), "{breach:?}");
}

/// Whether a delivery that a full disk has refused is taken in by the same process once there is room, within this
/// time; the reason if no disk can be full here.
#[cfg(feature = "twins")]
pub async fn goes_on_by_itself(twin: &str, patience: Duration) -> Result<bool, String> {
    let (mut system, _volume) = on_a_small_disk(twin).await?;
    // Nothing else is to be written.
    system.door().pause(true).await;
    let ballast = system.state.path().join("ballast");
    fill(&ballast);
    let event = created("user_1", 1, "Ada");
    let status = async |system: &System| system.hand().deliver(&new_id(), &event).await.status;
    assert_eq!(status(&system).await, 503);
    fs::remove_file(&ballast).expect("removed");
    let begun = Instant::now();
    while begun.elapsed() < patience {
        if status(&system).await == 200 {
            return Ok(true);
        }
        assert!(system.has_ended().is_none(), "{}", system.log.text());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(false)
}

/// Delivers large events about new users until one is refused; those users, and the refusal.
async fn until_refused(system: &System, name: &str) -> (Vec<String>, Answer) {
    let mut taken = Vec::new();
    loop {
        let user = format!("user_{name}_{}", taken.len());
        let mut event = created(&user, 1, "Ada");
        event["data"]["private_metadata"]["filling"] = "x".repeat(400_000).into();
        let answer = system.hand().deliver(&new_id(), &event).await;
        if answer.status != 200 {
            return (taken, answer);
        }
        taken.push(user);
        assert!(taken.len() < 1_000, "it takes everything");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn g23_a_disk_that_takes_no_new_file_refuses_when_it_needs_one_and_goes_on_by_itself() {
    let mut system = System::prepared(&[]).await;
    // Room for two segments of the journal, which have 64 MiB each, and for few files.
    let _volume = match Volume::with_files(system.state.path(), 192, 500) {
        Ok(found) => found,
        Err(why) => return soak::not_run("G23", &format!("no file system can be mounted: {why}")),
    };
    system.start_daemon().await;
    system.door().pause(true).await;
    let ballast = system.state.path().join("ballast");
    fill_with_files(&ballast);
    let (mut taken, refused) = until_refused(&system, "first").await;
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.retry_after.is_some(), "{refused:?}");
    assert!(taken.len() > 100, "{} fit into what was open", taken.len());
    assert_eq!(readiness(&system).await, 503);
    eventually("the alerts are raised", async || {
        let alerts = system.door().alerts().await;
        ["cannot_store", "disk_nearly_full"]
            .iter()
            .all(|code| alerts.iter().any(|raised| raised == code))
    })
    .await;
    fs::remove_dir_all(&ballast).expect("removed");
    eventually("it is ready by itself", async || {
        readiness(&system).await == 200
    })
    .await;
    let event = created("user_again", 1, "Ada");
    system.hand().say(&event).await;
    taken.push("user_again".to_owned());
    system.door().pause(false).await;
    system.door().idle().await;
    eventually("the alerts are over", async || {
        system.door().alerts().await.is_empty()
    })
    .await;

    // Started where no file can be made, it says so, and touches nothing.
    fill_with_files(&ballast);
    assert_eq!(system.terminate().await, 0, "{}", system.log.text());
    let before = crate::measure::contents(&system.state.path().join("journal"));
    let refused = system.run(&["run"]).await;
    let complaint = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{complaint}");
    assert!(complaint.contains("no room left"), "{complaint}");
    assert!(before == crate::measure::contents(&system.state.path().join("journal")));
    fs::remove_dir_all(&ballast).expect("removed");
    system.start_daemon().await;
    system.door().idle().await;
    let there = crate::runs::keys(&system.convex, "users");
    assert!(taken.iter().all(|user| there.contains(user)));
    assert_eq!(system.log.count("panicked"), 0, "{}", system.log.text());
    assert_eq!(system.terminate().await, 0);
    soak::say(
        "G23",
        &format!(
            "a disk that takes no new file: {} events fitted into the open segment, then 503; all applied by itself once \
             there were files again",
            taken.len()
        ),
    );
}

/// Ends the daemon, unless it was about to end by itself.
async fn end(system: &mut System) -> Option<i32> {
    look_after(system).await;
    Some(system.terminate().await)
}

#[tokio::test(flavor = "multi_thread")]
async fn g23_a_disk_that_the_journal_has_filled_empties_by_itself() {
    let (mut system, _volume) = match on_a_small_disk("").await {
        Ok(found) => found,
        Err(why) => return soak::not_run("G23", &format!("no file system can be mounted: {why}")),
    };
    let mut acknowledged = 0;
    for round in 0..2 {
        system.convex.down();
        let (mut refused, mut taken) = (0, Vec::new());
        while refused < 3 {
            let user = format!("user_{round}_{}_{refused}", taken.len());
            let mut event = created(&user, 1, "Ada");
            event["data"]["private_metadata"]["filling"] = "x".repeat(100_000).into();
            let answer = system.hand().deliver(&new_id(), &event).await;
            match answer.status {
                200 => taken.push(user),
                503 => refused += 1,
                other => panic!("{other}"),
            }
            assert!(taken.len() < 1_000, "a disk of {MIB} MiB takes everything");
        }
        assert!(taken.len() > 100, "{} fit", taken.len());
        system.convex.up();
        let mut alive = true;
        eventually(
            "the journal is emptied and takes deliveries in",
            async || {
                alive &= !look_after(&mut system).await;
                readiness(&system).await == 200
            },
        )
        .await;
        system.door().idle().await;
        let there = crate::runs::keys(&system.convex, "users");
        assert!(
            taken.iter().all(|user| there.contains(user)),
            "round {round}"
        );
        acknowledged += taken.len();
    }
    assert_eq!(end(&mut system).await, Some(0));
    soak::say(
        "G23",
        &format!(
            "a disk of {MIB} MiB filled twice by {acknowledged} events that waited: all applied, room again"
        ),
    );
}
