//! What the contract's Convex functions take and answer.
//!
//! The only place that knows their names and the shapes of their arguments. Convex prints every number
//! as a double (`1762939021608.0`) and NaN as a string; times are read as whole milliseconds, rounded
//! down, and what is no finite number counts as missing. Pure.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, Visitor},
};
use serde_json::value::RawValue;

use crate::model::{Fields, Key, Outcome, Table, Version};

pub mod beyond;
pub(super) mod conflict;
mod encoded;
mod listed;

pub use conflict::{Conflict, Winner};
pub use encoded::Encoded;
pub(super) use listed::ListedRecords;
pub use listed::{ListedPage, ListedRow};

/// The version of the contract that this crate speaks.
pub const CONTRACT: i64 = 1;

/// One of the contract's functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name inside the module, in metrics and in logs.
    pub name: &'static str,
    /// True if it goes through `/api/mutation`.
    pub mutation: bool,
}

impl Function {
    /// Which contract is deployed.
    pub const DESCRIBE: Function = Function::query("describe");
    /// A page of rows.
    pub const LIST: Function = Function::query("list");
    /// Rows by key.
    pub const GET: Function = Function::query("get");
    /// The one function that writes rows.
    pub const APPLY: Function = Function::mutation("apply");
    /// Users' own changes that wait to be carried to Clerk.
    pub const EDITS: Function = Function::query("edits");
    /// What became of them there.
    pub const SETTLE: Function = Function::mutation("settle");

    const fn query(name: &'static str) -> Self {
        Function {
            name,
            mutation: false,
        }
    }

    const fn mutation(name: &'static str) -> Self {
        Function {
            name,
            mutation: true,
        }
    }
}

/// The body of a call.
#[derive(Serialize)]
pub(super) struct Call<'a, A> {
    pub path: &'a str,
    pub args: A,
    pub format: &'static str,
}

#[derive(Serialize)]
pub(super) struct NoArgs {}

#[derive(Serialize)]
pub(super) struct ListArgs<'a> {
    pub table: Table,
    pub from: Option<i64>,
    pub before: Option<i64>,
    pub cursor: Option<&'a str>,
    pub limit: u32,
}

#[derive(Serialize)]
pub(super) struct GetArgs<'a> {
    pub table: Table,
    pub keys: &'a [Key],
}

#[derive(Serialize)]
pub(super) struct ApplyArgs<'a> {
    pub changes: Vec<&'a RawValue>,
}

/// What `describe` says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Description {
    /// The version of the deployed contract.
    #[serde(deserialize_with = "whole")]
    pub contract: i64,
    /// The tables that the functions serve.
    pub tables: Vec<String>,
}

/// What `apply` did with one change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The key of the change.
    pub key: Key,
    /// What became of it.
    pub outcome: Outcome,
    /// The row's Convex id, if there is a row.
    pub id: Option<String>,
}

/// What `apply` answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// What it did with each change, in order.
    pub applied: Vec<Applied>,
    /// Fields that both sides had changed, where the functions tell of them.
    pub conflicts: Vec<Conflict>,
}

#[derive(Deserialize)]
pub(super) struct Outcomes {
    pub outcomes: Vec<OneOutcome>,
    #[serde(default)]
    pub conflicts: serde_json::Value,
}

#[derive(Deserialize)]
pub(super) struct OneOutcome {
    pub key: String,
    pub outcome: Outcome,
    #[serde(default)]
    pub id: Option<String>,
}

#[derive(Serialize)]
pub(super) struct EditsArgs {
    pub limit: u32,
}

#[derive(Serialize)]
pub(super) struct SettleArgs<'a> {
    pub settled: &'a [Settlement],
}

/// What became of one edit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Settlement {
    /// The edit's id.
    pub id: String,
    /// How it ended.
    #[serde(flatten)]
    pub result: EditResult,
}

/// How an edit ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "result", rename_all = "lowercase")]
pub enum EditResult {
    /// Clerk has it.
    Done,
    /// Clerk will not have it: the row goes back to what Clerk holds.
    Refused {
        /// A short code for the app to show; no value of the record.
        reason: String,
    },
}

#[derive(Deserialize)]
pub(super) struct Edits {
    pub edits: Vec<OneEdit>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OneEdit {
    id: String,
    key: String,
    fields: BTreeMap<String, Option<String>>,
    #[serde(deserialize_with = "whole")]
    edited_at: i64,
}

#[derive(Deserialize)]
pub(super) struct SettledCount {
    #[serde(deserialize_with = "whole")]
    pub settled: i64,
}

/// A user's own change that waits to be carried to Clerk.
#[derive(Clone, PartialEq, Eq)]
pub struct Edit {
    /// Its id; a further edit of the same user takes its place under another one.
    pub id: String,
    /// Whose it is; none if the row's `clerkId` cannot be Clerk's.
    pub key: Option<Key>,
    /// The new values by the contract's names; `None` clears a field.
    pub fields: BTreeMap<String, Option<String>>,
    /// When it was made by Convex's clock, in milliseconds.
    pub edited_at: i64,
}

// Values are personal, so Debug does not show them.
impl fmt::Debug for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key.as_ref().map_or("?", Key::as_str);
        write!(
            f,
            "Edit({} of {key}, {} fields)",
            self.id,
            self.fields.len()
        )
    }
}

impl From<OneEdit> for Edit {
    fn from(read: OneEdit) -> Edit {
        Edit {
            id: read.id,
            key: Key::parse(&read.key),
            fields: read.fields,
            edited_at: read.edited_at,
        }
    }
}

/// A row as `list` and `get` show it.
#[derive(Clone, PartialEq)]
pub struct Row {
    /// Convex's own id; several rows may have one key.
    pub id: String,
    /// Clerk's id.
    pub key: Key,
    /// `clerkCreatedAt`, in milliseconds; missing on rows that the app made.
    pub created_at: Option<i64>,
    /// `clerkUpdatedAt`.
    pub version: Option<Version>,
    /// When the row was deleted softly, in milliseconds.
    pub deleted_at: Option<i64>,
    /// The synced columns as they are now.
    pub fields: Fields,
}

// Fields are personal, so Debug does not show them.
impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = self.version.map(Version::ms);
        write!(f, "Row({} {} version {version:?})", self.key, self.id)
    }
}

/// A page of `list`, or the answer of `get`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// The rows, in the order of the contract.
    pub rows: Vec<Row>,
    /// The Convex ids of rows whose `clerkId` cannot be Clerk's: the app's own doing, not ours to touch.
    pub odd: Vec<String>,
    /// Where to go on; `None` when the range is done.
    pub cursor: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Records {
    pub records: Vec<OneRecord>,
    #[serde(default)]
    pub cursor: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OneRecord {
    id: String,
    key: String,
    #[serde(default, deserialize_with = "maybe_millis")]
    created_at: Option<i64>,
    #[serde(default, deserialize_with = "maybe_millis")]
    version: Option<i64>,
    #[serde(default, deserialize_with = "maybe_millis")]
    deleted_at: Option<i64>,
    fields: Fields,
}

impl From<Records> for Page {
    fn from(read: Records) -> Page {
        let mut page = Page {
            rows: Vec::with_capacity(read.records.len()),
            odd: Vec::new(),
            cursor: read.cursor,
        };
        for record in read.records {
            match Key::parse(&record.key) {
                Some(key) => page.rows.push(Row {
                    id: record.id,
                    key,
                    created_at: record.created_at,
                    version: record.version.map(Version),
                    deleted_at: record.deleted_at,
                    fields: record.fields,
                }),
                None => page.odd.push(record.id),
            }
        }
        page
    }
}

/// A number that may be printed as a double.
fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    maybe_millis(deserializer)?.ok_or_else(|| de::Error::custom("not a number"))
}

/// A time that may be null, fractional, or (`"NaN"`, `"Infinity"`) no time at all.
fn maybe_millis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    struct Printed;
    impl Visitor<'_> for Printed {
        type Value = Option<i64>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number or null")
        }

        fn visit_f64<E>(self, number: f64) -> Result<Option<i64>, E> {
            // Every whole number that a double holds exactly fits into an i64; larger ones saturate.
            Ok(Some(number.floor() as i64))
        }

        fn visit_i64<E>(self, number: i64) -> Result<Option<i64>, E> {
            Ok(Some(number))
        }

        fn visit_u64<E>(self, number: u64) -> Result<Option<i64>, E> {
            Ok(Some(i64::try_from(number).unwrap_or(i64::MAX)))
        }

        fn visit_unit<E>(self) -> Result<Option<i64>, E> {
            Ok(None)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Option<i64>, E> {
            match text {
                "NaN" | "Infinity" | "-Infinity" => Ok(None),
                _ => Err(E::custom("a time that is a string")),
            }
        }
    }
    deserializer.deserialize_any(Printed)
}
