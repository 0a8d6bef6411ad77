//! The ledger: what was last seen of a record. Bounded, however many records there are.
//!
//! A log of what was seen, written as it comes, and a map over it in memory; when the log is full, its oldest
//! end is dropped. The floor says up to which version something may have been forgotten: a record that is not
//! here and an event below the floor prove nothing, the record has to be fetched. Records are named by a hash of
//! their id, so no id is kept. Nothing rests on the ledger but work saved: Convex compares versions itself.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::{MAX_VALUE_BYTES, State, StateError, kept_cell, plain_cell, plain_value};
use crate::model::{ContentHash, RecordKey, Version};
use crate::store::crypt::{self, Keyring};

/// The cell that holds the floor.
const FLOOR: &str = "ledger.floor";
/// The tree of the log: the place of a run's first record, and the run.
const LOG: &str = "ledger.log";
/// What the trees and the cell of an older form are called, in which each record had a key of its own.
const OLD_TREES: &str = "ledger.";
const OLD_HEAD: &str = "ledger";

const NAME_BYTES: usize = 16;
const RECORD_BYTES: usize = NAME_BYTES + 8 + 1 + 16;
/// Records of one run: few enough that sled's pages stay small.
const RUN: usize = 32;
/// Records that it holds at most when it takes what is written by the thousand.
const SHARE: usize = 10_000;

const _: () = assert!(RUN * RECORD_BYTES <= MAX_VALUE_BYTES);

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

/// A hash of a record's table and id.
type Name = [u8; NAME_BYTES];

/// See the module's words.
pub(super) struct Ledger {
    book: RwLock<Book>,
    log: sled::Tree,
    /// Records in the log, the same one repeatedly if it was seen repeatedly.
    limit: u64,
}

struct Book {
    known: HashMap<Name, Known>,
    /// The place of the oldest record in the log.
    first: u64,
    /// The place of the next one.
    next: u64,
    floor: i64,
}

struct Known {
    /// Where in the log it was put last.
    place: u64,
    seen: Seen,
}

impl Ledger {
    /// Reads the log. What an older form held is declared forgotten.
    pub(super) fn open(
        db: &sled::Db,
        cells: &sled::Tree,
        limit: usize,
        keys: &Keyring,
    ) -> Result<Ledger, StateError> {
        let mut floor = match cells.get(FLOOR)? {
            Some(kept) => read_floor(&plain_cell(keys, FLOOR, &kept)?)
                .ok_or_else(|| StateError::Damaged("the ledger's floor".into()))?,
            None => 0,
        };
        if let Some(head) = cells.get(OLD_HEAD)? {
            floor = floor.max(newest_of_old(&plain_cell(keys, OLD_HEAD, &head)?));
            cells.insert(FLOOR, kept_cell(keys, FLOOR, &floor.to_le_bytes()))?;
            cells.remove(OLD_HEAD)?;
        }
        for name in db.tree_names() {
            if name.starts_with(OLD_TREES.as_bytes()) && &*name != LOG.as_bytes() {
                db.drop_tree(name)?;
            }
        }
        let log = db.open_tree(LOG)?;
        let mut book = Book {
            known: HashMap::new(),
            first: 0,
            next: 0,
            floor,
        };
        for run in &log {
            let (key, kept) = run?;
            let place = read_place(&key)?;
            let run = plain_value(keys, run_at(&key), &kept)?;
            if book.next == 0 {
                book.first = place;
            }
            for (name, seen, place) in records(&run, place) {
                book.known.insert(name, Known { place, seen });
                book.next = place + 1;
            }
        }
        Ok(Ledger {
            book: RwLock::new(book),
            log,
            limit: (limit as u64).max(1),
        })
    }

    fn read(&self) -> RwLockReadGuard<'_, Book> {
        self.book.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Book> {
        self.book.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What was last seen of a record, if it is remembered.
    pub fn ledger_get(&self, record: &RecordKey) -> Option<Seen> {
        let book = self.inner.ledger.read();
        book.known.get(&name_of(record)).map(|known| known.seen)
    }

    /// Remembers what was seen; as much of the oldest may be forgotten for it.
    /// Versions beyond `horizon` do not raise the floor: one record from a clock that is years ahead would
    /// put everything else in doubt until then.
    pub fn ledger_put_many(
        &self,
        seen: &[(RecordKey, Seen)],
        horizon: Version,
    ) -> Result<(), StateError> {
        let mut book = self.inner.ledger.write();
        // What is known like this, and will not be forgotten soon, need not be written again.
        let recent = book.next.saturating_sub(self.inner.ledger.limit / 2);
        let news = |name: &Name, seen: &Seen| {
            let known = book.known.get(name);
            known.is_none_or(|known| known.seen != *seen || known.place < recent)
        };
        let named = seen.iter().map(|(record, seen)| (name_of(record), *seen));
        let news: Vec<(Name, Seen)> = named.filter(|(name, seen)| news(name, seen)).collect();
        self.guard(|| {
            for run in news.chunks(RUN) {
                self.append(&mut book, run)?;
            }
            self.forget(&mut book, horizon)
        })
    }

    /// Remembers what was written by the thousand as long as little is known; beyond that it
    /// is declared forgotten at once. Otherwise a move of a million records would push out those that were
    /// touched last, and leave a large file behind, which sled does not make small again. False if it was
    /// declared forgotten; what is known of such a record, if anything, is what was seen of it before.
    pub fn ledger_put_some(
        &self,
        seen: &[(RecordKey, Seen)],
        horizon: Version,
    ) -> Result<bool, StateError> {
        let known = self.inner.ledger.read().known.len();
        if known + seen.len() <= SHARE.min(self.inner.ledger.limit as usize / 2) {
            self.ledger_put_many(seen, horizon)?;
            return Ok(true);
        }
        let sane = seen.iter().map(|(_, seen)| seen.version);
        if let Some(newest) = sane.filter(|version| *version <= horizon).max() {
            self.raise_floor(newest)?;
        }
        Ok(false)
    }

    /// Below this, what is not in the ledger may have been forgotten.
    pub fn ledger_floor(&self) -> Version {
        Version(self.inner.ledger.read().floor)
    }

    /// Declares everything up to this forgotten, as after a rebuild: until records are seen again,
    /// events about them are not believed. Never lowers the floor.
    pub fn raise_floor(&self, floor: Version) -> Result<(), StateError> {
        let mut book = self.inner.ledger.write();
        self.guard(|| self.lift(&mut book, floor.ms()))
    }

    fn append(&self, book: &mut Book, run: &[(Name, Seen)]) -> Result<(), StateError> {
        let mut value = Vec::with_capacity(run.len() * RECORD_BYTES);
        for (name, seen) in run {
            value.extend_from_slice(name);
            value.extend_from_slice(&seen.encode());
        }
        let key = book.next.to_be_bytes();
        let kept = self.inner.keys.encrypt(run_at(&key), &value);
        self.inner.ledger.log.insert(key, &*kept)?;
        for (name, seen) in run {
            let (place, seen) = (book.next, *seen);
            book.known.insert(*name, Known { place, seen });
            book.next += 1;
        }
        Ok(())
    }

    /// Drops the oldest runs while the log is too long. The floor goes up first.
    fn forget(&self, book: &mut Book, horizon: Version) -> Result<(), StateError> {
        while book.next - book.first > self.inner.ledger.limit {
            let Some((key, kept)) = self.inner.ledger.log.first()? else {
                book.first = book.next;
                return Ok(());
            };
            let run = plain_value(&self.inner.keys, run_at(&key), &kept)?;
            let mut floor = book.floor;
            book.first = read_place(&key)?;
            for (name, seen, place) in records(&run, book.first) {
                book.first = place + 1;
                // Seen again since: it stands further on as well.
                if book
                    .known
                    .get(&name)
                    .is_some_and(|known| known.place == place)
                {
                    book.known.remove(&name);
                    if seen.version <= horizon {
                        floor = floor.max(seen.version.ms());
                    }
                }
            }
            self.lift(book, floor)?;
            self.inner.ledger.log.remove(key)?;
        }
        Ok(())
    }

    fn lift(&self, book: &mut Book, floor: i64) -> Result<(), StateError> {
        if floor > book.floor {
            let kept = kept_cell(&self.inner.keys, FLOOR, &floor.to_le_bytes());
            self.inner.cells.insert(FLOOR, kept)?;
            book.floor = floor;
        }
        Ok(())
    }
}

impl Seen {
    fn encode(&self) -> [u8; RECORD_BYTES - NAME_BYTES] {
        let mut out = [0; RECORD_BYTES - NAME_BYTES];
        out[..8].copy_from_slice(&self.version.ms().to_le_bytes());
        out[8] = self.deleted.into();
        out[9..].copy_from_slice(&self.hash.0);
        out
    }
}

/// The records of a run that begins at `place`. What is not a whole record at the end of a run is none.
fn records(run: &[u8], place: u64) -> impl Iterator<Item = (Name, Seen, u64)> {
    let whole = run.as_chunks::<RECORD_BYTES>().0;
    whole.iter().zip(place..).map(|(record, place)| {
        let (name, rest) = record
            .split_first_chunk()
            .unwrap_or((&[0; NAME_BYTES], &[]));
        let (version, rest) = rest.split_first_chunk().unwrap_or((&[0; 8], &[]));
        let (deleted, hash) = rest.split_first().unwrap_or((&0, &[]));
        let mut content = [0; 16];
        content.copy_from_slice(hash);
        let seen = Seen {
            version: Version(i64::from_le_bytes(*version)),
            deleted: *deleted != 0,
            hash: ContentHash(content),
        };
        (*name, seen, place)
    })
}

/// What a run's encryption is bound to.
fn run_at(key: &[u8]) -> crypt::Name<'_> {
    let tree = LOG.as_bytes();
    crypt::Name::Value { tree, key }
}

fn read_place(key: &[u8]) -> Result<u64, StateError> {
    let key: Result<[u8; 8], _> = key.try_into();
    let key = key.map_err(|_| StateError::Damaged("a place in the ledger".into()))?;
    Ok(u64::from_be_bytes(key))
}

fn read_floor(bytes: &[u8]) -> Option<i64> {
    Some(i64::from_le_bytes(bytes.try_into().ok()?))
}

/// The newest version of anything that the older form held: three of its five numbers.
fn newest_of_old(head: &[u8]) -> i64 {
    let numbers = head.as_chunks::<8>().0.iter().skip(2);
    let numbers = numbers.map(|number| i64::from_le_bytes(*number));
    numbers.max().unwrap_or_default().max(0)
}

fn name_of(record: &RecordKey) -> Name {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[record.table.code()]);
    hasher.update(record.key.as_str().as_bytes());
    let mut name = [0; NAME_BYTES];
    name.copy_from_slice(&hasher.finalize().as_bytes()[..NAME_BYTES]);
    name
}
