//! A membership whose user or organization is not there yet: after a while they are looked for.
//!
//! The membership itself is written at once, since its parents usually follow within milliseconds and the
//! functions accept them in any order. Who has still not been heard of then is looked up in Convex, and
//! fetched from Clerk through the queue if there is no row: what Clerk does not know takes the membership
//! along when it is deleted.

use std::sync::Arc;

use super::{Applier, workers::Message};
use crate::{
    apply::{Shared, call::Done, guard, load::Fate, work::Work},
    model::{Key, RecordKey, Table},
    store::journal::{Related, RequestOrigin},
};

/// What came of a look.
pub(super) struct Looked {
    /// Neither in the ledger nor in Convex.
    missing: Vec<RecordKey>,
    /// Convex did not say.
    unknown: Vec<RecordKey>,
}

impl Applier {
    /// Looks for those who had time enough to arrive.
    pub(super) fn look_for(&self, records: Vec<RecordKey>) {
        let (shared, reports) = (Arc::clone(&self.shared), self.reports.clone());
        let kept = records.clone();
        let look = tokio::spawn(async move { shared.look_for(records).await });
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
        for record in looked.missing {
            tracing::debug!(
                table = record.table.name(),
                key = record.key.as_str(),
                "a membership names it, and nobody has told of it: asking Clerk"
            );
            self.request(record, RequestOrigin::Repair, Related::default());
        }
        self.book.looked(looked.unknown, self.tick());
    }
}

impl Shared {
    /// Who is mentioned by what was just written, and is not in the ledger.
    pub(super) fn unheard_of(&self, done: &[Done<Work>]) -> Vec<RecordKey> {
        let stands = |fate: &Fate| matches!(fate, Fate::Written { outcome, .. } if guard::leaves_a_row(*outcome));
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
