//! Comparing both sides and putting right what differs: sweep, census, full diff.
//!
//! Reads Clerk and Convex, never writes: repairs go into the queue's second lane and come back with what
//! became of them. Promises: no deletion without Clerk's word about that very id, none from a listing that did
//! not prove itself complete, none beyond the brake without a person.

mod ahead;
pub mod belief;
mod confirm;
mod cursor;
pub mod desk;
pub mod diff;
pub mod ends;
mod full;
pub mod memory;
mod mend;
mod merge;
mod parts;
pub mod reconciler;
mod remove;
pub mod repair;
mod rows;
pub mod run;
pub mod scan;
pub mod unhealed;
pub mod verdict;

use std::{future::Future, io, time::Duration};

use thiserror::Error;
use tokio::time::sleep;

use self::{diff::merge::OutOfOrder, repair::plans::PlansError};
use crate::{
    clerk::{ClerkError, walk::WalkError},
    convex::deployment::CallError,
    model::Fault,
    report::history::HistoryError,
    store::state::StateError,
};

/// Tries of one request of a scan; deliveries have their own rules.
const TRIES: u32 = 5;
/// The wait before the second try; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The longest a scan waits for a service that names a time.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Why a run cannot go on.
#[derive(Debug, Error)]
pub enum Trouble {
    /// Clerk did not answer well.
    #[error(transparent)]
    Clerk(#[from] ClerkError),
    /// Convex did not answer well.
    #[error(transparent)]
    Convex(#[from] CallError),
    /// The state did not answer.
    #[error(transparent)]
    State(#[from] StateError),
    /// A file in the state directory cannot be used.
    #[error("a file of this run in the state directory cannot be used: {0}")]
    Disk(#[from] io::Error),
    /// Nothing can be written for now.
    #[error("nothing can be written: {0}")]
    Away(String),
    /// A listing of Clerk's cannot be read on.
    #[error(transparent)]
    Walk(#[from] WalkError),
    /// The history of reports.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The held plans.
    #[error(transparent)]
    Plans(#[from] PlansError),
    /// The two services are not those that this state belongs to.
    #[error("{0}")]
    Foreign(String),
    /// A listing is not in the order that was asked for.
    #[error(transparent)]
    Order(#[from] OutOfOrder),
    /// A row of a membership that does not say whose it is.
    #[error(
        "a membership's row names no organization or no user, so that Clerk cannot be asked about it"
    )]
    Nameless,
    /// The daemon ends.
    #[error("the daemon is ending")]
    Ending,
}

impl Trouble {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Trouble::Clerk(error) => error.fault(),
            Trouble::Convex(error) => error.fault(),
            Trouble::State(error) => error.fault(),
            Trouble::Disk(_) | Trouble::Ending | Trouble::History(_) | Trouble::Plans(_) => {
                Fault::Ours
            }
            Trouble::Foreign(_) => Fault::Refused,
            Trouble::Walk(error) => match error {
                WalkError::Page { source, .. } | WalkError::Refused(source) => source.fault(),
                WalkError::Outage { .. } | WalkError::BrokenOff => {
                    Fault::Service { retry_after: None }
                }
                WalkError::SwitchedOff | WalkError::NoSuchOrganization => Fault::Record,
            },
            Trouble::Nameless => Fault::Record,
            Trouble::Order(_) => Fault::Service { retry_after: None },
            Trouble::Away(_) => Fault::Service { retry_after: None },
        }
    }
}

/// Asks again while a service is away: a few times, with growing waits.
async fn patiently<T, E, F>(mut ask: impl FnMut() -> F) -> Result<T, Trouble>
where
    E: Into<Trouble>,
    F: Future<Output = Result<T, E>>,
{
    let mut wait = FIRST_WAIT;
    for _ in 1..TRIES {
        let trouble = match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) => error.into(),
        };
        let Fault::Service { retry_after } = trouble.fault() else {
            return Err(trouble);
        };
        sleep(retry_after.unwrap_or(wait).min(LONGEST_WAIT)).await;
        wait *= 2;
    }
    ask().await.map_err(Into::into)
}
