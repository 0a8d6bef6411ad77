//! Shows Convex users as Clerk has just shown them, outside the queue.
//!
//! The version guard in Convex holds here as everywhere, so this may run beside an applier that writes the
//! same record. Knows nothing of edits. A record that Convex refuses is left out: it comes again as a
//! delivery, and becomes a dead letter there.

use std::{collections::HashMap, sync::Arc, time::Duration};

use crate::{
    apply::{
        Shared,
        failure::{Meaning, THROUGHPUT_WINDOW, meaning},
        load::{Fate, Manner, Ready, Rows},
        work,
    },
    clerk::RawRecord,
    convex::{circuit::Ticket, deployment::CallError},
    model::{Asked, Key, Outcome, Standing, Table},
};

impl Shared {
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
                Some(THROUGHPUT_WINDOW)
            }
            Meaning::Away(asked) => Some(self.convex.failed(ticket, error, asked)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{apply::tests::Bench, convex::answer::Failure};

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
            assert_eq!(wait, Some(THROUGHPUT_WINDOW));
        }
        assert_eq!(bench.shared.convex.state().1, "closed");
    }
}
