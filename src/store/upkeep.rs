//! What is done to a state directory that no daemon uses: looked through, brought under another key or into
//! today's layout.
//!
//! Whoever does it holds both locks meanwhile, so that no daemon starts. Knows files and keys; what an entry, a
//! cell or a report says is the business of others. Promises that a kill at any moment leaves a directory that the
//! daemon opens with the same keys, and that doing it again goes on where it was cut off.

mod files;
mod rekey;
mod verify;

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::crypt::Keyring;
use super::journal::{self, OpenError};
use super::lock::Lock;
use super::state::{self, StateError};
use super::state_file::{StateFile, StateFileError};

pub use files::OPLOG;
pub use rekey::{Kept, Rekeyed, Step, migrate, rekey};
pub use verify::{Counts, Finding, JournalCounts, Survey, verify};

/// Why it was not done.
#[derive(Debug, Error)]
pub enum UpkeepError {
    /// There is nothing.
    #[error("{} is no state directory; no daemon has run with it yet", .0.display())]
    Absent(PathBuf),
    /// The file is not there that says what belongs here.
    #[error("{}/STATE is missing or damaged; start the daemon once, it writes it anew", .0.display())]
    NoStateFile(PathBuf),
    /// There is no key to bring anything under.
    #[error("state.encryption_key names no key, so there is none to encrypt anything under")]
    NoKey,
    /// `STATE`.
    #[error(transparent)]
    StateFile(#[from] StateFileError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] OpenError),
    /// The derived state.
    #[error(transparent)]
    State(#[from] StateError),
    /// The disk refused.
    #[error("{}: {source}; check owner, mode and free space", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The answer.
        source: io::Error,
    },
}

impl UpkeepError {
    /// True if another process holds the directory.
    pub fn is_in_use(&self) -> bool {
        matches!(
            self,
            UpkeepError::Journal(OpenError::InUse(_)) | UpkeepError::State(StateError::InUse(_))
        )
    }

    /// True if the keys are at fault.
    pub fn is_about_keys(&self) -> bool {
        matches!(
            self,
            UpkeepError::NoKey
                | UpkeepError::StateFile(StateFileError::Keys { .. })
                | UpkeepError::Journal(OpenError::UnknownKey { .. })
                | UpkeepError::State(StateError::UnknownKey(_))
        )
    }
}

/// Both stores' locks.
struct Locks {
    _journal: Option<Lock>,
    _derived: Option<Lock>,
}

impl Locks {
    /// Takes the lock of each store that is there, so that no daemon comes in between. What another key or a newer
    /// release has written is refused before anything is touched.
    fn take(dir: &Path, keys: &Keyring) -> Result<Locks, UpkeepError> {
        let (journal, derived) = (dir.join(journal::DIR), dir.join(state::DIR));
        if !journal.is_dir() && !derived.is_dir() {
            return Err(match dir.join(".").metadata() {
                // Whoever may not look into it cannot say that it is none.
                Err(source) if source.kind() != io::ErrorKind::NotFound => at(dir)(source),
                _ => UpkeepError::Absent(dir.to_owned()),
            });
        }
        StateFile::admit(dir, keys)?;
        journal::check_layout(&journal)?;
        Ok(Locks {
            _journal: lock(&journal, |path| OpenError::InUse(path).into())?,
            _derived: lock(&derived, |path| StateError::InUse(path).into())?,
        })
    }
}

fn lock(dir: &Path, in_use: impl Fn(PathBuf) -> UpkeepError) -> Result<Option<Lock>, UpkeepError> {
    if !dir.is_dir() {
        return Ok(None);
    }
    let path = dir.join("LOCK");
    match Lock::take(&path).map_err(at(&path))? {
        Some(lock) => Ok(Some(lock)),
        None => Err(in_use(dir.to_owned())),
    }
}

/// What an error of the disk was about.
fn at(path: &Path) -> impl FnOnce(io::Error) -> UpkeepError {
    let path = path.to_owned();
    move |source| UpkeepError::Io { path, source }
}

#[cfg(test)]
mod tests;
