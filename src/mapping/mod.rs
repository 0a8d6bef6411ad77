//! From Clerk's records to the rows of the four tables.
//!
//! Pure functions of a record and the rules a person configured: no I/O, no clock, and no knowledge of
//! Convex beyond what one row can hold. Only what is mapped leaves Clerk. What cannot be mapped is a
//! fault of that record and says why without repeating its values; what had to be left out is a
//! [`Note`], so that a person can find out.

mod extra;
mod membership;
mod organization;
mod profile;
mod user;

pub use membership::membership;
pub use organization::organization;
pub use profile::profile;
pub use user::{UserRules, claims_unknown_role, user};

use crate::{
    clerk::{
        RawRecord,
        shape::ShapeError,
        wire::{Membership, Organization, User},
    },
    model::{Change, Fault, Fields, Key, Table, Upsert, Version},
};

/// Convex refuses a document over 1 MiB. What the app keeps on the row counts too, and so do the
/// columns that `apply` adds, so a quarter is left to them.
pub const MAX_ROW_BYTES: usize = 768 * 1024;

/// A record as it is to be written, and what had to be left out of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Mapped {
    /// The row.
    pub upsert: Upsert,
    /// What a person may want to know; empty for nearly every record.
    pub notes: Vec<Note>,
}

impl Mapped {
    /// The row as a change.
    pub fn into_change(self) -> Change {
        Change::Upsert(self.upsert)
    }
}

/// Something about a record that was not taken over as it is. Holds no value of the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// `public_metadata.role` is no role that `users.roles` allows: the default was written.
    UnknownRole,
    /// The public metadata is neither an object nor null: read as empty.
    OddMetadata,
    /// A member of the public metadata that should be a string is none: read as missing.
    NotAString {
        /// The member.
        member: &'static str,
    },
    /// The value for a column of `users.extra_fields` is of another type: null was written.
    WrongType {
        /// The column.
        column: String,
    },
}

/// Why a record cannot become a row.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// The record is not of the shape that Clerk documents.
    #[error("the record cannot be read: {0}; fetch it from Clerk")]
    Shape(ShapeError),
    /// A member that the row needs is not there.
    #[error("the record has no {member}; fetch it from Clerk")]
    Missing {
        /// The member, by its path.
        member: &'static str,
    },
    /// A value for a column of `users.extra_fields` cannot be read.
    #[error(
        "the value for column {column} cannot be read (too deep, or not valid JSON or Unicode); change it in Clerk or take the column out of users.extra_fields"
    )]
    Unreadable {
        /// The column.
        column: String,
    },
    /// The row would be larger than Convex allows.
    #[error(
        "the row would take {bytes} bytes, more than Convex allows; map less in users.extra_fields"
    )]
    TooLarge {
        /// Its approximate size.
        bytes: usize,
    },
}

impl MapError {
    /// The code that dead letters and metrics carry.
    pub const fn code(&self) -> &'static str {
        match self {
            MapError::Shape(_) => "malformed",
            MapError::Missing { .. } => "incomplete",
            MapError::Unreadable { .. } => "unreadable_field",
            MapError::TooLarge { .. } => "too_large",
        }
    }

    /// Always the record's own.
    pub const fn fault(&self) -> Fault {
        Fault::Record
    }
}

impl From<ShapeError> for MapError {
    fn from(error: ShapeError) -> Self {
        MapError::Shape(error)
    }
}

/// Maps one record, as Clerk sent it, to its rows: of a user the profile comes second.
pub fn record(table: Table, text: &str, rules: &UserRules) -> Result<Vec<Mapped>, MapError> {
    match table {
        Table::Users => {
            let read = User::parse(text)?;
            Ok(vec![user(&read, rules)?, profile(&read)?])
        }
        Table::Profiles => Ok(vec![profile(&User::parse(text)?)?]),
        Table::Organizations => Ok(vec![organization(&Organization::parse(text)?)?]),
        Table::Memberships => Ok(vec![membership(&Membership::parse(text)?)?]),
    }
}

/// Maps a record of a listing to its rows of these tables, its own first.
pub fn rows(
    record: &RawRecord,
    rules: &UserRules,
    tables: &[Table],
) -> Result<Vec<Upsert>, MapError> {
    if record.table() != Table::Users {
        let mapped = self::record(record.table(), record.text(), rules)?;
        let rows = mapped.into_iter().map(|mapped| mapped.upsert);
        return Ok(rows.filter(|row| tables.contains(&row.table)).collect());
    }
    let read = record.user()?;
    let mut rows = Vec::with_capacity(tables.len());
    if tables.contains(&Table::Users) {
        rows.push(user(&read, rules)?.upsert);
    }
    if tables.contains(&Table::Profiles) {
        rows.push(profile(&read)?.upsert);
    }
    Ok(rows)
}

/// A row without the parts that only users have.
fn plain(table: Table, key: Key, created_at: i64, version: Version, fields: Fields) -> Upsert {
    Upsert {
        table,
        key,
        created_at,
        version,
        fields,
        insert_defaults: None,
        link_email: None,
        revive: None,
        merge: None,
    }
}

/// Takes the row if Convex can hold it.
fn sized(upsert: Upsert, notes: Vec<Note>) -> Result<Mapped, MapError> {
    let change = Change::Upsert(upsert);
    let bytes = change.weight();
    match change {
        Change::Upsert(upsert) if bytes <= MAX_ROW_BYTES => Ok(Mapped { upsert, notes }),
        _ => Err(MapError::TooLarge { bytes }),
    }
}

#[cfg(test)]
mod tests;
