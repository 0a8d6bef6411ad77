//! Rows as the comparison of everything reads them: where each stands, and its columns as text.
//!
//! Of a million rows nearly all are compared once and forgotten. Columns stay where they lie in the answer, which
//! lives as long as one of its rows; [`ListedRow::fields`] reads them where something differs.

use std::fmt;

use bytes::Bytes;
use serde::{
    Deserialize, Deserializer,
    de::{self, Visitor},
};
use serde_json::value::RawValue;

use super::maybe_millis;
use crate::model::{Fields, Key};

/// A row of a listing.
#[derive(Clone)]
pub struct ListedRow {
    /// Clerk's id.
    pub key: Key,
    /// `clerkCreatedAt`, in milliseconds; missing on rows that the app made.
    pub created_at: Option<i64>,
    /// When the row was deleted softly, in milliseconds.
    pub deleted_at: Option<i64>,
    /// The synced columns, a JSON object. UTF-8, since it was read as such.
    fields: Bytes,
}

// Columns are personal, so Debug does not show them.
impl fmt::Debug for ListedRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ListedRow({} created {:?})", self.key, self.created_at)
    }
}

impl ListedRow {
    /// A row as `list` would show it.
    #[cfg(test)]
    pub(crate) fn new(key: Key, created_at: Option<i64>, fields: &serde_json::Value) -> ListedRow {
        ListedRow {
            key,
            created_at,
            deleted_at: None,
            fields: Bytes::from(fields.to_string()),
        }
    }

    /// The columns as JSON.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.fields).unwrap_or_default()
    }

    /// The columns; none if they cannot be read, which no row has that Convex printed.
    pub fn fields(&self) -> Fields {
        serde_json::from_slice(&self.fields).unwrap_or_default()
    }
}

/// A page of `list`.
#[derive(Clone, Debug, Default)]
pub struct ListedPage {
    /// The rows, in the order of the contract.
    pub rows: Vec<ListedRow>,
    /// How many rows have a `clerkId` that cannot be Clerk's: the app's own doing, not ours to touch.
    pub odd: usize,
    /// Where to go on; `None` when the range is done.
    pub cursor: Option<String>,
}

#[derive(Deserialize)]
pub(in crate::convex) struct ListedRecords<'a> {
    #[serde(borrow)]
    records: Vec<OneListed<'a>>,
    #[serde(default)]
    cursor: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OneListed<'a> {
    #[serde(deserialize_with = "maybe_key")]
    key: Option<Key>,
    #[serde(default, deserialize_with = "maybe_millis")]
    created_at: Option<i64>,
    #[serde(default, deserialize_with = "maybe_millis")]
    deleted_at: Option<i64>,
    #[serde(borrow, deserialize_with = "object")]
    fields: &'a RawValue,
}

impl ListedRecords<'_> {
    /// The rows as parts of the answer that they were read from.
    pub(in crate::convex) fn within(self, answer: &Bytes) -> ListedPage {
        let mut page = ListedPage {
            rows: Vec::with_capacity(self.records.len()),
            odd: 0,
            cursor: self.cursor,
        };
        for record in self.records {
            match record.key {
                Some(key) => page.rows.push(ListedRow {
                    key,
                    created_at: record.created_at,
                    deleted_at: record.deleted_at,
                    fields: answer.slice_ref(record.fields.get().as_bytes()),
                }),
                None => page.odd += 1,
            }
        }
        page
    }
}

/// A text that may be Clerk's id or not.
fn maybe_key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Key>, D::Error> {
    struct Id;
    impl Visitor<'_> for Id {
        type Value = Option<Key>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }

        fn visit_str<E>(self, text: &str) -> Result<Option<Key>, E> {
            Ok(Key::parse(text))
        }
    }
    deserializer.deserialize_str(Id)
}

fn object<'de, D: Deserializer<'de>>(deserializer: D) -> Result<&'de RawValue, D::Error> {
    let text = <&RawValue>::deserialize(deserializer)?;
    match text.get().starts_with('{') {
        true => Ok(text),
        false => Err(de::Error::custom("columns that are no object")),
    }
}
