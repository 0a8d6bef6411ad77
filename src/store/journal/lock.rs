//! One process a directory.
//!
//! An advisory lock on a file that stays: the kernel lets go of it when the process ends, however it
//! ends, so there is nothing to clean up after a kill.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::error::OpenError;

/// Held while the directory is ours.
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the directory, or says that somebody else has it.
    pub fn take(dir: &Path) -> Result<Lock, OpenError> {
        let path = dir.join("LOCK");
        let open = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path);
        let file = match open {
            Ok(file) => file,
            Err(source) => return Err(OpenError::Io { path, source }),
        };
        match file.try_lock() {
            Ok(()) => Ok(Lock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(OpenError::InUse(dir.to_owned())),
            Err(TryLockError::Error(source)) => Err(OpenError::Io { path, source }),
        }
    }
}
