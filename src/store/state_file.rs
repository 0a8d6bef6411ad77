//! `STATE`: the small synced file that tells an emptied store from a new one.
//!
//! Holds what the stores beside it cannot vouch for themselves: which layout they have, which
//! generation of derived state belongs here, how far the journal had come, which Clerk instance it
//! was, under which keys there may be records. Replaced as a whole, so that a power cut leaves the old or the new one.
//! It is plain, so that a start can say which key is missing; where there are keys, a proof stands beside it that
//! their holder wrote it.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use super::crypt::{KeyId, Keyring, Unreadable, Voucher};
use super::directory;
use crate::model::Fault;

/// The layout of the state directory that this release writes. 1 knew no encryption; it is read, and becomes 2
/// with the first start.
pub const LAYOUT: u32 = 2;

/// The file's name in the state directory.
const NAME: &str = "STATE";
/// The most that is read of it, in bytes. It has about 150.
const MAX_BYTES: u64 = 64 * 1024;

/// What the proof is called in the file; see [`Keyring::vouch`].
const PROOF: &str = "proof";

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
    /// A file without a proof, although there are keys: of an older release, of the time before there were keys, or
    /// changed. Whoever knows that there was a proof can tell.
    Unproved(StateFile),
    /// Something else, nothing that the disk can read, or not what the holder of the key wrote; [`set_aside`] takes it away.
    Damaged,
}

impl Loaded {
    /// The file, if it is one.
    pub fn found(self) -> Option<StateFile> {
        match self {
            Loaded::Found(file) | Loaded::Unproved(file) => Some(file),
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
    /// Reads the file of this state directory, and looks whether all keys are there and whether one of them vouches
    /// for it. Touches nothing.
    pub fn admit(dir: &Path, keys: &Keyring) -> Result<Loaded, StateFileError> {
        let (loaded, text) = StateFile::read(dir)?;
        let proved = proved(&text, keys);
        if proved == Some(Err(Unreadable::Changed)) {
            return Ok(Loaded::Damaged);
        }
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
        Ok(match (loaded, proved) {
            (Loaded::Found(file), None) if keys.writes().is_some() => Loaded::Unproved(file),
            // Names none of the keys that it is proved by.
            (Loaded::Found(_), Some(Err(_))) if keys.writes().is_some() => Loaded::Damaged,
            (loaded, _) => loaded,
        })
    }

    /// Reads the file of this state directory, and believes it. Touches nothing.
    pub fn load(dir: &Path) -> Result<Loaded, StateFileError> {
        Ok(StateFile::read(dir)?.0)
    }

    fn read(dir: &Path) -> Result<(Loaded, Vec<u8>), StateFileError> {
        let path = dir.join(NAME);
        let mut text = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut text));
        match read {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok((Loaded::Absent, text));
            }
            Err(error) if is_lost(&error) => {
                tracing::warn!(%error, path = %path.display(), "cannot be read");
                return Ok((Loaded::Damaged, text));
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
                Ok(found) => Ok((Loaded::Found(found), text)),
                Err(_) => Ok((Loaded::Damaged, text)),
            },
        }
    }

    /// Notes today's layout and the key that writes, before anything is written in the one or under the other.
    pub fn announce(&mut self, dir: &Path, keys: &Keyring) -> Result<(), StateFileError> {
        let recorded = recorded(Some(&self.keys), keys);
        if (self.layout, &self.keys) == (LAYOUT, &recorded) {
            return Ok(());
        }
        (self.layout, self.keys) = (LAYOUT, recorded);
        self.store(dir, keys)
    }

    /// Puts this in place of what is there, with a proof if there is a key; returns when it is on stable storage.
    pub fn store(&self, dir: &Path, keys: &Keyring) -> Result<(), StateFileError> {
        let path = dir.join(NAME);
        let replace = || {
            let mut whole = serde_json::to_value(self)?;
            if let (Some(voucher), Some(all)) =
                (keys.vouch(&vouched(&whole)), whole.as_object_mut())
            {
                all.insert(PROOF.to_owned(), voucher.to_string().into());
            }
            let mut text = serde_json::to_vec_pretty(&whole)?;
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

/// What a proof is about: everything else in the file, also what only a newer release knows.
fn vouched(whole: &Value) -> Vec<u8> {
    let mut rest = whole.clone();
    if let Some(all) = rest.as_object_mut() {
        all.remove(PROOF);
    }
    // The keys of an object are sorted, and whole numbers have one spelling.
    rest.to_string().into_bytes()
}

/// Whether one of the keys vouches for this; none if there is no proof.
fn proved(text: &[u8], keys: &Keyring) -> Option<Result<(), Unreadable>> {
    let whole: Value = serde_json::from_slice(text).ok()?;
    let Some(voucher) = whole.get(PROOF)?.as_str().and_then(Voucher::parse) else {
        return Some(Err(Unreadable::Changed));
    };
    Some(keys.vouches(&voucher, &vouched(&whole)))
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
mod tests;
