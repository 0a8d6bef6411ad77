//! How far the sweep has come, and what it knows that it has not seen.
//!
//! One value in one cell, so that position and gap are always of one mind. A value that cannot be read, or of
//! another version of the daemon, is no position: it becomes a gap of unknown length, which only a full diff
//! closes. No position is ever made up from the epoch or from the time of day.

use serde::{Deserialize, Serialize};

use crate::store::state::{State, StateError};

/// The cell.
const CELL: &str = "sweep/cursor";
/// The layout of the value; a new one gets a new number.
const LAYOUT: u8 = 1;
/// Layout, position, reason, the gap's three times, checksum.
const BYTES: usize = 1 + 8 + 1 + 3 * 8 + 4;
/// Stands for "unknown" where a gap begins.
const UNKNOWN: i64 = i64::MIN;

/// Where the sweep is. Times are Clerk's, in milliseconds, unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Everything that was changed up to here is dealt with, but for the gap.
    pub at: i64,
    /// Changes that no sweep has looked at.
    pub gap: Option<Gap>,
}

/// A stretch of changes that only a full diff can find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// After this; `None` if it is not known.
    pub from: Option<i64>,
    /// Up to this.
    pub to: i64,
    /// When it was noticed, by our clock: a full diff that began later sees all of it.
    pub noticed_ms: i64,
    /// How it came to be.
    pub why: Why,
}

/// How a gap came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The first sweep of this state directory.
    First,
    /// The remembered position could not be read.
    Damaged,
    /// More was changed than sweeps look at.
    TooFar,
}

impl Why {
    const ALL: [Why; 3] = [Why::First, Why::Damaged, Why::TooFar];

    const fn code(self) -> u8 {
        match self {
            Why::First => 1,
            Why::Damaged => 2,
            Why::TooFar => 3,
        }
    }

    /// For a person: why a full diff is needed.
    pub const fn words(self) -> &'static str {
        match self {
            Why::First => {
                "there was no position to go on from, so the sweep begins with the newest change; what was \
                 changed before is compared by the next full diff"
            }
            Why::Damaged => {
                "the remembered position of the sweep could not be read; it begins anew with the newest \
                 change, and what was changed before is compared by the next full diff"
            }
            Why::TooFar => {
                "more was changed since the last sweep than a sweep looks at; the rest is compared by the \
                 next full diff"
            }
        }
    }
}

/// What the cell holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A position.
    Cursor(Cursor),
    /// Nothing was ever written.
    Nothing,
    /// Something that is no position of this version.
    Damaged,
}

impl Gap {
    /// Both gaps as one.
    pub fn with(self, other: Option<Gap>) -> Gap {
        let Some(other) = other else { return self };
        Gap {
            // An unknown beginning covers every other.
            from: self.from.zip(other.from).map(|(a, b)| a.min(b)),
            to: self.to.max(other.to),
            noticed_ms: self.noticed_ms.max(other.noticed_ms),
            why: self.why,
        }
    }
}

impl Cursor {
    /// Reads the cell.
    pub fn load(state: &State) -> Result<Found, StateError> {
        Ok(match state.get_cell(CELL)? {
            None => Found::Nothing,
            Some(bytes) => Cursor::decode(&bytes).map_or(Found::Damaged, Found::Cursor),
        })
    }

    /// Moves the position to `at` and adds a gap to what is known of any. A gap that was closed since the
    /// sweep began stays closed.
    pub fn advance(state: &State, at: i64, gap: Option<Gap>) -> Result<Cursor, StateError> {
        /// Only [`close_gap`] writes besides the sweep, once in a full diff.
        const TRIES: usize = 8;
        let mut moved = Cursor { at, gap };
        for _ in 0..TRIES {
            let old = state.get_cell(CELL)?;
            let before = old
                .as_deref()
                .and_then(Cursor::decode)
                .and_then(|before| before.gap);
            moved.gap = gap.map(|gap| gap.with(before)).or(before);
            let new = moved.encode();
            if old.as_deref() == Some(&new[..])
                || state.compare_and_set(CELL, old.as_deref(), Some(&new))?
            {
                break;
            }
        }
        Ok(moved)
    }

    fn encode(self) -> [u8; BYTES] {
        let mut out = [0; BYTES];
        out[0] = LAYOUT;
        out[1..9].copy_from_slice(&self.at.to_le_bytes());
        if let Some(gap) = self.gap {
            out[9] = gap.why.code();
            out[10..18].copy_from_slice(&gap.from.unwrap_or(UNKNOWN).to_le_bytes());
            out[18..26].copy_from_slice(&gap.to.to_le_bytes());
            out[26..34].copy_from_slice(&gap.noticed_ms.to_le_bytes());
        }
        let sum = crc32c::crc32c(&out[..BYTES - 4]);
        out[BYTES - 4..].copy_from_slice(&sum.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Option<Cursor> {
        let bytes: &[u8; BYTES] = bytes.try_into().ok()?;
        let (content, sum) = bytes.split_at(BYTES - 4);
        if content[0] != LAYOUT || crc32c::crc32c(content).to_le_bytes() != sum {
            return None;
        }
        let time = |at: usize| Some(i64::from_le_bytes(content[at..at + 8].try_into().ok()?));
        let gap = match content[9] {
            0 => None,
            code => Some(Gap {
                from: Some(time(10)?).filter(|from| *from != UNKNOWN),
                to: time(18)?,
                noticed_ms: time(26)?,
                why: Why::ALL.into_iter().find(|why| why.code() == code)?,
            }),
        };
        Some(Cursor { at: time(1)?, gap })
    }
}

/// What only a full diff can find, if there is such a thing.
pub fn gap(state: &State) -> Result<Option<Gap>, StateError> {
    Ok(match Cursor::load(state)? {
        Found::Cursor(cursor) => cursor.gap,
        Found::Nothing | Found::Damaged => None,
    })
}

/// A full diff of the users that began at `began_ms` (our clock) is complete: a gap noticed before is closed, and
/// so is the one that was `known` when it began, whatever the clock said when that was noticed. True if there was
/// one.
pub fn close_gap(state: &State, began_ms: i64, known: Option<Gap>) -> Result<bool, StateError> {
    let Found::Cursor(cursor) = Cursor::load(state)? else {
        return Ok(false);
    };
    let seen = |gap: Gap| gap.noticed_ms <= began_ms || Some(gap) == known;
    if !cursor.gap.is_some_and(seen) {
        return Ok(false);
    }
    let closed = Cursor {
        gap: None,
        ..cursor
    };
    // A sweep that moved the position meanwhile keeps the gap; the next full diff closes it.
    state.compare_and_set(CELL, Some(&cursor.encode()), Some(&closed.encode()))
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::store::state::Options;

    const GAP: Gap = Gap {
        from: Some(5),
        to: 9,
        noticed_ms: 100,
        why: Why::TooFar,
    };

    #[test]
    fn what_was_written_is_read() {
        let unknown = Gap {
            from: None,
            why: Why::Damaged,
            ..GAP
        };
        for gap in [None, Some(GAP), Some(unknown)] {
            let cursor = Cursor { at: -3, gap };
            assert_eq!(Cursor::decode(&cursor.encode()), Some(cursor));
        }
    }

    #[test]
    fn no_flipped_bit_and_no_other_length_or_layout_passes_for_a_position() {
        let cursor = Cursor {
            at: 1_762_939_021_608,
            gap: Some(GAP),
        };
        let bytes = cursor.encode();
        for bit in 0..BYTES * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Cursor::decode(&bad), None, "bit {bit}");
        }
        assert_eq!(Cursor::decode(&bytes[..BYTES - 1]), None);
        assert_eq!(Cursor::decode(&[]), None);
        let mut newer = bytes;
        newer[0] = LAYOUT + 1;
        let sum = crc32c::crc32c(&newer[..BYTES - 4]);
        newer[BYTES - 4..].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(Cursor::decode(&newer), None);
    }

    #[test]
    fn a_gap_that_a_clock_ahead_of_its_time_has_noticed_is_closed_by_a_full_diff_that_knew_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options::at(DateTime::UNIX_EPOCH, None);
        let state = State::open(&dir.path().join("derived"), &options)
            .unwrap()
            .state;
        // Noticed at 100 by a clock that is put back to 10.
        Cursor::advance(&state, 7, Some(GAP)).unwrap();
        let known = gap(&state).unwrap();
        assert_eq!(known, Some(GAP));
        assert!(!close_gap(&state, 10, None).unwrap(), "it may be younger");
        let more = Gap { to: 12, ..GAP };
        Cursor::advance(&state, 12, Some(more)).unwrap();
        assert!(
            !close_gap(&state, 10, known).unwrap(),
            "there is more of it"
        );
        let known = gap(&state).unwrap();
        assert!(close_gap(&state, 10, known).unwrap());
        assert_eq!(gap(&state).unwrap(), None);
    }

    #[test]
    fn two_gaps_become_one_that_covers_both() {
        let later = Gap {
            from: Some(20),
            to: 30,
            noticed_ms: 200,
            why: Why::TooFar,
        };
        let both = later.with(Some(GAP));
        assert_eq!((both.from, both.to, both.noticed_ms), (Some(5), 30, 200));
        let unknown = Gap { from: None, ..GAP };
        assert_eq!(later.with(Some(unknown)).from, None);
        assert_eq!(unknown.with(Some(later)).from, None);
    }
}
