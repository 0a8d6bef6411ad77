//! Listens to a run that the daemon carries out.
//!
//! The run is the daemon's: to stop listening does not stop it, and the person is told so.

use serde_json::Value;

use super::Watcher;
use crate::{
    cli::{
        admin_client::{AdminError, Lines},
        exit::Failure,
        signals::StopSignals,
    },
    reconcile::run::Progress,
    report::{Report, json},
};

/// One line of the daemon's.
#[derive(Debug, PartialEq)]
pub enum Heard {
    /// How far it is.
    Progress(Progress),
    /// The end.
    Report(Box<Report>),
    /// It came to none.
    Error(String),
    /// Something of another version.
    Unknown,
}

/// See the module's words.
pub struct Listening {
    lines: Lines,
}

impl Listening {
    pub fn new(lines: Lines) -> Self {
        Listening { lines }
    }

    /// Listens until the end.
    ///
    /// # Errors
    /// Exit code 1 when the run came to no report or the person stopped to listen, 4 when the daemon went away.
    pub async fn report(
        &mut self,
        watcher: &mut Watcher,
        stop: &mut StopSignals,
    ) -> Result<Report, Failure> {
        let told = tokio::select! {
            () = stop.next() => Err(Failure::failed("no longer watched; the run goes on in the daemon")
                .help("`clerk-convex-sync status` shows how far it is, `reports show` what came of it")),
            told = self.until_its_end(watcher) => told,
        };
        watcher.end();
        told
    }

    /// The same, for whoever ends the daemon too when it is enough.
    ///
    /// # Errors
    /// As [`Listening::report`].
    pub async fn until_its_end(&mut self, watcher: &mut Watcher) -> Result<Report, Failure> {
        loop {
            match self.lines.next().await {
                Ok(Some(line)) => match heard(&line)? {
                    Heard::Progress(progress) => watcher.show(&progress),
                    Heard::Report(report) => return Ok(*report),
                    Heard::Error(message) => return Err(Failure::failed(message)),
                    Heard::Unknown => {}
                },
                Ok(None) => return Err(went_away("the daemon ended before the run did")),
                Err(error @ AdminError::Broken { .. }) => {
                    return Err(went_away(&error.to_string()));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn went_away(message: &str) -> Failure {
    Failure::unreachable(message)
        .help("start the daemon again: it goes on with the run; or run this again without it")
}

/// Reads a line.
///
/// # Errors
/// Exit code 1 for a report that cannot be read.
pub fn heard(line: &Value) -> Result<Heard, Failure> {
    if let Some(report) = line.get("report") {
        let report = json::read(report.to_string().as_bytes()).map_err(|error| {
            Failure::failed(format!("the daemon's report cannot be read: {error}"))
                .help("use the command line of the daemon's own version")
        })?;
        return Ok(Heard::Report(Box::new(report)));
    }
    if let Some(error) = line.get("error") {
        let message = error.get("message").and_then(Value::as_str);
        let message = message.unwrap_or("the run came to no report");
        return Ok(Heard::Error(message.to_owned()));
    }
    let progress = line.get("progress").cloned();
    let progress = progress.and_then(|progress| serde_json::from_value(progress).ok());
    Ok(progress.map_or(Heard::Unknown, Heard::Progress))
}
