//! How an entry is written: one JSON object a line.
//!
//! Pure. `n` counts from 1, `prev` is the hash of the line before. Columns are named where something was written;
//! what a person's fields hold is never there, and what came from elsewhere was cleaned before.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::{
    chain::{Hash, Link},
    note::{Call, Conflict, Many, Note, Place, Row},
};
use crate::{
    model::{Asked, Columns, Table},
    twin::{self, Twin},
};

/// Columns that one entry names at most.
const MOST_COLUMNS: usize = 64;

#[derive(Serialize)]
struct Line<'l> {
    n: u64,
    at: &'l str,
    to: Place,
    by: &'l Asked,
    what: &'l str,
    #[serde(skip_serializing_if = "Option::is_none")]
    table: Option<Table>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'l str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<Fields<'l>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'static str>,
    outcome: &'l str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'l str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first: Option<&'l str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<&'l str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcomes: Option<BTreeMap<&'static str, u64>>,
    #[serde(skip_serializing_if = "<[Conflict]>::is_empty")]
    conflict: &'l [Conflict],
    prev: Hash,
}

enum Fields<'l> {
    Columns(&'l Row),
    Names(&'l [String]),
}

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Fields::Names(names) => serializer.collect_seq(*names),
            Fields::Columns(row) => serializer.collect_seq(columns(row).take(MOST_COLUMNS)),
        }
    }
}

/// Columns of another table than the record's own are named with it.
fn columns(row: &Row) -> impl Iterator<Item = String> {
    let of = |(table, columns): &(Table, Columns)| {
        let (table, own) = (*table, *table == row.record.table);
        let named = |name: &str| match own {
            true => name.to_owned(),
            false => format!("{table}.{name}"),
        };
        columns.names().map(named).collect::<Vec<_>>()
    };
    row.columns.iter().flatten().flat_map(of)
}

/// Writes lines of a chain into a buffer.
pub struct Lines<'b> {
    /// Where they go.
    pub out: &'b mut Vec<u8>,
    /// The entry before.
    pub last: Link,
}

impl Lines<'_> {
    /// A record of a call.
    pub fn row(&mut self, at: &str, call: &Call, row: &Row) {
        let daemon = Asked::Daemon;
        let (table, key) = (row.record.table, row.record.key.as_str());
        let columns = row
            .columns
            .iter()
            .flatten()
            .any(|(_, names)| !names.is_empty());
        let deletes = !columns;
        self.line(Line {
            table: Some(table),
            key: Some(key),
            fields: (columns && row.wrote()).then_some(Fields::Columns(row)),
            version: (!deletes).then(|| row.version.ms()),
            why: row.why.map(|why| why.name()),
            ..self.begin(
                at,
                Place::Convex,
                row.asked
                    .as_ref()
                    .or(call.asked.as_ref())
                    .unwrap_or(&daemon),
                if deletes { "delete" } else { "upsert" },
                row.outcome.name(),
            )
        });
    }

    /// Records of a call that are not named.
    pub fn many(&mut self, at: &str, call: &Call, many: &Many) {
        let daemon = Asked::Daemon;
        let outcomes = many.outcomes.iter();
        self.line(Line {
            table: Some(many.table),
            count: Some(many.count),
            first: Some(many.first.as_str()),
            last: Some(many.last.as_str()),
            outcomes: Some(outcomes.map(|(one, count)| (one.name(), *count)).collect()),
            ..self.begin(
                at,
                Place::Convex,
                call.asked.as_ref().unwrap_or(&daemon),
                "upserts",
                "written",
            )
        });
    }

    /// Anything else.
    pub fn note(&mut self, at: &str, note: &Note) {
        let record = note.record.as_ref();
        self.line(Line {
            table: record.map(|record| record.table),
            key: record.map(|record| record.key.as_str()),
            fields: (!note.fields.is_empty()).then_some(Fields::Names(&note.fields)),
            reason: note.reason.as_deref(),
            count: note.count,
            conflict: &note.conflicts,
            ..self.begin(at, note.to, &note.asked, &note.what, &note.outcome)
        });
    }

    fn begin<'l>(
        &self,
        at: &'l str,
        to: Place,
        by: &'l Asked,
        what: &'l str,
        outcome: &'l str,
    ) -> Line<'l> {
        Line {
            n: self.last.n + 1,
            at,
            to,
            by,
            what,
            table: None,
            key: None,
            fields: None,
            version: None,
            why: None,
            outcome,
            reason: None,
            count: None,
            first: None,
            last: None,
            outcomes: None,
            conflict: &[],
            prev: match twin::broken(Twin::LooseChain) {
                true => Hash::NONE,
                false => self.last.hash,
            },
        }
    }

    fn line(&mut self, line: Line<'_>) {
        let begin = self.out.len();
        // Texts, numbers and names: nothing that JSON cannot hold, and memory takes all of it.
        if serde_json::to_writer(&mut *self.out, &line).is_err() {
            return self.out.truncate(begin);
        }
        self.last = Link {
            n: line.n,
            hash: Hash::of(&self.out[begin..]),
        };
    }
}
