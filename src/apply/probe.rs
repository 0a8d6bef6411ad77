//! Is a service back that nobody asks any more?
//!
//! Whoever has work for a service asks it again until it answers, and so the alert ends. But somebody who signed in,
//! or a scan, gives up: then nobody would notice until the next delivery. Asks only while the alert is raised and
//! no work waits, as often as the circuit lets a probe through.

use std::time::Duration;

use super::{Shared, gate::Gate};
use crate::{clerk::client::CreatedBetween, model::Fault};

/// How long a service is left alone that answers, but does not let us in.
const REFUSED_HOLD: Duration = Duration::from_secs(60);

impl Shared {
    /// Looks once.
    pub async fn look_who_is_back(&self) {
        let waits = self.metrics.queue_depth.get() > 0;
        let asked = waits && self.settings.load().enabled && !self.is_paused();
        if asked {
            return;
        }
        let edges = self.edges.load_full();
        if self.is_missed(&self.convex) {
            let describe = async || edges.reader.describe().await.map(drop);
            probe(&self.convex, describe, |error| error.fault()).await;
        }
        if self.is_missed(&self.clerk) {
            let count = async || {
                let everybody = CreatedBetween::default();
                edges.clerk.count_users(everybody).await.map(drop)
            };
            probe(&self.clerk, count, |error| error.fault()).await;
        }
    }

    fn is_missed(&self, gate: &Gate) -> bool {
        self.alerts.is_raised(gate.alert())
    }
}

async fn probe<E: std::fmt::Display>(
    gate: &Gate,
    ask: impl AsyncFnOnce() -> Result<(), E>,
    fault: impl FnOnce(&E) -> Fault,
) {
    let Ok(ticket) = gate.admit() else { return };
    let Err(error) = ask().await else {
        return gate.answered(ticket);
    };
    let wait = match fault(&error) {
        Fault::Record => return gate.answered(ticket),
        Fault::Service { retry_after } => retry_after,
        Fault::Refused | Fault::Ours => Some(REFUSED_HOLD),
    };
    gate.failed(ticket, &error, wait);
}
