//! Who hears of each report that is kept, so that one that is rewritten later can be told from it.
//!
//! Knows the report and the hash of its text, not what is done with them.

use std::{fmt, sync::Arc};

use crate::report::{Report, oplog::chain::Hash};

/// Hears of a report that is on stable storage, and of the hash of its text before it is encrypted.
pub type OnKept = Arc<dyn Fn(&Report, Hash) + Send + Sync>;

/// Somebody who hears of them, or nobody.
#[derive(Clone, Default)]
pub(super) struct Witness(Option<OnKept>);

impl Witness {
    pub(super) fn of(on_kept: OnKept) -> Witness {
        Witness(Some(on_kept))
    }

    pub(super) fn hears(&self, report: &Report, hash: Hash) {
        if let Some(on_kept) = &self.0 {
            on_kept(report, hash);
        }
    }
}

impl fmt::Debug for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Witness")
    }
}
