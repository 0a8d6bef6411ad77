//! Shows Convex users as Clerk has just shown them, outside the queue.
//!
//! The version guard in Convex holds here as everywhere, so this may run beside an applier that writes the
//! same record. Knows nothing of edits. Promises that a record which Convex refuses stops no other; it
//! will come again as a delivery, and become a dead letter there.

use std::{collections::HashMap, time::Duration};

use crate::{
    apply::{Shared, work},
    clerk::RawRecord,
    convex::{
        deployment::CallError,
        wire::{Applied, Encoded},
    },
    model::{ContentHash, Fault, Key, Outcome, Standing, Table},
};

/// How long to leave Convex alone when the functions are not there or not callable.
const REFUSED_HOLD: Duration = Duration::from_secs(10);

/// A user as rows.
struct Rows {
    record: RawRecord,
    changes: Vec<Encoded>,
    hash: ContentHash,
}

impl Shared {
    /// Writes these users' rows. Answers for each what became of it, `Stale` if of any of its rows something
    /// newer is known, and nothing for a record that cannot be written. An error is how long to wait: then
    /// some may have been written.
    pub(super) async fn tell(
        &self,
        records: Vec<RawRecord>,
    ) -> Result<HashMap<Key, Outcome>, Duration> {
        let mut outcomes = HashMap::new();
        let mut users = Vec::with_capacity(records.len());
        for record in records {
            let seen = self.seen(&record.name());
            if seen.is_some_and(|seen| seen.deleted || seen.version > record.version()) {
                outcomes.insert(record.key().clone(), Outcome::Stale);
                continue;
            }
            let Ok(changes) = self.map(Table::Users, record.text()) else {
                continue;
            };
            users.push(Rows {
                hash: work::hash_of(&changes),
                changes: changes.iter().map(Encoded::of).collect(),
                record,
            });
        }
        let batch = (self.settings.load().batch / 2).max(1);
        for users in users.chunks(batch) {
            match self.tell_at_once(users, &mut outcomes).await {
                Ok(()) => {}
                Err(Some(wait)) => return Err(wait),
                // Who of them it was is found out one by one.
                Err(None) if users.len() > 1 => {
                    for user in users.chunks(1) {
                        if let Err(Some(wait)) = self.tell_at_once(user, &mut outcomes).await {
                            return Err(wait);
                        }
                    }
                }
                Err(None) => {}
            }
        }
        Ok(outcomes)
    }

    /// One call. An error without a wait is one of the records'.
    async fn tell_at_once(
        &self,
        users: &[Rows],
        outcomes: &mut HashMap<Key, Outcome>,
    ) -> Result<(), Option<Duration>> {
        let changes: Vec<&Encoded> = users.iter().flat_map(|user| &user.changes).collect();
        let ticket = self.convex.admit().map_err(Some)?;
        let edges = self.edges.load_full();
        // The permits end only with the process.
        let _permit = self.convex_calls.acquire().await;
        let mut applied = match edges.writer.apply_encoded(&changes).await {
            Ok(applied) => {
                self.convex.answered(ticket);
                applied.into_iter()
            }
            Err(error) => return Err(self.convex_failed(ticket, &error)),
        };
        for user in users {
            let rows: Vec<Applied> = applied.by_ref().take(user.changes.len()).collect();
            self.learn(user, &rows);
            let mut all = rows.iter().map(|row| row.outcome);
            let stale = all.any(|outcome| outcome == Outcome::Stale);
            let own = rows.first().map_or(Outcome::Unchanged, |row| row.outcome);
            let outcome = if stale { Outcome::Stale } else { own };
            outcomes.insert(user.record.key().clone(), outcome);
        }
        Ok(())
    }

    /// Tells the circuit. `None`: the fault of what was sent.
    pub(super) fn convex_failed(
        &self,
        ticket: crate::convex::circuit::Ticket,
        error: &CallError,
    ) -> Option<Duration> {
        match error.fault() {
            Fault::Record => {
                self.convex.answered(ticket);
                None
            }
            Fault::Service { retry_after } => Some(self.convex.failed(ticket, error, retry_after)),
            Fault::Refused | Fault::Ours => {
                Some(self.convex.failed(ticket, error, Some(REFUSED_HOLD)))
            }
        }
    }

    /// Lets the ledger remember, so that the event about the same change is known when it comes.
    fn learn(&self, user: &Rows, rows: &[Applied]) {
        let record = user.record.name();
        let Some(own) = rows.first() else {
            return;
        };
        self.row_written(&record, own);
        let written = matches!(
            own.outcome,
            Outcome::Created | Outcome::Updated | Outcome::Linked | Outcome::Unchanged
        );
        if written {
            let standing = Standing::alive(user.record.version());
            self.remember(&[(record, work::seen(standing, user.hash))]);
        }
    }
}
