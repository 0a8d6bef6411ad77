//! What a run has counted so far: by table, kept with the cursor of its range, added up at the end.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    model::{Action, Difference, Table},
    report::TableFigures,
};

/// Figures of a range or of a whole run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// By table.
    pub tables: BTreeMap<Table, TableFigures>,
    /// Records that a delivery changed while the run looked at them.
    pub overtaken: u64,
    /// Rows whose `clerkId` can be none of Clerk's.
    pub unmanaged: u64,
    /// Users whose metadata claims a role that is not allowed.
    #[serde(default)]
    pub unknown_roles: u64,
    /// Users whose own edits wait to be carried to Clerk, so that their rows are ahead of it.
    #[serde(default)]
    pub edits_waiting: u64,
    /// Users' rows that were deleted softly and whose user Clerk does not list.
    #[serde(default)]
    pub held_rows: u64,
    /// Differences that are counted and not on the list.
    #[serde(default)]
    pub unlisted: u64,
}

impl Tally {
    /// A table's figures.
    pub fn of(&mut self, table: Table) -> &mut TableFigures {
        self.tables.entry(table).or_default()
    }

    /// Counts a difference whose action is known.
    pub fn count(&mut self, difference: &Difference) {
        let figures = self.of(difference.table);
        *figures.of_mut(difference.kind) += 1;
        match difference.action {
            Action::None => {}
            Action::Held => figures.held += 1,
            Action::Failed => figures.failed += 1,
            Action::Created | Action::Updated | Action::Deleted => figures.repaired += 1,
        }
    }

    /// Adds another's figures to these.
    pub fn add(&mut self, other: &Tally) {
        for (table, more) in &other.tables {
            self.of(*table).add(more);
        }
        self.overtaken += other.overtaken;
        self.unmanaged += other.unmanaged;
        self.unknown_roles += other.unknown_roles;
        self.edits_waiting += other.edits_waiting;
        self.held_rows += other.held_rows;
        self.unlisted += other.unlisted;
    }

    /// A table's figures; all zero if nothing was counted.
    pub fn figures(&self, table: Table) -> TableFigures {
        self.tables.get(&table).copied().unwrap_or_default()
    }

    /// Rows of a table that are held after a soft deletion, which only users' are.
    pub fn held_of(&self, table: Table) -> u64 {
        if table == Table::Users {
            self.held_rows
        } else {
            0
        }
    }

    /// What was found and done, without what was read: it will be read again.
    pub fn without_counts(&self) -> Tally {
        let mut rest = self.clone();
        for figures in rest.tables.values_mut() {
            figures.clerk = 0;
            figures.convex = 0;
        }
        rest.unknown_roles = 0;
        rest.edits_waiting = 0;
        rest.held_rows = 0;
        rest
    }

    /// All differences.
    pub fn differences(&self) -> u64 {
        self.tables.values().map(TableFigures::differences).sum()
    }

    /// Differences that were put right.
    pub fn repaired(&self) -> u64 {
        self.tables.values().map(|figures| figures.repaired).sum()
    }
}
