//! Why the daemon does not start, or ends by itself.
//!
//! For the person who started it: each says what to do. Two questions are asked of it beside: does another
//! process hold the state, and is a key missing.

use std::{io, path::PathBuf};

use thiserror::Error;

use crate::{
    report::history::HistoryError,
    schedule::rhythm::NotARhythm,
    store::{journal::OpenError, state::StateError, state_file::StateFileError},
};

/// Why the daemon did not start, or ended by itself.
#[derive(Debug, Error)]
pub enum StartError {
    /// The state directory.
    #[error("the state directory {} cannot be used", .path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The journal.
    #[error(transparent)]
    Journal(#[from] OpenError),
    /// The derived state.
    #[error(transparent)]
    State(#[from] StateError),
    /// The `STATE` file.
    #[error(transparent)]
    StateFile(#[from] StateFileError),
    /// The directory of reports.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// An address or a socket.
    #[error("cannot listen on {on}")]
    Listen {
        /// What.
        on: String,
        /// Why.
        source: io::Error,
    },
    /// A socket that the service manager holds.
    #[error("the socket that the service manager handed over cannot be used")]
    Handed(#[source] io::Error),
    /// A key that no header can carry, or a URL that cannot be called.
    #[error("cannot prepare calls to {service}: {message}")]
    Edge {
        /// Clerk or Convex.
        service: &'static str,
        /// Why.
        message: String,
    },
    /// A time at which scans are to run.
    #[error(transparent)]
    Schedule(#[from] NotARhythm),
    /// The state belongs to another deployment, or to a key of another kind.
    #[error("{0}")]
    Foreign(String),
    /// Threads could not be started.
    #[error("cannot start threads")]
    Threads(#[source] io::Error),
    /// The disk failed under the running daemon.
    #[error(
        "the disk failed under the journal ({0}); nothing acknowledged is lost, start again when it works"
    )]
    DiskFailed(String),
    /// The derived state failed, and starting anew may mend it.
    #[error(
        "the derived state failed under the daemon, and there is room again; started again, it opens what is \
         good of it"
    )]
    StateFailed,
    /// The disk is full before anything was opened.
    #[error(
        "there is no room left on the disk of {}; free some, then start again. Nothing was touched",
        .0.display()
    )]
    NoRoom(PathBuf),
    /// The task that applies changes is gone.
    #[error(
        "the daemon failed at applying changes; see the log. Nothing acknowledged is lost, start it again"
    )]
    ApplierEnded,
}

impl StartError {
    /// True if another process holds the state directory.
    pub fn is_in_use(&self) -> bool {
        matches!(
            self,
            StartError::Journal(OpenError::InUse(_)) | StartError::State(StateError::InUse(_))
        )
    }

    /// What to do about an address or a socket that could not be had.
    pub fn about_listening(&self) -> Option<&'static str> {
        let StartError::Listen { source, .. } = self else {
            return None;
        };
        Some(match source.kind() {
            io::ErrorKind::AddrInUse => {
                "another process listens there: stop it, or choose another listen.address or admin.address"
            }
            io::ErrorKind::AddrNotAvailable => "choose an address that this machine has",
            io::ErrorKind::PermissionDenied => {
                "this user may not: choose a port from 1024 on or a directory that it may write to, or let \
                 systemd hand the socket over"
            }
            io::ErrorKind::NotFound => "make the directory of admin.socket, or choose another",
            _ => return None,
        })
    }

    /// True if what is kept is encrypted under keys that the configuration does not name.
    pub fn is_about_keys(&self) -> bool {
        matches!(
            self,
            StartError::StateFile(StateFileError::Keys { .. })
                | StartError::Journal(OpenError::UnknownKey { .. })
                | StartError::State(StateError::UnknownKey(_))
        )
    }
}
