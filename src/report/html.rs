//! A report as one page for a browser: no script, nothing fetched, readable on a telephone and in the dark.
//!
//! Pure. Every value is escaped by the template, does nothing in a spreadsheet (`words::inert`), and a policy in
//! the page forbids whatever might get through all the same. What the page looks like stands in
//! `templates/report.html` and `report.css`; here is only what it says.

mod chart;

use askama::Template;

use self::chart::{Chart, Series};
use super::{
    Report, RunKind, RunOutcome, Summary, TableFigures, json, summary,
    words::{self, SharedReasons},
};
use crate::model::{Action, Difference, DriftKind, Table};

/// Runs in a chart, with the one that is told: a month of daily ones.
const CHARTED: usize = 30;

/// The report as a page. `past` are earlier runs in any order.
pub fn render(report: &Report, past: &[Summary], show_values: bool) -> String {
    let runs = charted(report, past);
    let total = summary::total(&report.tables);
    let listed = report.differences.len().min(Report::MAX_DIFFERENCES);
    let shown: Vec<Difference> = report.differences[..listed]
        .iter()
        .map(|one| json::difference(one, show_values))
        .collect();
    let shared = SharedReasons::of(&shown);
    let differences = shown.iter().map(|one| Row::of(one, &shared)).collect();
    let page = Page {
        css: include_str!("../../templates/report.css"),
        nonce: nonce(report),
        kind: words::kind(report.kind),
        outcome: words::outcome(report.outcome),
        tone: tone(report.outcome),
        sentence: words::sentence(report),
        id: words::inert(&report.id),
        started: words::time(report.started_ms),
        took: words::duration(words::took_ms(report)),
        resumed: report.resumed,
        files: words::files(report),
        approve: report
            .plan_digest
            .as_ref()
            .map(|digest| format!("{} {}", words::APPROVE, words::inert(digest))),
        held: words::number(total.held),
        notes: report.notes.iter().map(|note| words::inert(note)).collect(),
        cards: cards(report, &total),
        figures: figures(report),
        charts: charts(&runs),
        runs: runs.iter().rev().map(RunRow::of).collect(),
        kinds: filters(&report.differences[..listed]),
        all: words::number(total.differences().max(listed as u64)),
        listed: words::number(listed as u64),
        more: words::unlisted(report, listed) > 0,
        differences,
        reasons: shared
            .all()
            .map(|(_, reason)| words::inert(reason))
            .collect(),
        compared: report.outcome.is_complete(),
        per_million: words::cost_per_million(report).map(|all| all.map(words::number)),
        cost: words::cost(report),
        show_values,
    };
    // Only a writer can fail, and a text does not.
    page.render().unwrap_or_default()
}

#[derive(Template)]
#[template(path = "report.html")]
struct Page {
    css: &'static str,
    nonce: String,
    kind: &'static str,
    outcome: &'static str,
    tone: &'static str,
    sentence: String,
    id: String,
    started: String,
    took: String,
    resumed: bool,
    files: Option<String>,
    approve: Option<String>,
    held: String,
    notes: Vec<String>,
    cards: Vec<Card>,
    figures: Vec<Figures>,
    charts: Vec<Chart>,
    runs: Vec<RunRow>,
    kinds: Vec<Filter>,
    all: String,
    listed: String,
    more: bool,
    differences: Vec<Row>,
    /// Reasons that several differences share, in the order of their numbers.
    reasons: Vec<String>,
    compared: bool,
    per_million: Option<[String; 3]>,
    cost: String,
    show_values: bool,
}

/// A figure that is seen first.
struct Card {
    label: &'static str,
    value: String,
    hint: String,
    tone: &'static str,
}

/// A row of the table of figures.
struct Figures {
    table: Table,
    cells: Vec<Cell>,
}

struct Cell {
    text: String,
    tone: &'static str,
}

/// A run in the table behind the charts.
struct RunRow {
    started: String,
    kind: &'static str,
    outcome: &'static str,
    tone: &'static str,
    differences: String,
    repaired: String,
    calls: String,
    took: String,
}

/// A kind of difference that can be shown alone.
struct Filter {
    name: &'static str,
    count: String,
}

/// A difference.
struct Row {
    table: Table,
    key: String,
    kind: &'static str,
    /// In place of columns, where none differs.
    what: &'static str,
    fields: Vec<FieldRow>,
    action: &'static str,
    tone: &'static str,
    reason: Option<String>,
    /// In its place, where others share it.
    number: Option<usize>,
}

struct FieldRow {
    name: String,
    clerk: String,
    convex: String,
}

impl Row {
    fn of(difference: &Difference, shared: &SharedReasons) -> Self {
        let reason = difference.reason.as_deref();
        let number = reason.and_then(|reason| shared.number(reason));
        let fields = difference.fields.iter().map(|drift| FieldRow {
            name: words::inert(&drift.field),
            clerk: words::value(&drift.clerk),
            convex: words::value(&drift.convex),
        });
        Row {
            table: difference.table,
            key: difference.key.to_string(),
            kind: difference.kind.name(),
            what: match difference.kind {
                DriftKind::Missing => "in Clerk, no row in Convex",
                DriftKind::Stale => "other content",
                DriftKind::Orphaned => "a row in Convex, not in Clerk",
                DriftKind::Duplicate => "several rows in Convex",
            },
            fields: fields.collect(),
            action: match difference.action {
                Action::None => "left",
                action => action.name(),
            },
            tone: match difference.action {
                Action::None => "plain",
                Action::Held => "warn",
                Action::Failed => "bad",
                Action::Created | Action::Updated | Action::Deleted => "good",
            },
            reason: reason.filter(|_| number.is_none()).map(words::inert),
            number,
        }
    }

    /// The lines that the record takes.
    fn span(&self) -> usize {
        self.fields.len().max(1)
    }
}

impl RunRow {
    fn of(run: &Summary) -> Self {
        let total = run.total();
        let calls = run.calls;
        RunRow {
            started: words::time(run.started_ms),
            kind: words::kind(run.kind),
            outcome: words::outcome(run.outcome),
            tone: tone(run.outcome),
            differences: words::number(total.differences()),
            repaired: words::number(total.repaired),
            calls: words::number(calls.clerk + calls.convex_queries + calls.convex_mutations),
            took: words::duration(run.took_ms()),
        }
    }
}

const fn tone(outcome: RunOutcome) -> &'static str {
    match outcome {
        RunOutcome::InSync | RunOutcome::Repaired => "good",
        RunOutcome::Differences | RunOutcome::Held => "warn",
        RunOutcome::Failed => "bad",
    }
}

/// What nobody can know who put a value into the report: it goes over the whole report, id included.
fn nonce(report: &Report) -> String {
    let hash = blake3::hash(json::render(report, true).as_bytes());
    hash.to_hex().chars().take(32).collect()
}

fn cards(report: &Report, total: &TableFigures) -> Vec<Card> {
    let plural = |n: u64, one, many| if n == 1 { one } else { many };
    let open = total.held + total.failed;
    let calls = report.calls;
    let all_calls = calls.clerk + calls.convex_queries + calls.convex_mutations;
    let card = |label, value: String, hint: String, tone| Card {
        label,
        value,
        hint,
        tone,
    };
    let tables = report.tables.len() as u64;
    let shown = |n: u64, tone: &'static str| if n == 0 { "plain" } else { tone };
    vec![
        card(
            "Compared",
            words::number(report.tables.values().map(words::seen).sum()),
            format!("records in {}", words::count(tables, "table", "tables")),
            "plain",
        ),
        card(
            "Differed",
            words::number(total.differences()),
            plural(total.differences(), "record", "records").to_owned(),
            shown(
                total.differences() - total.repaired.min(total.differences()),
                "warn",
            ),
        ),
        card(
            "Repaired",
            words::number(total.repaired),
            "now the same".to_owned(),
            shown(total.repaired, "good"),
        ),
        card(
            "Open",
            words::number(open),
            format!(
                "{} held, {} failed",
                words::number(total.held),
                words::number(total.failed)
            ),
            shown(open, if total.failed > 0 { "bad" } else { "warn" }),
        ),
        card(
            "Requests",
            words::number(all_calls),
            format!("{} to Clerk", words::number(calls.clerk)),
            "plain",
        ),
        card(
            "Read",
            words::bytes(report.bytes.clerk + report.bytes.convex),
            format!("{} from Clerk", words::bytes(report.bytes.clerk)),
            "plain",
        ),
    ]
}

fn figures(report: &Report) -> Vec<Figures> {
    let rows = report.tables.iter().map(|(table, figures)| {
        let cells = [
            (figures.clerk, "plain"),
            (figures.convex, "plain"),
            (figures.missing, "strong"),
            (figures.stale, "strong"),
            (figures.orphaned, "strong"),
            (figures.duplicate, "strong"),
            (figures.repaired, "good"),
            (figures.held, "warn"),
            (figures.failed, "bad"),
        ];
        let cells = cells.into_iter().map(|(n, tone)| Cell {
            text: words::number(n),
            tone: if n == 0 { "zero" } else { tone },
        });
        Figures {
            table: *table,
            cells: cells.collect(),
        }
    });
    rows.collect()
}

fn filters(differences: &[Difference]) -> Vec<Filter> {
    let counted = DriftKind::ALL.into_iter().map(|kind| {
        let of_kind = differences.iter().filter(|one| one.kind == kind).count();
        (kind, of_kind as u64)
    });
    counted
        .filter(|(_, count)| *count > 0)
        .map(|(kind, count)| Filter {
            name: kind.name(),
            count: words::number(count),
        })
        .collect()
}

/// The run and those of its sort before it, oldest first.
fn charted(report: &Report, past: &[Summary]) -> Vec<Summary> {
    let is_full = |kind| matches!(kind, RunKind::Audit | RunKind::Reconcile);
    let alike = |run: &&Summary| {
        run.id != report.id
            && run.started_ms <= report.started_ms
            && (run.kind == report.kind || is_full(run.kind) && is_full(report.kind))
    };
    let mut runs: Vec<Summary> = past.iter().filter(alike).cloned().collect();
    runs.sort_by_key(|run| run.started_ms);
    runs.drain(..runs.len().saturating_sub(CHARTED - 1));
    runs.push(Summary::of(report));
    runs
}

fn charts(runs: &[Summary]) -> Vec<Chart> {
    // One bar is no course of things.
    if runs.len() < 2 {
        return Vec::new();
    }
    let kinds = DriftKind::ALL.map(|kind| Series {
        name: kind.name(),
        values: runs.iter().map(|run| run.total().of(kind)).collect(),
    });
    let tables = Table::ALL.map(|table| Series {
        name: table.name(),
        values: runs
            .iter()
            .map(|run| run.tables.get(&table).map_or(0, TableFigures::differences))
            .collect(),
    });
    let calls: [(&str, OfSummary); 3] = [
        ("Clerk requests", |run| run.calls.clerk),
        ("Convex queries", |run| run.calls.convex_queries),
        ("Convex mutations", |run| run.calls.convex_mutations),
    ];
    let calls = calls.map(|(name, of)| Series {
        name,
        values: runs.iter().map(of).collect(),
    });
    let took = [Series {
        name: "duration",
        values: runs.iter().map(Summary::took_ms).collect(),
    }];
    let number = &words::number as &dyn Fn(u64) -> String;
    vec![
        Chart::new("by-kind", "Drift by kind", runs, &kinds, number),
        Chart::new("by-table", "Drift by table", runs, &tables, number),
        Chart::new("cost", "Requests", runs, &calls, number),
        Chart::new("duration", "Duration", runs, &took, &words::duration),
    ]
}

/// A figure of a run.
type OfSummary = fn(&Summary) -> u64;

#[cfg(test)]
mod tests;
