//! Opens the state, or sets it aside and begins anew.
//!
//! sled answers damage with an error, with a panic, with an empty store, or not at all; the first three
//! end here in a working store and a reason to be told. What is no damage stops the start: another process,
//! a full or read-only disk. So does a sled that hangs, since nobody can end it but by ending the process;
//! only where it has hung in two processes, the third sets the store aside before anybody opens it.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::hangs::Hangs;
use super::ledger::Ledger;
use super::whole::finish_switch;
use super::{CELLS, Inner, State, StateError, guarded, kept_cell, plain_cell};
use crate::model::Version;
use crate::store::crypt::Keyring;
use crate::store::directory;
use crate::store::lock::Lock;

/// How long sled may take to open before the start is given up. A healthy store of this size takes well
/// under a second.
pub(super) const OPEN_TIMEOUT: Duration = Duration::from_secs(8);
/// In how many steps that is waited for: while this process is stopped, or the machine sleeps, sled does not
/// work either, and no more than one step of that counts.
const OPEN_STEPS: u32 = 80;
/// How often it is looked whether a store that somebody has open is free.
const LOOKS_WHILE_HELD: u32 = 50;
/// How long between two such looks.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);
/// The cell that holds the generation.
pub(super) const GENERATION: &str = "generation";
/// Where sled lies in the directory of the derived state.
pub(super) const STORE: &str = "sled";

/// The bounds of the state, and what is known of it from outside.
#[derive(Clone, Debug)]
pub struct Options {
    /// sled's cache, in bytes. It may take several times as much.
    pub cache_bytes: u64,
    /// The most records in the ledger.
    pub ledger_records: usize,
    /// Encrypt what is written and read what is encrypted.
    pub keys: Keyring,
    /// The generation that has to be here, from `STATE`; `None` if nothing is known of one.
    pub generation: Option<u64>,
    /// The time, for the names of what is set aside and for the floor after a rebuild.
    pub now: DateTime<Utc>,
    /// How long sled may take to open, not counting the time in which this process is stopped.
    pub patience: Duration,
}

impl Options {
    /// The default bounds at this time.
    pub fn at(now: DateTime<Utc>, generation: Option<u64>) -> Self {
        Options {
            cache_bytes: 8 * 1024 * 1024,
            ledger_records: 100_000,
            keys: Keyring::default(),
            generation,
            now,
            patience: OPEN_TIMEOUT,
        }
    }
}

/// An open state.
pub struct Opened {
    /// The handle.
    pub state: State,
    /// Set if what was here is lost. The ledger's floor is now, then; deletions have to be held until a
    /// full diff has passed.
    pub rebuilt: Option<Reason>,
    /// The number of this store's life, synced; to be written to `STATE`.
    pub generation: u64,
}

/// Why the state was built anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It could not be opened. It is kept here.
    Damaged {
        /// What sled said.
        message: String,
        /// Where it was moved.
        set_aside: PathBuf,
    },
    /// It opened, but it is not the store that belongs here. It is kept here.
    Foreign {
        /// Where it was moved.
        set_aside: PathBuf,
    },
    /// It was empty although it should not be.
    Emptied,
}

/// What sled made of a directory.
enum Found {
    Open(Box<Parts>),
    Damaged(String),
}

struct Parts {
    db: sled::Db,
    cells: sled::Tree,
    ledger: Ledger,
    generation: Option<u64>,
}

impl State {
    /// Opens the state in this directory, which is made if it is not there.
    pub fn open(dir: &Path, options: &Options) -> Result<Opened, StateError> {
        directory::make_private(dir)?;
        let lock = Lock::take(&dir.join("LOCK"))?;
        let lock = lock.ok_or_else(|| StateError::InUse(dir.to_owned()))?;
        finish_switch(dir)?;
        let store = dir.join(STORE);
        let hangs = Hangs::at(dir);
        let found = match hangs.reason() {
            Some(reason) if store.is_dir() => Found::Damaged(reason),
            _ => open_store(&store, options)?,
        };
        let (parts, rebuilt) = match found {
            Found::Damaged(message) => {
                let set_aside = directory::set_aside(dir, STORE, options.now)?;
                hangs.forget()?;
                (
                    fresh(&store, options)?,
                    Some(Reason::Damaged { message, set_aside }),
                )
            }
            Found::Open(parts) => match (parts.generation, options.generation) {
                (Some(here), Some(known)) if here != known => {
                    drop(parts);
                    let set_aside = directory::set_aside(dir, STORE, options.now)?;
                    (fresh(&store, options)?, Some(Reason::Foreign { set_aside }))
                }
                (None, Some(_)) => (*parts, Some(Reason::Emptied)),
                _ => (*parts, None),
            },
        };
        let generation = match parts.generation {
            Some(generation) => generation,
            None => {
                let generation: u64 = rand::random();
                let kept = kept_cell(&options.keys, GENERATION, &generation.to_le_bytes());
                parts.cells.insert(GENERATION, kept)?;
                generation
            }
        };
        hangs.forget()?;
        make_files_private(&store)?;
        let state = State {
            inner: Arc::new(Inner {
                file: File::open(store.join("db"))?,
                db: parts.db,
                cells: parts.cells,
                ledger: parts.ledger,
                keys: options.keys.clone(),
                dir: store.clone(),
                failed: AtomicBool::new(false),
                #[cfg(test)]
                in_flush: std::sync::OnceLock::new(),
                _lock: lock,
            }),
        };
        if rebuilt.is_some() {
            // What was forgotten is not known, so nothing said before now proves anything.
            state.raise_floor(Version(options.now.timestamp_millis()))?;
        }
        state.sync()?;
        directory::sync(&store)?;
        directory::sync(dir)?;
        Ok(Opened {
            state,
            rebuilt,
            generation,
        })
    }
}

fn fresh(store: &Path, options: &Options) -> Result<Parts, StateError> {
    match open_store(store, options)? {
        Found::Open(parts) => Ok(*parts),
        Found::Damaged(message) => Err(StateError::Damaged(message)),
    }
}

/// Opens sled on a thread of its own: a panic ends that thread, and a hang leaves it behind, on files that nobody
/// else may touch from then on.
fn open_store(store: &Path, options: &Options) -> Result<Found, StateError> {
    let config = sled::Config::new()
        .path(store)
        .cache_capacity(options.cache_bytes)
        .flush_every_ms(Some(500));
    let (limit, keys) = (options.ledger_records, options.keys.clone());
    match in_time(options.patience, move || read_store(&config, limit, &keys)) {
        Ok(parts) => Ok(Found::Open(Box::new(parts))),
        Err(StateError::Io(error)) if passes(&error) || is_held(&error) => {
            Err(StateError::Io(error))
        }
        // Not damaged: whoever has the key can read it.
        Err(error @ StateError::UnknownKey(_)) => Err(error),
        Err(error @ StateError::Hangs(_)) => {
            store.parent().into_iter().for_each(Hangs::note);
            Err(error)
        }
        Err(error) => Ok(Found::Damaged(error.to_string())),
    }
}

/// Runs what opens sled, and waits for it so long.
///
/// # Errors
/// What it says itself; and [`StateError::Hangs`] if it has said nothing by then: it may still be at work.
pub(super) fn in_time<T: Send + 'static>(
    patience: Duration,
    open: impl FnOnce() -> Result<T, StateError> + Send + 'static,
) -> Result<T, StateError> {
    let (sender, receiver) = mpsc::sync_channel(1);
    std::thread::Builder::new()
        .name("state-open".into())
        .spawn(move || {
            let _ = sender.send(guarded(open));
        })?;
    for _ in 0..OPEN_STEPS {
        match receiver.recv_timeout(patience / OPEN_STEPS) {
            Ok(opened) => return opened,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(StateError::Damaged("sled panicked twice".into()));
            }
        }
    }
    Err(StateError::Hangs(patience))
}

fn read_store(config: &sled::Config, limit: usize, keys: &Keyring) -> Result<Parts, StateError> {
    let db = open_when_free(config)?;
    let cells = db.open_tree(CELLS)?;
    let mut generation = None;
    for cell in &cells {
        let (name, kept) = cell?;
        // All are looked at: what was put in another's place is damage, and is found before it is used.
        let plain = plain_cell(keys, &String::from_utf8_lossy(&name), &kept)?;
        if &*name == GENERATION.as_bytes() {
            let bytes = plain.as_slice().try_into();
            let bytes = bytes.map_err(|_| StateError::Damaged("the generation".into()))?;
            generation = Some(u64::from_le_bytes(bytes));
        }
    }
    let ledger = Ledger::open(&db, &cells, limit, keys)?;
    Ok(Parts {
        db,
        cells,
        ledger,
        generation,
    })
}

/// Opens it when whoever had it before is done: sled's own threads let go of its files a moment after the last handle
/// is gone.
fn open_when_free(config: &sled::Config) -> sled::Result<sled::Db> {
    for _ in 0..LOOKS_WHILE_HELD {
        match config.open() {
            Err(sled::Error::Io(error)) if is_held(&error) => wait_a_little(),
            opened => return opened,
        }
    }
    config.open()
}

#[expect(
    clippy::disallowed_methods,
    reason = "on a thread of its own, which is waited for no longer than any opening"
)]
fn wait_a_little() {
    std::thread::sleep(BETWEEN_LOOKS);
}

/// True if somebody has the store open: nothing is wrong with it, and it is not ours to set aside. sled says so in words only.
fn is_held(error: &io::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}

/// True if the disk is at fault and not what is on it: setting the store aside would not help.
fn passes(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::OutOfMemory
    )
}

/// sled makes its files as the process's mask allows; they are for the owner only.
pub(super) fn make_files_private(store: &Path) -> io::Result<()> {
    fs::set_permissions(store, Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(store)? {
        let entry = entry?;
        let mode = if entry.file_type()?.is_dir() {
            0o700
        } else {
            0o600
        };
        fs::set_permissions(entry.path(), Permissions::from_mode(mode))?;
    }
    Ok(())
}
