//! `reports`: past runs, as a list or one of them in full.
//!
//! Reads the files of the state directory itself, whether a daemon runs or not: they never change once they
//! are there. Knows which format goes where; what a report looks like is the library's business.

use std::{fs::OpenOptions, io::Write, os::unix::fs::OpenOptionsExt, path::PathBuf};

use clap::{Args, Subcommand, ValueEnum};

use super::{
    Context, Exit, Failure, JsonArg,
    output::{self, Paint, Tone},
    state,
};
use crate::{
    daemon::keyring,
    report::{
        self, Format, RunKind, Summary,
        history::{History, HistoryError, Listing},
        text::{self, Mark},
    },
};

/// The most reports that are listed; more are not kept.
const LARGEST_LIST: u32 = 1_000;
/// Characters of an id that tell a run by the millisecond in which it began.
const SHORT_ID: usize = 13;

/// What to do with past runs.
#[derive(Debug, Subcommand)]
pub enum ReportsCommand {
    /// List them, newest first
    List(ListArgs),
    /// Show one: what differed, what was done, what it cost
    Show(ShowArgs),
}

/// Arguments of `reports list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// The most to list
    #[arg(long, value_name = "N", default_value_t = 30,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(LARGEST_LIST)))]
    limit: u32,
    /// Only runs of this kind
    #[arg(long, value_name = "KIND")]
    kind: Option<Kind>,
    #[command(flatten)]
    json: JsonArg,
}

/// Arguments of `reports show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The run, as `reports list` names it, or a beginning of that
    #[arg(default_value = "latest")]
    id: String,
    /// In what to show it [default: by the ending of FILE, else text]
    #[arg(long, value_name = "FORMAT")]
    format: Option<Shape>,
    /// Write it to a file, for you only, in place of what is there
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The same as --format json
    #[arg(long)]
    json: bool,
}

/// The kinds of runs as the command line spells them.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    Audit,
    Reconcile,
    Sweep,
    Census,
}

impl From<Kind> for RunKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Audit => RunKind::Audit,
            Kind::Reconcile => RunKind::Reconcile,
            Kind::Sweep => RunKind::Sweep,
            Kind::Census => RunKind::Census,
        }
    }
}

/// The formats as the command line spells them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shape {
    Text,
    Json,
    Md,
    Html,
}

impl From<Shape> for Format {
    fn from(shape: Shape) -> Self {
        match shape {
            Shape::Text => Format::Text,
            Shape::Json => Format::Json,
            Shape::Md => Format::Markdown,
            Shape::Html => Format::Html,
        }
    }
}

/// Does what the command says.
pub(super) fn reports(command: &ReportsCommand, context: &Context) -> Result<Exit, Failure> {
    let local = context.local()?;
    let show_values = local.report.show_values;
    state::is_there(&local.state.dir)?;
    let history = History::look(&local.state.dir, show_values, &keyring(&local.state));
    match command {
        ReportsCommand::List(args) => list(args, &history, context),
        ReportsCommand::Show(args) => show(args, &history, show_values, context),
    }
}

fn list(args: &ListArgs, history: &History, context: &Context) -> Result<Exit, Failure> {
    let Listing {
        mut summaries,
        damaged,
    } = history.list().map_err(failure)?;
    for error in damaged {
        context.output.note(&format!("passed over: {error}"));
    }
    if let Some(kind) = args.kind {
        summaries.retain(|run| run.kind == RunKind::from(kind));
    }
    let all = summaries.len();
    summaries.truncate(args.limit as usize);
    if args.json.json {
        context.output.document(&summaries)?;
    } else {
        let text = listing(&summaries, all, context.output.paint());
        context.output.write(&text)?;
    }
    Ok(Exit::Done)
}

fn show(
    args: &ShowArgs,
    history: &History,
    show_values: bool,
    context: &Context,
) -> Result<Exit, Failure> {
    let format = Format::from(shape(args)?);
    let report = history.load(&args.id).map_err(failure)?;
    let Some(path) = &args.output else {
        let paint = context.output.paint();
        return context
            .output
            .write(&match format {
                Format::Text => text_of(&report, show_values, paint),
                format => rendered(&report, history, format, show_values)?,
            })
            .map(|()| Exit::Done);
    };
    let text = rendered(&report, history, format, show_values)?;
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600);
    let written = file
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| {
        Failure::failed(format!("cannot write {}: {error}", path.display()))
            .help("choose a place that you may write to, with --output")
    })?;
    context.output.note(&format!("wrote {}", path.display()));
    Ok(Exit::Done)
}

fn rendered(
    report: &report::Report,
    history: &History,
    format: Format,
    show_values: bool,
) -> Result<String, Failure> {
    let past = match format {
        Format::Html => history.list().map_err(failure)?.summaries,
        Format::Text | Format::Json | Format::Markdown => Vec::new(),
    };
    Ok(report::render(report, &past, format, show_values))
}

/// What was asked for, or what the file's name says.
fn shape(args: &ShowArgs) -> Result<Shape, Failure> {
    let ending = args.output.as_ref().and_then(|path| path.extension());
    Ok(match (args.json, args.format) {
        (true, None | Some(Shape::Json)) => Shape::Json,
        (true, Some(_)) => {
            return Err(Failure::usage("--json and --format name two formats")
                .help("leave one of the two out"));
        }
        (false, Some(shape)) => shape,
        (false, None) => match ending.and_then(|ending| ending.to_str()) {
            Some("html" | "htm") => Shape::Html,
            Some("md" | "markdown") => Shape::Md,
            Some("json") => Shape::Json,
            _ => Shape::Text,
        },
    })
}

/// The report for a terminal, in its colours.
pub(super) fn text_of(report: &report::Report, show_values: bool, paint: Paint) -> String {
    text::painted(report, show_values, &|mark, text| {
        let tone = match mark {
            Mark::Heading => Tone::Strong,
            Mark::Good => Tone::Good,
            Mark::Warn => Tone::Warn,
            Mark::Bad => Tone::Bad,
            Mark::Quiet => Tone::Quiet,
        };
        paint.tone(tone, text)
    })
}

fn listing(summaries: &[Summary], all: usize, paint: Paint) -> String {
    if summaries.is_empty() {
        return "No reports yet. `clerk-convex-sync audit` makes one; the daemon makes one a day, and \
                whenever it finds something.\n"
            .to_owned();
    }
    let rows = summaries.iter().map(|run| {
        let total = run.total();
        let number = |n: u64| {
            if n == 0 {
                "-".to_owned()
            } else {
                n.to_string()
            }
        };
        vec![
            run.id.chars().take(SHORT_ID).collect(),
            run.kind.to_string(),
            report::json::rfc3339(run.started_ms)
                .chars()
                .take("2026-03-01T03:00".len())
                .collect::<String>()
                .replace('T', " "),
            run.outcome.name().to_owned(),
            number(total.differences()),
            number(total.repaired),
            number(total.differences().saturating_sub(total.repaired)),
        ]
    });
    let mut text = output::table(
        &[
            "id", "kind", "started", "outcome", "found", "repaired", "open",
        ],
        rows,
    );
    if summaries.len() < all {
        let more = format!("{} of {all}; --limit shows more\n", summaries.len());
        text += &paint.tone(Tone::Quiet, &more);
    }
    text
}

fn failure(error: HistoryError) -> Failure {
    Failure::failed(error.to_string())
}

#[cfg(test)]
mod tests;
