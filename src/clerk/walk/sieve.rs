//! What of a page of users is new, and what is wrong with it.
//!
//! Users come oldest first; of those made in one millisecond the order is not documented, so their ids
//! are kept until the next millisecond begins. Pure, and the same for both ways of turning pages.

use std::collections::HashSet;

use super::UserRange;
use crate::{clerk::record::RawRecord, model::Key};

/// Ids of one millisecond that are kept apart. Bulk imports may stamp many users alike; beyond this a
/// repetition would go unnoticed, which is a flaw.
const MAX_TIES: usize = 100_000;

/// The user at which the next page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// When it was made, in milliseconds.
    pub created_at: i64,
    /// Its id.
    pub key: Key,
}

/// What was asked for: by it, users that come again are told from users that come wrongly.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// Users made before this were not asked for, except for one millisecond: whether the bounds are
    /// inclusive is not documented.
    pub floor: Option<i64>,
    /// True if users that were seen already belong to the page, as in a window that begins at the last
    /// user's millisecond.
    pub again: bool,
}

/// A page without what is not new.
#[derive(Debug, Default)]
pub struct Sifted {
    /// New users of the range.
    pub records: Vec<RawRecord>,
    /// What was wrong.
    pub flaws: Vec<&'static str>,
    /// A user behind the range has come: there is nothing more.
    pub past_end: bool,
    /// Users were listed that nobody asked for: the filter was not honoured, and no page would end.
    pub stray: bool,
}

/// See the module's words.
#[derive(Debug)]
pub struct Sieve {
    range: UserRange,
    head: Option<Head>,
    /// The ids of the head's millisecond.
    ties: HashSet<Key>,
    crowded: bool,
}

impl Sieve {
    /// A walk of the range, from its beginning or behind a user.
    pub fn new(range: UserRange, after: Option<Head>) -> Self {
        let ties = after.iter().map(|head| head.key.clone()).collect();
        Sieve {
            range,
            head: after,
            ties,
            crowded: false,
        }
    }

    /// The last user that was seen.
    pub fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    /// How many users of the head's millisecond were seen.
    pub fn ties(&self) -> usize {
        self.ties.len()
    }

    /// True if this user was seen in the head's millisecond.
    pub fn knows(&self, record: &RawRecord) -> bool {
        self.ties.contains(record.key())
    }

    /// True if a page that should lie behind the head does not: the server does not know the cursor.
    pub fn begins_again(&self, rows: &[RawRecord]) -> bool {
        let (Some(head), Some(first)) = (&self.head, rows.first()) else {
            return false;
        };
        first.created_at() < head.created_at
            || self.knows(first)
            || rows.iter().any(|row| *row.key() == head.key)
    }

    /// Takes the next page.
    pub fn sift(&mut self, rows: Vec<RawRecord>, asked: Asked) -> Sifted {
        let mut sifted = Sifted {
            records: Vec::with_capacity(rows.len()),
            ..Sifted::default()
        };
        let mut page: HashSet<Key> = HashSet::with_capacity(rows.len());
        for row in rows {
            let at = row.created_at();
            if !page.insert(row.key().clone()) {
                sifted.flaws.push("the same user came twice");
                continue;
            }
            if asked
                .floor
                .is_some_and(|floor| at < floor.saturating_sub(1))
            {
                sifted
                    .flaws
                    .push("a user came that is older than what was asked for");
                sifted.stray = true;
                break;
            }
            if self.range.before.is_some_and(|before| at >= before) {
                sifted.past_end = true;
                break;
            }
            // One that the window repeats, or that only an inclusive bound lets in.
            let repeated = asked.again && self.is_behind(&row);
            if repeated {
                continue;
            }
            if !self.advance(&row, &mut sifted.flaws) {
                continue;
            }
            if self.range.from.is_none_or(|from| at >= from) {
                sifted.records.push(row);
            }
        }
        if self.crowded {
            self.crowded = false;
            sifted
                .flaws
                .push("too many users were made in one millisecond to tell them apart");
        }
        sifted
    }

    fn is_behind(&self, row: &RawRecord) -> bool {
        match &self.head {
            Some(head) => row.created_at() < head.created_at || self.knows(row),
            None => false,
        }
    }

    /// Moves the head to this user; false if it does not lie behind the head.
    fn advance(&mut self, row: &RawRecord, flaws: &mut Vec<&'static str>) -> bool {
        let at = row.created_at();
        let last = self.head.as_ref().map(|head| head.created_at);
        if last.is_some_and(|last| at < last) {
            flaws.push("users did not come oldest first");
            return false;
        }
        if last.is_none_or(|last| at > last) {
            self.ties.clear();
        } else if self.knows(row) {
            flaws.push("a user came again that was on an earlier page");
            return false;
        }
        if self.ties.len() < MAX_TIES {
            self.ties.insert(row.key().clone());
        } else {
            self.crowded = true;
        }
        self.head = Some(Head {
            created_at: at,
            key: row.key().clone(),
        });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Table;

    fn rows(rows: &[(i64, &str)]) -> Vec<RawRecord> {
        let read = |(at, id): &(i64, &str)| {
            let text = format!(r#"{{"id":"{id}","created_at":{at},"updated_at":{at}}}"#);
            RawRecord::read(Table::Users, &text).unwrap()
        };
        rows.iter().map(read).collect()
    }

    fn ids(sifted: &Sifted) -> String {
        let ids: Vec<&str> = sifted.records.iter().map(|r| r.key().as_str()).collect();
        ids.join(" ")
    }

    const RANGE: UserRange = UserRange {
        from: Some(10),
        before: Some(20),
    };
    const BY_CURSOR: Asked = Asked {
        floor: Some(10),
        again: false,
    };

    #[test]
    fn pages_in_order_go_through_whole_and_the_bounds_are_made_exact() {
        let mut sieve = Sieve::new(RANGE, None);
        let first = sieve.sift(
            rows(&[(9, "z"), (10, "b"), (10, "a"), (12, "c")]),
            BY_CURSOR,
        );
        assert_eq!((ids(&first).as_str(), first.past_end), ("b a c", false));
        let last = sieve.sift(rows(&[(12, "d"), (19, "e"), (20, "f")]), BY_CURSOR);
        assert_eq!((ids(&last).as_str(), last.past_end), ("d e", true));
        assert!(first.flaws.is_empty() && last.flaws.is_empty());
    }

    #[test]
    fn what_is_wrong_with_a_page_is_told() {
        for (page, left, flaw) in [
            (vec![(11, "a"), (11, "a")], "a", "the same user came twice"),
            (
                vec![(11, "a"), (10, "b")],
                "a",
                "users did not come oldest first",
            ),
            (
                vec![(5, "a"), (11, "b")],
                "",
                "a user came that is older than what was asked for",
            ),
        ] {
            let sifted = Sieve::new(RANGE, None).sift(rows(&page), BY_CURSOR);
            assert_eq!(
                (ids(&sifted).as_str(), &sifted.flaws[..]),
                (left, &[flaw][..])
            );
        }
        let mut sieve = Sieve::new(RANGE, None);
        sieve.sift(rows(&[(11, "a"), (11, "b")]), BY_CURSOR);
        let sifted = sieve.sift(rows(&[(11, "c"), (11, "a")]), BY_CURSOR);
        assert_eq!(ids(&sifted), "c");
        assert_eq!(
            sifted.flaws,
            ["a user came again that was on an earlier page"]
        );
    }

    #[test]
    fn a_window_repeats_its_first_millisecond_without_a_flaw() {
        let mut sieve = Sieve::new(RANGE, None);
        sieve.sift(rows(&[(11, "a"), (12, "b"), (12, "c")]), BY_CURSOR);
        let window = Asked {
            floor: Some(12),
            again: true,
        };
        let page = rows(&[(11, "a"), (12, "c"), (12, "d"), (12, "b"), (13, "e")]);
        let sifted = sieve.sift(page, window);
        assert_eq!((ids(&sifted).as_str(), sifted.flaws.len()), ("d e", 0));
        let sifted = sieve.sift(rows(&[(13, "e"), (13, "e")]), window);
        assert_eq!(sifted.flaws, ["the same user came twice"]);
    }

    #[test]
    fn a_page_that_begins_again_is_known() {
        let mut sieve = Sieve::new(RANGE, None);
        let first = [(10, "a"), (11, "b"), (11, "c")];
        assert!(!sieve.begins_again(&rows(&first)));
        sieve.sift(rows(&first), BY_CURSOR);
        for (page, again) in [
            (vec![(10, "a"), (11, "b")], true),
            (vec![(10, "x")], true),
            (vec![(11, "b"), (12, "d")], true),
            (vec![(11, "d"), (11, "c")], true),
            (vec![(11, "d"), (12, "e")], false),
            (vec![(12, "d")], false),
            (vec![], false),
        ] {
            assert_eq!(sieve.begins_again(&rows(&page)), again, "{page:?}");
        }
    }

    #[test]
    fn a_walk_that_was_cut_off_goes_on_behind_its_cursor() {
        let head = Head {
            created_at: 12,
            key: Key::parse("b").unwrap(),
        };
        let mut sieve = Sieve::new(RANGE, Some(head));
        let sifted = sieve.sift(rows(&[(12, "a"), (13, "d")]), BY_CURSOR);
        assert_eq!((ids(&sifted).as_str(), sifted.flaws.len()), ("a d", 0));
    }
}
