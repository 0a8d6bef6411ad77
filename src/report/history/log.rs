//! The list of all differences of one run, one JSON object a line, written while the run goes on.
//!
//! A line is written once it is known what was done about the difference, and never changed. The run keeps
//! the length that [`DifferenceLog::flush`] answers beside its cursor; after a kill the list is cut to that
//! length, and what came after is found again. So a difference stands in it once.

use std::{
    fs::{self, File, OpenOptions},
    io::{BufRead, BufReader, Read},
    os::unix::fs::FileExt,
    path::PathBuf,
};

use super::{HistoryError, files};
use crate::{
    model::Difference,
    report::{Report, json},
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
    count: u64,
    left_out: u64,
    first: Vec<Difference>,
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
            count: 0,
            left_out: 0,
            first: Vec::new(),
        }
    }

    pub(super) fn resume(place: Place, show_values: bool, len: u64) -> Result<Self, HistoryError> {
        let mut log = DifferenceLog::begin(place, show_values);
        if len == 0 {
            // Whatever a first attempt left is from before the first cursor.
            return Ok(log);
        }
        let file = files::open(&log.path, OpenOptions::new().read(true).write(true))?;
        log.file = Some(file);
        log.truncate(len)?;
        Ok(log)
    }

    /// Adds a difference about which everything is known.
    ///
    /// # Errors
    /// The disk refused. Nothing is lost yet; the next call tries again.
    pub fn append(&mut self, difference: &Difference) -> Result<(), HistoryError> {
        let shown = json::difference(difference, self.show_values);
        // Texts and names: nothing in it that JSON cannot hold.
        let line = serde_json::to_vec(&shown).unwrap_or_default();
        let plain = Keyring::default();
        // Masked, it can be read without a key.
        let keys = if self.show_values { &self.keys } else { &plain };
        let mut line = keys.encrypt_line(&self.name, self.len(), &line);
        if self.first.len() < Report::MAX_DIFFERENCES {
            self.first.push(difference.clone());
        }
        self.count += 1;
        if self.len() + line.len() as u64 > MAX_LOG_BYTES {
            self.left_out += 1;
            return Ok(());
        }
        self.waiting.append(&mut line);
        if self.waiting.len() >= BUFFER_BYTES {
            self.write()?;
        }
        Ok(())
    }

    /// Returns when everything is on stable storage, with the length to be kept beside the cursor.
    ///
    /// # Errors
    /// As [`DifferenceLog::append`].
    pub fn flush(&mut self) -> Result<u64, HistoryError> {
        self.write()?;
        if let Some(file) = &self.file {
            file.sync_data().map_err(files::at(&self.path))?;
        }
        Ok(self.written)
    }

    /// The length of the list in bytes, with what waits to be written.
    pub fn len(&self) -> u64 {
        self.written + self.waiting.len() as u64
    }

    /// True if nothing differed so far.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many differences were added, with those that were left out.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// How many had no room any more.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// The first [`Report::MAX_DIFFERENCES`], for the report itself. After a resumption those from before are
    /// as they were written: masked.
    pub fn first(&self) -> &[Difference] {
        &self.first
    }

    /// Removes the list of a run that leaves no report.
    pub(super) fn discard(self) -> Result<(), HistoryError> {
        match self.file {
            Some(_) => fs::remove_file(&self.path).map_err(files::at(&self.path)),
            None => Ok(()),
        }
    }

    /// Takes back what was added after the list had this length.
    ///
    /// # Errors
    /// The list is shorter, or does not have the end of a line there.
    pub fn truncate(&mut self, len: u64) -> Result<(), HistoryError> {
        self.write()?;
        let Some(file) = &self.file else {
            return match len {
                0 => Ok(()),
                _ => Err(self.damaged(format!("it does not have its {len} bytes any more"))),
            };
        };
        let there = file.metadata().map_err(files::at(&self.path))?.len();
        if there < len {
            return Err(self.damaged(format!("it has {there} bytes of {len}")));
        }
        file.set_len(len).map_err(files::at(&self.path))?;
        let (count, first) = self.read_back(file, len)?;
        (self.count, self.first, self.left_out, self.written) = (count, first, 0, len);
        Ok(())
    }

    fn read_back(&self, file: &File, len: u64) -> Result<(u64, Vec<Difference>), HistoryError> {
        let (mut count, mut first) = (0, Vec::new());
        let mut at = 0;
        let mut reader = BufReader::new(Span { file, at: 0 });
        let mut line = Vec::new();
        while at < len {
            line.clear();
            let begin = at;
            let read = reader
                .read_until(b'\n', &mut line)
                .map_err(files::at(&self.path))?;
            at += read as u64;
            if line.pop() != Some(b'\n') {
                return Err(self.damaged("it ends within a line".to_owned()));
            }
            if first.len() < Report::MAX_DIFFERENCES {
                let plain = self.keys.decrypt_line(&self.name, begin, &line);
                let plain = plain.map_err(|error| self.damaged(error.to_string()))?;
                let difference = json::read_difference(&plain);
                first.push(difference.map_err(|error| self.damaged(error.to_string()))?);
            }
            count += 1;
        }
        Ok((count, first))
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

    fn damaged(&self, reason: String) -> HistoryError {
        HistoryError::Damaged {
            path: self.path.clone(),
            reason,
        }
    }
}

/// An empty list whose name is on stable storage.
fn make(path: &std::path::Path) -> Result<File, HistoryError> {
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

/// A file read from its beginning, wherever it is written.
struct Span<'a> {
    file: &'a File,
    at: u64,
}

impl Read for Span<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}
