//! Rows as the comparison of everything reads them: where each stands, and its columns as text.
//!
//! Of a million rows nearly all are compared once and forgotten. Columns that stay the text that they came as
//! cost one allocation a row instead of two dozen; [`ListedRow::fields`] reads them where something differs.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, Visitor},
};
use serde_json::value::RawValue;

use super::maybe_millis;
use crate::model::{Fields, Key, RowMark};

/// A row of a listing.
#[derive(Clone)]
pub struct ListedRow {
    /// Clerk's id.
    pub key: Key,
    /// `clerkCreatedAt`, in milliseconds; missing on rows that the app made.
    pub created_at: Option<i64>,
    /// When the row was deleted softly, in milliseconds.
    pub deleted_at: Option<i64>,
    /// Stands for Convex's own id.
    pub mark: RowMark,
    /// The synced columns, a JSON object.
    fields: Box<RawValue>,
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
            mark: RowMark::of("row"),
            fields: serde_json::value::to_raw_value(fields).expect("JSON"),
        }
    }

    /// The columns as JSON.
    pub fn text(&self) -> &str {
        self.fields.get()
    }

    /// The columns; none if they cannot be read, which no row has that Convex printed.
    pub fn fields(&self) -> Fields {
        serde_json::from_str(self.fields.get()).unwrap_or_default()
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
pub(in crate::convex) struct ListedRecords {
    records: Vec<OneListed>,
    #[serde(default)]
    cursor: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OneListed {
    id: RowMark,
    #[serde(deserialize_with = "maybe_key")]
    key: Option<Key>,
    #[serde(default, deserialize_with = "maybe_millis")]
    created_at: Option<i64>,
    #[serde(default, deserialize_with = "maybe_millis")]
    deleted_at: Option<i64>,
    #[serde(deserialize_with = "object")]
    fields: Box<RawValue>,
}

impl From<ListedRecords> for ListedPage {
    fn from(read: ListedRecords) -> ListedPage {
        let mut page = ListedPage {
            rows: Vec::with_capacity(read.records.len()),
            odd: 0,
            cursor: read.cursor,
        };
        for record in read.records {
            match record.key {
                Some(key) => page.rows.push(ListedRow {
                    key,
                    created_at: record.created_at,
                    deleted_at: record.deleted_at,
                    mark: record.id,
                    fields: record.fields,
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

fn object<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Box<RawValue>, D::Error> {
    let text = Box::<RawValue>::deserialize(deserializer)?;
    match text.get().starts_with('{') {
        true => Ok(text),
        false => Err(de::Error::custom("columns that are no object")),
    }
}
