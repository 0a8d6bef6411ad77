//! The few things that the journal asks of a disk, so that tests can refuse them.
//!
//! One implementation for the real disk; tests put one in between that cuts writes short, runs out
//! of room, fails a sync, and notes the order of what was asked.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{Advice, fadvise};

use crate::store::{directory, room::Room};
use crate::twin::{self, Twin};

/// Read and write for the owner only: deliveries hold personal data.
const FILE_MODE: u32 = 0o600;

/// A directory's files.
pub trait Disk: Send + Sync {
    /// Makes a file that must not exist yet.
    fn create(&self, path: &Path) -> io::Result<Box<dyn SegmentFile>>;
    /// Opens a file for writing.
    fn open(&self, path: &Path) -> io::Result<Box<dyn SegmentFile>>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Returns when the directory's names are on stable storage.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// The room of the file system; `None` if it cannot be told.
    fn room(&self, dir: &Path) -> Option<Room>;
}

/// A file that is written at its end.
pub trait SegmentFile: Send {
    /// Writes some of `bytes` at `offset`, and says how many.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<usize>;
    /// Returns when everything written is on stable storage.
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts the file, and says how long it is then.
    fn truncate(&mut self, len: u64) -> io::Result<u64>;
    /// Lets go of what memory holds of the file, so that what is read next is what is on the disk.
    fn forget(&mut self);
}

/// The real one.
pub struct RealDisk;

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn SegmentFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(FILE_MODE)
            .open(path)?;
        Ok(Box::new(file))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn SegmentFile>> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Box::new(file))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        directory::sync(dir)
    }

    fn room(&self, dir: &Path) -> Option<Room> {
        Room::at(dir).ok()
    }
}

impl SegmentFile for File {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        FileExt::write_at(self, bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        if twin::broken(Twin::NoSync) {
            return Ok(());
        }
        self.sync_data()
    }

    fn truncate(&mut self, len: u64) -> io::Result<u64> {
        self.set_len(len)?;
        Ok(self.metadata()?.len())
    }

    fn forget(&mut self) {
        // Advice: a file system that keeps nothing in memory has nothing to do.
        let _ = fadvise(&*self, 0, None, Advice::DontNeed);
    }
}
