//! A record as Clerk sent it, with what identifies it checked.
//!
//! Keeps the text whole, since which of its members are needed is the mapping's business; promises that
//! it is JSON with an id, `created_at` and `updated_at`.

use std::fmt;

use super::{
    shape::{ShapeError, read},
    wire::{Identity, User, UserOutline, key_of, row_named},
};
use crate::model::{ConfirmedDelete, Key, RecordKey, RowMark, Table, Version};

/// One record from Clerk's API.
#[derive(Clone, PartialEq, Eq)]
pub struct RawRecord {
    table: Table,
    key: Key,
    created_at: i64,
    version: Version,
    text: Box<str>,
    /// Of a user: the members that can be mapped, as an object of their own.
    outline: Option<Box<str>>,
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
        if table == Table::Users {
            let outline = read("data", text.as_bytes()).map_err(ShapeError::malformed)?;
            return RawRecord::of_user(&outline, text);
        }
        let identity: Identity = read("data", text.as_bytes()).map_err(ShapeError::malformed)?;
        Ok(RawRecord {
            table,
            key: key_of(&identity.id)?,
            created_at: identity.created_at.0,
            version: Version(identity.updated_at.0),
            text: text.into(),
            outline: None,
        })
    }

    /// Takes a user's text with what was already read of it.
    pub(super) fn of_user(outline: &UserOutline<'_>, text: &str) -> Result<RawRecord, ShapeError> {
        let key = key_of(&outline.id)?;
        Ok(RawRecord {
            table: Table::Users,
            created_at: outline.created_at.0,
            version: Version(outline.updated_at.0),
            outline: Some(outline.text(&key)),
            key,
            text: text.into(),
        })
    }

    /// The user as the mapping reads it, without another walk through everything that it has.
    pub fn user(&self) -> Result<User<'_>, ShapeError> {
        let outline = self.outline.as_deref().map(User::parse);
        match outline {
            Some(Ok(user)) => Ok(User {
                text: &self.text,
                ..user
            }),
            // What is wrong is told by its place in what Clerk sent.
            _ => User::parse(&self.text),
        }
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

    /// The row that a user's private metadata name, if they name one. Reads all of the text once more.
    pub fn row_named(&self) -> Option<RowMark> {
        row_named(&self.text, RowMark::of)
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
