//! What people ask of the applier.

use super::{Applier, PAUSED_CELL};
use crate::{
    apply::handle::{Command, Status, Whereabouts},
    model::RecordKey,
};

impl Applier {
    pub(super) fn obey(&mut self, command: Command) {
        // Whoever asked may have gone; that is no reason to do anything else.
        match command {
            Command::Status(answer) => {
                self.hear_all();
                // The metrics are read next, and say the same.
                self.publish();
                drop(answer.send(self.status()));
            }
            Command::Pause(paused, answer) => {
                self.shared.set_paused(paused);
                let cell = paused.then_some(&b"1"[..]);
                let state = &self.shared.state;
                // A person's word must outlive a crash a moment later; it is rare enough to wait for.
                let kept = state.put_cell(PAUSED_CELL, cell);
                match kept.and_then(|()| state.sync()) {
                    Ok(()) => self.shared.alerts.clear("pause_unknown"),
                    Err(error) => self.shared.state_failed(&error),
                }
                tracing::info!(paused, "applying was switched by a person");
                let _ = answer.send(());
            }
            Command::Failures {
                after,
                limit,
                answer,
            } => {
                let page = self.book.dead_letters.page(after, limit);
                drop(answer.send((page, self.book.dead_letters.len())));
            }
            Command::Failure(seq, answer) => {
                drop(answer.send(self.book.dead_letters.get(seq).cloned()));
            }
            Command::Retry(seqs, answer) => {
                let seqs = seqs.unwrap_or_else(|| self.book.dead_letters.seqs());
                let retried = seqs.into_iter().filter(|seq| self.retry(*seq)).collect();
                drop(answer.send(retried));
                self.clear_if_none();
            }
            Command::Drop(seq, answer) => {
                let letter = self.book.dead_letters.remove(seq);
                let dropped = letter.is_some();
                if let Some(letter) = letter {
                    self.dropped(&letter.meta);
                }
                let _ = answer.send(dropped);
                self.clear_if_none();
            }
            Command::Whereabouts(records, answer) => {
                self.hear_all();
                let found = records.iter().map(|record| self.whereabouts(record));
                drop(answer.send(found.collect()));
            }
        }
    }

    /// Looks again at once, as if nothing had failed.
    pub(super) fn reconsider(&mut self) {
        self.shared.convex.reset();
        self.shared.clerk.reset();
        self.shared.served.doubt();
        self.book.waiting.hurry();
    }

    /// Whoever was told that something is stored before asking sees it counted.
    fn hear_all(&mut self) {
        while let Some(notice) = self.notices.try_recv() {
            self.hear(notice);
        }
    }

    fn whereabouts(&self, record: &RecordKey) -> Whereabouts {
        if self.book.waiting.holds(record) {
            Whereabouts::Queued
        } else if self.book.dead_letters.holds(record) {
            Whereabouts::DeadLetter
        } else {
            Whereabouts::Nowhere
        }
    }

    fn retry(&mut self, seq: u64) -> bool {
        let Some(letter) = self.book.dead_letters.remove(seq) else {
            return false;
        };
        self.shared.journal.unpark(seq);
        tracing::info!(entry = seq, "dead letter is tried again");
        self.take_in(letter.meta);
        true
    }

    pub(super) fn clear_if_none(&self) {
        if self.book.dead_letters.is_empty() {
            self.shared.alerts.clear("dead_letters");
        }
    }

    fn status(&self) -> Status {
        let waiting = self.book.oldest_received_ms();
        let unread = self.malformed.oldest_received_ms();
        Status {
            depth: self.depth(),
            oldest_received_ms: waiting.into_iter().chain(unread).min(),
            dead_letters: self.book.dead_letters.len(),
            paused: self.shared.is_paused(),
            circuit: self.shared.convex.state().1,
            latency_ms: (self.latencies.percentile(50), self.latencies.percentile(99)),
        }
    }

    /// What waits, whatever for.
    fn depth(&self) -> usize {
        self.book.waiting.depth() + self.malformed.len()
    }

    pub(super) fn publish(&self) {
        let gauge = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.shared.metrics.queue_depth.set(gauge(self.depth()));
        self.shared
            .metrics
            .dead_letters
            .set(gauge(self.book.dead_letters.len()));
    }
}
