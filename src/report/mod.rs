//! What people are told: alerts, reports of what a run found and did, and the log of all that was written.
//!
//! A [`Report`] is a value, built once by a run and rendered by others. It tells what it was given and asks
//! nobody.

pub mod alert;
pub mod digest;
pub mod history;
pub mod html;
pub mod json;
pub mod markdown;
pub mod mask;
pub mod oplog;
#[cfg(test)]
mod samples;
mod summary;
pub mod text;
mod words;

pub use summary::Summary;

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::model::{Difference, DriftKind, Table};

/// What a run was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunKind {
    /// Compare everything, write nothing.
    Audit,
    /// Compare everything and put right what differs. The scheduled full diff is one.
    Reconcile,
    /// The newest changes in Clerk.
    Sweep,
    /// Counts, and the ranges whose counts differ.
    Census,
}

impl RunKind {
    /// The name in reports and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            RunKind::Audit => "audit",
            RunKind::Reconcile => "reconcile",
            RunKind::Sweep => "sweep",
            RunKind::Census => "census",
        }
    }
}

impl fmt::Display for RunKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunOutcome {
    /// Nothing differed.
    InSync,
    /// What differed was put right.
    Repaired,
    /// Something differs and was left alone.
    Differences,
    /// Deletions wait for approval.
    Held,
    /// Not everything could be looked at or put right.
    Failed,
}

impl RunOutcome {
    /// The name in reports and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            RunOutcome::InSync => "in_sync",
            RunOutcome::Repaired => "repaired",
            RunOutcome::Differences => "differences",
            RunOutcome::Held => "held",
            RunOutcome::Failed => "failed",
        }
    }

    /// True if the run saw everything that it was to see; moves "last success".
    pub const fn is_complete(self) -> bool {
        !matches!(self, RunOutcome::Failed)
    }
}

/// The figures of one table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TableFigures {
    /// Records that Clerk listed.
    pub clerk: u64,
    /// Rows that Convex listed.
    pub convex: u64,
    /// Records without a row.
    pub missing: u64,
    /// Rows with other content.
    pub stale: u64,
    /// Rows without a record.
    pub orphaned: u64,
    /// Keys with several rows.
    pub duplicate: u64,
    /// Differences that were put right.
    pub repaired: u64,
    /// Differences that wait for a person.
    pub held: u64,
    /// Differences that could not be put right.
    pub failed: u64,
}

impl TableFigures {
    /// Adds another's figures to these.
    pub fn add(&mut self, more: &TableFigures) {
        self.clerk += more.clerk;
        self.convex += more.convex;
        self.missing += more.missing;
        self.stale += more.stale;
        self.orphaned += more.orphaned;
        self.duplicate += more.duplicate;
        self.repaired += more.repaired;
        self.held += more.held;
        self.failed += more.failed;
    }

    /// The number of differences of a kind, to be counted up.
    pub fn of_mut(&mut self, kind: DriftKind) -> &mut u64 {
        match kind {
            DriftKind::Missing => &mut self.missing,
            DriftKind::Stale => &mut self.stale,
            DriftKind::Orphaned => &mut self.orphaned,
            DriftKind::Duplicate => &mut self.duplicate,
        }
    }

    /// The number of differences of a kind.
    pub const fn of(&self, kind: DriftKind) -> u64 {
        match kind {
            DriftKind::Missing => self.missing,
            DriftKind::Stale => self.stale,
            DriftKind::Orphaned => self.orphaned,
            DriftKind::Duplicate => self.duplicate,
        }
    }

    /// All differences.
    pub fn differences(&self) -> u64 {
        self.missing + self.stale + self.orphaned + self.duplicate
    }
}

/// What a run cost in requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Calls {
    /// To Clerk.
    pub clerk: u64,
    /// Queries to Convex.
    pub convex_queries: u64,
    /// Mutations in Convex.
    pub convex_mutations: u64,
}

/// What a run cost in bytes of answers read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bytes {
    /// From Clerk.
    pub clerk: u64,
    /// From Convex.
    pub convex: u64,
}

/// What a run saw of the app's files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FileFigures {
    /// Files whose owner has no row any more. No difference: whether they may stay is the app's to say.
    pub ownerless: u64,
}

/// What a run found and did. Its `differences` are the first [`Report::MAX_DIFFERENCES`]; all of them stand in
/// the NDJSON file beside it.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// A UUIDv7: sorts by time.
    pub id: String,
    /// What it was for.
    pub kind: RunKind,
    /// Milliseconds since the epoch.
    pub started_ms: i64,
    /// Milliseconds since the epoch.
    pub finished_ms: i64,
    /// Of a plan that is held.
    pub plan_digest: Option<String>,
    /// How it ended.
    pub outcome: RunOutcome,
    /// True if it went on where an earlier process was cut off.
    pub resumed: bool,
    /// The tables that were looked at.
    pub tables: BTreeMap<Table, TableFigures>,
    /// The app's files, where the deployment can count them.
    pub files: Option<FileFigures>,
    /// What differed. Values are not masked here.
    pub differences: Vec<Difference>,
    /// Requests.
    pub calls: Calls,
    /// Bytes.
    pub bytes: Bytes,
    /// What else a person should know (pages that could not be read, missed deliveries, what was overtaken):
    /// whole sentences without personal values.
    pub notes: Vec<String>,
}

impl Report {
    /// The differences that a report holds itself.
    pub const MAX_DIFFERENCES: usize = 1000;
}

/// In what a report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For a terminal of 80 columns.
    Text,
    /// For programs.
    Json,
    /// For a pull request or an issue.
    Markdown,
    /// One page for a browser, which needs nothing else.
    Html,
}

/// The report in a format. `past` are earlier runs, in any order, for the charts of the page; the others
/// have no use for them. Personal values are masked unless `show_values`.
pub fn render(report: &Report, past: &[Summary], format: Format, show_values: bool) -> String {
    match format {
        Format::Text => text::render(report, show_values),
        Format::Json => json::render(report, show_values),
        Format::Markdown => markdown::render(report, show_values),
        Format::Html => html::render(report, past, show_values),
    }
}
