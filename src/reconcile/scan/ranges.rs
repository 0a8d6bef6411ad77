//! How many users the daemon believes in, by ranges of `created_at`: the census's memory of the last full diff.
//!
//! Arithmetic only: no Clerk, no clock, no disk. At most [`MAX_RANGES`] numbers, however many users. A bound
//! between two ranges lies where no user was made when it was set, because Clerk does not say whether
//! `created_at_before` includes its value. A belief is a hint where to look and never a proof: it may have lost
//! or counted twice what happened while the daemon was being killed, and the next full diff counts anew.

mod bisect;
mod builder;
mod cells;

pub use bisect::{Bisect, Differing};
pub use builder::{Builder, NotAscending};
pub use cells::{CellError, MAX_CELL_BYTES};

/// The most ranges: with as many, one of a million users holds 250, a page of Clerk's.
pub const MAX_RANGES: usize = 4096;

/// How many users there are in each range. Made by a [`Builder`] during a full diff, moved by every creation
/// and deletion, put right by what a census finds.
///
/// ```text
/// // One census:
/// let total = clerk.count_users(None).await?;
/// let mut bisect = Bisect::new(&belief, total, 200);
/// while let Some(before) = bisect.ask() {
///     bisect.answer(clerk.count_users(Some(before)).await?);
/// }
/// for differing in bisect.finish() {
///     // List differing.from .. differing.before on both sides, confirm, repair, and then:
///     belief.recount(differing.from, differing.before, users_that_clerk_listed);
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Belief {
    /// Where one range ends and the next begins, in milliseconds, ascending; one fewer than `counts`.
    bounds: Vec<i64>,
    counts: Vec<u64>,
    /// Minus the deletions of users whose `created_at` nobody knew, and of those in ranges that were believed to
    /// be empty.
    unplaced: i64,
    /// How large a range at the end may grow before it is split, in users.
    width: u64,
    /// The highest `created_at` that is known of: no user was seen beyond it.
    newest: Option<i64>,
}

impl Default for Belief {
    /// No user at all.
    fn default() -> Self {
        Builder::new(MAX_RANGES).finish()
    }
}

impl Belief {
    /// How many users there should be.
    pub fn total(&self) -> u64 {
        self.placed().saturating_add_signed(self.unplaced)
    }

    fn placed(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The ranges, oldest first: from (inclusive), before (exclusive), how many users.
    pub fn ranges(&self) -> impl Iterator<Item = (Option<i64>, Option<i64>, u64)> {
        let from = std::iter::once(None).chain(self.bounds.iter().copied().map(Some));
        let before = self.bounds.iter().copied().map(Some).chain([None]);
        from.zip(before)
            .zip(&self.counts)
            .map(|((from, before), count)| (from, before, *count))
    }

    /// How many ranges.
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    /// True if no user is believed in.
    pub fn is_empty(&self) -> bool {
        self.total() == 0
    }

    /// Minus the deletions that could not be taken off any range; never above zero.
    pub fn unplaced(&self) -> i64 {
        self.unplaced
    }

    /// A user was created in Convex, which had not been there before. `created_at` in milliseconds.
    pub fn created(&mut self, created_at: i64) {
        if self.newest.is_none_or(|newest| created_at > newest) {
            self.grow(created_at);
        }
        let at = self.range_of(created_at);
        self.counts[at] += 1;
    }

    /// A user was deleted. `None` if nobody knows when it had been created.
    pub fn deleted(&mut self, created_at: Option<i64>) {
        match created_at.map(|at| self.range_of(at)) {
            Some(at) if self.counts[at] > 0 => self.counts[at] -= 1,
            _ => self.unplaced -= 1,
        }
    }

    /// Clerk counts so many: if as many are placed, what is unplaced is not true. Such a deletion was counted twice,
    /// by a full diff that did not list the user any more and by the delivery that came after it.
    pub fn counted(&mut self, users: u64) {
        if users == self.placed() {
            self.unplaced = 0;
        }
    }

    /// Corrects the ranges between two bounds, as [`Differing`] named them, by what Clerk listed there. What was
    /// unplaced is taken for what was wrong here, as far as it goes, so that the total stays true. False if
    /// these are no bounds (any more); then nothing changes.
    pub fn recount(&mut self, from: Option<i64>, before: Option<i64>, users: u64) -> bool {
        let (Some(first), Some(end)) = (self.start(from, 0), self.end(before)) else {
            return false;
        };
        if first >= end {
            return false;
        }
        let believed: u64 = self.counts[first..end].iter().sum();
        // Several ranges become one: how the users are spread over them is not known.
        self.counts[first] = users;
        self.counts.drain(first + 1..end);
        self.bounds.drain(first..end - 1);
        let moved = signed(users) - signed(believed);
        if moved.signum() == self.unplaced.signum() {
            self.unplaced -= moved.signum() * moved.abs().min(self.unplaced.abs());
        }
        true
    }

    /// The range that begins at `from`.
    fn start(&self, from: Option<i64>, first: usize) -> Option<usize> {
        match from {
            None => Some(first),
            Some(from) => self.bounds.binary_search(&from).ok().map(|at| at + 1),
        }
    }

    /// The range behind the one that ends at `before`.
    fn end(&self, before: Option<i64>) -> Option<usize> {
        match before {
            None => Some(self.counts.len()),
            Some(before) => self.start(Some(before), 0),
        }
    }

    fn range_of(&self, created_at: i64) -> usize {
        self.bounds.partition_point(|bound| *bound <= created_at)
    }

    /// The newest range grows: it is split where no user is known, behind the newest one.
    fn grow(&mut self, created_at: i64) {
        let newest = self.newest.replace(created_at);
        let full = self.counts.last().is_some_and(|last| *last >= self.width);
        let bound = newest.and_then(|newest| between(newest, created_at));
        let Some(bound) = bound.filter(|_| full) else {
            return;
        };
        if self.counts.len() == MAX_RANGES {
            halve(&mut self.bounds, &mut self.counts);
            self.width = self.width.saturating_mul(2);
        }
        self.bounds.push(bound);
        self.counts.push(0);
    }
}

/// A millisecond between two, in which neither lies.
fn between(one: i64, next: i64) -> Option<i64> {
    let gap = next.checked_sub(one).unwrap_or(i64::MAX);
    (gap >= 2).then(|| one + gap / 2)
}

/// Joins each range with its neighbour; an odd one out stays as it is. `counts` has one more than `bounds`.
fn halve(bounds: &mut Vec<i64>, counts: &mut Vec<u64>) {
    let mut at = 0;
    bounds.retain(|_| {
        at += 1;
        at % 2 == 0
    });
    let joined = counts.chunks(2).map(|pair| pair.iter().sum()).collect();
    *counts = joined;
}

/// No number of users comes near 2^63.
fn signed(users: u64) -> i64 {
    i64::try_from(users).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
