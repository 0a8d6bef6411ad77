//! The census: are there as many users as we believe, and where not?
//!
//! The sweep cannot see deletions; a count can. One request when the totals agree; when they do not, the ranges
//! are counted by halves, those that differ are listed on both sides, and what is found is looked up by id and put
//! right. Promises: no deletion without Clerk's word about that very id, from a list as long as its count, beyond
//! the brake, or under a key that has shown no user of ours; and no "in sync" before a full diff has counted once.

mod mend;
mod range;

use std::time::Duration;

use self::{mend::Mending, range::Sides};
use super::{
    EMPTY, MissedDeliveries, lost_note,
    missed::Known,
    ranges::{Bisect, Differing},
    report,
    slices::{self, Slice},
};
use crate::{
    clerk::{ClerkError, client::CreatedBetween},
    model::{Fault, Key, RecordKey, Table},
    reconcile::{
        belief::Beliefs,
        ends::Ends,
        repair::brake::{Brake, Limits, Situation, brake},
        run::{Progress, RunError, Watch},
    },
    report::{Report, RunKind, RunOutcome},
};

/// What a delivery gets to arrive before its absence is looked into: several times what one takes.
const SETTLE: Duration = Duration::from_secs(2);
/// Counts of one census: `d * log2(4096)` find sixteen differences at the worst. More than that is larger pieces.
const MAX_QUESTIONS: u32 = 200;
/// Users that are listed on each side in one census; more is a full diff's work.
const MAX_LISTED: u64 = 50_000;
/// Missing users that are looked up and written in one census.
const MAX_MISSING: usize = 2_000;

/// What a census may do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Leave {
    /// False only reports (`repair.mode = "report"`).
    pub repair: bool,
    /// How many deletions go without a person.
    pub limits: Limits,
    /// Deletions that scans made lately without a person; see [`Situation::lately`].
    pub lately: u64,
}

/// What a census came to.
#[derive(Clone, Debug)]
pub struct Counted {
    /// For the history; `None` if nobody has counted yet, which is no run at all.
    pub report: Option<Report>,
    /// Why a full diff is needed.
    pub wants_full: Option<String>,
    /// Rows that wait for a person; the full diff makes a plan of them.
    pub held: Vec<RecordKey>,
    /// Changes whose delivery is missing.
    pub missed: u64,
    /// Rows of users that were removed.
    pub removed: u64,
}

/// Runs censuses, one at a time.
pub struct Census {
    missed: MissedDeliveries,
    beliefs: Beliefs,
}

/// How a census goes on after its first requests.
enum Count {
    /// As many as believed.
    Agrees(u64),
    /// Nobody, against all belief.
    Nobody,
    /// Another number: how many, and where.
    Differs(u64, Vec<Differing>),
}

/// A census in progress.
struct Work<'e> {
    mending: Mending<'e>,
    beliefs: &'e Beliefs,
    leave: Leave,
    /// Users that Clerk has.
    total: u64,
    /// Users of whom both sides know, as far as was listed.
    matched: u64,
    /// Rows that seem to be gone.
    orphans: Vec<Key>,
    /// Ranges that agree once the orphans are gone.
    waiting: Vec<(Differing, u64)>,
    held: Vec<RecordKey>,
    wants_full: Option<String>,
    notes: Vec<String>,
    /// True if something could not be looked at or believed.
    failed: bool,
}

impl Census {
    /// A census of this belief.
    pub fn new(missed: MissedDeliveries, beliefs: Beliefs) -> Census {
        Census { missed, beliefs }
    }

    /// One census. Errors mean that nothing was done; what fails later is in the report.
    pub async fn run(
        &self,
        ends: &Ends,
        known: &dyn Known,
        leave: Leave,
        watch: &Watch,
    ) -> Result<Counted, RunError> {
        let started_ms = (ends.now)();
        if self.beliefs.total().is_none() {
            return Ok(Counted {
                report: None,
                wants_full: Some("nobody has counted the users yet; a full diff does".into()),
                held: Vec::new(),
                missed: 0,
                removed: 0,
            });
        }
        let count = self
            .count(ends)
            .await
            .map_err(|error| match error.fault() {
                Fault::Refused => RunError::Refused(error.to_string()),
                _ => RunError::Interrupted(error.to_string()),
            })?;
        if !matches!(count, Count::Nobody) {
            // Whoever raised it: there is somebody, or nobody is expected.
            ends.alerts.clear("empty_listing");
        }
        let (total, differing) = match count {
            Count::Nobody => return Ok(Self::nobody(ends, started_ms)),
            Count::Agrees(total) => (total, Vec::new()),
            Count::Differs(total, differing) => (total, differing),
        };
        let mut work = Work {
            mending: Mending {
                ends,
                known,
                repair: leave.repair,
                found: Default::default(),
            },
            beliefs: &self.beliefs,
            leave,
            total,
            matched: 0,
            orphans: Vec::new(),
            waiting: Vec::new(),
            held: Vec::new(),
            wants_full: None,
            notes: Vec::new(),
            failed: false,
        };
        if let Err(trouble) = work.all(differing, watch).await {
            work.failed = true;
            work.notes
                .push(format!("the census broke off and begins anew: {trouble}"));
        }
        if let Err(error) = self.beliefs.save(&ends.state) {
            work.notes
                .push(format!("the counts could not be kept: {error}"));
        }
        Ok(work.conclude(&self.missed, started_ms))
    }

    /// Reads the next slice of organizations or memberships, which no count of users tells anything about.
    pub async fn slice(&self, ends: &Ends, known: &dyn Known, repair: bool) -> Slice {
        slices::go_on(ends, known, &self.missed, repair).await
    }

    /// Counts what another look at organizations or memberships has found to be missing.
    pub fn told(&self, ends: &Ends, known: &dyn Known, slice: &mut Slice) {
        slice.told(ends, known, &self.missed);
    }

    async fn count(&self, ends: &Ends) -> Result<Count, ClerkError> {
        let everybody = CreatedBetween::default();
        let mut total = ends.clerk.count_users(everybody).await?;
        let believed = || self.beliefs.now().unwrap_or_default();
        let mut belief = believed();
        if total == belief.total() {
            return Ok(Count::Agrees(total));
        }
        if total > 0 {
            // Most likely a delivery is on its way.
            tokio::time::sleep(SETTLE).await;
            total = ends.clerk.count_users(everybody).await?;
            belief = believed();
        }
        if total == belief.total() {
            return Ok(Count::Agrees(total));
        }
        if total == 0 {
            return Ok(Count::Nobody);
        }
        // What is wrongly unplaced would hide as many deletions.
        self.beliefs.counted(total);
        let mut bisect = Bisect::new(&belief, total, MAX_QUESTIONS);
        while let Some(before) = bisect.ask() {
            let created = CreatedBetween {
                after: None,
                before: Some(before),
            };
            bisect.answer(ends.clerk.count_users(created).await?);
        }
        Ok(Count::Differs(total, bisect.finish()))
    }

    fn nobody(ends: &Ends, started_ms: i64) -> Counted {
        ends.alerts.raise("empty_listing", EMPTY, (ends.now)());
        Counted {
            report: Some(Report {
                tables: [(Table::Users, Default::default())].into(),
                notes: vec![EMPTY.to_owned()],
                ..report(ends, RunKind::Census, started_ms, RunOutcome::Failed)
            }),
            wants_full: None,
            held: Vec::new(),
            missed: 0,
            removed: 0,
        }
    }
}

impl Work<'_> {
    async fn all(&mut self, differing: Vec<Differing>, watch: &Watch) -> Result<(), String> {
        let mut listed = 0;
        for (done, range) in (1..).zip(&differing) {
            watch.send_replace(Progress {
                phase: format!("listing {} range(s) that differ", differing.len()),
                done,
                total: Some(differing.len() as u64),
                differences: self.mending.found.figures.differences(),
                repaired: self.mending.found.figures.repaired,
            });
            let size = range.counted.max(range.believed);
            if size > range::MAX_USERS || listed + size > MAX_LISTED {
                let reason = "more differs than a census looks into";
                self.wants_full = Some(reason.into());
                continue;
            }
            listed += size;
            match range::look(self.mending.ends, range).await {
                Ok(sides) => self.range(*range, sides).await?,
                Err(error @ range::RangeError::Incomplete { .. }) => {
                    self.failed = true;
                    self.notes.push(error.to_string());
                }
                Err(error) => return Err(error.to_string()),
            }
        }
        self.deletions().await
    }

    async fn range(&mut self, range: Differing, sides: Sides) -> Result<(), String> {
        let figures = &mut self.mending.found.figures;
        figures.clerk += sides.listed;
        figures.convex += sides.rows;
        self.matched += sides.matched;
        if sides.missing.len() > MAX_MISSING {
            let missing = sides.missing.len();
            self.wants_full = Some(format!("{missing} users of one range have no row"));
            return Ok(());
        }
        self.mending.missing(sides.missing).await?;
        self.mending.duplicates(sides.duplicates);
        if sides.orphans.is_empty() {
            self.settle(range, sides.listed);
        } else {
            self.orphans.extend(sides.orphans);
            self.waiting.push((range, sides.listed));
        }
        Ok(())
    }

    async fn deletions(&mut self) -> Result<(), String> {
        if self.orphans.is_empty() {
            return Ok(());
        }
        let situation = Situation {
            deletions: self.orphans.len() as u64,
            rows: self.beliefs.total().unwrap_or(0),
            listed: self.total,
            lately: self.leave.lately,
            ..Situation::default()
        };
        match brake(self.leave.limits, &situation) {
            Brake::Released => {
                if self.matched == 0 && !self.mending.key_is_ours().await? {
                    let reason = "Clerk showed no user of whom Convex has a row, so its word about others is \
                                  not taken; check that CLERK_SECRET_KEY belongs to the right instance";
                    self.failed = true;
                    self.notes.push(reason.into());
                    return Ok(());
                }
                self.mending.orphans(&self.orphans).await?;
                for (range, listed) in std::mem::take(&mut self.waiting) {
                    self.settle(range, listed);
                }
            }
            Brake::Held { reason } => {
                self.mending.held(&self.orphans, &reason);
                let record = |key: &Key| RecordKey::new(Table::Users, key.clone());
                self.held = self.orphans.iter().map(record).collect();
                self.wants_full = Some(format!("a plan is needed: {reason}"));
            }
            Brake::Refused { reason } => {
                self.failed = true;
                self.notes.push(reason);
            }
        }
        Ok(())
    }

    /// A range was put right: it holds what Clerk listed. What was only looked at differs still.
    fn settle(&self, range: Differing, listed: u64) {
        if self.leave.repair {
            self.beliefs.recount(range.from, range.before, listed);
        }
    }

    fn conclude(self, missed: &MissedDeliveries, started_ms: i64) -> Counted {
        let Mending {
            ends, known, found, ..
        } = self.mending;
        let lost = missed.tell(ends, known, &found.missed, &[]);
        let mut figures = found.figures;
        if figures.clerk == 0 {
            // Nothing had to be listed.
            figures.clerk = self.total;
        }
        let mut notes = self.notes;
        notes.extend(lost_note(lost));
        notes.extend(self.wants_full.clone());
        let outcome = if self.failed {
            RunOutcome::Failed
        } else if figures.held > 0 {
            RunOutcome::Held
        } else if figures.differences() > figures.repaired || self.wants_full.is_some() {
            RunOutcome::Differences
        } else if figures.repaired > 0 {
            RunOutcome::Repaired
        } else {
            RunOutcome::InSync
        };
        Counted {
            report: Some(Report {
                tables: [(Table::Users, figures)].into(),
                differences: found.differences,
                notes,
                ..report(ends, RunKind::Census, started_ms, outcome)
            }),
            wants_full: self.wants_full,
            held: self.held,
            missed: lost,
            removed: found.removed,
        }
    }
}
