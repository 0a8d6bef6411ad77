//! Counting users into ranges while they are walked, without knowing how many will come.
//!
//! Constant memory: the ranges begin with one user each, and whenever there are too many, neighbours are joined
//! and the width is doubled. Parts of a walk can be counted apart, kept (see [`super::cells`]) and joined.

use super::{Belief, between, halve};

/// The smallest cap that makes sense.
const MIN_RANGES: usize = 4;

/// A walk that went back. The merge of the full diff says so too, and then there is nothing to believe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("users were not counted in the order of created_at")]
pub struct NotAscending;

/// A count in progress.
///
/// ```text
/// // Each range of a full diff counts for itself, with its part of the cap, and keeps its count with its cursor:
/// let mut builder = Builder::new(MAX_RANGES / ranges);
/// for user in page { builder.add(user.created_at())?; }
/// let cells = builder.to_cells();
/// // In the end, oldest range first:
/// let mut all = Builder::new(MAX_RANGES);
/// for builder in parts { all.join(builder)?; }
/// let belief = all.finish();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Builder {
    pub(super) cap: usize,
    /// Users a range is to hold.
    pub(super) width: u64,
    /// Bounds between the ranges of `counts`; the last of these is still open.
    pub(super) bounds: Vec<i64>,
    pub(super) counts: Vec<u64>,
    /// The `created_at` of the first and of the last user.
    pub(super) span: Option<(i64, i64)>,
}

impl Builder {
    /// An empty count of at most `cap` ranges (at least four, at most [`super::MAX_RANGES`]).
    pub fn new(cap: usize) -> Self {
        Builder {
            cap: cap.clamp(MIN_RANGES, super::MAX_RANGES),
            width: 1,
            bounds: Vec::new(),
            counts: vec![0],
            span: None,
        }
    }

    /// Counts a user. They come in the order of `created_at`, in milliseconds; equal ones are fine.
    pub fn add(&mut self, created_at: i64) -> Result<(), NotAscending> {
        let (first, last) = self.span.unwrap_or((created_at, created_at));
        if created_at < last {
            return Err(NotAscending);
        }
        if self.open() >= self.width
            && let Some(bound) = between(last, created_at)
        {
            self.begin(bound, 0);
        }
        *self.open_mut() += 1;
        self.span = Some((first, created_at));
        Ok(())
    }

    /// Adds a count of users that were all created no earlier than the last one here.
    pub fn join(&mut self, later: Builder) -> Result<(), NotAscending> {
        let Some((from, last)) = later.span else {
            return Ok(());
        };
        let (first, before) = self.span.unwrap_or((from, from));
        if from < before {
            return Err(NotAscending);
        }
        let mut counts = later.counts.into_iter();
        let begins = counts.next().unwrap_or(0);
        match between(before, from).filter(|_| self.open() > 0) {
            Some(bound) => self.begin(bound, begins),
            // Users of both counts may lie in this millisecond: one range holds them.
            None => *self.open_mut() += begins,
        }
        for (bound, count) in later.bounds.into_iter().zip(counts) {
            self.begin(bound, count);
        }
        self.width = self.width.max(later.width);
        self.span = Some((first, last));
        Ok(())
    }

    /// How many users were counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// What is believed from now on.
    pub fn finish(self) -> Belief {
        Belief {
            bounds: self.bounds,
            counts: self.counts,
            unplaced: 0,
            width: self.width,
            newest: self.span.map(|(_, last)| last),
        }
    }

    fn begin(&mut self, bound: i64, count: u64) {
        if self.counts.len() == self.cap {
            halve(&mut self.bounds, &mut self.counts);
            self.width = self.width.saturating_mul(2);
        }
        self.bounds.push(bound);
        self.counts.push(count);
    }

    fn open(&self) -> u64 {
        self.counts.last().copied().unwrap_or(0)
    }

    fn open_mut(&mut self) -> &mut u64 {
        // There is one range from the beginning, and joining neighbours leaves one.
        self.counts.last_mut().expect("there is always a range")
    }
}
