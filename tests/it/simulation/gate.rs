//! A service's circuit and the wait behind it, as `apply/gate.rs` has them.
//!
//! The circuit is the program's own; what is counted and alerted there is left out here.

use std::{cell::RefCell, time::Duration};

use clerk_convex_sync::convex::circuit::{Admission, Circuit, Policy, Ticket};

use super::{faults::Breach, world::World};

/// See the module's words.
pub struct Gate {
    circuit: RefCell<Circuit>,
    hold: Duration,
}

impl Gate {
    pub fn new(hold_ms: u64) -> Gate {
        let policy = Policy {
            max_hold: Duration::from_secs(15),
            ..Policy::default()
        };
        Gate {
            circuit: RefCell::new(Circuit::new(policy)),
            hold: Duration::from_millis(hold_ms),
        }
    }

    pub fn admit(&self, world: &World) -> Result<Ticket, Duration> {
        if world.is_broken(Breach::NoCircuit) {
            *self.circuit.borrow_mut() = Circuit::new(Policy::default());
        }
        match self.circuit.borrow_mut().admit(world.machine.instant()) {
            Admission::Go(ticket) => Ok(ticket),
            Admission::Wait(wait) => Err(wait.min(self.hold)),
        }
    }

    pub fn answered(&self, ticket: Ticket) {
        self.circuit.borrow_mut().succeeded(ticket);
    }

    pub fn failed(&self, world: &World, ticket: Ticket, asked: Option<Duration>) -> Duration {
        let now = world.machine.instant();
        let mut circuit = self.circuit.borrow_mut();
        circuit.failed(ticket, now, asked, world.machine.luck());
        circuit.wait(now).max(self.hold)
    }

    pub fn state(&self, world: &World) -> (Duration, bool) {
        let circuit = self.circuit.borrow();
        let closed = circuit.name() == "closed" || world.is_broken(Breach::NoCircuit);
        match world.is_broken(Breach::NoCircuit) {
            true => (Duration::ZERO, closed),
            false => (circuit.wait(world.machine.instant()), closed),
        }
    }
}
