//! The daemon's work in this process, for the time of one command.
//!
//! Opens the state directory as a daemon would, so that none can start meanwhile. Ctrl-C ends a run at a place
//! where the next one goes on.

use crate::{
    cli::{Context, exit::Failure, run::start_failure, signals::StopSignals},
    config::{Log, LogFormat},
    daemon::{Headless, Purpose},
    model::RecordKey,
    reconcile::run::{RunError, RunRequest, SyncedOne},
    report::Report,
    telemetry,
};

use super::Watcher;

/// See the module's words.
pub struct Here {
    headless: Headless,
    show_values: bool,
}

impl Here {
    /// Opens the state; `writes` tells whether deliveries that wait and repairs are written.
    ///
    /// # Errors
    /// Exit code 2 for a wrong configuration, 4 when another process holds the state.
    pub async fn open(context: &Context, writes: bool) -> Result<Here, Failure> {
        // What is made is for this user only, as when the daemon makes it.
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
        let config = context.whole()?;
        telemetry::init(
            &Log {
                // That it came to no report is what the command itself says.
                level: "warn,clerk_convex_sync::reconcile::desk::said=error".to_owned(),
                format: LogFormat::Text,
            },
            false,
        );
        let purpose = match writes {
            true => Purpose::Write,
            false => Purpose::Look,
        };
        let headless = Headless::open(&config, purpose).await.map_err(|error| {
            let failure = start_failure(&error);
            match error.is_in_use() {
                true => failure.help(
                    "ask the daemon that runs: give the --config that it was started with; or wait until \
                     the other command has ended",
                ),
                false => failure,
            }
        })?;
        Ok(Here {
            headless,
            show_values: config.report.show_values,
        })
    }

    /// Whether reports show personal values.
    pub fn show_values(&self) -> bool {
        self.show_values
    }

    /// Runs to the end.
    ///
    /// # Errors
    /// Exit code 1 when it came to no report or was stopped.
    pub async fn run(
        &self,
        request: RunRequest,
        watcher: &mut Watcher,
        stop: &mut StopSignals,
    ) -> Result<Report, Failure> {
        let desk = self.headless.desk();
        let mut running = desk.start(request).map_err(|error| failure(&error))?;
        let ended = loop {
            tokio::select! {
                ended = running.ended.wait() => break ended,
                Ok(()) = running.progress.changed() => {
                    let now = running.progress.borrow_and_update().clone();
                    watcher.show(&now);
                }
                () = stop.next() => {
                    watcher.end();
                    return Err(Failure::failed("stopped; the next run goes on where this one was"));
                }
            }
        };
        watcher.end();
        let report = ended.map_err(|error| failure(&error))?;
        Ok(Report::clone(&report))
    }

    /// Puts one record right.
    ///
    /// # Errors
    /// Exit code 1 when a service does not answer.
    pub async fn sync_one(&self, record: RecordKey, revive: bool) -> Result<SyncedOne, Failure> {
        let who = format!(
            "uid {}, without a daemon",
            rustix::process::geteuid().as_raw()
        );
        let desk = self.headless.desk();
        let synced = desk.sync_one(record, revive, who.into()).await;
        synced.map_err(|error| failure(&error))
    }

    /// Closes the state.
    pub async fn close(self) {
        self.headless.close().await;
    }
}

fn failure(error: &RunError) -> Failure {
    let failure = Failure::failed(error.to_string());
    match error {
        RunError::Interrupted(_) => {
            failure.help("try again; the next run goes on where this one was")
        }
        RunError::Busy(_) | RunError::Refused(_) | RunError::Early(_) => failure,
    }
}
