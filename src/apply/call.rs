//! Writing to Convex: the one place that does.
//!
//! Takes loads that are ready for the wire, packs them into calls, and says of each what became of it. A
//! call that fails as a whole is split until the record at fault is alone; a service that is away holds
//! everything and costs no attempt. Where production has redacted the reason, `describe` tells a poisonous
//! record from functions that are not there. Cannot tell a delivery from a repair.

use std::{
    num::NonZeroUsize,
    sync::{MutexGuard, PoisonError, atomic::Ordering},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    Shared,
    batch::{Call, Calls, Size},
    failure::{self, BATCH_TOO_LARGE, MISSING_HOLD, Meaning},
    load::{Fate, Load, Manner},
    noting::row,
    throttle::Throttle,
};
use crate::{
    convex::{
        answer::Hint,
        circuit::Ticket,
        deployment::CallError,
        wire::{Answer, Applied, Encoded},
        writer::MAX_CHANGES,
    },
    model::{Key, Outcome, Table},
    report::oplog::note,
};

/// So many different records refused in a row, without one that went through, are no coincidence.
const ALL_REFUSED: usize = 20;
/// The functions' code for a table that they do not serve.
const UNKNOWN_TABLE: &str = "unknown_table";
/// The fewest changes to which calls shrink after some were too large.
const FEWEST: usize = 50;
/// By how many changes a call that went through lets calls grow again.
const GROWTH: usize = 10;

/// A load and what became of it.
pub(super) type Done<L> = (L, Fate);

impl Shared {
    /// Writes all of this. Every load comes back exactly once.
    pub(super) async fn write<L: Load>(&self, loads: Vec<L>, manner: Manner<'_>) -> Vec<Done<L>> {
        let bounds = Size::call_of(self.no_larger_than_fits(manner.changes));
        let mut done = Vec::with_capacity(loads.len());
        let mut calls = Calls::pack(loads, bounds, |load| load.rows().size);
        // Functions that have answered once during this work are there.
        let mut there = false;
        while let Some(mut call) = calls.next_call() {
            // The turn first: what the circuit says now may be old when the turn has come.
            let permit = self.permits.acquire(manner.urgent).await;
            self.begin(&call);
            self.leave_out_overtaken(&mut call, &mut done);
            if call.items.is_empty() {
                continue;
            }
            let ticket = match self.convex.admit() {
                Ok(ticket) => ticket,
                Err(wait) => {
                    self.unwritten(&call.items);
                    hold(call.items, wait, &mut done);
                    continue;
                }
            };
            if let Some(calls) = manner.calls {
                calls.fetch_add(1, Ordering::Relaxed);
            }
            let sent = self.send(&call).await;
            drop(permit);
            match sent {
                Ok(Answer { applied, conflicts }) => {
                    there = true;
                    self.convex.answered(ticket);
                    let contested = self.contested(&call, conflicts, manner);
                    let noted = self.applied(call, applied, manner, &mut done);
                    self.noted(noted, contested).await;
                }
                Err(error) => {
                    self.unwritten(&call.items);
                    let verdict = self.judge(error, ticket, &mut there).await;
                    self.failed(verdict, call, manner, &mut calls, &mut done);
                }
            }
        }
        done
    }

    /// Convex's limits can be met earlier than the sizes say: the app's hooks and triggers read and write
    /// too. So calls shrink when one was too large, and grow again while they go through.
    pub(super) fn no_larger_than_fits(&self, changes: NonZeroUsize) -> NonZeroUsize {
        let fit = self.fitting.load(Ordering::Relaxed);
        NonZeroUsize::new(fit).map_or(changes, |fit| changes.min(fit))
    }

    async fn send<L: Load>(&self, call: &Call<L>) -> Result<Answer, CallError> {
        let changes: Vec<&Encoded> = call
            .items
            .iter()
            .flat_map(|load| &load.rows().changes)
            .collect();
        let writer = self.edges.load().writer.clone();
        writer.apply_encoded(&changes).await
    }

    /// Everything of a call was answered: one outcome for each change, in order. Answers what is to be noted.
    fn applied<L: Load>(
        &self,
        call: Call<L>,
        applied: Vec<Applied>,
        manner: Manner<'_>,
        done: &mut Vec<Done<L>>,
    ) -> Option<note::Call> {
        let mut noting = self.noting(&call, manner);
        self.refusals
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        self.alerts.clear("all_refused");
        self.throttle().passed();
        let fit = self.fitting.load(Ordering::Relaxed);
        if fit < MAX_CHANGES && applied.len() >= fit / 2 {
            // Two calls at once may grow it once only.
            self.fitting
                .store((fit + GROWTH).min(MAX_CHANGES), Ordering::Relaxed);
        }
        let mut outcomes = applied.into_iter();
        let mut answered = Vec::with_capacity(call.items.len());
        for load in call.items {
            let rows = load.rows().changes.len();
            let (outcome, id) = of_record(outcomes.by_ref().take(rows));
            if L::ALONE {
                self.tell_of_user(&load, outcome);
            }
            self.row_written(load.record(), outcome, id.as_deref());
            if let Some(noting) = &mut noting {
                noting.add(load.record(), outcome, || row(&load, outcome));
            }
            if outcome == Outcome::Linked {
                tracing::info!(
                    table = load.record().table.name(),
                    key = %load.record().key,
                    "a row without clerkId had the user's verified address and was linked"
                );
            }
            answered.push((load.record().clone(), load.seen(), outcome));
            done.push((load, Fate::Written { outcome, id }));
        }
        self.learn(&answered, L::ALONE, manner.many);
        noting
    }

    pub(super) fn throttle(&self) -> MutexGuard<'_, Throttle> {
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// While these waited for their turn, somebody may have seen something newer and left it unsent, counting on the
    /// row as it was.
    fn leave_out_overtaken<L: Load>(&self, call: &mut Call<L>, done: &mut Vec<Done<L>>) {
        if L::ALONE {
            return;
        }
        let late = call.leave_out(|load| load.is_overtaken(self.seen(load.record())));
        self.unwritten(&late);
        done.extend(late.into_iter().map(|load| (load, Fate::Overtaken)));
    }

    /// A user more or less: the census hears of it. What scans write they count themselves.
    fn tell_of_user<L: Load>(&self, load: &L, outcome: Outcome) {
        let Some(tell) = self
            .on_user
            .get()
            .filter(|_| load.record().table == Table::Users)
        else {
            return;
        };
        let created_at = load.rows().changes.first().and_then(Encoded::created_at);
        match outcome {
            Outcome::Created | Outcome::Linked => tell(true, created_at),
            Outcome::Deleted => tell(false, created_at),
            _ => {}
        }
    }

    /// Finds out what a failed call means, and tells the circuit.
    async fn judge(&self, error: CallError, ticket: Ticket, there: &mut bool) -> Verdict {
        let refused = |key: Option<&Key>| Verdict::Refused {
            code: error.code().to_owned(),
            key: key.map(|key| key.as_str().to_owned()),
            reason: error.to_string(),
        };
        match failure::meaning(&error) {
            Meaning::Away(wait) => {
                self.served.recheck();
                Verdict::Away(self.convex.failed(ticket, &error, wait))
            }
            Meaning::Throttled => {
                // An outage would hold up everybody; this holds up one call, and its neighbours fill the window.
                self.convex.answered(ticket);
                Verdict::Away(self.throttle().refused(Instant::now().into_std()))
            }
            Meaning::Redacted if !*there => {
                if let Err(outage) = self.edges.load().reader.describe().await {
                    self.served.recheck();
                    let hold = self.convex.failed(ticket, &outage, Some(MISSING_HOLD));
                    return Verdict::Away(hold);
                }
                *there = true;
                self.convex.answered(ticket);
                refused(None)
            }
            Meaning::Redacted => {
                self.convex.answered(ticket);
                refused(None)
            }
            Meaning::Refused(key) => {
                self.convex.answered(ticket);
                if error.code() == UNKNOWN_TABLE {
                    self.served.doubt();
                }
                refused(key)
            }
        }
    }

    fn failed<L: Load>(
        &self,
        verdict: Verdict,
        call: Call<L>,
        manner: Manner<'_>,
        calls: &mut Calls<L>,
        done: &mut Vec<Done<L>>,
    ) {
        match verdict {
            Verdict::Away(wait) => {
                hold(call.items, wait, done);
                hold(calls.take(), wait, done);
            }
            Verdict::Refused { code, key, reason } => {
                let place = key.and_then(|key| {
                    let concerned = |load: &L| concerns(load, &key);
                    call.items.iter().position(concerned)
                });
                if place.is_none() && is_too_large(&code) {
                    self.shrink(&call);
                }
                let bad = match place {
                    Some(place) => calls.without(call, place),
                    None => calls.split(call),
                };
                if let Some(load) = bad {
                    self.note_refusal(&load, &code, manner);
                    self.refuse(load, code, reason, calls, done);
                }
            }
        }
    }

    fn shrink<L: Load>(&self, call: &Call<L>) {
        let changes: usize = call.items.iter().map(|load| load.rows().size.changes).sum();
        if call.items.len() > 1 {
            let fits = (changes / 2).max(FEWEST);
            self.fitting.fetch_min(fits, Ordering::Relaxed);
        }
    }

    /// A record was refused. When many different ones are and nothing goes through, the fault is not
    /// theirs (a column that the table lacks, a hook that throws): all are held, none pays for it.
    fn refuse<L: Load>(
        &self,
        load: L,
        code: String,
        reason: String,
        calls: &mut Calls<L>,
        done: &mut Vec<Done<L>>,
    ) {
        let all = {
            let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
            if refusals.len() < ALL_REFUSED {
                refusals.insert(load.record().clone());
            }
            refusals.len() >= ALL_REFUSED
        };
        if !all {
            done.push((load, Fate::Refused { code, reason }));
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
        hold(vec![load], MISSING_HOLD, done);
        hold(calls.take(), MISSING_HOLD, done);
    }
}

/// What became of a record, from the outcomes of its rows: the first is its own. That its own row was
/// as it should be does not make it unchanged if another one was not.
fn of_record(mut rows: impl Iterator<Item = Applied>) -> (Outcome, Option<String>) {
    let (own, id) = rows
        .next()
        .map_or((Outcome::Unchanged, None), |own| (own.outcome, own.id));
    let wrote = |row: Applied| {
        matches!(
            row.outcome,
            Outcome::Created | Outcome::Updated | Outcome::Linked | Outcome::Deleted
        )
    };
    // All are looked at, so that the next record's outcomes are next.
    let others = rows.fold(false, |any, row| wrote(row) | any);
    match own {
        Outcome::Unchanged if others => (Outcome::Updated, id),
        own => (own, id),
    }
}

fn is_too_large(code: &str) -> bool {
    code == BATCH_TOO_LARGE || code == Hint::TooMuch.name()
}

/// What a failed call means for its loads.
enum Verdict {
    /// A record is at fault: the one that is named, or who knows which.
    Refused {
        code: String,
        key: Option<String>,
        reason: String,
    },
    /// Convex takes nothing for this long.
    Away(Duration),
}

pub(super) fn concerns<L: Load>(load: &L, key: &str) -> bool {
    let rows = &load.rows().changes;
    rows.iter().any(|change| change.key().as_str() == key)
}

fn hold<L>(loads: Vec<L>, wait: Duration, done: &mut Vec<Done<L>>) {
    done.extend(loads.into_iter().map(|load| (load, Fate::Hold(wait))));
}
