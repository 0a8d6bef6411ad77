//! The daemon's queue, driven as the applier drives it: taken in, leased, given to workers, taken back.
//!
//! The applier's book (the queue, the order, the waits, the dead letters, and who is given what when), the guard,
//! the pin and the circuits are the program's own. What is written here is only how that is carried out, in the place
//! of threads, disks and sockets; each part names its original.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use clerk_convex_sync::{
    apply::{
        Lease,
        book::{Book, IDLE_MS, Road, Rules, ticket_of},
        certain::Certain,
        ending::Final,
        permits::Permits,
        throttle::Throttle,
    },
    queue::backoff::RetryRule,
    store::journal::CauseKind,
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

/// Records that one fetcher is given: few, so that there are worlds in which more are in doubt.
const FETCHED: usize = 10;

/// See the module's words.
pub struct Daemon {
    pub world: Rc<World>,
    pub life: u32,
    born: i64,
    pub book: RefCell<Book>,
    pub convex: Gate,
    pub clerk: Gate,
    pub permits: Permits,
    pub throttle: RefCell<Throttle>,
    wake: Cell<Option<i64>>,
    pub clock: Clock,
    /// As the program's: what this life knows of rows.
    pub certain: RefCell<Certain>,
    /// Runs under way, by sort.
    pub seats: RefCell<[bool; 2]>,
}

impl Daemon {
    /// Takes over what an earlier life left, and begins; as `Applier::new`.
    pub fn start(world: &Rc<World>, life: u32) -> Rc<Daemon> {
        let daemon = Rc::new(Daemon {
            world: Rc::clone(world),
            life,
            born: world.machine.now(),
            book: RefCell::new(Book::new(10_000)),
            convex: Gate::new(200),
            clerk: Gate::new(500),
            permits: Permits::new(world.drawn.concurrency),
            throttle: RefCell::default(),
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
        let deeds = self.book.borrow_mut().take_in(record, ticket);
        self.follow(deeds);
        self.forget_ties([ticket.seq]);
    }

    /// Where that is broken: what ties with one of these is final before Clerk was asked.
    pub fn forget_ties(self: &Rc<Self>, seqs: impl IntoIterator<Item = u64>) {
        if !self.world.is_broken(Breach::TiesForgotten) {
            return;
        }
        for seq in seqs {
            let tied = self.book.borrow_mut().ties.ended(seq);
            for tied in tied {
                self.settle(tied.seq, Final::Superseded);
            }
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
        if end == Final::Known {
            self.world.only_the_ledger_knows();
        }
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
        let road = Road { blocked, closed };
        let (now, rules) = (self.tick(), self.rules());
        let (deeds, wait) = self.book.borrow_mut().hand_out(now, road, rules);
        self.follow(deeds);
        if self.depth() > 0 || wait < IDLE_MS {
            self.wake_in(wait);
        }
    }

    /// As `rules` beside `Applier::dispatch`.
    pub fn rules(&self) -> Rules {
        let delay = match self.world.is_broken(Breach::NoBackoff) {
            true => Duration::ZERO,
            false => Duration::from_millis(self.world.delay_ms as u64),
        };
        Rules {
            writers: self.world.drawn.concurrency,
            written: self.world.drawn.batch,
            fetched: FETCHED,
            retry: RetryRule {
                max_attempts: self.world.max_attempts,
                delay,
            },
        }
    }

    /// A worker is given this.
    pub fn leased(&self, lease: &Lease) {
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
        let at = self.world.machine.now() + wait.min(IDLE_MS);
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

    /// Nobody but this daemon's own tasks.
    pub fn spawn(&self, job: impl Future<Output = ()> + 'static) {
        self.world.machine.spawn(self.life, job);
    }
}
