//! What is written together and shares one sync: the requests of a moment, and the bytes they become.
//!
//! Pure but for the answers' channels. Knows frames and requests; the committer writes the bytes.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::oneshot;

use super::entry::{Meta, Parked, Position, Settled};
use super::error::{AppendError, Limit};
use super::format::{self, MAX_SETTLED_PER_FRAME};
use super::frame::FRAME_HEAD_BYTES;
use super::index::Index;
use super::{Appended, Options};
use crate::store::crypt::Keyring;
use crate::twin::{self, Twin};

/// What the committer is asked to do.
pub enum Command {
    /// Store an entry.
    Append(Box<Waiting>),
    /// Look at the notes: there were none before.
    Wake,
    /// Write the notes and sync.
    Sync(oneshot::Sender<Result<(), AppendError>>),
    /// Say where an entry is now.
    Locate(u64, oneshot::Sender<Option<Position>>),
    /// Answer, to show that there is progress.
    Pulse(oneshot::Sender<()>),
    /// Sync and stop.
    Close(oneshot::Sender<Result<(), AppendError>>),
}

/// An entry on its way to the disk, and who waits for it.
pub struct Waiting {
    /// An encoded frame without number and checksum.
    pub frame: Vec<u8>,
    /// What the queue will be told; number and position are filled in here.
    pub meta: Meta,
    /// The hash of the delivery id; zero for none.
    pub delivery: u64,
    /// Who waits.
    pub answer: oneshot::Sender<Result<Appended, AppendError>>,
    /// Its share of the bytes that may wait, given back when it is answered.
    pub _share: Share,
}

/// A share of a bounded number of bytes; given back when dropped.
pub struct Share {
    taken: Arc<AtomicUsize>,
    bytes: usize,
}

impl Share {
    /// Takes so many bytes of `limit`, or nothing.
    pub fn take(taken: &Arc<AtomicUsize>, bytes: usize, limit: usize) -> Option<Share> {
        let before = taken.fetch_add(bytes, Ordering::Relaxed);
        let share = Share {
            taken: Arc::clone(taken),
            bytes,
        };
        (before.saturating_add(bytes) <= limit).then_some(share)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Something about an entry that is already stored. Nobody waits for it.
#[derive(Debug)]
pub enum Note {
    /// It is final.
    Settle(Settled),
    /// It is a dead letter. Boxed, for many verdicts may wait while a disk is full.
    Park(Box<Parked>),
    /// It is tried again.
    Unpark(u64),
}

impl Note {
    /// The entry it is about.
    pub fn seq(&self) -> u64 {
        match self {
            Note::Settle(settled) => settled.seq,
            Note::Park(parked) => parked.seq,
            Note::Unpark(seq) => *seq,
        }
    }
}

/// An entry copied out of an old segment.
pub struct Carried {
    /// Its number.
    pub seq: u64,
    /// Its frame.
    pub frame: Vec<u8>,
    /// Its park frame, if it is a dead letter.
    pub park: Option<Vec<u8>>,
}

/// The requests that are answered together.
#[derive(Default)]
pub struct Group {
    appends: Vec<Waiting>,
    copies: Vec<oneshot::Sender<Result<Appended, AppendError>>>,
    ids: HashSet<u64>,
    bytes: usize,
    /// Who waits for a sync without an entry.
    pub syncs: Vec<oneshot::Sender<Result<(), AppendError>>>,
}

impl Group {
    /// True if nothing more should be waited for together with this.
    pub fn is_full(&self, options: &Options) -> bool {
        if twin::broken(Twin::SyncAlone) && !self.appends.is_empty() {
            return true;
        }
        self.appends.len() + self.copies.len() >= options.group_requests
            || self.bytes >= options.group_bytes
    }

    /// True if somebody waits for a sync.
    pub fn needs_sync(&self) -> bool {
        !self.appends.is_empty() || !self.syncs.is_empty()
    }

    /// Takes an entry in, or answers it at once: it is here already, or there is no room.
    pub fn add(&mut self, waiting: Waiting, index: &Index, options: &Options) {
        let known = index.known(waiting.delivery);
        if let Some(settled) = known.filter(|_| !twin::broken(Twin::NoDedupe)) {
            let _ = waiting.answer.send(Ok(Appended::Known { settled }));
            return;
        }
        if waiting.delivery != 0 && self.ids.contains(&waiting.delivery) {
            // The first copy is not durable yet; this one waits for the same sync.
            self.copies.push(waiting.answer);
            return;
        }
        let refused = if index.live_len() + self.appends.len() >= options.max_entries {
            Some(Limit::Entries)
        } else if index.bytes() + (self.bytes + waiting.frame.len()) as u64 > options.max_bytes {
            Some(Limit::Disk)
        } else {
            None
        };
        if let Some(limit) = refused {
            let _ = waiting.answer.send(Err(AppendError::Full(limit)));
            return;
        }
        if waiting.delivery != 0 {
            self.ids.insert(waiting.delivery);
        }
        self.bytes += waiting.frame.len();
        self.appends.push(waiting);
    }

    /// True if it holds no entry.
    pub fn is_empty(&self) -> bool {
        self.appends.is_empty()
    }

    /// Refuses every entry, and keeps who waits for a sync.
    pub fn refuse_entries(&mut self, error: &AppendError) {
        for waiting in self.appends.drain(..) {
            let _ = waiting.answer.send(Err(error.clone()));
        }
        for copy in self.copies.drain(..) {
            let _ = copy.send(Err(error.clone()));
        }
    }

    /// Refuses everybody.
    pub fn refuse(mut self, error: &AppendError) {
        self.refuse_entries(error);
        for sync in self.syncs {
            let _ = sync.send(Err(error.clone()));
        }
    }

    /// Numbers the entries from `next_seq` and appends their frames.
    pub fn stage(&mut self, out: &mut Vec<u8>, next_seq: &mut u64, keys: &Keyring) {
        for waiting in &mut self.appends {
            let seq = *next_seq;
            *next_seq += 1;
            format::seal_entry(&mut waiting.frame, seq, keys);
            waiting.meta.seq = seq;
            waiting.meta.position.offset = out.len() as u32;
            waiting.meta.position.len = (waiting.frame.len() - FRAME_HEAD_BYTES) as u32;
            out.extend_from_slice(&waiting.frame);
        }
    }

    /// Everything is durable, in this segment from `base` on: notes that in the index, passes the
    /// entries' metadata to `tell` in order, then answers everybody: what was acknowledged is in the
    /// queue for whoever looks.
    pub fn finish(self, segment: u32, base: u32, index: &mut Index, tell: impl FnOnce(Vec<Meta>)) {
        let mut metas = Vec::with_capacity(self.appends.len());
        let mut answers = Vec::with_capacity(self.appends.len());
        for mut waiting in self.appends {
            waiting.meta.position.segment = segment;
            waiting.meta.position.offset += base;
            index.store(waiting.meta.seq, waiting.meta.position, waiting.delivery);
            answers.push((waiting.answer, waiting.meta.seq));
            metas.push(waiting.meta);
        }
        if !metas.is_empty() {
            tell(metas);
        }
        for (answer, seq) in answers {
            let _ = answer.send(Ok(Appended::Stored { seq }));
        }
        for copy in self.copies {
            let _ = copy.send(Ok(Appended::Known { settled: false }));
        }
        for sync in self.syncs {
            let _ = sync.send(Ok(()));
        }
    }
}

/// Appends the notes' frames in order, neighbouring verdicts in one frame. Answers where in `out` the
/// park frames lie.
pub fn stage_notes(out: &mut Vec<u8>, notes: &[Note], keys: &Keyring) -> Vec<(u64, Position)> {
    let mut parks = Vec::new();
    let mut verdicts = Vec::new();
    for note in notes {
        if !matches!(note, Note::Settle(_)) || verdicts.len() == MAX_SETTLED_PER_FRAME {
            flush_verdicts(out, &mut verdicts, keys);
        }
        match note {
            Note::Settle(settled) => verdicts.push(settled.clone()),
            Note::Park(parked) => {
                let start = out.len();
                format::put_park(out, parked, keys);
                parks.push((parked.seq, place(start, out.len())));
            }
            Note::Unpark(seq) => format::put_unpark(out, *seq, keys),
        }
    }
    flush_verdicts(out, &mut verdicts, keys);
    parks
}

/// The place of a frame from `start` to `end` in a buffer, still without its segment.
pub fn place(start: usize, end: usize) -> Position {
    Position {
        segment: 0,
        offset: start as u32,
        len: (end - start - FRAME_HEAD_BYTES) as u32,
    }
}

fn flush_verdicts(out: &mut Vec<u8>, verdicts: &mut Vec<Settled>, keys: &Keyring) {
    if !verdicts.is_empty() {
        format::put_settle(out, verdicts, keys);
        verdicts.clear();
    }
}
