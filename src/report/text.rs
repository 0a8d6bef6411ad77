//! A report for a terminal of eighty columns.
//!
//! Pure. Knows what deserves to stand out, not how a terminal makes it so: whoever prints hands in the paint.
//! What a value holds never steers the terminal.

use comfy_table::{CellAlignment, Column, Table as Grid, presets};

use super::{
    Report, RunOutcome, TableFigures, json,
    words::{self, SharedReasons},
};
use crate::model::{Difference, DriftKind};

/// The columns of a terminal that everybody has.
const WIDTH: usize = 80;
/// Differences that are listed: a screen or two. All of them are in the other formats.
const LISTED: usize = 20;
/// The columns in front of a value that belongs to a name.
const INDENT: usize = 10;

/// How a piece of text is to stand out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A heading.
    Heading,
    /// All is well.
    Good,
    /// Worth a look.
    Warn,
    /// Something is wrong.
    Bad,
    /// Of less interest than the rest.
    Quiet,
}

/// Makes a text stand out, or leaves it as it is.
pub type Paint<'a> = &'a dyn Fn(Mark, &str) -> String;

/// The report as plain text.
pub fn render(report: &Report, show_values: bool) -> String {
    painted(report, show_values, &|_, text| text.to_owned())
}

/// The report as text in which some pieces stand out.
pub fn painted(report: &Report, show_values: bool, paint: Paint<'_>) -> String {
    let mut text = format!(
        "{} · {}\n",
        paint(Mark::Heading, words::kind(report.kind)),
        paint(mark(report.outcome), words::outcome(report.outcome)),
    );
    text += &wrap(&words::sentence(report), 0);
    text.push('\n');
    for (name, value) in facts(report) {
        let name = paint(Mark::Quiet, &format!("{name:<INDENT$}"));
        text += &format!("{name}{}", wrap(&value, INDENT).trim_start());
    }
    if let Some(digest) = &report.plan_digest {
        // In one line, however long: it is to be copied.
        let command = format!("{} {}", words::APPROVE, words::inert(digest));
        let heading = paint(Mark::Heading, "Deletions wait for approval");
        text += &format!("\n{heading}\n{command}\n");
    }
    if !report.notes.is_empty() {
        text += &format!("\n{}\n", paint(Mark::Heading, "Notes"));
        for note in &report.notes {
            let note = wrap(&words::inert(note), 2);
            text += &format!("- {}", note.trim_start());
        }
    }
    if !report.tables.is_empty() {
        text += &format!("\n{}", figures(report));
    }
    if !report.differences.is_empty() {
        text += &differences(report, show_values, paint);
    }
    text
}

fn mark(outcome: RunOutcome) -> Mark {
    match outcome {
        RunOutcome::InSync | RunOutcome::Repaired => Mark::Good,
        RunOutcome::Differences | RunOutcome::Held => Mark::Warn,
        RunOutcome::Failed => Mark::Bad,
    }
}

fn facts(report: &Report) -> Vec<(&'static str, String)> {
    let resumed = if report.resumed {
        ", went on where an earlier process was cut off"
    } else {
        ""
    };
    let mut facts = vec![
        ("run", report.id.clone()),
        (
            "started",
            format!("{}{resumed}", words::time(report.started_ms)),
        ),
        ("cost", words::cost(report)),
    ];
    if let Some([clerk, queries, mutations]) = words::cost_per_million(report) {
        let [clerk, queries, mutations] = [clerk, queries, mutations].map(words::number);
        facts.push((
            "",
            format!(
                "at 1,000,000 users: {clerk} requests, {queries} queries, {mutations} mutations"
            ),
        ));
    }
    facts.extend(words::files(report).map(|files| ("files", files)));
    facts
}

/// One row a figure, one column a table: so that four tables fit beside each other.
fn figures(report: &Report) -> String {
    let mut grid = Grid::new();
    grid.load_style(presets::NOTHING);
    let names = report.tables.keys().map(|table| table.name().to_owned());
    grid.set_header(std::iter::once(String::new()).chain(names));
    let rows: [(&str, OfTable); 9] = [
        ("in Clerk", |f| f.clerk),
        ("in Convex", |f| f.convex),
        ("missing", |f| f.missing),
        ("stale", |f| f.stale),
        ("orphaned", |f| f.orphaned),
        ("duplicate", |f| f.duplicate),
        ("repaired", |f| f.repaired),
        ("held", |f| f.held),
        ("failed", |f| f.failed),
    ];
    for (at, (name, figure)) in rows.into_iter().enumerate() {
        let cells: Vec<u64> = report.tables.values().map(figure).collect();
        // What was counted is always told; of the rest, what is not nothing.
        if at < 2 || cells.iter().any(|n| *n > 0) {
            let cells = cells.into_iter().map(words::number);
            grid.add_row(std::iter::once(name.to_owned()).chain(cells));
        }
    }
    for (at, column) in grid.column_iter_mut().enumerate() {
        style(column, at == 0);
    }
    grid.lines()
        .map(|line| line.trim_end().to_owned() + "\n")
        .collect()
}

fn style(column: &mut Column, is_first: bool) {
    if is_first {
        column.set_padding((0, 1));
    } else {
        column.set_padding((2, 0));
        column.set_cell_alignment(CellAlignment::Right);
    }
}

fn differences(report: &Report, show_values: bool, paint: Paint<'_>) -> String {
    let listed = report.differences.len().min(LISTED);
    let mut text = format!("\n{}\n", paint(Mark::Heading, "Differences"));
    let shown = report.differences[..listed].iter();
    let shown: Vec<Difference> = shown
        .map(|one| json::difference(one, show_values))
        .collect();
    let shared = SharedReasons::of(&shown);
    for difference in &shown {
        text += &one(difference, &shared);
    }
    for (number, reason) in shared.all() {
        text += &wrap(&format!("({number}) {}", words::inert(reason)), 0);
    }
    let more = words::unlisted(report, listed);
    if more > 0 {
        let more = format!(
            "and {} more: `clerk-convex-sync reports show {} --format html --output report.html`",
            words::number(more),
            report.id
        );
        text += &paint(Mark::Quiet, &wrap(&more, 0));
    }
    text
}

fn one(difference: &Difference, shared: &SharedReasons) -> String {
    let kind = difference.kind.name();
    let widest = DriftKind::ALL.map(|kind| kind.name().len()).into_iter();
    let width = widest.max().unwrap_or_default() + 1;
    let number = difference.reason.as_deref();
    let number = number.and_then(|reason| shared.number(reason));
    let see = number.map_or_else(String::new, |number| format!(" ({number})"));
    let mut text = format!(
        "{kind:<width$}{:<14}{}  {}{see}\n",
        difference.table.name(),
        difference.key,
        difference.action.name()
    );
    for drift in &difference.fields {
        let field = words::inert(&drift.field);
        let (clerk, convex) = (words::value(&drift.clerk), words::value(&drift.convex));
        let line = format!("{:width$}{field}: Clerk {clerk}, Convex {convex}", "");
        text += &if line.chars().count() <= WIDTH {
            line + "\n"
        } else {
            wrap(&format!("{field}: Clerk {clerk},"), width)
                + &wrap(&format!("Convex {convex}"), width + 2)
        };
    }
    if let Some(reason) = difference.reason.as_ref().filter(|_| number.is_none()) {
        text += &wrap(&words::inert(reason), width);
    }
    text
}

/// The text in lines that fit, each this far from the margin, the last with its end. A word that is longer
/// than a line is cut.
fn wrap(text: &str, indent: usize) -> String {
    let room = WIDTH - indent;
    let mut lines: Vec<String> = vec![String::new()];
    let mut used = 0;
    for word in words_of(text) {
        let mut rest: Vec<char> = word.chars().collect();
        while !rest.is_empty() {
            let space = usize::from(used > 0);
            if used + space + rest.len() > room && used > 0 {
                lines.push(String::new());
                used = 0;
                continue;
            }
            let taken: String = rest.drain(..rest.len().min(room)).collect();
            if let Some(line) = lines.last_mut() {
                line.push_str(if space == 1 { " " } else { "" });
                line.push_str(&taken);
            }
            used += space + taken.chars().count();
        }
    }
    lines
        .into_iter()
        .map(|line| format!("{:indent$}{line}\n", ""))
        .collect()
}

/// The words of a text; a figure and its unit are one.
fn words_of(text: &str) -> Vec<String> {
    const UNITS: [&str; 9] = ["ms", "s", "min", "h", "B", "kB", "MB", "GB", "TB"];
    let mut found: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let unit = UNITS.contains(&word.trim_end_matches(['.', ',', ';']));
        match found.last_mut() {
            Some(figure) if unit && figure.ends_with(|c: char| c.is_ascii_digit()) => {
                figure.push(' ');
                figure.push_str(word);
            }
            _ => found.push(word.to_owned()),
        }
    }
    found
}

/// A figure of a table.
type OfTable = fn(&TableFigures) -> u64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    #[test]
    fn a_report_in_a_terminal() {
        insta::assert_snapshot!("none", render(&samples::none(), false));
        insta::assert_snapshot!("three", render(&samples::three(), false));
        insta::assert_snapshot!("many", render(&samples::many(1200), false));
        insta::assert_snapshot!("held", render(&samples::held(), false));
        insta::assert_snapshot!("failed", render(&samples::failed(), false));
        insta::assert_snapshot!("hostile", render(&samples::hostile(), true));
    }

    #[test]
    fn files_without_an_owner_are_told_where_they_were_counted() {
        let text = render(&samples::ownerless(), false);
        assert!(
            text.contains("\nfiles     1,234 files without an owner any more\n"),
            "{text}"
        );
        assert!(!render(&samples::none(), false).contains("\nfiles"));
    }

    #[test]
    fn no_line_is_wider_than_a_terminal_and_none_steers_it() {
        for report in samples::all() {
            for show_values in [false, true] {
                let text = render(&report, show_values);
                for line in text.lines() {
                    let command = line.starts_with(words::APPROVE);
                    assert!(line.chars().count() <= WIDTH || command, "{line}");
                    assert_eq!(line.trim_end(), line, "{line:?}");
                    assert!(!line.contains(char::is_control), "{line:?}");
                }
                assert_eq!(
                    text.contains(samples::PERSONAL),
                    show_values && samples::is_personal(&report)
                );
            }
        }
    }

    #[test]
    fn only_headings_and_the_outcome_stand_out() {
        let seen = std::cell::RefCell::new(Vec::new());
        painted(&samples::three(), false, &|mark, text| {
            seen.borrow_mut().push((mark, text.trim().to_owned()));
            text.to_owned()
        });
        let seen = seen.into_inner();
        assert!(seen.contains(&(Mark::Good, "repaired".to_owned())));
        assert!(seen.contains(&(Mark::Heading, "Differences".to_owned())));
        assert!(seen.iter().all(|(_, text)| !text.contains("user_")));
    }
}
