//! What becomes of a lease, and the final states of an entry.
//!
//! Pure. The codes stand in the journal and the names in metrics and logs, so neither is ever reused for
//! something else.

use std::time::Duration;

use super::{guard::Why, load::Fate};
use crate::{model::Outcome, queue::dead_letters::DROPPED};

/// The code and outcome where Clerk does not know a record under a key that has shown none of ours.
pub(super) const UNPROVED: &str = "unproved_key";
/// The code and outcome of what belongs to a table that the deployment does not serve.
pub(super) const NOT_SERVED: &str = "not_served";

/// What becomes of a lease.
#[derive(Debug)]
pub enum Ending {
    /// It is done with for good.
    Final(Final),
    /// The record cannot be written as it is: costs an attempt.
    Refused {
        /// A short name.
        code: String,
        /// For a person.
        reason: String,
    },
    /// A service is away, or the disk is: costs nothing.
    Hold(Duration),
    /// The event is not enough: ask Clerk, at once.
    Ask,
    /// The entry is on its way to another place in the journal, or final.
    Moved,
}

impl From<Fate> for Ending {
    fn from(fate: Fate) -> Ending {
        match fate {
            Fate::Written { outcome, .. } => Ending::Final(Final::Applied(outcome)),
            Fate::Refused { code, reason } => Ending::Refused { code, reason },
            Fate::Hold(wait) => Ending::Hold(wait),
            // Nobody else works on a delivery's record.
            Fate::Overtaken => Ending::Ask,
        }
    }
}

/// The final states of an entry, with their codes in the journal. Codes are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Final {
    /// Convex answered.
    Applied(Outcome),
    /// The ledger knew better.
    Stale(Why),
    /// The ledger knew that Convex has this content.
    Known,
    /// A newer entry about the same record came while it waited.
    Superseded,
    /// Another instance's.
    Foreign,
    /// The deployed functions do not serve the table.
    NotServed,
    /// Clerk does not know a record that was only mentioned, and its key is not proved: nothing follows.
    Unproved,
    /// A person dropped it, or it made way for newer dead letters.
    Dropped,
}

impl Final {
    /// The code in the journal.
    pub const fn code(self) -> u8 {
        match self {
            Final::Applied(outcome) => match outcome {
                Outcome::Created => 1,
                Outcome::Updated => 2,
                Outcome::Linked => 3,
                Outcome::Unchanged => 4,
                Outcome::Stale => 5,
                Outcome::Deleted => 6,
                Outcome::Absent => 7,
                Outcome::Tombstoned => 8,
            },
            Final::Stale(_) => 20,
            Final::Known => 21,
            Final::Superseded => 22,
            Final::Foreign => 23,
            Final::Unproved => 25,
            // It had the code of `Dropped` before.
            Final::NotServed => 26,
            Final::Dropped => DROPPED,
        }
    }

    /// The `outcome` in metrics and logs. What the ledger decided has the name of what Convex would
    /// have said.
    pub const fn name(self) -> &'static str {
        match self {
            Final::Applied(outcome) => outcome.name(),
            Final::Stale(_) => "stale",
            Final::Known => "unchanged",
            Final::Superseded => "superseded",
            Final::Foreign => "foreign_instance",
            Final::NotServed => NOT_SERVED,
            Final::Unproved => UNPROVED,
            Final::Dropped => "dropped",
        }
    }

    /// More about it, for the journal and the log.
    pub const fn reason(self) -> Option<&'static str> {
        match self {
            Final::Stale(why) => Some(why.words()),
            _ => None,
        }
    }
}

/// A refusal of a record.
pub(super) fn refused(code: &str, reason: String) -> Ending {
    Ending::Refused {
        code: code.to_owned(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_final_states_have_one_code() {
        let outcomes = [
            Outcome::Created,
            Outcome::Updated,
            Outcome::Linked,
            Outcome::Unchanged,
            Outcome::Stale,
            Outcome::Deleted,
            Outcome::Absent,
            Outcome::Tombstoned,
        ];
        let others = [
            Final::Stale(Why::Older),
            Final::Known,
            Final::Superseded,
            Final::Foreign,
            Final::NotServed,
            Final::Unproved,
            Final::Dropped,
        ];
        let all = outcomes.map(Final::Applied).into_iter().chain(others);
        let codes: Vec<u8> = all.map(Final::code).collect();
        let distinct: BTreeSet<u8> = codes.iter().copied().collect();
        assert_eq!(distinct.len(), codes.len(), "{codes:?}");
    }
}
