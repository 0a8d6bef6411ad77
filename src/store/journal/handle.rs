//! What the rest of the daemon holds: a cheap handle that any thread may use.
//!
//! An append is encoded here, by whoever brings it, so that the committer only copies and writes.
//! Dropping the last handle writes what was noted and waits for the committer to end; where that must
//! not block, [`Journal::close`] comes first.

use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::{oneshot, watch};

use super::entry::{Cause, Entry, Meta, NewEntry, Parked, Position, Settled};
use super::error::{AppendError, Limit, ReadError};
use super::format::encode_entry;
use super::group::{Command, Note, Share, Waiting};
use super::index::Index;
use super::reader::Reader;
use crate::twin::{self, Twin};

/// An entry that is on stable storage now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It was stored.
    Stored {
        /// Its number.
        seq: u64,
    },
    /// A delivery with this id is stored already.
    Known {
        /// True if it is also final.
        settled: bool,
    },
}

/// Whether the journal takes anything in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Yes.
    Writing,
    /// Not at the moment: no room, or read-only. It goes on by itself.
    Unwritable(String),
    /// Never again in this process: the disk failed. The daemon has to drain and end.
    Poisoned(String),
    /// It was closed.
    Closed,
}

/// Figures for status and metrics, as of the last group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Entries that are neither final nor dead letters.
    pub pending: u64,
    /// Dead letters.
    pub parked: u64,
    /// Segment files.
    pub segments: u64,
    /// Their length together, in bytes.
    pub bytes: u64,
    /// The highest number given to an entry.
    pub highest_seq: u64,
    /// Bytes that wait for the committer.
    pub waiting_bytes: u64,
}

/// See the module's words.
#[derive(Clone)]
pub struct Journal {
    inner: Arc<Inner>,
}

struct Inner {
    /// `None` only while this is dropped.
    commands: Option<SyncSender<Command>>,
    shared: Arc<Shared>,
    health: watch::Receiver<Health>,
    thread: Option<JoinHandle<()>>,
}

impl Journal {
    pub(super) fn new(
        commands: SyncSender<Command>,
        shared: Arc<Shared>,
        health: watch::Receiver<Health>,
        thread: JoinHandle<()>,
    ) -> Self {
        Journal {
            inner: Arc::new(Inner {
                commands: Some(commands),
                shared,
                health,
                thread: Some(thread),
            }),
        }
    }

    /// Stores an entry; answers when it is on stable storage. Takes its place in the order when called,
    /// not when awaited; dropping the future does not take it back.
    pub fn append(
        &self,
        entry: NewEntry,
    ) -> impl Future<Output = Result<Appended, AppendError>> + Send + use<> {
        let asked = self.ask(entry);
        let health = self.inner.health.clone();
        async move {
            let asked = asked?;
            if twin::broken(Twin::AckBeforeStore) {
                return Ok(Appended::Stored { seq: 0 });
            }
            asked.await.unwrap_or_else(|_| Err(ended(&health)))
        }
    }

    /// Notes that entries are final. Nobody waits: the verdicts are written with the next group,
    /// within about 20 ms. Entries that are final already are passed over.
    pub fn settle(&self, settled: impl IntoIterator<Item = Settled>) {
        self.note(settled.into_iter().map(Note::Settle));
    }

    /// Notes that an entry is a dead letter now. It stays, with its body, until it is settled.
    pub fn park(&self, parked: Parked) {
        self.note([Note::Park(Box::new(parked))]);
    }

    /// Notes that a dead letter is to be tried again.
    pub fn unpark(&self, seq: u64) {
        self.note([Note::Unpark(seq)]);
    }

    /// Reads an entry back. Blocks for as long as the disk takes.
    pub fn read(&self, position: Position) -> Result<Entry, ReadError> {
        self.inner.shared.reader.entry(position)
    }

    /// Where an entry lies now, or `None` if it is final.
    pub async fn locate(&self, seq: u64) -> Option<Position> {
        let (answer, position) = oneshot::channel();
        self.send_waiting(Command::Locate(seq, answer)).await.ok()?;
        position.await.ok().flatten()
    }

    /// Answers when everything noted so far is on stable storage.
    pub async fn sync(&self) -> Result<(), AppendError> {
        let (answer, done) = oneshot::channel();
        self.send_waiting(Command::Sync(answer)).await?;
        done.await
            .unwrap_or_else(|_| Err(ended(&self.inner.health)))
    }

    /// Answers when the committer has come round: feeds a watchdog.
    pub async fn pulse(&self) -> Result<(), AppendError> {
        let (answer, done) = oneshot::channel();
        self.send_waiting(Command::Pulse(answer)).await?;
        done.await.map_err(|_| ended(&self.inner.health))
    }

    /// Writes and syncs what was noted, and ends the committer. The directory can then be opened
    /// again. Appends that come later are refused.
    pub async fn close(&self) -> Result<(), AppendError> {
        let (answer, done) = oneshot::channel();
        self.send_waiting(Command::Close(answer)).await?;
        done.await
            .unwrap_or_else(|_| Err(ended(&self.inner.health)))
    }

    /// Whether it takes anything in; changes can be awaited.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.inner.health.clone()
    }

    /// Answers with the reason when the disk has failed for good: drain, and end with a failure.
    /// Never answers otherwise.
    pub async fn fatal(&self) -> String {
        let mut health = self.inner.health.clone();
        let poisoned = health
            .wait_for(|health| matches!(health, Health::Poisoned(_)))
            .await
            .map(|health| health.clone());
        match poisoned {
            Ok(Health::Poisoned(reason)) => reason,
            _ => std::future::pending().await,
        }
    }

    /// Figures as of the last group.
    pub fn stats(&self) -> Stats {
        self.inner.shared.stats()
    }

    fn ask(
        &self,
        entry: NewEntry,
    ) -> Result<oneshot::Receiver<Result<Appended, AppendError>>, AppendError> {
        let shared = &self.inner.shared;
        let frame = encode_entry(&entry, shared.reader.keys()).ok_or(AppendError::TooLarge)?;
        let share = Share::take(&shared.waiting, frame.len(), shared.waiting_limit)
            .ok_or(AppendError::Full(Limit::Bytes))?;
        let delivery = match &entry.cause {
            Cause::Delivery { id, .. } => shared.hasher.hash_one(id.as_str()).max(1),
            Cause::Request { .. } => 0,
        };
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting {
            frame,
            meta: Meta {
                seq: 0,
                position: Position {
                    segment: 0,
                    offset: 0,
                    len: 0,
                },
                received_ms: entry.received_ms,
                record: entry.record,
                version: entry.version,
                deleted: entry.deleted,
                fingerprint: entry.fingerprint,
                cause: entry.cause.kind(),
            },
            delivery,
            answer,
            _share: share,
        };
        match self.try_send(Command::Append(Box::new(waiting))) {
            Ok(()) => Ok(answered),
            Err(TrySendError::Full(_)) => Err(AppendError::Full(Limit::Requests)),
            Err(TrySendError::Disconnected(_)) => Err(ended(&self.inner.health)),
        }
    }

    fn note(&self, notes: impl IntoIterator<Item = Note>) {
        if self.inner.shared.add_notes(notes) {
            // When the channel is full the committer is at work and looks by itself; when it is gone
            // there is nobody to tell.
            let _ = self.try_send(Command::Wake);
        }
    }

    /// For the rare requests that have nobody to refuse them: tries until there is a place.
    async fn send_waiting(&self, mut command: Command) -> Result<(), AppendError> {
        loop {
            match self.try_send(command) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(back)) => command = back,
                Err(TrySendError::Disconnected(_)) => return Err(ended(&self.inner.health)),
            }
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }

    fn try_send(&self, command: Command) -> Result<(), TrySendError<Command>> {
        match &self.inner.commands {
            Some(commands) => commands.try_send(command),
            None => Err(TrySendError::Disconnected(command)),
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The committer ends when nobody can ask it any more.
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            // Its panic was reported through `health`.
            let _ = thread.join();
        }
    }
}

fn ended(health: &watch::Receiver<Health>) -> AppendError {
    match &*health.borrow() {
        Health::Poisoned(reason) => AppendError::Poisoned(reason.clone()),
        _ => AppendError::Closed,
    }
}

/// What handles and committer share.
pub struct Shared {
    /// Reads entries back.
    pub reader: Reader,
    hasher: RandomState,
    notes: Mutex<Vec<Note>>,
    waiting: Arc<AtomicUsize>,
    waiting_limit: usize,
    pending: AtomicU64,
    parked: AtomicU64,
    segments: AtomicU64,
    bytes: AtomicU64,
    highest_seq: AtomicU64,
}

impl Shared {
    /// Nothing noted, nothing waiting.
    pub fn new(reader: Reader, hasher: RandomState, waiting_limit: usize) -> Self {
        Shared {
            reader,
            hasher,
            notes: Mutex::default(),
            waiting: Arc::default(),
            waiting_limit,
            pending: AtomicU64::default(),
            parked: AtomicU64::default(),
            segments: AtomicU64::default(),
            bytes: AtomicU64::default(),
            highest_seq: AtomicU64::default(),
        }
    }

    /// Everything noted since the last call.
    pub fn take_notes(&self) -> Vec<Note> {
        std::mem::take(&mut *self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sets the figures.
    pub fn publish(&self, index: &Index, next_seq: u64) {
        let parked = index.parked_len() as u64;
        let live = index.live_len() as u64;
        self.pending
            .store(live.saturating_sub(parked), Ordering::Relaxed);
        self.parked.store(parked, Ordering::Relaxed);
        self.segments
            .store(index.segments_len() as u64, Ordering::Relaxed);
        self.bytes.store(index.bytes(), Ordering::Relaxed);
        self.highest_seq
            .store(next_seq.saturating_sub(1), Ordering::Relaxed);
    }

    /// True if there were none before, so that the committer has to be woken.
    fn add_notes(&self, more: impl IntoIterator<Item = Note>) -> bool {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        let first = notes.is_empty();
        notes.extend(more);
        first && !notes.is_empty()
    }

    fn stats(&self) -> Stats {
        Stats {
            pending: self.pending.load(Ordering::Relaxed),
            parked: self.parked.load(Ordering::Relaxed),
            segments: self.segments.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            highest_seq: self.highest_seq.load(Ordering::Relaxed),
            waiting_bytes: self.waiting.load(Ordering::Relaxed) as u64,
        }
    }
}
