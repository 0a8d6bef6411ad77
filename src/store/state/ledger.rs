//! The ledger: what was last seen of a record. Bounded, however many records there are.
//!
//! Two generations: new words go to the young one; when that is half of the bound, the old one is
//! dropped and the young one becomes the old. The floor says up to which version something may have
//! been forgotten: a record that is not here and an event below the floor prove nothing, the record
//! has to be fetched. Nothing rests on the ledger but work saved: Convex compares versions itself.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::{MAX_KEY_BYTES, State, StateError, kept_cell, plain_cell};
use crate::model::{ContentHash, Key, RecordKey, Version};
use crate::store::crypt::{Keyring, Name};

/// The cell that says which trees the generations are, and what was forgotten.
const HEAD: &str = "ledger";
const TREE_PREFIX: &str = "ledger.";
const SEEN_BYTES: usize = 8 + 1 + 16;
const HEAD_BYTES: usize = 5 * 8;

const _: () = assert!(Key::MAX_BYTES < MAX_KEY_BYTES);

/// What was last seen of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its version.
    pub version: Version,
    /// True if it was gone.
    pub deleted: bool,
    /// Its synced content.
    pub hash: ContentHash,
}

/// See the module's words.
pub(super) struct Ledger {
    generations: RwLock<Generations>,
    half: u64,
}

struct Generations {
    young: sled::Tree,
    old: sled::Tree,
    head: Head,
}

/// Numbers about the generations, kept in a cell. `count` may be a little off after a crash: it only
/// says when to turn over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Head {
    /// The number of the young tree; the old one has the number before it.
    number: u64,
    count: u64,
    young_max: i64,
    old_max: i64,
    floor: i64,
}

impl Ledger {
    /// Finds the two generations; drops trees that an interrupted turn-over left.
    pub(super) fn open(
        db: &sled::Db,
        cells: &sled::Tree,
        limit: usize,
        keys: &Keyring,
    ) -> Result<Ledger, StateError> {
        let head = match cells.get(HEAD)? {
            Some(kept) => Head::decode(&plain_cell(keys, HEAD, &kept)?)
                .ok_or_else(|| StateError::Damaged("the ledger's head".into()))?,
            None => Head {
                number: 1,
                ..Head::default()
            },
        };
        let keep = [tree_name(head.number - 1), tree_name(head.number)];
        for name in db.tree_names() {
            let ours = name.starts_with(TREE_PREFIX.as_bytes());
            if ours && !keep.iter().any(|kept| kept.as_bytes() == &*name) {
                db.drop_tree(name)?;
            }
        }
        Ok(Ledger {
            generations: RwLock::new(Generations {
                old: db.open_tree(&keep[0])?,
                young: db.open_tree(&keep[1])?,
                head,
            }),
            half: (limit as u64 / 2).max(1),
        })
    }

    fn read(&self) -> RwLockReadGuard<'_, Generations> {
        self.generations
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Generations> {
        self.generations
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What was last seen of a record, if it is remembered.
    pub fn ledger_get(&self, record: &RecordKey) -> Result<Option<Seen>, StateError> {
        let generations = self.inner.ledger.read();
        let key = stored_key(record);
        self.guard(|| {
            for tree in [&generations.young, &generations.old] {
                let Some(kept) = tree.get(&key)? else {
                    continue;
                };
                let plain = self.inner.keys.decrypt(name(&tree.name(), &key), &kept);
                // A value that cannot be read is as good as none: the record is fetched.
                return Ok(plain.ok().and_then(|bytes| Seen::decode(&bytes)));
            }
            Ok(None)
        })
    }

    /// Remembers what was seen. A turn-over may fall into the call: up to half the bound is dropped.
    /// Versions beyond `horizon` do not raise the floor: one record from a clock that is years ahead would
    /// put everything else in doubt until then.
    pub fn ledger_put_many(
        &self,
        seen: &[(RecordKey, Seen)],
        horizon: Version,
    ) -> Result<(), StateError> {
        let mut generations = self.inner.ledger.write();
        self.guard(|| {
            for (record, seen) in seen {
                let (tree, key) = (generations.young.name(), stored_key(record));
                let seen_bytes = seen.encode();
                let kept = self.inner.keys.encrypt(name(&tree, &key), &seen_bytes);
                let before = generations.young.insert(&key, &*kept)?;
                if before.is_none() {
                    generations.head.count += 1;
                }
                if seen.version <= horizon {
                    let max = &mut generations.head.young_max;
                    *max = (*max).max(seen.version.ms());
                }
                if generations.head.count >= self.inner.ledger.half {
                    self.turn_over(&mut generations)?;
                }
            }
            self.put_head(generations.head)
        })
    }

    /// Below this, what is not in the ledger may have been forgotten.
    pub fn ledger_floor(&self) -> Version {
        Version(self.inner.ledger.read().head.floor)
    }

    /// Declares everything up to this forgotten, as after a rebuild: until records are seen again,
    /// events about them are not believed. Never lowers the floor.
    pub fn raise_floor(&self, floor: Version) -> Result<(), StateError> {
        let mut generations = self.inner.ledger.write();
        generations.head.floor = generations.head.floor.max(floor.ms());
        let head = generations.head;
        self.guard(|| self.put_head(head))
    }

    fn turn_over(&self, generations: &mut Generations) -> Result<(), StateError> {
        let head = &mut generations.head;
        head.floor = head.floor.max(head.old_max);
        head.old_max = head.young_max;
        head.young_max = i64::MIN;
        head.count = 0;
        head.number += 1;
        let young = self.inner.db.open_tree(tree_name(head.number))?;
        let dropped = generations.old.name();
        // From here on the dropped tree is not looked at, also after a crash.
        self.put_head(generations.head)?;
        generations.old = std::mem::replace(&mut generations.young, young);
        self.inner.db.drop_tree(dropped)?;
        Ok(())
    }

    fn put_head(&self, head: Head) -> Result<(), StateError> {
        let kept = kept_cell(&self.inner.keys, HEAD, &head.encode());
        self.inner.cells.insert(HEAD, kept)?;
        Ok(())
    }
}

impl Seen {
    fn encode(&self) -> [u8; SEEN_BYTES] {
        let mut out = [0; SEEN_BYTES];
        out[..8].copy_from_slice(&self.version.ms().to_le_bytes());
        out[8] = self.deleted.into();
        out[9..].copy_from_slice(&self.hash.0);
        out
    }

    fn decode(bytes: &[u8]) -> Option<Seen> {
        let bytes: &[u8; SEEN_BYTES] = bytes.try_into().ok()?;
        Some(Seen {
            version: Version(i64::from_le_bytes(bytes[..8].try_into().ok()?)),
            deleted: bytes[8] != 0,
            hash: ContentHash(bytes[9..].try_into().ok()?),
        })
    }
}

impl Head {
    fn encode(&self) -> [u8; HEAD_BYTES] {
        let mut out = [0; HEAD_BYTES];
        out[..8].copy_from_slice(&self.number.to_le_bytes());
        out[8..16].copy_from_slice(&self.count.to_le_bytes());
        out[16..24].copy_from_slice(&self.young_max.to_le_bytes());
        out[24..32].copy_from_slice(&self.old_max.to_le_bytes());
        out[32..].copy_from_slice(&self.floor.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Option<Head> {
        let bytes: &[u8; HEAD_BYTES] = bytes.try_into().ok()?;
        let number = |at: usize| Some(u64::from_le_bytes(bytes[at..at + 8].try_into().ok()?));
        let version = |at: usize| Some(i64::from_le_bytes(bytes[at..at + 8].try_into().ok()?));
        Some(Head {
            number: number(0).filter(|number| *number > 0)?,
            count: number(8)?,
            young_max: version(16)?,
            old_max: version(24)?,
            floor: version(32)?,
        })
    }
}

fn stored_key(record: &RecordKey) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + record.key.as_str().len());
    key.push(record.table.code());
    key.extend_from_slice(record.key.as_str().as_bytes());
    key
}

fn name<'a>(tree: &'a [u8], key: &'a [u8]) -> Name<'a> {
    Name::Value { tree, key }
}

fn tree_name(number: u64) -> String {
    format!("{TREE_PREFIX}{number}")
}
