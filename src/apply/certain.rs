//! Records of which this process knows that Convex's row is as the ledger says.
//!
//! The ledger says what was last learnt. It may lag behind Convex: a call whose answer was lost may have been
//! carried out, a repair may be on its way, and after a crash the ledger may lack its last words. Content that the
//! ledger believes to be there is left unsent only for records that are here, so that a change that was taken
//! back again (A, B, A) does not leave B behind. A record is here from the answer to a write of it until the next
//! write begins, which looks into the ledger once more before it is sent. Of several writes under way at once each must
//! have taught the ledger something, and each something newer than the one before: an answer that was lost may have
//! been the last one's, and answers may overtake each other.
//! Pure but for the seed of its hashes; bounded; forgetting costs one call that changes nothing.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, RandomState},
};

use crate::{model::RecordKey, store::state::Seen};

/// Records of one generation, 64 bits each; two are kept, about a megabyte and a half.
const GENERATION: usize = 50_000;

/// See the module's words.
#[derive(Debug, Default)]
pub struct Certain {
    young: HashSet<u64>,
    old: HashSet<u64>,
    /// Writes under way: as many as the calls hold that are made at once.
    under_way: HashMap<u64, Writes>,
    hashes: RandomState,
}

/// Writes of one record.
#[derive(Debug, Default)]
struct Writes {
    count: u32,
    /// What the last answer said.
    said: Option<Seen>,
    /// True once an answer was missing, or said nothing newer than the one before.
    doubtful: bool,
}

impl Writes {
    fn end(&mut self, learnt: Option<Seen>) {
        let place = |seen: Seen| (seen.deleted, seen.version);
        let newer = |said: Option<Seen>, now: Seen| {
            said.is_none_or(|said| place(said) < place(now) || said == now)
        };
        self.doubtful |= !learnt.is_some_and(|now| newer(self.said, now));
        self.said = learnt;
        self.count -= 1;
    }
}

impl Certain {
    /// A write of this record is about to be sent: what the row will be is not known before the answer.
    pub fn begin(&mut self, record: &RecordKey) {
        let hash = self.hashes.hash_one(record);
        self.young.remove(&hash);
        self.old.remove(&hash);
        self.under_way.entry(hash).or_default().count += 1;
    }

    /// That write is over. `learnt`: an answer came, and the ledger says what it said.
    pub fn end(&mut self, record: &RecordKey, learnt: Option<Seen>) {
        let hash = self.hashes.hash_one(record);
        let Some(writes) = self.under_way.get_mut(&hash) else {
            return;
        };
        writes.end(learnt);
        if writes.count > 0 {
            return;
        }
        let doubtful = writes.doubtful;
        self.under_way.remove(&hash);
        if doubtful {
            return;
        }
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(hash);
    }

    /// True if the row is as the ledger says.
    pub fn contains(&self, record: &RecordKey) -> bool {
        let hash = self.hashes.hash_one(record);
        self.young.contains(&hash) || self.old.contains(&hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ContentHash, Key, Standing, Table, Version};

    fn user(number: usize) -> RecordKey {
        let key = Key::parse(&format!("user_{number}")).unwrap();
        RecordKey::new(Table::Users, key)
    }

    fn said(version: i64, content: u8) -> Option<Seen> {
        let standing = Standing::alive(Version(version));
        Some(Seen {
            version: standing.version,
            deleted: standing.deleted,
            hash: ContentHash([content; 16]),
        })
    }

    fn written(certain: &mut Certain, number: usize) {
        certain.begin(&user(number));
        certain.end(&user(number), said(1, 1));
    }

    #[test]
    fn a_record_is_certain_from_an_answer_to_the_next_write() {
        let mut certain = Certain::default();
        assert!(!certain.contains(&user(1)));
        written(&mut certain, 1);
        assert!(certain.contains(&user(1)) && !certain.contains(&user(2)));
        certain.begin(&user(1));
        assert!(!certain.contains(&user(1)), "a write is under way");
        certain.end(&user(1), None);
        assert!(!certain.contains(&user(1)), "its answer was lost");
    }

    #[test]
    fn an_answer_says_nothing_while_another_write_is_under_way() {
        let mut certain = Certain::default();
        certain.begin(&user(1));
        written(&mut certain, 1);
        assert!(!certain.contains(&user(1)));
        certain.end(&user(1), said(2, 2));
        assert!(certain.contains(&user(1)));
    }

    #[test]
    fn of_two_contents_of_one_version_nobody_knows_which_came_last() {
        let mut certain = Certain::default();
        certain.begin(&user(1));
        written(&mut certain, 1);
        certain.end(&user(1), said(1, 2));
        assert!(!certain.contains(&user(1)));
        written(&mut certain, 1);
        assert!(certain.contains(&user(1)));
    }

    #[test]
    fn of_several_writes_none_may_be_without_an_answer_or_answered_too_late() {
        let pairs = [
            (None, said(1, 1)),
            (said(2, 2), None),
            (said(2, 2), said(1, 1)),
        ];
        for (first, second) in pairs {
            let mut certain = Certain::default();
            certain.begin(&user(1));
            certain.begin(&user(1));
            certain.end(&user(1), first);
            certain.end(&user(1), second);
            assert!(!certain.contains(&user(1)), "{first:?} {second:?}");
            written(&mut certain, 1);
            assert!(certain.contains(&user(1)), "{first:?} {second:?}");
        }
    }

    #[test]
    fn it_is_bounded_and_the_oldest_go() {
        let mut certain = Certain::default();
        (0..3 * GENERATION).for_each(|number| written(&mut certain, number));
        assert!(certain.young.len() + certain.old.len() <= 2 * GENERATION);
        assert!(certain.under_way.is_empty());
        assert!(certain.contains(&user(3 * GENERATION - 1)));
        assert!(!certain.contains(&user(0)));
    }
}
