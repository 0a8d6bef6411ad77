//! May a run delete what it found to be gone from Clerk?
//!
//! Judges numbers, once for each table and before the first deletion: all of them go, or none does. Knows no
//! record. Promises: nothing is deleted, and not even planned, on the word of a listing that did not prove
//! itself complete or was empty, but that nobody is a member of anything any more may be planned; nothing beyond
//! the limits without a person. A person's approval of a plan does not come here.

use crate::twin::{self, Twin};

/// So many deletions are never held for their ratio alone: five per cent of a table of twenty rows is one, and
/// two people leaving in one night are no accident.
pub const HANDFUL: u64 = 5;
/// So many deletions in a day are no leak, however small the table is: each of them has passed the limit of its run.
pub const DAYS_HANDFUL: u64 = 10;
/// Someone leaves an organization of one every day; that all of several members leave at once is an event.
pub const EMPTIED_FROM: u64 = 2;
/// [`Situation::lately`] where it cannot be read: more than any limit lets go.
pub const UNKNOWN: u64 = u64::MAX;

/// What a person configured, or asked for with one run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// `repair.max_deletes`, or `--max-deletes` in its place.
    pub max_deletes: u64,
    /// `repair.max_delete_ratio`: the part of a table's rows, 0 to 1. Zero lets nothing go, not even a
    /// [`HANDFUL`].
    pub max_delete_ratio: f64,
}

/// What a run found about one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Situation {
    /// Rows whose record Clerk does not have, by a second look at both sides; and rows that would go for an
    /// older one of the same key.
    pub deletions: u64,
    /// Rows of the table that are not deleted softly, those included.
    pub rows: u64,
    /// Records that Clerk listed.
    pub listed: u64,
    /// Which part of the listing did not prove itself complete and why, in words for a person; `None` when
    /// every range did.
    pub unproven: Option<String>,
    /// True of memberships that Clerk also counts none of: members leave without their organizations, so an empty
    /// listing of them may be the truth, which a person has to tell.
    pub none_counted: bool,
    /// Of memberships: organizations that Clerk still has, that had at least [`EMPTIED_FROM`] members, and that
    /// the deletions would leave without one.
    pub emptied: u64,
    /// Rows that scans removed from this table in the last 24 hours without a person. They count with these,
    /// so that a slow leak is held as a sudden one is; 0 for what a person asked for.
    pub lately: u64,
}

/// The verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Brake {
    /// They may go, each after Clerk's own word about it. Also when there are none.
    Released,
    /// None may; they become a plan that a person can approve.
    Held {
        /// For a person.
        reason: String,
    },
    /// None may, and there is no plan: what was seen is no evidence.
    Refused {
        /// For a person.
        reason: String,
    },
}

/// Judges one table. The smaller of both limits counts; the ratio lets a [`HANDFUL`] go, but never more than
/// half of the table, rounded up.
pub fn brake(limits: Limits, found: &Situation) -> Brake {
    let Situation {
        deletions, rows, ..
    } = *found;
    if deletions == 0 || twin::broken(Twin::NoBrake) {
        return Brake::Released;
    }
    if found.listed == 0 && found.none_counted && found.unproven.is_none() {
        let reason = format!("Clerk lists and counts none at all, while Convex has {rows} rows");
        return Brake::Held { reason };
    }
    if found.listed == 0 {
        let reason = format!(
            "Clerk listed nothing at all while Convex has {rows} rows; an empty listing never means that all are gone"
        );
        return Brake::Refused { reason };
    }
    if let Some(why) = &found.unproven {
        let reason = format!("the listing did not prove itself complete: {why}");
        return Brake::Refused { reason };
    }
    let allowed = limits.allowed(rows);
    if deletions > allowed {
        let reason = too_many(limits, found, allowed);
        return Brake::Held { reason };
    }
    let a_day = limits.allowed_in_a_day(rows.saturating_add(found.lately));
    if found.lately > 0 && deletions.saturating_add(found.lately) > a_day {
        let reason = too_many(limits, found, a_day);
        return Brake::Held { reason };
    }
    if found.emptied > 0 {
        let reason = format!(
            "{} would be left without any member",
            match found.emptied {
                1 => "an organization".to_owned(),
                many => format!("{many} organizations"),
            }
        );
        return Brake::Held { reason };
    }
    Brake::Released
}

impl Limits {
    /// The most deletions that go without a person, of a table with so many rows.
    pub fn allowed(self, rows: u64) -> u64 {
        self.at_least(HANDFUL.min(rows.div_ceil(2)), rows)
    }

    /// The most that go within 24 hours without a person, of a table that had so many rows when they began. A
    /// limit that a person has set lower than [`DAYS_HANDFUL`] is the day's limit too.
    pub fn allowed_in_a_day(self, rows: u64) -> u64 {
        self.at_least(DAYS_HANDFUL, rows)
    }

    fn at_least(self, few: u64, rows: u64) -> u64 {
        // Also false for what is no number.
        let by_ratio = if self.max_delete_ratio > 0.0 {
            // A table has far fewer than 2^53 rows. The addition makes 29 of 100 at 0.29,
            // which is a little less as a double.
            let part = (rows as f64 * self.max_delete_ratio.min(1.0) + 1e-9) as u64;
            part.max(few)
        } else {
            0
        };
        by_ratio.min(self.max_deletes)
    }
}

fn too_many(limits: Limits, found: &Situation, allowed: u64) -> String {
    let lately = match found.lately {
        0 => String::new(),
        UNKNOWN => ", and how many were in the last 24 hours cannot be read".to_owned(),
        lately => format!(", after {lately} in the last 24 hours"),
    };
    format!(
        "{} of {} rows would be deleted{lately}; without approval at most {allowed} are (repair.max_deletes = {}, repair.max_delete_ratio = {})",
        found.deletions, found.rows, limits.max_deletes, limits.max_delete_ratio
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DEFAULTS: Limits = Limits {
        max_deletes: 100,
        max_delete_ratio: 0.05,
    };

    fn found(deletions: u64, rows: u64) -> Situation {
        Situation {
            deletions,
            rows,
            listed: rows.saturating_sub(deletions).max(1),
            ..Situation::default()
        }
    }

    /// All may go.
    const WIDEST: Limits = Limits {
        max_deletes: u64::MAX,
        max_delete_ratio: 1.0,
    };

    fn is_held(verdict: &Brake) -> bool {
        matches!(verdict, Brake::Held { .. })
    }

    fn refused(found: &Situation) -> String {
        match brake(WIDEST, found) {
            Brake::Refused { reason } => reason,
            verdict => panic!("{verdict:?}"),
        }
    }

    #[test]
    fn the_smaller_limit_counts_and_a_handful_passes_the_ratio() {
        // rows, the most that go
        let table = [
            (1, 1),
            (2, 1),
            (3, 2),
            (5, 3),
            (9, 5),
            (20, 5),
            (50, 5),
            (100, 5),
            (119, 5),
            (120, 6),
            (200, 10),
            (1_000, 50),
            (1_999, 99),
            (2_000, 100),
            (1_000_000, 100),
        ];
        for (rows, most) in table {
            assert_eq!(DEFAULTS.allowed(rows), most, "{rows} rows");
            assert_eq!(brake(DEFAULTS, &found(most, rows)), Brake::Released);
            if most < rows {
                let verdict = brake(DEFAULTS, &found(most + 1, rows));
                assert!(is_held(&verdict), "{rows} rows: {verdict:?}");
            }
        }
    }

    #[test]
    fn six_hundred_of_a_thousand_are_held_and_the_reason_says_the_numbers() {
        let Brake::Held { reason } = brake(DEFAULTS, &found(600, 1000)) else {
            panic!("not held");
        };
        assert_eq!(
            reason,
            "600 of 1000 rows would be deleted; without approval at most 50 are (repair.max_deletes = 100, repair.max_delete_ratio = 0.05)"
        );
    }

    #[test]
    fn limits_of_zero_or_nonsense_let_nothing_go() {
        for (max_deletes, max_delete_ratio) in [(0, 0.05), (100, 0.0), (100, -1.0), (100, f64::NAN)]
        {
            let limits = Limits {
                max_deletes,
                max_delete_ratio,
            };
            assert!(is_held(&brake(limits, &found(1, 1000))), "{limits:?}");
        }
        let all = Limits {
            max_deletes: u64::MAX,
            max_delete_ratio: 7.0,
        };
        let odd = Limits {
            max_delete_ratio: 0.29,
            ..DEFAULTS
        };
        assert_eq!(odd.allowed(100), 29);
        assert_eq!(brake(all, &found(999, 1000)), Brake::Released);
    }

    #[test]
    fn that_nobody_is_a_member_any_more_waits_for_a_person_whatever_the_limits() {
        let nobody = Situation {
            listed: 0,
            none_counted: true,
            ..found(3, 3)
        };
        assert!(is_held(&brake(WIDEST, &nobody)));
        refused(&Situation {
            unproven: Some("page 1 could not be read".into()),
            ..nobody
        });
    }

    #[test]
    fn what_is_no_evidence_is_refused_whatever_the_limits() {
        let empty = Situation {
            listed: 0,
            ..found(1, 1)
        };
        assert!(refused(&empty).contains("never means that all are gone"));
        let unproven = Situation {
            unproven: Some("page 37 could not be read".into()),
            ..found(1, 1000)
        };
        assert!(refused(&unproven).contains("page 37"));
    }

    #[test]
    fn an_organization_that_loses_all_its_members_is_held() {
        let emptied = Situation {
            emptied: 1,
            ..found(3, 1000)
        };
        assert!(is_held(&brake(DEFAULTS, &emptied)));
    }

    #[test]
    fn a_slow_leak_is_held_as_a_sudden_one_is() {
        let leak = |rows: u64, lately: u64| Situation {
            lately,
            ..found(1, rows - lately)
        };
        // One at a time: rows in the morning, the most that go in a day.
        for (rows, most) in [
            (5_000, 100),
            (2_000, 100),
            (1_000, 50),
            (200, 10),
            (20, 10),
            (12, 10),
        ] {
            for lately in 0..most {
                let verdict = brake(DEFAULTS, &leak(rows, lately));
                assert_eq!(verdict, Brake::Released, "{rows} rows after {lately}");
            }
            assert!(is_held(&brake(DEFAULTS, &leak(rows, most))), "{rows} rows");
        }
        let strict = Limits {
            max_deletes: 3,
            ..DEFAULTS
        };
        assert_eq!(brake(strict, &leak(1_000, 2)), Brake::Released);
        let unknown = Situation {
            lately: UNKNOWN,
            ..found(1, 1_000)
        };
        assert!(is_held(&brake(DEFAULTS, &unknown)));
        let Brake::Held { reason } = brake(strict, &leak(1_000, 3)) else {
            panic!("not held");
        };
        assert!(
            reason.starts_with("1 of 997 rows would be deleted, after 3 in the last 24 hours; without approval at most 3 are"),
            "{reason}"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn more_deletions_are_never_easier_to_release(
            rows in 1_u64..5000, deletions in 0_u64..5000, max_deletes in 0_u64..200, ratio in 0.0..1.0_f64,
        ) {
            let limits = Limits { max_deletes, max_delete_ratio: ratio };
            let released = |n| brake(limits, &found(n, rows)) == Brake::Released;
            prop_assert!(released(deletions) || !released(deletions + 1));
            prop_assert!(deletions <= max_deletes || !released(deletions));
        }
    }
}
