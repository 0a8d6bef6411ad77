//! Applying: lease → guard → map → batch → write → settle.
//!
//! It cannot tell who asked for a change, and it is the only module that writes to Convex. Promises:
//! an entry reaches exactly one final state or is a dead letter; a record at fault holds up nobody; a
//! service that is away costs no attempt. [`book`], [`guard`], [`batch`], [`failure`], [`instance`] and [`latency`] are pure;
//! `work` reads and judges, `fetch` asks Clerk, `call` writes, `applier` carries out what the book decides, [`repairs`]
//! takes what scans found; [`edits`] is the other direction.

mod applier;
pub mod batch;
pub mod book;
mod call;
pub mod certain;
pub mod edits;
pub mod ending;
pub mod ensure;
pub mod failure;
mod fetch;
mod gate;
pub mod guard;
mod handle;
pub mod instance;
pub mod latency;
mod learning;
mod load;
mod noting;
pub mod permits;
mod probe;
pub mod repairs;
mod shared;
mod tables;
pub mod throttle;
mod work;

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::{convex::circuit::Policy, queue::order, store::journal::Position};

pub use self::{
    applier::Applier,
    edits::Carrier,
    handle::{Handle, Status, Whereabouts},
    shared::{Clock, Edges, Settings, Shared},
};

/// A lease on a record whose entry lies in the journal.
pub type Lease = order::Lease<Position>;

/// Both services are probed at least this often, whatever came of the last probe.
const MAX_HOLD: Duration = Duration::from_secs(15);
/// How long to leave Clerk alone when it does not accept the key.
const KEY_AWAY: Duration = Duration::from_secs(60);

fn circuit_policy() -> Policy {
    Policy {
        max_hold: MAX_HOLD,
        ..Policy::default()
    }
}
