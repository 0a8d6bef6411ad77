//! The one thread that writes.
//!
//! Takes all that waits at once, makes lines of it, writes them with one call, and syncs once a second while
//! something is written. Promises: what is handed in is written in that order; what is lost, and what a failed sync
//! has left in doubt, is alerted, and said by an entry as soon as the disk takes one again, whether or not anything
//! else happens; the alert is over when everything went well once more.

use std::{sync::Arc, thread, time::Duration};

use tokio::time::Instant;

use super::{
    OplogError,
    book::{Book, Doubtful, Found},
    note::{Call, Note, Place},
    queue::{Handed, Queue},
};
use crate::model::Asked;

/// How often what was written is synced.
const SYNC: Duration = Duration::from_secs(1);
/// How often at least, where syncs fail: each failure begins a file.
const SYNC_AT_LEAST: Duration = Duration::from_secs(60);

/// Starts the thread.
pub fn start(book: Book, found: Found, queue: Arc<Queue>) -> Result<(), OplogError> {
    let dir = book.dir().to_owned();
    let mut writer = Writer {
        book,
        queue,
        lost: 0,
        failed: false,
        doubtful: None,
        unsynced: false,
        rest: SYNC,
        alerted: false,
        time: (i64::MIN, "".into()),
        synced: Instant::now(),
        no_room: false,
        looked: None,
    };
    writer.tell(found);
    let thread = thread::Builder::new().name("oplog".to_owned());
    let started = thread.spawn(move || writer.run());
    started.map(drop).map_err(super::files::at(&dir))
}

struct Writer {
    book: Book,
    queue: Arc<Queue>,
    /// Entries that could not be written, of which no entry tells yet.
    lost: u64,
    /// True if the disk has refused something in this turn.
    failed: bool,
    /// Entries of which no entry tells yet that their sync failed.
    doubtful: Option<Doubtful>,
    /// True if the last sync failed.
    unsynced: bool,
    /// How long after the last sync the next one is due.
    rest: Duration,
    /// True while `oplog_failed` may be raised.
    alerted: bool,
    /// The last time that was written, and how.
    time: (i64, Arc<str>),
    synced: Instant,
    /// True if too little room is left.
    no_room: bool,
    looked: Option<Instant>,
}

impl Writer {
    fn run(mut self) {
        let queue = Arc::clone(&self.queue);
        // Whatever ends the thread, who asks later is not kept waiting.
        let _end = End(&queue);
        while let Some((handed, left_out)) = queue.take(self.patience()) {
            self.lost += left_out;
            self.alerted |= left_out > 0;
            self.failed = false;
            self.look_for_room();
            self.own_up();
            let (mut weight, mut ask, mut close) = (0, Vec::new(), None);
            for handed in handed {
                match handed {
                    Handed::Call(call) => {
                        weight += call.weight();
                        self.call(&call);
                    }
                    Handed::Note(note) => {
                        weight += 1;
                        self.note(&note);
                    }
                    Handed::Written(answer) => ask.push(answer),
                    Handed::Close(answer) => close = Some(answer),
                }
            }
            self.after(Book::write);
            queue.room.add_permits(weight);
            if self.book.is_dirty() && self.synced.elapsed() >= self.rest {
                self.sync();
            }
            self.all_well();
            for answer in ask {
                // Whoever asked may have gone.
                let _ = answer.send(());
            }
            if let Some(answer) = close {
                self.after(Book::close);
                queue.end();
                // Whoever has waited for the end may open the log again at once.
                drop(self);
                let _ = answer.send(());
                return;
            }
        }
    }

    fn sync(&mut self) {
        let synced = self.after(Book::sync);
        self.unsynced = !synced;
        self.rest = match synced {
            true => SYNC,
            false => (2 * self.rest).min(SYNC_AT_LEAST),
        };
        self.synced = Instant::now();
    }

    /// How long nothing may come: something is to be synced, or to be tried again.
    fn patience(&self) -> Option<Duration> {
        match self.book.is_dirty() {
            true => Some(self.rest.saturating_sub(self.synced.elapsed())),
            false => self.alerted.then_some(SYNC),
        }
    }

    /// The last of the disk is for what lets work go on.
    fn look_for_room(&mut self) {
        if self.looked.is_some_and(|at| at.elapsed() < SYNC) {
            return;
        }
        self.looked = Some(Instant::now());
        self.no_room = self.book.has_no_room();
        if self.no_room {
            let message = "too little room is left on the disk for the operations log; its entries are counted, \
                           not kept";
            self.alert(message);
        }
    }

    fn alert(&mut self, message: impl Into<String>) {
        self.alerted = true;
        self.queue.raise("oplog_failed", message);
    }

    /// The alert is over once nothing is lost or in doubt that is not told of, and the disk has refused nothing.
    fn all_well(&mut self) {
        let unsynced = self.unsynced && self.book.is_dirty();
        let untold = self.lost > 0 || self.doubtful.is_some();
        let ill = self.failed || unsynced || self.no_room || untold;
        if self.alerted && !ill {
            self.alerted = false;
            self.queue.alerts.clear("oplog_failed");
        }
    }

    fn call(&mut self, call: &Call) {
        let at = self.at(call.at_ms);
        if self.no_room {
            self.lost += call.weight() as u64;
            return;
        }
        for row in &call.rows {
            self.after(|book| book.append(|lines| lines.row(&at, call, row)));
        }
        for many in &call.many {
            self.after(|book| book.append(|lines| lines.many(&at, call, many)));
        }
    }

    fn note(&mut self, note: &Note) {
        if self.no_room {
            self.lost += 1;
            return;
        }
        let at = self.at(note.at_ms);
        self.after(|book| book.append(|lines| lines.note(&at, note)));
    }

    /// A call's entries have one time, and so have most calls of a millisecond.
    fn at(&mut self, ms: i64) -> Arc<str> {
        if self.time.0 != ms {
            self.time = (ms, super::rfc3339(ms).unwrap_or_default().into());
        }
        Arc::clone(&self.time.1)
    }

    /// Does something with the book, and remembers what it could not do: true if it did all of it.
    fn after(&mut self, work: impl FnOnce(&mut Book) -> Result<(), OplogError>) -> bool {
        let done = work(&mut self.book);
        self.lost += self.book.take_lost();
        let doubtful = self.book.take_doubtful();
        if let Err(error) = &done {
            self.failed = true;
            let so = match doubtful {
                None => "entries that cannot be written are counted, not kept",
                Some(_) => {
                    "the log goes on in another file, and a power cut may take what was not synced"
                }
            };
            self.alert(format!("{error}; {so}"));
        }
        self.unsynced |= doubtful.is_some();
        self.doubtful = doubtful.or(self.doubtful);
        done.is_ok()
    }

    /// Says which entries are in doubt and how many are missing, once the disk takes an entry again.
    fn own_up(&mut self) {
        if self.no_room {
            return;
        }
        if let Some((first, last)) = self.doubtful {
            let words =
                format!("{first} to {last}: their sync failed, so they may not be on the disk");
            let note = self.own_note("not synced", "noted").did(Some(words));
            let count = Some(last + 1 - first);
            if self.told(Note { count, ..note }) {
                self.doubtful = None;
            }
        }
        if self.lost > 0 {
            let words = "entries that were not written: the disk was full, failing or too slow";
            let note = self.own_note("left out", "lost").did(Some(words.into()));
            let count = Some(self.lost);
            if self.told(Note { count, ..note }) {
                self.lost = 0;
            }
        }
    }

    /// Writes a note of the log about itself, which is not counted if it is lost; true if it is not.
    fn told(&mut self, note: Note) -> bool {
        let lost = self.lost;
        self.note(&note);
        self.after(Book::write);
        if self.failed {
            self.lost = lost;
        }
        !self.failed
    }

    /// Says what was found when it was opened.
    fn tell(&mut self, found: Found) {
        if found.torn_bytes > 0 {
            tracing::warn!(
                bytes = found.torn_bytes,
                "the operations log ended in an entry that a kill had left unfinished; it was cut off"
            );
            let words = format!("{} bytes that a kill left unfinished", found.torn_bytes);
            let note = self.own_note("cut off", "noted");
            self.note(&note.did(Some(words)));
        }
        if found.set_aside {
            let words = "what was there before could not be read and is kept beside";
            let note = self.own_note("set aside", "noted");
            self.note(&note.did(Some(words.into())));
        }
        if found.damaged {
            let message = "the operations log is damaged or was changed; `clerk-convex-sync log verify` says \
                           where. It goes on behind that";
            self.queue.raise("oplog_damaged", message);
            let words = "entries before this one are not as they were written";
            let note = self.own_note("damage", "noted");
            self.note(&note.did(Some(words.into())));
        }
        self.after(Book::write);
    }

    /// A note of the log about itself.
    fn own_note(&self, what: &str, outcome: &str) -> Note {
        let now_ms = (self.queue.now_ms)();
        Note::new(now_ms, Place::Daemon, Asked::Daemon, what, outcome)
    }
}

/// Ends the queue with the thread.
struct End<'q>(&'q Queue);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.end();
        if thread::panicking() {
            let message = "the thread of the operations log failed; nothing is kept in it until the next start. The \
                           log has the place in the code: please report it";
            self.0.raise("oplog_failed", message);
        }
    }
}
