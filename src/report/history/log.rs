//! The list of all differences of one run, one JSON object a line, written when the run ends.
//!
//! Its lines go to the disk as they come, so that a list of any length takes little memory. Bounded in bytes; how
//! many differences had no room is told.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::{HistoryError, files};
use crate::{
    model::Difference,
    report::json,
    store::{crypt::Keyring, directory},
};

/// What waits in memory before it is written, in bytes.
const BUFFER_BYTES: usize = 64 * 1024;
/// The largest list, in bytes: about seven million rows. What is beyond is counted and left out, so that a
/// first migration of a very large instance does not fill the disk that deliveries are stored on.
const MAX_LOG_BYTES: u64 = 1 << 30;

/// Where a list is kept, and how.
#[derive(Debug)]
pub(super) struct Place {
    /// The file.
    pub path: PathBuf,
    /// Its name in the state directory.
    pub name: String,
    /// Encrypt its lines, if they show values.
    pub keys: Keyring,
}

/// The list of one run.
#[derive(Debug)]
pub struct DifferenceLog {
    path: PathBuf,
    name: String,
    keys: Keyring,
    show_values: bool,
    /// Made with the first line.
    file: Option<File>,
    /// Bytes that are in the file.
    written: u64,
    /// Whole lines that are not yet.
    waiting: Vec<u8>,
    left_out: u64,
}

impl DifferenceLog {
    pub(super) fn begin(place: Place, show_values: bool) -> Self {
        DifferenceLog {
            path: place.path,
            name: place.name,
            keys: place.keys,
            show_values,
            file: None,
            written: 0,
            waiting: Vec::new(),
            left_out: 0,
        }
    }

    /// Adds a difference about which everything is known.
    ///
    /// # Errors
    /// The disk refused. Nothing is lost yet; the next call tries again.
    pub fn append(&mut self, difference: &Difference) -> Result<(), HistoryError> {
        let shown = json::difference(difference, self.show_values);
        // Texts and names: nothing in it that JSON cannot hold.
        self.append_line(&serde_json::to_vec(&shown).unwrap_or_default())
    }

    /// Adds a difference that a run has written down already, without values (see [`json::holds_no_values`]).
    ///
    /// # Errors
    /// As [`DifferenceLog::append`].
    pub fn append_line(&mut self, line: &[u8]) -> Result<(), HistoryError> {
        let plain = Keyring::default();
        // Masked, it can be read without a key.
        let keys = if self.show_values { &self.keys } else { &plain };
        let at = self.written + self.waiting.len() as u64;
        let mut line = keys.encrypt_line(&self.name, at, line);
        if at + line.len() as u64 > MAX_LOG_BYTES {
            self.left_out += 1;
            return Ok(());
        }
        self.waiting.append(&mut line);
        if self.waiting.len() >= BUFFER_BYTES {
            self.write()?;
        }
        Ok(())
    }

    /// Returns when everything is on stable storage.
    ///
    /// # Errors
    /// As [`DifferenceLog::append`].
    pub fn flush(&mut self) -> Result<(), HistoryError> {
        self.write()?;
        match &self.file {
            Some(file) => file.sync_data().map_err(files::at(&self.path)),
            None => Ok(()),
        }
    }

    /// How many differences had no room any more.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Removes the list of a run that leaves no report.
    pub(super) fn discard(self) -> Result<(), HistoryError> {
        match self.file {
            Some(_) => fs::remove_file(&self.path).map_err(files::at(&self.path)),
            None => Ok(()),
        }
    }

    fn write(&mut self) -> Result<(), HistoryError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let file = match &mut self.file {
            Some(file) => file,
            empty => empty.insert(make(&self.path)?),
        };
        // At its place: what an earlier attempt wrote in part is written over.
        file.write_all_at(&self.waiting, self.written)
            .map_err(files::at(&self.path))?;
        self.written += self.waiting.len() as u64;
        self.waiting.clear();
        Ok(())
    }
}

/// An empty list whose name is on stable storage.
fn make(path: &Path) -> Result<File, HistoryError> {
    let mut options = OpenOptions::new();
    let file = files::open(
        path,
        options.read(true).write(true).create(true).truncate(true),
    )?;
    if let Some(dir) = path.parent() {
        directory::sync(dir).map_err(files::at(dir))?;
    }
    Ok(file)
}
