//! `log`: what was written to Convex and to Clerk, and whether the chain of entries holds.
//!
//! Asks the daemon where one runs, which writes down first what it has in hand; else reads the files that it left.
//! Knows how entries are shown, not how they are kept.

use chrono::{DateTime, NaiveDate, Utc};
use clap::{Args, Subcommand};
use humantime_serde::re::humantime;
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use super::{
    Context, Exit, Failure, JsonArg,
    admin_client::{AdminClient, AdminError},
    output::{Paint, Tone},
    state::{is_there, refused},
};
use crate::{
    config::Local,
    daemon::keyring,
    model::Key,
    report::oplog::{MOST, OplogError, Reader, Verified, Wanted},
    store::state_file::StateFile,
};

/// Arguments of `log`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct LogArgs {
    #[command(subcommand)]
    command: Option<LogCommand>,
    /// Only entries about this record, by Clerk's id
    #[arg(long, value_name = "KEY", value_parser = key)]
    key: Option<Key>,
    /// Only entries from then on: a time (2026-03-01T12:00:00Z), a day, or how long ago (2h)
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<i64>,
    /// So many of the newest
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..=MOST as i64))]
    limit: u32,
    #[command(flatten)]
    json: JsonArg,
}

/// What else to do with the log.
#[derive(Debug, Subcommand)]
pub enum LogCommand {
    /// Check that no entry was changed, removed or put in between
    Verify(VerifyArgs),
}

/// Arguments of `log verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    json: JsonArg,
}

#[derive(Deserialize, Serialize)]
struct Entries {
    entries: Vec<Box<RawValue>>,
}

fn key(text: &str) -> Result<Key, String> {
    Key::parse(text).ok_or_else(|| "this is no id of Clerk's, such as user_2g7np7Hrk0SN6kj5".into())
}

/// A time in milliseconds since the epoch.
fn since(text: &str) -> Result<i64, String> {
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Ok(at.timestamp_millis());
    }
    if let Ok(day) = text.parse::<NaiveDate>() {
        return Ok(day
            .and_time(Default::default())
            .and_utc()
            .timestamp_millis());
    }
    let ago = humantime::parse_duration(text)
        .ok()
        .and_then(|ago| i64::try_from(ago.as_millis()).ok());
    let ago =
        ago.ok_or("give a time (2026-03-01T12:00:00Z), a day (2026-03-01), or how long ago (2h)")?;
    Ok(Utc::now().timestamp_millis().saturating_sub(ago))
}

/// Does what the command says.
pub(super) async fn log(args: LogArgs, context: &Context) -> Result<Exit, Failure> {
    let local = context.local()?;
    match args.command {
        Some(LogCommand::Verify(args)) => verify(&args, &local, context).await,
        None => newest(args, &local, context).await,
    }
}

async fn newest(args: LogArgs, local: &Local, context: &Context) -> Result<Exit, Failure> {
    let mut path = format!("/log?limit={}", args.limit);
    if let Some(key) = &args.key {
        path += &format!("&key={key}");
    }
    if let Some(since_ms) = args.since {
        path += &format!("&since_ms={since_ms}");
    }
    let found = match ask(&path, local).await? {
        Some(answer) => read(answer)?,
        None => {
            let wanted = Wanted {
                key: args.key,
                since_ms: args.since,
                limit: args.limit as usize,
            };
            let entries = here(local)?.newest(&wanted).map_err(failure)?;
            Entries { entries }
        }
    };
    if args.json.json {
        context.output.document(&found)?;
        return Ok(Exit::Done);
    }
    let paint = context.output.paint();
    let entries = found.entries.iter();
    let entries = entries.filter_map(|one| serde_json::from_str::<Value>(one.get()).ok());
    let text: String = entries.map(|one| shown(&one, paint)).collect();
    context.output.write(&text)?;
    if found.entries.is_empty() {
        context.output.note("No such entry.");
    }
    Ok(Exit::Done)
}

async fn verify(args: &VerifyArgs, local: &Local, context: &Context) -> Result<Exit, Failure> {
    let verified: Verified = match ask("/log/verify", local).await? {
        Some(answer) => read(answer)?,
        None => here(local)?.verify().map_err(failure)?,
    };
    if args.json.json {
        context.output.document(&verified)?;
    } else {
        context
            .output
            .write(&verdict(&verified, context.output.paint()))?;
    }
    Ok(match verified.ok {
        true => Exit::Done,
        false => Exit::Failed,
    })
}

/// What the daemon answers; `None` if none runs.
async fn ask(path: &str, local: &Local) -> Result<Option<Value>, Failure> {
    let answer = match AdminClient::new(&local.admin) {
        Ok(client) => client.get(path).await,
        Err(error) => Err(error),
    };
    match answer {
        Ok(answer) => Ok(Some(answer)),
        // A daemon on another machine has its own log, of which nothing is known here.
        Err(error) if error.is_absence() && local.admin.address.is_none() => Ok(None),
        Err(error) if error.is_absence() && local.state.dir.is_dir() => Ok(None),
        Err(error) => Err(AdminError::into(error)),
    }
}

/// The log that a daemon has left here.
fn here(local: &Local) -> Result<Reader, Failure> {
    is_there(&local.state.dir)?;
    let keys = keyring(&local.state);
    StateFile::admit(&local.state.dir, &keys).map_err(refused)?;
    Ok(Reader::look(&local.state.dir, &keys))
}

fn read<T: for<'de> Deserialize<'de>>(answer: Value) -> Result<T, Failure> {
    serde_json::from_value(answer).map_err(|error| {
        Failure::failed(format!("the daemon's answer cannot be read: {error}"))
            .help("use the command line of the daemon's own version")
    })
}

fn failure(error: OplogError) -> Failure {
    Failure::failed(error.to_string())
}

/// An entry, and a line for each field that both sides had changed.
fn shown(entry: &Value, paint: Paint) -> String {
    let at = clean(&entry["at"]).replace('T', " ").replace('Z', "");
    let about = match (&entry["table"], &entry["key"]) {
        (Value::Null, _) => String::new(),
        (table, Value::Null) => format!(" {} {}", clean(&entry["count"]), clean(table)),
        (table, key) => format!(" {}/{}", clean(table), clean(key)),
    };
    let outcome = paint.tone(tone(&entry["outcome"]), &clean(&entry["outcome"]));
    let mut line = format!(
        "{at}  {}  {}: {}{about}: {outcome}",
        clean(&entry["n"]),
        clean(&entry["to"]),
        clean(&entry["what"]),
    );
    for name in ["why", "reason", "outcomes", "first", "last"] {
        if !entry[name].is_null() {
            line += &format!(", {name} {}", clean(&entry[name]));
        }
    }
    line += &format!(", by {}", by(&entry["by"]));
    let fields = entry["fields"].as_array().into_iter().flatten();
    let fields: Vec<String> = fields.map(clean).collect();
    if !fields.is_empty() {
        line += &paint.tone(Tone::Quiet, &format!("  [{}]", fields.join(" ")));
    }
    line.push('\n');
    for one in entry["conflict"].as_array().into_iter().flatten() {
        line += &conflict(one);
    }
    line
}

fn conflict(one: &Value) -> String {
    let side = |side: &str| {
        let held = &one[side];
        let value = match held.get("value") {
            None => "not seen".to_owned(),
            Some(Value::Null) => "none".to_owned(),
            Some(value) => clean(value),
        };
        format!("{side} {value} of {}", clean(&held["at"]))
    };
    format!(
        "    {}: both sides changed it; {} stays ({}, {})\n",
        clean(&one["field"]),
        clean(&one["winner"]),
        side("clerk"),
        side("convex"),
    )
}

/// Who wanted it, in a few words.
fn by(by: &Value) -> String {
    let mut words = vec![clean(&by["kind"])];
    for name in ["run", "id", "by", "who", "from"] {
        if !by[name].is_null() {
            words.push(clean(&by[name]));
        }
    }
    let ids = by["ids"].as_array().into_iter().flatten();
    words.extend(ids.map(clean));
    words.join(" ")
}

fn tone(outcome: &Value) -> Tone {
    match outcome.as_str() {
        Some("refused" | "lost" | "deleted") => Tone::Warn,
        Some("unchanged" | "stale" | "absent" | "tombstoned") => Tone::Quiet,
        _ => Tone::Strong,
    }
}

/// A value as a terminal may show it, whoever wrote it there.
fn clean(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Object(map) => {
            let pairs = map.iter().map(|(name, value)| format!("{name} {value}"));
            pairs.collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    };
    text.chars().filter(|c| !c.is_control()).collect()
}

fn verdict(verified: &Verified, paint: Paint) -> String {
    let mut text = match &verified.broken {
        None if verified.entries == 0 => "The log has no entry yet.\n".to_owned(),
        None => format!(
            "{} {} entries, {} to {}, each as it was written.\n",
            paint.tone(Tone::Good, "ok:"),
            verified.entries,
            verified.first,
            verified.last.n,
        ),
        Some(broken) => format!(
            "{} the chain breaks at entry {}: {}.\n{} entries before it are as they were written.\n",
            paint.tone(Tone::Bad, "broken:"),
            broken.n,
            clean(&Value::from(broken.problem.as_str())),
            verified.entries,
        ),
    };
    if verified.removed > 0 {
        text += &format!(
            "Entries up to {} made room for newer ones (state.operations_log_bytes).\n",
            verified.removed
        );
    }
    if verified.unfinished_bytes > 0 {
        text += &format!(
            "{} bytes at the end are an entry that is not whole: it is being written, or the next start cuts it off.\n",
            verified.unfinished_bytes
        );
    }
    if verified.entries > 0 {
        text += &format!(
            "The last good entry has the hash {}; kept elsewhere, it shows also that nobody wrote all anew.\n",
            verified.head()
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_time_is_one_of_three_things() {
        let noon = DateTime::parse_from_rfc3339("2026-03-01T12:00:00Z").unwrap();
        assert_eq!(
            since("2026-03-01T13:00:00+01:00"),
            Ok(noon.timestamp_millis())
        );
        assert_eq!(
            since("2026-03-01"),
            Ok(noon.timestamp_millis() - 43_200_000)
        );
        let hour = Utc::now().timestamp_millis() - since("1h").unwrap();
        assert!((3_600_000..3_700_000).contains(&hour), "{hour}");
        assert!(since("yesterday").is_err());
    }

    #[test]
    fn entries_are_lines_without_surprises() {
        let entry = json!({
            "n": 7, "at": "2026-03-01T12:00:00.123Z", "to": "convex", "what": "upsert", "table": "users",
            "key": "user_1", "outcome": "updated", "fields": ["email", "name"], "why": "stale",
            "by": {"kind": "run", "run": "sweep", "id": "0190", "by": "schedule"}, "prev": "00",
        });
        assert_eq!(
            shown(&entry, Paint::PLAIN),
            "2026-03-01 12:00:00.123  7  convex: upsert users/user_1: updated, why stale, by run sweep 0190 \
             schedule  [email name]\n"
        );
        let edited = json!({
            "n": 8, "at": "2026-03-01T12:00:00.123Z", "to": "convex", "what": "edit\u{1b}[2J", "table": "users",
            "key": "user_1", "outcome": "overruled", "by": {"kind": "edit"},
            "conflict": [{
                "field": "firstName", "winner": "clerk",
                "clerk": {"at": "2026-03-01T11:00:00.000Z", "value": "A…"},
                "convex": {"at": "2026-03-01T10:00:00.000Z", "value": null},
            }],
        });
        assert_eq!(
            shown(&edited, Paint::PLAIN),
            "2026-03-01 12:00:00.123  8  convex: edit[2J users/user_1: overruled, by edit\n    firstName: both \
             sides changed it; clerk stays (clerk A… of 2026-03-01T11:00:00.000Z, convex none of \
             2026-03-01T10:00:00.000Z)\n"
        );
    }
}
