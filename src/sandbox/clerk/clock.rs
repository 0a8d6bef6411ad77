//! The simulated Clerk's clock, the one place here that reads the machine's time.
//!
//! Objects are stamped with [`Clock::now_ms`], which a test may set, move or replace. Signatures
//! are stamped with [`Clock::wall_secs`], the real time, because a receiver checks them against
//! its own clock (Svix tolerates 300 s). It knows nothing of users or messages.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// A source of Unix milliseconds.
pub type Reading = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Time as the simulated Clerk sees it: a reading plus an offset that can be moved.
#[derive(Clone)]
pub struct Clock {
    reading: Reading,
    offset_ms: Arc<AtomicI64>,
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clock")
            .field("offset_ms", &self.offset_ms)
            .finish_non_exhaustive()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::reading(Arc::new(wall_ms))
    }
}

impl Clock {
    /// A clock that asks `reading` for the Unix time in milliseconds.
    pub fn reading(reading: Reading) -> Self {
        Self {
            reading,
            offset_ms: Arc::default(),
        }
    }

    /// A clock that stands still at `ms` until it is moved by [`Clock::advance_ms`].
    pub fn fixed(ms: i64) -> Self {
        Self::reading(Arc::new(move || ms))
    }

    /// Unix milliseconds, offset included.
    pub fn now_ms(&self) -> i64 {
        (self.reading)() + self.offset_ms.load(Ordering::Relaxed)
    }

    /// Moves the clock by `ms`, backwards when negative.
    pub fn advance_ms(&self, ms: i64) {
        self.offset_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// Real Unix seconds, whatever the offset.
    pub fn wall_secs() -> i64 {
        wall_ms() / 1000
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the clock of the simulation"
)]
fn wall_ms() -> i64 {
    // A machine whose clock stands before 1970 is told it is 1970.
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
