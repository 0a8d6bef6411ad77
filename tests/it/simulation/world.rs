//! One world from its seed to its end: a time of faults, then peace, then the two sides must be the same.
//!
//! Holds the models of everything around the daemon, starts and kills the daemon, and plays the people: those
//! who sign up, change and leave, and the one who looks after dead letters and held plans.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use clerk_convex_sync::{
    apply::book::IDLE_MS,
    model::{Key, Table},
    queue::mentioned::PATIENCE_MS,
    reconcile::memory::Slot,
    report::RunOutcome,
};

use super::{
    checks::Checks,
    clerk::{Clerk, How, Message, Parents},
    convex::Convex,
    daemon::Daemon,
    desk::Wanted,
    disk::Disk,
    faults::{Breach, Faults},
    machine::{Machine, Manner, WORLD},
};

/// How long peace may take until nothing waits any more, in milliseconds.
const PATIENCE: i64 = 4 * 60 * 60 * 1000;

/// How late a change may be told of that was taken back meanwhile, in milliseconds.
const LATE: i64 = 60_000;

/// In one world of so many there are organizations and memberships.
const GROUPS_IN: u64 = 5;

/// See the module's words.
pub struct World {
    pub machine: Rc<Machine>,
    /// What was drawn.
    pub drawn: Faults,
    over: Faults,
    peace: Cell<bool>,
    breach: Option<Breach>,
    pub clerk: RefCell<Clerk>,
    pub convex: RefCell<Convex>,
    pub disk: RefCell<Disk>,
    pub checks: RefCell<Checks>,
    daemon: RefCell<Option<Rc<Daemon>>>,
    lives: Cell<u32>,
    /// Messages on their way.
    pub underway: Cell<u32>,
    pub runs: Cell<u64>,
    pub delay_ms: i64,
    pub max_attempts: u32,
}

/// How a world went.
pub struct Told {
    pub drawn: Faults,
    pub violation: Option<String>,
    pub trace: Vec<String>,
    pub digest: u64,
    pub events: u64,
}

/// Lives through the world of this seed.
pub fn live(seed: u64, breach: Option<Breach>, manner: Manner) -> Told {
    let machine = Machine::new(seed, manner);
    let drawn = Faults::drawn(&machine);
    // Most worlds know users only: they are cheaper, and a fault stands out in them.
    let drawn = match seed % GROUPS_IN {
        0 => drawn.with_groups(&machine),
        _ => drawn,
    };
    let world = Rc::new(World {
        over: drawn.over(),
        drawn: drawn.clone(),
        peace: Cell::new(false),
        breach,
        clerk: RefCell::default(),
        convex: RefCell::default(),
        disk: RefCell::default(),
        checks: RefCell::default(),
        daemon: RefCell::default(),
        lives: Cell::new(0),
        underway: Cell::new(0),
        runs: Cell::new(0),
        delay_ms: 1_000,
        max_attempts: 3,
        machine: Rc::clone(&machine),
    });
    machine.run(Rc::clone(&world).story());
    Told {
        drawn,
        violation: machine.violation(),
        trace: machine.trace(),
        digest: machine.digest(),
        events: machine.events(),
    }
}

impl World {
    /// What goes wrong now.
    pub fn faults(&self) -> &Faults {
        if self.peace.get() {
            &self.over
        } else {
            &self.drawn
        }
    }

    pub fn is_broken(&self, breach: Breach) -> bool {
        self.breach == Some(breach)
    }

    pub fn daemon(&self) -> Option<Rc<Daemon>> {
        self.daemon.borrow().clone()
    }

    async fn story(self: Rc<Self>) {
        for _ in 0..self.drawn.users {
            let message = self.create(Table::Users, None);
            // Some were there before the daemon was.
            if self.machine.chance(0.5) {
                self.send(message);
            }
        }
        if self.drawn.groups > 0.0 {
            self.settle_groups();
        }
        self.start();
        let world = Rc::clone(&self);
        self.machine
            .spawn(WORLD, async move { world.people().await });
        let world = Rc::clone(&self);
        self.machine
            .spawn(WORLD, async move { world.outages().await });
        let world = Rc::clone(&self);
        self.machine
            .spawn(WORLD, async move { world.crashes().await });
        let world = Rc::clone(&self);
        self.machine
            .spawn(WORLD, async move { world.tampering().await });
        self.machine.sleep(self.drawn.length).await;
        self.machine.say(|| "peace".into());
        self.peace.set(true);
        self.machine.sleep(130_000).await;
        self.convex.borrow_mut().poison.clear();
        // Only a record that Clerk shows proves that its key is ours, and an empty listing is no word about anybody.
        let message = self.create(Table::Users, None);
        self.send(message);
        if self.drawn.groups > 0.0 {
            let message = self.create(Table::Organizations, None);
            self.send(message);
        }
        self.come_to_rest().await;
        if self.drawn.groups > 0.0 {
            // Whom the last memberships name is looked for a while later.
            self.machine.sleep(2 * PATIENCE_MS + IDLE_MS).await;
            self.come_to_rest().await;
            self.nobody_hangs_in_the_air();
        }
        self.deliveries_alone_converge();
        self.look_after().await;
    }

    /// Nothing is on its way, nothing waits but what has become a dead letter; and those are tried again.
    async fn come_to_rest(self: &Rc<Self>) {
        let until = self.machine.now() + PATIENCE;
        loop {
            self.machine.sleep(1_000).await;
            let quiet = self.daemon().is_some_and(|daemon| daemon.depth() == 0);
            if quiet && self.underway.get() == 0 {
                let daemon = self.daemon();
                if !daemon.is_some_and(|daemon| daemon.retry_all()) {
                    return;
                }
            }
            if self.machine.now() > until {
                return self.machine.violated("the queue does not drain".into());
            }
        }
    }

    /// A person lets full diffs run, carries out what is held, and sees that nothing is left to do.
    async fn look_after(self: &Rc<Self>) {
        let Some(daemon) = self.daemon() else { return };
        let mut settled = false;
        for _ in 0..40 {
            let plans: Vec<_> = self.disk.borrow_mut().plans.drain(..).collect();
            for plan in plans {
                let _ = daemon.run(Slot::Full, Wanted::Plan(plan)).await;
            }
            match daemon.run(Slot::Full, Wanted::All).await {
                Ok(RunOutcome::InSync) if settled => return self.both_sides_agree(),
                Ok(RunOutcome::InSync) => settled = true,
                outcome => self
                    .machine
                    .say(|| format!("a full diff ended: {outcome:?}")),
            }
            self.machine.sleep(5_000).await;
        }
        self.both_sides_agree();
        self.machine
            .violated("full diffs find something again and again".into());
    }

    pub fn create(&self, table: Table, parents: Option<Parents>) -> Message {
        let now = self.machine.now();
        let message = self.clerk.borrow_mut().create(table, now, parents);
        if self.machine.chance(self.faults().poison) {
            self.convex.borrow_mut().poison.insert(message.key.clone());
        }
        message
    }

    /// People sign up, change and leave.
    async fn people(self: Rc<Self>) {
        let drawn = &self.drawn;
        loop {
            let wait = self.machine.between(1, 2 * drawn.change_every);
            self.machine.sleep(wait).await;
            if self.peace.get() {
                return;
            }
            if self.machine.chance(drawn.groups) {
                self.organize();
                continue;
            }
            let now = self.machine.now();
            let users = self.clerk.borrow().users.len();
            if users == 0 || self.machine.chance(0.2) {
                let message = self.create(Table::Users, None);
                self.send(message);
                continue;
            }
            if self.machine.chance(drawn.foreign) {
                let message = self.clerk.borrow_mut().foreign(now);
                self.send(message);
            }
            if self.machine.chance(drawn.mass_deletion / 10.0) {
                for _ in 0..users / 2 {
                    self.delete(&self.somebody());
                }
                continue;
            }
            if self.machine.chance(drawn.deletions) {
                self.delete(&self.somebody());
                continue;
            }
            let key = self.somebody();
            let how = match (
                self.machine.chance(drawn.touches),
                self.machine.chance(drawn.taken_back),
            ) {
                (true, _) => How::Touch,
                (false, true) => How::TakeBack,
                (false, false) => How::Anew,
            };
            let late = self.machine.chance(drawn.overtaken);
            let wait = if late {
                self.machine.between(1, LATE)
            } else {
                0
            };
            self.change(&key, how, wait);
            if self.machine.chance(drawn.ties) {
                self.change(&key, How::Anew, 0);
            }
            if late || self.machine.chance(drawn.taken_back) {
                self.machine.sleep(self.machine.between(1, 3_000)).await;
                self.change(&key, How::TakeBack, 0);
            }
        }
    }

    /// Somebody is changed, and it is told so much later.
    fn change(self: &Rc<Self>, key: &Key, how: How, wait: i64) {
        let now = self.machine.now();
        let message = self.clerk.borrow_mut().update(key, now, how);
        message
            .into_iter()
            .for_each(|message| self.send_after(wait, message));
    }

    fn somebody(&self) -> Key {
        self.one_of(Table::Users).expect("one of them")
    }

    async fn outages(self: Rc<Self>) {
        let drawn = &self.drawn;
        while drawn.outage_every > 0 && !self.peace.get() {
            let wait = self.machine.between(1, 2 * drawn.outage_every);
            self.machine.sleep(wait).await;
            if self.peace.get() {
                return;
            }
            self.machine.say(|| "convex is down".into());
            self.convex.borrow_mut().down = true;
            let (now, lives) = (self.machine.now(), self.lives.get());
            self.checks.borrow_mut().outage_begins(now, lives);
            self.machine.sleep(drawn.outage_length).await;
            self.machine.say(|| "convex is up".into());
            self.convex.borrow_mut().down = false;
            self.outage_ends(self.lives.get());
        }
    }

    async fn tampering(self: Rc<Self>) {
        let every = self.drawn.tampered_every;
        while every > 0 && !self.peace.get() {
            self.machine.sleep(self.machine.between(1, 2 * every)).await;
            if self.peace.get() {
                return;
            }
            self.tamper();
        }
    }

    async fn crashes(self: Rc<Self>) {
        let every = self.drawn.crash_every;
        while every > 0 && !self.peace.get() {
            self.machine.sleep(self.machine.between(1, 2 * every)).await;
            self.go_down().await;
        }
    }

    /// The ledger alone knows something from here on: where it must not be forgotten, it may well be asked to.
    pub fn only_the_ledger_knows(self: &Rc<Self>) {
        if self.peace.get() || !self.machine.chance(self.drawn.crash_at_known) {
            return;
        }
        let world = Rc::clone(self);
        self.machine.spawn(WORLD, async move {
            // As long as it takes the journal to keep the verdict, more or less.
            let soon = 2 * world.drawn.slow_disk + 20;
            world.machine.sleep(world.machine.between(0, soon)).await;
            world.go_down().await;
        });
    }

    /// Crashes and starts again, unless it is down or there is peace.
    async fn go_down(self: &Rc<Self>) {
        if self.peace.get() || self.daemon().is_none() {
            return;
        }
        self.crash();
        self.machine.sleep(self.machine.between(1, 30_000)).await;
        self.start();
    }

    fn crash(&self) {
        let power = self.machine.chance(self.drawn.power_cuts);
        let lost = self.machine.chance(self.drawn.state_lost);
        self.machine
            .say(|| format!("crash, power cut: {power}, state lost: {lost}"));
        self.machine.kill(self.lives.get());
        *self.daemon.borrow_mut() = None;
        let forgot = {
            let mut disk = self.disk.borrow_mut();
            let syncs = !self.is_broken(Breach::NoSync);
            disk.journal.crash(&self.machine, syncs);
            disk.state.crash(&self.machine, power, lost)
        };
        let mut checks = self.checks.borrow_mut();
        checks.crashed();
        checks.forgotten += u64::from(forgot);
        drop(checks);
        self.nothing_acknowledged_is_lost();
    }

    fn start(self: &Rc<Self>) {
        self.lives.set(self.lives.get() + 1);
        let daemon = Daemon::start(self, self.lives.get());
        *self.daemon.borrow_mut() = Some(daemon);
    }
}
