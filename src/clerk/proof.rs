//! May a listing be used to delete? Only if it proved itself whole.
//!
//! Absence is not evidence: a walk that was cut short looks like a mass deletion. [`prove`] weighs what was
//! walked against what Clerk counted before and after, and only it makes a [`CompleteWalk`]. It is about
//! the listing as a whole; each single deletion is still confirmed by asking about its id. Pure.

use std::fmt;

use crate::twin::{self, Twin};

/// What is known about a walk when it is over. Of a walk in several ranges: the sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// What Clerk counted before the first page.
    pub counted_before: u64,
    /// What Clerk counted after the last page.
    pub counted_after: u64,
    /// The records that were walked.
    pub rows: u64,
    /// What was wrong with pages: order, repetition, size.
    pub flaws: u64,
    /// Pages that could not be read; what lies behind them was not seen.
    pub failed_pages: u64,
    /// The rows that the other side holds of the same records. Leave it 0 for a part of a table, which may
    /// well be empty on one side.
    pub rows_elsewhere: u64,
}

/// A listing that proved itself whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompleteWalk {
    rows: u64,
}

impl CompleteWalk {
    /// The records that were walked.
    pub fn rows(self) -> u64 {
        self.rows
    }
}

/// Why a listing is not taken for whole; shows as one sentence without personal values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Incomplete {
    /// One or more.
    pub reasons: Vec<Reason>,
}

impl fmt::Display for Incomplete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the listing is not complete: ")?;
        for (index, reason) in self.reasons.iter().enumerate() {
            write!(f, "{}{reason}", if index == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

/// One reason against a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Pages could not be read.
    Failed(u64),
    /// Pages were not as they have to be.
    Flawed(u64),
    /// Nothing was listed although there is something: so many, in whose words.
    Empty {
        /// How many there should be.
        of: u64,
        /// True if Clerk itself counts them, false if only the other side has them.
        counted: bool,
    },
    /// Fewer were listed than Clerk counts.
    Short {
        /// Listed.
        rows: u64,
        /// Counted, the lower of the two.
        counted: u64,
    },
    /// More were listed than Clerk counts, so count and listing are not about the same.
    Long {
        /// Listed.
        rows: u64,
        /// Counted, the higher of the two.
        counted: u64,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Failed(pages) => write!(f, "{pages} page(s) could not be read"),
            Reason::Flawed(flaws) => write!(f, "{flaws} flaw(s) in its pages"),
            Reason::Empty { of, counted: true } => write!(f, "it is empty, but Clerk counts {of}"),
            Reason::Empty { of, counted: false } => {
                write!(f, "it is empty, but there are {of} row(s) in Convex")
            }
            Reason::Short { rows, counted } => {
                write!(f, "it has {rows} record(s), but Clerk counts {counted}")
            }
            Reason::Long { rows, counted } => {
                write!(
                    f,
                    "it has {rows} record(s), but Clerk counts only {counted}"
                )
            }
        }
    }
}

/// Judges a walk.
pub fn prove(evidence: &Evidence) -> Result<CompleteWalk, Incomplete> {
    let Evidence {
        counted_before,
        counted_after,
        rows,
        flaws,
        failed_pages,
        rows_elsewhere,
    } = *evidence;
    let least = counted_before.min(counted_after);
    let most = counted_before.max(counted_after);
    let mut reasons = Vec::new();
    if failed_pages > 0 {
        reasons.push(Reason::Failed(failed_pages));
    }
    if flaws > 0 {
        reasons.push(Reason::Flawed(flaws));
    }
    // One count of two is enough: the other may be as wrong as the listing.
    if rows == 0 && most > 0 {
        let counted = true;
        reasons.push(Reason::Empty { of: most, counted });
    } else if rows == 0 && rows_elsewhere > 0 {
        let of = rows_elsewhere;
        reasons.push(Reason::Empty { of, counted: false });
    } else if rows + slack(least) < least {
        let counted = least;
        reasons.push(Reason::Short { rows, counted });
    } else if rows > most + surplus(most) {
        let counted = most;
        reasons.push(Reason::Long { rows, counted });
    }
    if reasons.is_empty() || twin::broken(Twin::NoProof) {
        Ok(CompleteWalk { rows })
    } else {
        Err(Incomplete { reasons })
    }
}

/// How many records a whole walk may miss against the counts: people come and go while it runs, some of
/// them between the two counts and a page, and the counts are reads of their own. One in a hundred, of small
/// tables five, but never more than a tenth.
fn slack(counted: u64) -> u64 {
    (counted / 100).max(5.min(counted / 10))
}

/// How many it may have beyond them: whoever was listed and then deleted, and whoever came meanwhile. That
/// misses nobody, so there is more room; but counts that are far too low bracket nothing.
fn surplus(counted: u64) -> u64 {
    if counted == 0 { 0 } else { counted / 10 + 5 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walked(before: u64, rows: u64, after: u64) -> Evidence {
        Evidence {
            counted_before: before,
            counted_after: after,
            rows,
            ..Evidence::default()
        }
    }

    #[test]
    fn a_walk_between_its_counts_is_whole() {
        for (before, rows, after) in [
            (0, 0, 0),
            (1, 1, 1),
            (3, 2, 2),
            (3, 3, 2),
            (3, 4, 4),
            (50, 45, 50),
            (50, 60, 50),
            (500, 509, 500),
            (1_000, 990, 1_000),
            (1_000, 600, 600),
            (1_000_000, 990_000, 1_000_000),
            (0, 3, 3),
        ] {
            let walk = prove(&walked(before, rows, after));
            assert_eq!(
                walk.map(CompleteWalk::rows),
                Ok(rows),
                "{before} {rows} {after}"
            );
        }
    }

    #[test]
    fn a_walk_outside_its_counts_is_not() {
        for (before, rows, after, words) in [
            (3, 2, 3, "it has 2 record(s), but Clerk counts 3"),
            (10, 8, 10, "it has 8 record(s), but Clerk counts 10"),
            (
                2_000,
                10,
                2_000,
                "it has 10 record(s), but Clerk counts 2000",
            ),
            (
                1_000,
                989,
                1_000,
                "it has 989 record(s), but Clerk counts 1000",
            ),
            (
                1_000,
                600,
                1_000,
                "it has 600 record(s), but Clerk counts 1000",
            ),
            (3, 9, 3, "it has 9 record(s), but Clerk counts only 3"),
            (0, 500, 0, "it has 500 record(s), but Clerk counts only 0"),
            (1, 0, 0, "it is empty, but Clerk counts 1"),
            (0, 0, 7, "it is empty, but Clerk counts 7"),
        ] {
            let said = prove(&walked(before, rows, after)).unwrap_err().to_string();
            assert_eq!(said, format!("the listing is not complete: {words}"));
        }
    }

    #[test]
    fn nothing_on_one_side_and_something_on_the_other_is_no_proof() {
        let evidence = Evidence {
            rows_elsewhere: 1_000,
            ..Evidence::default()
        };
        let said = prove(&evidence).unwrap_err().to_string();
        assert!(said.contains("1000 row(s) in Convex"), "{said}");
        let evidence = Evidence {
            rows_elsewhere: 1_000,
            ..walked(10, 10, 10)
        };
        assert!(
            prove(&evidence).is_ok(),
            "how many may go is the brake's to say"
        );
    }

    #[test]
    fn flaws_and_failed_pages_spoil_a_walk_whose_counts_fit() {
        let evidence = Evidence {
            flaws: 2,
            failed_pages: 1,
            ..walked(10, 10, 10)
        };
        let said = prove(&evidence).unwrap_err().to_string();
        assert_eq!(
            said,
            "the listing is not complete: 1 page(s) could not be read; 2 flaw(s) in its pages"
        );
    }
}
