//! A report as JSON: the document that other programs read, and the form in which reports are kept.
//!
//! Knows the names and the order of the keys, which are public and stay. Values are masked on the way out.
//! Reading tolerates keys that it does not know, so that an older release can read what a newer one left.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat};
use serde::{Deserialize, Serialize, de::IgnoredAny};
use thiserror::Error;

use super::{
    Bytes, Calls, FileFigures, Report, RunKind, RunOutcome, TableFigures, mask, summary::Summary,
};
use crate::model::{Action, Difference, DriftKind, FieldDrift, Key, Table};

/// What a document of this form calls itself.
pub const SCHEMA: &str = "clerk-convex-sync/report/1";

/// The longest reason of a difference that is kept, in characters.
const LONGEST_REASON: usize = 500;

/// Why a document cannot be read as a report. Permanent: it will read the same tomorrow.
#[derive(Debug, Error)]
pub enum ReadError {
    /// It is no JSON, or not of this shape.
    #[error("it is not a report: {0}")]
    Shape(#[from] serde_json::Error),
    /// It is of another release.
    #[error("it has the form {found:?}, this release knows {SCHEMA:?}")]
    Schema {
        /// What it calls itself.
        found: String,
    },
    /// Something in it cannot be.
    #[error("its {what} cannot be read")]
    Content {
        /// Which part.
        what: &'static str,
    },
}

/// A report as it is written. The order of the fields is the order of the keys.
#[derive(Debug, Serialize)]
pub struct Document<'a> {
    schema: &'static str,
    id: &'a str,
    kind: RunKind,
    started_at: String,
    finished_at: String,
    plan_digest: Option<&'a str>,
    outcome: RunOutcome,
    resumed: bool,
    tables: &'a BTreeMap<Table, TableFigures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<FileFigures>,
    differences: Vec<Difference>,
    calls: Calls,
    bytes: Bytes,
    notes: &'a [String],
}

impl<'a> Document<'a> {
    /// The report as everybody may see it, or with its values.
    pub fn new(report: &'a Report, show_values: bool) -> Self {
        let listed = report.differences.iter().take(Report::MAX_DIFFERENCES);
        Document {
            schema: SCHEMA,
            id: &report.id,
            kind: report.kind,
            started_at: rfc3339(report.started_ms),
            finished_at: rfc3339(report.finished_ms),
            plan_digest: report.plan_digest.as_deref(),
            outcome: report.outcome,
            resumed: report.resumed,
            tables: &report.tables,
            files: report.files,
            differences: listed.map(|one| difference(one, show_values)).collect(),
            calls: report.calls,
            bytes: report.bytes,
            notes: &report.notes,
        }
    }
}

/// The report as an indented document with a line break at its end.
pub fn render(report: &Report, show_values: bool) -> String {
    // Texts, numbers and maps with keys of text: there is nothing in it that JSON cannot hold.
    let mut text =
        serde_json::to_string_pretty(&Document::new(report, show_values)).unwrap_or_default();
    text.push('\n');
    text
}

/// A difference as a report may show it.
pub fn difference(one: &Difference, show_values: bool) -> Difference {
    let shown = |drift: &FieldDrift| mask::field(drift, show_values);
    Difference {
        fields: one.fields.iter().map(shown).collect(),
        reason: one.reason.as_deref().map(cut),
        ..one.clone()
    }
}

fn cut(reason: &str) -> String {
    match reason.char_indices().nth(LONGEST_REASON) {
        None => reason.to_owned(),
        Some((end, _)) => format!("{}…", &reason[..end]),
    }
}

/// A time as reports write it: UTC, to the millisecond. A time that no calendar has is the epoch.
pub fn rfc3339(ms: i64) -> String {
    DateTime::from_timestamp_millis(ms)
        .unwrap_or_default()
        .to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// The part of a document that tells the run but not each difference.
#[derive(Deserialize)]
struct Head {
    schema: String,
    id: String,
    kind: RunKind,
    started_at: String,
    finished_at: String,
    #[serde(default)]
    plan_digest: Option<String>,
    outcome: RunOutcome,
    #[serde(default)]
    resumed: bool,
    tables: BTreeMap<String, TableFigures>,
    #[serde(default)]
    files: Option<FileFigures>,
    #[serde(default)]
    calls: Calls,
    #[serde(default)]
    bytes: Bytes,
    #[serde(default)]
    notes: Vec<String>,
}

#[derive(Deserialize)]
struct Listed {
    differences: Vec<ReadDifference>,
}

#[derive(Deserialize)]
struct ReadDifference {
    table: String,
    key: String,
    kind: DriftKind,
    #[serde(default)]
    fields: Vec<FieldDrift>,
    action: Action,
    #[serde(default)]
    reason: Option<String>,
}

impl ReadDifference {
    fn value(self) -> Result<Difference, ReadError> {
        let key = Key::parse(&self.key).ok_or(ReadError::Content { what: "keys" })?;
        let table = Table::ALL
            .into_iter()
            .find(|table| table.name() == self.table);
        Ok(Difference {
            table: table.ok_or(ReadError::Content { what: "tables" })?,
            key,
            kind: self.kind,
            fields: self.fields,
            action: self.action,
            reason: self.reason,
        })
    }
}

/// Reads a report. Values stay as they were written, masked or not.
///
/// # Errors
/// What is no report of this form.
pub fn read(text: &[u8]) -> Result<Report, ReadError> {
    let head = head(text)?;
    let listed: Listed = serde_json::from_slice(text)?;
    let differences = listed
        .differences
        .into_iter()
        .filter(|one| Table::ALL.iter().any(|table| table.name() == one.table))
        .take(Report::MAX_DIFFERENCES)
        .map(ReadDifference::value)
        .collect::<Result<_, _>>()?;
    report(head, differences)
}

/// Reads what a list of reports shows, and passes over the differences.
///
/// # Errors
/// What is no report of this form.
pub fn read_summary(text: &[u8]) -> Result<Summary, ReadError> {
    Ok(Summary::of(&report(head(text)?, Vec::new())?))
}

/// Reads one line of the list of all differences.
///
/// # Errors
/// What is no difference.
pub fn read_difference(line: &[u8]) -> Result<Difference, ReadError> {
    serde_json::from_slice::<ReadDifference>(line)?.value()
}

/// True if the line is a difference in which no column is named: nothing in it depends on whether values are shown.
pub fn holds_no_values(line: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Columns {
        fields: Vec<IgnoredAny>,
    }
    serde_json::from_slice(line).is_ok_and(|Columns { fields }| fields.is_empty())
}

fn head(text: &[u8]) -> Result<Head, ReadError> {
    let head: Head = serde_json::from_slice(text)?;
    if head.schema == SCHEMA {
        Ok(head)
    } else {
        Err(ReadError::Schema { found: head.schema })
    }
}

fn report(head: Head, differences: Vec<Difference>) -> Result<Report, ReadError> {
    Ok(Report {
        started_ms: millis(&head.started_at)?,
        finished_ms: millis(&head.finished_at)?,
        tables: known_tables(&head.tables),
        id: head.id,
        kind: head.kind,
        plan_digest: head.plan_digest,
        outcome: head.outcome,
        resumed: head.resumed,
        files: head.files,
        differences,
        calls: head.calls,
        bytes: head.bytes,
        notes: head.notes,
    })
}

/// A newer release may compare tables that this one does not know.
fn known_tables(tables: &BTreeMap<String, TableFigures>) -> BTreeMap<Table, TableFigures> {
    let known = Table::ALL
        .into_iter()
        .filter_map(|table| Some((table, *tables.get(table.name())?)));
    known.collect()
}

fn millis(time: &str) -> Result<i64, ReadError> {
    DateTime::parse_from_rfc3339(time)
        .map(|time| time.timestamp_millis())
        .map_err(|_| ReadError::Content { what: "times" })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::report::samples;

    #[test]
    fn the_document_is_as_it_was_published() {
        insta::assert_snapshot!(render(&samples::three(), false));
    }

    #[test]
    fn what_is_written_is_read_back() {
        for report in [
            samples::none(),
            samples::three(),
            samples::many(1000),
            samples::held(),
            samples::ownerless(),
        ] {
            let read = read(render(&report, true).as_bytes()).unwrap();
            assert_eq!(read, report);
            let summary = read_summary(render(&report, false).as_bytes()).unwrap();
            assert_eq!(summary, Summary::of(&report));
        }
    }

    #[test]
    fn files_without_an_owner_stand_beside_the_tables_and_only_where_they_were_counted() {
        let document =
            |report: &Report| -> Value { serde_json::from_str(&render(report, false)).unwrap() };
        assert_eq!(
            document(&samples::ownerless())["files"],
            json!({ "ownerless": 1_234 })
        );
        assert!(document(&samples::none()).get("files").is_none());
    }

    #[test]
    fn a_report_lists_the_first_thousand_and_masks_them() {
        let text = render(&samples::many(1200), false);
        let document: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(document["differences"].as_array().unwrap().len(), 1000);
        assert!(!text.contains(samples::PERSONAL), "a value was shown");
        assert!(render(&samples::many(1200), true).contains(samples::PERSONAL));
    }

    #[test]
    fn unknown_keys_and_tables_are_passed_over_and_another_form_is_not_read() {
        let text = render(&samples::three(), true);
        let mut document: Value = serde_json::from_str(&text).unwrap();
        document["weather"] = json!("fine");
        document["tables"]["sessions"] = json!({ "clerk": 5 });
        document["differences"][0]["colour"] = json!("red");
        let mut foreign = document["differences"][0].clone();
        foreign["table"] = json!("sessions");
        document["differences"]
            .as_array_mut()
            .unwrap()
            .push(foreign);
        assert_eq!(
            read(document.to_string().as_bytes()).unwrap(),
            samples::three()
        );
        document["schema"] = json!("clerk-convex-sync/report/2");
        let error = read(document.to_string().as_bytes()).unwrap_err();
        assert!(matches!(error, ReadError::Schema { .. }), "{error}");
        for (pointer, nonsense) in [
            ("/started_at", json!("yesterday")),
            ("/differences/0/key", json!("../../etc/passwd")),
            ("/outcome", json!("splendid")),
        ] {
            let mut document: Value = serde_json::from_str(&text).unwrap();
            *document.pointer_mut(pointer).unwrap() = nonsense;
            assert!(read(document.to_string().as_bytes()).is_err(), "{pointer}");
        }
    }
}
