//! A sorted set that also knows ranks: how many keys lie below one, and which key is the nth.
//!
//! Counting a window of `created_at` and jumping to an offset must not cost a walk over a million
//! users. Keys lie in sorted chunks of at most `SPLIT_AT`; a rank is a binary search for the
//! chunk and the sum of the lengths before it, about a thousand additions for a million keys.
//! It knows nothing of what the keys stand for.

/// Keys in a chunk before it is split in two. Near the square root of a million, so that moving
/// keys inside a chunk and adding up the chunks cost about the same.
const SPLIT_AT: usize = 2048;

/// A sorted set with ranks.
#[derive(Debug, Clone)]
pub struct Ranked<K> {
    /// Never holds an empty chunk.
    chunks: Vec<Vec<K>>,
    len: usize,
}

impl<K> Default for Ranked<K> {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            len: 0,
        }
    }
}

impl<K: Ord + Copy> Ranked<K> {
    /// Number of keys.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Adds many keys at once, which is far cheaper than one by one.
    pub fn extend(&mut self, keys: impl Iterator<Item = K>) {
        let mut all: Vec<K> = self.chunks.drain(..).flatten().chain(keys).collect();
        all.sort_unstable();
        all.dedup();
        self.len = all.len();
        self.chunks = all.chunks(SPLIT_AT / 2).map(<[K]>::to_vec).collect();
    }

    /// Adds a key; false when it was there.
    pub fn insert(&mut self, key: K) -> bool {
        if self.chunks.is_empty() {
            self.chunks.push(vec![key]);
            self.len = 1;
            return true;
        }
        let at = self.chunk_of(&key).min(self.chunks.len() - 1);
        let chunk = &mut self.chunks[at];
        let Err(place) = chunk.binary_search(&key) else {
            return false;
        };
        chunk.insert(place, key);
        self.len += 1;
        if chunk.len() > SPLIT_AT {
            let upper = chunk.split_off(SPLIT_AT / 2);
            self.chunks.insert(at + 1, upper);
        }
        true
    }

    /// Takes a key out; false when it was not there.
    pub fn remove(&mut self, key: &K) -> bool {
        let at = self.chunk_of(key);
        let Some(chunk) = self.chunks.get_mut(at) else {
            return false;
        };
        let Ok(place) = chunk.binary_search(key) else {
            return false;
        };
        chunk.remove(place);
        self.len -= 1;
        if chunk.is_empty() {
            self.chunks.remove(at);
        }
        true
    }

    /// Number of keys below `key`.
    pub fn rank(&self, key: &K) -> usize {
        let at = self.chunk_of(key);
        let before: usize = self.chunks[..at].iter().map(Vec::len).sum();
        before
            + self
                .chunks
                .get(at)
                .map_or(0, |chunk| chunk.partition_point(|k| k < key))
    }

    /// Keys of ranks `from..to`, smallest first.
    pub fn ascending(&self, from: usize, to: usize) -> impl Iterator<Item = K> + '_ {
        let (at, before) = self.chunk_at(from);
        let count = to.saturating_sub(from);
        self.chunks[at..]
            .iter()
            .flatten()
            .copied()
            .skip(from - before)
            .take(count)
    }

    /// Keys of ranks `from..to`, largest first.
    pub fn descending(&self, from: usize, to: usize) -> impl Iterator<Item = K> + '_ {
        let to = to.min(self.len);
        let count = to.saturating_sub(from);
        let (at, before) = self.chunk_at(to);
        let whole = self.chunks.len().min(at + 1);
        let end: usize = before + self.chunks[at..whole].iter().map(Vec::len).sum::<usize>();
        let backwards = self.chunks[..whole]
            .iter()
            .rev()
            .flat_map(|chunk| chunk.iter().rev());
        backwards.copied().skip(end - to).take(count)
    }

    /// Index of the first chunk whose last key is not below `key`.
    fn chunk_of(&self, key: &K) -> usize {
        self.chunks
            .partition_point(|chunk| chunk.last().is_some_and(|last| last < key))
    }

    /// The chunk that holds `rank`, and the number of keys before that chunk.
    fn chunk_at(&self, rank: usize) -> (usize, usize) {
        let mut before = 0;
        for (at, chunk) in self.chunks.iter().enumerate() {
            if rank < before + chunk.len() {
                return (at, before);
            }
            before += chunk.len();
        }
        (self.chunks.len(), before.min(rank))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn it_answers_as_a_sorted_vector_does(
            ops in proptest::collection::vec((any::<bool>(), 0_u32..300), 0..600),
            probe in 0_u32..310, a in 0_usize..350, b in 0_usize..350,
        ) {
            let mut ranked = Ranked::default();
            let mut model = BTreeSet::new();
            for (add, key) in ops {
                if add {
                    prop_assert_eq!(ranked.insert(key), model.insert(key));
                } else {
                    prop_assert_eq!(ranked.remove(&key), model.remove(&key));
                }
            }
            let sorted: Vec<u32> = model.iter().copied().collect();
            prop_assert_eq!(ranked.len(), sorted.len());
            prop_assert_eq!(ranked.rank(&probe), model.range(..probe).count());
            let (from, to) = (a.min(b), a.max(b));
            let cut = &sorted[from.min(sorted.len())..to.min(sorted.len())];
            prop_assert_eq!(ranked.ascending(from, to).collect::<Vec<_>>(), cut);
            let back: Vec<u32> = cut.iter().rev().copied().collect();
            prop_assert_eq!(ranked.descending(from, to).collect::<Vec<_>>(), back);
        }
    }

    #[test]
    fn ranks_hold_over_many_chunks() {
        let mut ranked = Ranked::default();
        ranked.extend((0..50_000_u32).map(|n| n * 2));
        for odd in (1..20_001_u32).step_by(2) {
            ranked.insert(odd);
        }
        assert_eq!(ranked.len(), 60_000);
        assert_eq!(ranked.rank(&20_000), 20_000);
        assert_eq!(ranked.rank(&99_998), 59_999);
        assert_eq!(ranked.descending(0, 60_000).next(), Some(99_998));
        assert_eq!(ranked.descending(59_990, 60_000).count(), 10);
        assert_eq!(
            ranked.ascending(30_000, 30_002).collect::<Vec<_>>(),
            [40_000, 40_002]
        );
    }
}
