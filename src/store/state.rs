//! What the daemon remembers and could find out again: the ledger, and small named cells.
//!
//! Kept in sled, which is fast and cannot be trusted: its flush does not reach the disk in a power
//! cut, one flipped bit can make it panic, and a full disk stays full for it until the process ends.
//! So nothing rests on it alone: damage is set aside and the content is built anew, a generation
//! number kept outside notices an emptied store, and every call answers an error where sled panics.
//! All calls block for as long as the disk takes.

mod hangs;
mod ledger;
mod open;
mod whole;

#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use thiserror::Error;

use super::crypt::{KeyId, Keyring, Name, Unreadable};
use super::directory;
use super::lock::Lock;
use crate::model::Fault;
use ledger::Ledger;

pub use ledger::Seen;
pub use open::{Opened, Options, Reason};
pub use whole::{Examined, examine, rewrite};

/// Where the derived state lies in the state directory.
pub const DIR: &str = "derived";
/// The longest key, in bytes: 128 is the most that sled stores well.
pub const MAX_KEY_BYTES: usize = 128;
/// The longest value, in bytes: larger ones end up in files that sled never syncs.
pub const MAX_VALUE_BYTES: usize = 4096;
/// The tree of cells.
const CELLS: &str = "cells";
/// How often a comparison is tried again when another writer came between reading and swapping.
const SWAPS: usize = 100;
/// The most cells that one listing gives.
pub const MAX_LISTED: usize = 1000;

/// Why the state did not answer.
#[derive(Debug, Error)]
pub enum StateError {
    /// Another process has it.
    #[error("{} is used by another process; stop the other daemon", .0.display())]
    InUse(PathBuf),
    /// The disk refused; for a full disk this stays so until the daemon is started again.
    #[error("the state cannot be read or written: {0}")]
    Io(#[from] io::Error),
    /// The store is damaged; the next start sets it aside.
    #[error("the state is damaged: {0}")]
    Damaged(String),
    /// It does not open, and goes on trying in this process, which has to end: two would write the same files.
    #[error(
        "the derived state does not open: sled has worked at it for {} s without an end; this may pass, start \
         again. Nothing was set aside",
        .0.as_secs_f64()
    )]
    Hangs(std::time::Duration),
    /// It is encrypted under a key that is not there. Nothing was set aside.
    #[error("the state is encrypted under the key {0}, which state.encryption_key does not name")]
    UnknownKey(KeyId),
    /// A key or value is longer than the store takes.
    #[error("{what} of {bytes} bytes is longer than the state takes ({limit})")]
    TooLong {
        /// Key or value.
        what: &'static str,
        /// Its length, in bytes.
        bytes: usize,
        /// The bound, in bytes.
        limit: usize,
    },
}

impl StateError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            StateError::TooLong { .. } => Fault::Record,
            _ => Fault::Ours,
        }
    }
}

impl From<sled::Error> for StateError {
    fn from(error: sled::Error) -> Self {
        match error {
            sled::Error::Io(error) => StateError::Io(error),
            other => StateError::Damaged(other.to_string()),
        }
    }
}

/// See the module's words. Cheap to clone.
#[derive(Clone)]
pub struct State {
    inner: Arc<Inner>,
}

struct Inner {
    db: sled::Db,
    cells: sled::Tree,
    ledger: Ledger,
    keys: Keyring,
    /// Our own handle of sled's main file, to sync what sled only hands to the kernel.
    file: File,
    dir: PathBuf,
    failed: AtomicBool,
    /// What a test wants to happen in the middle of a flush.
    #[cfg(test)]
    in_flush: std::sync::OnceLock<Box<dyn Fn() + Send + Sync>>,
    _lock: Lock,
}

impl State {
    /// Returns when everything put so far is on stable storage.
    pub fn sync(&self) -> Result<(), StateError> {
        let inner = &self.inner;
        self.guard(|| {
            inner.db.flush()?;
            let blobs = inner.dir.join("blobs");
            // Empty as long as the bounds on values hold; sled itself never syncs what is in there.
            if blobs.is_dir() {
                for blob in fs::read_dir(&blobs)? {
                    File::open(blob?.path())?.sync_all()?;
                }
                directory::sync(&blobs)?;
            }
            inner.file.sync_data()?;
            Ok(())
        })
    }

    /// Hands everything put so far to the system: it survives the end of the process, not that of the machine.
    pub fn flush(&self) -> Result<(), StateError> {
        self.guard(|| {
            #[cfg(test)]
            if let Some(happens) = self.inner.in_flush.get() {
                happens();
            }
            self.inner.db.flush()?;
            Ok(())
        })
    }

    /// Lets something happen in the middle of each flush.
    #[cfg(test)]
    pub(crate) fn in_flush(&self, happens: impl Fn() + Send + Sync + 'static) {
        let first = self.inner.in_flush.set(Box::new(happens));
        assert!(first.is_ok(), "something else happens there already");
    }

    /// Makes a cell one that cannot be read: what was encrypted under another name is believed under none. Takes a
    /// key.
    #[cfg(test)]
    pub(crate) fn spoil_cell(&self, name: &str) {
        let kept = kept_cell(&self.inner.keys, "another", b"1");
        assert!(plain_cell(&self.inner.keys, name, &kept).is_err());
        self.inner.cells.insert(name, kept).expect("put");
    }

    /// The bytes in a named cell.
    pub fn get_cell(&self, name: &str) -> Result<Option<Vec<u8>>, StateError> {
        check("cell name", name.len(), MAX_KEY_BYTES)?;
        self.guard(|| match self.inner.cells.get(name)? {
            Some(kept) => Ok(Some(plain_cell(&self.inner.keys, name, &kept)?)),
            None => Ok(None),
        })
    }

    /// Puts bytes into a named cell, or empties it. Who names cells bounds their number.
    pub fn put_cell(&self, name: &str, value: Option<&[u8]>) -> Result<(), StateError> {
        check("cell name", name.len(), MAX_KEY_BYTES)?;
        check("cell", value.map_or(0, <[u8]>::len), MAX_VALUE_BYTES)?;
        self.guard(|| {
            match value {
                Some(value) => {
                    let kept = kept_cell(&self.inner.keys, name, value);
                    self.inner.cells.insert(name, kept)?
                }
                None => self.inner.cells.remove(name)?,
            };
            Ok(())
        })
    }

    /// Puts bytes into a cell if it holds `old` (`None`: if it is empty). False if it does not.
    pub fn compare_and_set(
        &self,
        name: &str,
        old: Option<&[u8]>,
        new: Option<&[u8]>,
    ) -> Result<bool, StateError> {
        check("cell name", name.len(), MAX_KEY_BYTES)?;
        check("cell", new.map_or(0, <[u8]>::len), MAX_VALUE_BYTES)?;
        self.guard(|| {
            let (cells, keys) = (&self.inner.cells, &self.inner.keys);
            // Equal content is encrypted differently each time: the content is compared, the bytes are swapped.
            for _ in 0..SWAPS {
                let kept = cells.get(name)?;
                let plain = kept.as_deref().map(|kept| plain_cell(keys, name, kept));
                if plain.transpose()?.as_deref() != old {
                    return Ok(false);
                }
                let new = new.map(|new| kept_cell(keys, name, new));
                if cells.compare_and_swap(name, kept, new)?.is_ok() {
                    return Ok(true);
                }
            }
            Ok(false)
        })
    }

    /// The cells whose names begin so, by name, at most [`MAX_LISTED`].
    pub fn cells(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, StateError> {
        self.guard(|| {
            let mut found = Vec::new();
            for cell in self.inner.cells.scan_prefix(prefix).take(MAX_LISTED) {
                let (name, kept) = cell?;
                let name = String::from_utf8_lossy(&name).into_owned();
                let value = plain_cell(&self.inner.keys, &name, &kept)?;
                found.push((name, value));
            }
            Ok(found)
        })
    }

    /// True once a call failed for want of a working disk. sled does not recover from that: the
    /// daemon has to be started again.
    pub fn failed(&self) -> bool {
        self.inner.failed.load(Ordering::Relaxed)
    }

    /// What sled takes on disk, in bytes.
    pub fn bytes(&self) -> Result<u64, StateError> {
        self.guard(|| Ok(self.inner.db.size_on_disk()?))
    }

    /// Runs a call into sled, which may panic where it should answer an error.
    fn guard<T>(&self, call: impl FnOnce() -> Result<T, StateError>) -> Result<T, StateError> {
        let outcome = guarded(call);
        if matches!(outcome, Err(StateError::Io(_) | StateError::Damaged(_))) {
            self.inner.failed.store(true, Ordering::Relaxed);
        }
        outcome
    }
}

fn guarded<T>(call: impl FnOnce() -> Result<T, StateError>) -> Result<T, StateError> {
    // What is shared across the boundary is sled's own, and is not used again for good: the caller
    // is told that the state is damaged.
    catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|_| Err(StateError::Damaged("sled panicked".into())))
}

/// A cell as it is kept.
fn kept_cell(keys: &Keyring, name: &str, value: &[u8]) -> Vec<u8> {
    keys.encrypt(cell(name), value).into_owned()
}

/// A cell's content.
fn plain_cell(keys: &Keyring, name: &str, kept: &[u8]) -> Result<Vec<u8>, StateError> {
    plain_value(keys, cell(name), kept).map_err(|error| match error {
        StateError::Damaged(changed) => {
            StateError::Damaged(format!("the cell {name:?}: {changed}"))
        }
        other => other,
    })
}

/// A value's content.
fn plain_value(keys: &Keyring, name: Name<'_>, kept: &[u8]) -> Result<Vec<u8>, StateError> {
    match keys.decrypt(name, kept) {
        Ok(plain) => Ok(plain.into_owned()),
        Err(Unreadable::UnknownKey(key)) => Err(StateError::UnknownKey(key)),
        Err(changed @ Unreadable::Changed) => Err(StateError::Damaged(changed.to_string())),
    }
}

fn cell(name: &str) -> Name<'_> {
    Name::Value {
        tree: CELLS.as_bytes(),
        key: name.as_bytes(),
    }
}

fn check(what: &'static str, bytes: usize, limit: usize) -> Result<(), StateError> {
    if bytes > limit {
        return Err(StateError::TooLong { what, bytes, limit });
    }
    Ok(())
}
