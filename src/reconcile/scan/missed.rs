//! Changes that no delivery told: why, as far as can be told, and whether they are more than a trickle.
//!
//! Pure: what was found and the time come in, sentences come out. A single lost delivery is what sweeps are for;
//! many of them, or none arriving at all, is a fault that somebody has to mend before the sender gives up.

use std::{
    collections::{BTreeSet, VecDeque},
    future::ready,
};

use futures_util::{FutureExt, future::BoxFuture};

use crate::model::RecordKey;

/// A change younger than this is not missed: its delivery may be on its way. In milliseconds.
pub const GRACE_MS: i64 = 10_000;

/// What scans ask about deliveries. Without an answer they say that they do not know.
pub trait Known: Send + Sync {
    /// Where deliveries about these records are, one answer for each.
    fn underway<'k>(&'k self, records: &'k [RecordKey]) -> BoxFuture<'k, Vec<Underway>> {
        ready(vec![Underway::Unknown; records.len()]).boxed()
    }

    /// How many deliveries were taken in.
    fn deliveries(&self) -> Option<Deliveries> {
        None
    }
}

/// Nobody to ask.
impl Known for () {}

/// Why scans have to deal with these records, as far as deliveries about them tell.
pub async fn causes(known: &dyn Known, records: &[RecordKey]) -> Vec<Cause> {
    let told = known.underway(records).await;
    let told = told.into_iter().map(Cause::from);
    // Who answers too little does not know.
    told.chain(std::iter::repeat(Cause::Unknown))
        .take(records.len())
        .collect()
}

/// Where else a change may be at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Underway {
    /// Nobody can tell.
    Unknown,
    /// No delivery about the record waits anywhere.
    Nowhere,
    /// One waits to be applied.
    Queued,
    /// One could not be applied and is kept.
    DeadLetter,
}

/// Why a sweep or a census had to find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// No delivery told of it, and whether one was refused cannot be told.
    Unknown,
    /// No delivery about it was taken in.
    NeverArrived,
    /// Its delivery is here and waits.
    Queued,
    /// Its delivery is here and could not be applied.
    DeadLetter,
    /// It was written, and something else than this daemon changed it in Convex.
    Overwritten,
}

impl Cause {
    /// The label in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Cause::Unknown => "unknown",
            Cause::NeverArrived => "never_arrived",
            Cause::Queued => "queued",
            Cause::DeadLetter => "dead_letter",
            Cause::Overwritten => "overwritten",
        }
    }

    /// In the words of a report.
    pub const fn words(self) -> &'static str {
        match self {
            Cause::Unknown => "no delivery told of it",
            Cause::NeverArrived => "its delivery never arrived",
            Cause::Queued => "its delivery is still in the queue",
            Cause::DeadLetter => {
                "its delivery is a dead letter (`clerk-convex-sync failures list`)"
            }
            Cause::Overwritten => "it was written before, and changed in Convex by something else",
        }
    }

    /// True if a delivery is missing: what waits here is late, not lost, and has alerts of its own.
    pub const fn is_missing_delivery(self) -> bool {
        matches!(self, Cause::Unknown | Cause::NeverArrived)
    }
}

impl From<Underway> for Cause {
    fn from(underway: Underway) -> Cause {
        match underway {
            Underway::Unknown => Cause::Unknown,
            Underway::Nowhere => Cause::NeverArrived,
            Underway::Queued => Cause::Queued,
            Underway::DeadLetter => Cause::DeadLetter,
        }
    }
}

/// Missed deliveries that were counted, by the time of their change in milliseconds: scans that may not repair find
/// the same ones every time.
#[derive(Debug, Default)]
pub struct Counted(BTreeSet<i64>);

impl Counted {
    /// How many are remembered; of older changes each scan would count again.
    const MOST: usize = 10_000;

    /// Those of a scan that no scan before it has counted.
    pub fn fresh(&mut self, missed: &[(Cause, i64)]) -> Vec<(Cause, i64)> {
        let known =
            |(cause, at_ms): &&(Cause, i64)| cause.is_missing_delivery() && self.0.contains(at_ms);
        let fresh: Vec<_> = missed.iter().filter(|one| !known(one)).copied().collect();
        let lost = fresh
            .iter()
            .filter(|(cause, _)| cause.is_missing_delivery());
        self.0.extend(lost.map(|(_, at_ms)| at_ms));
        while self.0.len() > Self::MOST {
            self.0.pop_first();
        }
        fresh
    }
}

/// How late, in the words of a report.
pub fn late(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// Deliveries as intake has counted them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deliveries {
    /// Taken in since the process began.
    pub total: u64,
    /// When the last one was, in milliseconds; `None` if there was none.
    pub last_ms: Option<i64>,
    /// Since when it is counted, in milliseconds.
    pub since_ms: i64,
}

/// The time in which missed deliveries are added up, in milliseconds.
const WINDOW_MS: i64 = 10 * 60 * 1000;
/// So many in that time are a trickle: lost connections and restarts cost a few.
const TRICKLE: u64 = 10;
/// From so many on, their share of the deliveries counts as well.
const FEW: u64 = 3;
/// The share, one in so many.
const SHARE: u64 = 100;
/// Changes that nobody told, with no delivery since, that make a silence if they are a minute apart.
const SILENT_CHANGES: u64 = 3;
/// The minute, in milliseconds.
const SILENT_MS: i64 = 60 * 1000;
/// A single change makes a silence after this time, in milliseconds: the sender's second retry, which comes
/// after five minutes, has not arrived either.
const LONG_SILENT_MS: i64 = 10 * 60 * 1000;
/// Sweeps that are remembered; at one in 30 s the window holds 20.
const SWEEPS: usize = 128;

/// What the sweeps of the last minutes found. See the module's words.
#[derive(Debug, Default)]
pub struct Trickle {
    sweeps: VecDeque<OneSweep>,
    silence: Option<Silence>,
}

#[derive(Clone, Copy, Debug)]
struct OneSweep {
    at_ms: i64,
    missed: u64,
    deliveries: Option<u64>,
}

/// Changes since the last delivery that only a sweep told.
#[derive(Clone, Copy, Debug)]
struct Silence {
    /// When the first of them was found.
    since_ms: i64,
    changes: u64,
    /// The last delivery before them.
    after: Option<i64>,
}

/// What is wrong, in sentences for alerts; `None` where nothing is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Concern {
    /// More deliveries are missing than a trickle.
    pub missed: Option<String>,
    /// Clerk changes and nothing arrives.
    pub silent: Option<String>,
}

impl Trickle {
    /// Takes in what a sweep found: the times of the changes whose delivery is missing, and of those whose
    /// delivery may be on its way. A delivery that comes ends a silence, so the latter count for that.
    pub fn swept(
        &mut self,
        now_ms: i64,
        changed_ms: &[i64],
        young_ms: &[i64],
        deliveries: Option<Deliveries>,
    ) -> Concern {
        // What a clock that was put back since has counted is none of the last minutes.
        let lately = |at_ms: i64| (0..WINDOW_MS).contains(&now_ms.saturating_sub(at_ms));
        self.sweeps.retain(|sweep| lately(sweep.at_ms));
        if self.sweeps.len() >= SWEEPS {
            self.sweeps.pop_front();
        }
        self.sweeps.push_back(OneSweep {
            at_ms: now_ms,
            missed: changed_ms.len() as u64,
            deliveries: deliveries.map(|deliveries| deliveries.total),
        });
        Concern {
            missed: self.many(),
            silent: deliveries
                .and_then(|counted| self.silent(now_ms, &[changed_ms, young_ms].concat(), counted)),
        }
    }

    fn many(&self) -> Option<String> {
        let missed: u64 = self.sweeps.iter().map(|sweep| sweep.missed).sum();
        let counts = self.sweeps.iter().filter_map(|sweep| sweep.deliveries);
        let arrived = counts.clone().max().zip(counts.min()).map(|(a, b)| a - b);
        let share = arrived.is_some_and(|arrived| missed * SHARE > arrived);
        (missed > TRICKLE || missed >= FEW && share).then(|| {
            let of = arrived.map_or(String::new(), |n| format!(" ({n} deliveries arrived)"));
            format!(
                "{missed} change(s) in Clerk were found by sweeps in the last ten minutes and told by no \
                 delivery{of}; they are in Convex now. Look at the endpoint in Clerk's dashboard: Message \
                 Attempts says what became of its deliveries"
            )
        })
    }

    fn silent(&mut self, now_ms: i64, changed_ms: &[i64], counted: Deliveries) -> Option<String> {
        let heard = counted.last_ms;
        if self.silence.is_some_and(|silence| silence.after != heard) {
            self.silence = None;
        }
        // What was changed before somebody listened here proves nothing about now.
        let listened = heard.unwrap_or(counted.since_ms);
        let changes = changed_ms.iter().filter(|at| **at > listened).count() as u64;
        if changes > 0 {
            let silence = self.silence.get_or_insert(Silence {
                since_ms: now_ms,
                changes: 0,
                after: heard,
            });
            silence.changes += changes;
        }
        let silence = self.silence?;
        let lasts = now_ms.saturating_sub(silence.since_ms);
        let long = silence.changes >= SILENT_CHANGES && lasts >= SILENT_MS;
        if !long && lasts < LONG_SILENT_MS {
            return None;
        }
        let since = match heard {
            Some(at) => format!("for {}", late(now_ms.saturating_sub(at))),
            None => "since the daemon was started".into(),
        };
        Some(format!(
            "{} change(s) in Clerk were found by sweeps, and no delivery has arrived {since}: the endpoint is \
             probably disabled (the sender does that after 5 days of failures) or points elsewhere. Enable it \
             in Clerk's dashboard; until then changes arrive with the next sweep, and deletions with the next \
             census",
            silence.changes
        ))
    }
}

#[cfg(test)]
mod tests;
