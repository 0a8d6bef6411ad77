//! A record as Clerk sent it, with what identifies it checked.
//!
//! Keeps the text whole, since which of its members are needed is the mapping's business; promises that
//! it is JSON with an id, `created_at` and `updated_at`. A record of a listing shares the text of its page with
//! its neighbours: nothing is copied, and the page lives as long as one of them does.

use std::fmt;

use bytes::Bytes;

use super::{
    shape::{ShapeError, read},
    wire::{Identity, Members, PublicMetadata, User, UserOutline, key_of, row_named},
};
use crate::model::{ConfirmedDelete, Key, RecordKey, RowMark, Table, Version};

/// One record from Clerk's API.
#[derive(Clone)]
pub struct RawRecord {
    table: Table,
    key: Key,
    created_at: i64,
    version: Version,
    /// UTF-8, since each way to make a record begins with a `str`.
    text: Bytes,
    /// Of a user in a listing: where the members lie that can be mapped.
    members: Option<Members>,
}

// Everything else was read from the text.
impl PartialEq for RawRecord {
    fn eq(&self, other: &RawRecord) -> bool {
        self.table == other.table && self.text == other.text
    }
}

impl Eq for RawRecord {}

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
    /// Takes a copy of a record's text.
    pub fn read(table: Table, text: &str) -> Result<RawRecord, ShapeError> {
        RawRecord::identified(table, text, |text| Bytes::copy_from_slice(text.as_bytes()))
    }

    fn identified(
        table: Table,
        text: &str,
        keep: impl FnOnce(&str) -> Bytes,
    ) -> Result<RawRecord, ShapeError> {
        let identity: Identity = read("data", text.as_bytes()).map_err(ShapeError::malformed)?;
        Ok(RawRecord {
            table,
            key: key_of(&identity.id)?,
            created_at: identity.created_at.0,
            version: Version(identity.updated_at.0),
            text: keep(text),
            members: None,
        })
    }

    /// Takes a record's text, which is a part of `page`.
    pub(super) fn within(table: Table, page: &Bytes, text: &str) -> Result<RawRecord, ShapeError> {
        RawRecord::identified(table, text, |text| page.slice_ref(text.as_bytes()))
    }

    /// Takes a user's text, which is a part of `page`, with what was already read of it.
    pub(super) fn of_user(
        outline: &UserOutline<'_>,
        page: &Bytes,
        text: &str,
    ) -> Result<RawRecord, ShapeError> {
        Ok(RawRecord {
            table: Table::Users,
            key: key_of(&outline.id)?,
            created_at: outline.created_at.0,
            version: Version(outline.updated_at.0),
            text: page.slice_ref(text.as_bytes()),
            members: outline.members(text),
        })
    }

    /// The same record with a text of its own, for whoever keeps it longer than its page.
    pub fn apart(&self) -> RawRecord {
        RawRecord {
            text: Bytes::copy_from_slice(&self.text),
            ..self.clone()
        }
    }

    /// The user as the mapping reads it, without another walk through everything that it has.
    pub fn user(&self) -> Result<User<'_>, ShapeError> {
        let text = self.text();
        let found = self.members.as_ref();
        let read = found.and_then(|members| {
            User::of_members(&self.key, self.created_at, self.version, text, members)
        });
        match read {
            Some(user) => Ok(user),
            // What is wrong is told by its place in what Clerk sent.
            None => User::parse(text),
        }
    }

    /// What a server says about the user; `None` if the record is not a user's, or not one's that can be read.
    pub fn public_metadata(&self) -> Option<PublicMetadata<'_>> {
        if self.table != Table::Users {
            return None;
        }
        let found = self.members.as_ref();
        let read = found.and_then(|members| members.public_metadata(self.text()));
        read.or_else(|| Some(self.user().ok()?.public_metadata))
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
        row_named(self.text(), RowMark::of)
    }

    /// The record as Clerk sent it, for the mapping. Not for logs.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.text).unwrap_or_default()
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
