//! The lane of repairs: what scans found, written beside the deliveries.
//!
//! Several batches at once, each in as few calls as Convex's limits allow; one of a few records goes before
//! them, since somebody waits for it. A record about which something
//! newer is known by now is left alone; that the ledger knows the same content is no reason to, since the
//! scan has seen that Convex holds something else. Convex being away is waited for, but not for long: the
//! scan's cursor waits for the answer and starts again from it. Nothing here is stored.

use std::{collections::VecDeque, num::NonZeroUsize, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    Shared,
    batch::{Calls, Size},
    ending::NOT_SERVED,
    guard,
    load::{Fate, Manner, Ready, Rows},
    permits,
    work::{hash_of, seen},
};
use crate::{
    convex::writer::MAX_CHANGES,
    model::{
        Change, ConfirmedDelete, ContentHash, Origin, Outcome, RecordKey, Standing, Table, Upsert,
        Version,
    },
    queue::repairs::{Batch, Repair, Repaired, Wish},
    store::state::Seen,
    telemetry::ChangeLabels,
};

/// How long a call's repairs wait for Convex in all, before the scan is told that it is away.
const PATIENCE: Duration = Duration::from_secs(30);
/// The most changes of one call: as many as the contract allows.
const CHANGES: NonZeroUsize =
    NonZeroUsize::new(MAX_CHANGES).expect("the contract allows more than none");

/// A batch of so few repairs has somebody waiting for it, at sign-in or at a terminal: it goes before the
/// large ones, as a delivery does.
const FEW: usize = 8;
/// A batch of more is a move or a change of the mapping, not something that was missed: nearly none of its records
/// will be heard of again soon.
const MANY: usize = 100;
/// Large batches that wait here for the one before them, so that small ones behind them are seen.
const SET_ASIDE: usize = 4;
/// Small batches in hand at once.
const SMALL_AT_ONCE: usize = 64;

/// Takes batches out of the lane until `stop`, or until no scan can put any in. What is in hand then is
/// answered: written, or told to be away; after `grace` it is cut off, and its scan finds it again.
pub async fn run(
    shared: Arc<Shared>,
    mut lane: mpsc::Receiver<Batch>,
    stop: CancellationToken,
    grace: Duration,
) {
    let (mut large, mut small) = (JoinSet::new(), JoinSet::new());
    let mut aside = VecDeque::with_capacity(SET_ASIDE);
    loop {
        // One more than can be sent at once, so that the next is ready when a call ends.
        let most = permits::for_repairs(shared.settings.load().concurrency) + 1;
        while large.len() < most
            && let Some(batch) = aside.pop_front()
        {
            large.spawn(deal(Arc::clone(&shared), batch, false, stop.clone()));
        }
        let room = aside.len() < SET_ASIDE && small.len() < SMALL_AT_ONCE;
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(ended) = large.join_next(), if !large.is_empty() => note(ended),
            Some(ended) = small.join_next(), if !small.is_empty() => note(ended),
            batch = lane.recv(), if room => match batch {
                Some(batch) if batch.repairs.len() <= FEW => {
                    small.spawn(deal(Arc::clone(&shared), batch, true, stop.clone()));
                }
                Some(batch) => aside.push_back(batch),
                None => break,
            },
        }
    }
    for batch in aside {
        large.spawn(deal(Arc::clone(&shared), batch, false, stop.clone()));
    }
    let deadline = Instant::now() + grace;
    for mut in_hand in [large, small] {
        while let Ok(Some(ended)) = timeout_at(deadline, in_hand.join_next()).await {
            note(ended);
        }
        in_hand.shutdown().await;
    }
}

/// A scan whose batch came to nothing is told so by the missing answer, and tries again.
fn note(ended: Result<(), tokio::task::JoinError>) {
    if ended.is_err_and(|error| error.is_panic()) {
        tracing::error!("a batch of repairs was given up because the daemon failed at it");
    }
}

async fn deal(shared: Arc<Shared>, batch: Batch, urgent: bool, stop: CancellationToken) {
    let Batch {
        repairs,
        origin,
        asked,
        fills,
        calls: counted,
        answer,
    } = batch;
    let manner = Manner {
        changes: CHANGES,
        urgent,
        many: repairs.len() > MANY,
        calls: Some(&*counted),
        asked: Some(&asked),
    };
    shared.learn_tables().await;
    let mut answers: Vec<Option<Repaired>> = Vec::new();
    answers.resize_with(repairs.len(), || None);
    let mut works = Vec::with_capacity(repairs.len());
    for (place, repair) in repairs.into_iter().enumerate() {
        match shared.prepare_repair(place, repair, fills) {
            Ok(work) => works.push(work),
            Err(repaired) => answers[place] = Some(repaired),
        }
    }
    let bounds = Size::call_of(shared.no_larger_than_fits(CHANGES));
    let mut calls = Calls::pack(works, bounds, |work| work.rows.size);
    let calls = std::iter::from_fn(|| calls.next_call());
    let at_once = permits::for_repairs(shared.settings.load().concurrency);
    let mut written = stream::iter(calls)
        .map(|call| shared.write_patiently(call.items, manner, origin, &stop))
        .buffer_unordered(at_once);
    while let Some(done) = written.next().await {
        for (place, repaired) in done {
            answers[place] = Some(repaired);
        }
    }
    let unanswered = || Repaired::Away {
        reason: "it was not come to".into(),
    };
    let answers = answers
        .into_iter()
        .map(|one| one.unwrap_or_else(unanswered));
    // A scan that has gone needs no answer.
    let _ = answer.send(answers.collect());
}

/// A repair that is ready to be written, with its place in the batch.
type RepairWork = Ready<usize>;

impl Shared {
    fn prepare_repair(
        &self,
        place: usize,
        repair: Repair,
        fills: bool,
    ) -> Result<RepairWork, Repaired> {
        let Repair { record, wish, why } = repair;
        if !self.serves(record.table) {
            return Err(Repaired::Refused {
                code: NOT_SERVED.into(),
                reason: format!(
                    "the deployed functions do not serve the table {}",
                    record.table
                ),
            });
        }
        let (changes, seen, revive) = match wish {
            Wish::Write { version, rows } => self.writing(&record, version, rows)?,
            Wish::Delete(deletion) => self.deleting(&deletion),
        };
        let rows = match fills {
            true => Rows::inserts(&changes),
            false => Rows::of(&changes),
        };
        Ok(RepairWork {
            place,
            record,
            rows,
            seen,
            why,
            revive,
        })
    }

    fn writing(
        &self,
        record: &RecordKey,
        version: Version,
        rows: Vec<Upsert>,
    ) -> Result<(Vec<Change>, Seen, bool), Repaired> {
        let revive = rows.first().is_some_and(|row| row.revive == Some(true));
        let known = self.seen(record);
        if guard::overtaken(known, version, revive) {
            return Err(Repaired::Overtaken);
        }
        let served = rows.into_iter().filter(|row| self.serves(row.table));
        let changes: Vec<Change> = served.map(Change::Upsert).collect();
        if changes.is_empty() {
            return Err(Repaired::Refused {
                code: "no_rows".into(),
                reason: "the repair has no row to write".into(),
            });
        }
        let seen = seen(Standing::alive(version), hash_of(&changes));
        Ok((changes, seen, revive))
    }

    fn deleting(&self, deletion: &ConfirmedDelete) -> (Vec<Change>, Seen, bool) {
        let standing = Standing::gone(Version(self.clock.now_ms()));
        let change = self.settings.load().deletion(deletion);
        (vec![change], seen(standing, ContentHash([0; 16])), false)
    }

    /// Writes one call's worth, however often Convex has to be asked within [`PATIENCE`].
    async fn write_patiently(
        &self,
        works: Vec<RepairWork>,
        manner: Manner<'_>,
        origin: Origin,
        stop: &CancellationToken,
    ) -> Vec<(usize, Repaired)> {
        let mut done = Vec::with_capacity(works.len());
        let mut tally = Tally::default();
        let mut left = works;
        let mut until = None;
        let reason = loop {
            if left.is_empty() {
                break String::new();
            }
            if let Some(reason) = self.not_now(stop) {
                break reason.into();
            }
            let mut wait = Duration::ZERO;
            for (work, fate) in self.write(std::mem::take(&mut left), manner).await {
                match fate {
                    Fate::Written { outcome, id } => {
                        tally.add(work.record.table, outcome);
                        done.push((work.place, Repaired::Applied { outcome, id }));
                    }
                    Fate::Refused { code, reason } => {
                        done.push((work.place, Repaired::Refused { code, reason }));
                    }
                    Fate::Overtaken => done.push((work.place, Repaired::Overtaken)),
                    Fate::Hold(hold) => {
                        wait = wait.max(hold);
                        left.push(work);
                    }
                }
            }
            let now = Instant::now();
            let until = *until.get_or_insert(now + PATIENCE);
            if !left.is_empty() && now >= until {
                break format!(
                    "Convex took nothing for {} s; what it said is in the log and in the alerts",
                    PATIENCE.as_secs()
                );
            }
            if !left.is_empty() {
                let wait = sleep(wait.min(until - now));
                stop.run_until_cancelled(wait).await;
            }
        };
        tally.count(self, origin);
        done.extend(left.into_iter().map(|work| {
            let reason = reason.clone();
            (work.place, Repaired::Away { reason })
        }));
        done
    }

    /// Why nothing may be written at present, if so.
    fn not_now(&self, stop: &CancellationToken) -> Option<&'static str> {
        if stop.is_cancelled() {
            return Some("the daemon is about to end");
        }
        if !self.settings.load().enabled {
            return Some("sync.enabled is false: nothing is applied");
        }
        let paused = self.is_paused();
        paused.then_some("applying is paused; `clerk-convex-sync resume` lets it go on")
    }
}

/// What became of repairs, by table and outcome, counted together.
#[derive(Default)]
struct Tally(Vec<(Table, Outcome, u64)>);

impl Tally {
    fn add(&mut self, table: Table, outcome: Outcome) {
        let same = |(of, was, _): &&mut (Table, Outcome, u64)| *of == table && *was == outcome;
        match self.0.iter_mut().find(same) {
            Some((_, _, count)) => *count += 1,
            None => self.0.push((table, outcome, 1)),
        }
    }

    fn count(self, shared: &Shared, origin: Origin) {
        for (table, outcome, count) in self.0 {
            let labels = ChangeLabels {
                table: table.name(),
                outcome: outcome.name(),
                source: origin.name(),
            };
            shared.metrics.changes.get_or_create(&labels).inc_by(count);
        }
    }
}
