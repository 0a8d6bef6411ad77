//! The second lane of the queue: what scans found, on its way to be written.
//!
//! Not stored: the scan waits for the answer before its cursor moves, so a crash finds it again. Bounded by
//! the size of a batch and the number of batches that wait. Knows rows and proofs of deletion, not who
//! writes them; deliveries go first.

use std::sync::{Arc, atomic::AtomicU64};

use tokio::sync::{mpsc, oneshot};

use crate::model::{
    Asked, ConfirmedDelete, DriftKind, Origin, Outcome, RecordKey, Upsert, Version,
};

/// Batches that wait for the applier; whoever offers more waits.
const WAITING: usize = 4;

/// One record that is to be put right.
#[derive(Clone, Debug)]
pub struct Repair {
    /// Which record. For a user, [`Wish::Write`] holds its profile as well.
    pub record: RecordKey,
    /// What is to be.
    pub wish: Wish,
    /// In which way it differs, if a comparison said so. For the operations log.
    pub why: Option<DriftKind>,
}

/// What a repair wants.
#[derive(Clone, Debug)]
pub enum Wish {
    /// The rows are to hold this, unless something newer is known by now. Written in one transaction.
    Write {
        /// The version of the record that the rows were made from.
        version: Version,
        /// The rows, the record's own first.
        rows: Vec<Upsert>,
    },
    /// The record is gone by Clerk's own word.
    Delete(ConfirmedDelete),
}

/// What became of a repair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repaired {
    /// Convex did this with the record's own row.
    Applied {
        /// What it did.
        outcome: Outcome,
        /// The row's Convex id, if there is a row.
        id: Option<String>,
    },
    /// A delivery has said something newer meanwhile; nothing was sent.
    Overtaken,
    /// Convex refused this record; the others of the batch were written.
    Refused {
        /// A short name.
        code: String,
        /// For a person.
        reason: String,
    },
    /// Nothing was written: Convex is away, or applying is paused or switched off.
    Away {
        /// For a person.
        reason: String,
    },
}

/// What the applier takes out of the lane.
#[derive(Debug)]
pub struct Batch {
    /// What is to be put right.
    pub repairs: Vec<Repair>,
    /// For logs and metrics.
    pub origin: Origin,
    /// On whose behalf. For the operations log.
    pub asked: Asked,
    /// True if all of it goes into a table that held nothing: each row is an insert.
    pub fills: bool,
    /// Counts the calls that it took, for what a run cost.
    pub calls: Arc<AtomicU64>,
    /// One answer for each, in order.
    pub answer: oneshot::Sender<Vec<Repaired>>,
}

/// The end where scans put repairs in. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Lane {
    batches: mpsc::Sender<Batch>,
    calls: Arc<AtomicU64>,
    asked: Asked,
}

/// A lane and the end where the applier takes batches out.
pub fn lane() -> (Lane, mpsc::Receiver<Batch>) {
    let (sender, receiver) = mpsc::channel(WAITING);
    let lane = Lane {
        batches: sender,
        calls: Arc::default(),
        asked: Asked::Daemon,
    };
    (lane, receiver)
}

impl Lane {
    /// The same lane with a count of calls of its own, and that count.
    pub fn counted(&self) -> (Lane, Arc<AtomicU64>) {
        let calls = Arc::new(AtomicU64::new(0));
        let lane = Lane {
            batches: self.batches.clone(),
            calls: Arc::clone(&calls),
            asked: self.asked.clone(),
        };
        (lane, calls)
    }

    /// The same lane, for what is put in on somebody's behalf.
    pub fn on_behalf(self, asked: Asked) -> Lane {
        Lane { asked, ..self }
    }

    /// On whose behalf repairs are put in.
    pub fn asked(&self) -> &Asked {
        &self.asked
    }

    /// Waits until all of this was dealt with. `None` once the applier has ended: then some may be written.
    pub async fn apply(&self, repairs: Vec<Repair>, origin: Origin) -> Option<Vec<Repaired>> {
        self.offer(repairs, origin, false).await
    }

    /// The same for rows of a table that held nothing when the run began.
    pub async fn fill(&self, repairs: Vec<Repair>, origin: Origin) -> Option<Vec<Repaired>> {
        self.offer(repairs, origin, true).await
    }

    async fn offer(
        &self,
        repairs: Vec<Repair>,
        origin: Origin,
        fills: bool,
    ) -> Option<Vec<Repaired>> {
        if repairs.is_empty() {
            return Some(Vec::new());
        }
        let (answer, answered) = oneshot::channel();
        let batch = Batch {
            repairs,
            origin,
            asked: self.asked.clone(),
            fills,
            calls: Arc::clone(&self.calls),
            answer,
        };
        self.batches.send(batch).await.ok()?;
        answered.await.ok()
    }
}
