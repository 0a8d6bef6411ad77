//! What is known of rows while they are written: who writes them, and what the ledger learns of the answers.
//!
//! Repairs and deliveries write beside each other, and answers may overtake each other. Promises: the ledger never goes
//! back for that, and an event is left unsent only while nobody writes its record. Makes no request.

use std::sync::{MutexGuard, PoisonError};

use super::{
    Shared,
    batch::Call,
    certain::Certain,
    ending::{Ending, Final},
    guard,
    load::Load,
};
use crate::{
    model::{Outcome, RecordKey},
    store::state::Seen,
};

impl Shared {
    /// Until its answer has come, nobody knows what a row is like.
    pub(super) fn begin<L: Load>(&self, call: &Call<L>) {
        let mut certain = self.certain();
        let records = call.items.iter().map(L::record);
        records.for_each(|record| certain.begin(record));
    }

    /// What outcomes teach the ledger. One at a time: what somebody else has learnt of a record meanwhile is further
    /// on, and not taken back.
    pub(super) fn learn(&self, answered: &[(RecordKey, Seen, Outcome)], alone: bool, many: bool) {
        let mut certain = self.certain();
        let learnt = |(record, written, outcome): &(RecordKey, Seen, Outcome)| {
            guard::learnt(*written, *outcome, alone, || self.seen(record))
        };
        let said: Vec<Option<Seen>> = answered.iter().map(learnt).collect();
        let records = || answered.iter().map(|(record, ..)| record).zip(&said);
        let remember = records().filter_map(|(record, said)| Some((record.clone(), (*said)?)));
        let remember: Vec<_> = remember.collect();
        let kept = match many {
            true => self.remember_some(&remember),
            false => self.remember(&remember),
        };
        for (record, said) in records() {
            certain.end(record, said.filter(|_| kept));
        }
    }

    /// Convex has this content, so it is not sent: the ledger moves on to its version. Unless somebody writes the
    /// record, or has written something newer: then Clerk tells.
    pub(super) fn known(&self, record: &RecordKey, seen: Seen) -> Ending {
        // Held, so that whoever begins to write it later knows of this, and nobody learns anything in between.
        let certain = self.certain();
        let further = |known: Seen| (known.deleted, known.version) > (seen.deleted, seen.version);
        if !certain.contains(record) || self.seen(record).is_some_and(further) {
            return Ending::Ask;
        }
        self.remember(&[(record.clone(), seen)]);
        Ending::Final(Final::Known)
    }

    pub(super) fn is_certain(&self, record: &RecordKey) -> bool {
        self.certain().contains(record)
    }

    /// Nothing was learnt of these.
    pub(super) fn unwritten<L: Load>(&self, loads: &[L]) {
        let mut certain = self.certain();
        let records = loads.iter().map(L::record);
        records.for_each(|record| certain.end(record, None));
    }

    fn certain(&self) -> MutexGuard<'_, Certain> {
        self.certain.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
