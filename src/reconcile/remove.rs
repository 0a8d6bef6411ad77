//! The end of the dangerous direction: may these records go, and then one by one by Clerk's own word.
//!
//! Nothing here runs before every range has been walked. The brake sees the whole plan of a table before its
//! first deletion; a plan that it holds is kept under a digest until a person approves that digest. Each record
//! is asked for once more right before it goes, and is left alone if the world has moved.

use super::{
    Trouble,
    ends::Ends,
    full::group::{Group, Name},
    mend::Orphan,
    repair::lately::Lately,
    scan::missed::{Cause, Known, causes},
};
use crate::{
    clerk::{Lookup, RawRecord},
    model::{Action, ConfirmedDelete, Difference, DriftKind, Outcome, RecordKey, Table},
    queue::repairs::{Repair, Repaired, Wish},
    twin::{self, Twin},
};

/// Records that are asked for and removed at a time.
const AT_A_TIME: usize = 50;

/// What came of a plan.
#[derive(Debug, Default)]
pub struct Removed {
    /// What was done about each.
    pub differences: Vec<Difference>,
    /// Records that exist again, or still.
    pub spared: Vec<Name>,
    /// Records that are gone and of whose deletion no delivery told.
    pub missed: u64,
}

/// Marks a whole plan with what was decided about it.
pub fn leave(orphans: Vec<Orphan>, action: Action, reason: &str) -> Vec<Difference> {
    let marked = |mut difference: Difference| {
        difference.action = action;
        difference.reason = Some(reason.to_owned());
        difference
    };
    let all = orphans.into_iter().flat_map(|orphan| orphan.differences);
    all.map(marked).collect()
}

/// Removes those of these records that Clerk says do not exist. `known` tells where deliveries about them are,
/// `lately` hears of every row that went.
pub async fn remove(
    ends: &Ends,
    group: Group,
    orphans: Vec<Orphan>,
    known: &dyn Known,
    lately: &Lately,
) -> Result<Removed, Trouble> {
    let mut removed = Removed::default();
    let mut orphans = orphans.into_iter().peekable();
    while orphans.peek().is_some() {
        let some: Vec<Orphan> = orphans.by_ref().take(AT_A_TIME).collect();
        let mut repairs = Vec::with_capacity(some.len());
        let mut waiting = Vec::with_capacity(some.len());
        for orphan in some {
            match clerks_word(ends, group, &orphan.name).await {
                Ok(Lookup::Gone(proof)) => {
                    let record = orphan.record(group);
                    // Without its user's row: that has gone before it, or is not this run's to remove.
                    let lone = |one: &Difference| one.table == Table::Profiles;
                    let proof = match orphan.differences.iter().all(lone) {
                        true => proof.of_profile(),
                        false => proof,
                    };
                    let wish = Wish::Delete(proof);
                    let why = Some(DriftKind::Orphaned);
                    repairs.push(Repair { record, wish, why });
                    waiting.push(orphan);
                }
                Ok(Lookup::Found(_)) => removed.spared.push(orphan.name),
                Err(trouble @ Trouble::Nameless) => {
                    let reason = trouble.to_string();
                    let failed = leave(vec![orphan], Action::Failed, &reason);
                    removed.differences.extend(failed);
                }
                Err(trouble) => return Err(trouble),
            }
        }
        let records: Vec<RecordKey> = repairs.iter().map(|one| one.record.clone()).collect();
        let told = causes(known, &records).await;
        let done = ends.repair(repairs).await?;
        let told = waiting.into_iter().zip(told);
        removed.take(told.zip(done), lately)?;
    }
    Ok(removed)
}

impl Removed {
    /// What became of some of them. All are looked at before the first trouble is told: what went counts for the
    /// brake, whatever became of the others.
    fn take(
        &mut self,
        done: impl Iterator<Item = ((Orphan, Cause), Repaired)>,
        lately: &Lately,
    ) -> Result<(), Trouble> {
        let mut away = None;
        for ((orphan, cause), done) in done {
            let went = matches!(
                done,
                Repaired::Applied {
                    outcome: Outcome::Deleted,
                    ..
                }
            );
            match settle(orphan, cause, done) {
                Ok(differences) => {
                    for one in differences.iter().filter(|_| went) {
                        lately.add(one.table, 1);
                    }
                    self.missed += u64::from(went && cause.is_missing_delivery());
                    self.differences.extend(differences);
                }
                Err(trouble) => away = away.or(Some(trouble)),
            }
        }
        away.map_or(Ok(()), Err)
    }
}

/// What Clerk says about a record that its listing lacked.
async fn clerks_word(ends: &Ends, group: Group, name: &Name) -> Result<Lookup<RawRecord>, Trouble> {
    if twin::broken(Twin::NoConfirm) {
        let gone = ConfirmedDelete::by_lookup(group.own_table(), name.key.clone());
        return Ok(Lookup::Gone(gone));
    }
    group.fetch(ends, name).await
}

/// What was done.
fn settle(orphan: Orphan, cause: Cause, done: Repaired) -> Result<Vec<Difference>, Trouble> {
    let (action, reason) = match done {
        Repaired::Applied {
            outcome: Outcome::Deleted,
            ..
        } => {
            let why = cause.words();
            (
                Action::Deleted,
                format!("Clerk says that it does not exist; {why}"),
            )
        }
        Repaired::Applied {
            outcome: Outcome::Absent | Outcome::Unchanged | Outcome::Tombstoned,
            ..
        } => (
            Action::Deleted,
            "Clerk says that it does not exist".to_owned(),
        ),
        Repaired::Applied { outcome, .. } => {
            let reason = format!("Convex answered a deletion with `{}`", outcome.name());
            (Action::Failed, reason)
        }
        // The ledger knows of its deletion already.
        Repaired::Overtaken => (
            Action::Deleted,
            "a delivery has deleted it meanwhile".to_owned(),
        ),
        Repaired::Refused { code, reason } => (
            Action::Failed,
            format!("Convex refused it ({code}): {reason}"),
        ),
        Repaired::Away { reason } => return Err(Trouble::Away(reason)),
    };
    Ok(leave(vec![orphan], action, &reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Key, Table};

    #[test]
    fn what_went_counts_for_the_brake_also_where_convex_was_away_for_another() {
        let orphan = |number: usize| {
            let key = Key::parse(&format!("user_{number}")).unwrap();
            let differences = vec![Difference::orphaned(Table::Users, key.clone())];
            let name = Name::plain(key);
            (Orphan { name, differences }, Cause::NeverArrived)
        };
        let went = || Repaired::Applied {
            outcome: Outcome::Deleted,
            id: None,
        };
        let away = Repaired::Away { reason: "x".into() };
        let (_dir, lately) = Lately::counting_from_nothing();
        let mut removed = Removed::default();
        let done = [(orphan(1), went()), (orphan(2), away), (orphan(3), went())];
        let taken = removed.take(done.into_iter(), &lately);
        assert!(matches!(taken, Err(Trouble::Away(_))));
        assert_eq!(lately.removed(Table::Users).unwrap(), 2);
    }
}
