//! Whole listings, page by page.
//!
//! A walk promises to end, whatever Clerk answers, and to say what was wrong: what is not in order is a
//! [`Flaw`], what cannot be read a [`WalkError`]. Whether a listing may be believed to be whole is
//! [`proof`](super::proof)'s to say, what is done with the records the caller's. Walks keep no more than a
//! page and the ids of one moment.

use std::{fmt, future::Future};

use tokio::time::Instant;

use super::{error::ClerkError, record::RawRecord};

mod ahead;
mod offsets;
mod patience;
mod sieve;
mod users;

pub use ahead::{Ahead, Room, Source};
pub use offsets::{Listed, OffsetPlace, OffsetWalk};
pub use users::{UserRange, UserWalk};

/// The flaws that are kept; all are counted.
const MAX_FLAWS: usize = 100;

/// One page of a walk.
#[derive(Clone, Debug)]
pub struct Page {
    /// Counted from 1, for reports.
    pub number: u32,
    /// The records that were not on an earlier page, oldest first; never none.
    pub records: Vec<RawRecord>,
    /// Before Clerk was asked for it: what was changed later may be missing from it.
    pub asked_at: Instant,
}

/// What was wrong with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// Which page.
    pub page: u32,
    /// What was wrong with it; a sentence without personal values.
    pub what: &'static str,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "page {}: {}", self.page, self.what)
    }
}

/// What a walk has come across so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Walked {
    /// Pages that were read.
    pub pages: u32,
    /// Records in them, each counted once.
    pub rows: u64,
    /// The first flaws.
    pub flaws: Vec<Flaw>,
    /// All flaws; any of them makes the walk unfit for deletions.
    pub flaw_count: u64,
    /// What is odd but proves nothing against the walk.
    pub notes: Vec<Flaw>,
    /// What Clerk said the total was, on the first page and on the last. Only of listings that say it.
    pub totals: Option<(u64, u64)>,
}

impl Walked {
    fn flaw(&mut self, page: u32, what: &'static str) {
        self.flaw_count += 1;
        if self.flaws.len() < MAX_FLAWS {
            self.flaws.push(Flaw { page, what });
        }
    }

    fn note(&mut self, page: u32, what: &'static str) {
        if self.notes.len() < MAX_FLAWS {
            self.notes.push(Flaw { page, what });
        }
    }
}

/// Why a walk does not go on here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WalkError {
    /// This page cannot be read, though it was tried several times. What lies behind it was not seen;
    /// other listings and ranges may well be readable. Asking again tries the page again.
    #[error("page {number} could not be read: {source}")]
    Page {
        /// Which page.
        number: u32,
        /// The last answer.
        source: ClerkError,
    },
    /// Clerk is away, or limits the rate and does not stop: nothing else will be readable now. Transient.
    #[error("Clerk does not answer any more (page {number}): {source}")]
    Outage {
        /// Which page.
        number: u32,
        /// The last answer.
        source: ClerkError,
    },
    /// Clerk does not let us in. Permanent until a person acts.
    #[error("{0}")]
    Refused(ClerkError),
    /// Organizations are switched off in this instance: nothing is listed, and nothing follows from that.
    #[error("organizations are switched off in this Clerk instance")]
    SwitchedOff,
    /// The organization whose members were to be listed is not there. Its own walk, or a look-up, says
    /// whether it is gone.
    #[error("the organization does not exist any more")]
    NoSuchOrganization,
    /// The task that walked is gone without a word; a mistake in this program.
    #[error("the walk broke off")]
    BrokenOff,
}

/// A listing that is read page by page.
pub trait Walk: Send + 'static {
    /// The next page; none at the end. After an error the same page is tried again.
    fn next(&mut self) -> impl Future<Output = Result<Option<Page>, WalkError>> + Send;

    /// What was come across so far.
    fn walked(&self) -> &Walked;
}
