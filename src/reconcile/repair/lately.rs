//! How many rows of each table scans removed in the last 24 hours without a person.
//!
//! The brake adds them to what a run is about to remove, so that a leak of one row an hour is held as one of all
//! at once is. Counted by the hour in one small cell a table; what deliveries delete and what a person asked for
//! is not counted, and resets nothing. A count that a crash loses is that of one batch; one that cannot be read holds
//! everything for a day.

use serde::{Deserialize, Serialize};

use super::brake::UNKNOWN;
use crate::{
    model::Table,
    reconcile::{
        ends::{Ends, Now},
        run::AskedBy,
    },
    store::state::{State, StateError},
};

/// What the names of the cells begin with.
const CELL: &str = "brake/lately/";
/// The hours that count, beside the one that is not over.
const HOURS: i64 = 24;
const HOUR_MS: i64 = 60 * 60 * 1000;
/// Two scans may count at once; a third try has never been needed.
const TRIES: usize = 8;

/// See the module's words. Cheap to clone.
#[derive(Clone)]
pub struct Lately(Option<(State, Now)>);

impl Lately {
    /// The count for a run that somebody asked for: a person's is not held by it, and not counted.
    pub fn of(ends: &Ends, asked_by: AskedBy) -> Lately {
        Lately(match asked_by {
            AskedBy::Schedule => Some((ends.state.clone(), ends.now.clone())),
            AskedBy::Operator => None,
        })
    }

    /// No count at all: a person has named each row.
    pub fn by_person() -> Lately {
        Lately(None)
    }

    /// A count in a state of its own, which lies in the directory.
    #[cfg(test)]
    pub fn counting_from_nothing() -> (tempfile::TempDir, Lately) {
        let dir = tempfile::tempdir().unwrap();
        let options = crate::store::state::Options {
            keys: crate::store::crypt::Keyring::new(&[[1; 32]]),
            ..crate::store::state::Options::at(chrono::DateTime::UNIX_EPOCH, None)
        };
        let opened = State::open(&dir.path().join("derived"), &options).unwrap();
        (dir, Lately(Some((opened.state, std::sync::Arc::new(|| 0)))))
    }

    /// Rows of the table that scans removed in the last 24 hours.
    ///
    /// # Errors
    /// A state that does not answer: without the count nothing may be removed.
    pub fn removed(&self, table: Table) -> Result<u64, StateError> {
        let Some((state, now)) = &self.0 else {
            return Ok(0);
        };
        let (name, hour) = (cell_of(table), hour_of(now()));
        let cell = state.get_cell(&name)?;
        if let Some(hours) = Hours::read(cell.as_deref()) {
            return Ok(hours.sum(hour));
        }
        // For a day, and not for ever: by then whatever stood there would not count either.
        let unknown = Hours(vec![(hour, UNKNOWN)]);
        state.put_cell(&name, Some(&unknown.bytes()))?;
        Ok(UNKNOWN)
    }

    /// Counts rows that were removed just now.
    pub fn add(&self, table: Table, rows: u64) {
        let Some((state, now)) = self.0.as_ref().filter(|_| rows > 0) else {
            return;
        };
        let (name, hour) = (cell_of(table), hour_of(now()));
        let mut why = "others count all the time".to_owned();
        for _ in 0..TRIES {
            let added = state.get_cell(&name).and_then(|old| {
                let known = Hours::read(old.as_deref());
                let known = known.unwrap_or_else(|| Hours(vec![(hour, UNKNOWN)]));
                let new = known.plus(hour, rows).bytes();
                state.compare_and_set(&name, old.as_deref(), Some(&new))
            });
            match added {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    why = error.to_string();
                    break;
                }
            }
        }
        tracing::warn!("removed rows were not counted for the brake: {why}");
    }
}

fn cell_of(table: Table) -> String {
    format!("{CELL}{table}")
}

fn hour_of(ms: i64) -> i64 {
    ms.div_euclid(HOUR_MS)
}

/// Counts by the hour, oldest first; no more than two days of them, whatever the clock does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Hours(Vec<(i64, u64)>);

impl Hours {
    /// `None` if it cannot be read.
    fn read(cell: Option<&[u8]>) -> Option<Hours> {
        cell.map_or_else(
            || Some(Hours::default()),
            |bytes| serde_json::from_slice(bytes).ok(),
        )
    }

    fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Hours that a clock far ahead of this one has counted are none of the last day either.
    fn counts(hour: i64, now: i64) -> bool {
        (now - HOURS..=now + HOURS).contains(&hour)
    }

    fn sum(&self, now: i64) -> u64 {
        let counting = self.0.iter().filter(|(hour, _)| Hours::counts(*hour, now));
        counting.fold(0, |sum, (_, rows)| sum.saturating_add(*rows))
    }

    fn plus(mut self, now: i64, rows: u64) -> Hours {
        self.0.retain(|(hour, _)| Hours::counts(*hour, now));
        match self.0.iter_mut().find(|(hour, _)| *hour == now) {
            Some((_, count)) => *count = count.saturating_add(rows),
            None => self.0.push((now, rows)),
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    };

    use chrono::DateTime;

    use super::*;
    use crate::store::state::Options;

    #[test]
    fn a_day_of_hours_counts_and_takes_no_more_room_than_that() {
        let mut hours = Hours::default();
        for hour in 0..1_000 {
            hours = hours.plus(hour, 2).plus(hour, 1);
            assert!(hours.0.len() <= 25 && hours.bytes().len() < 1_000);
        }
        assert_eq!(hours.sum(999), 25 * 3);
        assert_eq!(hours.sum(999 + 24), 3);
        assert_eq!(hours.sum(999 + 25), 0);
        // A clock that was put back sees what it counted until a day is over, and then no more.
        assert_eq!(hours.sum(999 - 24), 25 * 3);
        assert_eq!(hours.sum(5), 0);
        assert_eq!(Hours::read(Some(&hours.bytes())), Some(hours));
        assert_eq!(Hours::read(None), Some(Hours::default()));
    }

    #[test]
    fn a_count_that_cannot_be_read_holds_everything_for_a_day() {
        let (_dir, mut lately) = Lately::counting_from_nothing();
        let (state, now) = lately.0.as_mut().unwrap();
        let clock = Arc::new(AtomicI64::new(0));
        let told = Arc::clone(&clock);
        *now = Arc::new(move || told.load(Ordering::Relaxed));
        let name = cell_of(Table::Users);
        state.put_cell(&name, Some(b"garbage")).unwrap();
        for _ in 0..2 {
            assert_eq!(lately.removed(Table::Users).unwrap(), UNKNOWN);
            lately.add(Table::Users, 1);
        }
        clock.store(25 * HOUR_MS, Ordering::Relaxed);
        assert_eq!(lately.removed(Table::Users).unwrap(), 0);
    }

    #[test]
    fn a_state_that_does_not_answer_lets_nothing_be_removed() {
        let (_dir, lately) = Lately::counting_from_nothing();
        lately.add(Table::Users, 1);
        let (state, _) = lately.0.as_ref().unwrap();
        state.spoil_cell(&cell_of(Table::Users));
        assert!(lately.removed(Table::Users).is_err());
        assert_eq!(lately.removed(Table::Profiles).unwrap(), 0);
    }

    #[test]
    fn what_was_counted_is_there_after_a_restart_and_a_person_neither_adds_nor_resets() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("derived");
        let options = Options::at(DateTime::UNIX_EPOCH, None);
        let clock = Arc::new(AtomicI64::new(0));
        let told = Arc::clone(&clock);
        let now: Now = Arc::new(move || told.load(Ordering::Relaxed));
        let opened = State::open(&at, &options).unwrap();
        let lately = Lately(Some((opened.state.clone(), now.clone())));
        lately.add(Table::Users, 3);
        lately.add(Table::Profiles, 1);
        Lately::by_person().add(Table::Users, 50);
        opened.state.sync().unwrap();
        let generation = opened.generation;
        drop((lately, opened));
        let options = Options::at(DateTime::UNIX_EPOCH, Some(generation));
        let state = State::open(&at, &options).unwrap().state;
        let lately = Lately(Some((state, now)));
        lately.add(Table::Users, 4);
        assert_eq!(lately.removed(Table::Users).unwrap(), 7);
        assert_eq!(lately.removed(Table::Profiles).unwrap(), 1);
        assert_eq!(lately.removed(Table::Memberships).unwrap(), 0);
        assert_eq!(Lately::by_person().removed(Table::Users).unwrap(), 0);
        clock.store(25 * HOUR_MS, Ordering::Relaxed);
        assert_eq!(lately.removed(Table::Users).unwrap(), 0);
    }
}
