//! What differs between Clerk and Convex about one record, and what was done about it.
//!
//! Values only. The values of a field are personal: nothing here shows them by `Debug`, and whoever prints
//! them masks them first.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Key, Table};

/// In which way a record differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DriftKind {
    /// Clerk has it, Convex has no row of it.
    Missing,
    /// Both have it, with different content.
    Stale,
    /// Convex has a row, Clerk has no such record.
    Orphaned,
    /// Convex has several rows of it.
    Duplicate,
}

impl DriftKind {
    /// All kinds, in the order of reports.
    pub const ALL: [DriftKind; 4] = [
        DriftKind::Missing,
        DriftKind::Stale,
        DriftKind::Orphaned,
        DriftKind::Duplicate,
    ];

    /// The name in reports and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            DriftKind::Missing => "missing",
            DriftKind::Stale => "stale",
            DriftKind::Orphaned => "orphaned",
            DriftKind::Duplicate => "duplicate",
        }
    }
}

/// What was done about a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Nothing: it was only looked at.
    None,
    /// A row was inserted.
    Created,
    /// The row was patched.
    Updated,
    /// The row was removed.
    Deleted,
    /// It waits for a person.
    Held,
    /// It was tried and did not succeed.
    Failed,
}

impl Action {
    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Action::None => "none",
            Action::Created => "created",
            Action::Updated => "updated",
            Action::Deleted => "deleted",
            Action::Held => "held",
            Action::Failed => "failed",
        }
    }
}

/// One column that differs. Absent and null are the same: both are `null` here.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct FieldDrift {
    /// The column.
    pub field: String,
    /// What it should hold, by Clerk.
    pub clerk: Value,
    /// What it holds in Convex.
    pub convex: Value,
}

// The values are personal, so Debug does not show them.
impl fmt::Debug for FieldDrift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FieldDrift({})", self.field)
    }
}

/// One record that differs, as reports list it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Where.
    pub table: Table,
    /// Which.
    pub key: Key,
    /// How.
    pub kind: DriftKind,
    /// The columns that differ; of stale rows only.
    pub fields: Vec<FieldDrift>,
    /// What was done about it.
    pub action: Action,
    /// Why that, or why it came to this, in words for a person. Holds no personal value.
    pub reason: Option<String>,
}

impl Difference {
    /// Of a row whose record Clerk does not have; nothing was done about it yet.
    pub fn orphaned(table: Table, key: Key) -> Difference {
        Difference {
            table,
            key,
            kind: DriftKind::Orphaned,
            fields: Vec::new(),
            action: Action::None,
            reason: None,
        }
    }
}
