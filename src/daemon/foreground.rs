//! The daemon in the foreground: from its start to a signal, or to what only a new start can mend.
//!
//! Knows signals and reasons to end; the order of the end is [`Handle`](super::Handle)'s.

use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};

use super::{Daemon, StartError, Surroundings, watch};
use crate::config::Config;

/// Runs in the foreground until SIGTERM or Ctrl-C; SIGHUP reads the configuration again. A second
/// SIGTERM or Ctrl-C ends at once, which is safe: what is not finished is in the journal.
pub async fn run(config: Config, around: Surroundings) -> Result<(), StartError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(StartError::Threads)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(StartError::Threads)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(StartError::Threads)?;
    let handle = Daemon::start_in(config, around).await?;
    watch::tell(&[NotifyState::Ready]);
    let failed = loop {
        tokio::select! {
            _ = terminate.recv() => break None,
            _ = interrupt.recv() => break None,
            reason = handle.disk_failed() => break Some(StartError::DiskFailed(reason)),
            () = handle.core.applier_ended.cancelled() => break Some(StartError::ApplierEnded),
            () = handle.core.state_gave_up() => break Some(StartError::StateFailed),
            _ = hangup.recv() => watch::reload(&handle),
        }
    };
    watch::tell(&[NotifyState::Stopping]);
    tokio::select! {
        () = handle.shutdown() => {}
        _ = terminate.recv() => tracing::warn!("ended at once by a second signal"),
        _ = interrupt.recv() => tracing::warn!("ended at once by a second signal"),
    }
    failed.map_or(Ok(()), Err)
}
