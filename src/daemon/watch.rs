//! What watches the daemon: systemd, and the health of its own disk.
//!
//! The watchdog is fed by progress: the committer, the applier and the schedule must all have come round
//! since the last time. A timer that beats by itself would keep a dead daemon alive.

use std::{
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use sd_notify::NotifyState;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Handle;
use crate::{
    apply::{self, Shared},
    schedule::Pulse,
    store::{
        journal::{Health, Journal},
        room::Room,
        state::State,
    },
    telemetry::{self, LogLevel},
    twin::{self, Twin},
};

/// How often the room on the disk is looked at.
const ROOM_EVERY: Duration = Duration::from_secs(2);
/// How long a process lives that could be started anew to mend its state.
const AT_LEAST: Duration = Duration::from_secs(5);
/// How often it is said how many lines the log lacks.
const SAY_LEFT_OUT: Duration = Duration::from_secs(10);

/// Tells systemd, if it listens.
pub fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("systemd was not told: {error}");
    }
}

/// A reload on SIGHUP, with the words that systemd expects around it.
pub fn reload(handle: &Handle) {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
    // A mistake is in the log and changes nothing.
    let _ = handle.reload();
    tell(&[NotifyState::Ready]);
}

/// Feeds systemd's watchdog as long as everything moves.
pub async fn watchdog(
    journal: Journal,
    applier: apply::Handle,
    schedule: Option<Pulse>,
    stop: CancellationToken,
) {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return;
    };
    let beat = (limit / 3).max(Duration::from_millis(100));
    while stop.run_until_cancelled(sleep(beat)).await.is_some() {
        let keeps_time = async {
            match &schedule {
                Some(schedule) => schedule.beats().await,
                None => true,
            }
        };
        let stores = async { journal.pulse().await.is_ok() };
        let applies = async { applier.status().await.is_some() };
        if all_move(
            beat,
            [&mut pin!(keeps_time), &mut pin!(stores), &mut pin!(applies)],
        )
        .await
        {
            tell(&[NotifyState::Watchdog]);
        } else {
            tracing::error!(
                "the journal, the applier or the schedule does not move; the watchdog is not fed"
            );
        }
    }
}

/// True if each of these comes round in this time.
async fn all_move(
    within: Duration,
    parts: [&mut (dyn Future<Output = bool> + Send + Unpin); 3],
) -> bool {
    let each = async {
        for part in parts {
            if !part.await {
                return false;
            }
        }
        true
    };
    twin::broken(Twin::BlindWatchdog) || timeout(within, each).await == Ok(true)
}

/// Says how many lines the log lacks, because they were too many.
pub async fn left_out_lines(log: LogLevel, stop: CancellationToken) {
    while stop
        .run_until_cancelled(sleep(SAY_LEFT_OUT))
        .await
        .is_some()
    {
        let lines = log.left_out();
        if lines > 0 {
            tracing::warn!(target: telemetry::LEFT_OUT, lines, "lines were left out: there were too many a second");
        }
    }
}

/// Raises and clears the alert about a disk that takes nothing in.
pub async fn health(journal: Journal, shared: Arc<Shared>, stop: CancellationToken) {
    let mut health = journal.health();
    loop {
        let now = health.borrow_and_update().clone();
        match now {
            Health::Writing => shared.alerts.clear("cannot_store"),
            Health::Unwritable(reason) | Health::Poisoned(reason) => {
                let message = format!(
                    "deliveries are refused with 503, the journal cannot be written: {reason}; free space \
                     under the state directory"
                );
                shared
                    .alerts
                    .raise("cannot_store", message, shared.clock.now_ms());
            }
            Health::Closed => return,
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = health.changed() => if changed.is_err() { return },
        }
    }
}

/// Answers when the derived state has failed for want of a working disk, and there is room again. sled does not
/// recover from that in the same process. Not in the first seconds of a process: it would end again and again.
pub async fn state_gave_up(state: &State, dir: &Path) {
    sleep(AT_LEAST).await;
    loop {
        if state.failed() && Room::at(dir).is_ok_and(Room::is_back) {
            return;
        }
        sleep(ROOM_EVERY).await;
    }
}

/// Raises and clears the alert about a disk that is nearly full.
pub async fn room(dir: PathBuf, shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        match Room::at(&dir) {
            Ok(room) if room.is_scarce() => {
                let message = format!(
                    "the disk of the state directory is nearly full ({} KiB left{}); make room before deliveries \
                     are refused",
                    room.available / 1024,
                    match room.total_files {
                        0 => String::new(),
                        _ => format!(", and place for {} new files", room.files),
                    }
                );
                let now_ms = shared.clock.now_ms();
                shared.alerts.raise("disk_nearly_full", message, now_ms);
            }
            Ok(_) => shared.alerts.clear("disk_nearly_full"),
            // Whoever needs the disk will say so.
            Err(_) => {}
        }
        if stop.run_until_cancelled(sleep(ROOM_EVERY)).await.is_none() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures_util::{FutureExt, future::BoxFuture};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_watchdog_is_fed_only_while_each_part_moves() {
        let beat = Duration::from_secs(10);
        let fed = async |stuck: Option<usize>, how: fn() -> BoxFuture<'static, bool>| {
            let part = |at| match Some(at) == stuck {
                true => how(),
                false => ready(true).boxed(),
            };
            let [mut one, mut two, mut three] = [0, 1, 2].map(part);
            all_move(beat, [&mut one, &mut two, &mut three]).await
        };
        assert!(fed(None, || Box::pin(ready(false))).await);
        for stuck in 0..3 {
            assert!(
                !fed(Some(stuck), || Box::pin(ready(false))).await,
                "{stuck} has ended"
            );
            assert!(
                !fed(Some(stuck), || Box::pin(pending())).await,
                "{stuck} hangs"
            );
        }
    }
}
