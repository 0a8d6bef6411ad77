//! When each row became visible: the last million writes with their commit times.
//!
//! Benchmarks subtract the time of the webhook from it. Knows nothing of transactions beyond their
//! end; holds at most [`CAPACITY`] entries, the oldest give way.

use std::collections::VecDeque;
use std::sync::Arc;

use super::clock;
use super::schema::TableName;

/// Entries kept: about 40 bytes each.
const CAPACITY: usize = 1_000_000;

/// One write of one row.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Counts all writes since the start; gaps never occur, old entries may be gone.
    pub seq: u64,
    /// The table's name.
    pub table: &'static str,
    /// The row's key.
    pub key: Arc<str>,
    /// Clerk's `updated_at` that the row now holds, in milliseconds; 0 where the write had none.
    pub version: f64,
    /// When the transaction committed, in microseconds since the epoch.
    pub at_us: u64,
}

/// The ring of commits.
#[derive(Debug, Default)]
pub(super) struct CommitLog {
    ring: VecDeque<Commit>,
    next: u64,
    /// First entry of the open transaction.
    open: u64,
}

impl CommitLog {
    /// Notes a write of the open transaction.
    pub(super) fn note(&mut self, table: TableName, key: &Arc<str>, version: f64) {
        if self.ring.len() == CAPACITY {
            self.ring.pop_front();
        }
        let commit = Commit {
            seq: self.next,
            table: table.as_str(),
            key: Arc::clone(key),
            version,
            at_us: 0,
        };
        self.next += 1;
        self.ring.push_back(commit);
    }

    /// Ends the transaction: its writes are visible from now on.
    pub(super) fn commit(&mut self) {
        let now = clock::now_us();
        let open = usize::try_from(self.next - self.open).unwrap_or(usize::MAX);
        for commit in self.ring.iter_mut().rev().take(open) {
            commit.at_us = now;
        }
        self.open = self.next;
    }

    /// The commits from `from` on, oldest first, at most `limit`.
    pub(super) fn since(&self, from: u64, limit: usize) -> impl Iterator<Item = &Commit> {
        let first = self.next - self.ring.len() as u64;
        let skip = usize::try_from(from.saturating_sub(first)).unwrap_or(usize::MAX);
        self.ring.iter().skip(skip).take(limit)
    }
}
