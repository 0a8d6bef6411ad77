//! Verdicts on their way into the journal: each waits until the ledger that stands behind it, and the operations log's
//! entry about it, are with the system.
//!
//! That two contents have one version shows only in the ledger, so what the journal holds for final must not be
//! forgotten there by a kill. One flush covers every verdict that waits: it wakes all of sled's threads and uses the
//! disk that deliveries are waiting for, so it is not asked for after each call. A kill in between costs a repetition.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, timeout, timeout_at};

use super::{Applier, workers::Message};
use crate::{apply::Shared, store::journal::Settled};

/// How long a verdict waits for company.
const COMPANY: Duration = Duration::from_millis(25);
/// How long they wait for the operations log, which writes in far less unless its disk hangs.
const LOG_PATIENCE: Duration = Duration::from_secs(1);
/// The most verdicts that wait; beyond, nothing more is begun until the disk has caught up.
const MOST: usize = 16_384;

/// What is to be noted in the journal.
#[derive(Default)]
pub(super) struct Verdicts {
    waiting: Vec<Settled>,
    /// When the first of them came.
    since: Option<Instant>,
    /// True while some are being handed over.
    underway: bool,
}

impl Verdicts {
    pub(super) fn add(&mut self, settled: Vec<Settled>) {
        if !settled.is_empty() {
            self.since.get_or_insert_with(Instant::now);
            self.waiting.extend(settled);
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= MOST
    }

    /// True while some are being handed over.
    pub(super) fn is_underway(&self) -> bool {
        self.underway
    }

    /// When to hand over what waits; `None` if that is not known yet. Where nobody works no company will come.
    pub(super) fn due(&self, workers: usize) -> Option<Instant> {
        let since = self.since.filter(|_| !self.underway)?;
        Some(if workers == 0 { since } else { since + COMPANY })
    }

    /// What was being handed over is in the journal.
    pub(super) fn handed_over(&mut self) {
        self.underway = false;
    }

    fn take(&mut self) -> Vec<Settled> {
        self.since = None;
        std::mem::take(&mut self.waiting)
    }
}

impl Applier {
    /// Hands over what has waited for long enough.
    pub(super) fn hand_over(&mut self) {
        let due = self.verdicts.due(self.book.workers());
        if due.is_none_or(|due| due > Instant::now()) {
            return;
        }
        let settled = self.verdicts.take();
        self.verdicts.underway = true;
        let (shared, reports) = (Arc::clone(&self.shared), self.reports.clone());
        tokio::spawn(async move {
            shared.note(settled).await;
            // Nobody listens any more only when the process ends.
            let _ = reports.send(Message::HandedOver);
        });
    }

    /// Hands over what is left, without waiting for company, unless the disk holds it up for too long.
    pub(super) async fn hand_over_rest(&mut self, deadline: Instant) {
        let settled = self.verdicts.take();
        if !settled.is_empty() && !self.verdicts.underway {
            let _ = timeout_at(deadline, self.shared.note(settled)).await;
        }
    }
}

impl Shared {
    async fn note(&self, settled: Vec<Settled>) {
        let state = self.state.clone();
        let flushed = tokio::task::spawn_blocking(move || state.flush()).await;
        if let Ok(Err(error)) = flushed {
            self.state_failed(&error);
        }
        // What is final is not written again, and then nothing would tell of it once more.
        if let Some(log) = self.oplog.get() {
            let _ = timeout(LOG_PATIENCE, log.written()).await;
        }
        self.journal.settle(settled);
    }
}

#[cfg(test)]
mod tests {
    use tokio::{runtime::Handle, sync::mpsc};

    use super::*;
    use crate::apply::tests::{Bench, event};

    fn verdict(seq: u64) -> Settled {
        super::super::endings::settle(seq, crate::apply::ending::Final::Known)
    }

    #[tokio::test(start_paused = true)]
    async fn a_verdict_waits_for_company_while_somebody_works_and_the_first_one_sets_the_time() {
        let mut verdicts = Verdicts::default();
        assert_eq!(verdicts.due(0), None, "nothing waits");
        verdicts.add(Vec::new());
        assert_eq!(verdicts.due(0), None, "nothing came");
        let first = Instant::now();
        verdicts.add(vec![verdict(1)]);
        tokio::time::advance(COMPANY / 2).await;
        verdicts.add(vec![verdict(2)]);
        assert_eq!(verdicts.due(1), Some(first + COMPANY));
        assert_eq!(verdicts.due(0), Some(first), "no company will come");
        verdicts.underway = true;
        assert_eq!(verdicts.due(0), None, "one flush after the other");
        verdicts.handed_over();
        assert_eq!(verdicts.take().len(), 2);
        assert_eq!(verdicts.due(0), None, "all of it was taken");
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut verdicts = Verdicts::default();
        verdicts.add((1..MOST as u64).map(verdict).collect());
        assert!(!verdicts.is_full());
        verdicts.add(vec![verdict(MOST as u64)]);
        assert!(verdicts.is_full());
    }

    /// In the middle of the flush nothing is final yet, and what was written is in what is flushed: the other order
    /// would leave a moment at which a kill takes the ledger's word and keeps the verdict.
    #[tokio::test(flavor = "multi_thread")]
    async fn the_ledger_is_with_the_system_before_the_journal_hears_of_the_verdict() {
        let mut bench = Bench::start().await;
        let (journal, runtime) = (bench.shared.journal.clone(), Handle::current());
        let (state, written) = (bench.shared.state.clone(), event("user_1", 7));
        let record = written.record.clone().expect("a record");
        let (told, mut flushes) = mpsc::unbounded_channel();
        bench.shared.state.in_flush(move || {
            let known = state.ledger_get(&record).is_some();
            // Whatever the journal was told before has its end there when this answers.
            let open = runtime.block_on(async {
                journal.sync().await.expect("synced");
                journal.locate(1).await
            });
            let _ = told.send((known, open.is_some()));
        });
        bench.store(written).await;
        let applier = bench.applying();
        let seen = flushes.recv().await.expect("a flush");
        assert_eq!(seen, (true, true), "known to the ledger, and not final yet");
        applier.end().await;
        bench.shared.journal.sync().await.expect("synced");
        let end = bench.shared.journal.locate(1).await;
        assert_eq!(end, None, "and final afterwards");
    }

    #[tokio::test]
    async fn the_journal_hears_of_a_verdict_at_the_latest_when_the_applier_ends() {
        let mut bench = Bench::start().await;
        let mut applier = bench.applier().0;
        bench.store(event("user_1", 1)).await;
        // Figures are published a moment after what they count.
        let pending = async |many| {
            while bench.shared.journal.stats().pending != many {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        pending(1).await;
        applier.verdicts.add(vec![verdict(1)]);
        let deadline = Instant::now() + Duration::from_secs(60);
        applier.hand_over_rest(deadline).await;
        pending(0).await;
    }
}
