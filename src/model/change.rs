//! What is to be written to Convex, why, and what became of it.
//!
//! Everything that wants a row changed ends in a [`Change`]; only `apply` writes one. A deletion can
//! be built only from a [`ConfirmedDelete`], which is Clerk's own word about that very id.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Fields, Key, Table, Version};

/// One item of an `apply` call, as the contract spells it on the wire.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Change {
    /// Make the row hold these fields unless it is newer.
    Upsert(Upsert),
    /// Remove the row and leave a tombstone.
    #[serde(rename_all = "camelCase")]
    Delete {
        /// Where.
        table: Table,
        /// Which.
        key: Key,
        /// For good, or by a mark.
        mode: DeleteMode,
        /// What happens to the user's files; users only.
        #[serde(skip_serializing_if = "Option::is_none")]
        files: Option<FilesOnDelete>,
    },
}

/// The synced content of one row at one version.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Upsert {
    /// Where.
    pub table: Table,
    /// Which.
    pub key: Key,
    /// Clerk's `created_at`, in milliseconds.
    pub created_at: i64,
    /// Clerk's `updated_at`.
    pub version: Version,
    /// The synced columns; explicit `null` for "cleared".
    pub fields: Fields,
    /// Columns of the app that are written once, when the row is created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insert_defaults: Option<Arc<Fields>>,
    /// The verified primary address by which a row older than Clerk may be adopted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link_email: Option<String>,
    /// Bring a deleted row back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revive: Option<bool>,
    /// Let the younger rows of the key go for the oldest one, which stays (`repair.merge_duplicates`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merge: Option<bool>,
}

impl Change {
    /// The table of the row.
    pub fn table(&self) -> Table {
        match self {
            Change::Upsert(upsert) => upsert.table,
            Change::Delete { table, .. } => *table,
        }
    }

    /// The key of the row.
    pub fn key(&self) -> &Key {
        match self {
            Change::Upsert(upsert) => &upsert.key,
            Change::Delete { key, .. } => key,
        }
    }

    /// The deletion of a record that Clerk has said is gone.
    pub fn delete(
        confirmed: &ConfirmedDelete,
        mode: DeleteMode,
        files: Option<FilesOnDelete>,
    ) -> Self {
        Change::Delete {
            table: confirmed.table,
            key: confirmed.key.clone(),
            mode,
            files: files.filter(|_| confirmed.table == Table::Users),
        }
    }

    /// Roughly how many bytes the change takes on the wire; for packing batches.
    pub fn weight(&self) -> usize {
        match self {
            Change::Upsert(upsert) => {
                128 + weigh_map(&upsert.fields)
                    + upsert.insert_defaults.as_deref().map_or(0, weigh_map)
            }
            Change::Delete { .. } => 128,
        }
    }
}

fn weigh_map(map: &Fields) -> usize {
    map.iter()
        .map(|(name, value)| name.len() + 4 + weigh(value))
        .sum()
}

fn weigh(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 5,
        Value::Number(_) => 16,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.iter().map(weigh).sum::<usize>() + items.len() + 2,
        Value::Object(map) => weigh_map(map) + 2,
    }
}

/// Clerk's own word that a record does not exist any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfirmedDelete {
    table: Table,
    key: Key,
    for_good: bool,
}

impl ConfirmedDelete {
    /// From a verified deletion event about this record.
    pub(crate) fn by_event(table: Table, key: Key) -> Self {
        ConfirmedDelete {
            table,
            key,
            for_good: false,
        }
    }

    /// From Clerk's answer that this id does not exist.
    pub(crate) fn by_lookup(table: Table, key: Key) -> Self {
        ConfirmedDelete::by_event(table, key)
    }

    /// The same, of a row that was held long enough: it goes for good, whatever `users.delete_mode` says.
    pub fn for_good(self) -> Self {
        ConfirmedDelete {
            for_good: true,
            ..self
        }
    }

    /// The same about a user's profile: it goes, and the user's row, which nobody looked at or which is gone,
    /// stays as it is.
    pub fn of_profile(self) -> Self {
        ConfirmedDelete {
            table: Table::Profiles,
            ..self
        }
    }

    /// True if the row goes for good.
    pub fn is_for_good(&self) -> bool {
        self.for_good
    }

    /// The table of the record.
    pub fn table(&self) -> Table {
        self.table
    }

    /// The record's key.
    pub fn key(&self) -> &Key {
        &self.key
    }
}

/// How a row is deleted (`users.delete_mode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeleteMode {
    /// The row is removed; a tombstone stays.
    #[default]
    Hard,
    /// The row stays with `deletedAt`.
    Soft,
}

/// What happens to a deleted user's files (`users.files_on_delete`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FilesOnDelete {
    /// They stay.
    #[default]
    Keep,
    /// They go, with their storage objects, in bounded steps.
    Delete,
}

/// What an `apply` call did with one change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// A row was inserted.
    Created,
    /// A row was patched.
    Updated,
    /// A row older than Clerk was adopted.
    Linked,
    /// The row already said so.
    Unchanged,
    /// The row is newer.
    Stale,
    /// The row was removed.
    Deleted,
    /// There was no row to remove.
    Absent,
    /// The record was deleted before and stays so.
    Tombstoned,
}

impl Outcome {
    /// The name on the wire, in metrics and in logs.
    pub const fn name(self) -> &'static str {
        match self {
            Outcome::Created => "created",
            Outcome::Updated => "updated",
            Outcome::Linked => "linked",
            Outcome::Unchanged => "unchanged",
            Outcome::Stale => "stale",
            Outcome::Deleted => "deleted",
            Outcome::Absent => "absent",
            Outcome::Tombstoned => "tombstoned",
        }
    }
}

/// Who asked for a change. For logs and reports only: no decision reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// A delivery from Clerk.
    Webhook,
    /// A person: `failures retry`, `sync`.
    Operator,
    /// A scan that found a difference.
    Repair,
    /// A user who signs in and has no row yet.
    #[serde(rename = "sign_in")]
    SignIn,
}

impl Origin {
    /// The name in metrics (`source`) and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Origin::Webhook => "webhook",
            Origin::Operator => "operator",
            Origin::Repair => "repair",
            Origin::SignIn => "sign_in",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn changes_are_spelled_as_the_contract_says() {
        let key = Key::parse("user_1").unwrap();
        let mut fields = Fields::new();
        fields.insert("name".into(), json!("Ada"));
        let upsert = Change::Upsert(Upsert {
            table: Table::Users,
            key: key.clone(),
            created_at: 1,
            version: Version(2),
            fields,
            insert_defaults: None,
            link_email: None,
            revive: None,
            merge: None,
        });
        assert_eq!(
            serde_json::to_value(&upsert).unwrap(),
            json!({"kind": "upsert", "table": "users", "key": "user_1", "createdAt": 1, "version": 2,
                   "fields": {"name": "Ada"}})
        );
        let gone = ConfirmedDelete::by_event(Table::Users, key);
        let delete = Change::delete(&gone, DeleteMode::Soft, Some(FilesOnDelete::Keep));
        assert_eq!(
            serde_json::to_value(&delete).unwrap(),
            json!({"kind": "delete", "table": "users", "key": "user_1", "mode": "soft", "files": "keep"})
        );
    }
}
