//! The files of the log: segments of lines, and the marks beside them.
//!
//! A segment's name is the number of its first entry. Lines may be encrypted one by one; the marks are a file that
//! is replaced as a whole. Knows names and bytes, not what an entry says.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::fs::OFlags;

use super::{
    OplogError,
    chain::{Joint, Marks},
};
use crate::store::{
    crypt::{Keyring, Name},
    directory,
    upkeep::OPLOG,
};

/// How a segment's name ends.
const ENDING: &str = ".ndjson";
/// The marks' name.
const MARKS: &str = "marks.json";
/// How a file begins that is not whole yet.
const UNFINISHED: &str = ".marks-";
/// Digits of a segment's name, so that names sort as numbers do.
const DIGITS: usize = 20;
/// Segments that are looked at; retention keeps them to a few dozen.
const MOST_SEGMENTS: usize = 10_000;
/// How often, and with which wait between, it is tried to be the only one who writes.
const LOCK_TRIES: u32 = 100;
/// See [`LOCK_TRIES`].
const LOCK_WAIT: Duration = Duration::from_millis(20);
/// The largest segment that is read, in bytes: four times what is written into one.
pub const MAX_SEGMENT: u64 = 4 * super::SEGMENT_BYTES;

/// Where the log lies, and how it is kept.
#[derive(Clone, Debug)]
pub struct Files {
    dir: PathBuf,
    keys: Keyring,
}

/// A segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The number of its first entry.
    pub first: u64,
    /// Its length, in bytes.
    pub bytes: u64,
}

/// A line of a segment.
pub enum Kept {
    /// As it was before it was encrypted.
    Line(Vec<u8>),
    /// It cannot be decrypted, and why.
    Unreadable(String),
    /// It has no end: the process was killed, or is writing it right now.
    Unfinished,
}

impl Files {
    /// Those of this state directory.
    pub fn of(state: &Path, keys: &Keyring) -> Files {
        Files {
            dir: state.join(OPLOG),
            keys: keys.clone(),
        }
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes the directory, for the owner only, and removes what was not finished. Nobody else writes there as long
    /// as the answer is kept.
    pub fn make(&self) -> Result<File, OplogError> {
        directory::make_private(&self.dir).map_err(at(&self.dir))?;
        let lock = self.lock().map_err(at(&self.dir))?;
        for entry in fs::read_dir(&self.dir).map_err(at(&self.dir))? {
            let path = entry.map_err(at(&self.dir))?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            if name.is_some_and(|name| name.starts_with(UNFINISHED)) {
                fs::remove_file(&path).map_err(at(&path))?;
            }
        }
        Ok(lock)
    }

    /// The thread of a daemon that was given up in this very process may still write its last group.
    fn lock(&self) -> io::Result<File> {
        let dir = File::open(&self.dir)?;
        for _ in 0..LOCK_TRIES {
            match dir.try_lock() {
                Ok(()) => return Ok(dir),
                Err(TryLockError::WouldBlock) => std::thread::park_timeout(LOCK_WAIT),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        Err(io::Error::other("another process writes there"))
    }

    /// All segments, oldest first; none if there is no directory.
    pub fn segments(&self) -> Result<Vec<Segment>, OplogError> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(at(&self.dir))?,
        };
        let mut found = Vec::new();
        for entry in entries.take(MOST_SEGMENTS) {
            let entry = entry.map_err(at(&self.dir))?;
            let name = entry.file_name();
            let first = name.to_str().and_then(|name| name.strip_suffix(ENDING));
            let first = first.filter(|first| first.len() == DIGITS);
            if let Some(first) = first.and_then(|first| first.parse().ok()) {
                // One that has just been removed is none.
                let there = entry.metadata().ok().filter(fs::Metadata::is_file);
                found.extend(there.map(|there| Segment {
                    first,
                    bytes: there.len(),
                }));
            }
        }
        found.sort_unstable_by_key(|segment| segment.first);
        Ok(found)
    }

    /// Opens a segment to be added to.
    pub fn open(&self, first: u64) -> Result<File, OplogError> {
        let path = self.path(first);
        let mut options = OpenOptions::new();
        let file = open(&path, options.read(true).write(true).create(true))?;
        directory::sync(&self.dir).map_err(at(&self.dir))?;
        Ok(file)
    }

    /// Removes a segment.
    pub fn remove(&self, first: u64) -> Result<(), OplogError> {
        let path = self.path(first);
        fs::remove_file(&path).map_err(at(&path))
    }

    /// The bytes of a segment; none if it has just been removed.
    pub fn read(&self, first: u64) -> Result<Option<Vec<u8>>, OplogError> {
        let path = self.path(first);
        let file = match open(&path, OpenOptions::new().read(true)) {
            Err(OplogError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            file => file?,
        };
        let mut bytes = Vec::new();
        let read = file.take(MAX_SEGMENT).read_to_end(&mut bytes);
        read.map_err(at(&path))?;
        Ok(Some(bytes))
    }

    /// The lines of a segment, each with where it begins and ends in its bytes.
    pub fn lines<'f>(
        &'f self,
        first: u64,
        bytes: &'f [u8],
    ) -> impl DoubleEndedIterator<Item = (u64, Kept)> + 'f {
        let name = self.name(first);
        let spans = spans(bytes);
        spans.into_iter().map(move |(begin, end)| {
            let line = &bytes[begin..end];
            let at = begin as u64;
            let Some(line) = line.strip_suffix(b"\n") else {
                return (at, Kept::Unfinished);
            };
            match self.keys.decrypt_line(&name, at, line) {
                Ok(plain) => (at, Kept::Line(plain.into_owned())),
                Err(error) => (at, Kept::Unreadable(error.to_string())),
            }
        })
    }

    /// A line as it is kept, with its end.
    pub fn kept(&self, first: u64, at: u64, line: &[u8]) -> Vec<u8> {
        self.keys.encrypt_line(&self.name(first), at, line)
    }

    /// True if lines are kept as they are.
    pub fn plain(&self) -> bool {
        self.keys.writes().is_none()
    }

    /// The hash that a segment's first entry names; none if that cannot be read.
    pub fn joint(&self, first: u64) -> Result<Option<Joint>, OplogError> {
        let bytes = self.read(first)?.unwrap_or_default();
        let line = self.lines(first, &bytes).next();
        Ok(match line {
            Some((_, Kept::Line(line))) => Joint::of(&line),
            _ => None,
        })
    }

    /// The marks; none if they are not there or cannot be read.
    pub fn marks(&self) -> Result<Option<Marks>, OplogError> {
        let path = self.dir.join(MARKS);
        let file = match open(&path, OpenOptions::new().read(true)) {
            Err(OplogError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            file => file?,
        };
        let mut bytes = Vec::new();
        let read = file.take(1 << 16).read_to_end(&mut bytes);
        read.map_err(at(&path))?;
        let plain = self.keys.decrypt(Name::File(&marks_name()), &bytes);
        Ok(plain
            .ok()
            .and_then(|plain| serde_json::from_slice(&plain).ok()))
    }

    /// Puts marks in place: after a power cut these are there, or those before them. `synced`: these.
    pub fn mark(&self, marks: Marks, synced: bool) -> Result<(), OplogError> {
        let path = self.dir.join(MARKS);
        let write = || {
            let mut file = tempfile::Builder::new()
                .prefix(UNFINISHED)
                .tempfile_in(&self.dir)?;
            // Numbers and hashes are always JSON.
            let plain = serde_json::to_vec(&marks).unwrap_or_default();
            file.write_all(&self.keys.encrypt(Name::File(&marks_name()), &plain))?;
            // Or some file systems keep the new name and none of what is in the file.
            file.as_file().sync_all()?;
            file.persist(&path)?;
            if synced {
                directory::sync(&self.dir)
            } else {
                Ok(())
            }
        };
        write().map_err(at(&path))
    }

    fn path(&self, first: u64) -> PathBuf {
        self.dir.join(format!("{first:0DIGITS$}{ENDING}"))
    }

    /// What is bound into a segment's lines.
    fn name(&self, first: u64) -> String {
        format!("{OPLOG}/{first:0DIGITS$}{ENDING}")
    }
}

fn marks_name() -> String {
    format!("{OPLOG}/{MARKS}")
}

/// Where each line begins and ends, its end included.
fn spans(bytes: &[u8]) -> Vec<(usize, usize)> {
    let mut spans = Vec::new();
    let mut begin = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        spans.push((begin, begin + line.len()));
        begin += line.len();
    }
    spans
}

/// Opens a plain file for the owner only; no link leads elsewhere.
fn open(path: &Path, options: &mut OpenOptions) -> Result<File, OplogError> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    // The bits of open flags are few and positive.
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let opened = options.mode(0o600).custom_flags(flags).open(path);
    opened.map_err(at(path))
}

/// What an error of the disk was about.
pub fn at(path: &Path) -> impl FnOnce(io::Error) -> OplogError {
    let path = path.to_owned();
    move |source| OplogError::Io { path, source }
}
