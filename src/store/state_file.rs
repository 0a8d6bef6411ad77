//! `STATE`: the small synced file that tells an emptied store from a new one.
//!
//! Holds what the stores beside it cannot vouch for themselves: which layout they have, which
//! generation of derived state belongs here, how far the journal had come, which Clerk instance it
//! was, under which keys there may be records. Replaced as a whole, so that a power cut leaves the old or the new one.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::crypt::{KeyId, Keyring};
use super::directory;
use crate::model::Fault;

/// The layout of the state directory that this release writes. 1 knew no encryption; it is read, and becomes 2
/// with the first start.
pub const LAYOUT: u32 = 2;

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
    /// The keys under which there may be records, the one that writes first; see [`recorded`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<KeyId>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// No file: a new directory, or one that lost it. The stores beside it say which.
    Absent,
    /// A file of this release or an older one.
    Found(StateFile),
    /// Something else, or nothing that the disk can read; [`set_aside`] takes it away.
    Damaged,
}

impl Loaded {
    /// The file, if it is one.
    pub fn found(self) -> Option<StateFile> {
        match self {
            Loaded::Found(file) => Some(file),
            Loaded::Absent | Loaded::Damaged => None,
        }
    }
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
    /// Records are encrypted under keys that are not there.
    #[error(
        "the state in {} is encrypted under {}, and state.encryption_key names {}. Give it that key (further keys \
         after a comma are read with, the first one writes). Nothing was touched",
        .dir.display(), list(.missing), list(.given)
    )]
    Keys {
        /// The state directory.
        dir: PathBuf,
        /// The keys that are not there.
        missing: Vec<KeyId>,
        /// Those that are.
        given: Vec<KeyId>,
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
    /// Reads the file of this state directory, and looks whether all keys are there. Touches nothing.
    pub fn admit(dir: &Path, keys: &Keyring) -> Result<Loaded, StateFileError> {
        let loaded = StateFile::load(dir)?;
        if let Loaded::Found(file) = &loaded {
            let given = keys.ids();
            let missing = file.keys.iter().filter(|key| !given.contains(key));
            let missing: Vec<KeyId> = missing.copied().collect();
            if !missing.is_empty() {
                let dir = dir.to_owned();
                return Err(StateFileError::Keys {
                    dir,
                    missing,
                    given,
                });
            }
        }
        Ok(loaded)
    }

    /// Reads the file of this state directory. Touches nothing.
    pub fn load(dir: &Path) -> Result<Loaded, StateFileError> {
        let path = dir.join(NAME);
        let mut text = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut text));
        match read {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Loaded::Absent),
            Err(error) if is_lost(&error) => {
                tracing::warn!(%error, path = %path.display(), "cannot be read");
                return Ok(Loaded::Damaged);
            }
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
                Err(_) => Ok(Loaded::Damaged),
            },
        }
    }

    /// Notes today's layout and the key that writes, before anything is written in the one or under the other.
    pub fn announce(&mut self, dir: &Path, keys: &Keyring) -> Result<(), StateFileError> {
        let keys = recorded(Some(&self.keys), keys);
        if (self.layout, &self.keys) == (LAYOUT, &keys) {
            return Ok(());
        }
        (self.layout, self.keys) = (LAYOUT, keys);
        self.store(dir)
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

/// True if the disk cannot give the file's bytes back. If the whole disk is away, nothing else there opens
/// either, and the start ends before the file is set aside.
fn is_lost(error: &io::Error) -> bool {
    let damage = [Errno::IO, Errno::BADMSG, Errno::UCLEAN];
    Errno::from_io_error(error).is_some_and(|errno| damage.contains(&errno))
}

/// Renames a damaged file, and says where it is kept.
pub fn set_aside(dir: &Path) -> Result<PathBuf, StateFileError> {
    let (path, aside) = (dir.join(NAME), dir.join("STATE.corrupt"));
    match fs::rename(&path, &aside) {
        Ok(()) => Ok(aside),
        Err(source) => Err(StateFileError::Io { path, source }),
    }
}

/// What has to stand in the file before anything is written under these keys. `before` is what stood there;
/// `None` if that is lost, so that any of the keys may be in use.
pub fn recorded(before: Option<&[KeyId]>, keys: &Keyring) -> Vec<KeyId> {
    let given = keys.ids();
    let mut recorded: Vec<KeyId> = keys.writes().into_iter().collect();
    for key in before.unwrap_or(&given) {
        if !recorded.contains(key) {
            recorded.push(*key);
        }
    }
    recorded
}

fn list(keys: &[KeyId]) -> String {
    let names: Vec<String> = keys.iter().map(KeyId::to_string).collect();
    match names.as_slice() {
        [] => "no key".to_owned(),
        [one] => format!("the key {one}"),
        several => format!("the keys {}", several.join(", ")),
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
            keys: Vec::new(),
        }
    }

    fn ring(keys: &[u8]) -> Keyring {
        let keys: Vec<[u8; 32]> = keys.iter().map(|key| [*key; 32]).collect();
        Keyring::new(&keys)
    }

    #[test]
    fn a_key_that_is_missing_is_named_and_nothing_is_touched() {
        let dir = tempfile::tempdir().unwrap();
        let keys = recorded(Some(&ring(&[1]).ids()), &ring(&[2, 1]));
        assert_eq!(keys, ring(&[2, 1]).ids());
        let file = StateFile { keys, ..state() };
        file.store(dir.path()).unwrap();
        for given in [ring(&[1, 2, 3]), ring(&[2, 1])] {
            let found = StateFile::admit(dir.path(), &given).unwrap().found();
            assert_eq!(found.as_ref(), Some(&file));
        }
        for (given, missing) in [(ring(&[2, 3]), ring(&[1])), (ring(&[]), ring(&[2, 1]))] {
            let refused = StateFile::admit(dir.path(), &given).unwrap_err();
            let said = refused.to_string();
            for id in missing.ids().into_iter().chain(given.ids()) {
                assert!(said.contains(&id.to_string()), "{said}");
            }
            assert!(said.contains("state.encryption_key"), "{said}");
        }
    }

    #[test]
    fn where_the_file_is_lost_any_key_may_be_in_use() {
        assert_eq!(recorded(None, &ring(&[2, 1])), ring(&[2, 1]).ids());
        assert_eq!(recorded(Some(&[]), &ring(&[2, 1])), ring(&[2]).ids());
        assert_eq!(recorded(Some(&[]), &ring(&[])), []);
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
        let text = r#"{"layout": 3, "generation": "now a text"}"#;
        fs::write(dir.path().join(NAME), text).unwrap();
        let refused = StateFile::load(dir.path());
        assert!(matches!(
            refused,
            Err(StateFileError::Newer { found: 3, .. })
        ));
        assert_eq!(fs::read_to_string(dir.path().join(NAME)).unwrap(), text);
    }

    #[test]
    fn a_damaged_file_is_set_aside() {
        for text in ["", "{", "\0\0\0", r#"{"layout":1}"#] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(NAME), text).unwrap();
            let loaded = StateFile::load(dir.path()).unwrap();
            assert_eq!(loaded, Loaded::Damaged, "{text:?}");
            let aside = set_aside(dir.path()).unwrap();
            assert_eq!(fs::read_to_string(aside).unwrap(), text);
            assert_eq!(StateFile::load(dir.path()).unwrap(), Loaded::Absent);
        }
    }

    #[test]
    fn a_file_that_the_disk_cannot_read_is_a_damaged_one() {
        let dir = tempfile::tempdir().unwrap();
        // Nothing is mapped at the address zero: it opens, and reading it is an EIO.
        std::os::unix::fs::symlink("/proc/self/mem", dir.path().join(NAME)).unwrap();
        assert_eq!(StateFile::load(dir.path()).unwrap(), Loaded::Damaged);
        set_aside(dir.path()).unwrap();
        state().store(dir.path()).unwrap();
        assert_eq!(StateFile::load(dir.path()).unwrap(), Loaded::Found(state()));
        // Whose rights are missing is not damaged.
        let other = io::Error::from(Errno::ACCESS);
        assert!(!is_lost(&other));
    }
}
