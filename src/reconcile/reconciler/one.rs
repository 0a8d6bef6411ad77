//! One record, now: what Clerk says about it is what Convex gets.
//!
//! With an organization come its memberships. Promises: nothing is deleted but by Clerk's word about that very
//! id, under a key that has shown a record of ours.

use std::sync::Arc;

use super::{Reconciler, pins};
use crate::{
    clerk::{Lookup, Priority},
    model::{Action, Asked, Outcome, RecordKey, Table},
    queue::repairs::{Repair, Repaired, Wish},
    reconcile::{
        Trouble,
        full::{
            candidate::Candidate,
            group::{Group, Name},
        },
        mend::LINKED,
        run::{RunError, SyncedOne},
    },
};

/// What Clerk answers where organizations are switched off.
const NOT_ENABLED: &str = "organization_not_enabled_in_instance";

impl Reconciler {
    pub(super) async fn one(
        &self,
        record: RecordKey,
        revive: bool,
        who: Arc<str>,
    ) -> Result<SyncedOne, RunError> {
        let ends = (self.options.ends)().metered();
        let mut ends = ends.on_behalf(Asked::Operator { who });
        ends.tables = super::described(&ends).await?;
        ends.clerk = ends.clerk.at(Priority::Live);
        pins::check(&ends, self.options.identity.as_ref()).await?;
        let group = match record.table {
            Table::Users | Table::Profiles => Group::Users,
            Table::Organizations => Group::Organizations,
            Table::Memberships => {
                let words =
                    "Clerk has no request for one membership; sync its organization or its user";
                return Err(RunError::Refused(words.into()));
            }
        };
        let name = Name::plain(record.key.clone());
        let found = match group.fetch(&ends, &name).await {
            Err(Trouble::Clerk(error)) if error.code() == NOT_ENABLED => {
                let words = "organizations are switched off in this Clerk instance: there are none to sync, and \
                             the rows stay";
                return Err(RunError::Refused(words.into()));
            }
            answer => answer?,
        };
        let (clerk, wish) = match found {
            Lookup::Found(found) => {
                self.options.identity.prove();
                let candidate = Candidate::of(&found, &ends.rules, &ends.tables);
                let mut rows = candidate.rows.map_err(RunError::Refused)?;
                for row in &mut rows {
                    row.revive = revive.then_some(true);
                }
                let version = candidate.version;
                ("found", Wish::Write { version, rows })
            }
            Lookup::Gone(_) if !self.options.identity.is_proved() => {
                let words = "Clerk does not know this id, but this key has never shown a record that stands in Convex: \
                             it may be the key of another instance. Run `audit` first";
                return Err(RunError::Refused(words.into()));
            }
            Lookup::Gone(proof) => ("gone", Wish::Delete(proof)),
        };
        let own = RecordKey::new(group.own_table(), record.key.clone());
        let repair = Repair {
            record: own,
            wish,
            why: None,
        };
        let done = ends.repair(vec![repair]).await?.pop();
        let (mut action, mut reason) = told(done.ok_or(Trouble::Ending)?)?;
        if group == Group::Organizations && clerk == "found" {
            let members = self.members(&ends, &record.key).await?;
            if action == Action::None && members.changed() {
                action = Action::Updated;
            }
            if members.needs_a_look() && action != Action::Failed {
                action = Action::Held;
            }
            let words = [reason, Some(members.words())];
            reason = Some(words.into_iter().flatten().collect::<Vec<_>>().join("; "));
        }
        Ok(SyncedOne {
            record,
            clerk,
            action,
            reason,
        })
    }
}

fn told(done: Repaired) -> Result<(Action, Option<String>), Trouble> {
    Ok(match done {
        Repaired::Applied { outcome, .. } => match outcome {
            Outcome::Created => (Action::Created, None),
            Outcome::Linked => (Action::Created, Some(LINKED.into())),
            Outcome::Updated => (Action::Updated, None),
            Outcome::Deleted => (Action::Deleted, None),
            Outcome::Unchanged | Outcome::Absent => (Action::None, None),
            Outcome::Stale => {
                let words = "the row is newer than what Clerk says";
                (Action::None, Some(words.into()))
            }
            Outcome::Tombstoned => {
                let words = "it was deleted in Convex and stays so; add --revive to bring it back";
                (Action::Failed, Some(words.into()))
            }
        },
        Repaired::Overtaken => {
            let words = "a delivery has said something newer, and was applied";
            (Action::None, Some(words.into()))
        }
        Repaired::Refused { code, reason } => (
            Action::Failed,
            Some(format!("Convex refused it ({code}): {reason}")),
        ),
        Repaired::Away { reason } => return Err(Trouble::Away(reason)),
    })
}
