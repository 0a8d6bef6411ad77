//! The `[sync]` section: whether to apply, and how often to try.
//!
//! Only what is a record's own fault is counted as an attempt; that rule lives in `queue`.

use super::reader::Reader;

/// Applying changes.
#[derive(Clone, Debug, PartialEq)]
pub struct Sync {
    /// False: receive and keep, apply nothing, repair nothing.
    pub enabled: bool,
    /// Further attempts after the first has failed.
    pub retry_max_attempts: u32,
    /// The wait before the first further attempt, in milliseconds; it doubles each time.
    pub retry_delay_ms: u64,
}

impl Sync {
    pub(super) fn read(r: &mut Reader) -> Option<Self> {
        let enabled = r.flag("sync.enabled");
        let retry_max_attempts = r.small("sync.retry_max_attempts", 0..=20);
        let retry_delay_ms = r.whole("sync.retry_delay_ms", 1..=600_000);
        Some(Sync {
            enabled: enabled?,
            retry_max_attempts: retry_max_attempts?,
            retry_delay_ms: retry_delay_ms?,
        })
    }
}
