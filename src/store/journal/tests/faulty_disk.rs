//! A disk that refuses what it is told to refuse, remembers what it was asked, and can lose its power.
//!
//! It stands between the journal and real files, so that what is left behind is real.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rustix::io::Errno;

use super::super::disk::{Disk, RealDisk, SegmentFile};
use super::*;
use crate::store::room::Room;

/// What a disk writes as a whole, in bytes.
const SECTOR: usize = 512;

/// What was asked of the disk, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    Create,
    Write(usize),
    Sync,
    SyncDir,
    Truncate,
    Remove,
}

/// What the disk is to do wrong.
#[derive(Default)]
pub struct Faults {
    /// How many bytes may still be written; then there is no room. Every write takes at most 1000.
    pub room: Option<usize>,
    /// So many bytes may be written over at the beginning of a file without taking room.
    pub spare: u64,
    /// What is said to be left of 16 MiB.
    pub available: Option<u64>,
    /// What a write answers once, instead of writing.
    pub write: Option<Errno>,
    /// What every sync of a file answers.
    pub sync: Option<Errno>,
    /// What every sync of a directory answers.
    pub sync_dir: Option<Errno>,
    /// What cutting a file answers.
    pub truncate: Option<Errno>,
    /// True if the next write panics.
    pub panic: bool,
    /// True while syncs of what was written have to wait.
    pub hang: bool,
    /// True if syncs are only said to have happened: the twin that must fail.
    pub pretend: bool,
    pub asked: Vec<Asked>,
    /// What of each file would survive a power cut for certain.
    synced: BTreeMap<PathBuf, Vec<u8>>,
    /// Which names would.
    named: BTreeSet<PathBuf>,
}

/// See the module's words.
#[derive(Clone, Default)]
pub struct FaultyDisk(pub Arc<Mutex<Faults>>);

struct FaultyFile {
    file: Box<dyn SegmentFile>,
    path: PathBuf,
    len: u64,
    /// True once something was written here.
    written: bool,
    faults: Arc<Mutex<Faults>>,
}

impl FaultyDisk {
    pub fn set(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.0.lock().unwrap());
    }

    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.0.lock().unwrap().asked)
    }

    fn wrap(&self, path: &Path, file: Box<dyn SegmentFile>) -> Box<dyn SegmentFile> {
        Box::new(FaultyFile {
            file,
            path: path.to_owned(),
            len: 0,
            written: false,
            faults: Arc::clone(&self.0),
        })
    }

    /// Copies what a power cut at this moment could leave: everything synced, and so many of a hundred
    /// sectors that were written since, in no order.
    pub fn power_cut(&self, from: &Path, to: &Path, luck: u64) {
        let faults = self.0.lock().unwrap();
        for path in &faults.named {
            let Ok(now) = std::fs::read(path) else {
                continue;
            };
            let mut bytes = faults.synced.get(path).cloned().unwrap_or_default();
            for (number, sector) in now.chunks(SECTOR).enumerate() {
                let at = number * SECTOR..number * SECTOR + sector.len();
                let drawn = (number as u64 + luck).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
                if bytes.get(at.clone()) != Some(sector) && drawn % 100 < luck {
                    bytes.resize(bytes.len().max(at.end), 0);
                    bytes[at].copy_from_slice(sector);
                }
            }
            std::fs::write(to.join(path.strip_prefix(from).unwrap()), bytes).unwrap();
        }
    }
}

fn fail(errno: Option<Errno>) -> io::Result<()> {
    errno.map_or(Ok(()), |errno| Err(errno.into()))
}

impl Disk for FaultyDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn SegmentFile>> {
        self.0.lock().unwrap().asked.push(Asked::Create);
        RealDisk.create(path).map(|file| self.wrap(path, file))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn SegmentFile>> {
        RealDisk.open(path).map(|file| self.wrap(path, file))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.lock().unwrap().asked.push(Asked::Remove);
        RealDisk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut faults = self.0.lock().unwrap();
        faults.asked.push(Asked::SyncDir);
        fail(faults.sync_dir)?;
        for file in std::fs::read_dir(dir)? {
            let path = file?.path();
            if path.extension().is_some_and(|extension| extension == "seg") {
                faults.named.insert(path);
            }
        }
        RealDisk.sync_dir(dir)
    }

    fn room(&self, _: &Path) -> Option<Room> {
        let available = self.0.lock().unwrap().available?;
        Some(Room {
            available,
            total: 16 << 20,
            files: 0,
            total_files: 0,
        })
    }
}

impl SegmentFile for FaultyFile {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.written = true;
        let mut faults = self.faults.lock().unwrap();
        fail(faults.write.take())?;
        if std::mem::take(&mut faults.panic) {
            drop(faults);
            panic!("as the test asked");
        }
        let mut count = bytes.len();
        let over = self.len > 0 && offset + bytes.len() as u64 <= faults.spare;
        if let Some(room) = faults.room.as_mut().filter(|_| !over) {
            if *room == 0 {
                return Err(Errno::NOSPC.into());
            }
            count = count.min(*room).min(1000);
            *room -= count;
        }
        faults.asked.push(Asked::Write(count));
        self.len = self.len.max(offset + count as u64);
        self.file.write_at(&bytes[..count], offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        while self.written && self.faults.lock().unwrap().hang {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let mut faults = self.faults.lock().unwrap();
        faults.asked.push(Asked::Sync);
        fail(faults.sync)?;
        if !faults.pretend {
            // All of it, whoever wrote it.
            let bytes = std::fs::read(&self.path)?;
            faults.synced.insert(self.path.clone(), bytes);
        }
        self.file.sync()
    }

    fn truncate(&mut self, len: u64) -> io::Result<u64> {
        let mut faults = self.faults.lock().unwrap();
        faults.asked.push(Asked::Truncate);
        fail(faults.truncate)?;
        self.file.truncate(len)
    }

    fn forget(&mut self) {
        self.file.forget();
    }
}
