//! `failures`: the events that could not be applied, and what becomes of them.
//!
//! Knows how dead letters are shown; where they come from is [`source`]'s business.

use clap::{Args, Subcommand};
use serde_json::json;

use self::source::{FailuresSource, Selection};
use super::{Context, Exit, Failure, JsonArg, output};

mod offline;
mod render;
mod source;

/// The most dead letters that one page may hold; the daemon's own bound.
const LARGEST_PAGE: u32 = 1_000;

/// What to do with dead letters.
#[derive(Debug, Subcommand)]
pub enum FailuresCommand {
    /// List them, oldest first
    List(ListArgs),
    /// Show one with the event as it was received, personal values included
    Show(ShowArgs),
    /// Try them again; a record that needs it is fetched from Clerk
    Retry(RetryArgs),
    /// Give one up for good; the next scan still finds what differs
    Drop(DropArgs),
}

/// Arguments of `failures list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// The most to list
    #[arg(long, value_name = "N", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..=LARGEST_PAGE as i64))]
    limit: u32,
    /// Go on after this one, the last of the page before
    #[arg(long, value_name = "ID")]
    after: Option<String>,
    #[command(flatten)]
    json: JsonArg,
}

/// Arguments of `failures show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The dead letter, as `failures list` names it
    id: String,
    #[command(flatten)]
    json: JsonArg,
}

/// Arguments of `failures retry`.
#[derive(Debug, Args)]
pub struct RetryArgs {
    /// The dead letters, as `failures list` names them
    #[arg(
        value_name = "ID",
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    ids: Vec<String>,
    /// Every dead letter
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    json: JsonArg,
}

/// Arguments of `failures drop`.
#[derive(Debug, Args)]
pub struct DropArgs {
    /// The dead letter, as `failures list` names it
    id: String,
    #[command(flatten)]
    json: JsonArg,
}

/// Does what the command says.
pub(super) async fn failures(command: FailuresCommand, context: &Context) -> Result<Exit, Failure> {
    let source = source::open(&context.local()?).await?;
    match command {
        FailuresCommand::List(args) => list(&args, &source, context).await,
        FailuresCommand::Show(args) => show(&args, &source, context).await,
        FailuresCommand::Retry(args) => retry(args, &source, context).await,
        FailuresCommand::Drop(args) => drop_one(&args, &source, context).await,
    }
}

async fn list(
    args: &ListArgs,
    source: &FailuresSource,
    context: &Context,
) -> Result<Exit, Failure> {
    let page = source.list(args.after.as_deref(), args.limit).await?;
    if args.json.json {
        context.output.document(&page)?;
    } else {
        let text = render::page(&page, chrono::Utc::now(), context.output.paint());
        context.output.write(&text)?;
    }
    Ok(Exit::Done)
}

async fn show(
    args: &ShowArgs,
    source: &FailuresSource,
    context: &Context,
) -> Result<Exit, Failure> {
    let failure = source.show(&args.id).await?;
    if args.json.json {
        context.output.document(&failure)?;
    } else {
        context
            .output
            .write(&render::one(&failure, context.output.paint()))?;
    }
    Ok(Exit::Done)
}

async fn retry(
    args: RetryArgs,
    source: &FailuresSource,
    context: &Context,
) -> Result<Exit, Failure> {
    let selection = if args.all {
        Selection::All
    } else {
        Selection::These(args.ids)
    };
    let retried = source.retry(&selection).await?;
    if args.json.json {
        context.output.document(&retried)?;
    } else {
        let put_back = match retried.retried {
            1 => "1 event waits".to_owned(),
            n => format!("{n} events wait"),
        };
        context
            .output
            .write(&format!("{put_back} to be applied again.\n"))?;
    }
    if retried.unknown.is_empty() {
        Ok(Exit::Done)
    } else {
        let ids = retried.unknown.join(", ");
        Err(Failure::failed(format!("no such dead letter: {ids}")).help(LOOK))
    }
}

async fn drop_one(
    args: &DropArgs,
    source: &FailuresSource,
    context: &Context,
) -> Result<Exit, Failure> {
    source.drop_one(&args.id).await?;
    if args.json.json {
        context.output.document(&json!({ "dropped": true }))?;
    } else {
        context
            .output
            .write(&format!("{} is given up.\n", args.id))?;
    }
    Ok(Exit::Done)
}

/// What to do about an id that is not there.
const LOOK: &str = "`clerk-convex-sync failures list` names those that are there";
