//! How the rest of the daemon speaks to the applier: figures, a switch, dead letters.
//!
//! Messages to the one task that owns the queue, so that nobody shares a lock with it.

use std::sync::Arc;

use tokio::sync::{Notify, mpsc, oneshot};

use crate::{model::RecordKey, queue::dead_letters::DeadLetter};

/// A wish of a person or of the daemon to the applier.
pub(super) enum Command {
    Status(oneshot::Sender<Status>),
    Pause(bool, oneshot::Sender<()>),
    Failures {
        after: Option<u64>,
        limit: usize,
        answer: oneshot::Sender<(Vec<DeadLetter>, usize)>,
    },
    Failure(u64, oneshot::Sender<Option<DeadLetter>>),
    Retry(Option<Vec<u64>>, oneshot::Sender<Vec<u64>>),
    Drop(u64, oneshot::Sender<bool>),
    Whereabouts(Vec<RecordKey>, oneshot::Sender<Vec<Whereabouts>>),
}

/// Where a delivery about a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// None is here, or it is done with.
    Nowhere,
    /// One waits, or is being applied.
    Queued,
    /// One could not be applied and is kept.
    DeadLetter,
}

/// Figures of the applier.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Entries that wait or are being applied.
    pub depth: usize,
    /// When the one that waits longest was stored, milliseconds since the epoch.
    pub oldest_received_ms: Option<i64>,
    /// Dead letters.
    pub dead_letters: usize,
    /// True if applying was stopped by a person.
    pub paused: bool,
    /// `closed`, `open`, `half_open`.
    pub circuit: &'static str,
    /// Percentiles in milliseconds, from intake to commit.
    pub latency_ms: (Option<u32>, Option<u32>),
}

/// How the rest of the daemon speaks to the applier. Every answer is `None` once it has ended.
#[derive(Clone)]
pub struct Handle {
    pub(super) commands: mpsc::Sender<Command>,
    /// Kept until the applier has looked, however many commands wait.
    pub(super) reconsider: Arc<Notify>,
}

impl Handle {
    /// Its figures. Also proves that it moves.
    pub async fn status(&self) -> Option<Status> {
        self.ask(Command::Status).await
    }

    /// Stops or resumes applying; what is in hand is finished. Answers when that is so and outlives a crash.
    pub async fn pause(&self, paused: bool) -> Option<()> {
        self.ask(|answer| Command::Pause(paused, answer)).await
    }

    /// The settings or the services changed: look again, and do not wait for a circuit.
    pub fn reconsider(&self) {
        self.reconsider.notify_one();
    }

    /// Dead letters after `after`, oldest first, and how many there are in all.
    pub async fn failures(
        &self,
        after: Option<u64>,
        limit: usize,
    ) -> Option<(Vec<DeadLetter>, usize)> {
        self.ask(|answer| Command::Failures {
            after,
            limit,
            answer,
        })
        .await
    }

    /// One dead letter.
    pub async fn failure(&self, seq: u64) -> Option<DeadLetter> {
        self.ask(|answer| Command::Failure(seq, answer))
            .await
            .flatten()
    }

    /// Tries dead letters again (`None`: all). Answers with those that there were.
    pub async fn retry(&self, seqs: Option<Vec<u64>>) -> Option<Vec<u64>> {
        self.ask(|answer| Command::Retry(seqs, answer)).await
    }

    /// Forgets a dead letter. False if there is none of this number.
    pub async fn drop_failure(&self, seq: u64) -> Option<bool> {
        self.ask(|answer| Command::Drop(seq, answer)).await
    }

    /// Where deliveries about these records are, one answer for each.
    pub async fn whereabouts(&self, records: &[RecordKey]) -> Option<Vec<Whereabouts>> {
        let records = records.to_vec();
        self.ask(|answer| Command::Whereabouts(records, answer))
            .await
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(command(answer)).await.ok()?;
        answered.await.ok()
    }
}
