//! Raw documents in and out, as the dashboard or the app itself would write them.
//!
//! The app's own writes pass no guard and leave no tombstone; they keep the indexes. Knows nothing
//! of the six functions. Promises that what was put in comes out again field by field.

use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::clock;
use super::control::ControlError;
use super::list::write_document;
use super::schema::{TableName, id, parse_id};
use super::state::{File, Row, World};
use super::value::Value;

/// The app's table of files.
pub(super) const FILES: &str = "files";

/// Puts a document in; its id.
pub(super) fn insert(
    world: &mut World,
    table: &str,
    document: &Json,
) -> Result<String, ControlError> {
    let document = object(document)?;
    if table == FILES {
        return Ok(insert_file(world, document));
    }
    let name = table_of(table)?;
    let columns = vec![Value::Absent; world.table(name).schema.columns.len()];
    let row = Row {
        seq: 0,
        creation: clock::now_us() as f64 / 1000.0,
        key: None,
        created: None,
        version: None,
        deleted: None,
        columns: columns.into(),
        app: Vec::new(),
        organization_given: false,
    };
    // Read before anything is written: a document that is refused leaves nothing behind.
    let parts = read(document)?;
    let slot = world.insert(name, row);
    write(world, name, slot, parts);
    let seq = world.table(name).row(slot).map_or(0, |row| row.seq);
    Ok(id(name, slot, seq))
}

/// Merges the fields into the document of the id.
pub(super) fn patch(
    world: &mut World,
    table: &str,
    document_id: &str,
    document: &Json,
) -> Result<(), ControlError> {
    let (name, slot) = find(world, table, document_id)?;
    let mut parts = read(object(document)?)?;
    for (_, value) in &mut parts.rest {
        // JSON has no undefined: a null takes the field away.
        if *value == Value::Null {
            *value = Value::Absent;
        }
    }
    write(world, name, slot, parts);
    Ok(())
}

/// Takes the document out, without a tombstone.
pub(super) fn remove(
    world: &mut World,
    table: &str,
    document_id: &str,
) -> Result<(), ControlError> {
    let (name, slot) = find(world, table, document_id)?;
    world.remove(name, slot);
    Ok(())
}

/// Every document of the table in order of creation, the app's own rows too.
pub(super) fn rows(world: &World, table: &str) -> Result<Vec<Json>, ControlError> {
    if table == FILES {
        return Ok(world
            .files
            .iter()
            .map(|file| file.document.clone())
            .collect());
    }
    let name = table_of(table)?;
    let state = world.table(name);
    let mut rows: Vec<(u32, &Row)> = state.rows().collect();
    rows.sort_by_key(|(_, row)| row.seq);
    let mut text = Vec::with_capacity(1024);
    rows.into_iter()
        .map(|(slot, row)| {
            text.clear();
            write_document(&mut text, name, &state.schema, slot, row);
            serde_json::from_slice(&text).map_err(|_| ControlError::NotADocument)
        })
        .collect()
}

/// A document's fields by what becomes of them.
#[derive(Default)]
struct Parts {
    key: Option<Option<Arc<str>>>,
    created: Option<Option<f64>>,
    version: Option<Option<f64>>,
    deleted: Option<Option<f64>>,
    rest: Vec<(String, Value)>,
}

fn read(document: &Map<String, Json>) -> Result<Parts, ControlError> {
    let mut parts = Parts::default();
    for (name, json) in document {
        let time = || match json {
            Json::Null => Ok(None),
            json => json.as_f64().map(Some).ok_or(ControlError::NotADocument),
        };
        match name.as_str() {
            "_id" | "_creationTime" => return Err(ControlError::NotADocument),
            "clerkId" => {
                let text = json.as_str().map(Arc::from);
                if text.is_none() && !json.is_null() {
                    return Err(ControlError::NotADocument);
                }
                parts.key = Some(text);
            }
            "clerkCreatedAt" => parts.created = Some(time()?),
            "clerkUpdatedAt" => parts.version = Some(time()?),
            "deletedAt" => parts.deleted = Some(time()?),
            _ => parts.rest.push((name.clone(), convert(json)?)),
        }
    }
    Ok(parts)
}

fn write(world: &mut World, name: TableName, slot: u32, parts: Parts) {
    for (field, value) in parts.rest {
        match world.table(name).schema.column(&field) {
            Some(column) => world.set_column(name, slot, column, value),
            None => {
                let field = world.name(&field);
                if let Some(row) = world.table_mut(name).row_mut(slot) {
                    match row.app.iter_mut().find(|(other, _)| *other == field) {
                        Some((_, old)) => *old = value,
                        None => row.app.push((field, value)),
                    }
                }
            }
        }
    }
    let Some(row) = world.table_mut(name).row_mut(slot) else {
        return;
    };
    row.version = parts.version.unwrap_or(row.version);
    row.deleted = parts.deleted.unwrap_or(row.deleted);
    let key = parts.key.unwrap_or_else(|| row.key.clone());
    let created = parts.created.unwrap_or(row.created);
    world.set_place(name, slot, key, created);
}

fn insert_file(world: &mut World, document: &Map<String, Json>) -> String {
    let owner = document
        .get("userId")
        .and_then(Json::as_str)
        .map(str::to_owned);
    let id = format!("f{:031}", clock::now_us() + world.files.len() as u64);
    let mut document = document.clone();
    document.insert("_id".to_owned(), Json::String(id.clone()));
    world.files.push(File {
        owner,
        document: Json::Object(document),
    });
    id
}

fn find(world: &World, table: &str, document: &str) -> Result<(TableName, u32), ControlError> {
    let name = table_of(table)?;
    let (slot, seq) = parse_id(name, document).ok_or(ControlError::NoSuchRow)?;
    match world.table(name).row(slot) {
        Some(row) if row.seq == seq => Ok((name, slot)),
        _ => Err(ControlError::NoSuchRow),
    }
}

fn table_of(table: &str) -> Result<TableName, ControlError> {
    TableName::parse(table).ok_or(ControlError::UnknownTable)
}

fn object(json: &Json) -> Result<&Map<String, Json>, ControlError> {
    json.as_object().ok_or(ControlError::NotADocument)
}

fn convert(json: &Json) -> Result<Value, ControlError> {
    serde_json::from_str(&json.to_string()).map_err(|_| ControlError::NotADocument)
}
