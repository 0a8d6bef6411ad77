//! Users for whom Clerk does not name their row, as the walk comes past them.
//!
//! With `clerk.write_back` a user's private metadata name the row that it has. What was to be told waits in memory
//! only, so a killed process leaves users of whom Clerk knows nothing, or an older row. Here they are noted; at
//! the walk's end they are looked at again and handed to who tells Clerk. Bounded.

use std::sync::{Mutex, PoisonError};

use crate::{
    clerk::RawRecord,
    convex::wire::ListedRow,
    model::{Key, RowMark, Version},
};

/// Users that one run notes at most, as many as can wait to be told of; about 1 MB. The next run notes the others.
const MOST: usize = 10_000;

/// See the module's words.
#[derive(Debug, Default)]
pub struct Unnamed {
    wanted: bool,
    users: Mutex<Vec<Nameless>>,
}

/// A user whose row Clerk does not name.
#[derive(Debug)]
pub struct Nameless {
    /// Which.
    pub key: Key,
    /// The version that was listed.
    pub version: Version,
    /// What Clerk names instead.
    pub named: Option<RowMark>,
}

impl Unnamed {
    /// Notes users if Clerk is to name their rows; otherwise nothing is looked at.
    pub fn noted(wanted: bool) -> Unnamed {
        Unnamed {
            wanted,
            users: Mutex::default(),
        }
    }

    /// Looks at a user and its row.
    pub fn look(&self, user: &RawRecord, row: &ListedRow) {
        if !self.wanted || row.deleted_at.is_some() {
            return;
        }
        let named = user.row_named();
        if named == Some(row.mark) {
            return;
        }
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        if users.len() < MOST {
            users.push(Nameless {
                key: user.key().clone(),
                version: user.version(),
                named,
            });
        }
    }

    /// Takes out what was noted.
    pub fn take(&self) -> Vec<Nameless> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut users)
    }
}
