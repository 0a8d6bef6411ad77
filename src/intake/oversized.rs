//! Was a delivery that is too large to be taken signed by the sender?
//!
//! If it was, the same event will be refused on every retry, and somebody should know. The signature covers the
//! whole body, so that can only be found out by reading it: after the answer has gone out, up to a few times
//! the bound, one body at a time. Whoever cannot sign gains nothing by it, and nothing of it is kept.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::{Claim, Intake, now_ms};
use crate::inbound::body::{Begun, Limits};

/// So many times the largest body is read to find out.
const TIMES: usize = 4;

/// Looks at one of them at a time.
#[derive(Debug)]
pub struct Oversized {
    one: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Default for Oversized {
    fn default() -> Self {
        Oversized {
            one: Arc::new(Semaphore::new(1)),
            tasks: TaskTracker::new(),
        }
    }
}

impl Oversized {
    /// Goes on reading, unless another one is being looked at; the answer does not wait for it.
    pub(super) fn look(&self, intake: &Arc<Intake>, claim: Claim, begun: Begun) {
        let Ok(turn) = Arc::clone(&self.one).try_acquire_owned() else {
            return;
        };
        let intake = Arc::clone(intake);
        self.tasks.spawn(async move {
            let _turn = turn;
            let limits = Limits {
                most: intake.bodies.most.saturating_mul(TIMES),
                ..intake.bodies.clone()
            };
            let Some(body) = begun.finish(&limits).await else {
                return;
            };
            if claim.verify(&body, &intake.secrets.load()).is_ok() {
                intake.too_large(body.len(), now_ms());
            }
        });
    }
}
