//! Where runs are asked for: by the clock, over the operators' door, by a command without a daemon.
//!
//! Knows which sorts run now and what is remembered of them, not how a run goes about it. Promises: one of a
//! sort at a time; a run belongs to the desk and goes on when whoever asked has left; nothing that writes runs
//! while applying is switched off or paused; whatever becomes of a run, its place is free again.

mod said;

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::FutureExt;
use tokio::{
    sync::{oneshot, watch},
    time::{Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    memory::{End, LastRun, Memory, Slot, counts},
    run::{Progress, RunError, RunRequest, Runs, SyncedOne},
};
use crate::{
    model::RecordKey,
    report::{Report, RunKind, alert::Alerts, json},
    store::state::State,
    telemetry::Metrics,
};

/// What the names of the cells in the state begin with.
const CELL: &str = "runs/";

/// Why nothing may be written now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// `sync.enabled` is false.
    Disabled,
    /// A person paused applying.
    Paused,
    /// The daemon ends.
    Ending,
}

impl Hold {
    /// The name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Hold::Disabled => "disabled",
            Hold::Paused => "paused",
            Hold::Ending => "ending",
        }
    }

    fn refusal(self) -> RunError {
        match self {
            Hold::Disabled => RunError::Refused(
                "sync.enabled is false, so nothing may be written; `audit` only looks".into(),
            ),
            Hold::Paused => RunError::Refused(
                "applying is paused, so nothing may be written; `resume` first, or `audit`, which only looks"
                    .into(),
            ),
            Hold::Ending => ending(),
        }
    }
}

/// Says why nothing may be written now, if so.
pub type Holding = Arc<dyn Fn() -> Option<Hold> + Send + Sync>;

/// What a desk needs.
pub struct Options {
    /// What carries runs out.
    pub runs: Arc<dyn Runs>,
    /// Where the last runs are remembered.
    pub state: State,
    /// What is counted.
    pub metrics: Metrics,
    /// What is wrong.
    pub alerts: Alerts,
    /// The time of day, milliseconds since the epoch.
    pub now_ms: fn() -> i64,
    /// Whether something may be written.
    pub holding: Holding,
    /// What the clock's full diff is: a reconcile, or an audit.
    pub full: RunKind,
    /// Reports show personal values.
    pub show_values: bool,
}

/// See the module's words. Cheap to clone.
#[derive(Clone)]
pub struct Desk(Arc<Inner>);

struct Inner {
    options: Options,
    seats: Mutex<[Seat; 3]>,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Cancelled when a run did not end in time after `stop`.
    cut: CancellationToken,
}

#[derive(Default)]
struct Seat {
    memory: Memory,
    taken: Option<Taken>,
    /// Why a person should look at the last run of this sort.
    concern: Option<String>,
}

struct Taken {
    kind: RunKind,
    progress: watch::Receiver<Progress>,
}

/// A run that was started. Dropping it does not end the run.
#[derive(Debug)]
pub struct Running {
    /// How far it is.
    pub progress: watch::Receiver<Progress>,
    /// Its end.
    pub ended: Ended,
}

/// The end of a run that was started.
#[derive(Debug)]
pub struct Ended(oneshot::Receiver<Result<Arc<Report>, RunError>>);

impl Ended {
    /// Waits for it. Loses nothing when dropped and called again.
    ///
    /// # Errors
    /// See [`RunError`]; never [`RunError::Busy`].
    pub async fn wait(&mut self) -> Result<Arc<Report>, RunError> {
        let ended = (&mut self.0).await;
        ended.unwrap_or_else(|_| Err(ending()))
    }
}

/// What is known of one sort of runs.
#[derive(Clone, Debug)]
pub struct View {
    /// What is remembered.
    pub memory: Memory,
    /// What runs now, and how far it is.
    pub running: Option<(RunKind, Progress)>,
}

impl Desk {
    /// Opens the desk; what earlier processes remembered is read.
    pub fn new(options: Options) -> Desk {
        let seats = Slot::ALL.map(|slot| Seat {
            memory: recall(&options.state, slot),
            ..Seat::default()
        });
        for (slot, seat) in Slot::ALL.iter().zip(&seats) {
            said::publish(&options.metrics, *slot, &seat.memory);
        }
        Desk(Arc::new(Inner {
            options,
            seats: Mutex::new(seats),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            cut: CancellationToken::new(),
        }))
    }

    /// Starts a run. Call within a runtime.
    ///
    /// # Errors
    /// [`RunError::Busy`] if one of its sort runs, [`RunError::Refused`] if nothing may be written,
    /// [`RunError::Interrupted`] if the daemon ends.
    pub fn start(&self, request: RunRequest) -> Result<Running, RunError> {
        if request.kind != RunKind::Audit
            && let Some(hold) = self.hold()
        {
            return Err(hold.refusal());
        }
        let slot = Slot::of(request.kind);
        let counts = counts(&request, self.0.options.full);
        let (sender, progress) = watch::channel(Progress::default());
        {
            let mut seats = self.0.seats();
            let seat = &mut seats[slot.index()];
            if self.0.stop.is_cancelled() {
                return Err(ending());
            }
            if let Some(taken) = &seat.taken {
                return Err(RunError::Busy(taken.kind));
            }
            seat.memory.began(counts);
            seat.taken = Some(Taken {
                kind: request.kind,
                progress: progress.clone(),
            });
        }
        self.0.remember(slot);
        let (answer, ended) = oneshot::channel();
        let inner = Arc::clone(&self.0);
        self.0.tasks.spawn(async move {
            let result = inner.carry_out(request, sender, counts).await;
            // Whoever asked may have left.
            let _ = answer.send(result);
        });
        Ok(Running {
            progress,
            ended: Ended(ended),
        })
    }

    /// Makes Convex agree with Clerk about one record; `revive` brings back what was deleted in Convex. `who` wants it.
    ///
    /// # Errors
    /// As [`Desk::start`].
    pub async fn sync_one(
        &self,
        record: RecordKey,
        revive: bool,
        who: Arc<str>,
    ) -> Result<SyncedOne, RunError> {
        if let Some(hold) = self.hold() {
            return Err(hold.refusal());
        }
        tokio::select! {
            synced = self.0.options.runs.sync_one(record, revive, who) => synced,
            () = self.0.stop.cancelled() => Err(ending()),
        }
    }

    /// Why nothing may be written now, if so.
    pub fn hold(&self) -> Option<Hold> {
        if self.0.stop.is_cancelled() {
            return Some(Hold::Ending);
        }
        (self.0.options.holding)()
    }

    /// What is known of one sort.
    pub fn view(&self, slot: Slot) -> View {
        let seats = self.0.seats();
        let seat = &seats[slot.index()];
        let running = seat.taken.as_ref();
        View {
            memory: seat.memory.clone(),
            running: running.map(|taken| (taken.kind, taken.progress.borrow().clone())),
        }
    }

    /// The report as the contract spells it.
    pub fn document(&self, report: &Report) -> serde_json::Value {
        let text = json::render(report, self.0.options.show_values);
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Ends all runs: asks them to stop, and leaves those where they stand that have not within `grace`.
    pub async fn close(&self, grace: Duration) {
        self.0.stop.cancel();
        self.0.tasks.close();
        if timeout(grace, self.0.tasks.wait()).await.is_err() {
            tracing::warn!(
                "a run did not stop in time; the next one goes on where it last said it was"
            );
            self.0.cut.cancel();
            self.0.tasks.wait().await;
        }
    }

    /// Asks all runs to stop, without waiting; for whoever cannot wait.
    pub fn stop(&self) {
        self.0.stop.cancel();
        self.0.cut.cancel();
    }
}

impl Inner {
    fn seats(&self) -> MutexGuard<'_, [Seat; 3]> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn carry_out(
        &self,
        request: RunRequest,
        progress: watch::Sender<Progress>,
        counts: bool,
    ) -> Result<Arc<Report>, RunError> {
        let kind = request.kind;
        // A plan that is carried out looks at nothing else.
        let compares = request.approve.is_none();
        let started = Instant::now();
        tracing::debug!(kind = kind.name(), asked_by = ?request.asked_by, "a run begins");
        let run = self
            .options
            .runs
            .run(request, progress, self.stop.child_token());
        // A panic ends this run and not the daemon; it is logged where it happens.
        let run = AssertUnwindSafe(run).catch_unwind();
        let (result, name) = tokio::select! {
            result = run => match result {
                Ok(Ok(report)) => (Ok(Arc::new(report)), None),
                Ok(Err(error)) => (Err(error), None),
                Err(_) => (Err(panicked()), Some("panicked")),
            },
            () = self.cut.cancelled() => (Err(ending()), None),
        };
        let name = name.unwrap_or_else(|| said::outcome_of(&result));
        self.options
            .metrics
            .runs
            .ended(kind.name(), name, started.elapsed().as_secs_f64());
        said::log(kind, &result, started.elapsed());
        let slot = Slot::of(kind);
        let end = match &result {
            Ok(report) => End::Reported(LastRun {
                id: report.id.clone(),
                kind,
                finished_ms: report.finished_ms,
                outcome: report.outcome,
            }),
            Err(_) if self.stop.is_cancelled() => End::Stopped,
            Err(_) => End::Broken,
        };
        let concerns: Vec<String> = {
            let mut seats = self.seats();
            let seat = &mut seats[slot.index()];
            let stopped = end == End::Stopped;
            seat.memory.ended(end, counts, (self.options.now_ms)());
            if let (Slot::Full, true, Ok(report)) = (slot, compares, &result) {
                seat.memory.found.extend(&report.tables);
            }
            seat.taken = None;
            if counts && !stopped {
                seat.concern = said::concern(slot, &seat.memory, &result);
            }
            seats
                .iter()
                .filter_map(|seat| seat.concern.clone())
                .collect()
        };
        self.remember(slot);
        said::alert(&self.options.alerts, &concerns, (self.options.now_ms)());
        result
    }

    fn remember(&self, slot: Slot) {
        let memory = self.seats()[slot.index()].memory.clone();
        said::publish(&self.options.metrics, slot, &memory);
        let cell = format!("{CELL}{}", slot.name());
        if let Err(error) = self.options.state.put_cell(&cell, Some(&memory.bytes())) {
            tracing::warn!("a run is not remembered over a restart: {error}");
        }
    }
}

/// What is remembered of a sort of runs.
pub fn recall(state: &State, slot: Slot) -> Memory {
    let cell = state.get_cell(&format!("{CELL}{}", slot.name()));
    let bytes = cell.ok().flatten();
    bytes.map_or_else(Memory::default, |bytes| Memory::read(&bytes))
}

fn panicked() -> RunError {
    RunError::Interrupted("the run failed by a fault of its own; see the log".into())
}

fn ending() -> RunError {
    RunError::Interrupted(
        "the daemon is shutting down; the next run goes on where this one was".into(),
    )
}

#[cfg(test)]
mod tests;
