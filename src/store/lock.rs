//! One process a directory.
//!
//! An advisory lock on a file that stays: the kernel lets go of it when the process ends, however it
//! ends, so there is nothing to clean up after a kill.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::twin::{self, Twin};

/// Held while the directory is ours.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock on this file, which is made if it is not there; `None` if somebody else has it.
    pub fn take(path: &Path) -> io::Result<Option<Lock>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        if twin::broken(Twin::NoLock) {
            return Ok(Some(Lock { _file: file }));
        }
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}
