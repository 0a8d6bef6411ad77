//! When scans begin: the clock strikes, or does not; what is owed is made up for.
//!
//! As `schedule/mod.rs`; the rhythms and the turns are the program's own.

use std::{cell::RefCell, rc::Rc};

use clerk_convex_sync::{
    reconcile::memory::Slot,
    report::RunOutcome,
    schedule::{
        rhythm::Rhythm,
        turn::{Ending, Standing, Turn},
    },
};

use super::{
    daemon::Daemon,
    desk::{Trouble, Wanted},
    faults::Breach,
};

/// The longest that the loop sleeps.
const IDLE: i64 = 5_000;

/// The turns of the jobs: sweeps, and full diffs.
#[derive(Default)]
pub struct Clock {
    jobs: RefCell<Vec<(usize, Slot, Rhythm, Turn)>>,
}

impl Daemon {
    /// Begins to start what is due.
    pub fn begin_schedule(self: &Rc<Self>) {
        let drawn = &self.world.drawn;
        let now = self.world.machine.now();
        let every = drawn.full_every_min;
        let mut wanted = vec![(1, Slot::Full, format!("0 */{every} * * * *"))];
        if drawn.sweeps {
            wanted.push((0, Slot::Sweep, "*/30 * * * * *".into()));
        }
        for (job, slot, text) in wanted {
            let rhythm = Rhythm::parse(&text).expect("a rhythm");
            let standing = self.standing(job);
            if standing.owes(&rhythm, now) {
                self.world.checks.borrow_mut().may_start(job);
            }
            let turn = Turn::at_start(&standing, &rhythm, now);
            let jobs = &self.clock.jobs;
            jobs.borrow_mut().push((job, slot, rhythm.clone(), turn));
            let daemon = Rc::clone(self);
            self.spawn(async move { daemon.strikes(job, rhythm).await });
        }
        let daemon = Rc::clone(self);
        self.spawn(async move {
            loop {
                daemon.begin_what_is_due();
                let wake = daemon.clock.wake().unwrap_or(i64::MAX);
                let wait = wake.saturating_sub(daemon.tick());
                daemon.world.machine.sleep(wait.clamp(1, IDLE)).await;
            }
        });
    }

    fn standing(&self, job: usize) -> Standing {
        let memory = &self.world.disk.borrow().state.now.memories[job];
        Standing {
            success_ms: memory.success_ms,
            failures: memory.failures,
            failed_ms: memory.failed_ms,
            unfinished: memory.unfinished,
        }
    }

    /// The library that strikes, and sometimes does not.
    async fn strikes(self: Rc<Self>, job: usize, rhythm: Rhythm) {
        let machine = Rc::clone(&self.world.machine);
        while let Some(next) = rhythm.next_after(machine.now()) {
            machine.sleep(next - machine.now()).await;
            machine.sleep(machine.between(0, 500)).await;
            if !machine.chance(self.world.faults().strikes_lost) {
                self.strike(job);
                self.begin_what_is_due();
            }
        }
    }

    fn strike(&self, job: usize) {
        let (tick, machine) = (self.tick(), &self.world.machine);
        let mut jobs = self.clock.jobs.borrow_mut();
        let Some((_, _, rhythm, turn)) = jobs.iter_mut().find(|one| one.0 == job) else {
            return;
        };
        turn.strike(rhythm, tick, machine.now(), machine.luck());
        self.world.checks.borrow_mut().may_start(job);
    }

    fn begin_what_is_due(self: &Rc<Self>) {
        let tick = self.tick();
        for job in self.clock.not_struck(tick) {
            self.strike(job);
        }
        let mut due = Vec::new();
        let now = self.world.machine.now();
        for (job, slot, rhythm, turn) in self.clock.jobs.borrow_mut().iter_mut() {
            let begins = turn.is_due(tick) && turn.begin(&self.standing(*job), rhythm, now);
            if begins {
                due.push((*job, *slot));
                if self.world.is_broken(Breach::NoTurn) {
                    turn.ended(Ending::Done, 0, tick, 0.5);
                }
            }
        }
        for (job, slot) in due {
            self.world.starts(job);
            let daemon = Rc::clone(self);
            self.spawn(async move {
                let ending = match daemon.run(slot, Wanted::All).await {
                    Ok(RunOutcome::Failed) => Ending::Failed,
                    Ok(_) => Ending::Done,
                    Err(Trouble::Busy) => Ending::Busy,
                    Err(Trouble::Broken) => Ending::Failed,
                };
                daemon.turn_ended(job, ending);
            });
        }
    }

    fn turn_ended(&self, job: usize, ending: Ending) {
        let mut checks = self.world.checks.borrow_mut();
        checks.start_ended(job);
        if ending != Ending::Done {
            checks.may_start(job);
        }
        drop(checks);
        let failures = self.standing(job).failures;
        let (tick, luck) = (self.tick(), self.world.machine.luck());
        for one in self.clock.jobs.borrow_mut().iter_mut() {
            if one.0 == job && !self.world.is_broken(Breach::NoTurn) {
                one.3.ended(ending, failures, tick, luck);
            }
        }
    }
}

impl Clock {
    fn wake(&self) -> Option<i64> {
        let jobs = self.jobs.borrow();
        jobs.iter().filter_map(|(.., turn)| turn.wake()).min()
    }

    fn not_struck(&self, tick: i64) -> Vec<usize> {
        let jobs = self.jobs.borrow();
        let late = jobs
            .iter()
            .filter(|(.., turn)| turn.is_overdue_for_strike(tick));
        late.map(|(job, ..)| *job).collect()
    }
}
