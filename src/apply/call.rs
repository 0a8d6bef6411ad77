//! Writing to Convex: the one place that does.
//!
//! Takes work that is ready for the wire, packs it into calls, and says of each piece what became of
//! it. A call that fails as a whole is split until the record at fault is alone; a service that is
//! away holds everything and costs no attempt. Where production has redacted the reason, `describe`
//! tells a poisonous record from functions that are not there.

use std::{sync::PoisonError, time::Duration};

use super::{
    Shared,
    batch::{Bounds, Calls},
    work::{Ending, Final, Work, refused},
};
use crate::{
    convex::{
        answer::{Failure, Hint},
        circuit::Ticket,
        deployment::CallError,
        wire::{Applied, Encoded},
    },
    model::{Fault, Outcome, RecordKey},
    store::state::Seen,
};

/// The functions' code for a call that is larger than a transaction may be.
const BATCH_TOO_LARGE: &str = "batch_too_large";
/// So many different records refused in a row, without one that went through, are no coincidence.
const ALL_REFUSED: usize = 20;
/// How long to leave Convex alone when the functions are not there or not callable.
const MISSING_HOLD: Duration = Duration::from_secs(10);
/// How long to leave Convex alone when it does not accept the key.
const KEY_HOLD: Duration = Duration::from_secs(60);

/// A piece of work and what became of it.
pub type Done = (Work, Ending);

impl Shared {
    /// Writes all of this. Every piece comes back exactly once.
    pub(super) async fn write(&self, works: Vec<Work>) -> Vec<Done> {
        let settings = self.settings.load();
        let bounds = Bounds {
            changes: settings.batch,
            bytes: Bounds::BYTES,
        };
        let mut calls = Calls::pack(works, bounds, Work::size);
        let mut done = Vec::new();
        // Functions that have answered once during this work are there.
        let mut there = false;
        while let Some(call) = calls.next_call() {
            let ticket = match self.convex.admit() {
                Ok(ticket) => ticket,
                Err(wait) => {
                    hold(call, wait, &mut done);
                    continue;
                }
            };
            match self.send(&call).await {
                Ok(applied) => {
                    there = true;
                    self.convex.answered(ticket);
                    self.applied(call, applied, &mut done);
                }
                Err(error) => {
                    let verdict = self.judge(error, ticket, &mut there).await;
                    self.failed(verdict, call, &mut calls, &mut done);
                }
            }
        }
        done
    }

    async fn send(&self, call: &[Work]) -> Result<Vec<Applied>, CallError> {
        // One serialised form for as long as the work lives; cloning shares nothing but is a memcpy.
        let changes: Vec<&Encoded> = call.iter().flat_map(|work| &work.changes).collect();
        let edges = self.edges.load();
        // The permits end only with the process.
        let _permit = self.convex_calls.acquire().await;
        edges.writer.apply_encoded(&changes).await
    }

    /// Everything of a call was answered: one outcome for each change, in order.
    fn applied(&self, call: Vec<Work>, applied: Vec<Applied>, done: &mut Vec<Done>) {
        self.refusals
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        self.alerts.clear("all_refused");
        let mut outcomes = applied.into_iter();
        let mut remember = Vec::with_capacity(call.len());
        for work in call {
            // The first change is the record's own; others travel with it.
            let own = outcomes
                .next()
                .inspect(|applied| self.row_written(&work.lease.record, applied))
                .map_or(Outcome::Unchanged, |applied| applied.outcome);
            for _ in 1..work.changes.len() {
                outcomes.next();
            }
            remember.extend(learnt(&work, own));
            done.push((work, Ending::Final(Final::Applied(own))));
        }
        self.remember(&remember);
    }

    /// Finds out what a failed call means, and tells the circuit.
    async fn judge(&self, error: CallError, ticket: Ticket, there: &mut bool) -> Verdict {
        let fault = error.fault();
        match (&error, fault) {
            (CallError::Failed(Failure::RecordRefused { code, key }), _) => {
                self.convex.answered(ticket);
                // The whole call is too large, whichever record the function was at.
                let key = key.as_ref().filter(|_| code != BATCH_TOO_LARGE);
                Verdict::Named {
                    code: code.clone(),
                    key: key.map(|key| key.as_str().to_owned()),
                    reason: error.to_string(),
                }
            }
            (CallError::Failed(Failure::Unstructured { hint, .. }), _) => {
                if *hint == Hint::Unknown && !*there {
                    if let Err(outage) = self.edges.load().reader.describe().await {
                        let hold = self.convex.failed(ticket, &outage, Some(MISSING_HOLD));
                        return Verdict::Away(hold);
                    }
                    *there = true;
                }
                self.convex.answered(ticket);
                Verdict::Unnamed {
                    code: error.code().to_owned(),
                    reason: error.to_string(),
                }
            }
            (_, Fault::Refused) => {
                let key = matches!(
                    &error,
                    CallError::Failed(Failure::Refused {
                        status: 401 | 403,
                        ..
                    })
                );
                let wait = Some(if key { KEY_HOLD } else { MISSING_HOLD });
                Verdict::Away(self.convex.failed(ticket, &error, wait))
            }
            (_, Fault::Service { retry_after }) => {
                Verdict::Away(self.convex.failed(ticket, &error, retry_after))
            }
            (_, Fault::Ours) => {
                Verdict::Away(self.convex.failed(ticket, &error, Some(MISSING_HOLD)))
            }
            (_, Fault::Record) => {
                self.convex.answered(ticket);
                Verdict::Unnamed {
                    code: error.code().to_owned(),
                    reason: error.to_string(),
                }
            }
        }
    }

    fn failed(
        &self,
        verdict: Verdict,
        call: Vec<Work>,
        calls: &mut Calls<Work>,
        done: &mut Vec<Done>,
    ) {
        match verdict {
            Verdict::Away(wait) => {
                hold(call, wait, done);
                hold(calls.take(), wait, done);
            }
            Verdict::Named {
                code,
                key: Some(key),
                reason,
            } if call.iter().any(|work| concerns(work, &key)) => {
                for work in calls.without(call, |work| concerns(work, &key)) {
                    self.refuse(work, &code, reason.clone(), calls, done);
                }
            }
            Verdict::Named { code, reason, .. } | Verdict::Unnamed { code, reason } => {
                if let Some(work) = calls.split(call) {
                    self.refuse(work, &code, reason, calls, done);
                }
            }
        }
    }

    /// A record was refused. When many different ones are and nothing goes through, the fault is not
    /// theirs (a column that the table lacks, a hook that throws): all are held, none pays for it.
    fn refuse(
        &self,
        work: Work,
        code: &str,
        reason: String,
        calls: &mut Calls<Work>,
        done: &mut Vec<Done>,
    ) {
        let all = {
            let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
            if refusals.len() < ALL_REFUSED {
                refusals.insert(work.lease.record.clone());
            }
            refusals.len() >= ALL_REFUSED
        };
        if !all {
            done.push((work, refused(code, reason)));
            return;
        }
        if let Ok(ticket) = self.convex.admit() {
            self.convex.shut(ticket, Some(MISSING_HOLD));
        }
        let message = format!(
            "Convex refuses every record ({code}): {reason}; check the deployed functions, the table's \
             columns (users.insert_defaults, users.extra_fields) and the app's hooks"
        );
        self.alerts
            .raise("all_refused", message, self.clock.now_ms());
        hold(vec![work], MISSING_HOLD, done);
        hold(calls.take(), MISSING_HOLD, done);
    }
}

/// What an outcome teaches the ledger about a record.
fn learnt(work: &Work, outcome: Outcome) -> Option<(RecordKey, Seen)> {
    let seen = match outcome {
        // The row is newer than this; by how much was not said.
        Outcome::Stale => return None,
        Outcome::Tombstoned => Seen {
            deleted: true,
            ..work.seen
        },
        _ => work.seen,
    };
    Some((work.lease.record.clone(), seen))
}

/// What a failed call means for its work.
enum Verdict {
    /// The function named what it refused.
    Named {
        code: String,
        key: Option<String>,
        reason: String,
    },
    /// One of the records is at fault, who knows which.
    Unnamed { code: String, reason: String },
    /// Convex is away for this long.
    Away(Duration),
}

fn concerns(work: &Work, key: &str) -> bool {
    work.changes
        .iter()
        .any(|change| change.key().as_str() == key)
}

fn hold(works: Vec<Work>, wait: Duration, done: &mut Vec<Done>) {
    done.extend(works.into_iter().map(|work| (work, Ending::Hold(wait))));
}
