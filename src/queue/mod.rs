//! Between what was stored and what is written: whose turn it is, how long a retry waits, and what
//! needs attention.
//!
//! [`order`], [`ties`], [`backoff`], [`mentioned`] and [`dead_letters`] are pure. They know keys, versions and where an entry
//! lies in the journal, never what a change contains. [`repairs`] is the second lane: what scans found.

pub mod backoff;
pub mod dead_letters;
pub mod mentioned;
pub mod order;
pub mod repairs;
pub mod ties;
