//! The sentences and figures that every rendering of a report has in common.
//!
//! Pure: values in, plain English out. Knows no markup; each rendering escapes for itself.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Calls, Report, RunKind, RunOutcome, TableFigures, summary};
use crate::model::{Difference, Table};

/// What a plan is approved with.
pub const APPROVE: &str = "clerk-convex-sync reconcile --approve";

/// A number as a person reads it: `1,234,567`.
pub fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number and what it counts: `1 user`, `2 users`.
pub fn count(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", number(n), if n == 1 { one } else { many })
}

/// A duration in milliseconds as a person says it.
pub fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    match (seconds / 3600, seconds / 60 % 60) {
        (0, 0) if ms < 1000 => format!("{ms} ms"),
        (0, 0) => format!("{}.{} s", seconds, ms % 1000 / 100),
        (0, minutes) => format!("{minutes} min {} s", seconds % 60),
        (hours, minutes) => format!("{} h {minutes} min", number(hours)),
    }
}

/// Bytes as a person says them, in powers of a thousand.
pub fn bytes(n: u64) -> String {
    const UNITS: [(u64, &str); 4] = [
        (1_000_000_000_000, "TB"),
        (1_000_000_000, "GB"),
        (1_000_000, "MB"),
        (1_000, "kB"),
    ];
    match UNITS.into_iter().find(|(size, _)| n >= *size) {
        Some((size, unit)) => format!("{}.{} {unit}", n / size, n % size * 10 / size),
        None => format!("{n} B"),
    }
}

/// A time of day as reports show it to people, to the second.
pub fn time(ms: i64) -> String {
    chrono::DateTime::from_timestamp_millis(ms)
        .unwrap_or_default()
        .format("%Y-%m-%d %H:%M:%S UTC")
        .to_string()
}

/// The name of a kind of run at the beginning of a line.
pub const fn kind(kind: RunKind) -> &'static str {
    match kind {
        RunKind::Audit => "Audit",
        RunKind::Reconcile => "Reconcile",
        RunKind::Sweep => "Sweep",
        RunKind::Census => "Census",
    }
}

/// How a run ended, in a word or two.
pub const fn outcome(outcome: RunOutcome) -> &'static str {
    match outcome {
        RunOutcome::InSync => "in sync",
        RunOutcome::Repaired => "repaired",
        RunOutcome::Differences => "differences",
        RunOutcome::Held => "held",
        RunOutcome::Failed => "failed",
    }
}

/// What the records of a table are called.
const fn records(table: Table) -> (&'static str, &'static str) {
    match table {
        Table::Users => ("user", "users"),
        Table::Profiles => ("profile", "profiles"),
        Table::Organizations => ("organization", "organizations"),
        Table::Memberships => ("membership", "memberships"),
    }
}

/// The whole run in one sentence.
pub fn sentence(report: &Report) -> String {
    let total = summary::total(&report.tables);
    let took = duration(took_ms(report));
    let found = found(report, &total);
    if total.differences() == 0 {
        return match report.outcome {
            RunOutcome::Failed => {
                format!("The run ended after {took} without having seen everything.")
            }
            _ => format!("{found}. It took {took}."),
        };
    }
    let unseen = match report.outcome {
        RunOutcome::Failed if total.failed == 0 => " Not everything could be looked at.",
        _ => "",
    };
    let n = total.differences();
    if total.repaired == n {
        let all = if n == 1 { "it was" } else { "all were" };
        return format!("{found}; {all} repaired in {took}.{unseen}");
    }
    let became = what_became(report, &total);
    format!("{found}; {became}. It took {took}.{unseen}")
}

/// The records that were looked at, on whichever side there are more.
pub fn seen(figures: &TableFigures) -> u64 {
    figures.clerk.max(figures.convex)
}

/// `12 of 10,000 users differed`, or what there was if nothing did.
fn found(report: &Report, total: &TableFigures) -> String {
    let differing: Vec<_> = report
        .tables
        .iter()
        .filter(|(_, figures)| figures.differences() > 0)
        .collect();
    match differing[..] {
        [] if seen(total) == 0 => "There was nothing to compare".to_owned(),
        [] => {
            let all: Vec<_> = report
                .tables
                .iter()
                .map(|(table, figures)| {
                    let (one, many) = records(*table);
                    count(seen(figures), one, many)
                })
                .collect();
            format!("Clerk and Convex agree about {}", and(&all))
        }
        [(table, figures)] => {
            let (one, many) = records(*table);
            let (n, of) = (
                figures.differences(),
                seen(figures).max(figures.differences()),
            );
            format!("{} of {} differed", number(n), count(of, one, many))
        }
        _ => {
            let parts: Vec<_> = differing
                .iter()
                .map(|(table, figures)| {
                    let (one, many) = records(**table);
                    count(figures.differences(), one, many)
                })
                .collect();
            let of: u64 = report.tables.values().map(seen).sum();
            let n = total.differences();
            let of = count(of.max(n), "record", "records");
            format!("{} of {of} differed ({})", number(n), parts.join(", "))
        }
    }
}

/// What was done about differences that were not all put right.
fn what_became(report: &Report, total: &TableFigures) -> String {
    let n = total.differences();
    match (total.repaired, total.held, total.failed) {
        (0, 0, 0) if report.kind == RunKind::Audit => return "an audit changes nothing".to_owned(),
        (0, 0, 0) => return "nothing was changed".to_owned(),
        (0, held, 0) if held == n && n == 1 => return "it waits for approval".to_owned(),
        (0, held, 0) if held == n => return "all wait for approval".to_owned(),
        _ => {}
    }
    let left = n.saturating_sub(total.repaired + total.held + total.failed);
    let parts: Vec<_> = [
        (total.repaired, "was repaired", "were repaired"),
        (total.held, "waits for approval", "wait for approval"),
        (
            total.failed,
            "could not be put right",
            "could not be put right",
        ),
        (left, "was left as it was", "were left as they were"),
    ]
    .into_iter()
    .filter(|(count, ..)| *count > 0)
    .map(|(n, one, many)| count(n, one, many))
    .collect();
    and(&parts)
}

/// How long the run took, in milliseconds. A clock that was set back makes it nothing, not less.
pub fn took_ms(report: &Report) -> u64 {
    u64::try_from(report.finished_ms - report.started_ms).unwrap_or(0)
}

/// What the run cost, in requests and bytes.
pub fn cost(report: &Report) -> String {
    format!(
        "{}; {} and {} read",
        requests(report.calls),
        bytes(report.bytes.clerk),
        bytes(report.bytes.convex),
    )
}

/// How many files have no owner, where that was counted.
pub fn files(report: &Report) -> Option<String> {
    let ownerless = report.files?.ownerless;
    Some(match ownerless {
        0 => "none without its owner".to_owned(),
        some => format!("{} without an owner any more", count(some, "file", "files")),
    })
}

/// Requests to both services.
pub fn requests(calls: Calls) -> String {
    format!(
        "{} to Clerk, {} and {} to Convex",
        count(calls.clerk, "request", "requests"),
        count(calls.convex_queries, "query", "queries"),
        count(calls.convex_mutations, "mutation", "mutations"),
    )
}

/// The users by which the cost is measured.
pub const PER_USERS: u64 = 1_000_000;

/// The users from which on a run says what many cost: ten pages of Clerk's.
const ENOUGH_USERS: u64 = 5_000;

/// What a full comparison would cost of [`PER_USERS`] users at this rate: requests to Clerk, queries,
/// mutations. `None` of a run that did not list all users, and of one that listed so few that what every run
/// costs would be taken for what users cost.
pub fn cost_per_million(report: &Report) -> Option<[u64; 3]> {
    let full = matches!(report.kind, RunKind::Audit | RunKind::Reconcile);
    let users = report.tables.get(&Table::Users)?.clerk;
    if !full || users < ENOUGH_USERS || !report.outcome.is_complete() {
        return None;
    }
    let scaled = |calls: u64| {
        let exact = u128::from(calls) * u128::from(PER_USERS) / u128::from(users);
        u64::try_from(exact).unwrap_or(u64::MAX)
    };
    let calls = report.calls;
    Some([calls.clerk, calls.convex_queries, calls.convex_mutations].map(scaled))
}

/// `a, b and c`.
pub fn and(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [one] => one.clone(),
        [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
    }
}

/// A value as a person reads it. Nothing at all is told apart from an empty text.
pub fn value(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::String(text) if text.trim().is_empty() => inert(&format!("\"{text}\"")),
        Value::String(text) => inert(text),
        other => inert(&other.to_string()),
    }
}

/// Text that does nothing but be read: no control or direction marks, which a terminal would obey, and no
/// beginning that a spreadsheet would take for a formula.
pub fn inert(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        let steers = c.is_control()
            || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
        plain.push(if steers { '\u{fffd}' } else { c });
    }
    let phone = |rest: &str| {
        rest.chars()
            .all(|c| c.is_ascii_digit() || c == '…' || c == ' ')
    };
    let formula = plain.starts_with(['=', '-', '@'])
        || plain.strip_prefix('+').is_some_and(|rest| !phone(rest));
    if formula {
        plain.insert(0, '\'');
    }
    plain
}

/// The differences that a report has beyond those that it lists.
pub fn unlisted(report: &Report, listed: usize) -> u64 {
    let all = summary::total(&report.tables).differences();
    all.max(report.differences.len() as u64)
        .saturating_sub(listed as u64)
}

/// Reasons that several of these differences share, in order of appearance: each is said once, under its number.
pub struct SharedReasons(Vec<String>);

impl SharedReasons {
    /// Finds them.
    pub fn of(differences: &[Difference]) -> SharedReasons {
        let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
        let reasons = || differences.iter().filter_map(|one| one.reason.as_deref());
        reasons().for_each(|reason| *counts.entry(reason).or_default() += 1);
        // Taken out at the first appearance, so that each is there once.
        let shared = reasons().filter(|reason| counts.remove(reason).is_some_and(|n| n > 1));
        SharedReasons(shared.map(str::to_owned).collect())
    }

    /// The number of this reason, from 1; `None` if nobody shares it.
    pub fn number(&self, reason: &str) -> Option<usize> {
        let place = self.0.iter().position(|shared| shared == reason);
        place.map(|place| place + 1)
    }

    /// All of them with their numbers.
    pub fn all(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.0.iter().map(String::as_str))
    }
}

#[cfg(test)]
mod tests;
