//! The operations log: every write to Convex and to Clerk, and what operators have changed.
//!
//! Who writes hands in what was done and goes on; one thread makes entries of it and writes them in groups. Each
//! entry names the hash of the one before ([`chain`]). Promises: nothing of anybody's values is in it but masked
//! ones; memory is bounded: who hands in more than can be written waits, and if the disk does not take it for five
//! seconds, entries are left out, and an entry says how many; the log on the disk is bounded by bytes, oldest first.
//! What was written down outlives a kill, and a power cut all but its last second. Knows no service.

mod book;
pub mod chain;
mod files;
mod line;
pub mod note;
mod queue;
mod reader;
mod thread;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use chrono::{DateTime, SecondsFormat};
use thiserror::Error;
use tokio::{sync::oneshot, time::timeout};

use self::{
    book::{Book, Found},
    files::Files,
    note::{Call, Note},
    queue::{Handed, Queue},
};
use super::alert::Alerts;
use crate::store::{crypt::Keyring, directory, upkeep::OPLOG};

pub use reader::{MOST, Reader, Verified, Wanted};

/// The largest segment, in bytes: what is read at once.
const SEGMENT_BYTES: u64 = 4 << 20;
/// How long whoever hands something in waits for room, before it is left out.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why the log cannot be written or read.
#[derive(Debug, Error)]
pub enum OplogError {
    /// The disk refused. Transient or not, as the disk is.
    #[error("the operations log at {}: {source}; check owner, mode and free space", .path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is written faster than it can be read. Transient.
    #[error("the operations log at {} is written too fast to be read now; try again", .0.display())]
    Moving(PathBuf),
}

/// What the log needs.
pub struct Options {
    /// Bytes that it may have on the disk.
    pub keep: u64,
    /// Encrypt its lines.
    pub keys: Keyring,
    /// Where it is told that entries are left out.
    pub alerts: Alerts,
    /// The time of day, in milliseconds since the epoch.
    pub now_ms: fn() -> i64,
}

/// See the module's words. Cheap to clone; the thread ends with the last one.
#[derive(Clone)]
pub struct OperationsLog(Arc<Inner>);

struct Inner {
    queue: Arc<Queue>,
    reader: Reader,
}

impl OperationsLog {
    /// Opens the log of this state directory, whatever a kill has left of it.
    ///
    /// # Errors
    /// The disk refused.
    pub fn open(state: &Path, options: Options) -> Result<OperationsLog, OplogError> {
        OperationsLog::open_with(state, &options, false)
    }

    /// The same for a daemon, whose deliveries matter more: a log that cannot be opened is set aside, and a new one
    /// begun; where that cannot be done either, nothing is kept until the next start. An alert says so.
    pub fn open_or_begin(state: &Path, options: Options) -> OperationsLog {
        let error = match OperationsLog::open_with(state, &options, false) {
            Ok(log) => return log,
            Err(error) => error,
        };
        let now_ms = (options.now_ms)();
        let now = DateTime::from_timestamp_millis(now_ms).unwrap_or_default();
        let aside = directory::set_aside(state, OPLOG, now).map_err(files::at(&state.join(OPLOG)));
        let begun = aside.and_then(|path| {
            let log = OperationsLog::open_with(state, &options, true)?;
            Ok((log, path))
        });
        match begun {
            Ok((log, path)) => {
                let kept = path.display();
                let message = format!(
                    "{error}. What could not be read is kept as {kept}, and a new log was begun"
                );
                options.alerts.raise("oplog_damaged", message, now_ms);
                log
            }
            Err(again) => {
                let message = format!(
                    "{error}. A new one cannot be begun either ({again}); nothing is kept in it until the next start"
                );
                options.alerts.raise("oplog_failed", message, now_ms);
                let queue = Arc::new(Queue::new(options.alerts, options.now_ms));
                queue.end();
                let reader = Reader::look(state, &options.keys);
                OperationsLog(Arc::new(Inner { queue, reader }))
            }
        }
    }

    fn open_with(
        state: &Path,
        options: &Options,
        set_aside: bool,
    ) -> Result<OperationsLog, OplogError> {
        let files = Files::of(state, &options.keys);
        let reader = Reader::look(state, &options.keys);
        let (book, found) = Book::open(files, options.keep)?;
        let found = Found { set_aside, ..found };
        let queue = Arc::new(Queue::new(options.alerts.clone(), options.now_ms));
        thread::start(book, found, Arc::clone(&queue))?;
        Ok(OperationsLog(Arc::new(Inner { queue, reader })))
    }

    /// Hands a call in. Waits while too much waits already, for five seconds at most.
    pub async fn call(&self, call: Call) {
        let weight = call.weight();
        if weight > 0 {
            self.hand_in(weight, Handed::Call(call)).await;
        }
    }

    /// Hands a note in; as [`OperationsLog::call`].
    pub async fn note(&self, note: Note) {
        self.hand_in(1, Handed::Note(Box::new(note))).await;
    }

    /// The same for who cannot wait: without room the note is left out, and counted.
    pub fn note_now(&self, note: Note) {
        self.0.queue.push(1, Handed::Note(Box::new(note)));
    }

    /// Returns when everything that was handed in is written, or known to be lost.
    pub async fn written(&self) {
        self.ask(Handed::Written).await;
    }

    /// Writes and syncs what was handed in, and ends the thread.
    pub async fn close(&self) {
        self.ask(Handed::Close).await;
    }

    /// The reading side.
    pub fn reader(&self) -> &Reader {
        &self.0.reader
    }

    async fn hand_in(&self, weight: usize, handed: Handed) {
        let queue = &self.0.queue;
        let permits = u32::try_from(weight.min(queue::ROOM)).unwrap_or(u32::MAX);
        // Whoever waited in vain once has nobody else wait until there is room again.
        let patience = match queue.is_stuck.load(Ordering::Relaxed) {
            true => Duration::ZERO,
            false => PATIENCE,
        };
        match timeout(patience, queue.room.acquire_many(permits)).await {
            Ok(Ok(room)) => {
                queue.is_stuck.store(false, Ordering::Relaxed);
                room.forget();
                queue.put(handed);
            }
            // The thread has ended: with the daemon, or it has said so.
            Ok(Err(_)) => {}
            Err(_) => {
                queue.is_stuck.store(true, Ordering::Relaxed);
                queue.leave_out(weight);
            }
        }
    }

    async fn ask(&self, question: fn(oneshot::Sender<()>) -> Handed) {
        let (answer, answered) = oneshot::channel();
        self.0.queue.put(question(answer));
        // The thread that has ended answers nobody, and has nothing left to write.
        let _ = answered.await;
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.queue.abandon();
    }
}

/// A time as entries have it; none for one that no calendar knows.
fn rfc3339(ms: i64) -> Option<String> {
    let at = DateTime::from_timestamp_millis(ms)?;
    Some(at.to_rfc3339_opts(SecondsFormat::Millis, true))
}

#[cfg(test)]
mod tests;
