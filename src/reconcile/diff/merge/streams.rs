//! The two streams of a join, one record at a time and in one order.
//!
//! [`Left`] puts each tie of Clerk's in the order of keys, within a bound; [`Right`] holds Convex to the order
//! that it promises. Both keep what was fed until it is taken, and set apart what comes too late.

use std::collections::VecDeque;

use super::{Listed, OutOfOrder, Stored};
use crate::model::Key;

/// Whether a side has a record to offer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Head {
    Ready,
    Starving,
    Ended,
}

/// Clerk's stream, each tie put in the order of keys.
#[derive(Debug)]
pub(super) struct Left<L> {
    waiting: VecDeque<L>,
    ended: bool,
    /// Records of the millisecond `at`, the last one first once `sorted`.
    tie: Vec<L>,
    sorted: bool,
    /// No further record of the millisecond can come.
    closed: bool,
    at: Option<i64>,
    /// The last record handed out at `at`.
    last: Option<Key>,
    /// Records that came behind later ones.
    late: VecDeque<L>,
    max_tie: usize,
}

impl<L: Listed> Left<L> {
    pub(super) fn new(max_tie: usize) -> Self {
        Left {
            waiting: VecDeque::new(),
            ended: false,
            tie: Vec::new(),
            sorted: true,
            closed: true,
            at: None,
            last: None,
            late: VecDeque::new(),
            max_tie: max_tie.max(2),
        }
    }

    pub(super) fn feed(&mut self, page: Vec<L>) {
        append(&mut self.waiting, page);
    }

    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    /// Whether there is a record in its place. What is late shows in [`Left::take_late`], to be asked next.
    pub(super) fn head(&mut self) -> Head {
        if self.tie.is_empty() && self.closed && !self.begin() {
            return if self.ended {
                Head::Ended
            } else {
                Head::Starving
            };
        }
        // Of a tie that is too large one half is handed out before the rest is read.
        let handing_out = self.sorted && self.tie.len() > self.max_tie / 2;
        if !self.closed && !handing_out {
            self.gather();
            if !self.closed && self.tie.len() < self.max_tie {
                return Head::Starving;
            }
            self.sort();
        }
        if self.tie.is_empty() {
            // Only the end of a tie that was handed out in parts leaves nothing of it.
            return self.head();
        }
        Head::Ready
    }

    /// A record that came behind later ones.
    pub(super) fn take_late(&mut self) -> Option<L> {
        self.late.pop_front()
    }

    /// Begins the next millisecond, if there is a record of it.
    fn begin(&mut self) -> bool {
        let Some(at) = self.next_in_order() else {
            return false;
        };
        self.at = Some(at);
        self.last = None;
        self.closed = false;
        true
    }

    /// Takes what has come of this millisecond.
    fn gather(&mut self) {
        while self.tie.len() < self.max_tie {
            match self.next_in_order() {
                None => {
                    self.closed = self.ended;
                    self.tie.iter_mut().for_each(L::stand_alone);
                    return;
                }
                Some(at) if Some(at) > self.at => {
                    self.closed = true;
                    return;
                }
                Some(_) => {
                    self.tie.extend(self.waiting.pop_front());
                    self.sorted = self.tie.len() == 1;
                }
            }
        }
    }

    /// When the next record that is not late was made.
    fn next_in_order(&mut self) -> Option<i64> {
        loop {
            let at = self.waiting.front()?.created_at();
            if self.at.is_none_or(|before| at >= before) {
                return Some(at);
            }
            self.late.extend(self.waiting.pop_front());
        }
    }

    fn sort(&mut self) {
        if !self.sorted {
            self.tie.sort_unstable_by(|a, b| b.key().cmp(a.key()));
            self.sorted = true;
        }
    }

    fn first(&self) -> &L {
        // `head` has said that there is one.
        self.tie.last().expect("a record is ready")
    }

    pub(super) fn is_repeated(&self) -> bool {
        self.last.as_ref() == Some(self.first().key())
    }

    pub(super) fn place(&self) -> (Option<i64>, &Key) {
        (self.at, self.first().key())
    }

    pub(super) fn take(&mut self) -> L {
        // `head` has said that there is one.
        let record = self.tie.pop().expect("a record is ready");
        self.last = Some(record.key().clone());
        record
    }

    /// The lowest `created_at` that may still be handed out.
    pub(super) fn next_at(&self) -> Option<i64> {
        if !self.tie.is_empty() || !self.closed {
            return self.at;
        }
        match self.waiting.front() {
            // Whether the next record is late is seen when it is its turn.
            Some(next) => self.at.max(Some(next.created_at())),
            None if self.ended => Some(i64::MAX),
            None => self.at,
        }
    }
}

/// Convex's stream.
#[derive(Debug)]
pub(super) struct Right<R> {
    waiting: VecDeque<R>,
    ended: bool,
    /// Where the last row stood that was handed out.
    last: Option<(Option<i64>, Key)>,
}

impl<R: Stored> Right<R> {
    pub(super) fn new() -> Self {
        Right {
            waiting: VecDeque::new(),
            ended: false,
            last: None,
        }
    }

    pub(super) fn feed(&mut self, page: Vec<R>) {
        append(&mut self.waiting, page);
    }

    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    pub(super) fn head(&self) -> Result<Head, OutOfOrder> {
        let Some(next) = self.waiting.front() else {
            return Ok(if self.ended {
                Head::Ended
            } else {
                Head::Starving
            });
        };
        match &self.last {
            Some((at, key)) if (next.created_at(), next.key()) < (*at, key) => Err(OutOfOrder {
                key: next.key().clone(),
            }),
            _ => Ok(Head::Ready),
        }
    }

    fn first(&self) -> &R {
        // `head` has said that there is one.
        self.waiting.front().expect("a row is ready")
    }

    pub(super) fn is_again(&self) -> bool {
        self.last
            .as_ref()
            .is_some_and(|(at, key)| (*at, key) == self.place())
    }

    pub(super) fn is_undated(&self) -> bool {
        self.first().created_at().is_none()
    }

    pub(super) fn place(&self) -> (Option<i64>, &Key) {
        (self.first().created_at(), self.first().key())
    }

    pub(super) fn take(&mut self) -> R {
        // `head` has said that there is one.
        let row = self.waiting.pop_front().expect("a row is ready");
        self.last = Some((row.created_at(), row.key().clone()));
        row
    }

    /// The lowest `createdAt` that may still be handed out; `None` for rows without one.
    pub(super) fn next_at(&self) -> Option<i64> {
        let last = self.last.as_ref().and_then(|(at, _)| *at);
        match self.waiting.front() {
            Some(next) => last.max(next.created_at()),
            None if self.ended => Some(i64::MAX),
            None => last,
        }
    }
}

/// Puts a page behind what waits: nearly always nothing does, and then nothing is copied.
fn append<T>(waiting: &mut VecDeque<T>, page: Vec<T>) {
    match waiting.is_empty() {
        true => *waiting = page.into(),
        false => waiting.extend(page),
    }
}
