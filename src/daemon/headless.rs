//! The daemon without doors and without a schedule, for commands that run where no daemon does.
//!
//! Holds the state directory as a daemon would, so that none starts meanwhile. Takes no deliveries in; what
//! waits in the journal is applied, unless it was opened only to look.

use std::time::Duration;

use super::{StartError, core::Core, disk::Disk};
use crate::{config::Config, reconcile::desk::Desk};

/// How long runs may take to stop.
const RUNS_GRACE: Duration = Duration::from_secs(3);

/// What a command is going to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Compare.
    Look,
    /// Compare and write.
    Write,
}

/// See the module's words.
pub struct Headless {
    core: Core,
}

impl Headless {
    /// Opens the state directory and starts what is needed.
    ///
    /// # Errors
    /// See [`StartError`]; [`StartError::is_in_use`] tells a state that another process holds.
    pub async fn open(config: &Config, purpose: Purpose) -> Result<Headless, StartError> {
        let disk = Disk::open(config).await?;
        let core = match purpose {
            Purpose::Look => Core::look(config, disk)?.0,
            Purpose::Write => Core::apply(config, disk, config.limits.shutdown_grace)?.0,
        };
        Ok(Headless { core })
    }

    /// Where runs are asked for.
    pub fn desk(&self) -> &Desk {
        &self.core.desk
    }

    /// Ends everything in order.
    pub async fn close(self) {
        self.core.desk.close(RUNS_GRACE).await;
        self.core.end_appliers().await;
        self.core.close_disk().await;
    }
}
