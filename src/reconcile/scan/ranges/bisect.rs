//! Finding the ranges whose count differs with few questions.
//!
//! Clerk can count the users that were created before a moment. Where the count up to two bounds differs from
//! what is believed to lie between them, the middle is asked for next: about `d * log2(ranges)` questions for
//! `d` differing ranges. What cannot be seen: errors that cancel each other out within a piece that is not
//! looked into, first of all within the whole (one user too many here, one too few there). The next full
//! diff finds these.

use super::{Belief, signed};

/// A piece of the ranges whose count is not what was believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Differing {
    /// From this `created_at`, in milliseconds, inclusive; `None` for the beginning.
    pub from: Option<i64>,
    /// Up to this one, exclusive; `None` for the end.
    pub before: Option<i64>,
    /// How many users were believed in.
    pub believed: u64,
    /// How many Clerk counted. Clerk goes on living between two questions, so this is a little uncertain.
    pub counted: u64,
}

/// The questions of one census; see [`Belief`] for how to ask them.
#[derive(Clone, Debug)]
pub struct Bisect {
    bounds: Vec<i64>,
    /// How many users are believed to lie before each bound, with none before the first and all behind the last.
    believed: Vec<i64>,
    /// Pieces that differ and hold several ranges; the oldest last, so that answers come in order.
    pieces: Vec<Piece>,
    found: Vec<Differing>,
    questions: u32,
    max_questions: u32,
}

/// The ranges `first..end`, and what Clerk counted before each end.
#[derive(Clone, Copy, Debug)]
struct Piece {
    first: usize,
    end: usize,
    before: i64,
    upto: i64,
}

impl Piece {
    fn middle(&self) -> usize {
        self.first + (self.end - self.first) / 2
    }
}

impl Bisect {
    /// A census of this belief, for which Clerk counted `total` users. After `max_questions` the pieces are
    /// taken as large as they are by then.
    pub fn new(belief: &Belief, total: u64, max_questions: u32) -> Self {
        let mut believed = Vec::with_capacity(belief.counts.len() + 1);
        let mut sum = 0_i64;
        believed.push(0);
        for count in &belief.counts {
            sum = sum.saturating_add(signed(*count));
            believed.push(sum);
        }
        let mut bisect = Bisect {
            bounds: belief.bounds.clone(),
            believed,
            pieces: Vec::new(),
            found: Vec::new(),
            questions: 0,
            max_questions,
        };
        // Unplaced deletions explain a total, not where they were: if it agrees, nothing is to be found.
        if total != belief.total() {
            bisect.look_into(Piece {
                first: 0,
                end: belief.counts.len(),
                before: 0,
                upto: signed(total),
            });
        }
        bisect
    }

    /// The next question: how many users were created before this moment (milliseconds)? `None` at the end.
    pub fn ask(&self) -> Option<i64> {
        if self.questions >= self.max_questions {
            return None;
        }
        let piece = self.pieces.last()?;
        // A piece of several ranges has a bound in its middle.
        Some(self.bounds[piece.middle() - 1])
    }

    /// The answer to the question that [`Bisect::ask`] gives. Ignored when there is none.
    pub fn answer(&mut self, users: u64) {
        let Some(piece) = self.pieces.pop() else {
            return;
        };
        self.questions += 1;
        let (middle, users) = (piece.middle(), signed(users));
        self.look_into(Piece {
            first: middle,
            before: users,
            ..piece
        });
        self.look_into(Piece {
            end: middle,
            upto: users,
            ..piece
        });
    }

    /// How many questions were answered.
    pub fn questions(&self) -> u32 {
        self.questions
    }

    /// What differs, oldest first.
    pub fn finish(mut self) -> Vec<Differing> {
        while let Some(piece) = self.pieces.pop() {
            self.note(piece);
        }
        self.found.sort_by_key(|differing| differing.from);
        self.found
    }

    fn look_into(&mut self, piece: Piece) {
        let believed = self.believed[piece.end] - self.believed[piece.first];
        if piece.upto.saturating_sub(piece.before) == believed {
            return;
        }
        if piece.end - piece.first == 1 {
            self.note(piece);
        } else {
            self.pieces.push(piece);
        }
    }

    fn note(&mut self, piece: Piece) {
        let believed = self.believed[piece.end] - self.believed[piece.first];
        let counted = piece.upto.saturating_sub(piece.before);
        self.found.push(Differing {
            from: piece.first.checked_sub(1).map(|at| self.bounds[at]),
            before: self.bounds.get(piece.end - 1).copied(),
            believed: u64::try_from(believed).unwrap_or(0),
            counted: u64::try_from(counted).unwrap_or(0),
        });
    }
}
