//! Clerk's users, changed last first, down to a bound: pages by offset of an order that moves while it is read.
//!
//! Promises that every change between the first row of the first page and the bound was shown, or says that it
//! cannot: each page has to contain a row of the pages before as it was (rows move down when something is
//! changed and up when something is deleted, so pages overlap and a page without a known row is asked for
//! again further up), and only rows below the bound, or a page that ends the list, end the reading. What is
//! changed while it is read moves to the top and is the next sweep's. Knows no ledger and no cursor.

use std::collections::HashMap;

use crate::{
    clerk::{
        ClerkClient, ClerkError, RawRecord,
        client::{CreatedBetween, MAX_PAGE, Order, UserPage},
    },
    model::{Key, Version},
};

/// Rows of the first page, and the step in which it grows: a quiet minute ends here, and 50 users are a few
/// hundred kilobytes at most.
const FIRST_PAGE: u32 = 50;
/// Rows that a page repeats of the one before, so that as many deletions in between skip nothing.
const OVERLAP: u32 = 20;
/// Pages of one sweep. 20,000 changes; a full diff of a million users takes 2,000 pages.
pub const MAX_PAGES: u32 = 40;
/// Pages in a row that show nothing known.
const MAX_LOST: u32 = 3;

/// Why the list cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Clerk did not answer, or something else than asked for.
    #[error(transparent)]
    Clerk(#[from] ClerkError),
    /// The list is not in the order that was asked for. As transient as a moment of bad luck.
    #[error("Clerk's list of users is not in the order that was asked for (page {0})")]
    Disorder(u32),
    /// More users were deleted between two pages than the pages overlap, again and again. Transient.
    #[error("Clerk's list of users moved faster than it could be read (page {0})")]
    Lost(u32),
}

/// What came of asking for a page.
#[derive(Debug)]
pub enum Step {
    /// Rows that were not shown before, none below the bound; maybe none at all.
    Rows(Vec<RawRecord>),
    /// The bound is reached, or the list's end.
    Done,
    /// [`MAX_PAGES`] did not reach it.
    TooFar,
}

/// How far down the list is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Down {
    /// Changes older than this are not wanted.
    pub to: Version,
    /// Changes up to this one are dealt with, and are only looked at again.
    pub known: Version,
}

/// Reads one sweep's pages.
pub struct Newest<'c> {
    clerk: &'c ClerkClient,
    down: Down,
    offset: u32,
    pages: u32,
    lost: u32,
    done: bool,
    /// Every row shown, as it was. At most [`MAX_PAGES`] pages of them.
    shown: HashMap<Key, Version>,
}

impl<'c> Newest<'c> {
    /// Asks for the first page; `down` says, from its rows, how far down the list is wanted. An empty
    /// page gives no reader. `before` is how many rows the sweep before was shown: as many lie in the overlap
    /// again when nothing has happened since, and one page is to hold them.
    pub async fn open(
        clerk: &'c ClerkClient,
        before: u64,
        down: impl FnOnce(&[RawRecord]) -> Down,
    ) -> Result<Option<(Newest<'c>, Vec<RawRecord>)>, ReadError> {
        let mut newest = Newest {
            clerk,
            down: Down {
                to: Version(i64::MAX),
                known: Version(i64::MIN),
            },
            offset: 0,
            pages: 0,
            lost: 0,
            done: false,
            shown: HashMap::new(),
        };
        let steps = u32::try_from(before).unwrap_or(MAX_PAGE) / FIRST_PAGE;
        let limit = (steps.min(MAX_PAGE) + 1)
            .saturating_mul(FIRST_PAGE)
            .min(MAX_PAGE);
        let rows = newest.ask(limit).await?;
        if rows.is_empty() {
            return Ok(None);
        }
        newest.down = down(&rows);
        let fresh = newest.take(rows, limit);
        Ok(Some((newest, fresh)))
    }

    /// Rows shown so far.
    pub fn shown(&self) -> u64 {
        self.shown.len() as u64
    }

    /// The next page.
    pub async fn next(&mut self) -> Result<Step, ReadError> {
        if self.done {
            return Ok(Step::Done);
        }
        if self.pages >= MAX_PAGES {
            return Ok(Step::TooFar);
        }
        let rows = self.ask(MAX_PAGE).await?;
        let known = |row: &RawRecord| self.shown.get(row.key()) == Some(&row.version());
        if !rows.iter().any(known) {
            self.lost += 1;
            if self.lost > MAX_LOST {
                return Err(ReadError::Lost(self.pages));
            }
            // Half a page up: as many deletions as that are made good, and the rest is new all the same.
            self.offset = self.offset.saturating_sub(MAX_PAGE / 2);
            return Ok(Step::Rows(Vec::new()));
        }
        self.lost = 0;
        Ok(Step::Rows(self.take(rows, MAX_PAGE)))
    }

    async fn ask(&mut self, limit: u32) -> Result<Vec<RawRecord>, ReadError> {
        let page = UserPage {
            order: Order::UpdatedDescending,
            created: CreatedBetween::default(),
            starting_after: None,
            offset: self.offset,
            limit,
        };
        self.pages += 1;
        let rows = self.clerk.list_users(&page).await?;
        if !rows.is_sorted_by(|above, below| above.version() >= below.version()) {
            return Err(ReadError::Disorder(self.pages));
        }
        Ok(rows)
    }

    /// Notes the rows of a page that goes on where the one before ended, and keeps those that are new.
    fn take(&mut self, mut rows: Vec<RawRecord>, limit: u32) -> Vec<RawRecord> {
        let count = u32::try_from(rows.len()).unwrap_or(MAX_PAGE);
        let last = rows.last().map(RawRecord::version);
        let Down { to, known } = self.down;
        rows.retain(|row| row.version() >= to);
        rows.retain(|row| {
            let version = row.version();
            self.shown.insert(row.key().clone(), version) != Some(version)
        });
        // A short page may be the list's end, or shortened in the middle, as servers have been seen to do. Where
        // only what was seen before can lie below, it ends the reading; otherwise another page has to show
        // that nothing follows.
        let short = count < limit;
        self.done = last.is_some_and(|last| last < to || short && last <= known)
            || short && rows.is_empty();
        self.offset += count - OVERLAP.min(count / 2);
        rows
    }
}
