//! A membership whose user or organization is not there yet: after a while they are looked for.
//!
//! The membership itself is written at once, since its parents usually follow within milliseconds and the
//! functions accept them in any order. Who has still not been heard of then is looked up in Convex, and
//! fetched from Clerk through the queue if there is no row: what Clerk does not know takes the membership
//! along when it is deleted.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Applier, workers::Message};
use crate::{
    apply::{Shared, call::Done, load::Fate, work::Work},
    model::{Key, Outcome, RecordKey, Table},
    queue::order::Millis,
    store::journal::{Related, RequestOrigin},
};

/// Records looked for at once; each is an index range in Convex.
const AT_ONCE: usize = 200;

/// What came of a look.
pub(super) struct Looked {
    /// Neither in the ledger nor in Convex.
    missing: Vec<RecordKey>,
    /// Convex did not say.
    unknown: Vec<RecordKey>,
}

impl Applier {
    /// Remembers who was mentioned without having been heard of.
    pub(super) fn hear_of(&mut self, mentioned: Vec<RecordKey>) {
        let now = self.tick();
        for record in mentioned {
            self.mentioned.add(record, now);
        }
    }

    /// Looks for those who had time enough to arrive, one look at a time.
    pub(super) fn look_for_parents(&mut self, now: Millis) {
        if self.looking {
            return;
        }
        let due = self.mentioned.take_due(now, AT_ONCE);
        if due.is_empty() {
            return;
        }
        self.looking = true;
        let (shared, reports) = (Arc::clone(&self.shared), self.reports.clone());
        let kept = due.clone();
        let look = tokio::spawn(async move { shared.look_for(due).await });
        tokio::spawn(async move {
            let failed = |_| Looked {
                missing: Vec::new(),
                unknown: kept,
            };
            // Nobody listens any more only when the process ends.
            let _ = reports.send(Message::Looked(look.await.unwrap_or_else(failed)));
        });
    }

    pub(super) fn looked(&mut self, looked: Looked) {
        self.looking = false;
        for record in looked.missing {
            tracing::debug!(
                table = record.table.name(),
                key = record.key.as_str(),
                "a membership names it, and nobody has told of it: asking Clerk"
            );
            self.request(record, RequestOrigin::Repair, Related::default());
        }
        self.hear_of(looked.unknown);
    }

    /// When to look again, as an instant.
    pub(super) fn next_look(&self, now: Instant, tick: Millis) -> Option<Instant> {
        let at = self.mentioned.next_due().filter(|_| !self.looking)?;
        let wait = u64::try_from(at.saturating_sub(tick)).unwrap_or(0);
        Some(now + std::time::Duration::from_millis(wait))
    }
}

impl Shared {
    /// Who is mentioned by what was just written, and is not in the ledger.
    pub(super) fn unheard_of(&self, done: &[Done<Work>]) -> Vec<RecordKey> {
        let stands = |fate: &Fate| {
            let Fate::Written { outcome, .. } = fate else {
                return false;
            };
            !matches!(
                outcome,
                Outcome::Tombstoned | Outcome::Stale | Outcome::Deleted | Outcome::Absent
            )
        };
        let written = done.iter().filter(|(_, fate)| stands(fate));
        let mentioned = written.flat_map(|(work, _)| &work.mentions);
        mentioned
            .filter(|record| self.is_unknown(record))
            .cloned()
            .collect()
    }

    fn is_unknown(&self, record: &RecordKey) -> bool {
        self.serves(record.table) && self.seen(record).is_none()
    }

    async fn look_for(&self, records: Vec<RecordKey>) -> Looked {
        let mut looked = Looked {
            missing: Vec::new(),
            unknown: Vec::new(),
        };
        let reader = self.edges.load().reader.clone();
        for table in [Table::Users, Table::Organizations] {
            let wanted = records.iter().filter(|record| record.table == table);
            let mut wanted: Vec<Key> = wanted
                .filter(|record| self.is_unknown(record))
                .map(|record| record.key.clone())
                .collect();
            let into = match reader.get(table, &wanted).await {
                Ok(page) => {
                    wanted.retain(|key| page.rows.iter().all(|row| row.key != *key));
                    &mut looked.missing
                }
                Err(_) => &mut looked.unknown,
            };
            into.extend(wanted.into_iter().map(|key| RecordKey::new(table, key)));
        }
        looked
    }
}
