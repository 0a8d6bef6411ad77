//! When scans run: one of a kind at a time, none forgotten.
//!
//! Starts closures by name and knows nothing of what they do. A run starts when the clock strikes; when one
//! was missed or cut off while the daemon was down, soon after the start; and soon after a failure, with
//! growing waits. While something holds it back (a pause), it is owed and starts once it may. What does not
//! take place is counted. [`rhythm`] and [`turn`] are pure; `clock` is the library's adapter.

mod clock;
pub mod rhythm;
pub mod turn;

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use self::{
    clock::Clock,
    rhythm::Rhythm,
    turn::{Ending, Standing, Strike, Turn},
};
use crate::telemetry::Metrics;

/// The longest that the loop sleeps, so that it always proves that it moves.
const IDLE: Duration = Duration::from_secs(5);

/// Starts a run and waits for its end.
pub type Start = Arc<dyn Fn() -> BoxFuture<'static, Ending> + Send + Sync>;
/// What is remembered of a job, now.
pub type Recall = Arc<dyn Fn() -> Standing + Send + Sync>;
/// Why nothing may run now, as a short name; `None` when it may.
pub type Held = Arc<dyn Fn() -> Option<&'static str> + Send + Sync>;

/// Something that is done again and again.
#[derive(Clone)]
pub struct Job {
    /// The name in logs and metrics.
    pub name: &'static str,
    /// When.
    pub rhythm: Rhythm,
    /// What is remembered of it.
    pub recall: Recall,
    /// Does it.
    pub start: Start,
}

/// The task that starts jobs. See the module's words.
pub struct Schedule {
    jobs: Vec<Job>,
    turns: Vec<Turn>,
    held: Held,
    /// Why jobs are held back, as it was last said.
    said: Option<&'static str>,
    metrics: Metrics,
    now_ms: fn() -> i64,
    started: Instant,
    pulses: mpsc::Receiver<oneshot::Sender<()>>,
}

/// How the rest of the daemon sees that the schedule moves. Cheap to clone.
#[derive(Clone)]
pub struct Pulse(mpsc::Sender<oneshot::Sender<()>>);

impl Pulse {
    /// True once the loop has come round; false when it has ended.
    pub async fn beats(&self) -> bool {
        let (answer, answered) = oneshot::channel();
        self.0.send(answer).await.is_ok() && answered.await.is_ok()
    }
}

impl Schedule {
    /// A schedule of these jobs. `now_ms` is the time of day.
    pub fn new(jobs: Vec<Job>, held: Held, metrics: Metrics, now_ms: fn() -> i64) -> (Self, Pulse) {
        let (sender, pulses) = mpsc::channel(1);
        let schedule = Schedule {
            turns: Vec::new(),
            jobs,
            held,
            said: None,
            metrics,
            now_ms,
            started: Instant::now(),
            pulses,
        };
        (schedule, Pulse(sender))
    }

    /// Starts jobs until `stop`. Runs that are under way then are no longer waited for: they belong to whoever
    /// carries them out.
    pub async fn run(mut self, stop: CancellationToken) {
        self.started = Instant::now();
        let now_ms = (self.now_ms)();
        let first = |job: &Job| Turn::at_start(&(job.recall)(), &job.rhythm, now_ms);
        self.turns = self.jobs.iter().map(first).collect();
        let mut clock = Clock::start(self.jobs.iter().map(|job| &job.rhythm)).await;
        let mut running: JoinSet<(usize, Ending)> = JoinSet::new();
        loop {
            self.begin_what_is_due(&mut running);
            let wake = Instant::now() + self.idle();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(answer) = self.pulses.recv() => {
                    let _ = answer.send(());
                }
                Some(index) = clock.strike() => self.strike(index),
                Some(ended) = running.join_next() => {
                    if let Ok((index, ending)) = ended {
                        self.ended(index, ending);
                    }
                }
                () = sleep_until(wake) => {}
            }
        }
        clock.end().await;
    }

    /// Milliseconds by a clock that never goes back.
    fn tick(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    fn idle(&self) -> Duration {
        let next = self.turns.iter().filter_map(Turn::wake).min();
        let wait = next.map_or(0, |at| (at - self.tick()).max(1));
        match u64::try_from(wait) {
            Ok(ms) if ms > 0 => IDLE.min(Duration::from_millis(ms)),
            _ => IDLE,
        }
    }

    fn strike(&mut self, index: usize) {
        let (tick, now_ms) = (self.tick(), (self.now_ms)());
        let (Some(job), Some(turn)) = (self.jobs.get(index), self.turns.get_mut(index)) else {
            return;
        };
        if turn.strike(&job.rhythm, tick, now_ms, rand::random()) == Strike::Skipped {
            self.metrics.runs.skipped(job.name, "running");
            tracing::info!(kind = job.name, "skipped: the last one still runs");
        }
    }

    /// Strikes that the library did not bring. It is given some seconds, then its work is done for it.
    fn strike_what_was_not_struck(&mut self) {
        let tick = self.tick();
        let late: Vec<usize> = (0..self.turns.len())
            .filter(|index| self.turns[*index].is_overdue_for_strike(tick))
            .collect();
        for index in late {
            tracing::warn!(
                kind = self.jobs[index].name,
                "the clock did not strike in time"
            );
            self.strike(index);
        }
    }

    fn begin_what_is_due(&mut self, running: &mut JoinSet<(usize, Ending)>) {
        self.strike_what_was_not_struck();
        let tick = self.tick();
        if !self.turns.iter().any(|turn| turn.is_due(tick)) {
            return;
        }
        let held = (self.held)();
        let now_ms = (self.now_ms)();
        for (index, (job, turn)) in self.jobs.iter().zip(&mut self.turns).enumerate() {
            if !turn.is_due(tick) {
                continue;
            }
            if let Some(reason) = held {
                if turn.hold(tick) {
                    self.metrics.runs.skipped(job.name, reason);
                }
                continue;
            }
            if !turn.begin(&(job.recall)(), &job.rhythm, now_ms) {
                continue;
            }
            let start = Arc::clone(&job.start);
            running.spawn(async move {
                // Whoever carries runs out catches its own panics; this one is for the closure itself.
                let ending = AssertUnwindSafe(async move { start().await }).catch_unwind();
                (index, ending.await.unwrap_or(Ending::Failed))
            });
        }
        if held != self.said {
            match held {
                Some(reason) => tracing::info!(reason, "scheduled runs do not take place for now"),
                None => tracing::info!("scheduled runs take place again"),
            }
            self.said = held;
        }
    }

    fn ended(&mut self, index: usize, ending: Ending) {
        let tick = self.tick();
        let (Some(job), Some(turn)) = (self.jobs.get(index), self.turns.get_mut(index)) else {
            return;
        };
        if ending == Ending::Busy {
            self.metrics.runs.skipped(job.name, "running");
        }
        let failures = (job.recall)().failures;
        turn.ended(ending, failures, tick, rand::random());
    }
}

#[cfg(test)]
mod tests;
