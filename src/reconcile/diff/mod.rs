//! What differs between Clerk and Convex.
//!
//! [`merge`] finds out which records stand on which side, [`compare`] whether two that stand on both say the
//! same. Both are pure functions of what was listed. A listing is a moving picture, so what they find is a
//! suspicion and no more: nothing may be deleted because of it.

pub mod compare;
pub mod merge;

use crate::{
    clerk::record::RawRecord,
    convex::wire::{ListedRow, Row},
    model::{Key, Upsert},
};

impl merge::Listed for RawRecord {
    fn created_at(&self) -> i64 {
        RawRecord::created_at(self)
    }

    fn key(&self) -> &Key {
        RawRecord::key(self)
    }
}

impl merge::Listed for Upsert {
    fn created_at(&self) -> i64 {
        self.created_at
    }

    fn key(&self) -> &Key {
        &self.key
    }
}

impl merge::Stored for ListedRow {
    fn created_at(&self) -> Option<i64> {
        self.created_at
    }

    fn key(&self) -> &Key {
        &self.key
    }
}

impl merge::Stored for Row {
    fn created_at(&self) -> Option<i64> {
        self.created_at
    }

    fn key(&self) -> &Key {
        &self.key
    }
}
