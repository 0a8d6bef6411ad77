//! The daemon's queue, driven as the applier drives it: taken in, leased, given to workers, taken back.
//!
//! The queue, the order, the guard, the waits, the dead letters, the pin and the circuits are the program's own.
//! What is written here is only what stands between them in asynchronous code; each part names its original.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use clerk_convex_sync::{
    apply::{Lease, certain::Certain, ending::Final, permits::Permits},
    model::{Origin, Standing},
    queue::{
        dead_letters::DeadLetters,
        order::{self, Says, Waiting},
        ties::Ties,
    },
    store::journal::{CauseKind, Meta, Position},
};

use super::{
    clerk::{Message, record_of},
    disk::Stored,
    endings::letter,
    faults::Breach,
    gate::Gate,
    schedule::Clock,
    world::World,
};

pub type Ticket = order::Ticket<Position>;

/// Leases that wait for a fetcher, and fetchers at once; as in `applier/workers.rs`.
const FETCHERS: usize = 2;
const FETCH_RECORDS: usize = 10;
/// The longest that the applier sleeps while something waits.
const IDLE: i64 = 5_000;

/// See the module's words.
pub struct Daemon {
    pub world: Rc<World>,
    pub life: u32,
    born: i64,
    pub book: RefCell<Book>,
    pub convex: Gate,
    pub clerk: Gate,
    pub permits: Permits,
    wake: Cell<Option<i64>>,
    pub clock: Clock,
    /// As the program's: what this life knows of rows.
    pub certain: RefCell<Certain>,
    /// Runs under way, by sort.
    pub seats: RefCell<[bool; 2]>,
}

#[derive(Debug)]
pub struct Book {
    pub waiting: Waiting<Position>,
    pub ties: Ties<Position>,
    pub dead_letters: DeadLetters,
    pub writers: usize,
    pub fetchers: usize,
    in_doubt: Vec<Lease>,
}

/// Who reports.
#[derive(Clone, Copy)]
pub enum Worker {
    Writer,
    Fetcher,
}

impl Daemon {
    /// Takes over what an earlier life left, and begins; as `Applier::new`.
    pub fn start(world: &Rc<World>, life: u32) -> Rc<Daemon> {
        let daemon = Rc::new(Daemon {
            world: Rc::clone(world),
            life,
            born: world.machine.now(),
            book: RefCell::new(Book {
                waiting: Waiting::default(),
                ties: Ties::default(),
                dead_letters: DeadLetters::new(10_000),
                writers: 0,
                fetchers: 0,
                in_doubt: Vec::new(),
            }),
            convex: Gate::new(200),
            clerk: Gate::new(500),
            permits: Permits::new(world.drawn.concurrency),
            wake: Cell::new(None),
            clock: Clock::default(),
            certain: RefCell::default(),
            seats: RefCell::default(),
        });
        let recovered = world.disk.borrow().journal.recover();
        let (pending, parked) = (recovered.pending, recovered.parked);
        world.machine.say(|| {
            let (pending, parked) = (pending.len(), parked.len());
            format!("life {life} begins, {pending} pending, {parked} dead letters")
        });
        for (stored, attempts) in parked {
            world.checks.borrow_mut().taken_in(&stored);
            let letter = letter(stored.meta.clone(), attempts);
            daemon.book.borrow_mut().dead_letters.add(letter);
        }
        if !world.is_broken(Breach::NoRecovery) {
            pending
                .into_iter()
                .for_each(|stored| daemon.take_in(&stored));
        }
        daemon.begin_schedule();
        daemon.dispatch();
        daemon
    }

    /// A delivery: stored, and then acknowledged. False: the sender is to come again. As `intake` and the
    /// journal's group.
    pub async fn take(self: Rc<Self>, message: Rc<Message>) -> bool {
        let place = {
            let mut disk = self.world.disk.borrow_mut();
            let known = disk.journal.place_of(message.id);
            match known {
                Some(place) => place,
                None => {
                    let record = record_of(&message.key);
                    let now = self.world.machine.now();
                    let message = Some(Rc::clone(&message));
                    disk.journal
                        .append(record, message, CauseKind::Delivery, now)
                }
            }
        };
        let early = self.world.is_broken(Breach::AckBeforeSync);
        if !early && !self.world.disk.borrow().journal.is_durable(place) {
            let synced = self.world.disk.borrow_mut().journal.wait(place);
            self.sync_journal();
            if synced.await.is_err() || !self.lives() {
                return false;
            }
        }
        self.sync_journal();
        self.world.checks.borrow_mut().acknowledged(message.id);
        true
    }

    fn lives(&self) -> bool {
        let now = self.world.daemon();
        now.is_some_and(|daemon| daemon.life == self.life)
    }

    /// Lets the committer write what there is; as `store/journal/committer.rs`.
    pub fn sync_journal(self: &Rc<Self>) {
        let begun = std::mem::replace(&mut self.world.disk.borrow_mut().journal.syncing, true);
        if begun {
            return;
        }
        let daemon = Rc::clone(self);
        self.world.machine.spawn(self.life, async move {
            let world = &daemon.world;
            loop {
                let up_to = world.disk.borrow().journal.len();
                let slow = world.faults().slow_disk;
                world.machine.sleep(world.machine.between(0, slow)).await;
                let fresh = world.disk.borrow_mut().journal.synced(up_to);
                fresh.iter().for_each(|stored| daemon.take_in(stored));
                if !fresh.is_empty() {
                    daemon.dispatch();
                }
                let mut disk = world.disk.borrow_mut();
                if disk.journal.len() == up_to {
                    disk.journal.syncing = false;
                    return;
                }
            }
        });
    }

    pub fn take_in(self: &Rc<Self>, stored: &Stored) {
        let first = self.world.checks.borrow_mut().taken_in(stored);
        let Some(record) = stored.meta.record.clone() else {
            return;
        };
        if self.world.is_broken(Breach::FirstWins) && !first {
            return self.settle(stored.meta.seq, Final::Superseded);
        }
        let ticket = ticket_of(&stored.meta);
        let lost = self.book.borrow_mut().waiting.push(record, ticket);
        self.lost(&ticket, lost);
    }

    pub fn lost(self: &Rc<Self>, handed_in: &Ticket, lost: Option<Ticket>) {
        let Some(lost) = lost else { return };
        let final_now = match self.world.is_broken(Breach::TiesForgotten) {
            true => vec![lost],
            false => self.book.borrow_mut().ties.lost(handed_in, lost),
        };
        for lost in final_now {
            self.settle(lost.seq, Final::Superseded);
        }
    }

    pub fn settle(self: &Rc<Self>, seq: u64, end: Final) {
        let stored = self.world.disk.borrow().journal.read(seq);
        self.world
            .machine
            .say(|| format!("entry {seq} ends: {end:?}"));
        self.world.disk.borrow_mut().journal.settle(seq);
        self.world.settled(&stored, end);
        self.sync_journal();
    }

    /// The time by which waits are kept.
    pub fn tick(&self) -> i64 {
        self.world.machine.now() - self.born
    }

    /// Entries that wait or are worked on.
    pub fn depth(&self) -> usize {
        self.book.borrow().waiting.depth()
    }

    /// Starts workers for what is ready; as `Applier::dispatch`.
    pub fn dispatch(self: &Rc<Self>) {
        let (blocked, closed) = self.convex.state(&self.world);
        let writers = if closed {
            self.world.drawn.concurrency
        } else {
            1
        };
        if !blocked.is_zero() && (closed || self.book.borrow().writers == 0) {
            return self.wake_in(whole_ms(blocked));
        }
        let tick = self.tick();
        self.doubt(Vec::new());
        let records = self.world.drawn.batch;
        loop {
            let leases = {
                let mut book = self.book.borrow_mut();
                if book.writers >= writers || !book.waiting.has_ready(tick) {
                    break;
                }
                book.waiting.lease(tick, records)
            };
            leases.iter().for_each(|lease| self.leased(lease));
            let (doubtful, sure): (Vec<_>, Vec<_>) = leases.into_iter().partition(|l| l.fetch);
            if !sure.is_empty() {
                self.book.borrow_mut().writers += 1;
                self.spawn_writer(sure);
            }
            self.doubt(doubtful);
        }
        let room = self.book.borrow().writers < writers;
        let due = self.book.borrow().waiting.next_due();
        if let Some(due) = due.filter(|_| room) {
            self.wake_in((due - tick).max(1));
        } else if self.depth() > 0 {
            self.wake_in(IDLE);
        }
    }

    fn leased(&self, lease: &Lease) {
        self.world.leased(&lease.record);
        if self.world.is_broken(Breach::NoLease) {
            let record = lease.record.clone();
            self.book
                .borrow_mut()
                .waiting
                .finish(Lease { record, ..*lease });
        }
    }

    fn wake_in(self: &Rc<Self>, wait: i64) {
        let at = self.world.machine.now() + wait.min(IDLE);
        if self.wake.get().is_some_and(|wake| wake <= at) {
            return;
        }
        self.wake.set(Some(at));
        let daemon = Rc::clone(self);
        self.world.machine.spawn(self.life, async move {
            let machine = &daemon.world.machine;
            machine.sleep(at - machine.now()).await;
            if daemon.wake.get() == Some(at) {
                daemon.wake.set(None);
                daemon.dispatch();
            }
        });
    }

    /// Lets fetchers ask about these; as `Applier::doubt`.
    fn doubt(self: &Rc<Self>, leases: Vec<Lease>) {
        for lease in leases {
            let full = self.book.borrow().in_doubt.len() >= FETCHERS * FETCH_RECORDS;
            if full {
                self.put_back(lease, None, true, Some(Duration::from_millis(500)));
            } else {
                self.book.borrow_mut().in_doubt.push(lease);
            }
        }
        loop {
            let mut book = self.book.borrow_mut();
            if book.fetchers >= FETCHERS || book.in_doubt.is_empty() {
                return;
            }
            let some = book.in_doubt.len().min(FETCH_RECORDS);
            let leases = book.in_doubt.drain(..some).collect();
            book.fetchers += 1;
            drop(book);
            self.spawn_fetcher(leases);
        }
    }

    /// Nobody but this daemon's own tasks.
    pub fn spawn(&self, job: impl Future<Output = ()> + 'static) {
        self.world.machine.spawn(self.life, job);
    }
}

pub fn ticket_of(meta: &Meta) -> Ticket {
    let standing = Standing {
        version: meta.version,
        deleted: meta.deleted,
    };
    let says = Says {
        standing,
        fingerprint: meta.fingerprint,
    };
    Ticket {
        seq: meta.seq,
        position: meta.position,
        received_ms: meta.received_ms,
        says: matches!(meta.cause, CauseKind::Delivery).then_some(says),
        origin: Origin::Webhook,
    }
}

/// A part of a millisecond is one: this clock stands still until everybody sleeps.
pub fn whole_ms(wait: Duration) -> i64 {
    i64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX / 2)
}
