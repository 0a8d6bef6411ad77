//! What can be put into a call to Convex, and what became of it.
//!
//! Deliveries and repairs are packed, sent, split and counted by the same code, which sees nothing but
//! this. Pure. Knows what a change costs in index ranges, read off the deployed functions.

use std::{num::NonZeroUsize, sync::atomic::AtomicU64, time::Duration};

use super::{batch::Size, guard};
use crate::{
    convex::wire::Encoded,
    model::{Asked, Change, DriftKind, Outcome, RecordKey, Table},
    store::state::Seen,
};

/// Something that is written in one transaction: the rows of one record.
pub(super) trait Load: Send {
    /// True if nobody else works on the same record at the same time.
    const ALONE: bool;

    /// Which record.
    fn record(&self) -> &RecordKey;

    /// The rows, ready for the wire, the record's own first.
    fn rows(&self) -> &Rows;

    /// What the ledger will remember once they are written.
    fn seen(&self) -> Seen;

    /// On whose behalf, where that is not the same for all that is written together. For the operations log.
    fn asked(&self) -> Option<&Asked> {
        None
    }

    /// Why a scan wants it. For the operations log.
    fn why(&self) -> Option<DriftKind> {
        None
    }

    /// True if what is known by now is newer than this, so that it must not be written any more.
    fn is_overtaken(&self, _known: Option<Seen>) -> bool {
        false
    }
}

/// A record that is ready to be written, while somebody else may be writing it too.
pub(super) struct Ready<P> {
    /// What its owner knows it by.
    pub(super) place: P,
    pub(super) record: RecordKey,
    pub(super) rows: Rows,
    pub(super) seen: Seen,
    pub(super) why: Option<DriftKind>,
    /// True if somebody who is gone is to be there again.
    pub(super) revive: bool,
}

impl<P: Send> Load for Ready<P> {
    const ALONE: bool = false;

    fn record(&self) -> &RecordKey {
        &self.record
    }

    fn rows(&self) -> &Rows {
        &self.rows
    }

    fn seen(&self) -> Seen {
        self.seen
    }

    fn why(&self) -> Option<DriftKind> {
        self.why
    }

    fn is_overtaken(&self, known: Option<Seen>) -> bool {
        guard::is_late(known, self.seen, self.revive)
    }
}

/// Rows of one record, serialised once, and their size.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) changes: Vec<Encoded>,
    pub(super) size: Size,
}

impl Rows {
    /// Serialises changes.
    pub(super) fn of(changes: &[Change]) -> Rows {
        Rows::with(changes, changes.iter().map(ranges).sum())
    }

    /// Serialises rows of tables that held nothing: where no row is found none is patched.
    pub(super) fn inserts(changes: &[Change]) -> Rows {
        let patch = |change: &Change| match change.table() {
            Table::Users | Table::Organizations => 1,
            Table::Profiles | Table::Memberships => 0,
        };
        let ranges = changes.iter().map(|change| ranges(change) - patch(change));
        Rows::with(changes, ranges.sum())
    }

    fn with(changes: &[Change], ranges: usize) -> Rows {
        let changes: Vec<Encoded> = changes.iter().map(Encoded::of).collect();
        let bytes = changes.iter().map(Encoded::bytes).sum();
        Rows {
            size: Size {
                changes: changes.len(),
                bytes,
                ranges,
            },
            changes,
        }
    }
}

/// The index ranges that the functions read for a change, at most in ordinary cases: each look-up of a
/// row, a tombstone or an edit is one, and so is each patch and each deletion of a row.
fn ranges(change: &Change) -> usize {
    match (change, change.table()) {
        // Row, tombstone, memberships, profile; patch. To adopt: the address, and a patch of both.
        (Change::Upsert(upsert), Table::Users) => 5 + 2 * usize::from(upsert.link_email.is_some()),
        // Row, tombstone, an edit or the user's tombstone, and the user or a patch.
        (Change::Upsert(_), Table::Profiles) => 4,
        (Change::Upsert(_), Table::Organizations) => 3,
        // Row, three tombstones, and the user's row, memberships and patch for `organizationId`.
        (Change::Upsert(_), Table::Memberships) => 7,
        // What hangs on it goes in the same call as long as there is room: here, one membership.
        (Change::Delete { .. }, Table::Users | Table::Organizations) => 14,
        (Change::Delete { .. }, Table::Profiles | Table::Memberships) => 6,
    }
}

/// How loads are to be written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner<'c> {
    /// The most changes of one call.
    pub(super) changes: NonZeroUsize,
    /// True if somebody waits for it, so that it goes first where calls wait for their turn.
    pub(super) urgent: bool,
    /// True if so many are written together that the ledger remembers a share of them only.
    pub(super) many: bool,
    /// Counts the calls, for whoever wants to know what they cost.
    pub(super) calls: Option<&'c AtomicU64>,
    /// On whose behalf, where the loads do not say.
    pub(super) asked: Option<&'c Asked>,
}

/// What became of a load.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Convex did this with the record's own row.
    Written {
        /// What it did; "updated" also where only a row changed that travels with it.
        outcome: Outcome,
        /// The row's Convex id, if there is a row.
        id: Option<String>,
    },
    /// Convex refused this record; it costs an attempt.
    Refused {
        /// A short name.
        code: String,
        /// For a person.
        reason: String,
    },
    /// Something newer was seen while it waited for its turn; it was not sent.
    Overtaken,
    /// Convex is away; nobody's fault.
    Hold(Duration),
}
