//! A record as Clerk sent it, with what identifies it checked.
//!
//! Keeps the text whole, since which of its members are needed is the mapping's business; promises that
//! it is JSON with an id, `created_at` and `updated_at`.

use std::fmt;

use super::{
    shape::{ShapeError, read},
    wire::{Identity, key_of},
};
use crate::model::{ConfirmedDelete, Key, RecordKey, Table, Version};

/// One record from Clerk's API.
#[derive(Clone, PartialEq, Eq)]
pub struct RawRecord {
    table: Table,
    key: Key,
    created_at: i64,
    version: Version,
    text: Box<str>,
}

// The text is personal, so Debug does not show it.
impl fmt::Debug for RawRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = self.version.ms();
        write!(
            f,
            "RawRecord({}/{} version {version})",
            self.table, self.key
        )
    }
}

impl RawRecord {
    /// Takes a record's text.
    pub fn read(table: Table, text: &str) -> Result<RawRecord, ShapeError> {
        let identity: Identity = read("data", text.as_bytes()).map_err(ShapeError::malformed)?;
        RawRecord::of(table, &identity, text)
    }

    /// Takes a record's text with what was already read of it.
    pub(super) fn of(
        table: Table,
        identity: &Identity<'_>,
        text: &str,
    ) -> Result<RawRecord, ShapeError> {
        Ok(RawRecord {
            table,
            key: key_of(&identity.id)?,
            created_at: identity.created_at.0,
            version: Version(identity.updated_at.0),
            text: text.into(),
        })
    }

    /// The table that it belongs to.
    pub fn table(&self) -> Table {
        self.table
    }

    /// Clerk's id.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Table and id.
    pub fn name(&self) -> RecordKey {
        RecordKey::new(self.table, self.key.clone())
    }

    /// When it was made, in milliseconds.
    pub fn created_at(&self) -> i64 {
        self.created_at
    }

    /// Its version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The record as Clerk sent it, for the mapping. Not for logs.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// What Clerk says about one id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup<T> {
    /// It exists, like this.
    Found(T),
    /// It does not exist, in Clerk's own words.
    Gone(ConfirmedDelete),
}
