//! Everything under the first key, and nothing left under another; and the layout of today.
//!
//! `STATE` first: from then on the directory is not opened without the new key. Then segment by segment, the derived
//! state, file by file. Last `STATE` again, which names the new key alone. Each step is repeatable.

use std::fs;
use std::io;
use std::path::Path;

use super::files::{self, OPLOG, PLANS, REPORTS, RUNS};
use super::{Locks, UpkeepError, at};
use crate::store::crypt::{KeyId, Keyring};
use crate::store::journal::{self, Rewritten};
use crate::store::state;
use crate::store::state_file::{LAYOUT, StateFile};

/// The cells that say where a run stands. They count bytes of the parts of runs, which go with them.
const RUN_CELLS: [&str; 1] = ["run/"];

/// What the names of damaged pieces have in them, of either store.
const SET_ASIDE: [&str; 2] = [".torn", ".corrupt-"];

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// So many of the journal's segments are done.
    Segments {
        /// Done.
        done: usize,
        /// In all.
        of: usize,
    },
    /// The derived state is done.
    Derived,
    /// So many plans and reports are done.
    Files {
        /// Done.
        done: usize,
        /// In all.
        of: usize,
    },
}

/// How reports are to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// With personal values: encrypted.
    Shown,
    /// Masked: those that are plain stay so, to be read without a key.
    Masked,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Rekeyed {
    /// The key that everything is under now.
    pub key: KeyId,
    /// Segments that were written anew.
    pub segments: u64,
    /// Their entries, verdicts and notes.
    pub frames: u64,
    /// Values of the derived state.
    pub values: u64,
    /// Plans and reports that were written anew.
    pub files: u64,
    /// Damaged pieces, kept for somebody to look at, that were removed: they were under no key or an old one.
    pub removed: u64,
}

/// Brings everything under the key that writes. `each` hears of every step; its error ends it there, as a kill would.
///
/// # Errors
/// See [`UpkeepError`]; what was done stays done, and doing it again goes on.
pub fn rekey(
    dir: &Path,
    keys: &Keyring,
    reports: Kept,
    each: &mut dyn FnMut(Step) -> io::Result<()>,
) -> Result<Rekeyed, UpkeepError> {
    let key = keys.writes().ok_or(UpkeepError::NoKey)?;
    let _locks = Locks::take(dir, keys)?;
    let mut file = begin(dir, keys)?;
    let journal = rewrite_journal(dir, keys, each)?;
    let derived = dir.join(state::DIR);
    let values = match derived.is_dir() {
        true => state::rewrite(&derived, keys, &RUN_CELLS)?,
        false => 0,
    };
    each(Step::Derived).map_err(at(&derived))?;
    // After their cursors: a run whose cursor is gone begins anew, one whose parts are gone would not.
    remove_all(&dir.join(RUNS)).map_err(at(&dir.join(RUNS)))?;
    let files = rewrite_files(dir, keys, reports, each)?;
    let removed = remove_set_aside(dir)?;
    file.keys = vec![key];
    file.store(dir, keys)?;
    Ok(Rekeyed {
        key,
        segments: journal.segments,
        frames: journal.frames,
        values,
        files,
        removed,
    })
}

/// Brings the directory into today's layout; answers which it had, and what was done to the journal.
///
/// # Errors
/// See [`UpkeepError`].
pub fn migrate(
    dir: &Path,
    keys: &Keyring,
    each: &mut dyn FnMut(Step) -> io::Result<()>,
) -> Result<(u32, Rewritten), UpkeepError> {
    let _locks = Locks::take(dir, keys)?;
    let before = StateFile::admit(dir, keys)?.found();
    let before = before.map_or(LAYOUT, |file| file.layout);
    begin(dir, keys)?;
    Ok((before, rewrite_journal(dir, keys, each)?))
}

/// Notes in `STATE` what is going to be written, before it is.
fn begin(dir: &Path, keys: &Keyring) -> Result<StateFile, UpkeepError> {
    let found = StateFile::admit(dir, keys)?.found();
    let mut file = found.ok_or_else(|| UpkeepError::NoStateFile(dir.to_owned()))?;
    file.announce(dir, keys)?;
    Ok(file)
}

fn rewrite_journal(
    dir: &Path,
    keys: &Keyring,
    each: &mut dyn FnMut(Step) -> io::Result<()>,
) -> Result<Rewritten, UpkeepError> {
    let journal = dir.join(journal::DIR);
    if !journal.is_dir() {
        return Ok(Rewritten::default());
    }
    let each = &mut |done, of| each(Step::Segments { done, of });
    Ok(journal::rewrite(&journal, keys, each)?)
}

fn rewrite_files(
    dir: &Path,
    keys: &Keyring,
    reports: Kept,
    each: &mut dyn FnMut(Step) -> io::Result<()>,
) -> Result<u64, UpkeepError> {
    let mut all = Vec::new();
    for (kind, plain_too) in [
        (PLANS, true),
        (REPORTS, reports == Kept::Shown),
        (OPLOG, true),
    ] {
        let path = dir.join(kind);
        files::remove_unfinished(&path).map_err(at(&path))?;
        let found = files::list(dir, kind).map_err(at(&path))?;
        all.extend(found.into_iter().map(|file| (file, plain_too)));
    }
    let (mut written, of) = (0, all.len());
    for (done, (file, plain_too)) in all.into_iter().enumerate() {
        match file.rewrite(keys, plain_too) {
            Ok(due) => written += u64::from(due),
            // Nobody can read it, whatever the key: it goes with the first look at it.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                tracing::warn!(file = file.name(), "removed, for it cannot be decrypted");
                fs::remove_file(&file.path).map_err(at(&file.path))?;
            }
            Err(error) => return Err(at(&file.path)(error)),
        }
        let step = Step::Files { done: done + 1, of };
        each(step).map_err(at(&file.path))?;
    }
    Ok(written)
}

/// Removes torn ends and damaged stores that were kept to be looked at.
fn remove_set_aside(dir: &Path) -> Result<u64, UpkeepError> {
    let mut removed = 0;
    for path in set_aside(dir)? {
        let gone = match path.is_dir() {
            true => fs::remove_dir_all(&path),
            false => fs::remove_file(&path),
        };
        gone.map_err(at(&path))?;
        removed += 1;
    }
    Ok(removed)
}

/// Damaged pieces of both stores that were kept.
pub(super) fn set_aside(dir: &Path) -> Result<Vec<std::path::PathBuf>, UpkeepError> {
    let mut found = Vec::new();
    for place in [journal::DIR, state::DIR] {
        let place = dir.join(place);
        let entries = match fs::read_dir(&place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other.map_err(at(&place))?,
        };
        for entry in entries {
            let path = entry.map_err(at(&place))?.path();
            let name = path.file_name().map(|name| name.to_string_lossy());
            if name.is_some_and(|name| SET_ASIDE.iter().any(|part| name.contains(part))) {
                found.push(path);
            }
        }
    }
    Ok(found)
}

fn remove_all(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
