//! Records that others mention and that nobody has told of yet: a membership's user and organization.
//!
//! Pure: time is an argument. Events arrive in any order, so the parents are given a while to arrive by
//! themselves before anybody looks for them. Bounded, and not stored: what is forgotten here is found by
//! the next scan.

use std::collections::{HashSet, VecDeque};

use super::order::Millis;
use crate::model::RecordKey;

/// The most that are remembered; more than this only come when a scan is about to find them anyway.
const MOST: usize = 10_000;
/// How long a record is given to arrive by itself, in milliseconds.
pub const PATIENCE_MS: Millis = 5_000;

/// See the module's words.
#[derive(Debug, Default)]
pub struct Mentioned {
    /// In the order of their times, since all wait equally long.
    due: VecDeque<(Millis, RecordKey)>,
    waiting: HashSet<RecordKey>,
}

impl Mentioned {
    /// Remembers a record. One that is remembered already keeps its time.
    pub fn add(&mut self, record: RecordKey, now: Millis) {
        if self.waiting.len() < MOST && self.waiting.insert(record.clone()) {
            self.due
                .push_back((now.saturating_add(PATIENCE_MS), record));
        }
    }

    /// Takes out up to `max` records whose time has come.
    pub fn take_due(&mut self, now: Millis, max: usize) -> Vec<RecordKey> {
        let mut taken = Vec::new();
        while taken.len() < max && self.next_due().is_some_and(|at| at <= now) {
            let Some((_, record)) = self.due.pop_front() else {
                break;
            };
            self.waiting.remove(&record);
            taken.push(record);
        }
        taken
    }

    /// When the next record's time comes.
    pub fn next_due(&self) -> Option<Millis> {
        self.due.front().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Key, Table};

    fn user(number: usize) -> RecordKey {
        let key = Key::parse(&format!("user_{number}")).unwrap();
        RecordKey::new(Table::Users, key)
    }

    #[test]
    fn each_waits_once_for_its_time_and_can_be_mentioned_again() {
        let mut mentioned = Mentioned::default();
        mentioned.add(user(1), 0);
        mentioned.add(user(2), 100);
        mentioned.add(user(1), 200);
        assert_eq!(mentioned.next_due(), Some(PATIENCE_MS));
        assert!(mentioned.take_due(PATIENCE_MS - 1, 10).is_empty());
        assert_eq!(mentioned.take_due(PATIENCE_MS, 10), [user(1)]);
        mentioned.add(user(1), PATIENCE_MS);
        assert_eq!(mentioned.take_due(10 * PATIENCE_MS, 1), [user(2)]);
        assert_eq!(mentioned.take_due(10 * PATIENCE_MS, 1), [user(1)]);
        assert_eq!(mentioned.next_due(), None);
    }

    #[test]
    fn a_flood_is_not_remembered_without_bound() {
        let mut mentioned = Mentioned::default();
        (0..2 * MOST).for_each(|number| mentioned.add(user(number), 0));
        assert_eq!(mentioned.take_due(PATIENCE_MS, usize::MAX).len(), MOST);
    }
}
