//! Runs that found nothing: counted by the hour, and the last of each kind.
//!
//! A sweep every half minute would be three thousand files a day that say "nothing". What they cost is told
//! all the same. The counts are written every few minutes and are worth no more: a kill loses the rest.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use super::{HistoryError, files};
use crate::report::{Calls, Report, RunKind, Summary, json};

/// The file's name, which no report can have.
pub(super) const ID: &str = "quiet";
/// The most that is read of it, in bytes. It has about 20,000.
const MAX_BYTES: u64 = 1 << 20;
/// Hours that are kept: more than a day's digest looks at.
const HOURS: usize = 48;
const HOUR_MS: i64 = 3_600_000;
/// How long counts are in memory only, in milliseconds.
const SAVE_EVERY_MS: i64 = 5 * 60_000;

/// What runs cost that found nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Spent {
    /// How many there were.
    pub runs: u64,
    /// How long they took together, in milliseconds.
    pub took_ms: u64,
    /// Their requests.
    pub calls: Calls,
}

/// Runs that found nothing.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct QuietRuns {
    /// By the hour since the epoch in which they ended.
    hours: BTreeMap<i64, BTreeMap<RunKind, Spent>>,
    /// The last of each kind, as a report without differences.
    last: BTreeMap<RunKind, Value>,
    #[serde(skip)]
    saved_ms: i64,
}

impl QuietRuns {
    /// What they cost since a time, by kind, counted in whole hours.
    pub fn since(&self, ms: i64) -> BTreeMap<RunKind, Spent> {
        let mut sums: BTreeMap<RunKind, Spent> = BTreeMap::new();
        for kinds in self
            .hours
            .range(ms.div_euclid(HOUR_MS)..)
            .map(|(_, kinds)| kinds)
        {
            for (kind, spent) in kinds {
                let sum = sums.entry(*kind).or_default();
                sum.runs += spent.runs;
                sum.took_ms += spent.took_ms;
                sum.calls.clerk += spent.calls.clerk;
                sum.calls.convex_queries += spent.calls.convex_queries;
                sum.calls.convex_mutations += spent.calls.convex_mutations;
            }
        }
        sums
    }

    /// The last of a kind.
    pub(super) fn last(&self, kind: RunKind) -> Option<Summary> {
        let text = self.last.get(&kind)?.to_string();
        json::read_summary(text.as_bytes()).ok()
    }

    /// Counts a run. True when the counts are to be written again.
    pub(in crate::report) fn add(&mut self, report: &Report) -> bool {
        let hour = report.finished_ms.div_euclid(HOUR_MS);
        let summary = Summary::of(report);
        let spent = self.hours.entry(hour).or_default();
        let spent = spent.entry(report.kind).or_default();
        spent.runs += 1;
        spent.took_ms += summary.took_ms();
        spent.calls.clerk += report.calls.clerk;
        spent.calls.convex_queries += report.calls.convex_queries;
        spent.calls.convex_mutations += report.calls.convex_mutations;
        while self.hours.len() > HOURS {
            self.hours.pop_first();
        }
        if let Ok(document) = serde_json::to_value(json::Document::new(report, false)) {
            self.last.insert(report.kind, document);
        }
        // A clock that was set back must not keep the counts in memory for ever.
        let due = (report.finished_ms - self.saved_ms).abs() >= SAVE_EVERY_MS;
        if due {
            self.saved_ms = report.finished_ms;
        }
        due
    }

    /// What was written last; nothing if that cannot be read.
    pub(super) fn load(dir: &Path) -> Self {
        let path = dir.join(format!("{ID}.json"));
        let text = files::read(&path, MAX_BYTES).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Writes the counts down.
    pub(super) fn save(&self, dir: &Path) -> Result<(), HistoryError> {
        let path = dir.join(format!("{ID}.json"));
        // Numbers and names: nothing in it that JSON cannot hold.
        let text = serde_json::value::to_raw_value(self);
        let text = text.as_deref().map(RawValue::get).unwrap_or_default();
        files::replace(dir, &path, text.as_bytes())
    }
}
