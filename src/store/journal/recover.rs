//! Opens what an earlier process left behind, whatever state it is in.
//!
//! Reads every segment from the oldest on and follows its frames. Promises: no panic on any bytes;
//! every whole frame is found, also behind a damaged one; the torn tail that a kill or a power cut
//! leaves is cut off, and kept in a `.torn` file; zeros at the end are what was to be written over. Damage is
//! counted and told. Entries that nobody was told of may come back: repeating them is harmless.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

use super::disk::Disk;
use super::entry::{Meta, Parked, ParkedMeta, Position};
use super::error::OpenError;
use super::format::{Payload, decode};
use super::frame::{FORMAT, HEADER_BYTES, Header};
use super::index::Index;
use super::search::{Frames, without_zeros};
use super::writer::segment_path;
use crate::store::crypt::{KeyId, Keyring};

/// The highest number that a file name is believed to have; at 64 MiB each, no journal gets there.
const LAST_SEGMENT: u32 = 4_000_000_000;
/// The most `.torn` files kept.
const KEPT_TORN: usize = 8;
/// The most damaged segments kept. The time in their names is that of their last write.
const KEPT_DAMAGED: usize = 3;

/// What was found when the journal was opened.
#[derive(Debug, Default)]
pub struct Recovered {
    /// What waits to be worked off, oldest first.
    pub pending: Vec<Meta>,
    /// The dead letters, oldest first.
    pub parked: Vec<ParkedMeta>,
    /// The highest number of an entry ever seen here; zero for a journal without any.
    pub highest_seq: u64,
    /// How many entries were read, settled ones included.
    pub entries: u64,
    /// How many of them have a final verdict.
    pub settled: u64,
    /// Frames of any kind by the key under which they are encrypted; none: plain.
    pub frames: BTreeMap<Option<KeyId>, u64>,
    /// How many segment files there were. Zero: the journal is new, or was emptied.
    pub segments: usize,
    /// Their length together, in bytes.
    pub bytes: u64,
    /// What was not as it was written.
    pub damage: Damage,
}

/// Bytes that could not be read back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// Damaged places, torn tails not counted: a kill leaves those.
    pub places: u32,
    /// Their length together, in bytes.
    pub bytes: u64,
    /// What was cut off the newest segment, in bytes.
    pub torn_bytes: u64,
    /// Where cut-off bytes and damaged segments are kept.
    pub set_aside: Vec<PathBuf>,
    /// Segments whose number is missing between others.
    pub missing_segments: u32,
}

impl Damage {
    /// True if acknowledged deliveries may be missing: a full diff has to say which.
    pub fn may_have_lost(&self) -> bool {
        self.places > 0 || self.missing_segments > 0
    }
}

/// The end of the newest segment.
pub struct Tail {
    /// The segment's number.
    pub number: u32,
    /// The layout it was written in; zero if its header is damaged.
    pub format: u32,
    /// How much of it is good, in bytes.
    pub len: u64,
    /// True if more stands behind that.
    pub torn: bool,
    /// True if it can be written on.
    pub usable: bool,
}

/// Reads the segments of a directory.
pub struct Scan<'a> {
    dir: &'a Path,
    keys: &'a Keyring,
    hash: &'a dyn Fn(&str) -> u64,
    /// What is live, and where.
    pub index: Index,
    metas: HashMap<u64, Meta>,
    parked: HashMap<u64, Parked>,
    /// What will be reported.
    pub found: Recovered,
    /// The number that the next entry gets, at least.
    pub next_seq: u64,
}

impl<'a> Scan<'a> {
    /// Nothing read yet. `hash` stands for a delivery id in the index.
    pub fn new(
        dir: &'a Path,
        keys: &'a Keyring,
        hash: &'a dyn Fn(&str) -> u64,
        index: Index,
    ) -> Self {
        Scan {
            dir,
            keys,
            hash,
            index,
            metas: HashMap::new(),
            parked: HashMap::new(),
            found: Recovered::default(),
            next_seq: 1,
        }
    }

    /// Reads everything, then cuts the torn end off; without a disk nothing is touched. Answers where writing
    /// can go on, or `None` for an empty directory.
    pub fn run(&mut self, disk: Option<&dyn Disk>) -> Result<Option<Tail>, OpenError> {
        let numbers = segment_numbers(self.dir)?;
        self.found.segments = numbers.len();
        let mut buffer = Vec::new();
        let mut tail = None;
        for (at, &number) in numbers.iter().enumerate() {
            let last = at + 1 == numbers.len();
            if at > 0 {
                self.found.damage.missing_segments += number - numbers[at - 1] - 1;
            }
            let places = self.found.damage.places;
            let unread = self.load(number, &mut buffer);
            let (good, header) = self.segment(number, &buffer)?;
            let behind = &buffer[good..];
            let rest = if last { without_zeros(behind) } else { behind };
            let bytes = (good + rest.len()) as u64 + unread;
            self.found.bytes += bytes;
            self.index.grow(number, bytes);
            if last {
                let torn = !behind.is_empty();
                tail = Some(Tail {
                    number,
                    len: good as u64,
                    torn: torn && !self.cut(disk, number, good as u64, rest),
                    format: header.map_or(0, |header| header.format),
                    usable: header.is_some() && unread == 0,
                });
                if header.is_some() && unread == 0 {
                    self.index.grow(number, good as u64);
                }
            } else if !rest.is_empty() {
                self.damaged(rest.len() as u64);
            }
            if unread > 0 {
                self.damaged(unread);
            }
            if self.found.damage.places > places {
                self.keep_damaged(number);
                // Nothing more is written there, so that what was found stays as it was.
                tail.iter_mut()
                    .for_each(|tail| tail.usable &= tail.number != number);
            }
        }
        Ok(tail)
    }

    /// What waits and what is parked, in order.
    pub fn finish(mut self) -> (Recovered, Index, u64) {
        let mut found = self.found;
        found.highest_seq = self.next_seq - 1;
        for (seq, parked) in self.parked {
            if let Some(meta) = self.metas.remove(&seq) {
                found.parked.push(ParkedMeta { meta, parked });
            }
        }
        found.parked.sort_unstable_by_key(|parked| parked.meta.seq);
        found.pending = self.metas.into_values().collect();
        found.pending.sort_unstable_by_key(|meta| meta.seq);
        (found, self.index, self.next_seq)
    }

    /// Reads a segment as far as it can be read; answers how many bytes could not.
    fn load(&self, number: u32, buffer: &mut Vec<u8>) -> u64 {
        buffer.clear();
        let path = segment_path(self.dir, number);
        let len = fs::metadata(&path).map_or(0, |meta| meta.len());
        let read = File::open(&path).and_then(|mut file| {
            buffer.reserve_exact(usize::try_from(len).unwrap_or(0));
            file.read_to_end(buffer)
        });
        match read {
            Ok(_) => 0,
            Err(error) => {
                tracing::warn!(%error, segment = number, "a journal segment cannot be read to its end");
                len.saturating_sub(buffer.len() as u64).max(1)
            }
        }
    }

    /// Follows the frames of a segment; answers how many bytes of it are good, damaged places
    /// between good frames included, and its header if that was whole.
    fn segment(&mut self, number: u32, bytes: &[u8]) -> Result<(usize, Option<Header>), OpenError> {
        let header = Header::decode(bytes);
        if let Some(header) = header {
            is_newer(&segment_path(self.dir, number), header.format)?;
            self.next_seq = self.next_seq.max(header.first_seq);
        } else if bytes.len() > HEADER_BYTES {
            self.damaged(HEADER_BYTES as u64);
        }
        let mut frames = Frames::of(bytes, self.keys);
        self.index.grow(number, frames.good() as u64);
        let unknown = |key| OpenError::UnknownKey {
            path: segment_path(self.dir, number),
            key,
        };
        while let Some(frame) = frames.next().map_err(unknown)? {
            if frame.skipped > 0 {
                self.damaged(frame.skipped as u64);
            }
            let position = Position {
                segment: number,
                offset: frame.at as u32,
                len: frame.len as u32,
            };
            *self.found.frames.entry(frame.key).or_default() += 1;
            if let Some(payload) = decode(&frame.plain) {
                self.apply(payload, position);
            }
        }
        Ok((frames.good(), header))
    }

    fn apply(&mut self, payload: Payload<'_>, position: Position) {
        match payload {
            Payload::Entry(head) => {
                let seq = head.seq;
                let delivery = head.delivery.map_or(0, |(id, _)| (self.hash)(id));
                self.found.entries += 1;
                self.next_seq = self.next_seq.max(seq.saturating_add(1));
                self.index.store(seq, position, delivery);
                self.metas.insert(seq, head.meta(position));
            }
            Payload::Settle(settled) => {
                for verdict in settled {
                    self.next_seq = self.next_seq.max(verdict.seq.saturating_add(1));
                    self.index.settle(verdict.seq);
                    self.found.settled += u64::from(self.metas.remove(&verdict.seq).is_some());
                    self.parked.remove(&verdict.seq);
                }
            }
            Payload::Park(parked) => {
                self.index.park(parked.seq, position);
                if self.metas.contains_key(&parked.seq) {
                    self.parked.insert(parked.seq, parked);
                }
            }
            Payload::Unpark(seq) => {
                self.index.unpark(seq);
                self.parked.remove(&seq);
            }
        }
    }

    /// Keeps a damaged segment for inspection, under a second name that costs no room while it is in use.
    fn keep_damaged(&mut self, number: u32) {
        match keep_damaged(self.dir, number) {
            Ok(path) => self.found.damage.set_aside.push(path),
            Err(error) => {
                tracing::warn!(%error, segment = number, "a damaged segment is not kept");
            }
        }
    }

    fn damaged(&mut self, bytes: u64) {
        self.found.damage.places += 1;
        self.found.damage.bytes += bytes;
    }

    /// Cuts the torn tail and the zeros off the newest segment; false if that was not possible now.
    fn cut(&mut self, disk: Option<&dyn Disk>, number: u32, good: u64, rest: &[u8]) -> bool {
        self.found.damage.torn_bytes += rest.len() as u64;
        let Some(disk) = disk else {
            return false;
        };
        if !rest.is_empty() {
            match set_aside(self.dir, number, good, rest) {
                Ok(path) => self.found.damage.set_aside.push(path),
                Err(error) => {
                    tracing::warn!(%error, "the torn end of the journal could not be kept");
                }
            }
        }
        let path = segment_path(self.dir, number);
        let cut = disk.open(&path).and_then(|mut file| {
            let len = file.truncate(good)?;
            file.sync()?;
            Ok(len == good)
        });
        cut.unwrap_or(false)
    }
}

/// What is in a journal, without touching it.
///
/// # Errors
/// See [`OpenError`].
pub fn examine(dir: &Path, keys: &Keyring) -> Result<Recovered, OpenError> {
    let hash = |_: &str| 0;
    let mut scan = Scan::new(dir, keys, &hash, Index::new(0));
    scan.run(None)?;
    Ok(scan.finish().0)
}

/// Refuses a segment of a layout that is not known.
pub fn is_newer(path: &Path, format: u32) -> Result<(), OpenError> {
    if format > FORMAT {
        return Err(OpenError::Newer {
            path: path.to_owned(),
            found: format,
            known: FORMAT,
        });
    }
    Ok(())
}

/// Removes the oldest files whose extension begins so, and answers with the others.
fn thin_out(dir: &Path, extension: &str, keep: usize) -> io::Result<Vec<PathBuf>> {
    let mut kept = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let found = path.extension().and_then(|found| found.to_str());
        if found.is_some_and(|found| found.starts_with(extension)) {
            kept.push(path);
        }
    }
    // The names begin with the segment's number, so that they sort by age.
    kept.sort_unstable();
    while kept.len() > keep {
        fs::remove_file(kept.remove(0))?;
    }
    Ok(kept)
}

fn keep_damaged(dir: &Path, number: u32) -> io::Result<PathBuf> {
    let name = format!("{number:010}.corrupt-");
    let of_it = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|f| f.to_string_lossy().starts_with(&name))
    };
    if let Some(path) = thin_out(dir, "corrupt-", KEPT_DAMAGED)?
        .into_iter()
        .find(of_it)
    {
        return Ok(path);
    }
    thin_out(dir, "corrupt-", KEPT_DAMAGED - 1)?;
    let segment = segment_path(dir, number);
    let written: DateTime<Utc> = fs::metadata(&segment)?.modified()?.into();
    let path = dir.join(format!("{name}{}", written.format("%Y%m%dT%H%M%SZ")));
    fs::hard_link(segment, &path)?;
    Ok(path)
}

fn set_aside(dir: &Path, number: u32, from: u64, rest: &[u8]) -> io::Result<PathBuf> {
    thin_out(dir, "torn", KEPT_TORN - 1)?;
    let path = dir.join(format!("{number:010}-{from:010}.torn"));
    // A temporary file is for the owner only, as this has to be.
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    io::Write::write_all(&mut file, rest)?;
    file.persist(&path)?;
    Ok(path)
}

/// The segments in a directory, oldest first.
pub fn segment_numbers(dir: &Path) -> Result<Vec<u32>, OpenError> {
    let fail = |source| OpenError::Io {
        path: dir.to_owned(),
        source,
    };
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir).map_err(fail)? {
        let name = entry.map_err(fail)?.file_name();
        let number: Option<u32> = name
            .to_str()
            .and_then(|name| name.strip_suffix(".seg"))
            .filter(|stem| stem.len() == 10)
            .and_then(|stem| stem.parse().ok())
            .filter(|number| *number <= LAST_SEGMENT);
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}
