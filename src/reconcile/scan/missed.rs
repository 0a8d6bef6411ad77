//! Changes that no delivery told: why, as far as can be told, and whether they are more than a trickle.
//!
//! Pure: what was found and the time come in, sentences come out. A single lost delivery is what sweeps are for;
//! many of them, or none arriving at all, is a fault that somebody has to mend before the sender gives up.

use std::collections::VecDeque;

use crate::model::RecordKey;

/// A change younger than this is not missed: its delivery may be on its way. In milliseconds.
pub const GRACE_MS: i64 = 10_000;

/// What scans ask about deliveries. Without an answer they say that they do not know.
pub trait Known: Send + Sync {
    /// Where a delivery about this record is.
    fn underway(&self, _record: &RecordKey) -> Underway {
        Underway::Unknown
    }

    /// How many deliveries were taken in.
    fn deliveries(&self) -> Option<Deliveries> {
        None
    }
}

/// Nobody to ask.
impl Known for () {}

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
        self.sweeps
            .retain(|sweep| now_ms.saturating_sub(sweep.at_ms) < WINDOW_MS);
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
mod tests {
    use super::*;

    fn counted(total: u64, last_ms: Option<i64>) -> Option<Deliveries> {
        Some(Deliveries {
            total,
            last_ms,
            since_ms: 0,
        })
    }

    #[test]
    fn a_few_missed_deliveries_among_many_are_a_trickle() {
        let mut trickle = Trickle::default();
        for (minute, missed) in [(0, 2), (1, 0), (2, 3), (3, 5)] {
            let total = minute as u64 * 10_000;
            let concern = trickle.swept(
                minute * 60_000,
                &vec![0; missed],
                &[],
                counted(total, Some(0)),
            );
            assert_eq!(concern.missed, None, "{minute}");
        }
        let many = trickle.swept(240_000, &[0], &[], counted(40_000, Some(0)));
        let words = many.missed.expect("eleven are more than a trickle");
        assert!(
            words.contains("11 change(s)") && words.contains("40000"),
            "{words}"
        );
        let over = trickle.swept(240_000 + WINDOW_MS, &[], &[], counted(50_000, Some(0)));
        assert_eq!(over.missed, None, "ten minutes later it is over");
    }

    #[test]
    fn more_than_one_in_a_hundred_is_more_than_a_trickle() {
        for (arrived, alarming) in [(299, true), (300, false)] {
            let mut trickle = Trickle::default();
            trickle.swept(0, &[], &[], counted(1_000, Some(0)));
            let concern = trickle.swept(
                30_000,
                &[1, 2, 3],
                &[],
                counted(1_000 + arrived, Some(30_000)),
            );
            assert_eq!(concern.missed.is_some(), alarming, "{arrived}");
        }
        let mut trickle = Trickle::default();
        let two = trickle.swept(0, &[1, 2], &[], counted(0, Some(0)));
        assert_eq!(two.missed, None, "two may happen to anybody");
        let unknown = Trickle::default().swept(0, &[1; 10], &[], None);
        assert_eq!(
            unknown.missed, None,
            "without a count of deliveries there is no share"
        );
    }

    #[test]
    fn changes_without_any_delivery_are_a_silence_once_they_go_on() {
        let mut trickle = Trickle::default();
        let heard = counted(7, Some(1_000));
        assert_eq!(
            trickle.swept(10_000, &[5_000, 6_000], &[], heard).silent,
            None
        );
        assert_eq!(trickle.swept(40_000, &[30_000], &[], heard).silent, None);
        let words = trickle
            .swept(70_000, &[60_000], &[], heard)
            .silent
            .expect("a silence");
        assert!(
            words.contains("4 change(s)") && words.contains("for 69 s"),
            "{words}"
        );
        assert!(
            trickle.swept(100_000, &[], &[], heard).silent.is_some(),
            "it lasts"
        );
        let again = counted(8, Some(110_000));
        assert_eq!(
            trickle.swept(130_000, &[], &[], again).silent,
            None,
            "a delivery ends it"
        );
    }

    #[test]
    fn one_change_is_a_silence_only_after_the_senders_retries() {
        let mut trickle = Trickle::default();
        let heard = counted(0, None);
        assert_eq!(trickle.swept(10_000, &[5_000], &[], heard).silent, None);
        assert_eq!(trickle.swept(300_000, &[], &[], heard).silent, None);
        let words = trickle
            .swept(610_000, &[], &[], heard)
            .silent
            .expect("a silence");
        assert!(words.contains("since the daemon was started"), "{words}");
    }

    #[test]
    fn what_was_changed_before_anybody_listened_is_no_silence() {
        let mut trickle = Trickle::default();
        let started = Some(Deliveries {
            total: 0,
            last_ms: None,
            since_ms: 500_000,
        });
        assert_eq!(
            trickle
                .swept(510_000, &[1, 2, 3, 400_000], &[], started)
                .silent,
            None
        );
        assert_eq!(trickle.swept(9_510_000, &[], &[], started).silent, None);
    }

    #[test]
    fn how_late_is_said_in_a_unit_that_fits() {
        for (ms, words) in [
            (-5, "0 s"),
            (42_999, "42 s"),
            (300_000, "5 min"),
            (3 * 3_600_000, "3 h"),
            (4 * 86_400_000, "4 days"),
        ] {
            assert_eq!(late(ms), words);
        }
    }

    #[test]
    fn sweeps_that_are_faster_than_deliveries_notice_a_silence_too() {
        let mut trickle = Trickle::default();
        let heard = counted(7, Some(1_000));
        for second in [2, 3, 4] {
            let young = [second * 1_000];
            let concern = trickle.swept(second * 1_000, &[], &young, heard);
            assert_eq!(concern, Concern::default());
        }
        let later = trickle.swept(62_000, &[], &[], heard);
        assert!(later.silent.is_some() && later.missed.is_none());
        let over = trickle.swept(63_000, &[], &[], counted(8, Some(62_500)));
        assert_eq!(over.silent, None);
    }
}
