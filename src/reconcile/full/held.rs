//! Users' rows that were deleted softly long ago, as the walk comes past them.
//!
//! `users.purge_after` says for how long such a row is held. Only rows whose user Clerk did not list come here;
//! whether they go is decided when the walk has proved itself whole. Bounded. Pure.

use std::sync::{Mutex, PoisonError};

use crate::{convex::wire::ListedRow, model::Key};

/// Rows that one run notes at most; about 0.5 MB. The next run notes the others.
const MOST: usize = 10_000;

/// See the module's words.
#[derive(Debug, Default)]
pub struct HeldRows {
    deleted_before_ms: Option<i64>,
    keys: Mutex<Vec<Key>>,
}

impl HeldRows {
    /// Notes rows that were deleted before this; none if nothing is ever removed.
    pub fn deleted_before(ms: Option<i64>) -> HeldRows {
        HeldRows {
            deleted_before_ms: ms,
            keys: Mutex::default(),
        }
    }

    /// Notes a row of a user that Clerk does not list.
    pub fn note(&self, row: &ListedRow) {
        let Some((bound, deleted)) = self.deleted_before_ms.zip(row.deleted_at) else {
            return;
        };
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if deleted < bound && keys.len() < MOST {
            keys.push(row.key.clone());
        }
    }

    /// Takes out what was noted.
    pub fn take(&self) -> Vec<Key> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut keys)
    }
}
