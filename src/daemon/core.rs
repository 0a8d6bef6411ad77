//! What applies and what compares: everything of the daemon that needs no door.
//!
//! The daemon has doors and a schedule around it; a command that runs without a daemon has neither. Owns the
//! order of the end: runs first, since they wait for the appliers, then the appliers, then the disk.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::{sync::mpsc, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    StartError,
    build::Parts,
    disk::Disk,
    runs::{self, WantsFull},
    scans, watch,
};
use crate::{
    apply::{self, Applier, Shared},
    config::Config,
    queue::repairs::{self, Batch, Lane},
    reconcile::desk::Desk,
    report::oplog::OperationsLog,
    store::{
        crypt::Keyring,
        journal::{Journal, Notices, Recovered},
        state::State,
        state_file::StateFile,
    },
};

/// How long an operator's open request, or the disk, may hold up the end.
pub const LAST_WORDS: Duration = Duration::from_millis(750);

/// See the module's words.
pub struct Core {
    pub journal: Journal,
    state: State,
    pub shared: Arc<Shared>,
    pub desk: Desk,
    pub lane: Lane,
    /// Set when a scan has found that only a full diff can tell.
    pub wants_full: WantsFull,
    /// Cancelled when the applier is gone.
    pub applier_ended: CancellationToken,
    /// What is written to both services.
    pub oplog: OperationsLog,
    dir: PathBuf,
    file: StateFile,
    keys: Keyring,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// What only appliers take.
struct Waiting {
    recovered: Recovered,
    notices: Notices,
    batches: mpsc::Receiver<Batch>,
}

impl Core {
    /// Only looks: nothing is written to Convex, and no delivery is touched.
    pub fn look(config: &Config, disk: Disk) -> Result<(Core, Parts), StartError> {
        let (core, parts, _) = Core::build(config, disk)?;
        Ok((core, parts))
    }

    /// Starts the appliers too: deliveries that wait are applied, and repairs are written. `grace` is the time
    /// for what is in hand at the end.
    pub fn apply(
        config: &Config,
        disk: Disk,
        grace: Duration,
    ) -> Result<(Core, Parts, apply::Handle), StartError> {
        let (core, parts, waiting) = Core::build(config, disk)?;
        // Before the first call: what waits here is for the pair of services that it was taken in for.
        runs::recognise(config, &core.state)?;
        let (applier, handle) = Applier::new(
            Arc::clone(&core.shared),
            waiting.recovered,
            waiting.notices,
            config.state.max_dead_letters,
        );
        let (gone, stopped) = (core.applier_ended.clone(), core.stop.clone());
        core.tasks.spawn(async move {
            // Dropped also when it panics: a daemon that applies nothing must not look alive.
            let _gone = gone.drop_guard();
            applier.run(stopped, grace).await;
        });
        let (shared, stop) = (Arc::clone(&core.shared), core.stop.clone());
        core.tasks
            .spawn(apply::repairs::run(shared, waiting.batches, stop, grace));
        Ok((core, parts, handle))
    }

    fn build(config: &Config, disk: Disk) -> Result<(Core, Parts, Waiting), StartError> {
        let Disk {
            journal,
            recovered,
            notices,
            state,
            file,
            alerts,
            oplog,
            doubt,
            keys,
        } = disk;
        let parts = Parts::build(config, journal.clone(), state.clone(), alerts)?;
        let shared = Arc::clone(&parts.shared);
        shared.keep_log(oplog.clone());
        let (lane, batches) = repairs::lane();
        let wants_full = WantsFull::default();
        if let Some(why) = doubt {
            wants_full.say(why);
        }
        let core = Core {
            journal,
            state,
            desk: scans::desk(config, &shared, &lane, wants_full.clone())?,
            wants_full,
            shared,
            lane,
            applier_ended: CancellationToken::new(),
            oplog,
            dir: config.state.dir.clone(),
            file,
            keys,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let waiting = Waiting {
            recovered,
            notices,
            batches,
        };
        Ok((core, parts, waiting))
    }

    /// Answers when the derived state has failed and starting anew may mend it; see [`watch::state_gave_up`].
    pub async fn state_gave_up(&self) {
        watch::state_gave_up(&self.state, &self.dir).await;
    }

    /// Where the state lies.
    pub fn dir(&self) -> PathBuf {
        self.dir.clone()
    }

    /// Ends the appliers, after the desk was closed. What is not finished is in the journal.
    pub async fn end_appliers(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Closes the disk; the last thing.
    pub async fn close_disk(&self) {
        if timeout(LAST_WORDS, self.oplog.close()).await.is_err() {
            tracing::error!(
                "the operations log did not close in time; its last entries may be lost"
            );
        }
        match timeout(LAST_WORDS, self.journal.close()).await {
            Ok(Ok(())) => self.leave_state(),
            Ok(Err(error)) => tracing::error!("the journal did not close well: {error}"),
            Err(_) => {
                tracing::error!("the disk did not answer in time; nothing acknowledged is lost")
            }
        }
    }

    fn leave_state(&self) {
        if let Err(error) = self.state.sync() {
            tracing::error!("the state did not close well: {error}");
        }
        let file = StateFile {
            highest_seq: self.journal.stats().highest_seq,
            instance: self.shared.instance().0,
            ..self.file.clone()
        };
        if let Err(error) = file.store(&self.dir, &self.keys) {
            tracing::error!("STATE was not written: {error}");
        }
    }

    /// Everything ends where it stands, as when the process is killed.
    pub fn abandon(&self) {
        self.desk.stop();
        self.stop.cancel();
    }
}
