//! A record of Clerk on its way through the merge join: mapped once, shared by all tables that it fills.
//!
//! A page of records is mapped as a whole; what travels through the join is a few words that point into it,
//! so that nothing is copied for a record that agrees. Pure.

use std::sync::Arc;

use crate::{
    clerk::RawRecord,
    mapping::{self, Note, UserRules},
    model::{Fields, Key, RowMark, Table, Upsert, Version},
};

/// A record as it should stand in Convex.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Clerk's id.
    pub key: Key,
    /// When it was made, in milliseconds.
    pub created_at: i64,
    /// Its version.
    pub version: Version,
    /// True if its metadata claims a role that `users.roles` does not allow.
    pub unknown_role: bool,
    /// Its rows, its own first; or why it cannot be a row.
    pub rows: Result<Vec<Upsert>, String>,
    /// The row that Clerk names for a user; looked at only by who wants to know.
    pub named: Option<RowMark>,
}

impl Candidate {
    /// Maps a record.
    pub fn of(record: &RawRecord, rules: &UserRules, tables: &[Table]) -> Candidate {
        let mut unknown_role = false;
        let rows = mapping::rows(record, rules, tables, |note| {
            unknown_role |= *note == Note::UnknownRole;
        });
        Candidate {
            key: record.key().clone(),
            created_at: record.created_at(),
            version: record.version(),
            unknown_role,
            rows: rows.map_err(|error| error.to_string()),
            named: None,
        }
    }

    /// What a table's row of it should hold; `None` if it cannot be mapped.
    pub fn fields(&self, table: Table) -> Option<&Fields> {
        let rows = self.rows.as_ref().ok()?;
        let row = rows.iter().find(|row| row.table == table)?;
        Some(&row.fields)
    }
}

/// One record of a page, as the join carries it.
#[derive(Clone, Debug)]
pub struct Listed {
    page: Arc<[Candidate]>,
    at: u32,
}

impl Listed {
    /// All records of a page.
    pub fn all(page: &Arc<[Candidate]>) -> Vec<Listed> {
        let count = u32::try_from(page.len()).unwrap_or(u32::MAX);
        let listed = |at| Listed {
            page: Arc::clone(page),
            at,
        };
        (0..count).map(listed).collect()
    }

    /// The record.
    pub fn candidate(&self) -> &Candidate {
        &self.page[self.at as usize]
    }
}
