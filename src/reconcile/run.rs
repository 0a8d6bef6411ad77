//! One run, from the wish to the report.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    mapping::UserRules,
    model::{Action, RecordKey, Table},
    report::{Report, RunKind},
};

/// Who asked for a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskedBy {
    /// The clock.
    Schedule,
    /// A person.
    Operator,
}

impl AskedBy {
    /// The name in the operations log.
    pub const fn name(self) -> &'static str {
        match self {
            AskedBy::Schedule => "schedule",
            AskedBy::Operator => "operator",
        }
    }
}

/// What is to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRequest {
    /// What for.
    pub kind: RunKind,
    /// Which tables; none named is all.
    pub tables: Vec<Table>,
    /// In place of `repair.max_deletes`.
    pub max_deletes: Option<u64>,
    /// The digest of a held plan that is to be carried out.
    pub approve: Option<String>,
    /// Of an audit: how users become rows, in place of the rules in use. What a change of them would change is
    /// seen so before it is made.
    pub mapping: Option<UserRules>,
    /// Who asked.
    pub asked_by: AskedBy,
}

/// How far a run is; for progress bars.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Progress {
    /// What is being done, in a few words.
    pub phase: String,
    /// Records compared so far.
    pub done: u64,
    /// How many there are, if that is known.
    pub total: Option<u64>,
    /// Differences found so far.
    pub differences: u64,
    /// Repairs made so far.
    pub repaired: u64,
}

/// Where a run tells how far it is.
pub type Watch = watch::Sender<Progress>;

/// Why a run did not come to a report.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// One of the kind runs already. Transient.
    #[error("{0} is running already; wait for it to end (`clerk-convex-sync status`)")]
    Busy(RunKind),
    /// Something that has to be put right by a person first. Permanent.
    #[error("{0}")]
    Refused(String),
    /// A service did not answer, or the daemon ends; what was done is kept and the next run goes on. Transient.
    #[error("{0}")]
    Interrupted(String),
    /// It needs what another run has to find first, which is asked for. Transient, and nobody's fault.
    #[error("{0}")]
    Early(String),
}

/// What became of one record that a person asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncedOne {
    /// Which record.
    pub record: RecordKey,
    /// What Clerk said about it: `found` or `gone`.
    pub clerk: &'static str,
    /// What was done; [`Action::None`] if both sides agreed already.
    pub action: Action,
    /// Why, in words for a person. Holds no personal value.
    pub reason: Option<String>,
}

/// What carries out runs. One way in for the clock, for operators and for commands without a daemon; none of
/// them knows how a run goes about it.
pub trait Runs: Send + Sync {
    /// Runs to the end, or until `stop`. A run that was stopped is [`RunError::Interrupted`] and leaves
    /// behind where the next one goes on.
    fn run(
        &self,
        request: RunRequest,
        progress: Watch,
        stop: CancellationToken,
    ) -> BoxFuture<'_, Result<Report, RunError>>;

    /// Makes Convex agree with Clerk about one record, now. `revive` brings back what was deleted in Convex,
    /// if Clerk has it. `who` wants it, for the operations log.
    fn sync_one(
        &self,
        record: RecordKey,
        revive: bool,
        who: Arc<str>,
    ) -> BoxFuture<'_, Result<SyncedOne, RunError>>;
}
