//! What the journal holds that is not final yet, and which segments that keeps alive.
//!
//! Pure bookkeeping: positions and counts, no bytes and no file. The same code follows the frames
//! when the journal is opened and when it is written, so the two cannot disagree. Promises that
//! segments go oldest first only, because the verdict on an entry may stand in any later segment.

use std::collections::{HashMap, HashSet, VecDeque};

use super::entry::Position;
use super::frame::{FRAME_HEAD_BYTES, HEADER_BYTES};
use crate::twin::{self, Twin};

/// How many ids of settled deliveries are remembered to recognise a late copy: hours of a large application. About
/// 5 MB when full. A copy that comes later still finds its version in the ledger.
pub const REMEMBERED_DELIVERIES: usize = 131_072;
/// How long a segment is written to, and how long what is done with may lie in one, in milliseconds: two weeks, so
/// that nothing of somebody who has left is here a month later, however few deliveries come.
const KEPT_MS: i64 = 14 * 86_400_000;

/// An entry that is waiting or a dead letter.
#[derive(Clone, Copy, Debug)]
struct Live {
    segment: u32,
    offset: u32,
    len: u32,
    /// The hash of its delivery id; zero for none.
    delivery: u64,
}

/// One segment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its number.
    pub number: u32,
    /// Its length, in bytes.
    pub bytes: u64,
    live: u32,
    live_bytes: u64,
    /// When it was begun, in milliseconds since the epoch, as far as anybody knows.
    since_ms: Option<i64>,
}

/// See the module's words.
pub struct Index {
    live: HashMap<u64, Live>,
    /// Where the latest park frame of a dead letter lies.
    parked: HashMap<u64, Position>,
    waiting_ids: HashSet<u64>,
    settled_ids: Remembered,
    segments: VecDeque<Segment>,
    bytes: u64,
    live_bytes: u64,
    /// The time of day when it was last told, in milliseconds since the epoch.
    now_ms: i64,
}

impl Index {
    /// An index of nothing, remembering this many settled deliveries.
    pub fn new(remembered: usize) -> Self {
        Index {
            live: HashMap::new(),
            parked: HashMap::new(),
            waiting_ids: HashSet::new(),
            settled_ids: Remembered::new(remembered),
            segments: VecDeque::new(),
            bytes: 0,
            live_bytes: 0,
            now_ms: 0,
        }
    }

    /// Tells the time. A segment of which nobody knows when it was begun, or that is from the future, begins now.
    pub fn tick(&mut self, now_ms: i64) {
        self.now_ms = now_ms;
        for segment in &mut self.segments {
            let since = segment.since_ms.map_or(now_ms, |since| since.min(now_ms));
            segment.since_ms = Some(since);
        }
    }

    /// Notes when a segment was begun, in milliseconds since the epoch.
    pub fn begun(&mut self, number: u32, at_ms: i64) {
        if let Some(segment) = self.segment_mut(number) {
            segment.since_ms = Some(at_ms);
        }
    }

    /// Notes the newest segment's length; a number not seen before becomes the newest.
    pub fn grow(&mut self, number: u32, bytes: u64) {
        match self.segments.back_mut() {
            Some(last) if last.number == number => {
                self.bytes = self.bytes - last.bytes + bytes;
                last.bytes = bytes;
            }
            _ => {
                self.bytes += bytes;
                self.segments.push_back(Segment {
                    number,
                    bytes,
                    live: 0,
                    live_bytes: 0,
                    since_ms: None,
                });
            }
        }
    }

    /// An entry was stored here: for the first time, or again because its segment is to go.
    pub fn store(&mut self, seq: u64, position: Position, delivery: u64) {
        let live = Live {
            segment: position.segment,
            offset: position.offset,
            len: position.len,
            delivery,
        };
        if let Some(before) = self.live.insert(seq, live) {
            self.unweigh(before);
        }
        if delivery != 0 {
            self.waiting_ids.insert(delivery);
        }
        let weight = weight(position.len);
        if let Some(segment) = self.segment_mut(position.segment) {
            segment.live += 1;
            segment.live_bytes += weight;
            self.live_bytes += weight;
        }
    }

    /// An entry is final. False if it was already, or was never here.
    pub fn settle(&mut self, seq: u64) -> bool {
        let Some(live) = self.live.remove(&seq) else {
            return false;
        };
        self.unweigh(live);
        self.parked.remove(&seq);
        if live.delivery != 0 {
            self.waiting_ids.remove(&live.delivery);
            self.settled_ids.insert(live.delivery);
        }
        true
    }

    /// An entry became a dead letter; the park frame lies here.
    pub fn park(&mut self, seq: u64, position: Position) {
        if self.live.contains_key(&seq) {
            self.parked.insert(seq, position);
        }
    }

    /// A dead letter is tried again.
    pub fn unpark(&mut self, seq: u64) {
        self.parked.remove(&seq);
    }

    /// Whether a delivery with this hash is here, and if so whether it is settled.
    pub fn known(&self, delivery: u64) -> Option<bool> {
        if delivery == 0 {
            None
        } else if self.waiting_ids.contains(&delivery) {
            Some(false)
        } else {
            self.settled_ids.contains(delivery).then_some(true)
        }
    }

    /// Where a waiting or parked entry lies.
    pub fn position(&self, seq: u64) -> Option<Position> {
        self.live.get(&seq).map(|live| Position {
            segment: live.segment,
            offset: live.offset,
            len: live.len,
        })
    }

    /// The hash of the entry's delivery id; zero for none.
    pub fn delivery(&self, seq: u64) -> u64 {
        self.live.get(&seq).map_or(0, |live| live.delivery)
    }

    /// Where the entry's park frame lies, if it is a dead letter.
    pub fn park_position(&self, seq: u64) -> Option<Position> {
        self.parked.get(&seq).copied()
    }

    /// How many entries are waiting or dead letters.
    pub fn live_len(&self) -> usize {
        self.live.len()
    }

    /// How many entries are dead letters.
    pub fn parked_len(&self) -> usize {
        self.parked.len()
    }

    /// The length of all segments together, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many segments there are.
    pub fn segments_len(&self) -> usize {
        self.segments.len()
    }

    /// The oldest segment if everything in it is final and it is not the one being written.
    pub fn finished(&self) -> Option<u32> {
        let oldest = self.segments.front()?;
        (self.segments.len() > 1 && oldest.live == 0).then_some(oldest.number)
    }

    /// Forgets the oldest segment, whose file is gone.
    pub fn drop_oldest(&mut self) {
        if let Some(oldest) = self.segments.pop_front() {
            self.bytes -= oldest.bytes;
        }
    }

    /// The oldest segment if carrying what is left in it is worth the copying: there are more than
    /// `keep`, and little of it, or less than half of everything on disk, is still needed; or it has been here for
    /// so long that the rest of it has to go.
    pub fn worth_carrying(&self, keep: usize) -> Option<u32> {
        let oldest = self.segments.front()?;
        let sparse = oldest.live_bytes < oldest.bytes / 4;
        let wasteful = self.live_bytes < self.bytes / 2;
        let many = self.segments.len() > keep.max(1) && (sparse || wasteful);
        let old = self.segments.len() > 1 && self.is_old(oldest);
        (oldest.live > 0 && (many || old)).then_some(oldest.number)
    }

    /// True if the segment being written holds something, and has been written to for long enough.
    pub fn newest_is_old(&self) -> bool {
        let newest = self.segments.back();
        newest.is_some_and(|s| s.bytes > HEADER_BYTES as u64 && self.is_old(s))
    }

    /// True if less than half of the segment being written is needed, and giving it back is worth a new one.
    pub fn newest_is_wasteful(&self) -> bool {
        /// A new segment takes a block of the disk and its header.
        const WORTH_BYTES: u64 = 16 * 1024;
        let newest = self.segments.back();
        newest.is_some_and(|s| s.bytes >= WORTH_BYTES && s.live_bytes < s.bytes / 2)
    }

    /// The entries that keep a segment alive, oldest first.
    pub fn live_in(&self, segment: u32) -> Vec<u64> {
        let mut seqs: Vec<u64> = self
            .live
            .iter()
            .filter(|(_, live)| live.segment == segment)
            .map(|(seq, _)| *seq)
            .collect();
        seqs.sort_unstable();
        seqs
    }

    fn is_old(&self, segment: &Segment) -> bool {
        let old = |since| self.now_ms.saturating_sub(since) > KEPT_MS;
        segment.since_ms.is_some_and(old) && !twin::broken(Twin::Hoard)
    }

    fn unweigh(&mut self, live: Live) {
        let weight = weight(live.len);
        if let Some(segment) = self.segment_mut(live.segment) {
            segment.live -= 1;
            segment.live_bytes -= weight;
            self.live_bytes -= weight;
        }
    }

    fn segment_mut(&mut self, number: u32) -> Option<&mut Segment> {
        let at = self.segments.partition_point(|s| s.number < number);
        self.segments.get_mut(at).filter(|s| s.number == number)
    }
}

/// What an entry takes on disk.
fn weight(len: u32) -> u64 {
    u64::from(len) + FRAME_HEAD_BYTES as u64
}

/// A set that forgets its older half when it is full.
struct Remembered {
    young: HashSet<u64>,
    old: HashSet<u64>,
    half: usize,
}

impl Remembered {
    fn new(limit: usize) -> Self {
        Remembered {
            young: HashSet::new(),
            old: HashSet::new(),
            half: (limit / 2).max(1),
        }
    }

    fn insert(&mut self, item: u64) {
        if self.young.len() >= self.half {
            // The allocation of the half that goes is used again.
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(item);
    }

    fn contains(&self, item: u64) -> bool {
        self.young.contains(&item) || self.old.contains(&item)
    }
}
