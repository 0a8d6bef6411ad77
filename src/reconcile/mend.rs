//! From records that differ to differences with what was done about them.
//!
//! Upserts go at once, since each is guarded by its version; what has to go is only collected, because
//! whether it may go is decided over the whole run.

use super::{
    Trouble,
    confirm::{Confirmed, Judged},
    ends::Ends,
    full::group::{Group, Name},
    merge::Double,
};
use crate::{
    model::{Action, Difference, DriftKind, Origin, Outcome, RecordKey, Table},
    queue::repairs::{Repair, Repaired, Wish},
};

/// What is said of a row that was there before Clerk and is Clerk's from now on.
pub const LINKED: &str = "a row without clerkId had the user's verified address and was linked";

/// What came of a handful of records.
#[derive(Debug, Default)]
pub struct Mended {
    /// Differences whose action is known.
    pub differences: Vec<Difference>,
    /// Records that are suspected to be gone; their differences come when it is decided.
    pub orphans: Vec<Orphan>,
    /// Records with several rows that may become one; the same.
    pub doubles: Vec<Double>,
    /// Records about which a delivery has said something newer meanwhile.
    pub overtaken: u64,
    /// Users whose rows are ahead of Clerk on purpose.
    pub ahead: u64,
    /// Users whose row was inserted, by `created_at`: the census counts them.
    pub created: Vec<i64>,
}

/// What may be done about what differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct May {
    /// Putting it right at all; else it is only said.
    pub repair: bool,
    /// Letting younger rows of a key go for the oldest (`repair.merge_duplicates`).
    pub merge: bool,
}

impl May {
    /// Repair, or not, and merge nothing.
    pub const fn only(repair: bool) -> May {
        May {
            repair,
            merge: false,
        }
    }
}

/// A record that Clerk does not list and that has rows.
#[derive(Clone, Debug)]
pub struct Orphan {
    /// What Clerk is asked by.
    pub name: Name,
    /// One difference for each of its rows' tables.
    pub differences: Vec<Difference>,
}

impl Orphan {
    /// The record's name in the group.
    pub fn record(&self, group: Group) -> RecordKey {
        RecordKey::new(group.own_table(), self.name.key.clone())
    }
}

/// Repairs what may be repaired now, and says what differs.
pub async fn mend(ends: &Ends, group: Group, judged: Judged, may: May) -> Result<Mended, Trouble> {
    let mut mended = Mended {
        overtaken: judged.overtaken,
        ahead: judged.ahead,
        ..Mended::default()
    };
    let mut repairs = Vec::new();
    let mut waiting = Vec::new();
    for confirmed in judged.confirmed {
        let Confirmed {
            name,
            clerk,
            mut verdict,
        } = confirmed;
        if may.merge && !verdict.younger.is_empty() {
            let younger = std::mem::take(&mut verdict.younger);
            let waits = |one: &Difference| {
                one.kind == DriftKind::Duplicate && younger.iter().any(|(of, _)| *of == one.table)
            };
            verdict.differences.retain(|one| !waits(one));
            let name = name.clone();
            mended.doubles.push(Double { name, younger });
        }
        if verdict.orphan {
            let differences = verdict.differences;
            mended.orphans.push(Orphan { name, differences });
            continue;
        }
        let rows =
            clerk.and_then(|clerk| Some((clerk.version, clerk.created_at, clerk.rows.ok()?)));
        match rows.filter(|_| verdict.write && may.repair) {
            Some((version, created_at, rows)) => {
                repairs.push(Repair {
                    record: RecordKey::new(group.own_table(), name.key),
                    wish: Wish::Write { version, rows },
                    why: verdict.differences.first().map(|one| one.kind),
                });
                waiting.push((verdict.differences, created_at));
            }
            None if may.repair => mended.differences.extend(verdict.differences),
            None => {
                // Nothing was tried, so nothing failed or waits.
                let mut said = verdict.differences;
                said.iter_mut().for_each(|one| one.action = Action::None);
                mended.differences.extend(said);
            }
        }
    }
    let done = match judged.fills {
        true => ends.fill(repairs).await?,
        false => ends.repair(repairs).await?,
    };
    mended.differences.reserve(waiting.len());
    for ((differences, created_at), done) in waiting.into_iter().zip(done) {
        settle(differences, created_at, done, &mut mended)?;
    }
    Ok(mended)
}

fn settle(
    differences: Vec<Difference>,
    created_at: i64,
    done: Repaired,
    mended: &mut Mended,
) -> Result<(), Trouble> {
    let failed = |reason: String| {
        move |difference: &mut Difference| {
            difference.action = Action::Failed;
            difference.reason = Some(reason.clone());
        }
    };
    let mut differences = differences;
    match done {
        Repaired::Applied { outcome, .. } => match outcome {
            Outcome::Created | Outcome::Linked | Outcome::Updated | Outcome::Unchanged => {
                if outcome == Outcome::Created {
                    mended.created.push(created_at);
                }
                for difference in &mut differences {
                    if outcome == Outcome::Linked && difference.table == Table::Users {
                        difference.reason = Some(LINKED.to_owned());
                    }
                    match difference.kind {
                        DriftKind::Missing => difference.action = Action::Created,
                        DriftKind::Stale if difference.action == Action::None => {
                            difference.action = Action::Updated;
                        }
                        _ => {}
                    }
                }
            }
            Outcome::Stale => {
                mended.overtaken += 1;
                return Ok(());
            }
            Outcome::Tombstoned => {
                let reason = "it was deleted in Convex and stays so; bring it back with \
                              `clerk-convex-sync sync user ID --revive`";
                differences.iter_mut().for_each(failed(reason.to_owned()));
            }
            Outcome::Deleted | Outcome::Absent => {
                let reason = format!("Convex answered an upsert with `{}`", outcome.name());
                differences.iter_mut().for_each(failed(reason));
            }
        },
        Repaired::Overtaken => {
            mended.overtaken += 1;
            return Ok(());
        }
        Repaired::Refused { code, reason } => {
            differences
                .iter_mut()
                .for_each(failed(format!("Convex refused it ({code}): {reason}")));
        }
        Repaired::Away { reason } => return Err(Trouble::Away(reason)),
    }
    mended.differences.extend(differences);
    Ok(())
}

impl Ends {
    /// Puts repairs into the lane and waits for what became of them.
    pub async fn repair(&self, repairs: Vec<Repair>) -> Result<Vec<Repaired>, Trouble> {
        let count = repairs.len();
        all_of(count, self.lane.apply(repairs, Origin::Repair).await)
    }

    /// The same for rows of a table that held nothing.
    async fn fill(&self, repairs: Vec<Repair>) -> Result<Vec<Repaired>, Trouble> {
        let count = repairs.len();
        all_of(count, self.lane.fill(repairs, Origin::Repair).await)
    }
}

/// The lane answers for each; anything else is an applier that was cut off.
fn all_of(count: usize, done: Option<Vec<Repaired>>) -> Result<Vec<Repaired>, Trouble> {
    done.filter(|done| done.len() == count)
        .ok_or(Trouble::Ending)
}
