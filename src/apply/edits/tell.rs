//! Shows Convex users as Clerk has just shown them, outside the queue; and hears what deliveries say of users
//! whose edits were carried.
//!
//! The version guard in Convex holds here as everywhere, so this may run beside an applier that writes the
//! same record. Knows nothing of edits. A record that Convex refuses is left out: it comes again as a
//! delivery, and becomes a dead letter there.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    apply::{
        Shared,
        failure::{Meaning, meaning},
        load::{Fate, Manner, Ready, Rows},
        work,
    },
    clerk::{
        RawRecord,
        wire::{Envelope, User},
    },
    convex::{circuit::Ticket, deployment::CallError},
    model::{Asked, Key, Outcome, Standing, Table},
    store::journal::Meta,
};

impl Shared {
    /// A delivery has come: if it is about a user whose edit was carried lately, it may tell of a change that the
    /// edit has overwritten. It is read beside whoever asks: a disk that does not answer holds up nobody, and lets
    /// no more deliveries come either.
    pub(in crate::apply) fn hear_of_carried(self: &Arc<Self>, meta: &Meta) {
        let record = meta.record.as_ref();
        let Some(record) = record.filter(|record| record.table == Table::Users) else {
            return;
        };
        if !self.overwrites().watches(&record.key) {
            return;
        }
        let (shared, key) = (Arc::clone(self), record.key.clone());
        let (seq, position) = (meta.seq, meta.position);
        tokio::spawn(async move {
            let Ok(body) = shared.read_aside(seq, position).await else {
                return;
            };
            let envelope = Envelope::parse(&body).ok();
            let user = envelope
                .as_ref()
                .and_then(|envelope| User::parse(envelope.data().ok()?).ok());
            if let Some(user) = user.filter(|user| user.key == key) {
                shared.overwrites().heard(&user);
            }
        });
    }

    /// Writes these users' rows. Answers for each what became of it, `Stale` if something newer is known of
    /// it, and nothing for a record that cannot be written. An error is how long to wait: then some may
    /// have been written.
    pub(super) async fn tell(
        &self,
        records: Vec<RawRecord>,
    ) -> Result<HashMap<Key, Outcome>, Duration> {
        self.learn_tables().await;
        let mut outcomes = HashMap::new();
        let mut loads = Vec::with_capacity(records.len());
        for record in records {
            let name = record.name();
            let seen = self.seen(&name);
            if seen.is_some_and(|seen| seen.deleted || seen.version > record.version()) {
                outcomes.insert(name.key, Outcome::Stale);
                continue;
            }
            let Ok(changes) = self.map(Table::Users, record.text()) else {
                continue;
            };
            let standing = Standing::alive(record.version());
            loads.push(Ready {
                place: (),
                record: name,
                seen: work::seen(standing, work::hash_of(&changes)),
                rows: Rows::of(&changes),
                why: None,
                revive: false,
            });
        }
        let mut held = None;
        // Somebody has just changed these, and there are few of them.
        let edits = Asked::Edit {
            ids: Arc::default(),
        };
        let manner = Manner {
            asked: Some(&edits),
            ..self.as_deliveries()
        };
        for (load, fate) in self.write(loads, manner).await {
            match fate {
                Fate::Written { outcome, .. } => {
                    outcomes.insert(load.record.key, outcome);
                }
                Fate::Refused { code, .. } => {
                    tracing::warn!(
                        key = load.record.key.as_str(),
                        code,
                        "not written by Convex"
                    );
                }
                Fate::Overtaken => {
                    outcomes.insert(load.record.key, Outcome::Stale);
                }
                Fate::Hold(wait) => held = Some(wait),
            }
        }
        held.map_or(Ok(outcomes), Err)
    }

    /// Tells the circuit of a failed call. `None`: the fault of what was sent.
    pub(super) fn convex_failed(&self, ticket: Ticket, error: &CallError) -> Option<Duration> {
        match meaning(error) {
            Meaning::Refused(_) | Meaning::Redacted => {
                self.convex.answered(ticket);
                None
            }
            Meaning::Throttled => {
                self.convex.answered(ticket);
                Some(self.throttle().refused(Instant::now().into_std()))
            }
            Meaning::Away(asked) => Some(self.convex.failed(ticket, error, asked)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        apply::{
            edits::overwrites::Sent,
            tests::{Bench, event, record},
        },
        convex::answer::Failure,
        model::Version,
    };

    /// With one thread: whoever waits for the disk on it has everybody wait.
    #[tokio::test]
    async fn a_disk_that_does_not_answer_about_somebody_who_was_carried_holds_up_nobody() {
        let mut bench = Bench::start().await;
        let sent = Sent {
            ids: Vec::new(),
            said_ms: 1,
            looked: Version(0),
            fields: Vec::new(),
        };
        let key = record(Table::Users, "user_1").key;
        let watched = std::time::Instant::now();
        bench.shared.overwrites().watch(&key, sent, watched);
        bench.store(event("user_1", 1)).await;
        let pipe = bench.hang_disk();
        let applier = bench.applying();
        bench.shared.set_paused(true);
        for _ in 0..20 {
            let status = applier.handle.status().await.expect("an answer");
            assert_eq!(status.depth, 1);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let _answers = pipe.answer();
        applier.end().await;
    }

    #[tokio::test]
    async fn a_deployment_that_has_written_its_share_of_this_second_is_not_away_for_edits_either() {
        let bench = Bench::start().await;
        let throttled = CallError::Failed(Failure::Service {
            code: "TooManyWrites".into(),
            status: 429,
            retry_after: None,
        });
        // An outage would be one after three in a row.
        for _ in 0..5 {
            let ticket = bench.shared.convex.admit().unwrap();
            let wait = bench.shared.convex_failed(ticket, &throttled);
            assert!(wait.is_some_and(|wait| wait < Duration::from_secs(1)));
        }
        assert_eq!(bench.shared.convex.state().1, "closed");
    }
}
