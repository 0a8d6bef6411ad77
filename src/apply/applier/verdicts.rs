//! Verdicts on their way into the journal: each waits until the ledger that stands behind it is with the system.
//!
//! That two contents have one version shows only in the ledger, so what the journal holds for final must not be
//! forgotten there by a kill. One flush covers every verdict that waits: it wakes all of sled's threads and uses the
//! disk that deliveries are waiting for, so it is not asked for after each call. A kill in between costs a repetition.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, timeout_at};

use super::{Applier, workers::Message};
use crate::{apply::Shared, store::journal::Settled};

/// How long a verdict waits for company.
const COMPANY: Duration = Duration::from_millis(25);
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
        self.journal.settle(settled);
    }
}
