//! Where dead letters come from: the running daemon, or the state that a stopped one left.
//!
//! The one place that decides between the two; everything else is handed a [`FailuresSource`].

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{LOOK, offline::OfflineFailures};
use crate::{
    cli::{
        admin_client::{AdminClient, AdminError},
        exit::Failure,
        state,
    },
    config::Local,
    queue::dead_letters::seq_of,
};

/// The longest id of a dead letter that is sent on, in bytes. The daemon's own have under twenty.
const LONGEST_ID: usize = 64;

/// Who is asked.
pub enum FailuresSource {
    /// The daemon, over its admin listener.
    Daemon(AdminClient),
    /// What a daemon left behind.
    Offline(OfflineFailures),
    /// No daemon has ever run in this directory: nothing has failed yet.
    Nobody,
}

/// Which dead letters are meant.
#[derive(Debug)]
pub enum Selection {
    /// Every one.
    All,
    /// Those of these ids.
    These(Vec<String>),
}

/// Some dead letters, oldest first.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Page {
    /// Those of this page.
    pub failures: Vec<DeadLetter>,
    /// How many there are in all.
    pub total: u64,
    /// Where the next page begins, if there is one.
    pub next: Option<String>,
}

/// One dead letter as the daemon tells it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct DeadLetter {
    /// Its own id.
    pub id: String,
    /// The sender's id of the delivery.
    pub delivery: Option<String>,
    /// The type of the event.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The table of the record it is about.
    pub table: Option<String>,
    /// The record's key.
    pub key: Option<String>,
    /// The version it carries, in milliseconds.
    pub version: Option<i64>,
    /// How often it was tried.
    pub attempts: u64,
    /// Why it failed, for programs.
    pub code: String,
    /// Why it failed, for people.
    pub reason: String,
    /// When it came, RFC 3339.
    pub received_at: String,
    /// When it was given up, RFC 3339.
    pub failed_at: String,
    /// The event as it was received; only where one is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
}

/// What became of a retry.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Retried {
    /// How many wait again.
    pub retried: u64,
    /// Ids that are not there.
    #[serde(default)]
    pub unknown: Vec<String>,
}

/// The daemon where one runs, else the state that it left.
///
/// # Errors
/// Exit code 4 when the daemon does not answer as it should, there is no state, or another process holds it.
pub async fn open(local: &Local) -> Result<FailuresSource, Failure> {
    let absent = match AdminClient::new(&local.admin) {
        // A socket that is there may be left over: only an answer says that a daemon runs.
        Ok(client) => match client.get("/status").await {
            Ok(_) => return Ok(FailuresSource::Daemon(client)),
            Err(error) => error,
        },
        Err(error) => error,
    };
    // A daemon on another machine has its own state, of which nothing is known here.
    let elsewhere = local.admin.address.is_some();
    if !absent.is_absence() || (elsewhere && !local.state.dir.exists()) {
        return Err(absent.into());
    }
    state::is_there(&local.state.dir)?;
    match OfflineFailures::open(&local.state)? {
        Some(failures) => Ok(FailuresSource::Offline(failures)),
        None if elsewhere => Err(absent.into()),
        None => Ok(FailuresSource::Nobody),
    }
}

impl FailuresSource {
    /// A page of dead letters.
    pub async fn list(&self, after: Option<&str>, limit: u32) -> Result<Page, Failure> {
        let after = after.map(checked).transpose()?;
        let client = match self {
            FailuresSource::Daemon(client) => client,
            FailuresSource::Offline(failures) => return Ok(failures.list(after, limit as usize)),
            FailuresSource::Nobody => return Ok(Page::default()),
        };
        let mut path = format!("/failures?limit={limit}");
        if let Some(after) = after {
            path += &format!("&after={after}");
        }
        read(client.get(&path).await?)
    }

    /// One dead letter with its body.
    pub async fn show(&self, id: &str) -> Result<DeadLetter, Failure> {
        let client = match self {
            FailuresSource::Daemon(client) => client,
            FailuresSource::Offline(failures) => return failures.show(id).ok_or(unknown(id)),
            FailuresSource::Nobody => return Err(unknown(id)),
        };
        let answer = client.get(&format!("/failures/{}", checked(id)?)).await;
        read(answer.map_err(|error| absent(error, id))?)
    }

    /// Puts dead letters back into the queue.
    pub async fn retry(&self, selection: &Selection) -> Result<Retried, Failure> {
        let client = match self {
            FailuresSource::Daemon(client) => client,
            FailuresSource::Offline(failures) => return failures.retry(selection).await,
            FailuresSource::Nobody => {
                let unknown = match selection {
                    Selection::All => Vec::new(),
                    Selection::These(ids) => ids.clone(),
                };
                return Ok(Retried {
                    retried: 0,
                    unknown,
                });
            }
        };
        let body = match selection {
            Selection::All => json!({ "all": true }),
            Selection::These(ids) => json!({ "ids": ids }),
        };
        read(client.post("/failures/retry", &body).await?)
    }

    /// Gives one up.
    pub async fn drop_one(&self, id: &str) -> Result<(), Failure> {
        let client = match self {
            FailuresSource::Daemon(client) => client,
            FailuresSource::Offline(failures) => {
                let dropped = failures.drop_one(id).await?;
                return dropped.then_some(()).ok_or(unknown(id));
            }
            FailuresSource::Nobody => return Err(unknown(id)),
        };
        let answer = client.delete(&format!("/failures/{}", checked(id)?)).await;
        answer.map_err(|error| absent(error, id))?;
        Ok(())
    }
}

/// The id, if it can stand in a path as it is.
fn checked(id: &str) -> Result<&str, Failure> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if seq_of(id).is_some() && id.len() <= LONGEST_ID && id.bytes().all(plain) {
        Ok(id)
    } else {
        Err(Failure::failed(format!("{id:?} is not the id of a dead letter")).help(LOOK))
    }
}

fn unknown(id: &str) -> Failure {
    Failure::failed(format!("no such dead letter: {id}")).help(LOOK)
}

fn absent(error: AdminError, id: &str) -> Failure {
    match error {
        AdminError::Refused { status, .. } if status.as_u16() == 404 => unknown(id),
        other => other.into(),
    }
}

fn read<T: for<'de> Deserialize<'de>>(answer: Value) -> Result<T, Failure> {
    serde_json::from_value(answer).map_err(|error| {
        Failure::failed(format!("the daemon's answer cannot be read: {error}"))
            .help("use the command line of the daemon's own version")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_would_change_the_path_is_not_sent() {
        for id in [
            "",
            "../status",
            "dl_1/b",
            "dl_1?b",
            "dl_+1",
            "ä",
            "dl_x",
            "42",
        ] {
            assert!(checked(id).is_err(), "{id}");
        }
        assert_eq!(checked("dl_42").unwrap(), "dl_42");
    }
}
