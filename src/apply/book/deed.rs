//! What the book answers, and what it asks to know.
//!
//! Pure. A deed is a decision already made: whoever carries it out adds where it is written down and how it is counted,
//! and nothing about whether.

use std::time::Duration;

use super::Ticket;
use crate::{
    apply::{Lease, ending::Final},
    model::RecordKey,
    queue::backoff::RetryRule,
    store::journal::Meta,
};

/// Who works on leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worker {
    /// Judges them and writes to Convex.
    Writer,
    /// Asks Clerk first.
    Fetcher,
}

/// How much at once, and how often again.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Writers at once: `convex.concurrency`.
    pub writers: usize,
    /// Records that one of them is given.
    pub written: usize,
    /// Records that a fetcher is given.
    pub fetched: usize,
    /// Whether and when a refused record is tried again.
    pub retry: RetryRule,
}

/// Whether Convex may be called.
#[derive(Clone, Copy, Debug)]
pub struct Road {
    /// Not for so long.
    pub blocked: Duration,
    /// False after an outage: whoever comes first probes.
    pub closed: bool,
}

/// What is to be done.
#[derive(Debug)]
pub enum Deed {
    /// A worker begins with these. It comes back by [`super::Book::take_back`].
    Start(Worker, Vec<Lease>),
    /// Somebody looks for these. What came of it is told by [`super::Book::looked`].
    Look(Vec<RecordKey>),
    /// The entry has come to its end.
    Settle {
        /// Which record it is about.
        record: RecordKey,
        /// The entry.
        ticket: Ticket,
        /// Its end.
        end: Final,
    },
    /// Nothing but to say so: a refused record waits to be tried again.
    Again {
        /// Which record.
        record: RecordKey,
        /// How many tries it has cost.
        attempts: u32,
        /// How long it is left alone.
        wait: Duration,
        /// Why it was refused.
        code: String,
    },
    /// The entry becomes a dead letter.
    Park {
        /// The entry.
        meta: Meta,
        /// How many tries it has cost.
        attempts: u32,
        /// Why, in short.
        code: String,
        /// Why, for a person.
        reason: String,
    },
}
