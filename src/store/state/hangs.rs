//! How often sled has hung while this store was opened, remembered from one process to the next.
//!
//! Once may be a slow disk; twice in a row is the store. Only the process that comes after knows that nobody is at
//! work on the files any more, so it is the one that sets them aside. Promises: a disk that does not answer holds
//! nobody up here, and what cannot be noted on it is not counted.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use crate::store::directory;

/// A byte for each time, beside the store.
const FILE: &str = "HANGS";
/// From so many times in a row on the store is not opened any more.
const MOST: u64 = 2;
/// How long the note may take. A disk that does not take a byte in that time is what hangs, and not the store.
const PATIENCE: Duration = Duration::from_secs(2);

/// See the module's words.
pub struct Hangs {
    file: PathBuf,
    times: u64,
}

impl Hangs {
    /// What is remembered of the store in this directory.
    pub fn at(dir: &Path) -> Hangs {
        let file = dir.join(FILE);
        let times = fs::metadata(&file).map_or(0, |file| file.len());
        Hangs { file, times }
    }

    /// Why the store is not to be opened again; `None`: it may be.
    pub fn reason(&self) -> Option<String> {
        let times = self.times;
        (times >= MOST).then(|| format!("sled hung {times} times in a row when it opened it"))
    }

    /// It has opened, or is set aside.
    ///
    /// # Errors
    /// The disk refused.
    pub fn forget(&self) -> io::Result<()> {
        if self.times == 0 {
            return Ok(());
        }
        match fs::remove_file(&self.file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// It has hung once more.
    pub fn note(dir: &Path) {
        let dir = dir.to_owned();
        let (sender, noted) = mpsc::sync_channel(1);
        let thread = std::thread::Builder::new().name("state-hangs".into());
        let started = thread.spawn(move || {
            let _ = sender.send(add(&dir));
        });
        if started.is_ok() {
            // The process is about to end with a word about it, whether this one is kept or not.
            let _ = noted.recv_timeout(PATIENCE);
        }
    }
}

fn add(dir: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .create(true)
        .append(true)
        .mode(0o600)
        .open(dir.join(FILE))?;
    file.write_all(b".")?;
    file.sync_all()?;
    directory::sync(dir)
}
