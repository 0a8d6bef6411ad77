//! Puts runs together: who carries them out, the desk where they are asked for, and when the clock does.
//!
//! Knows the settings; decides nothing about a record and nothing about when.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{
    StartError,
    build::keyring,
    runs::{self, WantsFull},
};
use crate::{
    apply::{Clock, Shared},
    config::{Config, RepairMode},
    queue::repairs::Lane,
    reconcile::{
        desk::{Desk, Hold, Options},
        memory::{Memory, Slot},
        run::{AskedBy, RunError, RunRequest},
    },
    report::{RunKind, digest, history::History},
    schedule::{
        Job, Pulse, Schedule,
        rhythm::{NotARhythm, Rhythm},
        turn::{Ending, Standing},
    },
};

/// Where runs are asked for.
pub fn desk(
    config: &Config,
    shared: &Arc<Shared>,
    lane: &Lane,
    wants_full: WantsFull,
) -> Result<Desk, StartError> {
    let held = Arc::clone(shared);
    Ok(Desk::new(Options {
        runs: runs::runs(config, shared, lane, wants_full)?,
        state: shared.state.clone(),
        metrics: shared.metrics.clone(),
        alerts: shared.alerts.clone(),
        now_ms,
        holding: Arc::new(move || match held.settings.load().enabled {
            false => Some(Hold::Disabled),
            true => held.is_paused().then_some(Hold::Paused),
        }),
        full: full_kind(config),
        show_values: config.report.show_values,
    }))
}

/// What the clock's full diff is: with `repair.mode = "report"` it only looks.
fn full_kind(config: &Config) -> RunKind {
    match config.repair.mode {
        RepairMode::Repair => RunKind::Reconcile,
        RepairMode::Report => RunKind::Audit,
    }
}

/// A scan that the clock starts, as others want to know of it.
#[derive(Clone)]
pub struct Scan {
    /// Which.
    pub slot: Slot,
    /// What it runs.
    pub kind: RunKind,
    /// When.
    pub rhythm: Rhythm,
}

/// The schedule, its pulse, and the scans in it. None if everything in it is off.
pub struct Scheduled {
    pub schedule: Schedule,
    pub pulse: Pulse,
    pub scans: Vec<Scan>,
}

/// The schedule of this configuration.
pub fn schedule(
    config: &Config,
    desk: &Desk,
    shared: &Arc<Shared>,
) -> Result<Option<Scheduled>, StartError> {
    let section = &config.schedule;
    let mut scans = Vec::new();
    let mut jobs = Vec::new();
    for (slot, kind, cron) in [
        (Slot::Sweep, RunKind::Sweep, &section.sweep),
        (Slot::Census, RunKind::Census, &section.census),
        (Slot::Full, full_kind(config), &section.full),
    ] {
        let Some(rhythm) = rhythm(cron.as_deref())? else {
            continue;
        };
        scans.push(Scan {
            slot,
            kind,
            rhythm: rhythm.clone(),
        });
        jobs.push(scan(slot, kind, rhythm, desk));
    }
    if let Some(rhythm) = rhythm(section.digest.as_deref())? {
        jobs.push(daily_word(rhythm, config, shared));
    }
    if jobs.is_empty() {
        return Ok(None);
    }
    let asked = desk.clone();
    let held = Arc::new(move || asked.hold().map(Hold::name));
    let (schedule, pulse) = Schedule::new(jobs, held, shared.metrics.clone(), now_ms);
    Ok(Some(Scheduled {
        schedule,
        pulse,
        scans,
    }))
}

fn rhythm(cron: Option<&str>) -> Result<Option<Rhythm>, NotARhythm> {
    cron.map(Rhythm::parse).transpose()
}

fn scan(slot: Slot, kind: RunKind, rhythm: Rhythm, desk: &Desk) -> Job {
    let (recalled, started) = (desk.clone(), desk.clone());
    Job {
        name: slot.name(),
        rhythm,
        recall: Arc::new(move || standing(&recalled, slot)),
        start: Arc::new(move || {
            let desk = started.clone();
            Box::pin(async move { ending(run(&desk, by_clock(kind)).await, &desk) })
        }),
    }
}

fn by_clock(kind: RunKind) -> RunRequest {
    RunRequest {
        kind,
        tables: Vec::new(),
        max_deletes: None,
        approve: None,
        mapping: None,
        asked_by: AskedBy::Schedule,
    }
}

async fn run(desk: &Desk, request: RunRequest) -> Result<bool, RunError> {
    let report = desk.start(request)?.ended.wait().await?;
    Ok(report.outcome.is_complete())
}

fn ending(ran: Result<bool, RunError>, desk: &Desk) -> Ending {
    match ran {
        Ok(true) => Ending::Done,
        Err(RunError::Busy(_)) => Ending::Busy,
        // It was paused between the look and the start.
        Err(RunError::Refused(_)) if desk.hold().is_some() => Ending::Held,
        Ok(false) | Err(_) => Ending::Failed,
    }
}

/// What the desk remembers, as the schedule wants it.
pub fn standing(desk: &Desk, slot: Slot) -> Standing {
    let memory = desk.view(slot).memory;
    Standing {
        success_ms: memory.success_ms,
        failures: memory.failures,
        failed_ms: memory.failed_ms,
        unfinished: memory.unfinished,
    }
}

/// The digest: how the last day went, as one entry of the log.
fn daily_word(rhythm: Rhythm, config: &Config, shared: &Arc<Shared>) -> Job {
    let (dir, keys) = (config.state.dir.clone(), keyring(&config.state));
    let shared = Arc::clone(shared);
    Job {
        name: "digest",
        rhythm,
        // A word about a day that is over is of no use: none is made up for.
        recall: Arc::new(|| Standing::settled(now_ms())),
        start: Arc::new(move || {
            let (dir, keys, metrics) = (dir.clone(), keys.clone(), shared.metrics.clone());
            Box::pin(async move {
                let listed = tokio::task::spawn_blocking(move || {
                    let history = History::look(&dir, false, &keys);
                    history
                        .list()
                        .map(|listing| (listing.summaries, history.quiet()))
                });
                let Ok(Ok((summaries, quiet))) = listed.await else {
                    tracing::warn!("the digest was not made: past reports cannot be read");
                    return Ending::Failed;
                };
                let beside = digest::Beside {
                    quiet,
                    dead_letters: u64::try_from(metrics.dead_letters.get()).unwrap_or(0),
                };
                let digest = digest::digest(&summaries, &beside, now_ms());
                tracing::info!(
                    needs_a_look = digest.needs_a_look,
                    "{}",
                    digest.text.trim_end()
                );
                Ending::Done
            })
        }),
    }
}

/// Raises and clears the alert about scans that have not succeeded for long. A task of its own: an alarm must
/// not depend on what it watches. Also starts a full diff ahead of its time when a smaller scan has said that only
/// that can tell; after a failure the schedule's own waits count.
pub async fn watch(
    scans: Vec<Scan>,
    desk: Desk,
    wants_full: WantsFull,
    shared: Arc<Shared>,
    stop: CancellationToken,
) {
    const EVERY: std::time::Duration = std::time::Duration::from_secs(30);
    let since_ms = now_ms();
    let mut ahead = Ahead::of(&desk.view(Slot::Full).memory);
    while stop
        .run_until_cancelled(tokio::time::sleep(EVERY))
        .await
        .is_some()
    {
        let full = scans.iter().find(|scan| scan.slot == Slot::Full);
        let memory = desk.view(Slot::Full).memory;
        if let Some(full) = full
            && desk.hold().is_none()
            && ahead.is_due(&wants_full, &memory)
        {
            // If one runs already, that one will do: smaller scans ask again until the gap is closed.
            let _busy = desk.start(by_clock(full.kind));
        }
        let now_ms = now_ms();
        let overdue: Vec<&str> = scans
            .iter()
            .filter(|scan| standing(&desk, scan.slot).is_overdue(&scan.rhythm, since_ms, now_ms))
            .map(|scan| scan.slot.name())
            .collect();
        if overdue.is_empty() {
            shared.alerts.clear("scan_overdue");
            continue;
        }
        let message = format!(
            "no complete {} for more than two of its turns; `status` and the log say why",
            overdue.join(", no complete ")
        );
        shared.alerts.raise("scan_overdue", message, now_ms);
    }
}

/// Whether a full diff is to begin ahead of its time.
struct Ahead {
    /// When the last one that saw everything had ended, by whatever clock there was then.
    seen: Option<i64>,
}

impl Ahead {
    fn of(memory: &Memory) -> Ahead {
        let seen = memory.success_ms;
        Ahead { seen }
    }

    /// True once for each wish that came after the last full diff that saw everything: while one runs, smaller
    /// scans go on asking for it.
    fn is_due(&mut self, wants_full: &WantsFull, memory: &Memory) -> bool {
        if self.seen != memory.success_ms {
            self.seen = memory.success_ms;
            wants_full.take();
        }
        memory.failures == 0 && wants_full.take()
    }
}

fn now_ms() -> i64 {
    Clock.now_ms()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_counts_once_and_not_if_it_came_before_a_full_diff_ended_whatever_the_clock_said_then()
    {
        let wants = WantsFull::default();
        let ended = |ms| Memory {
            success_ms: Some(ms),
            ..Memory::default()
        };
        // A start after a power cut, with a clock that has not been set yet.
        let mut ahead = Ahead::of(&ended(1_772_366_400_000));
        assert!(
            !ahead.is_due(&wants, &ended(1_772_366_400_000)),
            "nobody asked"
        );
        wants.say("the journal is gone");
        wants.say("nobody has counted");
        assert!(ahead.is_due(&wants, &ended(1_772_366_400_000)));
        assert!(!ahead.is_due(&wants, &ended(1_772_366_400_000)), "once");
        wants.say("said while the full diff ran");
        assert!(!ahead.is_due(&wants, &ended(60_000)), "it has ended since");
        assert!(!ahead.is_due(&wants, &ended(60_000)));
        wants.say("said since");
        let failed = Memory {
            failures: 1,
            ..ended(60_000)
        };
        assert!(
            !ahead.is_due(&wants, &failed),
            "the schedule's own waits count"
        );
        assert!(ahead.is_due(&wants, &ended(60_000)), "and then it is due");
    }
}
