//! The disk: what must not be lost, and what can be derived again.
//!
//! [`journal`] is what a 2xx rests on: every accepted delivery, synced before anyone hears of it. It
//! knows nothing of what a delivery means. Everything else the daemon remembers can be rebuilt from
//! the journal and from Clerk, so it may be lost, and losing it is said aloud.

pub mod journal;

/// Whose fault a failure is, and so what it costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// This one record's: trying again as it is will not help.
    Record,
    /// Ours: take nothing in, say so, and heal.
    Ours,
}
