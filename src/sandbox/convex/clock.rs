//! The one place of the simulated Convex that asks what time it is.
//!
//! Documents carry milliseconds as float64 (`_creationTime`, `Date.now()`), commits microseconds.
//! Knows nothing else.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Microseconds since the epoch.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the clock of the simulation"
)]
pub(super) fn now_us() -> u64 {
    // A clock before 1970 reads as 1970: the simulation has nothing better to say.
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Whole milliseconds since the epoch, as `Date.now()` gives them.
pub(super) fn now_ms() -> f64 {
    (now_us() / 1000) as f64
}

/// A monotonic instant, for windows.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the clock of the simulation"
)]
pub(super) fn instant() -> Instant {
    Instant::now()
}
