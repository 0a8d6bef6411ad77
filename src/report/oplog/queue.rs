//! What waits for the thread that writes.
//!
//! Bounded: who hands something in for which there is no room waits, or leaves it out, and that is counted. Knows
//! nothing of the disk.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
    time::Duration,
};

use tokio::sync::{Semaphore, TryAcquireError, oneshot};

use super::note::{Call, Note};
use crate::report::alert::Alerts;

/// Records that may wait to be written. Each takes about 200 bytes.
pub const ROOM: usize = 20_000;
/// How long the thread waits for more before it writes: at most so many writes a second.
const GATHER: Duration = Duration::from_millis(2);

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
    /// What is wrong.
    pub alerts: Alerts,
    /// The time of day, in milliseconds since the epoch.
    pub now_ms: fn() -> i64,
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

    /// Raises an alert.
    pub fn raise(&self, code: &'static str, message: impl Into<String>) {
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
        let is_news = waiting.handed.is_empty() || waiting.urgent;
        waiting.handed.push(handed);
        // Who is woken wants the lock at once.
        drop(waiting);
        if is_news {
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

    /// Takes nothing in any more; what waits is dropped, and nobody waits for room that never comes.
    pub fn end(&self) {
        let mut waiting = self.lock();
        waiting.ended = true;
        waiting.handed.clear();
        self.room.close();
    }

    /// All that waits, after a moment for more to come, or nothing after `most`; and how much was left out since
    /// the last time. `None`: it is over.
    pub fn take(&self, most: Option<Duration>) -> Option<(Vec<Handed>, u64)> {
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
