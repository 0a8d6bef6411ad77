//! The wish to stop: Ctrl-C, or SIGTERM from a service manager.
//!
//! Knows nothing of who waits for it.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::exit::Failure;

/// Both signals, caught from the moment this is made.
pub struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    /// Catches the signals, so that none ends the process any more.
    ///
    /// # Errors
    /// Exit code 1 when the system refuses the handler.
    pub fn catch() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| Failure::failed(format!("cannot catch signals: {error}")))
        };
        Ok(StopSignals {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    /// Waits for the next of the two. Loses none when dropped and called again.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
