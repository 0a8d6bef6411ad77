//! What can go wrong with the journal, and whose fault it is.
//!
//! One enum for each thing that is asked of it: to open, to store, to read back. Messages end in what
//! to do, and hold no content of an entry.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::entry::Position;
use crate::model::Fault;
use crate::store::crypt::KeyId;

/// Why something was not taken in. None of it was stored.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum AppendError {
    /// Too much waits to be written, or to be worked off. Passes when work is done.
    #[error("the journal is full: {0}; the sender should try again later")]
    Full(Limit),
    /// The disk has no room, or is read-only. Passes when room is made.
    #[error(
        "the journal cannot be written ({0}); free disk space under the state directory, it goes on by itself"
    )]
    Unwritable(String),
    /// The disk failed. Nothing is stored any more until the daemon is started again.
    #[error("the disk failed under the journal ({0}); the daemon must be started again")]
    Poisoned(String),
    /// The journal was closed.
    #[error("the journal is closed")]
    Closed,
    /// Larger than the journal takes.
    #[error(
        "the entry is larger than the journal takes (body up to 4 MiB, event name up to 255 bytes)"
    )]
    TooLarge,
}

impl AppendError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            AppendError::TooLarge => Fault::Record,
            _ => Fault::Ours,
        }
    }
}

/// Which bound was reached.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Limit {
    /// Requests that wait for the committer.
    #[error("too many requests wait for the disk")]
    Requests,
    /// Bytes that wait for the committer.
    #[error("too many bytes wait for the disk")]
    Bytes,
    /// Entries that are not final.
    #[error("too many deliveries wait to be applied")]
    Entries,
    /// The size of all segments.
    #[error("the deliveries that wait to be applied take all the room they may")]
    Disk,
}

/// Why an entry could not be read back.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The segment is gone: the entry is final, or it moved and the notice of that is on its way.
    /// Ask [`super::Journal::locate`], then read there.
    #[error("the entry is not there any more; it was settled or moved")]
    Gone,
    /// The bytes there are not what was written. Fetch the record from Clerk instead.
    #[error("the journal is damaged in segment {} at byte {}", .0.segment, .0.offset)]
    Damaged(Position),
    /// The disk did not answer.
    #[error("the journal cannot be read")]
    Io(#[source] io::Error),
}

impl ReadError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            ReadError::Gone | ReadError::Io(_) => Fault::Ours,
            ReadError::Damaged(_) => Fault::Record,
        }
    }
}

/// Why the journal could not be opened. Damage is no reason: it is set aside and reported.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process has it.
    #[error(
        "{} is used by another process; stop the other daemon or choose another state directory",
        .0.display()
    )]
    InUse(PathBuf),
    /// A newer release wrote it.
    #[error(
        "{} was written by a newer release (format {found}, this one knows {known}); nothing was touched",
        .path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format known here.
        known: u32,
    },
    /// It holds what is encrypted under a key that is not there.
    #[error(
        "{} holds deliveries that are encrypted under the key {key}, which state.encryption_key does not \
         name; nothing was touched",
        .path.display()
    )]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The key.
        key: KeyId,
    },
    /// The disk refused.
    #[error("{} cannot be opened: {source}; check owner, mode and free space", .path.display())]
    Io {
        /// What was asked for.
        path: PathBuf,
        /// The answer.
        source: io::Error,
    },
}

impl OpenError {
    /// Whose fault it is: always ours.
    pub fn fault(&self) -> Fault {
        Fault::Ours
    }
}
