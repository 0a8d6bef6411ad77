//! Dead letters without a daemon: straight from the journal that it left in the state directory.
//!
//! Holds the journal's lock for as long as it lives, so that no daemon starts meanwhile. What is put
//! back here is applied when the daemon starts next. Touches nothing but the journal and the operations log,
//! in which each change stands before it is made.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, SecondsFormat, Utc};
use rustix::process::geteuid;
use serde_json::Value;

use super::source::{DeadLetter, Page, Retried, Selection};
use crate::{
    cli::{
        exit::Failure,
        state::{KEYS_HELP, refused},
    },
    config::State,
    daemon::keyring,
    model::Asked,
    queue::dead_letters::{DROPPED, name_of, seq_of},
    report::{
        alert::Alerts,
        oplog::{
            self, OperationsLog,
            note::{Note, Place},
        },
    },
    store::{
        journal::{
            self, Cause, CauseKind, Entry, Journal, OpenError, Opened, Options, ParkedMeta, Settled,
        },
        state_file::StateFile,
    },
};

/// The journal of a daemon that does not run.
pub struct OfflineFailures {
    journal: Journal,
    state: State,
    letters: BTreeMap<u64, ParkedMeta>,
}

impl OfflineFailures {
    /// Opens the journal. `None` when no daemon has ever run with this state directory.
    ///
    /// # Errors
    /// Exit code 4 when another process has it, 2 when a key is missing, 1 when it cannot be read.
    pub fn open(state: &State) -> Result<Option<Self>, Failure> {
        let dir = state.dir.join(journal::DIR);
        if !dir.is_dir() {
            return Ok(None);
        }
        let keys = keyring(state);
        let file = StateFile::admit(&state.dir, &keys)
            .map_err(refused)?
            .found();
        let options = Options {
            max_entries: state.max_queue_events,
            max_bytes: state.max_journal_bytes,
            keys: keys.clone(),
            ..Options::default()
        };
        let Opened {
            journal, recovered, ..
        } = Journal::open(&dir, options).map_err(|error| {
            let message = error.to_string();
            match error {
                OpenError::InUse(_) => Failure::unreachable(message)
                    .help("ask the daemon that runs: give the --config that it was started with"),
                OpenError::UnknownKey { .. } => Failure::usage(message).help(KEYS_HELP),
                OpenError::Newer { .. } | OpenError::Io { .. } => Failure::failed(message),
            }
        })?;
        if let Some(mut file) = file {
            // What is noted here is written in today's layout and under today's key.
            file.announce(&state.dir, &keys).map_err(refused)?;
        }
        let letters = recovered
            .parked
            .into_iter()
            .map(|letter| (letter.meta.seq, letter))
            .collect();
        Ok(Some(OfflineFailures {
            journal,
            state: state.clone(),
            letters,
        }))
    }

    /// A page of dead letters, oldest first.
    pub fn list(&self, after: Option<&str>, limit: usize) -> Page {
        let after = after.map_or(0, |id| seq_of(id).unwrap_or(u64::MAX));
        let mut rest = self.letters.range(after.saturating_add(1)..);
        let failures: Vec<DeadLetter> = rest
            .by_ref()
            .take(limit)
            .map(|(_, letter)| self.describe(letter, false))
            .collect();
        let next = rest
            .next()
            .and(failures.last().map(|letter| letter.id.clone()));
        Page {
            failures,
            total: self.letters.len() as u64,
            next,
        }
    }

    /// One dead letter with its body, if it is there.
    pub fn show(&self, id: &str) -> Option<DeadLetter> {
        let letter = self.letters.get(&seq_of(id)?)?;
        Some(self.describe(letter, true))
    }

    /// Puts dead letters back, for the next start of the daemon.
    ///
    /// # Errors
    /// Exit code 1 when the disk does not take it.
    pub async fn retry(&self, selection: &Selection) -> Result<Retried, Failure> {
        let every = self.letters.keys().map(|seq| name_of(*seq));
        let ids: Vec<String> = match selection {
            Selection::All => every.collect(),
            Selection::These(ids) => ids.clone(),
        };
        let known = |id: &String| seq_of(id).is_some_and(|seq| self.letters.contains_key(&seq));
        let (there, unknown): (Vec<String>, Vec<String>) = ids.into_iter().partition(known);
        let seqs: BTreeSet<u64> = there.iter().filter_map(|id| seq_of(id)).collect();
        let retried = seqs.len() as u64;
        let did = format!("{retried} dead letter(s) put back; no daemon runs");
        self.note("failures retry", did).await?;
        for seq in seqs {
            self.journal.unpark(seq);
        }
        self.written().await?;
        Ok(Retried { retried, unknown })
    }

    /// Gives one up; false when it is not there.
    ///
    /// # Errors
    /// Exit code 1 when the disk does not take it.
    pub async fn drop_one(&self, id: &str) -> Result<bool, Failure> {
        let Some(seq) = seq_of(id).filter(|seq| self.letters.contains_key(seq)) else {
            return Ok(false);
        };
        let did = format!("{} given up; no daemon runs", name_of(seq));
        self.note("failures drop", did).await?;
        self.journal.settle([Settled {
            seq,
            state: DROPPED,
            reason: None,
        }]);
        self.written().await?;
        Ok(true)
    }

    /// Writes down for good what is about to be changed, and by whom.
    async fn note(&self, what: &str, did: String) -> Result<(), Failure> {
        let options = oplog::Options {
            keep: self.state.operations_log_bytes,
            keys: keyring(&self.state),
            alerts: Alerts::default(),
            now_ms: || Utc::now().timestamp_millis(),
        };
        let alerts = options.alerts.clone();
        let log = OperationsLog::open(&self.state.dir, options)
            .map_err(|error| Failure::failed(error.to_string()))?;
        let asked = Asked::Operator {
            who: format!("uid {}", geteuid().as_raw()).into(),
        };
        let now_ms = Utc::now().timestamp_millis();
        let note = Note::new(now_ms, Place::Daemon, asked, what, "noted");
        log.note(note.did(Some(did))).await;
        log.close().await;
        let mut raised = alerts.raised().into_iter();
        let failed = raised.find(|alert| alert.code == "oplog_failed");
        failed.map_or(Ok(()), |alert| {
            Err(Failure::failed(alert.message).help("nothing was changed; try again"))
        })
    }

    async fn written(&self) -> Result<(), Failure> {
        self.journal
            .sync()
            .await
            .map_err(|error| Failure::failed(error.to_string()))
    }

    fn describe(&self, letter: &ParkedMeta, with_body: bool) -> DeadLetter {
        let ParkedMeta { meta, parked } = letter;
        // An entry whose bytes are damaged is still listed, by what else is known of it.
        let entry = self.journal.read(meta.position).ok();
        let (delivery, event_type) = match entry.as_ref().map(|entry| &entry.content.cause) {
            Some(Cause::Delivery { id, event_type }) => {
                (Some(id.to_string()), event_type.to_string())
            }
            _ => (None, "request".to_owned()),
        };
        let version = meta.record.is_some() && meta.cause == CauseKind::Delivery;
        DeadLetter {
            id: name_of(meta.seq),
            delivery,
            event_type,
            table: meta
                .record
                .as_ref()
                .map(|record| record.table.name().to_owned()),
            key: meta.record.as_ref().map(|record| record.key.to_string()),
            version: version.then_some(meta.version.0),
            attempts: parked.attempts.into(),
            code: parked.code.to_string(),
            reason: parked.reason.to_string(),
            received_at: rfc3339(meta.received_ms),
            failed_at: rfc3339(parked.at_ms),
            body: entry.filter(|_| with_body).map(body_of),
        }
    }
}

/// The event as JSON where it is, else as text.
fn body_of(entry: Entry) -> Value {
    let body = &entry.content.body;
    serde_json::from_slice(body)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(body).into_owned()))
}

/// Out of range, the epoch.
fn rfc3339(ms: i64) -> String {
    DateTime::from_timestamp_millis(ms)
        .unwrap_or_default()
        .to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests;
