//! The merge join of the full diff: what Clerk lists against what Convex lists, both by `created_at`.
//!
//! A machine without I/O: it is fed pages, says which side it needs next, and hands every record out exactly
//! once. Memory is what was fed and not yet handed out, and the records of Clerk's that share one millisecond,
//! up to [`MAX_TIE`]. Clerk does not say how it orders such a tie, so a tie is compared as a set; Convex orders
//! one by key. What comes too late is told from what is missing: Clerk's by a finding of its own, since such a
//! listing may still create and update, Convex's by an error that ends the join.

mod streams;

use std::cmp::Ordering;

use crate::model::Key;
use streams::{Head, Left, Right};

/// The records of Clerk's with one `created_at` that are held at once to be put in order: imports make
/// thousands in one millisecond. In a larger tie the join is still exact as long as no record comes this many
/// places too late; what comes later than that is handed out as alone on its side, on both sides, and the look
/// that follows every suspicion finds it equal. Nothing is lost.
pub const MAX_TIE: usize = 8192;

/// A record as Clerk lists it.
pub trait Listed {
    /// `created_at`, in milliseconds.
    fn created_at(&self) -> i64;
    /// Clerk's id.
    fn key(&self) -> &Key;
    /// Lets go of what it shares with others: it may have to wait for the next page.
    fn stand_alone(&mut self) {}
}

/// A row as Convex lists it.
pub trait Stored {
    /// `createdAt`, in milliseconds, if the row has one.
    fn created_at(&self) -> Option<i64>;
    /// Clerk's id.
    fn key(&self) -> &Key;
}

/// Which pages the join waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Clerk's.
    Left,
    /// Convex's.
    Right,
    /// Both, in any order or at once.
    Both,
}

/// Where a record stands. Each record that was fed is in exactly one finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding<L, R> {
    /// On both sides.
    Both(L, R),
    /// At this `created_at` only in Clerk: missing, or its row has another `createdAt` or none.
    OnlyLeft(L),
    /// At this `createdAt` only in Convex: orphaned, or Clerk has it under another `created_at`. Every row
    /// without `createdAt` is one of these.
    OnlyRight(R),
    /// A further row of the key that the last row had, with the same `createdAt` or also without one: a
    /// duplicate of a row that was part of [`Finding::Both`] or [`Finding::OnlyRight`].
    Again(R),
    /// Clerk listed the record before, in the same millisecond. Whoever reads the listing page by page has not
    /// seen a strictly monotone one, so it does not prove itself complete.
    Repeated(L),
    /// Clerk listed it behind records that were made later, so its row, if there is one, has gone by. It may
    /// be looked up, created and updated like any suspect, but the listing does not prove itself complete.
    Late(L),
}

/// What [`Merge::step`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<L, R> {
    /// Nothing more can be said before there are further pages.
    Need(Need),
    /// One record.
    Found(Finding<L, R>),
    /// Both streams are at their end and everything was handed out.
    Done,
}

/// Convex's rows did not come in the order of the contract. Permanent: nothing that was found in the range is
/// proven, nor what was settled in it; it is to be read again from its beginning.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the rows that Convex listed are not in order at {key}")]
pub struct OutOfOrder {
    /// The key of the first row that stands too late.
    pub key: Key,
}

/// The join of one range. How a caller drives it, with one channel of pages a side:
///
/// ```text
/// let mut merge = Merge::new();
/// loop {
///     match merge.step()? {
///         Step::Need(need) => {
///             if need != Need::Right {
///                 match clerk_pages.recv().await {
///                     Some(page) => merge.feed_left(page),      // mapped; an empty page is fine
///                     None => merge.end_left(),
///                 }
///             }
///             if need != Need::Left { /* the same for Convex */ }
///             // Before going on: confirm and repair what was found, then keep `merge.settled()` as cursor.
///         }
///         Step::Found(Finding::Both(user, row))
///             if row.deleted_at.is_none() && equal(&user.fields, &row.fields) => {}
///         Step::Found(finding) => suspects.push(finding),
///         Step::Done => break,
///     }
/// }
/// ```
///
/// One walk of Clerk may feed several joins (users and profiles), each with its own mapping of the page.
#[derive(Debug)]
pub struct Merge<L, R> {
    left: Left<L>,
    right: Right<R>,
    broken: Option<OutOfOrder>,
}

impl<L: Listed, R: Stored> Default for Merge<L, R> {
    fn default() -> Self {
        Merge::new()
    }
}

impl<L: Listed, R: Stored> Merge<L, R> {
    /// A join of nothing yet.
    pub fn new() -> Self {
        Merge::with_tie(MAX_TIE)
    }

    /// With another [`MAX_TIE`]; at least two.
    fn with_tie(max_tie: usize) -> Self {
        Merge {
            left: Left::new(max_tie),
            right: Right::new(),
            broken: None,
        }
    }

    /// The next page of Clerk's.
    pub fn feed_left(&mut self, page: Vec<L>) {
        self.left.feed(page);
    }

    /// Clerk's stream has no further page.
    pub fn end_left(&mut self) {
        self.left.end();
    }

    /// The next page of Convex's.
    pub fn feed_right(&mut self, page: Vec<R>) {
        self.right.feed(page);
    }

    /// Convex's stream has no further page.
    pub fn end_right(&mut self) {
        self.right.end();
    }

    /// Says one thing. After an error, always the same error.
    pub fn step(&mut self) -> Result<Step<L, R>, OutOfOrder> {
        if let Some(broken) = &self.broken {
            return Err(broken.clone());
        }
        self.advance().inspect_err(|broken| {
            self.broken = Some(broken.clone());
        })
    }

    /// Below this `created_at`, in milliseconds, everything on both sides has been handed out; `None` while
    /// rows without `createdAt` may still come, `i64::MAX` at the end. Once the findings so far are dealt with,
    /// a run that is cut off may go on here, reading both sides from this millisecond (inclusive) anew.
    pub fn settled(&self) -> Option<i64> {
        let right = self.right.next_at()?;
        Some(right.min(self.left.next_at().unwrap_or(i64::MIN)))
    }

    fn advance(&mut self) -> Result<Step<L, R>, OutOfOrder> {
        let right = self.right.head()?;
        if right == Head::Ready && self.right.is_again() {
            return Ok(found(Finding::Again(self.right.take())));
        }
        if right == Head::Ready && self.right.is_undated() {
            return Ok(found(Finding::OnlyRight(self.right.take())));
        }
        let left = self.left.head();
        if let Some(record) = self.left.take_late() {
            return Ok(found(Finding::Late(record)));
        }
        if left == Head::Ready && self.left.is_repeated() {
            return Ok(found(Finding::Repeated(self.left.take())));
        }
        Ok(match (left, right) {
            (Head::Starving, Head::Starving) => Step::Need(Need::Both),
            (Head::Starving, _) => Step::Need(Need::Left),
            (_, Head::Starving) => Step::Need(Need::Right),
            (Head::Ended, Head::Ended) => Step::Done,
            (Head::Ready, Head::Ended) => found(Finding::OnlyLeft(self.left.take())),
            (Head::Ended, Head::Ready) => found(Finding::OnlyRight(self.right.take())),
            (Head::Ready, Head::Ready) => found(match self.left.place().cmp(&self.right.place()) {
                Ordering::Less => Finding::OnlyLeft(self.left.take()),
                Ordering::Greater => Finding::OnlyRight(self.right.take()),
                Ordering::Equal => Finding::Both(self.left.take(), self.right.take()),
            }),
        })
    }
}

fn found<L, R>(finding: Finding<L, R>) -> Step<L, R> {
    Step::Found(finding)
}

#[cfg(test)]
mod tests;
