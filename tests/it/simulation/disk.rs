//! The model of the disk: a journal that keeps what was synced, and a derived state that can be lost.
//!
//! A crash keeps of the journal what is durable and some of what is not; of the derived state what was synced
//! at the least, and sometimes nothing at all. The ledger has two generations and a floor, as the program's.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use clerk_convex_sync::{
    apply::instance::Pin,
    model::{RecordKey, Version},
    reconcile::{memory::Memory, repair::plan::Plan},
    store::{
        journal::{CauseKind, Meta, Position},
        state::Seen,
    },
};
use tokio::sync::oneshot;

use super::{clerk::Message, full::Cursor, machine::Machine};

/// An entry of the journal.
#[derive(Clone, Debug)]
pub struct Stored {
    pub meta: Meta,
    /// What was delivered; nothing for a wish to fetch.
    pub message: Option<Rc<Message>>,
}

/// What is written one after another.
#[derive(Clone, Debug)]
enum Line {
    Entry(Rc<Stored>),
    Final(u64),
    Parked(u64, u32),
    Unparked(u64),
}

/// See the module's words.
#[derive(Default)]
pub struct Journal {
    lines: Vec<Line>,
    durable: usize,
    /// Lines that the queue has heard of.
    told: usize,
    by_message: BTreeMap<u64, usize>,
    entries: BTreeMap<u64, Rc<Stored>>,
    next: u64,
    waiting: Vec<(usize, oneshot::Sender<()>)>,
    pub syncing: bool,
}

/// What a start finds.
#[derive(Default)]
pub struct Recovered {
    pub pending: Vec<Rc<Stored>>,
    pub parked: Vec<(Rc<Stored>, u32)>,
}

impl Journal {
    /// Where this message is, if it is known.
    pub fn place_of(&self, message: u64) -> Option<usize> {
        self.by_message.get(&message).copied()
    }

    /// Writes an entry; answers its place.
    pub fn append(
        &mut self,
        record: RecordKey,
        message: Option<Rc<Message>>,
        cause: CauseKind,
        received_ms: i64,
    ) -> usize {
        self.next += 1;
        let standing = message.as_ref().map(|message| message.standing);
        let meta = Meta {
            seq: self.next,
            position: Position {
                segment: 1,
                offset: 0,
                len: 0,
            },
            received_ms,
            record: Some(record),
            version: standing.map_or(Version(0), |standing| standing.version),
            deleted: standing.is_some_and(|standing| standing.deleted),
            fingerprint: message.as_ref().map_or(0, |one| u64::from(one.content)),
            cause,
        };
        if let Some(message) = &message {
            self.by_message.insert(message.id, self.lines.len());
        }
        let stored = Rc::new(Stored { meta, message });
        self.entries.insert(stored.meta.seq, Rc::clone(&stored));
        self.lines.push(Line::Entry(stored));
        self.lines.len() - 1
    }

    pub fn settle(&mut self, seq: u64) {
        self.lines.push(Line::Final(seq));
    }

    pub fn park(&mut self, seq: u64, attempts: u32) {
        self.lines.push(Line::Parked(seq, attempts));
    }

    pub fn unpark(&mut self, seq: u64) {
        self.lines.push(Line::Unparked(seq));
    }

    pub fn read(&self, seq: u64) -> Rc<Stored> {
        Rc::clone(&self.entries[&seq])
    }

    pub fn is_durable(&self, place: usize) -> bool {
        place < self.durable
    }

    /// Lets somebody wait until a place is durable.
    pub fn wait(&mut self, place: usize) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        self.waiting.push((place, sender));
        receiver
    }

    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Everything up to here is durable. Answers the entries that the queue has not heard of.
    pub fn synced(&mut self, up_to: usize) -> Vec<Rc<Stored>> {
        self.durable = up_to;
        let told = std::mem::replace(&mut self.told, up_to);
        let (done, waiting) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|(place, _)| *place < up_to);
        self.waiting = waiting;
        let done: Vec<(usize, oneshot::Sender<()>)> = done;
        done.into_iter().for_each(|(_, waiting)| {
            let _ = waiting.send(());
        });
        let fresh = self.lines[told..up_to].iter();
        fresh
            .filter_map(|line| match line {
                Line::Entry(stored) => Some(Rc::clone(stored)),
                _ => None,
            })
            .collect()
    }

    /// The machine or the process is gone: what was durable is there, and perhaps more.
    pub fn crash(&mut self, machine: &Machine, durable: bool) {
        let least = if durable { self.durable } else { 0 };
        let kept = machine.between(least as i64, self.lines.len() as i64) as usize;
        self.lines.truncate(kept);
        self.by_message.retain(|_, place| *place < kept);
        self.durable = kept;
        self.told = kept;
        self.waiting.clear();
        self.syncing = false;
    }

    /// What was not dealt with, and what was set aside.
    pub fn recover(&self) -> Recovered {
        let mut open = BTreeMap::new();
        let mut parked = BTreeMap::new();
        for line in &self.lines {
            match line {
                Line::Entry(stored) => drop(open.insert(stored.meta.seq, Rc::clone(stored))),
                Line::Final(seq) => {
                    open.remove(seq);
                    parked.remove(seq);
                }
                Line::Parked(seq, attempts) => drop(parked.insert(*seq, *attempts)),
                Line::Unparked(seq) => drop(parked.remove(seq)),
            }
        }
        let mut recovered = Recovered::default();
        for (seq, stored) in open {
            match parked.get(&seq) {
                Some(attempts) => recovered.parked.push((stored, *attempts)),
                None => recovered.pending.push(stored),
            }
        }
        recovered
    }

    /// The messages of which an entry is still there.
    pub fn messages(&self) -> BTreeSet<u64> {
        self.by_message.keys().copied().collect()
    }
}

/// What was last seen of records, bounded. As the program's, without sled.
#[derive(Clone, Default)]
pub struct Ledger {
    young: BTreeMap<RecordKey, Seen>,
    old: BTreeMap<RecordKey, Seen>,
    young_max: i64,
    old_max: i64,
    pub floor: i64,
}

impl Ledger {
    pub fn get(&self, record: &RecordKey) -> Option<Seen> {
        let young = self.young.get(record);
        young.or_else(|| self.old.get(record)).copied()
    }

    pub fn put(&mut self, record: RecordKey, seen: Seen, records: usize) {
        self.young.insert(record, seen);
        self.young_max = self.young_max.max(seen.version.ms());
        if self.young.len() >= (records / 2).max(1) {
            self.floor = self.floor.max(self.old_max);
            self.old_max = self.young_max;
            self.young_max = i64::MIN;
            self.old = std::mem::take(&mut self.young);
        }
    }
}

/// What can be found out again.
#[derive(Clone, Default)]
pub struct Derived {
    pub ledger: Ledger,
    pub pin: Pin,
    pub proved: bool,
    /// The full diff that is under way.
    pub run: Option<Cursor>,
    /// How far the sweep has come.
    pub swept: Option<i64>,
    /// What is remembered of sweeps and of full diffs.
    pub memories: [Memory; 2],
}

/// The derived state now, and what would be left of it.
#[derive(Default)]
pub struct State {
    pub now: Derived,
    flushed: Derived,
    synced: Derived,
}

impl State {
    /// It survives the end of the process.
    pub fn flush(&mut self) {
        self.flushed = self.now.clone();
    }

    /// It survives the end of the machine.
    pub fn sync(&mut self) {
        self.flush();
        self.synced = self.now.clone();
    }

    /// True if something of it was forgotten without a trace.
    pub fn crash(&mut self, machine: &Machine, power: bool, lost: bool) -> bool {
        let mut forgot = false;
        let least = if power { &self.synced } else { &self.flushed };
        if lost {
            self.now = Derived::default();
            // What was forgotten is not known, so nothing said before now proves anything.
            self.now.ledger.floor = machine.now();
        } else if machine.chance(0.5) {
            self.now = least.clone();
            forgot = true;
        }
        self.sync();
        forgot
    }
}

/// Everything that outlives a process.
#[derive(Default)]
pub struct Disk {
    pub journal: Journal,
    pub state: State,
    pub plans: Vec<Plan>,
}
