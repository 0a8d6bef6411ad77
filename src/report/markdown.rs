//! A report for a pull request or an issue: Markdown as GitHub reads it.
//!
//! Pure. Values stand in code spans, where nothing in them is a mark, a mention or a link; everything else is
//! escaped. Short enough for one comment.

use super::{
    Report, TableFigures, json,
    words::{self, SharedReasons},
};
use crate::model::Difference;

/// The most that is written of differences, in bytes: a comment holds 65,536 characters.
const ROOM: usize = 48 * 1024;

/// The report as Markdown.
pub fn render(report: &Report, show_values: bool) -> String {
    let mut text = format!(
        "### {}: {}\n\n{}\n",
        words::kind(report.kind),
        words::outcome(report.outcome),
        prose(&words::sentence(report)),
    );
    if let Some(digest) = &report.plan_digest {
        let command = code(&format!("{} {digest}", words::APPROVE));
        text += &format!("\n> Deletions wait for approval: {command}\n");
    }
    if !report.notes.is_empty() {
        text.push('\n');
        for note in &report.notes {
            text += &format!("- {}\n", prose(note));
        }
    }
    if !report.tables.is_empty() {
        text += &figures(report);
    }
    if let Some(files) = words::files(report) {
        text += &format!("\nFiles of the app: {}.\n", prose(&files));
    }
    if !report.differences.is_empty() {
        text += &differences(report, show_values);
    }
    text += &format!(
        "\n<sub>Run {} · {} · {}</sub>\n",
        prose(&report.id),
        words::time(report.started_ms),
        prose(&words::cost(report)),
    );
    text
}

fn figures(report: &Report) -> String {
    let mut text =
        "\n| table | Clerk | Convex | missing | stale | orphaned | duplicate | repaired | held \
                    | failed |\n|:--|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n"
            .to_owned();
    for (table, figures) in &report.tables {
        let TableFigures {
            clerk,
            convex,
            missing,
            stale,
            orphaned,
            duplicate,
            repaired,
            held,
            failed,
        } = *figures;
        let cells = [
            clerk, convex, missing, stale, orphaned, duplicate, repaired, held, failed,
        ]
        .map(words::number);
        text += &format!("| {table} | {} |\n", cells.join(" | "));
    }
    text
}

fn differences(report: &Report, show_values: bool) -> String {
    let mut rows = String::new();
    let mut listed = 0;
    let shown = report.differences.iter();
    let shown: Vec<Difference> = shown
        .map(|one| json::difference(one, show_values))
        .collect();
    let shared = SharedReasons::of(&shown);
    for difference in &shown {
        let row = row(difference, &shared);
        if rows.len() + row.len() > ROOM {
            break;
        }
        rows += &row;
        listed += 1;
    }
    let more = words::unlisted(report, listed);
    let all = words::count(listed as u64 + more, "difference", "differences");
    let mut text = format!(
        "\n<details><summary>{all}</summary>\n\n\
         | record | kind | column | Clerk | Convex | action |\n|:--|:--|:--|:--|:--|:--|\n{rows}\n"
    );
    for (number, reason) in shared.all() {
        text += &format!("{number}. {}\n", prose(reason));
    }
    if shared.all().next().is_some() {
        text.push('\n');
    }
    if more > 0 {
        let command = code(&format!(
            "clerk-convex-sync reports show {} --format html",
            report.id
        ));
        text += &format!("And {} more: {command}\n\n", words::number(more));
    }
    text + "</details>\n"
}

/// A line for the record, and one for each further column of it.
fn row(difference: &Difference, shared: &SharedReasons) -> String {
    let mut action = difference.action.name().to_owned();
    if let Some(reason) = &difference.reason {
        action += &match shared.number(reason) {
            Some(number) => format!(" ({number})"),
            None => format!(": {}", prose(reason)),
        };
    }
    let record = format!("{} {}", difference.table, code(difference.key.as_str()));
    let mut fields = difference.fields.iter().map(|drift| {
        let [clerk, convex] = [&drift.clerk, &drift.convex].map(|value| code(&words::value(value)));
        format!("{} | {clerk} | {convex}", code(&drift.field))
    });
    let first = fields.next().unwrap_or_else(|| "| | ".to_owned());
    let kind = difference.kind.name();
    let mut text = format!("| {record} | {kind} | {first} | {action} |\n");
    for field in fields {
        text += &format!("| | | {field} | |\n");
    }
    text
}

/// A text that is shown as it is. In a table a bar ends the cell even there, unless it is escaped.
fn code(text: &str) -> String {
    let text = words::inert(text).replace('|', "\\|");
    let longest = text
        .split(|c| c != '`')
        .map(str::len)
        .max()
        .unwrap_or_default();
    let fence = "`".repeat(longest + 1);
    // A blank at either end is taken away again by the reader; it keeps the fence apart from what is inside.
    let blank = if longest > 0 { " " } else { "" };
    format!("{fence}{blank}{text}{blank}{fence}")
}

/// A sentence in which nothing is a mark.
fn prose(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in words::inert(text).chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            // Somebody of that name would be told.
            '@' => escaped.push_str("@\u{2060}"),
            '\\' | '|' | '`' | '*' | '_' | '[' | ']' | '#' | '~' | '!' => {
                escaped.push('\\');
                escaped.push(c);
            }
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    #[test]
    fn a_report_in_a_pull_request() {
        insta::assert_snapshot!("none", render(&samples::none(), false));
        insta::assert_snapshot!("three", render(&samples::three(), false));
        insta::assert_snapshot!("held", render(&samples::held(), false));
        insta::assert_snapshot!("hostile", render(&samples::hostile(), true));
    }

    #[test]
    fn files_without_an_owner_are_told_where_they_were_counted() {
        let text = render(&samples::ownerless(), false);
        let line = "\nFiles of the app: 1,234 files without an owner any more.\n";
        assert!(text.contains(line), "{text}");
        assert!(!render(&samples::none(), false).contains("Files of the app"));
    }

    #[test]
    fn a_thousand_differences_fit_in_a_comment_and_the_rest_is_named() {
        let text = render(&samples::many(1200), true);
        assert!(text.len() < 65_536, "{}", text.len());
        assert!(text.contains("1,200 differences"), "{text}");
        let listed = text.matches("| users `user_").count() as u64;
        assert!(listed > 100, "{listed}");
        assert!(text.contains(&format!("And {} more", words::number(1200 - listed))));
    }

    #[test]
    fn marks_are_text() {
        assert_eq!(code("a|b"), "`a\\|b`");
        assert_eq!(code("``x`"), "``` ``x` ```");
        assert_eq!(code("=1+1"), "`'=1+1`");
        assert_eq!(
            prose("<b>*a*</b> `x` | [y](z)"),
            "&lt;b&gt;\\*a\\*&lt;/b&gt; \\`x\\` \\| \\[y\\](z)"
        );
        assert!(!prose("tell @ada").contains("@a"));
    }

    #[test]
    fn every_row_has_as_many_cells_as_the_head() {
        for report in samples::all() {
            let text = render(&report, true);
            let mut width = None;
            for line in text.lines() {
                if !line.starts_with('|') {
                    width = None;
                    continue;
                }
                let bars = line.replace("\\|", "").matches('|').count();
                assert_eq!(*width.get_or_insert(bars), bars, "{line}");
            }
        }
    }
}
