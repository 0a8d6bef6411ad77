//! What the journal keeps: entries, what became of them, and where they lie.
//!
//! Knows the nouns of `model` and no bytes; `format` turns these into frames and back. A body is kept
//! as it came (or as the caller sealed it): the journal never looks inside. Nothing here prints a body.

use std::fmt;

use bytes::Bytes;

use crate::model::{DeliveryId, Key, RecordKey, Version};

/// Something to be stored before anyone is told that it was taken in.
#[derive(Clone, PartialEq)]
pub struct NewEntry {
    /// When it came, in milliseconds since the epoch.
    pub received_ms: i64,
    /// Why it is here.
    pub cause: Cause,
    /// The record it speaks of, if it names one.
    pub record: Option<RecordKey>,
    /// The version it speaks of; zero when it says none.
    pub version: Version,
    /// True if it says that the record is gone.
    pub deleted: bool,
    /// A number that is equal for equal content; the journal only keeps it.
    pub fingerprint: u64,
    /// The records that a membership hangs on.
    pub related: Related,
    /// The delivery as it came, at most [`NewEntry::MAX_BODY_BYTES`].
    pub body: Bytes,
}

impl NewEntry {
    /// The largest body, in bytes: four times the largest that intake accepts, and small enough to
    /// leave room for everything else in a frame of 4 MiB.
    pub const MAX_BODY_BYTES: usize = 4 * 1024 * 1024 - 4096;
}

impl fmt::Debug for NewEntry {
    /// Everything but the body, which holds personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewEntry")
            .field("received_ms", &self.received_ms)
            .field("cause", &self.cause)
            .field("record", &self.record)
            .field("version", &self.version)
            .field("deleted", &self.deleted)
            .field("related", &self.related)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// Why an entry is in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Clerk said something.
    Delivery {
        /// The sender's id, by which a repeated delivery is known.
        id: DeliveryId,
        /// The event's name, such as `user.updated`; at most 255 bytes.
        event_type: Box<str>,
    },
    /// Somebody wants the record fetched from Clerk as it is now.
    Request {
        /// Who.
        origin: RequestOrigin,
    },
}

impl Cause {
    /// The cause without its details.
    pub fn kind(&self) -> CauseKind {
        match self {
            Cause::Delivery { .. } => CauseKind::Delivery,
            Cause::Request { origin } => CauseKind::Request(*origin),
        }
    }
}

/// Who wants a record fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RequestOrigin {
    /// A person.
    Operator,
    /// A scan.
    Repair,
    /// A signed delivery of an unexpected shape that names this record.
    Malformed,
}

/// A [`Cause`] without its details, small enough to be kept for every waiting entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CauseKind {
    /// A delivery from Clerk.
    Delivery,
    /// A wish to fetch the record.
    Request(RequestOrigin),
}

/// The parents of a membership; empty for everything else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Related {
    /// The organization's id.
    pub organization: Option<Key>,
    /// The user's id.
    pub user: Option<Key>,
}

/// A stored entry, read back.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its number: counts up from 1, never used twice, not without gaps.
    pub seq: u64,
    /// What was stored.
    pub content: NewEntry,
}

/// Where a frame lies. Valid until the journal says that the entry has moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// The number of the segment file.
    pub segment: u32,
    /// Where the frame starts, in bytes from the start of the file.
    pub offset: u32,
    /// The length of the frame's payload, in bytes.
    pub len: u32,
}

/// What the queue needs to know of a stored entry without reading it.
#[derive(Clone, Debug, PartialEq)]
pub struct Meta {
    /// The entry's number.
    pub seq: u64,
    /// Where it lies.
    pub position: Position,
    /// When it came, in milliseconds since the epoch.
    pub received_ms: i64,
    /// The record it speaks of.
    pub record: Option<RecordKey>,
    /// The version it speaks of.
    pub version: Version,
    /// True if it says that the record is gone.
    pub deleted: bool,
    /// See [`NewEntry::fingerprint`].
    pub fingerprint: u64,
    /// Why it is here.
    pub cause: CauseKind,
}

/// A final verdict on an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Which entry.
    pub seq: u64,
    /// What became of it, in the caller's code.
    pub state: u8,
    /// More about it, cut at [`Settled::MAX_REASON_BYTES`].
    pub reason: Option<Box<str>>,
}

impl Settled {
    /// The longest reason kept, in bytes.
    pub const MAX_REASON_BYTES: usize = 200;
}

/// An entry set aside as a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    /// Which entry.
    pub seq: u64,
    /// How often it was tried.
    pub attempts: u32,
    /// What kind of failure it was, cut at [`Parked::MAX_CODE_BYTES`].
    pub code: Box<str>,
    /// What to tell a person, cut at [`Parked::MAX_REASON_BYTES`].
    pub reason: Box<str>,
    /// When it was given up, in milliseconds since the epoch.
    pub at_ms: i64,
}

impl Parked {
    /// The longest code kept, in bytes.
    pub const MAX_CODE_BYTES: usize = 64;
    /// The longest reason kept, in bytes.
    pub const MAX_REASON_BYTES: usize = 512;
}

/// A dead letter as found when the journal was opened.
#[derive(Clone, Debug, PartialEq)]
pub struct ParkedMeta {
    /// The entry.
    pub meta: Meta,
    /// Why it is a dead letter.
    pub parked: Parked,
}
