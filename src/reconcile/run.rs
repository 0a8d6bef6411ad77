//! One run, from the wish to the report.

use tokio::sync::watch;

use crate::{model::Table, report::RunKind};

/// Who asked for a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskedBy {
    /// The clock.
    Schedule,
    /// A person.
    Operator,
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
    #[error("a {0} is running already; wait for it to end (`clerk-convex-sync status`)")]
    Busy(RunKind),
    /// Something that has to be put right by a person first. Permanent.
    #[error("{0}")]
    Refused(String),
    /// A service did not answer, or the daemon ends; what was done is kept and the next run goes on. Transient.
    #[error("{0}")]
    Interrupted(String),
}
