//! `sync`: one record now, by the daemon or, where none runs, right here.
//!
//! Clerk is asked about that very id, and Convex is made to agree. A user's profile goes with the user, an
//! organization's memberships go with the organization.

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Context, Exit, Failure, JsonArg,
    admin_client::AdminClient,
    runs::{here::Here, unless_absent},
};
use crate::{
    model::{Key, RecordKey, Table},
    reconcile::run::SyncedOne,
};

/// Which record.
#[derive(Debug, Subcommand)]
pub enum SyncCommand {
    /// A user with its profile
    User(OneArgs),
    /// An organization with its memberships
    Organization(OneArgs),
}

/// Arguments of both.
#[derive(Debug, Args)]
pub struct OneArgs {
    /// Clerk's id, such as user_… or org_…
    #[arg(value_name = "ID")]
    id: String,
    /// Bring it back if it was deleted in Convex and Clerk has it; what the app keeps on the row stays
    #[arg(long)]
    revive: bool,
    #[command(flatten)]
    json: JsonArg,
}

/// What became of it, as the daemon says it and as `--json` prints it.
#[derive(Debug, Deserialize, Serialize)]
struct Synced {
    table: String,
    key: String,
    clerk: String,
    action: String,
    reason: Option<String>,
}

impl From<SyncedOne> for Synced {
    fn from(synced: SyncedOne) -> Self {
        Synced {
            table: synced.record.table.name().to_owned(),
            key: synced.record.key.to_string(),
            clerk: synced.clerk.to_owned(),
            action: synced.action.name().to_owned(),
            reason: synced.reason,
        }
    }
}

/// Does what the command says.
pub(super) async fn sync(command: &SyncCommand, context: &Context) -> Result<Exit, Failure> {
    let (table, args) = match command {
        SyncCommand::User(args) => (Table::Users, args),
        SyncCommand::Organization(args) => (Table::Organizations, args),
    };
    let key = Key::parse(&args.id).ok_or_else(|| {
        Failure::usage(format!("{:?} is no id of Clerk's", args.id))
            .help("give it as Clerk's dashboard shows it, such as user_2g7np7Hrk0SN6kj5EDMLDaKNL0S")
    })?;
    // Clerk would know no user of that id, and the id would be kept as that of a deleted one.
    let other = [
        (Table::Users, "user_"),
        (Table::Organizations, "org_"),
        (Table::Memberships, "orgmem_"),
    ]
    .into_iter()
    .find(|(own, prefix)| *own != table && args.id.starts_with(prefix));
    if let Some((other, _)) = other {
        let help = match other {
            Table::Organizations => "give it to `sync organization`",
            Table::Memberships => {
                "memberships come along with `sync organization` of their organization"
            }
            _ => "give it to `sync user`",
        };
        let what = format!("{} is an id of {other}, not of {table}", args.id);
        return Err(Failure::usage(what).help(help));
    }
    let synced = match by_daemon(table, &key, args.revive, context).await? {
        Some(synced) => synced,
        None => {
            let here = Here::open(context, true).await?;
            let record = RecordKey::new(table, key);
            let synced = here.sync_one(record, args.revive).await;
            here.close().await;
            synced?.into()
        }
    };
    if args.json.json {
        context.output.document(&synced)?;
    } else {
        context.output.write(&(sentence(&synced) + "\n"))?;
    }
    Ok(exit_of(&synced))
}

async fn by_daemon(
    table: Table,
    key: &Key,
    revive: bool,
    context: &Context,
) -> Result<Option<Synced>, Failure> {
    let which = json!({ "table": table, "key": key, "revive": revive });
    let asked = match AdminClient::new(&context.local()?.admin) {
        Ok(client) => client.post_patiently("/sync", &which).await,
        Err(error) => Err(error),
    };
    let Some(answer) = unless_absent(asked)? else {
        return Ok(None);
    };
    let synced = serde_json::from_value(answer).map_err(|error| {
        Failure::failed(format!("the daemon's answer cannot be read: {error}"))
            .help("use the command line of the daemon's own version")
    })?;
    Ok(Some(synced))
}

fn sentence(synced: &Synced) -> String {
    let done = match (synced.clerk.as_str(), synced.action.as_str()) {
        ("gone", "none") => "neither Clerk nor Convex has it",
        (_, "none") => "in sync already",
        (_, "created") => "the row was created",
        (_, "updated") => "the row was updated",
        (_, "deleted") => "Clerk has no such record; the row was deleted",
        (_, "held") => "left as it is, it waits for a person",
        (_, "failed") => "it could not be put right",
        (_, other) => other,
    };
    let Synced { table, key, .. } = synced;
    match &synced.reason {
        Some(reason) => format!("{table}/{key}: {done} ({reason})"),
        None => format!("{table}/{key}: {done}"),
    }
}

fn exit_of(synced: &Synced) -> Exit {
    match synced.action.as_str() {
        "held" => Exit::Differences,
        "failed" => Exit::Failed,
        _ => Exit::Done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_has_its_sentence_and_its_code() {
        for (clerk, action, reason, expected, exit) in [
            (
                "found",
                "none",
                None,
                "users/user_1: in sync already",
                Exit::Done,
            ),
            (
                "gone",
                "none",
                None,
                "users/user_1: neither Clerk nor Convex has it",
                Exit::Done,
            ),
            (
                "found",
                "created",
                None,
                "users/user_1: the row was created",
                Exit::Done,
            ),
            (
                "found",
                "updated",
                None,
                "users/user_1: the row was updated",
                Exit::Done,
            ),
            (
                "gone",
                "deleted",
                None,
                "users/user_1: Clerk has no such record; the row was deleted",
                Exit::Done,
            ),
            (
                "gone",
                "held",
                Some("the key is not proved"),
                "users/user_1: left as it is, it waits for a person (the key is not proved)",
                Exit::Differences,
            ),
            (
                "found",
                "failed",
                Some("Convex refused it"),
                "users/user_1: it could not be put right (Convex refused it)",
                Exit::Failed,
            ),
        ] {
            let synced = Synced {
                table: "users".into(),
                key: "user_1".into(),
                clerk: clerk.into(),
                action: action.into(),
                reason: reason.map(str::to_owned),
            };
            assert_eq!(sentence(&synced), expected);
            assert_eq!(exit_of(&synced), exit, "{expected}");
        }
    }
}
