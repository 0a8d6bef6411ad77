//! The arguments of `apply`, checked: what may be written, before anything is.
//!
//! A call whose shape is wrong is an argument validation error, a bare message. An item that cannot
//! be applied is a structured error that names its key. Promises that what it lets through can be
//! carried out to the end, which is how a transaction stays whole without an undo log.

use std::borrow::Cow;

use serde::Deserialize;

use super::functions::FunctionError;
use super::schema::TableName;
use super::state::World;
use super::value::{Entries, Text, Value};

/// Changes one call may carry (contract, section 4).
const MAX_CHANGES: usize = 1000;
/// Bytes one document may take (Convex's documented limit).
const MAX_DOCUMENT: usize = 1024 * 1024;
/// Below this an item cannot push a row over the limit unless the row is close to it already.
const SURELY_SMALL: usize = 64 * 1024;
/// Names of a row that belong to the synchronisation, not to the app's defaults.
const RESERVED: [&str; 4] = ["clerkId", "clerkCreatedAt", "clerkUpdatedAt", "deletedAt"];

/// `{ changes }` as sent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ApplyArgs<'a> {
    #[serde(borrow)]
    changes: Vec<ChangeArgs<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ChangeArgs<'a> {
    #[serde(borrow)]
    kind: Text<'a>,
    #[serde(borrow)]
    table: Text<'a>,
    #[serde(borrow)]
    key: Text<'a>,
    #[serde(default, deserialize_with = "given")]
    created_at: Option<f64>,
    #[serde(default, deserialize_with = "given")]
    version: Option<f64>,
    #[serde(default, borrow, deserialize_with = "given")]
    fields: Option<Entries<'a>>,
    #[serde(default, borrow, deserialize_with = "given")]
    insert_defaults: Option<Entries<'a>>,
    #[serde(default, borrow, deserialize_with = "given")]
    link_email: Option<Text<'a>>,
    #[serde(default, deserialize_with = "given")]
    revive: Option<bool>,
    #[serde(default, deserialize_with = "given")]
    merge: Option<bool>,
    #[serde(default, borrow, deserialize_with = "given")]
    mode: Option<Text<'a>>,
    #[serde(default, borrow, deserialize_with = "given")]
    files: Option<Text<'a>>,
}

/// An optional argument may be left out, but not be null: so `v.optional` has it.
fn given<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// One item that will be carried out.
pub(super) struct Planned<'a> {
    pub(super) table: TableName,
    pub(super) key: Cow<'a, str>,
    pub(super) what: What<'a>,
}

pub(super) enum What<'a> {
    Upsert(Upsert<'a>),
    Delete { hard: bool, files: bool },
}

/// An upsert with its fields resolved to columns.
pub(super) struct Upsert<'a> {
    pub(super) created: f64,
    pub(super) version: f64,
    pub(super) columns: Vec<(usize, Value)>,
    /// Columns and app names written only when the row is created.
    pub(super) defaults: Vec<(Cow<'a, str>, Value)>,
    pub(super) link_email: Option<Cow<'a, str>>,
    pub(super) revive: bool,
    /// Younger rows of the key go for the oldest.
    pub(super) merge: bool,
}

impl<'a> ApplyArgs<'a> {
    /// The keys of the changes.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.changes.iter().map(|change| &*change.key.0)
    }

    /// How many changes there are.
    pub(super) fn len(&self) -> usize {
        self.changes.len()
    }

    /// Checks every item against the schema and the rows.
    pub(super) fn plan(self, world: &World) -> Result<Vec<Planned<'a>>, FunctionError> {
        if let Some(excess) = self.changes.get(MAX_CHANGES) {
            return Err(FunctionError::structured(
                "batch_too_large",
                Some(&excess.key.0),
            ));
        }
        self.changes
            .into_iter()
            .map(|change| change.plan(world))
            .collect()
    }
}

impl<'a> ChangeArgs<'a> {
    fn plan(self, world: &World) -> Result<Planned<'a>, FunctionError> {
        let table = TableName::parse(&self.table.0)
            .ok_or_else(|| FunctionError::arguments("`table` is none of the synced tables"))?;
        let key = self.key.0;
        if !world.table(table).schema.served {
            return Err(FunctionError::structured("unknown_table", Some(&key)));
        }
        if key.is_empty() {
            return Err(FunctionError::structured("invalid_key", Some(&key)));
        }
        let what = match &*self.kind.0 {
            "upsert" => {
                let (Some(created), Some(version), Some(fields), None, None) = (
                    self.created_at,
                    self.version,
                    self.fields,
                    self.mode,
                    self.files,
                ) else {
                    return Err(FunctionError::arguments(
                        "an upsert has createdAt, version and fields, and no mode or files",
                    ));
                };
                let defaults = self.insert_defaults.unwrap_or_default().0;
                check_defaults(&defaults, world, table, &key)?;
                let columns = resolve(fields, world, table, &key)?;
                check_size(&columns, &defaults, world, table, &key)?;
                What::Upsert(Upsert {
                    created,
                    version,
                    columns,
                    defaults,
                    link_email: self.link_email.map(|text| text.0),
                    revive: self.revive.unwrap_or(false),
                    merge: self.merge.unwrap_or(false),
                })
            }
            "delete" => {
                let upsert_only = self.created_at.is_some()
                    || self.version.is_some()
                    || self.fields.is_some()
                    || self.insert_defaults.is_some()
                    || self.link_email.is_some()
                    || self.revive.is_some()
                    || self.merge.is_some();
                let mode = self.mode.as_ref().map(|mode| &*mode.0);
                let files = self.files.as_ref().map(|files| &*files.0);
                match (upsert_only, mode, files) {
                    (false, Some("hard" | "soft"), None | Some("keep" | "delete")) => {}
                    _ => {
                        return Err(FunctionError::arguments(
                            "a delete has a mode, hard or soft, and files, keep or delete",
                        ));
                    }
                }
                What::Delete {
                    hard: mode == Some("hard"),
                    files: files == Some("delete"),
                }
            }
            _ => return Err(FunctionError::arguments("`kind` is upsert or delete")),
        };
        Ok(Planned { table, key, what })
    }
}

impl Planned<'_> {
    /// Index ranges that Convex would read for the item, about: the row, its tombstone, the rows it
    /// hangs on and those that hang on it.
    pub(super) fn lookups(&self) -> u64 {
        match (&self.what, self.table) {
            (What::Upsert(upsert), TableName::Users) => 4 + u64::from(upsert.link_email.is_some()),
            (What::Upsert(_), TableName::Memberships) => 6,
            (What::Upsert(_), TableName::Profiles) => 4,
            (What::Upsert(_), TableName::Organizations) => 2,
            (What::Delete { .. }, TableName::Users) => 8,
            (What::Delete { .. }, _) => 4,
        }
    }
}

fn resolve(
    fields: Entries<'_>,
    world: &World,
    table: TableName,
    key: &str,
) -> Result<Vec<(usize, Value)>, FunctionError> {
    let schema = &world.table(table).schema;
    let mut columns = Vec::with_capacity(fields.0.len());
    for (name, value) in fields.0 {
        let Some(column) = schema.synced_column(&name) else {
            return Err(FunctionError::structured("unknown_field", Some(key)));
        };
        if column < schema.contract && !matches!(value, Value::Null | Value::Text(_)) {
            return Err(FunctionError::structured("invalid_field", Some(key)));
        }
        columns.push((column, value));
    }
    Ok(columns)
}

fn check_defaults(
    defaults: &[(Cow<'_, str>, Value)],
    world: &World,
    table: TableName,
    key: &str,
) -> Result<(), FunctionError> {
    let schema = &world.table(table).schema;
    let fits = |name: &str| {
        let own = schema
            .column(name)
            .is_some_and(|column| column >= schema.synced);
        let first = name
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_alphabetic());
        let rest = name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        first && rest && name.len() <= 64 && !own && !RESERVED.contains(&name)
    };
    if defaults.iter().all(|(name, _)| fits(name)) {
        Ok(())
    } else {
        Err(FunctionError::structured("unknown_field", Some(key)))
    }
}

fn check_size(
    columns: &[(usize, Value)],
    defaults: &[(Cow<'_, str>, Value)],
    world: &World,
    table: TableName,
    key: &str,
) -> Result<(), FunctionError> {
    let fields: usize = columns.iter().map(|(_, value)| value.weight()).sum();
    let extra: usize = defaults
        .iter()
        .map(|(name, value)| name.len() + value.weight())
        .sum();
    let mut size = fields + extra;
    if size <= SURELY_SMALL {
        return Ok(());
    }
    let state = world.table(table);
    if let Some(row) = state.oldest(key).and_then(|slot| state.row(slot)) {
        size = fields + row.weight();
        size -= columns
            .iter()
            .map(|(column, _)| row.columns[*column].weight())
            .sum::<usize>();
    }
    if size > MAX_DOCUMENT {
        return Err(FunctionError::structured("too_large", Some(key)));
    }
    Ok(())
}
