//! `STATE`: the small synced file that tells an emptied store from a new one.
//!
//! Holds what the stores beside it cannot vouch for themselves: which layout they have, which
//! generation of derived state belongs here, how far the journal had come, which Clerk instance it
//! was. Replaced as a whole, so that a power cut leaves the old or the new one.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::directory;
use crate::model::Fault;

/// The layout of the state directory that this release writes.
pub const LAYOUT: u32 = 1;

/// The file's name in the state directory.
const NAME: &str = "STATE";
/// The most that is read of it, in bytes. It has about 150.
const MAX_BYTES: u64 = 64 * 1024;

/// What stands in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateFile {
    /// The layout of the directory; see [`LAYOUT`].
    pub layout: u32,
    /// Which derived state belongs here; see [`super::state::Opened::generation`].
    pub generation: u64,
    /// The highest number that the journal had given to an entry.
    pub highest_seq: u64,
    /// The Clerk instance that all this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// No file: a new directory, or one that lost it. The stores beside it say which.
    Absent,
    /// A file of this release or an older one.
    Found(StateFile),
    /// Something else; it was renamed to this path.
    Damaged(PathBuf),
}

/// Why the file could not be read or written.
#[derive(Debug, Error)]
pub enum StateFileError {
    /// A newer release was here.
    #[error(
        "{} has layout {found}, this release knows up to {LAYOUT}; run the newer release. Nothing was touched",
        .path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its layout.
        found: u32,
    },
    /// The disk refused.
    #[error("{}: {source}; check owner, mode and free space", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The answer.
        source: io::Error,
    },
}

impl StateFileError {
    /// Whose fault it is: always ours.
    pub fn fault(&self) -> Fault {
        Fault::Ours
    }
}

impl StateFile {
    /// Reads the file of this state directory. A damaged one is set aside.
    pub fn load(dir: &Path) -> Result<Loaded, StateFileError> {
        let path = dir.join(NAME);
        let mut text = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut text));
        match read {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Loaded::Absent),
            Err(source) => return Err(StateFileError::Io { path, source }),
        }
        /// All that must be understood of a newer file.
        #[derive(Deserialize)]
        struct Layout {
            layout: u32,
        }
        match serde_json::from_slice::<Layout>(&text) {
            Ok(Layout { layout }) if layout > LAYOUT => Err(StateFileError::Newer {
                path,
                found: layout,
            }),
            _ => match serde_json::from_slice(&text) {
                Ok(found) => Ok(Loaded::Found(found)),
                Err(_) => {
                    let aside = dir.join("STATE.corrupt");
                    match fs::rename(&path, &aside) {
                        Ok(()) => Ok(Loaded::Damaged(aside)),
                        Err(source) => Err(StateFileError::Io { path, source }),
                    }
                }
            },
        }
    }

    /// Puts this in place of what is there; returns when it is on stable storage.
    pub fn store(&self, dir: &Path) -> Result<(), StateFileError> {
        let path = dir.join(NAME);
        let replace = || {
            let mut text = serde_json::to_vec_pretty(self)?;
            text.push(b'\n');
            // A temporary file is for the owner only, as this has to be.
            let mut file = tempfile::Builder::new().prefix(".STATE").tempfile_in(dir)?;
            file.write_all(&text)?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            directory::sync(dir)
        };
        replace().map_err(|source| StateFileError::Io {
            path: path.clone(),
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> StateFile {
        StateFile {
            layout: LAYOUT,
            generation: 7,
            highest_seq: 12,
            instance: Some("ins_1".into()),
        }
    }

    #[test]
    fn what_was_stored_is_found() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(StateFile::load(dir.path()).unwrap(), Loaded::Absent);
        state().store(dir.path()).unwrap();
        let second = StateFile {
            highest_seq: 13,
            instance: None,
            ..state()
        };
        second.store(dir.path()).unwrap();
        assert_eq!(StateFile::load(dir.path()).unwrap(), Loaded::Found(second));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_newer_layout_is_refused_whatever_else_it_says_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let text = r#"{"layout": 2, "generation": "now a text"}"#;
        fs::write(dir.path().join(NAME), text).unwrap();
        let refused = StateFile::load(dir.path());
        assert!(matches!(
            refused,
            Err(StateFileError::Newer { found: 2, .. })
        ));
        assert_eq!(fs::read_to_string(dir.path().join(NAME)).unwrap(), text);
    }

    #[test]
    fn a_damaged_file_is_set_aside() {
        for text in ["", "{", "\0\0\0", r#"{"layout":1}"#] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(NAME), text).unwrap();
            let Loaded::Damaged(aside) = StateFile::load(dir.path()).unwrap() else {
                panic!("{text:?} was believed");
            };
            assert_eq!(fs::read_to_string(aside).unwrap(), text);
            assert_eq!(StateFile::load(dir.path()).unwrap(), Loaded::Absent);
        }
    }
}
