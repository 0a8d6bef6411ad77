//! The `[state]` section: where state is kept, and how much of it.
//!
//! Creates and opens nothing; that is the store's part.

use std::path::PathBuf;

use super::{StateKey, reader::Reader, state_key};

/// What the daemon keeps on disk.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// The directory of the journal and the derived state.
    pub dir: PathBuf,
    /// Encrypt what is kept: the first one writes, all of them read. None: it is kept plain.
    pub encryption_key: Vec<StateKey>,
    /// Which store.
    pub backend: Backend,
    /// Deliveries that may wait.
    pub max_queue_events: usize,
    /// The journal's size, in bytes.
    pub max_journal_bytes: u64,
    /// Records in the ledger of applied versions.
    pub ledger_records: usize,
    /// Dead letters kept.
    pub max_dead_letters: usize,
    /// The operations log's size, in bytes.
    pub operations_log_bytes: u64,
}

/// Which store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// On this machine.
    Sled,
    /// Shared by several replicas; this version does not have it and refuses it.
    Nats,
}

impl State {
    pub(super) fn read(r: &mut Reader) -> Option<Self> {
        let dir = r.text("state.dir").map(PathBuf::from);
        let encryption_key = state_key::read(r, "state.encryption_key");
        let backend = r.choice(
            "state.backend",
            &[("sled", Backend::Sled), ("nats", Backend::Nats)],
        );
        let max_queue_events = r.count("state.max_queue_events", 1..=100_000_000);
        let max_journal_bytes = r.whole("state.max_journal_bytes", 1 << 20..=1 << 40);
        let ledger_records = r.count("state.ledger_records", 1..=100_000_000);
        let max_dead_letters = r.count("state.max_dead_letters", 1..=1_000_000);
        let operations_log_bytes = r.whole("state.operations_log_bytes", 1 << 20..=1 << 40);
        if backend == Some(Backend::Nats) {
            r.mistake(
                "state.backend",
                "names a store that is not in this version",
                "write \"sled\"",
            );
            return None;
        }
        Some(State {
            dir: dir?,
            encryption_key: encryption_key?,
            backend: backend?,
            max_queue_events: max_queue_events?,
            max_journal_bytes: max_journal_bytes?,
            ledger_records: ledger_records?,
            max_dead_letters: max_dead_letters?,
            operations_log_bytes: operations_log_bytes?,
        })
    }
}
