//! `audit` and `reconcile`: a full diff to its end, by the daemon or, where none runs, right here.
//!
//! Knows how a run is asked for, watched and shown, and which exit code its report means. The report goes to
//! stdout, progress and everything else to stderr.

use clap::{Args, ValueEnum};
use serde_json::json;

use self::{here::Here, progress::Watcher, watch::Listening};
use super::{
    Context, Exit, Failure, JsonArg,
    admin_client::{AdminClient, AdminError},
    reports::text_of,
    signals::StopSignals,
};
use crate::{
    config::Users,
    daemon::user_rules,
    mapping::UserRules,
    model::Table,
    reconcile::{
        repair::plan::Digest,
        run::{AskedBy, RunRequest},
    },
    report::{Report, RunKind, RunOutcome, json},
};

pub(super) mod here;
pub(super) mod progress;
pub(super) mod watch;

/// The tables as the command line spells them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TableName {
    Users,
    Profiles,
    Organizations,
    Memberships,
}

impl From<TableName> for Table {
    fn from(name: TableName) -> Self {
        match name {
            TableName::Users => Table::Users,
            TableName::Profiles => Table::Profiles,
            TableName::Organizations => Table::Organizations,
            TableName::Memberships => Table::Memberships,
        }
    }
}

/// Arguments of `audit`.
#[derive(Debug, Args)]
#[command(after_help = "\
Asks the running daemon; where none runs, does it here with the daemon's own
configuration. With --config the users section of that file counts, whatever
the daemon's is: so it shows what a new mapping would change. Exit code 3:
something differs.")]
pub struct AuditArgs {
    /// Only this table; may be given several times
    #[arg(long = "table", value_name = "TABLE")]
    tables: Vec<TableName>,
    #[command(flatten)]
    json: JsonArg,
}

/// Arguments of `reconcile`.
#[derive(Debug, Args)]
#[command(after_help = "\
Asks the running daemon; where none runs, does it here with the daemon's own
configuration, and goes on where an earlier run was cut off. Exit code 3: some
deletions are held for approval, or some records could not be put right.")]
pub struct ReconcileArgs {
    /// Only this table; may be given several times
    #[arg(long = "table", value_name = "TABLE")]
    tables: Vec<TableName>,
    /// Deletions that need no approval, instead of repair.max_deletes
    #[arg(long, value_name = "N")]
    max_deletes: Option<u64>,
    /// Carry out the deletions that an earlier run has held, by the digest that its report names
    #[arg(long, value_name = "DIGEST", value_parser = digest, conflicts_with_all = ["tables", "max_deletes"])]
    approve: Option<Digest>,
    #[command(flatten)]
    json: JsonArg,
}

fn digest(text: &str) -> Result<Digest, String> {
    Digest::parse(text).ok_or_else(|| {
        format!(
            "a digest has {} hexadecimal digits; `reports show` of the held run names it",
            Digest::CHARS
        )
    })
}

/// Compares.
pub(super) async fn audit(args: AuditArgs, context: &Context) -> Result<Exit, Failure> {
    let request = RunRequest {
        kind: RunKind::Audit,
        tables: args.tables.into_iter().map(Table::from).collect(),
        max_deletes: None,
        approve: None,
        mapping: mapping(context)?,
        asked_by: AskedBy::Operator,
    };
    run(request, args.json, context).await
}

/// Compares and repairs.
pub(super) async fn reconcile(args: ReconcileArgs, context: &Context) -> Result<Exit, Failure> {
    let request = RunRequest {
        kind: RunKind::Reconcile,
        tables: args.tables.into_iter().map(Table::from).collect(),
        max_deletes: args.max_deletes,
        approve: args.approve.map(|digest| digest.as_str().to_owned()),
        mapping: None,
        asked_by: AskedBy::Operator,
    };
    run(request, args.json, context).await
}

/// The mapping of a configuration that was named, which need not be the daemon's.
fn mapping(context: &Context) -> Result<Option<UserRules>, Failure> {
    let Some(file) = context.config.as_deref() else {
        return Ok(None);
    };
    let users = Users::load(Some(file), &context.env);
    let users = users.map_err(|mistakes| Failure::mistakes(&mistakes))?;
    Ok(Some(user_rules(&users)))
}

async fn run(request: RunRequest, json: JsonArg, context: &Context) -> Result<Exit, Failure> {
    let mut stop = StopSignals::catch()?;
    let kind = request.kind;
    let (report, show_values) = match by_daemon(&request, context).await? {
        Some(mut listening) => {
            let mut watcher = Watcher::new(kind, context.output);
            // What the daemon sends is masked already, unless its settings say otherwise.
            (listening.report(&mut watcher, &mut stop).await?, true)
        }
        None => {
            let here = Here::open(context, kind != RunKind::Audit).await?;
            let mut watcher = Watcher::new(kind, context.output);
            let show_values = here.show_values();
            let report = here.run(request, &mut watcher, &mut stop).await;
            here.close().await;
            (report?, show_values)
        }
    };
    if json.json {
        context
            .output
            .write(&(json::render(&report, show_values).trim_end().to_owned() + "\n"))?;
    } else {
        let text = text_of(&report, show_values, context.output.paint());
        context.output.write(&text)?;
    }
    exit_of(&report)
}

/// Asks the daemon, if one runs.
async fn by_daemon(request: &RunRequest, context: &Context) -> Result<Option<Listening>, Failure> {
    let wish = json!({
        "kind": request.kind,
        "tables": request.tables,
        "max_deletes": request.max_deletes,
        "approve": request.approve,
        "mapping": request.mapping,
    });
    let asked = match AdminClient::new(&context.local()?.admin) {
        Ok(client) => client.post_for_lines("/runs", &wish).await,
        Err(error) => Err(error),
    };
    unless_absent(asked).map(|lines| lines.map(Listening::new))
}

/// `None` if no daemon runs; then the command does the work itself.
pub(super) fn unless_absent<T>(asked: Result<T, AdminError>) -> Result<Option<T>, Failure> {
    match asked {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.is_absence() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The code of section 1 of the contract.
fn exit_of(report: &Report) -> Result<Exit, Failure> {
    let unrepaired = report.tables.values().any(|table| table.failed > 0);
    match report.outcome {
        RunOutcome::InSync | RunOutcome::Repaired => Ok(Exit::Done),
        RunOutcome::Differences | RunOutcome::Held => Ok(Exit::Differences),
        RunOutcome::Failed if unrepaired => Ok(Exit::Differences),
        RunOutcome::Failed => Err(Failure::failed("not everything could be compared")
            .help("see the notes of the report, and run it again: it goes on where it was")),
    }
}

#[cfg(test)]
mod tests;
