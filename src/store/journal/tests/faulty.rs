//! A disk that refuses what it is told to refuse, and the journal's answers.
//!
//! The faults stand between the journal and real files, so that what is left behind is real.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rustix::io::Errno;

use super::super::disk::{Disk, RealDisk, SegmentFile};
use super::*;

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
    /// What a write answers once, instead of writing.
    pub write: Option<Errno>,
    /// What every sync of a file answers.
    pub sync: Option<Errno>,
    /// What every sync of a directory answers.
    pub sync_dir: Option<Errno>,
    /// What cutting a file answers.
    pub truncate: Option<Errno>,
    /// True while syncs have to wait.
    pub hang: bool,
    pub asked: Vec<Asked>,
}

/// See the module's words.
#[derive(Clone, Default)]
pub struct FaultyDisk(pub Arc<Mutex<Faults>>);

struct FaultyFile {
    file: Box<dyn SegmentFile>,
    faults: Arc<Mutex<Faults>>,
}

impl FaultyDisk {
    pub fn set(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.0.lock().unwrap());
    }

    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.0.lock().unwrap().asked)
    }

    fn wrap(&self, file: Box<dyn SegmentFile>) -> Box<dyn SegmentFile> {
        Box::new(FaultyFile {
            file,
            faults: Arc::clone(&self.0),
        })
    }
}

fn fail(errno: Option<Errno>) -> io::Result<()> {
    errno.map_or(Ok(()), |errno| Err(errno.into()))
}

impl Disk for FaultyDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn SegmentFile>> {
        self.0.lock().unwrap().asked.push(Asked::Create);
        RealDisk.create(path).map(|file| self.wrap(file))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn SegmentFile>> {
        RealDisk.open(path).map(|file| self.wrap(file))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.lock().unwrap().asked.push(Asked::Remove);
        RealDisk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut faults = self.0.lock().unwrap();
        faults.asked.push(Asked::SyncDir);
        fail(faults.sync_dir)?;
        RealDisk.sync_dir(dir)
    }
}

impl SegmentFile for FaultyFile {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut faults = self.faults.lock().unwrap();
        fail(faults.write.take())?;
        let mut count = bytes.len();
        if let Some(room) = &mut faults.room {
            if *room == 0 {
                return Err(Errno::NOSPC.into());
            }
            count = count.min(*room).min(1000);
            *room -= count;
        }
        faults.asked.push(Asked::Write(count));
        self.file.write_at(&bytes[..count], offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        while self.faults.lock().unwrap().hang {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let mut faults = self.faults.lock().unwrap();
        faults.asked.push(Asked::Sync);
        fail(faults.sync)?;
        self.file.sync()
    }

    fn truncate(&mut self, len: u64) -> io::Result<u64> {
        let mut faults = self.faults.lock().unwrap();
        faults.asked.push(Asked::Truncate);
        fail(faults.truncate)?;
        self.file.truncate(len)
    }
}

fn open_faulty(disk: &FaultyDisk, dir: &Path, options: Options) -> Opened {
    Journal::open_on(Arc::new(disk.clone()), dir, options).unwrap()
}

fn big(n: usize) -> NewEntry {
    delivery(&format!("msg_{n}"), "user_1", &[b'x'; 2500])
}

#[tokio::test]
async fn no_answer_comes_before_the_sync_that_covers_it() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let opened = open_faulty(&disk, dir.path(), small());
    let opening = disk.asked();
    assert_eq!(opening, [Asked::Create, Asked::Write(32), Asked::SyncDir]);
    for n in 0..20 {
        store(&opened.journal, big(n)).await;
        let asked = disk.asked();
        // Whatever else was done (a new segment), the entry's write, then its sync, came last.
        let [.., Asked::Write(_), Asked::Sync] = asked[..] else {
            panic!("answered after {asked:?}");
        };
        if asked.contains(&Asked::Create) {
            assert!(asked.contains(&Asked::SyncDir), "{asked:?}");
        }
    }

    disk.set(|faults| faults.hang = true);
    let mut waiting = Box::pin(opened.journal.append(big(100)));
    let moment = std::time::Duration::from_millis(50);
    assert!(tokio::time::timeout(moment, &mut waiting).await.is_err());
    // A copy of what is not durable yet waits as well.
    let mut copy = Box::pin(opened.journal.append(big(100)));
    assert!(tokio::time::timeout(moment, &mut copy).await.is_err());
    disk.set(|faults| faults.hang = false);
    assert!(matches!(waiting.await, Ok(Appended::Stored { .. })));
    assert_eq!(copy.await, Ok(Appended::Known { settled: false }));
}

#[tokio::test]
async fn many_that_wait_share_one_sync() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let opened = open_faulty(&disk, dir.path(), Options::default());
    disk.set(|faults| faults.hang = true);
    let asked: Vec<_> = (0..200).map(|n| opened.journal.append(big(n))).collect();
    disk.set(|faults| faults.hang = false);
    for answer in asked {
        answer.await.unwrap();
    }
    let syncs = disk.asked().iter().filter(|a| **a == Asked::Sync).count();
    assert!(syncs <= 3, "{syncs} syncs for 200 entries");
}

#[tokio::test]
async fn a_full_disk_refuses_and_heals_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let opened = open_faulty(&disk, dir.path(), Options::default());
    let journal = &opened.journal;
    let first = store(journal, big(1)).await;
    // The write is cut short, then there is no room for the rest.
    for room in [0, 1, 700, 1500, 2550] {
        disk.set(|faults| faults.room = Some(room));
        let refused = journal.append(big(2)).await;
        assert!(
            matches!(refused, Err(AppendError::Unwritable(_))),
            "{refused:?} with room for {room}"
        );
        assert!(matches!(&*journal.health().borrow(), Health::Unwritable(_)));
    }
    journal.settle([settled(first)]);
    disk.set(|faults| faults.room = None);
    let second = store(journal, big(2)).await;
    assert_eq!(*journal.health().borrow(), Health::Writing);
    journal.close().await.unwrap();
    drop(opened);

    let again = open(dir.path());
    assert_eq!(pending(&again.recovered), [second]);
    assert_eq!(again.recovered.damage, Damage::default());
}

#[tokio::test]
async fn a_tail_that_cannot_be_cut_off_is_left_in_its_segment() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let opened = open_faulty(&disk, dir.path(), Options::default());
    let journal = &opened.journal;
    let first = store(journal, big(1)).await;
    disk.set(|faults| {
        faults.room = Some(1500);
        faults.truncate = Some(Errno::ROFS);
    });
    assert!(journal.append(big(2)).await.is_err());
    assert!(journal.append(big(2)).await.is_err());
    disk.set(|faults| faults.room = None);
    let second = store(journal, big(2)).await;
    journal.pulse().await.unwrap();
    assert_eq!(journal.stats().segments, 2);
    drop(opened);

    let again = open(dir.path());
    assert_eq!(pending(&again.recovered), [first, second]);
    assert!(again.recovered.damage.bytes > 0);
    for meta in &again.recovered.pending {
        again.journal.read(meta.position).unwrap();
    }
}

#[tokio::test]
async fn a_failed_sync_is_never_asked_again_and_ends_the_journal() {
    for dir_too in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let disk = FaultyDisk::default();
        let opened = open_faulty(&disk, dir.path(), small());
        let journal = &opened.journal;
        let first = store(journal, big(1)).await;
        disk.set(|faults| match dir_too {
            false => faults.sync = Some(Errno::IO),
            true => faults.sync_dir = Some(Errno::IO),
        });
        disk.asked();
        let refused = journal.append(big(2)).await;
        assert!(matches!(refused, Err(AppendError::Poisoned(_))));
        disk.set(|faults| {
            faults.sync = None;
            faults.sync_dir = None;
        });
        let after = disk.asked();
        for n in 3..10 {
            let refused = journal.append(big(n)).await;
            assert!(matches!(refused, Err(AppendError::Poisoned(_))));
        }
        journal.settle([settled(first)]);
        assert!(journal.sync().await.is_err());
        assert_eq!(disk.asked(), [], "the disk is left alone after {after:?}");
        let moment = std::time::Duration::from_secs(5);
        let reason = tokio::time::timeout(moment, journal.fatal()).await.unwrap();
        assert!(!reason.is_empty());
        assert!(journal.close().await.is_err());
        drop(opened);

        let again = open(dir.path());
        assert!(pending(&again.recovered).contains(&first));
    }
}

#[tokio::test]
async fn a_disk_that_fails_a_write_otherwise_is_not_believed_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let opened = open_faulty(&disk, dir.path(), Options::default());
    disk.set(|faults| faults.write = Some(Errno::IO));
    let refused = opened.journal.append(big(1)).await;
    assert!(matches!(refused, Err(AppendError::Poisoned(_))));
    // An interrupted write is no failure.
    drop(opened);
    let opened = open_faulty(&disk, dir.path(), Options::default());
    disk.set(|faults| faults.write = Some(Errno::INTR));
    store(&opened.journal, big(2)).await;
}

#[tokio::test]
async fn verdicts_given_while_the_disk_is_full_are_written_later() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let opened = open_faulty(&disk, dir.path(), Options::default());
    let journal = &opened.journal;
    for n in 1..=3 {
        store(journal, big(n)).await;
    }
    disk.set(|faults| faults.room = Some(0));
    journal.settle([settled(1)]);
    journal.park(parked(2));
    assert!(matches!(
        journal.sync().await,
        Err(AppendError::Unwritable(_))
    ));
    disk.set(|faults| faults.room = None);
    // Nobody appends; the notes go out on their own.
    let moment = std::time::Duration::from_secs(10);
    let healed = async {
        let mut health = journal.health();
        health
            .wait_for(|health| *health == Health::Writing)
            .await
            .map(|_| ())
    };
    tokio::time::timeout(moment, healed).await.unwrap().unwrap();
    drop(opened);
    let again = open(dir.path());
    assert_eq!(pending(&again.recovered), [3]);
    assert_eq!(again.recovered.parked[0].meta.seq, 2);
}

#[test]
fn a_directory_without_room_for_the_first_segment_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    disk.set(|faults| faults.room = Some(10));
    let refused = Journal::open_on(Arc::new(disk), dir.path(), Options::default());
    assert!(matches!(refused, Err(OpenError::Io { .. })));
    let left: Vec<PathBuf> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some())
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
