//! How a journal comes to life: the settings, the lock, the scan, the committer's thread.
//!
//! Promises that a second process is refused before anything is touched, that damage never stops the
//! start, that opening needs no free space once a segment exists, and that nothing is known here that a power
//! cut could still take.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::UNIX_EPOCH;

use tokio::sync::watch;

use super::committer::{Committer, State};
use super::disk::{Disk, RealDisk};
use super::error::OpenError;
use super::frame::FORMAT;
use super::handle::{Health, Journal, Shared};
use super::index::{Index, REMEMBERED_DELIVERIES};
use super::notices::{Notices, notices};
use super::reader::Reader;
use super::recover::{Recovered, Scan, Tail, segment_numbers};
use super::remover::Remover;
use super::rewrite::remove_unfinished;
use super::writer::{WriteError, Writer, segment_path};
use crate::store::crypt::Keyring;
use crate::store::directory;
use crate::store::lock::Lock;

/// The bounds of a journal.
#[derive(Clone, Debug)]
pub struct Options {
    /// When a new segment is begun, in bytes.
    pub segment_bytes: u64,
    /// The most requests that share one sync.
    pub group_requests: usize,
    /// About the most bytes that share one sync.
    pub group_bytes: usize,
    /// The most requests that wait for the committer.
    pub waiting_requests: usize,
    /// The most bytes that wait for the committer.
    pub waiting_bytes: usize,
    /// The most entries that are not final.
    pub max_entries: usize,
    /// The most that all segments together may take, in bytes.
    pub max_bytes: u64,
    /// How many segments may stand before what is left in the oldest is copied forward.
    pub keep_segments: usize,
    /// How many settled deliveries are remembered to recognise a late copy.
    pub remembered_deliveries: usize,
    /// Encrypt what is written and read what is encrypted.
    pub keys: Keyring,
    /// No entry gets a number below this: one more than the highest that `STATE` knows of.
    pub first_seq: u64,
    /// The time of day, in milliseconds since the epoch.
    pub now_ms: fn() -> i64,
}

impl Options {
    /// A segment's limit is kept between these, so that offsets fit 32 bits, in bytes.
    const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = 4096..=1024 * 1024 * 1024;
}

impl Default for Options {
    fn default() -> Self {
        Options {
            segment_bytes: 64 * 1024 * 1024,
            group_requests: 512,
            group_bytes: 8 * 1024 * 1024,
            waiting_requests: 1024,
            waiting_bytes: 32 * 1024 * 1024,
            max_entries: 1_000_000,
            max_bytes: 8 * 1024 * 1024 * 1024,
            keep_segments: 4,
            remembered_deliveries: REMEMBERED_DELIVERIES,
            keys: Keyring::default(),
            first_seq: 1,
            // A time at which nothing grows old.
            now_ms: || 0,
        }
    }
}

/// An open journal.
pub struct Opened {
    /// The handle.
    pub journal: Journal,
    /// What earlier processes left to do.
    pub recovered: Recovered,
    /// What is stored from now on, in order. Never more than [`Options::max_entries`] and what moves.
    pub notices: Notices,
}

impl Journal {
    /// Opens the journal in `dir`, which is made if it is not there, and starts its thread.
    pub fn open(dir: &Path, options: Options) -> Result<Opened, OpenError> {
        Journal::open_on(Arc::new(RealDisk), dir, options)
    }

    pub(super) fn open_on(
        disk: Arc<dyn Disk>,
        dir: &Path,
        mut options: Options,
    ) -> Result<Opened, OpenError> {
        let fail = |source| OpenError::Io {
            path: dir.to_owned(),
            source,
        };
        directory::make_private(dir).map_err(fail)?;
        let lock = Lock::take(&dir.join("LOCK"))
            .map_err(fail)?
            .ok_or_else(|| OpenError::InUse(dir.to_owned()))?;
        options.segment_bytes = options.segment_bytes.clamp(
            *Options::SEGMENT_BYTES.start(),
            *Options::SEGMENT_BYTES.end(),
        );

        // Keyed anew by each process, so that no sender can choose ids that meet.
        let hasher = RandomState::new();
        let hash = |id: &str| hasher.hash_one(id).max(1);
        let index = Index::new(options.remembered_deliveries);
        secure_newest(disk.as_ref(), dir)?;
        let mut scan = Scan::new(dir, &options.keys, &hash, index);
        let tail = scan.run(Some(disk.as_ref()))?;
        let (recovered, mut index, next_seq) = scan.finish();
        remove_unfinished(dir).map_err(fail)?;
        let next_seq = next_seq.max(options.first_seq);
        let remover = Remover::start(Arc::clone(&disk), dir).map_err(fail)?;
        let writer = writer_at(tail, disk, dir, next_seq, &options).map_err(fail)?;
        index.grow(writer.number(), writer.len());
        for number in segment_numbers(dir)? {
            if let Some(at_ms) = begun_ms(&segment_path(dir, number)) {
                index.begun(number, at_ms);
            }
        }

        let (sender, commands) = sync_channel(options.waiting_requests);
        let (teller, notices) = notices();
        let (health, health_out) = watch::channel(Health::Writing);
        let shared = Arc::new(Shared::new(
            Reader::new(dir.to_owned(), options.keys.clone()),
            hasher,
            options.waiting_bytes,
        ));
        shared.publish(&index, next_seq);
        let committer = Committer {
            options,
            commands,
            shared: Arc::clone(&shared),
            index,
            writer,
            remover,
            teller,
            health,
            next_seq,
            lock: Some(lock),
            state: State::default(),
        };
        let thread = std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || committer.run())
            .map_err(fail)?;
        Ok(Opened {
            journal: Journal::new(sender, shared, health_out, thread),
            recovered,
            notices,
        })
    }
}

/// When a file was made, in milliseconds since the epoch, where the file system knows.
fn begun_ms(path: &Path) -> Option<i64> {
    let made = std::fs::metadata(path).ok()?.created().ok()?;
    let since = made.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok()
}

/// Puts what an earlier process left on stable storage, before anybody hears of it. A process that was killed
/// between a write and its sync left entries that are in memory only: nobody was told of them, but whoever repeats
/// one is answered at once. And after a sync that failed, memory holds what the disk does not: that is forgotten,
/// and read anew. Only the newest segment can hold such; the others were synced before the next was begun.
fn secure_newest(disk: &dyn Disk, dir: &Path) -> Result<(), OpenError> {
    let Some(newest) = segment_numbers(dir)?.pop() else {
        return Ok(());
    };
    let path = segment_path(dir, newest);
    // One that cannot be opened is damage, which the scan finds.
    let Ok(mut file) = disk.open(&path) else {
        return Ok(());
    };
    let synced = file.sync().and_then(|()| disk.sync_dir(dir));
    file.forget();
    synced.map_err(|source| OpenError::Io { path, source })
}

/// Goes on where the last process stopped, or begins the first or the next segment.
fn writer_at(
    tail: Option<Tail>,
    disk: Arc<dyn Disk>,
    dir: &Path,
    next_seq: u64,
    options: &Options,
) -> io::Result<Writer> {
    let limit = options.segment_bytes;
    // An older release would take an encrypted frame in a segment of its own for damage.
    let encrypts = options.keys.writes().is_some();
    match tail {
        Some(tail) if tail.usable && (tail.format == FORMAT || !encrypts) => {
            Writer::resume(disk, dir, tail.number, tail.len, tail.torn, limit)
        }
        tail => {
            let number = tail.map_or(1, |tail| tail.number + 1);
            Writer::create(disk, dir, number, next_seq, limit)
                .map_err(|(WriteError::NoRoom(source) | WriteError::Broken(source))| source)
        }
    }
}
