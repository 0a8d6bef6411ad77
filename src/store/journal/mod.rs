//! The journal: the durable delivery log that a 2xx rests on.
//!
//! [`Journal::append`] answers after the entry is on stable storage: one committer thread writes what
//! waits and syncs once for all of it. What became of an entry (final, dead letter, tried again) is
//! noted in the same files, so that opening them says what is left to do. Segments whose entries are
//! all final are removed, oldest first; little that is left in an old one is copied forward.
//!
//! Knows nothing of what an entry means and never looks into a body. Does not promise that an entry
//! is worked off once only: after a crash, verdicts of the last moments may be missing.

mod committer;
mod cursor;
mod disk;
mod encrypted;
mod entry;
mod error;
mod format;
mod frame;
mod group;
mod handle;
mod index;
mod notices;
mod open;
mod reader;
mod recover;
mod remover;
mod rewrite;
mod search;
mod writer;

pub use entry::{
    Cause, CauseKind, Entry, Meta, NewEntry, Parked, ParkedMeta, Position, Related, RequestOrigin,
    Settled,
};
pub use error::{AppendError, Limit, OpenError, ReadError};
pub use handle::{Appended, Health, Journal, Stats};
pub use notices::{Notice, Notices};
pub use open::{Opened, Options};
pub use recover::{Damage, Recovered, examine};
pub use rewrite::{Rewritten, check_layout, rewrite};

use handle::Shared;

/// Where the journal lies in the state directory.
pub const DIR: &str = "journal";

#[cfg(test)]
mod tests;
