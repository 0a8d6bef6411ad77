//! The loop breaker: a field that is written to Clerk again and again is left alone for a while.
//!
//! A trigger of the app that edits whenever the sync has written would go round for ever. Pure: the time is
//! an argument. Counts what went through, per field of a record, and remembers no more than
//! [`LoopBreaker::MAX_FIELDS`] of them; the ones written longest ago give way.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use crate::model::Key;

/// See the module's words.
#[derive(Debug)]
pub struct LoopBreaker {
    limit: usize,
    fields: HashMap<(Key, &'static str), Writes>,
}

#[derive(Debug, Default)]
struct Writes {
    /// The last ones, oldest first; at most the limit.
    times: VecDeque<Instant>,
    /// One more was wanted.
    frozen: bool,
}

impl LoopBreaker {
    /// How far back writes count. A frozen field is free again when enough of them are older.
    pub const WINDOW: Duration = Duration::from_secs(600);
    /// Fields remembered.
    pub const MAX_FIELDS: usize = 10_000;
    /// Of a full memory, the share that gives way at once, so that it is not sorted for each write.
    const GIVE_WAY: usize = Self::MAX_FIELDS / 10;

    /// A breaker that freezes a field after so many writes within the window.
    pub fn new(limit: usize) -> LoopBreaker {
        LoopBreaker {
            limit,
            fields: HashMap::new(),
        }
    }

    /// A field was written.
    pub fn wrote(&mut self, key: &Key, field: &'static str, now: Instant) {
        let name = (key.clone(), field);
        if self.fields.len() >= Self::MAX_FIELDS && !self.fields.contains_key(&name) {
            self.make_room(now);
        }
        let writes = self.fields.entry(name).or_default();
        if writes.times.len() >= self.limit {
            writes.times.pop_front();
        }
        writes.times.push_back(now);
        writes.frozen = false;
    }

    /// Must this field, which somebody wants to write now, be left alone?
    pub fn stops(&mut self, key: &Key, field: &'static str, now: Instant) -> bool {
        let limit = self.limit;
        let Some(writes) = self.fields.get_mut(&(key.clone(), field)) else {
            return false;
        };
        writes.frozen = writes.is_full(limit, now);
        writes.frozen
    }

    /// Was this field written within the window?
    pub fn wrote_lately(&self, key: &Key, field: &'static str, now: Instant) -> bool {
        let writes = self.fields.get(&(key.clone(), field));
        let last = writes.and_then(|writes| writes.times.back());
        last.is_some_and(|at| *at + Self::WINDOW > now)
    }

    /// How many fields are left alone.
    pub fn frozen(&self, now: Instant) -> usize {
        let frozen = |writes: &&Writes| writes.frozen && writes.is_full(self.limit, now);
        self.fields.values().filter(frozen).count()
    }

    fn make_room(&mut self, now: Instant) {
        let last = |writes: &Writes| writes.times.back().copied();
        self.fields
            .retain(|_, writes| last(writes).is_some_and(|at| at + Self::WINDOW > now));
        if self.fields.len() < Self::MAX_FIELDS {
            return;
        }
        let mut lasts: Vec<Instant> = self.fields.values().filter_map(last).collect();
        lasts.sort_unstable();
        let Some(bound) = lasts.get(Self::GIVE_WAY).copied() else {
            return;
        };
        let mut over = Self::GIVE_WAY;
        self.fields.retain(|_, writes| {
            let old = over > 0 && last(writes).is_none_or(|at| at <= bound);
            over -= usize::from(old);
            !old
        });
    }
}

impl Writes {
    fn is_full(&self, limit: usize, now: Instant) -> bool {
        let first = self.times.front().filter(|_| self.times.len() >= limit);
        first.is_some_and(|first| *first + LoopBreaker::WINDOW > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: usize) -> Key {
        Key::parse(&format!("user_{n}")).unwrap()
    }

    #[test]
    fn the_sixth_write_in_ten_minutes_is_one_too_many_for_this_field_only() {
        let (mut loops, start) = (LoopBreaker::new(5), Instant::now());
        let at = |minutes: u64| start + Duration::from_secs(60 * minutes);
        for minute in 0..5 {
            assert!(!loops.stops(&key(1), "firstName", at(minute)), "{minute}");
            loops.wrote(&key(1), "firstName", at(minute));
        }
        assert!(loops.stops(&key(1), "firstName", at(5)));
        assert!(!loops.stops(&key(1), "lastName", at(5)));
        assert!(!loops.stops(&key(2), "firstName", at(5)));
        assert_eq!((loops.frozen(at(5)), loops.frozen(at(10))), (1, 0));
        assert!(loops.wrote_lately(&key(1), "firstName", at(13)));
        assert!(!loops.wrote_lately(&key(1), "firstName", at(14)));
        assert!(!loops.wrote_lately(&key(2), "firstName", at(5)));
        // The first write is ten minutes old by then.
        assert!(!loops.stops(&key(1), "firstName", at(10)));
        loops.wrote(&key(1), "firstName", at(10));
        assert!(loops.stops(&key(1), "firstName", at(10)));
    }

    #[test]
    fn a_slow_hand_is_no_loop() {
        let (mut loops, start) = (LoopBreaker::new(5), Instant::now());
        for n in 0..100 {
            let now = start + Duration::from_secs(121 * n);
            assert!(!loops.stops(&key(1), "firstName", now));
            loops.wrote(&key(1), "firstName", now);
        }
    }

    #[test]
    fn its_memory_is_bounded_and_what_was_written_last_stays() {
        let (mut loops, start) = (LoopBreaker::new(1), Instant::now());
        for n in 0..3 * LoopBreaker::MAX_FIELDS {
            let now = start + Duration::from_millis(n as u64);
            loops.wrote(&key(n), "firstName", now);
            assert!(loops.stops(&key(n), "firstName", now));
            assert!(loops.fields.len() <= LoopBreaker::MAX_FIELDS);
        }
        assert!(loops.fields.len() > LoopBreaker::MAX_FIELDS / 2);
        let later = start + LoopBreaker::WINDOW * 2;
        assert_eq!(loops.frozen(later), 0);
    }
}
