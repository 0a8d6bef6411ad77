//! The writing side on the disk: appends entries, begins segments, removes the oldest, mends a torn end.
//!
//! Used by one thread. Promises: what is on the disk is whole lines of one chain, after a kill too, once it was
//! opened again; an entry that could not be written takes no number; segments go oldest first, and only after it
//! was noted which entry was the last of them; a file whose sync has failed is not asked again, and not written to
//! any more. Cuts off nothing that was noted as synced: if that is damaged, it stays to be found.

use std::{collections::VecDeque, fs::File, os::unix::fs::FileExt, path::Path};

use super::{
    OplogError, SEGMENT_BYTES,
    chain::{Hash, Joint, Link, Marks},
    files::{Files, Kept, Segment, at},
    line::Lines,
};
use crate::store::room::Room;

/// Segments that retention is made of at least, so that removing one takes little away.
const SEGMENTS: u64 = 16;
/// The most segments: where syncs fail, they are many and small.
const MOST_SEGMENTS: usize = 4_096;
/// The smallest segment, in bytes.
const SMALLEST: u64 = 64 * 1024;

/// The part of a small file system that the log may have: one in so many.
const SHARE: u64 = 16;

/// See the module's words.
pub struct Book {
    files: Files,
    _lock: File,
    /// Bytes that all segments may have together.
    keep: u64,
    /// All segments, the one that is written last.
    segments: VecDeque<Segment>,
    /// The last of them, once something was written.
    file: Option<File>,
    last: Link,
    marks: Marks,
    /// Lines that are not in the file yet, as they are kept, and the entry that they end with.
    waiting: Vec<u8>,
    waiting_last: Link,
    plain: Vec<u8>,
    dirty: bool,
    lost: u64,
    doubtful: Option<Doubtful>,
    /// True if the next entry begins a segment: what is before it is damaged, or could not be synced.
    apart: bool,
}

/// What was found wrong when it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Bytes of entries that a kill left unfinished, or a power cut unsynced; they were cut off.
    pub torn_bytes: u64,
    /// True if what was synced is not there any more, or is not what it was.
    pub damaged: bool,
    /// True if it begins anew, for what was there could not be read.
    pub set_aside: bool,
}

/// Entries that were written and may not be on the disk: the sync of their file failed. The first and the last.
pub type Doubtful = (u64, u64);

impl Book {
    /// Opens it, whatever a kill has left.
    ///
    /// # Errors
    /// The disk refused.
    pub fn open(files: Files, keep: u64) -> Result<(Book, Found), OplogError> {
        let lock = files.make()?;
        let room = Room::at(files.dir()).map_err(at(files.dir()))?;
        let keep = match room.total {
            0 => keep,
            total => keep.min(total / SHARE).max(SMALLEST * SEGMENTS),
        };
        let marks = files.marks()?;
        let mut segments: VecDeque<Segment> = files.segments()?.into();
        let mut found = Found {
            damaged: marks.is_none() && segments.front().is_some_and(|one| one.first > 1),
            ..Found::default()
        };
        let known = marks.unwrap_or(Marks::NONE);
        // A kill came between noting that it goes and removing it.
        while segments.len() > 1 && segments[1].first <= known.removed.n + 1 {
            let gone = segments.pop_front();
            gone.map_or(Ok(()), |gone| files.remove(gone.first))?;
        }
        let mut book = Book {
            files,
            _lock: lock,
            keep,
            segments,
            file: None,
            last: known.removed,
            marks: known,
            waiting: Vec::new(),
            waiting_last: known.removed,
            plain: Vec::new(),
            dirty: false,
            lost: 0,
            doubtful: None,
            apart: false,
        };
        book.take_up(&mut found)?;
        found.damaged |= book.last.n < known.tail.n;
        if book.last.n < known.tail.n {
            // Numbers are not used twice, and the gap stays to be seen.
            book.last = known.tail;
            book.apart = true;
        }
        book.waiting_last = book.last;
        let unsynced = book.segments.back().filter(|_| book.last != known.tail);
        if let Some(first) = unsynced.map(|segment| segment.first) {
            // What a kill has left is synced with what comes next.
            book.file = Some(book.files.open(first)?);
            book.dirty = true;
        }
        Ok((book, found))
    }

    /// Goes on behind the last entry of the last segment.
    fn take_up(&mut self, found: &mut Found) -> Result<(), OplogError> {
        let Some(segment) = self.segments.back().cloned() else {
            return Ok(());
        };
        let bytes = self.files.read(segment.first)?.unwrap_or_default();
        let (mut last, bad) = self.scan(segment.first, &bytes);
        if let Some(at) = bad {
            let n = last.map_or(segment.first.saturating_sub(1), |last| last.n);
            // Without the marks nobody knows what was synced; only what has no end is surely torn.
            let noted = self.marks != Marks::NONE || is_one_end(&bytes, at);
            if n >= self.marks.tail.n && noted {
                self.cut(&segment, at)?;
                found.torn_bytes = bytes.len() as u64 - at;
            } else {
                found.damaged = true;
                self.apart = true;
            }
        }
        let before = self.segments.len().checked_sub(2);
        if let (None, Some(before)) = (last, before) {
            let first = self.segments[before].first;
            let bytes = self.files.read(first)?.unwrap_or_default();
            last = self.scan(first, &bytes).0;
        }
        self.last = last.unwrap_or(self.marks.removed);
        self.apart |= self
            .segments
            .back()
            .is_some_and(|segment| segment.bytes == 0)
            && segment.first != self.last.n + 1;
        Ok(())
    }

    /// The last entry of a segment up to which all follow one another, and where the first begins that does not.
    fn scan(&self, first: u64, bytes: &[u8]) -> (Option<Link>, Option<u64>) {
        let mut last: Option<Link> = None;
        for (at, kept) in self.files.lines(first, bytes) {
            let Kept::Line(line) = kept else {
                return (last, Some(at));
            };
            let follows = |joint: &Joint| {
                last.is_none_or(|last| joint.n == last.n + 1 && joint.prev == last.hash)
            };
            let Some(Joint { n, .. }) = Joint::of(&line).filter(follows) else {
                return (last, Some(at));
            };
            let hash = Hash::of(&line);
            last = Some(Link { n, hash });
        }
        (last, None)
    }

    fn cut(&mut self, segment: &Segment, to: u64) -> Result<(), OplogError> {
        let file = self.files.open(segment.first)?;
        let cut = file.set_len(to).and_then(|()| file.sync_all());
        cut.map_err(at(self.files.dir()))?;
        if let Some(segment) = self.segments.back_mut() {
            segment.bytes = to;
        }
        Ok(())
    }

    /// Appends an entry; it is in the file after [`Book::write`].
    ///
    /// # Errors
    /// The disk refused to take what waited before it; then none of that is there.
    pub fn append(&mut self, entry: impl FnOnce(&mut Lines<'_>)) -> Result<(), OplogError> {
        self.plain.clear();
        let mut lines = Lines {
            out: &mut self.plain,
            last: self.waiting_last,
        };
        entry(&mut lines);
        let last = lines.last;
        if last.n == self.waiting_last.n {
            return Ok(());
        }
        let full = self.segments.back().is_none_or(|segment| {
            let bytes = segment.bytes + self.waiting.len() as u64;
            bytes > 0 && bytes + self.plain.len() as u64 > self.segment_bytes()
        });
        if full || self.apart {
            let begun = self.write().and_then(|()| self.begin(last.n));
            begun.inspect_err(|_| self.lost += 1)?;
        }
        let Some(segment) = self.segments.back() else {
            return Ok(());
        };
        if self.files.plain() {
            self.waiting.extend_from_slice(&self.plain);
            self.waiting.push(b'\n');
        } else {
            let at = segment.bytes + self.waiting.len() as u64;
            let kept = self.files.kept(segment.first, at, &self.plain);
            self.waiting.extend_from_slice(&kept);
        }
        self.waiting_last = last;
        Ok(())
    }

    /// Hands what was appended to the system: a kill does not take it any more.
    ///
    /// # Errors
    /// The disk refused; what waited is forgotten, and its numbers are free again.
    pub fn write(&mut self) -> Result<(), OplogError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let written = self.write_waiting();
        match &written {
            Ok(()) => {
                self.last = self.waiting_last;
                self.dirty = true;
            }
            Err(_) => {
                self.lost += self.waiting_last.n - self.last.n;
                self.waiting_last = self.last;
            }
        }
        self.waiting.clear();
        written
    }

    fn write_waiting(&mut self) -> Result<(), OplogError> {
        let Some(segment) = self.segments.back_mut() else {
            return Ok(());
        };
        let file = match &mut self.file {
            Some(file) => file,
            empty => empty.insert(self.files.open(segment.first)?),
        };
        if let Err(error) = file.write_all_at(&self.waiting, segment.bytes) {
            // What got in is no whole group: the next one is written over it, or the next start cuts it off.
            let _ = file.set_len(segment.bytes);
            return Err(at(self.files.dir())(error));
        }
        segment.bytes += self.waiting.len() as u64;
        Ok(())
    }

    /// Returns when what was written is on stable storage, and notes that it is.
    ///
    /// # Errors
    /// The disk refused.
    pub fn sync(&mut self) -> Result<(), OplogError> {
        if !self.dirty {
            return Ok(());
        }
        self.sync_file()?;
        // A mark that a power cut takes is an older one: fewer entries count as synced then.
        self.files.mark(self.marks, false)
    }

    /// The same, and the note is on stable storage too.
    ///
    /// # Errors
    /// The disk refused.
    pub fn close(&mut self) -> Result<(), OplogError> {
        self.write()?;
        if self.dirty {
            self.sync_file()?;
            self.files.mark(self.marks, true)?;
        }
        Ok(())
    }

    /// Where it lies.
    pub fn dir(&self) -> &Path {
        self.files.dir()
    }

    /// True if what is left of the disk is not for the log.
    pub fn has_no_room(&self) -> bool {
        Room::at(self.files.dir()).is_ok_and(Room::is_kept_back)
    }

    /// How many entries were lost since this was asked last.
    pub fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    /// What was written and could not be synced since this was asked last.
    pub fn take_doubtful(&mut self) -> Option<Doubtful> {
        self.doubtful.take()
    }

    /// True if something is to be synced.
    pub fn is_dirty(&self) -> bool {
        self.dirty
    }

    fn sync_file(&mut self) -> Result<(), OplogError> {
        let Some(file) = self.file.as_ref().filter(|_| self.dirty) else {
            return Ok(());
        };
        self.dirty = false;
        match file.sync_data() {
            Ok(()) => {
                self.marks.tail = self.last;
                Ok(())
            }
            Err(error) => {
                // The kernel may have dropped what it could not write, and says yes when it is asked again.
                self.file = None;
                self.apart = true;
                self.doubtful = Some((self.marks.tail.n + 1, self.last.n));
                Err(at(self.files.dir())(error))
            }
        }
    }

    /// Begins a segment with the entry of this number, and removes the oldest if there are too many bytes.
    fn begin(&mut self, first: u64) -> Result<(), OplogError> {
        self.sync_file()?;
        // One that a kill left empty may have this very name.
        let last = self.segments.back();
        let is_new = last.is_none_or(|segment| segment.first != first);
        let file = self.files.open(first).inspect_err(|_| {
            if is_new {
                // Its name may not be on the disk, whatever a second sync says: it is made anew.
                let _ = self.files.remove(first);
            }
        });
        self.file = Some(file?);
        self.apart = false;
        if is_new {
            self.segments.push_back(Segment { first, bytes: 0 });
        }
        let gone = self.too_old()?;
        if self.last.n > 0 {
            self.files.mark(self.marks, true)?;
        }
        gone.into_iter()
            .try_for_each(|first| self.files.remove(first))
    }

    /// Takes the oldest out of the list until the others fit, and remembers where they ended.
    fn too_old(&mut self) -> Result<Vec<u64>, OplogError> {
        let mut gone = Vec::new();
        let mut bytes: u64 = self.segments.iter().map(|segment| segment.bytes).sum();
        bytes += self.segment_bytes();
        while (bytes > self.keep || self.segments.len() > MOST_SEGMENTS) && self.segments.len() > 1
        {
            let next = self.segments[1].first;
            self.marks.removed = match self.segments.len() {
                2 => self.last,
                _ => Link {
                    n: next - 1,
                    // Damaged where it cannot be read; then that is what is found there.
                    hash: self
                        .files
                        .joint(next)?
                        .map_or(Hash::NONE, |joint| joint.prev),
                },
            };
            if let Some(segment) = self.segments.pop_front() {
                bytes -= segment.bytes;
                gone.push(segment.first);
            }
        }
        Ok(gone)
    }

    fn segment_bytes(&self) -> u64 {
        (self.keep / SEGMENTS).clamp(SMALLEST, SEGMENT_BYTES)
    }
}

/// True if a file ends in one piece without an end of line there.
fn is_one_end(bytes: &[u8], at: u64) -> bool {
    let rest = usize::try_from(at).ok().and_then(|at| bytes.get(at..));
    rest.is_some_and(|rest| !rest.contains(&b'\n'))
}

#[cfg(test)]
mod tests;
