//! Tells Clerk which row a user has: `convexUserId` and `syncedAt` in the user's private metadata.
//!
//! Once after each write that changed the user's row. The event that Clerk sends about it has the same
//! content, so it changes no row, and the circle is closed. What waits is in memory only: what a crash or the
//! bound has lost, a full diff finds by comparing what Clerk's metadata name with the row, and hands over again.

use std::collections::HashMap;

use chrono::{DateTime, SecondsFormat};
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::{Carrier, loops::LoopBreaker};
use crate::{
    apply::Shared,
    clerk::{ClerkError, client::ClerkWriter},
    model::{Fault, Key, Outcome, RecordKey, Table},
};

/// Users that wait; beyond it they are dropped, and counted. About 100 bytes each.
pub(super) const MAX_WAITING: usize = 10_000;
/// Requests in one round, before edits get their turn.
const MAX_ROUND: usize = 64;
/// Requests at once.
const AT_ONCE: usize = 8;
/// What stands for all that is written back, to the loop breaker.
const SYNCED_AT: &str = "syncedAt";

/// A user's row was written, or Clerk does not name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Whose.
    pub key: Key,
    /// The row's Convex id.
    pub row: String,
    /// When, in milliseconds.
    pub at_ms: i64,
    /// True if it was written just now; else a scan has seen that Clerk names none or another.
    pub changed: bool,
}

/// What is to be written back.
#[derive(Debug)]
pub(super) struct WriteBacks {
    waiting: HashMap<Key, Written>,
    next: Option<Instant>,
    dropped: u64,
    pub(super) loops: LoopBreaker,
}

impl WriteBacks {
    pub(super) fn new(no_loop: usize) -> WriteBacks {
        WriteBacks {
            waiting: HashMap::new(),
            next: None,
            dropped: 0,
            loops: LoopBreaker::new(no_loop),
        }
    }

    /// Takes a row over; of two of one user the later change counts. What a scan has seen is older than
    /// what was done about that user lately.
    pub(super) fn add(&mut self, row: Written, now: Instant) {
        let done = |row: &Written| {
            let lately = self.loops.wrote_lately(&row.key, SYNCED_AT, now.into_std());
            lately || self.waiting.contains_key(&row.key)
        };
        if !row.changed && done(&row) {
            return;
        }
        if self.waiting.len() >= MAX_WAITING && !self.waiting.contains_key(&row.key) {
            self.dropped += 1;
            return;
        }
        self.waiting.insert(row.key.clone(), row);
        self.next = Some(self.next.map_or(now, |next| next.min(now)));
    }

    /// When to work on it, if there is anything.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.next.filter(|_| !self.waiting.is_empty())
    }

    /// Nothing before this.
    pub(super) fn wait_until(&mut self, at: Instant) {
        self.next = Some(at);
    }
}

impl Shared {
    /// Hears what became of a record, and lets Clerk be told if it is a user and was changed. `row` is
    /// the Convex id of its row.
    pub(in crate::apply) fn row_written(
        &self,
        record: &RecordKey,
        outcome: Outcome,
        row: Option<&str>,
    ) {
        let changed = matches!(
            outcome,
            Outcome::Created | Outcome::Updated | Outcome::Linked
        );
        let Some(row) = row.filter(|_| changed && record.table == Table::Users) else {
            return;
        };
        // Nothing waits for this: what does not fit, the next full diff finds.
        if self.let_tell(&record.key, row, true) == Some(false) {
            self.metrics.carried.write_back("dropped");
        }
    }

    /// A scan has seen that Clerk names no row, or another one, for this user. False if nobody can tell it.
    pub fn row_not_named(&self, key: &Key, row: &str) -> bool {
        self.let_tell(key, row, false) == Some(true)
    }

    /// Whether the carrier takes it; `None` if Clerk is not to be told at all, or nobody carries.
    fn let_tell(&self, key: &Key, row: &str, changed: bool) -> Option<bool> {
        let sender = self.written.get()?;
        if !self.settings.load().carried.write_back {
            return None;
        }
        let written = Written {
            key: key.clone(),
            row: row.to_owned(),
            at_ms: self.clock.now_ms(),
            changed,
        };
        Some(sender.try_send(written).is_ok())
    }
}

impl Carrier {
    /// Writes back what may be written back now.
    pub(super) async fn write_back(&mut self) {
        for _ in 0..std::mem::take(&mut self.write_backs.dropped) {
            self.shared.metrics.carried.write_back("dropped");
        }
        let now = Instant::now();
        if self.write_backs.next_at().is_none_or(|at| at > now) {
            return;
        }
        let edges = self.shared.edges.load_full();
        let writer = edges.clerk_writer.as_ref();
        let Some(writer) = writer.filter(|_| self.options.write_back) else {
            self.write_backs.waiting.clear();
            return;
        };
        let mut next = None;
        let mut due = Vec::new();
        for row in self.write_backs.waiting.values() {
            let free = Instant::from_std(self.pace.free_at(&row.key, now.into_std()));
            let at = self
                .hold
                .wait_until(now)
                .map_or(free, |held| free.max(held));
            if at <= now && due.len() < MAX_ROUND {
                due.push(row.clone());
            } else {
                next = Some(next.map_or(at, |next: Instant| next.min(at)));
            }
        }
        self.write_backs.next = next.map(|at| at.max(now + super::NEXT_LOOK));
        for rows in due.chunks(AT_ONCE) {
            if self.hold.wait_until(Instant::now()).is_some() {
                break;
            }
            self.write_back_at_once(writer, rows).await;
        }
    }

    async fn write_back_at_once(&mut self, writer: &ClerkWriter, rows: &[Written]) {
        let now = Instant::now().into_std();
        let mut asked = Vec::with_capacity(rows.len());
        for row in rows {
            if self.write_backs.loops.stops(&row.key, SYNCED_AT, now) {
                self.write_backs.waiting.remove(&row.key);
                self.shared.metrics.carried.write_back("frozen");
                continue;
            }
            self.pace.asked(&row.key, now);
            asked.push(row);
        }
        let requests = asked.iter().map(|row| async move {
            let metadata = metadata_of(row);
            writer.merge_user_metadata(&row.key, &metadata).await
        });
        let answers = futures_util::future::join_all(requests).await;
        for (row, answer) in asked.into_iter().zip(answers) {
            self.written_back(row, answer.map(drop));
        }
    }

    fn written_back(&mut self, row: &Written, answer: Result<(), ClerkError>) {
        let now = Instant::now().into_std();
        let result = match &answer {
            Ok(()) => {
                self.clerk_works();
                self.pace.done(&row.key, now);
                self.write_backs.loops.wrote(&row.key, SYNCED_AT, now);
                "written"
            }
            Err(ClerkError::NotFound { .. }) => "gone",
            Err(error) if error.fault() == Fault::Record => {
                self.clerk_works();
                tracing::warn!(
                    key = row.key.as_str(),
                    code = error.code(),
                    "Clerk does not take which row this user has"
                );
                "refused"
            }
            Err(error) => {
                let asked = match error.fault() {
                    Fault::Service { retry_after } => retry_after,
                    _ => None,
                };
                self.pace.failed(&row.key, now, asked);
                self.clerk_failed(error);
                let soon = Instant::now() + super::NEXT_LOOK;
                let next = self.write_backs.next;
                self.write_backs.next = Some(next.map_or(soon, |next| next.min(soon)));
                return;
            }
        };
        let code = answer.as_ref().err().map(ClerkError::code);
        self.note_written_back(row, result, code);
        self.write_backs.waiting.remove(&row.key);
        self.shared.metrics.carried.write_back(result);
    }
}

fn metadata_of(row: &Written) -> Map<String, Value> {
    let at = DateTime::from_timestamp_millis(row.at_ms).unwrap_or_default();
    let at = at.to_rfc3339_opts(SecondsFormat::Millis, true);
    Map::from_iter([
        ("convexUserId".to_owned(), Value::from(row.row.clone())),
        (SYNCED_AT.to_owned(), Value::from(at)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(key: &str, row: &str, changed: bool) -> Written {
        Written {
            key: Key::parse(key).unwrap(),
            row: row.into(),
            at_ms: 1,
            changed,
        }
    }

    #[test]
    fn what_a_scan_has_seen_gives_way_to_what_was_done_or_waits() {
        let (mut waiting, now) = (WriteBacks::new(20), Instant::now());
        waiting.add(row("user_1", "new", true), now);
        waiting.add(row("user_1", "seen", false), now);
        waiting.add(row("user_2", "seen", false), now);
        let told = |waiting: &WriteBacks, key: &str| {
            let key = Key::parse(key).unwrap();
            waiting.waiting.get(&key).map(|row| row.row.clone())
        };
        assert_eq!(told(&waiting, "user_1").as_deref(), Some("new"));
        assert_eq!(told(&waiting, "user_2").as_deref(), Some("seen"));
        let key = Key::parse("user_3").unwrap();
        waiting.loops.wrote(&key, SYNCED_AT, now.into_std());
        waiting.add(row("user_3", "seen", false), now);
        assert_eq!(told(&waiting, "user_3"), None);
        waiting.add(row("user_3", "new", true), now);
        assert_eq!(told(&waiting, "user_3").as_deref(), Some("new"));
    }
}
