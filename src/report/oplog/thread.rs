//! The one thread that writes, and the queue before it.
//!
//! Takes all that waits at once, makes lines of it, writes them with one call, and syncs once a second while
//! something is written. Promises: what is handed in is written in that order; what is lost is counted, alerted,
//! and said by an entry as soon as the disk takes one again, whether or not anything else happens; the alert is
//! over when everything went well once more.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
    thread,
    time::Duration,
};

use tokio::{
    sync::{Semaphore, TryAcquireError, oneshot},
    time::Instant,
};

use super::{
    OplogError,
    book::{Book, Found},
    note::{Call, Note, Place},
};
use crate::{model::Asked, report::alert::Alerts};

/// Records that may wait to be written. Each takes about 200 bytes.
pub const ROOM: usize = 20_000;
/// How long the thread waits for more before it writes: at most so many writes a second.
const GATHER: Duration = Duration::from_millis(2);
/// How often what was written is synced.
const SYNC: Duration = Duration::from_secs(1);

/// What is handed in.
pub enum Handed {
    /// A call to Convex.
    Call(Call),
    /// Anything else.
    Note(Box<Note>),
    /// Who wants to know when all before it is written.
    Written(oneshot::Sender<()>),
    /// The end, and who wants to know when all is synced.
    Close(oneshot::Sender<()>),
}

/// What waits for the thread. Bounded by [`ROOM`], and by one question a caller.
pub struct Queue {
    waiting: Mutex<Waiting>,
    news: Condvar,
    /// Room for records.
    pub room: Semaphore,
    /// True if somebody has waited for room in vain.
    pub is_stuck: AtomicBool,
    alerts: Alerts,
    now_ms: fn() -> i64,
}

#[derive(Default)]
struct Waiting {
    handed: Vec<Handed>,
    /// Records for which there was no room.
    left_out: u64,
    urgent: bool,
    /// Nobody listens any more.
    ended: bool,
    /// Nobody hands anything in any more.
    abandoned: bool,
}

impl Queue {
    /// An empty one.
    pub fn new(alerts: Alerts, now_ms: fn() -> i64) -> Queue {
        Queue {
            waiting: Mutex::default(),
            news: Condvar::new(),
            room: Semaphore::new(ROOM),
            is_stuck: AtomicBool::new(false),
            alerts,
            now_ms,
        }
    }

    fn raise(&self, code: &'static str, message: impl Into<String>) {
        self.alerts.raise(code, message, (self.now_ms)());
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts something in for which there is room.
    pub fn put(&self, handed: Handed) {
        let mut waiting = self.lock();
        if waiting.ended {
            return;
        }
        waiting.urgent |= matches!(handed, Handed::Written(_) | Handed::Close(_));
        let first = waiting.handed.is_empty();
        waiting.handed.push(handed);
        if first || waiting.urgent {
            self.news.notify_one();
        }
    }

    /// Puts something in if there is room, else leaves it out.
    pub fn push(&self, weight: u32, handed: Handed) {
        match self.room.try_acquire_many(weight) {
            Ok(room) => {
                room.forget();
                self.put(handed);
            }
            Err(TryAcquireError::NoPermits) => self.leave_out(weight as usize),
            // The thread has ended: with the daemon, or it has said so.
            Err(TryAcquireError::Closed) => {}
        }
    }

    /// Counts what is left out, and says so: the thread may be held up by the disk.
    pub fn leave_out(&self, records: usize) {
        // First the alert: the thread takes it back once it has told of the count.
        let message =
            "the disk does not keep up with the operations log; entries are counted, not kept";
        self.raise("oplog_failed", message);
        self.lock().left_out += records as u64;
        self.news.notify_one();
    }

    /// Ends the thread where it stands, as a kill would.
    pub fn abandon(&self) {
        self.lock().abandoned = true;
        self.news.notify_one();
    }

    /// All that waits, after a moment for more to come, or nothing after `most`; and how much was left out since
    /// the last time. `None`: it is over.
    fn take(&self, most: Option<Duration>) -> Option<(Vec<Handed>, u64)> {
        let waits = |waiting: &mut Waiting| {
            waiting.handed.is_empty() && waiting.left_out == 0 && !waiting.abandoned
        };
        let guard = self.lock();
        let guard = match most {
            None => self
                .news
                .wait_while(guard, waits)
                .unwrap_or_else(PoisonError::into_inner),
            Some(most) => {
                self.news
                    .wait_timeout_while(guard, most, waits)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
        };
        let gathers = |waiting: &mut Waiting| {
            !waiting.handed.is_empty() && !waiting.urgent && !waiting.abandoned
        };
        let (mut waiting, _) = self
            .news
            .wait_timeout_while(guard, GATHER, gathers)
            .unwrap_or_else(PoisonError::into_inner);
        waiting.urgent = false;
        let left_out = std::mem::take(&mut waiting.left_out);
        (!waiting.abandoned).then(|| (std::mem::take(&mut waiting.handed), left_out))
    }
}

/// Starts the thread.
pub fn start(book: Book, found: Found, queue: Arc<Queue>) -> Result<(), OplogError> {
    let dir = book.dir().to_owned();
    let mut writer = Writer {
        book,
        queue,
        lost: 0,
        failed: false,
        unsynced: false,
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
    /// True if the last sync failed.
    unsynced: bool,
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
            if self.book.is_dirty() && self.synced.elapsed() >= SYNC {
                self.unsynced = !self.after(Book::sync);
                self.synced = Instant::now();
            }
            self.all_well();
            for answer in ask {
                // Whoever asked may have gone.
                let _ = answer.send(());
            }
            if let Some(answer) = close {
                self.after(Book::close);
                queue.lock().ended = true;
                let _ = answer.send(());
                return;
            }
        }
    }

    /// How long nothing may come: something is to be synced, or to be tried again.
    fn patience(&self) -> Option<Duration> {
        match self.book.is_dirty() {
            true => Some(SYNC.saturating_sub(self.synced.elapsed())),
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

    /// The alert is over once nothing is lost that is not told of, and the disk has refused nothing.
    fn all_well(&mut self) {
        let unsynced = self.unsynced && self.book.is_dirty();
        let ill = self.failed || unsynced || self.no_room || self.lost > 0;
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
        if let Err(error) = &done {
            self.failed = true;
            self.alert(format!(
                "{error}; entries that cannot be written are counted, not kept"
            ));
        }
        done.is_ok()
    }

    /// Says how many entries are missing, once the disk takes an entry again.
    fn own_up(&mut self) {
        if self.no_room || self.lost == 0 {
            return;
        }
        let lost = std::mem::take(&mut self.lost);
        let missing = self.own_note("left out", "lost");
        let words = "entries that were not written: the disk was full, failing or too slow";
        self.note(&Note {
            count: Some(lost),
            ..missing.did(Some(words.into()))
        });
        self.after(Book::write);
        if self.failed {
            // Neither was this one: all of them are still to be told of.
            self.lost = self.lost.max(lost);
        }
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
        let mut waiting = self.0.lock();
        waiting.ended = true;
        waiting.handed.clear();
        // Nobody waits for room that never comes.
        self.0.room.close();
        drop(waiting);
        if thread::panicking() {
            let message = "the thread of the operations log failed; nothing is kept in it until the next start. The \
                           log has the place in the code: please report it";
            self.0.raise("oplog_failed", message);
        }
    }
}
