//! The `[limits]` section: bounds that belong to the daemon as a whole.
//!
//! Those of one part stand in its own section.

use std::time::Duration;

use super::reader::Reader;

/// Bounds of the daemon as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long a stop waits for what is in hand.
    pub shutdown_grace: Duration,
}

impl Limits {
    pub(super) fn read(r: &mut Reader) -> Option<Self> {
        let range = Duration::from_secs(1)..=Duration::from_secs(600);
        Some(Limits {
            shutdown_grace: r.duration("limits.shutdown_grace", range)?,
        })
    }
}
