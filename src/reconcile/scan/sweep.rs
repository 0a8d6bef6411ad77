//! The sweep: the newest changes in Clerk, until those are met that are dealt with.
//!
//! One request when nothing happened. Whatever the ledger does not know is put into the queue's second lane as it
//! was listed; the versions keep it from overwriting anything newer. Promises: the position moves only over
//! changes that were seen and dealt with, never beyond Clerk's own newest, and what it cannot reach is remembered
//! as a gap until a full diff has closed it. A change that shows up late is found as long as it is no
//! more than [`OVERLAP_MS`] older than one that showed up before. Deletions are not in the list: the census
//! finds those.

mod cursor;
mod deal;
mod newest;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use cursor::{Cursor, Found, Gap, Why, close_gap, gap};
pub use deal::Settled;
pub use newest::{MAX_PAGES, ReadError};

use self::{
    deal::Dealing,
    newest::{Down, Newest, Step},
};
use super::{EMPTY, MissedDeliveries, lost_note, missed::Known, report};
use crate::{
    clerk::RawRecord,
    model::{Fault, Table, Version},
    reconcile::{
        belief::Beliefs,
        ends::Ends,
        run::{Progress, RunError, Watch},
    },
    report::{Report, RunKind, RunOutcome, TableFigures},
};

/// What is looked at again each time, in milliseconds before the position: a change may become visible after
/// a newer one (Clerk does not promise otherwise), and sweeps are 30 s apart.
pub const OVERLAP_MS: i64 = 60_000;
/// How far ahead of our clock a change may be to move the position, in milliseconds: as much as a delivery's
/// timestamp may be off. A change stamped later than that by mistake would hide all others until its time has
/// come. A clock of ours that is behind makes sweeps longer, nothing else.
const AHEAD_MS: i64 = 5 * 60 * 1000;

/// What a sweep came to.
#[derive(Clone, Debug)]
pub struct Swept {
    /// For the history.
    pub report: Report,
    /// Why a full diff is needed; asked for by every sweep until one has closed the gap.
    pub wants_full: Option<&'static str>,
    /// Changes whose delivery is missing.
    pub missed: u64,
}

/// Runs sweeps, one at a time, and remembers between them what no cell has to.
pub struct Sweeper {
    memory: Mutex<Memory>,
    missed: MissedDeliveries,
    beliefs: Beliefs,
}

#[derive(Default)]
struct Memory {
    settled: Settled,
    /// Rows that the last sweep was shown.
    shown: u64,
}

/// Where a sweep begins.
struct Start {
    cursor: Option<Cursor>,
    /// Without a position: why.
    lost: Option<Why>,
}

impl Sweeper {
    /// A sweeper that tells the census's belief of users that it brings in, and writes the belief out.
    pub fn new(missed: MissedDeliveries, beliefs: Beliefs) -> Sweeper {
        Sweeper {
            memory: Mutex::default(),
            missed,
            beliefs,
        }
    }

    /// One sweep. `repair` false only reports (`repair.mode = "report"`). Errors mean that nothing was done and the
    /// position is where it was; what fails later is in the report.
    pub async fn run(
        &self,
        ends: &Ends,
        known: &dyn Known,
        repair: bool,
        watch: &Watch,
    ) -> Result<Swept, RunError> {
        let started_ms = (ends.now)();
        let start = Start::load(ends)?;
        let highest = started_ms.saturating_add(AHEAD_MS);
        let mut at = start.cursor.map(|cursor| cursor.at);
        let shown = self.memory().shown;
        let opened = Newest::open(&ends.clerk, shown, |rows| {
            let newest = newest_of(rows, highest);
            // Behind the newest lies nothing: after its deletion the position moves back with the list.
            at = newest.or(at);
            let position = start.cursor.map(|cursor| cursor.at);
            let from = newest.into_iter().chain(position).min();
            Down {
                to: Version(from.unwrap_or(i64::MAX).saturating_sub(OVERLAP_MS)),
                known: Version(position.unwrap_or(i64::MIN)),
            }
        });
        let Some((mut newest, rows)) = opened.await.map_err(|error| run_error(&error))? else {
            return Ok(self.nobody(ends, &start, started_ms));
        };
        Self::somebody(ends);
        let settled = std::mem::take(&mut self.memory().settled);
        let counting = start.cursor.is_some();
        let mut dealing = Dealing::new(ends, known, &self.beliefs, repair, counting, settled);
        let walked = walk(&mut newest, rows, &mut dealing, watch).await;
        dealing.figures.clerk = newest.shown();
        let moved = walked.and_then(|end| start.moved(ends, at, end, started_ms));
        Ok(self.conclude(ends, known, &start, moved, dealing, started_ms))
    }

    fn conclude(
        &self,
        ends: &Ends,
        known: &dyn Known,
        start: &Start,
        moved: Result<Option<Gap>, String>,
        dealing: Dealing<'_>,
        started_ms: i64,
    ) -> Swept {
        let Dealing {
            figures,
            differences,
            missed,
            young,
            settled,
            ..
        } = dealing;
        let lost = self.missed.tell(ends, known, &missed, &young);
        if let Err(error) = self.beliefs.save(&ends.state) {
            tracing::warn!("the counts of the census could not be kept: {error}");
        }
        {
            let mut memory = self.memory();
            memory.shown = figures.clerk;
            memory.settled = settled.swept(moved.is_ok());
        }
        let mut notes = Vec::new();
        notes.extend(lost_note(lost));
        let gap = match &moved {
            Ok(gap) => gap.map(|gap| gap.why),
            Err(_) => start.gap(),
        };
        notes.extend(gap.map(|why| why.words().to_owned()));
        let outcome = match &moved {
            Err(trouble) => {
                notes.push(format!("the sweep broke off and begins anew: {trouble}"));
                RunOutcome::Failed
            }
            Ok(_) if figures.differences() > figures.repaired => RunOutcome::Differences,
            Ok(_) if figures.repaired > 0 => RunOutcome::Repaired,
            Ok(_) => RunOutcome::InSync,
        };
        Swept {
            report: Report {
                tables: [(Table::Users, figures)].into(),
                differences,
                notes,
                ..report(ends, RunKind::Sweep, started_ms, outcome)
            },
            wants_full: gap.map(Why::words),
            missed: lost,
        }
    }

    /// Clerk has answered with an empty list.
    fn nobody(&self, ends: &Ends, start: &Start, started_ms: i64) -> Swept {
        let suspicious = match self.beliefs.total() {
            Some(users) => users > 0,
            None => start.cursor.is_some(),
        };
        let mut notes: Vec<String> = start
            .gap()
            .map(|why| why.words().to_owned())
            .into_iter()
            .collect();
        let outcome = if suspicious {
            notes.push(EMPTY.to_owned());
            ends.alerts.raise("empty_listing", EMPTY, (ends.now)());
            RunOutcome::Failed
        } else {
            // Nobody is expected, whoever said that it was strange.
            ends.alerts.clear("empty_listing");
            RunOutcome::InSync
        };
        Swept {
            report: Report {
                tables: [(Table::Users, TableFigures::default())].into(),
                notes,
                ..report(ends, RunKind::Sweep, started_ms, outcome)
            },
            wants_full: start.gap().map(Why::words),
            missed: 0,
        }
    }

    /// Clerk has listed somebody: an empty list is over, whoever reported it.
    fn somebody(ends: &Ends) {
        ends.alerts.clear("empty_listing");
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Start {
    fn load(ends: &Ends) -> Result<Start, RunError> {
        let found =
            Cursor::load(&ends.state).map_err(|error| RunError::Interrupted(error.to_string()))?;
        Ok(match found {
            Found::Cursor(cursor) => Start {
                cursor: Some(cursor),
                lost: None,
            },
            Found::Nothing => Start {
                cursor: None,
                lost: Some(Why::First),
            },
            Found::Damaged => {
                tracing::warn!("{}", Why::Damaged.words());
                Start {
                    cursor: None,
                    lost: Some(Why::Damaged),
                }
            }
        })
    }

    /// Why a full diff was needed before this sweep.
    fn gap(&self) -> Option<Why> {
        let known = self.cursor.and_then(|cursor| cursor.gap);
        self.lost.or(known.map(|gap| gap.why))
    }

    /// Moves the position over what was dealt with. Answers the gap that is left.
    fn moved(
        &self,
        ends: &Ends,
        at: Option<i64>,
        end: End,
        noticed_ms: i64,
    ) -> Result<Option<Gap>, String> {
        let gap = |why, to| Gap {
            from: self.cursor.map(|cursor| cursor.at),
            to,
            noticed_ms,
            why,
        };
        // Only changes from the future: there is nowhere to move to yet.
        let Some(at) = at else {
            return Ok(self.lost.map(|why| gap(why, i64::MAX)));
        };
        let too_far = (end == End::TooFar).then_some(Why::TooFar);
        let new = self.lost.or(too_far).map(|why| gap(why, at));
        let cursor = Cursor::advance(&ends.state, at, new);
        Ok(cursor.map_err(|error| error.to_string())?.gap)
    }
}

/// How the list ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// At what is dealt with.
    Reached,
    /// Before it.
    TooFar,
}

async fn walk(
    newest: &mut Newest<'_>,
    mut rows: Vec<RawRecord>,
    dealing: &mut Dealing<'_>,
    watch: &Watch,
) -> Result<End, String> {
    loop {
        dealing.deal(rows).await?;
        watch.send_replace(Progress {
            phase: "reading the newest changes".into(),
            done: newest.shown(),
            total: None,
            differences: dealing.figures.differences(),
            repaired: dealing.figures.repaired,
        });
        match newest.next().await.map_err(|error| error.to_string())? {
            Step::Rows(more) => rows = more,
            Step::Done => return Ok(End::Reached),
            Step::TooFar => return Ok(End::TooFar),
        }
    }
}

/// The newest change of a page that is not of the future.
fn newest_of(rows: &[RawRecord], highest: i64) -> Option<i64> {
    let times = rows.iter().map(|row| row.version().ms());
    times.filter(|at| *at <= highest).max()
}

fn run_error(error: &ReadError) -> RunError {
    match error {
        ReadError::Clerk(clerk) if clerk.fault() == Fault::Refused => {
            RunError::Refused(error.to_string())
        }
        _ => RunError::Interrupted(error.to_string()),
    }
}
