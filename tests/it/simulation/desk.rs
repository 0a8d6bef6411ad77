//! Where runs are asked for: one of a sort at a time, and what is remembered of them.
//!
//! As `reconcile/desk.rs`; the memory is the program's own.

use std::rc::Rc;

use clerk_convex_sync::{
    reconcile::{
        memory::{End, LastRun, Slot},
        repair::plan::Plan,
    },
    report::{RunKind, RunOutcome},
};

use super::{clerk::Away, daemon::Daemon, writing::Nowhere};

/// Why a run came to no report.
#[derive(Debug)]
pub enum Trouble {
    /// One of its sort runs already.
    Busy,
    /// A service is away.
    Broken,
}

impl From<Away> for Trouble {
    fn from(_: Away) -> Trouble {
        Trouble::Broken
    }
}

impl From<Nowhere> for Trouble {
    fn from(_: Nowhere) -> Trouble {
        Trouble::Broken
    }
}

/// What a run is to do.
pub enum Wanted {
    All,
    /// A person has approved this.
    Plan(Plan),
}

/// Asks again while a service is away, with growing waits; as `reconcile::patiently`.
macro_rules! patiently {
    ($daemon:expr, $ask:expr) => {{
        let mut wait = 250;
        let mut tries = 1;
        loop {
            match $ask.await {
                Ok(answer) => break answer,
                Err(_) if tries == 5 => return Err(Trouble::Broken),
                Err(_) => $daemon.world.machine.sleep(wait).await,
            }
            wait *= 2;
            tries += 1;
        }
    }};
}
pub(super) use patiently;

impl Daemon {
    /// Carries out a run, one of a sort at a time, and remembers how it ended; as `reconcile/desk.rs`.
    pub async fn run(self: &Rc<Self>, slot: Slot, wanted: Wanted) -> Result<RunOutcome, Trouble> {
        let job = usize::from(slot == Slot::Full);
        if self.seats.borrow()[job] {
            return Err(Trouble::Busy);
        }
        let counts = matches!(wanted, Wanted::All);
        self.seats.borrow_mut()[job] = true;
        self.world.disk.borrow_mut().state.now.memories[job].began(counts);
        let world = &self.world;
        let number = world.runs.get() + 1;
        world.runs.set(number);
        let ended = match (slot, wanted) {
            (Slot::Full, Wanted::Plan(plan)) => self.carry_out(&plan, number).await,
            (Slot::Full, Wanted::All) => self.compare(number).await,
            _ => self.sweep(number).await,
        };
        world.machine.say(|| format!("a {slot:?} ended: {ended:?}"));
        let end = match &ended {
            Ok(outcome) => End::Reported(LastRun {
                id: "run".into(),
                kind: RunKind::Reconcile,
                finished_ms: world.machine.now(),
                outcome: *outcome,
            }),
            Err(_) => End::Broken,
        };
        let now = world.machine.now();
        world.disk.borrow_mut().state.now.memories[job].ended(end, counts, now);
        self.seats.borrow_mut()[job] = false;
        ended
    }
}
