//! A change, ready for the wire.
//!
//! Serialised once, whatever becomes of the call that takes it along. What is asked about it later is kept beside
//! its JSON, which is never read again. Pure.

use std::fmt;

use serde_json::value::{RawValue, to_raw_value};

use crate::model::{Change, Columns, Key, Table};

/// A change as it goes over the wire, serialised once: its exact size is known for packing, and a
/// batch that is split or sent again copies bytes only.
#[derive(Clone)]
pub struct Encoded {
    table: Table,
    key: Key,
    created_at: Option<i64>,
    columns: Columns,
    json: Box<RawValue>,
}

impl Encoded {
    /// Serialises a change.
    pub fn of(change: &Change) -> Encoded {
        // A change holds strings, JSON values and finite integers only, under string keys: there is
        // nothing in it that serde_json could refuse.
        let json = to_raw_value(change).expect("a change is always JSON");
        let (created_at, columns) = match change {
            Change::Upsert(upsert) => (Some(upsert.created_at), Columns::of(&upsert.fields)),
            Change::Delete { .. } => (None, Columns::default()),
        };
        Encoded {
            table: change.table(),
            key: change.key().clone(),
            created_at,
            columns,
            json,
        }
    }

    /// The table of the row.
    pub fn table(&self) -> Table {
        self.table
    }

    /// The key of the row.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Clerk's `created_at` of the record, in milliseconds; a deletion does not say it.
    pub fn created_at(&self) -> Option<i64> {
        self.created_at
    }

    /// The synced columns that it gives a value; none if it is a deletion.
    pub fn columns(&self) -> &Columns {
        &self.columns
    }

    /// Its size on the wire, in bytes.
    pub fn bytes(&self) -> usize {
        self.json.get().len()
    }

    pub(in crate::convex) fn json(&self) -> &RawValue {
        &self.json
    }
}

impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.bytes();
        write!(f, "Encoded({}/{}, {bytes} bytes)", self.table, self.key)
    }
}
