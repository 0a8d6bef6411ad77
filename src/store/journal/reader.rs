//! Reads single frames from any thread, while the committer writes.
//!
//! Keeps a few files open. A frame is checked against its checksum each time: what is handed out is
//! what was stored, or an error.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::ReadError;
use super::encrypted;
use super::entry::{Entry, Position};
use super::format::{Payload, decode};
use super::frame::{FRAME_HEAD_BYTES, MAX_PAYLOAD_BYTES, frame};
use super::writer::segment_path;
use crate::store::crypt::Keyring;

/// The most segment files kept open. The entries of one record are seldom in more.
const OPEN_FILES: usize = 8;

/// See the module's words.
pub struct Reader {
    dir: PathBuf,
    keys: Keyring,
    /// Most recently used last.
    files: Mutex<Vec<(u32, Arc<File>)>>,
}

impl Reader {
    /// Reads the segments of this directory, with these keys.
    pub fn new(dir: PathBuf, keys: Keyring) -> Self {
        Reader {
            dir,
            keys,
            files: Mutex::new(Vec::with_capacity(OPEN_FILES)),
        }
    }

    /// The keys that it reads with.
    pub fn keys(&self) -> &Keyring {
        &self.keys
    }

    /// The frame at this place, head and all, as it was written.
    pub fn frame(&self, position: Position) -> Result<Vec<u8>, ReadError> {
        if position.len as usize > MAX_PAYLOAD_BYTES {
            return Err(ReadError::Damaged(position));
        }
        let file = self.file(position.segment)?;
        let mut bytes = vec![0; FRAME_HEAD_BYTES + position.len as usize];
        match file.read_exact_at(&mut bytes, position.offset.into()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(ReadError::Damaged(position));
            }
            Err(error) => return Err(ReadError::Io(error)),
        }
        match frame(&bytes) {
            Some(payload) if payload.len() == position.len as usize => Ok(bytes),
            _ => Err(ReadError::Damaged(position)),
        }
    }

    /// The entry at this place.
    pub fn entry(&self, position: Position) -> Result<Entry, ReadError> {
        let bytes = self.frame(position)?;
        // A key that was not there would have kept the journal from opening.
        let plain = encrypted::open(&bytes[FRAME_HEAD_BYTES..], &self.keys)
            .map_err(|_| ReadError::Damaged(position))?;
        match decode(&plain) {
            Some(Payload::Entry(head)) => head.entry().ok_or(ReadError::Damaged(position)),
            _ => Err(ReadError::Damaged(position)),
        }
    }

    /// Lets go of a segment that was removed, so that its room is given back.
    pub fn forget(&self, segment: u32) {
        self.lock().retain(|(number, _)| *number != segment);
    }

    fn file(&self, segment: u32) -> Result<Arc<File>, ReadError> {
        let mut files = self.lock();
        if let Some(at) = files.iter().position(|(number, _)| *number == segment) {
            let hit = files.remove(at);
            let file = Arc::clone(&hit.1);
            files.push(hit);
            return Ok(file);
        }
        let file = match File::open(segment_path(&self.dir, segment)) {
            Ok(file) => Arc::new(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(ReadError::Gone),
            Err(error) => return Err(ReadError::Io(error)),
        };
        if files.len() >= OPEN_FILES {
            files.remove(0);
        }
        files.push((segment, Arc::clone(&file)));
        Ok(file)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(u32, Arc<File>)>> {
        // The list is whole at every moment, so a panic elsewhere cannot have spoilt it.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
