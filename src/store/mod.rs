//! The disk: what must not be lost, and what can be derived again.
//!
//! [`journal`] is what a 2xx rests on: every accepted delivery, synced before anyone hears of it. It
//! knows nothing of what a delivery means. [`state`] is everything else that the daemon remembers; it
//! can be rebuilt from the journal and from Clerk, so it may be lost, and losing it is said aloud.
//! [`state_file`] is the small witness beside both that tells an emptied store from a new one. [`crypt`] encrypts
//! what any of them keeps, if a key is given; [`upkeep`] looks after a directory that nobody uses.

pub mod crypt;
pub mod journal;
pub mod room;
pub mod state;
pub mod state_file;
pub mod upkeep;

pub(crate) mod directory;
mod lock;
