//! The segment that is being written: append, sync, start the next one, mend a torn tail.
//!
//! What will be written next is filled with zeros some way ahead, a megabyte at a time: a sync after a write into
//! bytes that the file has already is one write of the disk, where a file that grows costs the file system an entry
//! of its own journal as well (measured on ext4: half the time). Zeros at the end mean nothing to a reader, and a
//! finished segment has none.
//!
//! Knows bytes and files, no entries. Promises that after a failed write nothing half-written stands
//! before what is written next: the tail is cut off, and where that fails a new segment is begun.
//! Tells a disk that has no room (which passes) from one that cannot be believed (which does not).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

use super::disk::{Disk, SegmentFile};
use super::frame::{FORMAT, HEADER_BYTES, Header};
use crate::store::room::Room;
use crate::twin::{self, Twin};

/// How far ahead a segment is filled with zeros, in bytes: a sync that carries this much takes milliseconds, so it
/// must be rare, and this is all the room that is taken before it is needed.
const FILL_BYTES: u64 = 1024 * 1024;
/// Where less than this many times as much is left on the disk, its room is for entries.
const PLENTY: u64 = 64;
/// What is written at once of it.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// Why bytes did not reach the disk.
#[derive(Debug)]
pub enum WriteError {
    /// No room, or read-only: nothing was kept, and later writes may work.
    NoRoom(io::Error),
    /// A sync failed, or the disk failed otherwise. What it holds is unknown, and asking it again
    /// may bring a false yes.
    Broken(io::Error),
}

/// The file of a segment.
pub fn segment_path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("{number:010}.seg"))
}

/// See the module's words.
pub struct Writer {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    limit: u64,
    file: Box<dyn SegmentFile>,
    number: u32,
    len: u64,
    /// To where the file has zeros; nothing is known to stand behind `len` if it is not more.
    filled: u64,
    /// False once a disk had no room for more than is needed; the next segment tries again.
    fills: bool,
    torn: bool,
    unsynced: bool,
}

impl Writer {
    /// Begins a new segment.
    pub fn create(
        disk: Arc<dyn Disk>,
        dir: &Path,
        number: u32,
        first_seq: u64,
        limit: u64,
    ) -> Result<Writer, WriteError> {
        let file = begin_segment(disk.as_ref(), dir, number, first_seq)?;
        Ok(Writer {
            disk,
            dir: dir.to_owned(),
            limit,
            file,
            number,
            len: HEADER_BYTES as u64,
            filled: 0,
            fills: true,
            torn: false,
            unsynced: true,
        })
    }

    /// Goes on in a segment that is good up to `len`; `torn` says that more stands behind it.
    pub fn resume(
        disk: Arc<dyn Disk>,
        dir: &Path,
        number: u32,
        len: u64,
        torn: bool,
        limit: u64,
    ) -> io::Result<Writer> {
        let file = disk.open(&segment_path(dir, number))?;
        Ok(Writer {
            disk,
            dir: dir.to_owned(),
            limit,
            file,
            number,
            len,
            filled: 0,
            fills: true,
            torn,
            unsynced: true,
        })
    }

    /// The number of the segment being written.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Its length, in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Writes all of `bytes` behind what is there and says at which offset. They are not durable
    /// before [`Writer::sync`]. A segment that would grow past its limit is finished first.
    pub fn append(&mut self, bytes: &[u8], next_seq: u64) -> Result<u32, WriteError> {
        self.mend(next_seq)?;
        let full = self.len + bytes.len() as u64 > self.limit;
        if full && self.len > HEADER_BYTES as u64 {
            self.roll(next_seq)?;
        }
        let offset = self.len;
        self.unsynced = true;
        if let Err(error) = write_all(self.file.as_mut(), bytes, offset) {
            self.torn = true;
            // If this does not work now, it is done before the next write.
            let _ = self.cut();
            return Err(classify(error));
        }
        self.len += bytes.len() as u64;
        self.fill();
        // Groups are far below 1 GiB and so is the limit, so an offset fits.
        Ok(offset as u32)
    }

    /// Returns when everything appended is on stable storage.
    pub fn sync(&mut self) -> Result<(), WriteError> {
        if self.unsynced {
            let mut synced = self.file.sync();
            if twin::broken(Twin::SyncAgain) && synced.is_err() {
                synced = self.file.sync();
            }
            synced.map_err(WriteError::Broken)?;
            self.unsynced = false;
        }
        Ok(())
    }

    /// The room that the file system has left, if it can be told.
    pub fn room(&self) -> Option<Room> {
        self.disk.room(&self.dir)
    }

    /// Begins a new segment now.
    pub fn begin_next(&mut self, next_seq: u64) -> Result<(), WriteError> {
        self.mend(next_seq)?;
        self.roll(next_seq)
    }

    /// Empties the segment, of which nothing is needed, where there is no room for a new one. The header
    /// is written over before anything is cut off, so that numbers are not given twice.
    pub fn start_over(&mut self, next_seq: u64) -> Result<(), WriteError> {
        let header = Header {
            format: FORMAT,
            segment: self.number,
            first_seq: next_seq,
        };
        write_all(self.file.as_mut(), &header.encode(), 0).map_err(classify)?;
        self.file.sync().map_err(WriteError::Broken)?;
        self.len = HEADER_BYTES as u64;
        self.torn = true;
        self.cut().map_err(classify)?;
        self.file.sync().map_err(WriteError::Broken)?;
        self.unsynced = false;
        Ok(())
    }

    fn mend(&mut self, next_seq: u64) -> Result<(), WriteError> {
        if !self.torn || self.cut().is_ok() {
            return Ok(());
        }
        self.roll(next_seq)
    }

    /// Fills ahead, once what was filled is used up. Not doing it costs time and nothing else.
    fn fill(&mut self) {
        let until = (self.len + FILL_BYTES).min(self.limit);
        if !self.fills || self.len < self.filled || until <= self.len {
            return;
        }
        let scarce = |room: Room| room.available < PLENTY * FILL_BYTES;
        if self.room().is_some_and(scarce) {
            return;
        }
        let mut at = self.len;
        while at < until {
            let zeros = &ZEROS[..ZEROS.len().min((until - at) as usize)];
            if write_all(self.file.as_mut(), zeros, at).is_err() {
                // The room may be needed for entries.
                self.fills = false;
                self.torn = self.cut().is_err();
                return;
            }
            at += zeros.len() as u64;
        }
        self.filled = until;
    }

    /// Takes the zeros away that were to be written over: nothing more is written here.
    pub fn trim(&mut self) -> Result<(), WriteError> {
        if self.filled > self.len {
            self.cut().map_err(classify)?;
            self.unsynced = true;
        }
        Ok(())
    }

    fn cut(&mut self) -> io::Result<()> {
        self.filled = 0;
        if self.file.truncate(self.len)? != self.len {
            return Err(io::Error::other("the file kept its length"));
        }
        self.torn = false;
        Ok(())
    }

    fn roll(&mut self, next_seq: u64) -> Result<(), WriteError> {
        // Verdicts may have been written without a sync; a finished segment must be whole, and end with what it holds.
        self.trim()?;
        self.sync()?;
        let number = self.number + 1;
        self.file = begin_segment(self.disk.as_ref(), &self.dir, number, next_seq)?;
        self.number = number;
        self.len = HEADER_BYTES as u64;
        (self.filled, self.fills) = (0, true);
        self.torn = false;
        self.unsynced = true;
        Ok(())
    }
}

fn begin_segment(
    disk: &dyn Disk,
    dir: &Path,
    number: u32,
    first_seq: u64,
) -> Result<Box<dyn SegmentFile>, WriteError> {
    let path = segment_path(dir, number);
    let mut file = match disk.create(&path) {
        // Left behind by an attempt that failed and could not be cleared away: it holds nothing.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let mut file = disk.open(&path).map_err(classify)?;
            file.truncate(0).map_err(classify)?;
            file
        }
        other => other.map_err(classify)?,
    };
    let header = Header {
        format: FORMAT,
        segment: number,
        first_seq,
    };
    if let Err(error) = write_all(file.as_mut(), &header.encode(), 0) {
        let _ = disk.remove(&path);
        return Err(classify(error));
    }
    disk.sync_dir(dir).map_err(WriteError::Broken)?;
    Ok(file)
}

fn write_all(file: &mut dyn SegmentFile, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write_at(bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = &bytes[written.min(bytes.len())..];
                offset += written as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn classify(error: io::Error) -> WriteError {
    let passes = [
        Errno::NOSPC,
        Errno::DQUOT,
        Errno::ROFS,
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOMEM,
    ];
    match Errno::from_io_error(&error) {
        Some(errno) if passes.contains(&errno) => WriteError::NoRoom(error),
        _ => WriteError::Broken(error),
    }
}
