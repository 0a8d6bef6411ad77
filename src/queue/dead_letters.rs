//! Dead letters: records that need attention.
//!
//! An index over what the journal has parked; bodies stay there. Pure. Bounded: when there is no room,
//! the oldest makes way, which costs nothing but its note, since the next scan looks at every record.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::{
    model::RecordKey,
    store::journal::{Meta, Parked, Position},
};

/// The verdict "a person gave it up, or it made way" in the journal. Never reused.
pub const DROPPED: u8 = 24;

/// One dead letter.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetter {
    /// The stored entry.
    pub meta: Meta,
    /// Why and since when.
    pub parked: Parked,
}

/// The name by which people speak of a dead letter: `dl_` and the entry's number.
pub fn name_of(seq: u64) -> String {
    format!("dl_{seq}")
}

/// The inverse of [`name_of`].
pub fn seq_of(name: &str) -> Option<u64> {
    name.strip_prefix("dl_")?.parse().ok()
}

/// All dead letters, oldest first.
#[derive(Debug)]
pub struct DeadLetters {
    letters: BTreeMap<u64, DeadLetter>,
    by_record: HashMap<RecordKey, BTreeSet<u64>>,
    limit: usize,
}

impl DeadLetters {
    /// Room for `limit` of them.
    pub fn new(limit: usize) -> Self {
        DeadLetters {
            letters: BTreeMap::new(),
            by_record: HashMap::new(),
            limit: limit.max(1),
        }
    }

    /// Adds one. Hands back those that had to make way.
    pub fn add(&mut self, letter: DeadLetter) -> Vec<DeadLetter> {
        let seq = letter.meta.seq;
        if let Some(record) = &letter.meta.record {
            self.by_record
                .entry(record.clone())
                .or_default()
                .insert(seq);
        }
        self.letters.insert(seq, letter);
        let mut out = Vec::new();
        while self.letters.len() > self.limit {
            let Some(oldest) = self.letters.keys().next().copied() else {
                break;
            };
            out.extend(self.remove(oldest));
        }
        out
    }

    /// Takes one out.
    pub fn remove(&mut self, seq: u64) -> Option<DeadLetter> {
        let letter = self.letters.remove(&seq)?;
        if let Some(record) = &letter.meta.record
            && let Some(seqs) = self.by_record.get_mut(record)
        {
            seqs.remove(&seq);
            if seqs.is_empty() {
                self.by_record.remove(record);
            }
        }
        Some(letter)
    }

    /// Looks at one.
    pub fn get(&self, seq: u64) -> Option<&DeadLetter> {
        self.letters.get(&seq)
    }

    /// True if there is one about this record.
    pub fn holds(&self, record: &RecordKey) -> bool {
        self.by_record.contains_key(record)
    }

    /// The journal moved an entry.
    pub fn moved(&mut self, seq: u64, position: Position) {
        if let Some(letter) = self.letters.get_mut(&seq) {
            letter.meta.position = position;
        }
    }

    /// Up to `limit` after `after`, oldest first.
    pub fn page(&self, after: Option<u64>, limit: usize) -> Vec<DeadLetter> {
        let from = after.map_or(0, |seq| seq.saturating_add(1));
        self.letters
            .range(from..)
            .take(limit)
            .map(|(_, letter)| letter.clone())
            .collect()
    }

    /// The numbers of all.
    pub fn seqs(&self) -> Vec<u64> {
        self.letters.keys().copied().collect()
    }

    /// Takes out those about a record that what was written since covers: it says as much or more. The
    /// others say something that is still to be written.
    pub fn settled(
        &mut self,
        record: &RecordKey,
        covered: impl Fn(&Meta) -> bool,
    ) -> Vec<DeadLetter> {
        let about = self.by_record.get(record).into_iter().flatten();
        let seqs: Vec<u64> = about
            .filter(|seq| self.get(**seq).is_some_and(|letter| covered(&letter.meta)))
            .copied()
            .collect();
        seqs.into_iter()
            .filter_map(|seq| self.remove(seq))
            .collect()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.letters.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{Key, Table, Version},
        store::journal::CauseKind,
    };

    fn letter(seq: u64) -> DeadLetter {
        DeadLetter {
            meta: Meta {
                seq,
                position: Position {
                    segment: 1,
                    offset: 0,
                    len: 0,
                },
                received_ms: 0,
                record: None,
                version: Version(0),
                deleted: false,
                fingerprint: 0,
                cause: CauseKind::Delivery,
            },
            parked: Parked {
                seq,
                attempts: 1,
                code: "x".into(),
                reason: "y".into(),
                at_ms: 0,
            },
        }
    }

    #[test]
    fn the_oldest_makes_way_and_pages_follow_one_another() {
        let mut letters = DeadLetters::new(3);
        assert!((1..=3).all(|seq| letters.add(letter(seq)).is_empty()));
        assert_eq!(letters.add(letter(4))[0].meta.seq, 1);
        let seqs = |page: Vec<DeadLetter>| page.iter().map(|l| l.meta.seq).collect::<Vec<_>>();
        assert_eq!(seqs(letters.page(None, 2)), [2, 3]);
        assert_eq!(seqs(letters.page(Some(3), 2)), [4]);
    }

    #[test]
    fn a_record_that_was_written_since_needs_no_attention() {
        let record = RecordKey::new(Table::Users, Key::parse("user_1").unwrap());
        let mut letters = DeadLetters::new(10);
        for seq in 1..=4 {
            let mut one = letter(seq);
            one.meta.record = (seq < 4).then(|| record.clone());
            one.meta.version = Version(seq as i64);
            letters.add(one);
        }
        letters.remove(1);
        assert!(letters.holds(&record));
        let covered = |meta: &Meta| meta.version <= Version(2);
        let settled = letters.settled(&record, covered);
        assert_eq!(settled.len(), 1);
        assert_eq!(settled[0].meta.seq, 2);
        assert_eq!(letters.seqs(), [3, 4], "newer than what was written");
        assert!(letters.settled(&record, covered).is_empty());
        assert_eq!(letters.settled(&record, |_| true).len(), 1);
        assert_eq!(letters.seqs(), [4]);
        assert!(!letters.holds(&record));
    }

    #[test]
    fn names_read_back() {
        assert_eq!(seq_of(&name_of(42)), Some(42));
        assert_eq!(seq_of("42"), None);
    }
}
