//! Records of which this process knows that Convex's row is as the ledger says.
//!
//! The ledger says what was last learnt. It may lag behind Convex: a call whose answer was lost may have been
//! carried out, a repair may be on its way, and after a crash the ledger may lack its last words. Content that the
//! ledger believes to be there is left unsent only for records that are here, so that a change that was taken
//! back again (A, B, A) does not leave B behind. A record is here from the answer to a write of it until the next
//! write is sent. Pure but for the seed of its hashes; bounded; forgetting costs one call that changes nothing.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
};

use crate::model::RecordKey;

/// Records of one generation, 64 bits each; two are kept, about a megabyte and a half.
const GENERATION: usize = 50_000;

/// See the module's words.
#[derive(Debug, Default)]
pub struct Certain {
    young: HashSet<u64>,
    old: HashSet<u64>,
    hashes: RandomState,
}

impl Certain {
    /// Convex has answered to a write of this record, or nothing was written since it did.
    pub fn add(&mut self, record: &RecordKey) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(self.hashes.hash_one(record));
    }

    /// A write of this record is about to be sent: what the row will be is not known before the answer.
    pub fn forget(&mut self, record: &RecordKey) {
        let hash = self.hashes.hash_one(record);
        self.young.remove(&hash);
        self.old.remove(&hash);
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
    use crate::model::{Key, Table};

    fn user(number: usize) -> RecordKey {
        let key = Key::parse(&format!("user_{number}")).unwrap();
        RecordKey::new(Table::Users, key)
    }

    #[test]
    fn a_record_is_certain_from_an_answer_to_the_next_write() {
        let mut certain = Certain::default();
        assert!(!certain.contains(&user(1)));
        certain.add(&user(1));
        assert!(certain.contains(&user(1)) && !certain.contains(&user(2)));
        certain.forget(&user(1));
        assert!(!certain.contains(&user(1)));
    }

    #[test]
    fn it_is_bounded_and_the_oldest_go() {
        let mut certain = Certain::default();
        (0..3 * GENERATION).for_each(|number| certain.add(&user(number)));
        assert!(certain.young.len() + certain.old.len() <= 2 * GENERATION);
        assert!(certain.contains(&user(3 * GENERATION - 1)));
        assert!(!certain.contains(&user(0)));
        certain.forget(&user(2 * GENERATION - 1));
        assert!(
            !certain.contains(&user(2 * GENERATION - 1)),
            "also an old one"
        );
    }
}
