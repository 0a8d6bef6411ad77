//! The end of the hold: rows of users that were deleted softly longer ago than `users.purge_after` go for good.
//!
//! Each by Clerk's word that there is no such user, and in one run no more than the brake lets go: what is left
//! waits for the next run. How long they were held is told by two clocks, Convex's and ours; while those disagree all
//! of them wait. A row whose user exists again stays; `sync user ID --revive` brings it back.

use super::Whole;
use crate::{
    clerk::{Lookup, Priority},
    model::{DriftKind, Outcome, RecordKey, Table},
    queue::repairs::{Repair, Repaired, Wish},
    reconcile::{
        Trouble,
        ends::Ends,
        full::{
            group::{Group, Name},
            tally::Tally,
        },
    },
};

/// Users that are asked for and removed at a time.
const AT_A_TIME: usize = 50;
/// The alert while this machine's clock differs from those of the services.
const CLOCK_SKEW: &str = "clock_skew";

impl Whole<'_> {
    /// Removes what was held for long enough, after a walk of users that proved itself whole.
    pub(super) async fn purge(&mut self, tally: &mut Tally) -> Result<(), Trouble> {
        let mut keys = self.held_rows.take();
        if keys.is_empty() || !self.may.repair || self.failed {
            return Ok(());
        }
        if self.ends.alerts.is_raised(CLOCK_SKEW) {
            self.notes.push(format!(
                "{} user(s) that were deleted softly stay for now: by a clock that is wrong nobody can tell whether \
                 users.purge_after is over",
                keys.len()
            ));
            return Ok(());
        }
        let allowed = self.limits.allowed(tally.of(Table::Users).convex);
        let allowed = usize::try_from(allowed).unwrap_or(usize::MAX);
        let waiting = keys.len().saturating_sub(allowed);
        keys.truncate(allowed);
        let ends = Ends {
            clerk: self.ends.clerk.at(Priority::Confirm),
            ..self.ends.clone()
        };
        let mut purged = 0;
        for some in keys.chunks(AT_A_TIME) {
            let mut repairs = Vec::with_capacity(some.len());
            for key in some {
                let name = Name::plain(key.clone());
                if let Lookup::Gone(proof) = Group::Users.fetch(&ends, &name).await? {
                    repairs.push(Repair {
                        record: RecordKey::new(Table::Users, key.clone()),
                        wish: Wish::Delete(proof.for_good()),
                        why: Some(DriftKind::Orphaned),
                    });
                }
            }
            for done in ends.repair(repairs).await? {
                match done {
                    Repaired::Applied {
                        outcome: Outcome::Deleted,
                        ..
                    } => purged += 1,
                    Repaired::Away { reason } => return Err(Trouble::Away(reason)),
                    _ => {}
                }
            }
        }
        if purged > 0 {
            self.notes.push(format!(
                "{purged} user(s) that were deleted softly were removed, since users.purge_after is over"
            ));
        }
        if waiting > 0 {
            self.notes.push(format!(
                "{waiting} more are to be removed by the next runs: one run removes at most {allowed}"
            ));
        }
        Ok(())
    }
}
