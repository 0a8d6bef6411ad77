//! When a job's turn comes: after a strike, after a start, after a failure.
//!
//! Pure: times and luck are arguments. Ticks are milliseconds of a clock that never goes back and begins at
//! the daemon's start; the time of day is used only to know what was missed and when the next strike is due.

use std::time::Duration;

use super::rhythm::Rhythm;

/// After a start, what is owed waits so long: first the deliveries that piled up meanwhile.
pub const CALM: Duration = Duration::from_secs(10);
/// The wait after a first failure; it doubles.
const FIRST_WAIT: Duration = Duration::from_secs(30);
/// The longest wait after a failure.
const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);
/// The most by which a run begins after its strike, so that not everybody asks Clerk in the same second.
const MOST_JITTER: Duration = Duration::from_secs(60);
/// How often it is looked whether what is held back may run.
const HELD_LOOK: Duration = Duration::from_secs(1);
/// How often a run that is owed looks whether a person's run has ended.
const BUSY_LOOK: Duration = Duration::from_secs(60);
/// How late a strike may be before it is taken for given; the library looks twice a second.
const STRIKE_LATE: Duration = Duration::from_secs(10);
/// After the second strike without a success in between, a job is overdue when this has passed too.
const OVERDUE_GRACE: Duration = Duration::from_secs(10 * 60);

const _: () = assert!(CALM.as_millis() < FIRST_WAIT.as_millis());
const _: () = assert!(FIRST_WAIT.as_millis() < LONGEST_WAIT.as_millis());

/// What is remembered of a job. Times are milliseconds since the epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// When it last succeeded.
    pub success_ms: Option<i64>,
    /// How often in a row it has failed since.
    pub failures: u32,
    /// When it last failed.
    pub failed_ms: Option<i64>,
    /// True if the last one was cut off.
    pub unfinished: bool,
}

impl Standing {
    /// Of a job that owes nothing, whatever was missed.
    pub fn settled(now_ms: i64) -> Standing {
        Standing {
            success_ms: Some(now_ms),
            ..Standing::default()
        }
    }

    /// True if the job should have succeeded since it last did.
    pub fn owes(&self, rhythm: &Rhythm, now_ms: i64) -> bool {
        let missed = |success| {
            rhythm
                .next_after(success)
                .is_some_and(|next| next <= now_ms)
        };
        self.unfinished || self.failures > 0 || self.success_ms.is_none_or(missed)
    }

    /// True if a person should know how long there was no success. `since_ms` is when this process started:
    /// what came before is not its fault.
    pub fn is_overdue(&self, rhythm: &Rhythm, since_ms: i64, now_ms: i64) -> bool {
        let from = self.success_ms.unwrap_or(since_ms).max(since_ms);
        let second = rhythm
            .next_after(from)
            .and_then(|first| rhythm.next_after(first));
        second.is_some_and(|second| now_ms > second.saturating_add(ms(OVERDUE_GRACE)))
    }
}

/// How a start ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Everything was seen.
    Done,
    /// It was not.
    Failed,
    /// One of its sort ran already, because a person asked for it.
    Busy,
    /// Something holds it back after all.
    Held,
}

/// What a strike meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strike {
    /// The job is due.
    Taken,
    /// The last one still runs.
    Skipped,
}

/// Why a job is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// The clock struck.
    Struck,
    /// It was missed, cut off, or failed: unless somebody else has done it meanwhile.
    Owed,
}

/// See the module's words.
#[derive(Clone, Debug)]
pub struct Turn {
    due: Option<(i64, Why)>,
    running: Option<Why>,
    /// True once it was counted that this turn is held back.
    held: bool,
    /// When the next strike is taken for given.
    strike_by: Option<i64>,
}

impl Turn {
    /// The turn of a job at tick 0.
    pub fn at_start(standing: &Standing, rhythm: &Rhythm, now_ms: i64) -> Turn {
        let owed = standing.owes(rhythm, now_ms).then(|| {
            // A run that fails at once must not be tried more often because the daemon is started often.
            let again = standing.failed_ms.map_or(0, |at| {
                let wait = ms(wait_after(standing.failures, 0.5));
                at.saturating_add(wait).saturating_sub(now_ms).min(wait)
            });
            (again.max(ms(CALM)), Why::Owed)
        });
        Turn {
            due: owed,
            running: None,
            held: false,
            strike_by: expected(rhythm, 0, now_ms),
        }
    }

    /// The clock struck. `luck` in 0..1 spreads the beginnings.
    pub fn strike(&mut self, rhythm: &Rhythm, tick: i64, now_ms: i64, luck: f64) -> Strike {
        self.strike_by = expected(rhythm, tick, now_ms);
        if self.running.is_some() {
            return Strike::Skipped;
        }
        let at = tick + ms(jitter(rhythm.interval_after(now_ms), luck));
        let earlier = self.due.map_or(at, |(due, _)| due.min(at));
        self.due = Some((earlier, Why::Struck));
        self.held = false;
        Strike::Taken
    }

    /// True if it should begin now.
    pub fn is_due(&self, tick: i64) -> bool {
        self.running.is_none() && self.due.is_some_and(|(at, _)| at <= tick)
    }

    /// True if a strike should have come.
    pub fn is_overdue_for_strike(&self, tick: i64) -> bool {
        self.strike_by.is_some_and(|at| at <= tick)
    }

    /// When to look again.
    pub fn wake(&self) -> Option<i64> {
        let due = self.due.filter(|_| self.running.is_none());
        let due = due.map(|(at, _)| at);
        [due, self.strike_by].into_iter().flatten().min()
    }

    /// Something holds it back: it stays owed. True the first time for each strike, so that it is counted once.
    pub fn hold(&mut self, tick: i64) -> bool {
        if let Some((at, _)) = &mut self.due {
            *at = tick + ms(HELD_LOOK);
        }
        !std::mem::replace(&mut self.held, true)
    }

    /// Takes its turn. False if it is not needed any more.
    pub fn begin(&mut self, standing: &Standing, rhythm: &Rhythm, now_ms: i64) -> bool {
        let Some((_, why)) = self.due.take() else {
            return false;
        };
        self.held = false;
        if why == Why::Owed && !standing.owes(rhythm, now_ms) {
            return false;
        }
        self.running = Some(why);
        true
    }

    /// What it began has ended. `failures` is how often in a row the job has failed by now.
    pub fn ended(&mut self, ending: Ending, failures: u32, tick: i64, luck: f64) {
        let why = self.running.take();
        let wait = match ending {
            Ending::Done => return,
            // A strike that meets a run of its sort is one run less; what is owed stays owed.
            Ending::Busy if why == Some(Why::Struck) => return,
            Ending::Busy => BUSY_LOOK,
            Ending::Held => HELD_LOOK,
            Ending::Failed => wait_after(failures.max(1), luck),
        };
        self.due = Some((tick + ms(wait), Why::Owed));
    }
}

/// The wait after so many failures in a row, spread over 90 to 110 %.
fn wait_after(failures: u32, luck: f64) -> Duration {
    let doubled = FIRST_WAIT.saturating_mul(1 << failures.saturating_sub(1).min(10));
    doubled
        .min(LONGEST_WAIT)
        .mul_f64(0.9 + 0.2 * luck.clamp(0.0, 1.0))
}

fn jitter(interval: Option<Duration>, luck: f64) -> Duration {
    let most = interval.map_or(Duration::ZERO, |interval| interval / 10);
    most.min(MOST_JITTER).mul_f64(luck.clamp(0.0, 1.0))
}

fn expected(rhythm: &Rhythm, tick: i64, now_ms: i64) -> Option<i64> {
    let next = rhythm.next_after(now_ms)?;
    Some(tick + (next - now_ms) + ms(STRIKE_LATE))
}

/// Durations here are far below the bound.
const fn ms(duration: Duration) -> i64 {
    duration.as_millis() as i64
}

#[cfg(test)]
mod tests;
