//! The queries `list`, `get` and `members`: rows as records, by range, by key and by organization.
//!
//! `list` walks (`createdAt`, key) and starts anywhere in it, so its cursor is a position, not a
//! snapshot: it stays good whatever is written or deleted between two pages. Rows without a key are
//! the app's own and are in no index that is read here.

use std::collections::HashSet;
use std::ops::Bound;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::functions::FunctionError;
use super::index::{OrderKey, sortable};
use super::schema::{Schema, TableName, write_id};
use super::state::{Row, TableState, World};
use super::value::{Encoding, Text, write_float, write_text};

/// Rows a page may have (contract, section 4).
const MAX_PAGE: usize = 4000;
/// Keys one `get` may ask for: Convex's index ranges per call.
const MAX_KEYS: usize = 4096;

/// Arguments of `list`; what may be null must still be there.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListArgs<'a> {
    #[serde(borrow)]
    table: Text<'a>,
    #[serde(deserialize_with = "Option::deserialize")]
    from: Option<f64>,
    #[serde(deserialize_with = "Option::deserialize")]
    before: Option<f64>,
    #[serde(deserialize_with = "Option::deserialize", borrow)]
    cursor: Option<Text<'a>>,
    limit: f64,
}

/// Arguments of `get`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GetArgs<'a> {
    #[serde(borrow)]
    table: Text<'a>,
    #[serde(borrow)]
    keys: Vec<Text<'a>>,
}

/// Arguments of `members`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MembersArgs<'a> {
    #[serde(borrow)]
    organization: Text<'a>,
    #[serde(deserialize_with = "Option::deserialize", borrow)]
    cursor: Option<Text<'a>>,
    limit: f64,
}

/// Answers `list`. A page ends early when the documents read come to `max_bytes`.
pub(super) fn list(
    world: &World,
    args: &ListArgs<'_>,
    max_bytes: usize,
    encoding: Encoding,
) -> Result<Vec<u8>, FunctionError> {
    let name = table_of(world, &args.table.0)?;
    if args.limit < 1.0 {
        return Err(FunctionError::structured("invalid_limit", None));
    }
    let limit = (args.limit as usize).min(MAX_PAGE);
    let table = world.table(name);
    let lower = match &args.cursor {
        Some(Text(cursor)) => Bound::Excluded(
            parse_cursor(cursor)
                .ok_or_else(|| FunctionError::structured("invalid_cursor", None))?,
        ),
        None => Bound::Included(edge(args.from.map_or(0, sortable))),
    };
    let upper = args
        .before
        .map_or(Bound::Unbounded, |end| Bound::Excluded(edge(sortable(end))));
    let mut out = Vec::with_capacity(limit.min(table.order.len()) * 384 + 64);
    out.extend_from_slice(b"{\"records\":[");
    let mut last = None;
    let (mut count, mut bytes) = (0, 0);
    if !is_empty(&lower, &upper) {
        for place in table.order.range((lower, upper)) {
            if count == limit || bytes >= max_bytes {
                return Ok(finish(out, last.map(cursor_of)));
            }
            let Some(row) = table.row(place.slot) else {
                continue;
            };
            if count > 0 {
                out.push(b',');
            }
            write_record(&mut out, name, table, place.slot, row, encoding);
            bytes += row.weight();
            count += 1;
            last = Some(place.clone());
        }
    }
    Ok(finish(out, None))
}

/// Answers `get`: the records of the keys in the order asked, each key once, none for a key that has
/// no row.
pub(super) fn get(
    world: &World,
    args: &GetArgs<'_>,
    encoding: Encoding,
) -> Result<Vec<u8>, FunctionError> {
    let name = table_of(world, &args.table.0)?;
    if let Some(excess) = args.keys.get(MAX_KEYS) {
        return Err(FunctionError::structured(
            "batch_too_large",
            Some(&excess.0),
        ));
    }
    let table = world.table(name);
    let mut out = Vec::with_capacity(args.keys.len() * 384 + 64);
    out.extend_from_slice(b"{\"records\":[");
    let mut first = true;
    let mut seen = HashSet::with_capacity(args.keys.len());
    for Text(key) in args.keys.iter().filter(|key| seen.insert(&*key.0)) {
        let mut rows: Vec<(u32, &Row)> = table
            .by_key
            .get(&**key)
            .iter()
            .filter_map(|slot| Some((*slot, table.row(*slot)?)))
            .collect();
        rows.sort_by_key(|(_, row)| row.seq);
        for (slot, row) in rows {
            if !std::mem::take(&mut first) {
                out.push(b',');
            }
            write_record(&mut out, name, table, slot, row, encoding);
        }
    }
    out.extend_from_slice(b"]}");
    Ok(out)
}

/// Answers `members`: one organization's memberships in order of creation. A cursor is the last one's place.
pub(super) fn members(
    world: &World,
    args: &MembersArgs<'_>,
    encoding: Encoding,
) -> Result<Vec<u8>, FunctionError> {
    let name = table_of(world, TableName::Memberships.as_str())?;
    if args.limit < 1.0 {
        return Err(FunctionError::structured("invalid_limit", None));
    }
    let limit = (args.limit as usize).min(MAX_PAGE);
    let after = match &args.cursor {
        None => 0,
        Some(Text(cursor)) => cursor
            .parse::<u64>()
            .map_err(|_| FunctionError::structured("invalid_cursor", None))?,
    };
    let table = world.table(name);
    let slots = world.members_of_organization.get(&*args.organization.0);
    let mut rows: Vec<(u32, &Row)> = slots
        .iter()
        .filter_map(|slot| Some((*slot, table.row(*slot)?)))
        .filter(|(_, row)| row.key.is_some() && row.seq > after)
        .collect();
    rows.sort_unstable_by_key(|(_, row)| row.seq);
    let more = rows.len() > limit;
    rows.truncate(limit);
    let last = rows.last().filter(|_| more).map(|(_, row)| row.seq);
    let mut out = Vec::with_capacity(rows.len() * 384 + 64);
    out.extend_from_slice(b"{\"records\":[");
    for (index, (slot, row)) in rows.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_record(&mut out, name, table, slot, row, encoding);
    }
    Ok(finish(out, last.map(|seq| seq.to_string())))
}

/// Writes the whole document, as the control interface shows it.
pub(super) fn write_document(
    out: &mut Vec<u8>,
    name: TableName,
    schema: &Schema,
    slot: u32,
    row: &Row,
) {
    let encoding = Encoding::Plain;
    out.extend_from_slice(b"{\"_id\":\"");
    write_id(out, name, slot, row.seq);
    out.extend_from_slice(b"\",\"_creationTime\":");
    write_float(out, row.creation, encoding);
    if let Some(key) = &row.key {
        out.extend_from_slice(b",\"clerkId\":");
        write_text(out, key);
    }
    let times = [
        ("clerkCreatedAt", row.created),
        ("clerkUpdatedAt", row.version),
        ("deletedAt", row.deleted),
    ];
    for (name, time) in times {
        if let Some(time) = time {
            out.push(b',');
            write_text(out, name);
            out.push(b':');
            write_float(out, time, encoding);
        }
    }
    let columns = schema.columns.iter().zip(&row.columns);
    for (name, value) in columns.chain(row.app.iter().map(|(name, value)| (name, value))) {
        if !value.is_absent() {
            out.push(b',');
            write_text(out, name);
            out.push(b':');
            value.write(out, encoding);
        }
    }
    out.push(b'}');
}

fn write_record(
    out: &mut Vec<u8>,
    name: TableName,
    table: &TableState,
    slot: u32,
    row: &Row,
    encoding: Encoding,
) {
    out.extend_from_slice(b"{\"createdAt\":");
    write_time(out, row.created, encoding);
    out.extend_from_slice(b",\"deletedAt\":");
    write_time(out, row.deleted, encoding);
    out.extend_from_slice(b",\"fields\":{");
    let mut first = true;
    for (column, value) in row.columns[..table.schema.synced].iter().enumerate() {
        if value.is_absent() {
            continue;
        }
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        write_text(out, &table.schema.columns[column]);
        out.push(b':');
        value.write(out, encoding);
    }
    out.extend_from_slice(b"},\"id\":\"");
    write_id(out, name, slot, row.seq);
    out.extend_from_slice(b"\",\"key\":");
    write_text(out, row.key.as_deref().unwrap_or_default());
    out.extend_from_slice(b",\"version\":");
    write_time(out, row.version, encoding);
    out.push(b'}');
}

fn write_time(out: &mut Vec<u8>, time: Option<f64>, encoding: Encoding) {
    match time {
        Some(time) => write_float(out, time, encoding),
        None => out.extend_from_slice(b"null"),
    }
}

pub(super) fn finish(mut out: Vec<u8>, cursor: Option<String>) -> Vec<u8> {
    out.extend_from_slice(b"],\"cursor\":");
    match cursor {
        Some(cursor) => write_text(&mut out, &cursor),
        None => out.extend_from_slice(b"null"),
    }
    out.push(b'}');
    out
}

fn table_of(world: &World, name: &str) -> Result<TableName, FunctionError> {
    let table = TableName::parse(name)
        .ok_or_else(|| FunctionError::arguments("`table` is none of the synced tables"))?;
    match world.table(table).schema.served {
        true => Ok(table),
        false => Err(FunctionError::structured("unknown_table", None)),
    }
}

/// The first place a row of this `createdAt` could have.
fn edge(created: u64) -> OrderKey {
    OrderKey {
        created,
        key: Arc::from(""),
        seq: 0,
        slot: 0,
    }
}

/// A set panics when asked for a range that ends before it starts.
fn is_empty(lower: &Bound<OrderKey>, upper: &Bound<OrderKey>) -> bool {
    match (lower, upper) {
        (Bound::Included(lower) | Bound::Excluded(lower), Bound::Excluded(upper)) => lower >= upper,
        _ => false,
    }
}

fn cursor_of(place: OrderKey) -> String {
    let plain = format!(
        "{:x}.{:x}.{:x}.{}",
        place.created, place.seq, place.slot, place.key
    );
    URL_SAFE_NO_PAD.encode(plain)
}

fn parse_cursor(cursor: &str) -> Option<OrderKey> {
    let plain = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
    let mut parts = plain.splitn(4, '.');
    let mut number = || u64::from_str_radix(parts.next()?, 16).ok();
    let (created, seq, slot) = (number()?, number()?, u32::try_from(number()?).ok()?);
    Some(OrderKey {
        created,
        key: Arc::from(parts.next()?),
        seq,
        slot,
    })
}
