//! A run in a few figures: what lists, charts and digests are made from.
//!
//! A value; holds no difference and so nothing personal.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer, ser::SerializeStruct};

use super::{Bytes, Calls, Report, RunKind, RunOutcome, TableFigures, json::rfc3339};
use crate::model::{DriftKind, Table};

/// A run without its differences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// A UUIDv7: sorts by time.
    pub id: String,
    /// What the run was for.
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
    /// Requests.
    pub calls: Calls,
    /// Bytes.
    pub bytes: Bytes,
}

impl Summary {
    /// The figures of a report.
    pub fn of(report: &Report) -> Self {
        Summary {
            id: report.id.clone(),
            kind: report.kind,
            started_ms: report.started_ms,
            finished_ms: report.finished_ms,
            plan_digest: report.plan_digest.clone(),
            outcome: report.outcome,
            resumed: report.resumed,
            tables: report.tables.clone(),
            calls: report.calls,
            bytes: report.bytes,
        }
    }

    /// All tables in one.
    pub fn total(&self) -> TableFigures {
        total(&self.tables)
    }

    /// How long the run took, in milliseconds.
    pub fn took_ms(&self) -> u64 {
        u64::try_from(self.finished_ms - self.started_ms).unwrap_or(0)
    }
}

/// As `reports list --json` has it: the keys of the report, with the number of differences for their list.
impl Serialize for Summary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Summary", 11)?;
        out.serialize_field("id", &self.id)?;
        out.serialize_field("kind", &self.kind)?;
        out.serialize_field("started_at", &rfc3339(self.started_ms))?;
        out.serialize_field("finished_at", &rfc3339(self.finished_ms))?;
        out.serialize_field("plan_digest", &self.plan_digest)?;
        out.serialize_field("outcome", &self.outcome)?;
        out.serialize_field("resumed", &self.resumed)?;
        out.serialize_field("tables", &self.tables)?;
        out.serialize_field("differences", &self.total().differences())?;
        out.serialize_field("calls", &self.calls)?;
        out.serialize_field("bytes", &self.bytes)?;
        out.end()
    }
}

/// The sum of the figures of all tables.
pub fn total(tables: &BTreeMap<Table, TableFigures>) -> TableFigures {
    let mut sum = TableFigures::default();
    for figures in tables.values() {
        sum.clerk += figures.clerk;
        sum.convex += figures.convex;
        for kind in DriftKind::ALL {
            *sum.of_mut(kind) += figures.of(kind);
        }
        sum.repaired += figures.repaired;
        sum.held += figures.held;
        sum.failed += figures.failed;
    }
    sum
}
