//! The one thread that writes: gathers what waits, writes it at once, syncs once, answers everybody.
//!
//! Owns the segment being written and the index. Knows nothing of what an entry means. Promises that
//! no append is answered with yes before the sync that covers it, that a failed sync is never asked
//! again (the journal is poisoned instead, and the daemon must end), and that verdicts are on disk in
//! the order in which they were given. A full disk refuses a group and nothing else; see `relief`.

mod relief;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tracing::warn;

use super::entry::Position;
use super::error::AppendError;
use super::group::{Carried, Command, Group, Note, place, stage_notes};
use super::index::Index;
use super::notices::{Notice, Teller};
use super::remover::Remover;
use super::writer::{WriteError, Writer};
use super::{Health, Options, Shared};
use crate::store::lock::Lock;
use crate::twin::{self, Twin};

/// How long a verdict may wait for a group to go with.
const NOTE_DELAY: Duration = Duration::from_millis(20);
/// How soon notes are tried again after the disk had no room.
const RETRY: Duration = Duration::from_secs(1);
/// How often a journal that has nothing to do looks whether a segment is too old to stay.
const LOOK: Duration = Duration::from_secs(60 * 60);
/// How much is copied out of an old segment with one group, in bytes: little beside a sync.
const CARRY_BYTES: usize = 1024 * 1024;
/// How long the twin that acknowledges first keeps from writing: a kill in between finds it for certain. The one that
/// dawdles takes three times as long.
const TWIN_DELAY: Duration = Duration::from_millis(500);
/// How large the write buffer stays between groups, in bytes.
const IDLE_BUFFER_BYTES: usize = 1024 * 1024;

/// See the module's words.
pub struct Committer {
    pub(super) options: Options,
    pub(super) commands: Receiver<Command>,
    pub(super) shared: Arc<Shared>,
    pub(super) index: Index,
    pub(super) writer: Writer,
    pub(super) remover: Remover,
    pub(super) teller: Teller,
    pub(super) health: watch::Sender<Health>,
    pub(super) next_seq: u64,
    pub(super) lock: Option<Lock>,
    pub(super) state: State,
}

/// What the committer remembers between two groups.
#[derive(Default)]
pub struct State {
    notes: Vec<Note>,
    buffer: Vec<u8>,
    carry: Option<Carry>,
    /// A segment of which something could not be read: carrying it is not tried again.
    unreadable: Option<u32>,
    no_room: bool,
    poisoned: Option<String>,
}

/// A segment that is being emptied.
struct Carry {
    segment: u32,
    /// What is still to be copied, oldest last.
    seqs: Vec<u64>,
}

/// What a moment brought.
struct Turn {
    group: Group,
    close: Option<oneshot::Sender<Result<(), AppendError>>>,
    last: bool,
}

impl Committer {
    /// Runs until it is closed, or until nobody can ask for anything any more.
    pub fn run(mut self) {
        self.maintain();
        self.publish();
        loop {
            let mut turn = self.gather();
            if turn.last {
                let (answer, done) = oneshot::channel();
                turn.group.syncs.push(answer);
                self.commit(turn.group);
                let outcome = done.blocking_recv();
                if self.state.poisoned.is_none() {
                    // Zeros that stay are cut off by the next start.
                    let _ = self.writer.trim();
                }
                self.publish();
                // Whoever waited for the close may open the directory again at once.
                self.remover.finish();
                self.lock = None;
                if let Some(close) = turn.close {
                    let _ = close.send(outcome.unwrap_or(Err(AppendError::Closed)));
                }
                return;
            }
            self.commit(turn.group);
            self.maintain();
            self.publish();
        }
    }

    fn gather(&mut self) -> Turn {
        let mut turn = Turn {
            group: Group::default(),
            close: None,
            last: false,
        };
        let mut next = self.first();
        loop {
            match next {
                Ok(command) => self.take(command, &mut turn),
                Err(TryRecvError::Disconnected) => turn.last = true,
                Err(TryRecvError::Empty) => return turn,
            }
            if turn.last || turn.group.is_full(&self.options) {
                return turn;
            }
            next = self.commands.try_recv();
        }
    }

    /// Waits for something to do: not at all while a segment is being emptied, for a while when
    /// there is no room, and not for ever. A note waits a little for company.
    fn first(&self) -> Result<Command, TryRecvError> {
        let soon = |wait| match self.commands.recv_timeout(wait) {
            Ok(command) => Ok(command),
            Err(RecvTimeoutError::Timeout) => Err(TryRecvError::Empty),
            Err(RecvTimeoutError::Disconnected) => Err(TryRecvError::Disconnected),
        };
        let first = if self.state.carry.is_some() && !self.state.no_room {
            self.commands.try_recv()
        } else if !self.state.notes.is_empty() || self.state.no_room {
            soon(RETRY)
        } else {
            soon(LOOK)
        };
        match first {
            Ok(Command::Wake) => soon(NOTE_DELAY),
            other => other,
        }
    }

    fn take(&mut self, command: Command, turn: &mut Turn) {
        match command {
            Command::Append(waiting) => turn.group.add(*waiting, &self.index, &self.options),
            Command::Wake => {}
            Command::Sync(answer) => turn.group.syncs.push(answer),
            Command::Locate(seq, answer) => {
                let _ = answer.send(self.index.position(seq));
            }
            Command::Pulse(answer) => {
                let _ = answer.send(());
            }
            Command::Close(answer) => {
                turn.close = Some(answer);
                turn.last = true;
            }
        }
    }

    fn commit(&mut self, mut group: Group) {
        self.take_notes();
        if let Some(reason) = &self.state.poisoned {
            group.refuse(&AppendError::Poisoned(reason.clone()));
            return;
        }
        let kept_back = self.keep_room(&mut group);
        let carried = self.carried();
        let mut out = std::mem::take(&mut self.state.buffer);
        // The copies first: a note about an entry counts from behind its copy on, and must not be undone by it.
        let moves = stage_carried(&mut out, &carried);
        let parks = stage_notes(&mut out, &self.state.notes, &self.options.keys);
        group.stage(&mut out, &mut self.next_seq, &self.options.keys);
        if !kept_back {
            self.probe(&mut out);
        }
        let sync = group.needs_sync() || !carried.is_empty();
        match self.write(&out, sync) {
            Ok((segment, base)) => {
                if !out.is_empty() && !kept_back {
                    self.room_again();
                }
                let at = |position: Position| Position {
                    segment,
                    offset: position.offset + base,
                    len: position.len,
                };
                self.moved(moves, at);
                self.note_written(parks.into_iter().map(|(seq, place)| (seq, at(place))));
                let teller = &mut self.teller;
                group.finish(segment, base, &mut self.index, |metas| {
                    teller.tell(Notice::Stored(metas));
                });
                self.teller.ring();
            }
            Err(error) => self.refuse(error, group),
        }
        out.clear();
        out.shrink_to(IDLE_BUFFER_BYTES);
        self.state.buffer = out;
        self.relieve();
    }

    /// Verdicts count from the moment they are given, not from when they are written: a lost one
    /// costs a repetition, while waiting for room to write it could keep a full disk full.
    fn take_notes(&mut self) {
        for note in self.shared.take_notes() {
            let seq = note.seq();
            let live = match &note {
                Note::Settle(_) => self.index.settle(seq),
                Note::Park(_) | Note::Unpark(_) => self.index.position(seq).is_some(),
            };
            if live && self.state.poisoned.is_none() {
                self.state.notes.push(note);
            }
        }
    }

    fn write(&mut self, out: &[u8], sync: bool) -> Result<(u32, u32), WriteError> {
        let mut base = 0;
        if twin::broken(Twin::AckBeforeStore) {
            rest(1);
        }
        if twin::broken(Twin::Dawdling) && self.next_seq.is_multiple_of(16) {
            rest(3);
        }
        if !out.is_empty() {
            let written = self.writer.append(out, self.next_seq);
            // Also after a failure: a new segment may have been begun.
            self.index.grow(self.writer.number(), self.writer.len());
            base = written?;
        }
        if sync {
            self.writer.sync()?;
        }
        Ok((self.writer.number(), base))
    }

    fn note_written(&mut self, mut parks: impl Iterator<Item = (u64, Position)>) {
        for note in self.state.notes.drain(..) {
            match note {
                Note::Settle(_) => {}
                Note::Park(_) => {
                    if let Some((seq, position)) = parks.next() {
                        self.index.park(seq, position);
                    }
                }
                Note::Unpark(seq) => self.index.unpark(seq),
            }
        }
        self.state.notes.shrink_to(1024);
    }

    fn moved(
        &mut self,
        moves: Vec<(u64, Position, Option<Position>)>,
        at: impl Fn(Position) -> Position,
    ) {
        let mut told = Vec::with_capacity(moves.len());
        for (seq, entry, park) in moves {
            self.index.store(seq, at(entry), self.index.delivery(seq));
            if let Some(park) = park {
                self.index.park(seq, at(park));
            }
            told.push((seq, at(entry)));
        }
        if !told.is_empty() {
            self.teller.tell(Notice::Moved(told));
        }
    }

    /// Removes what is final at the old end, and decides whether to empty what is left there.
    fn maintain(&mut self) {
        self.index.tick((self.options.now_ms)());
        self.finish_what_is_old();
        while self.state.poisoned.is_none()
            && let Some(segment) = self.index.finished()
        {
            self.index.drop_oldest();
            self.shared.reader.forget(segment);
            self.remover.remove(segment);
        }
        if self.state.poisoned.is_none()
            && let Some(reason) = self.remover.broken()
        {
            self.poison(reason);
        }
        if self.state.carry.is_none() && !self.state.no_room && self.state.poisoned.is_none() {
            self.state.carry = self.to_carry(self.options.keep_segments.max(2));
        }
    }

    /// Begins a new segment when the one there is has been written to for long, so that what is done with can go.
    fn finish_what_is_old(&mut self) {
        if self.state.no_room || self.state.poisoned.is_some() || !self.index.newest_is_old() {
            return;
        }
        let begun = self.writer.begin_next(self.next_seq);
        self.index.grow(self.writer.number(), self.writer.len());
        // Without room it is tried again.
        if let Err(WriteError::Broken(error)) = begun {
            self.poison(error.to_string());
        }
    }

    /// The next entries to be copied out of the segment that is being emptied.
    fn carried(&mut self) -> Vec<Carried> {
        let mut carried = Vec::new();
        let Some(carry) = &mut self.state.carry else {
            return carried;
        };
        let mut bytes = 0;
        while bytes < CARRY_BYTES
            && let Some(seq) = carry.seqs.pop()
        {
            // Settled since, or moved already.
            let Some(position) = self.index.position(seq) else {
                continue;
            };
            let park = self.index.park_position(seq);
            let read = self.shared.reader.frame(position).and_then(|frame| {
                let park = park.map(|at| self.shared.reader.frame(at)).transpose()?;
                Ok(Carried { seq, frame, park })
            });
            match read {
                Ok(found) => {
                    bytes += found.frame.len();
                    carried.push(found);
                }
                Err(error) => {
                    warn!(%error, segment = carry.segment, "an old journal entry cannot be copied");
                    self.state.unreadable = Some(carry.segment);
                }
            }
        }
        if carry.seqs.is_empty() {
            self.state.carry = None;
        }
        carried
    }

    fn publish(&self) {
        self.shared.publish(&self.index, self.next_seq);
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        let end = if std::thread::panicking() {
            Health::Poisoned("the committer panicked".into())
        } else if let Some(reason) = self.state.poisoned.take() {
            Health::Poisoned(reason)
        } else {
            Health::Closed
        };
        self.health.send_replace(end);
    }
}

/// Appends the copied frames, and says where in `out` they lie.
fn stage_carried(out: &mut Vec<u8>, carried: &[Carried]) -> Vec<(u64, Position, Option<Position>)> {
    let mut put = |frame: &[u8]| {
        let start = out.len();
        out.extend_from_slice(frame);
        place(start, out.len())
    };
    carried
        .iter()
        .map(|one| (one.seq, put(&one.frame), one.park.as_deref().map(&mut put)))
        .collect()
}

/// So many times the delay of the twins, without doing anything.
#[expect(
    clippy::disallowed_methods,
    reason = "a thread of its own, in a build that nobody uses"
)]
fn rest(times: u32) {
    std::thread::sleep(times * TWIN_DELAY);
}
