//! What a frame's payload says, as bytes and back. Pure: no file, no clock. A kind in one byte and
//! then, little-endian, by kind:
//!
//! ```text
//!   1 entry   seq u64  received_ms i64  flags u8  cause u8  version i64  fingerprint u64
//!             [record: table u8, key]  [organization key]  [user key]  [delivery: id u16+bytes, type u8+bytes]  body
//!   2 settle  count u16, then count times: seq u64  state u8  reason u8+bytes (no bytes: none)
//!   3 park    seq u64  attempts u32  at_ms i64  code u8+bytes  reason u16+bytes
//!   4 unpark  seq u64
//!   5 encrypted: one of the others, see `encrypted`
//! ```
//!
//! Decoding answers `None` for whatever cannot have been written here; it never panics.

use bytes::Bytes;

use super::cursor::Cursor;
use super::encrypted;
use super::entry::{
    Cause, CauseKind, Entry, Meta, NewEntry, Parked, Position, Related, RequestOrigin, Settled,
};
use super::frame::MAX_PAYLOAD_BYTES;
use crate::model::{DeliveryId, Key, RecordKey, Table, Version};
use crate::store::crypt::Keyring;

/// The most verdicts in one settle frame: with the longest reasons still under 1 MiB.
pub const MAX_SETTLED_PER_FRAME: usize = 4096;
pub(super) const KIND_ENTRY: u8 = 1;
const KIND_SETTLE: u8 = 2;
const KIND_PARK: u8 = 3;
const KIND_UNPARK: u8 = 4;
pub(super) const KIND_ENCRYPTED: u8 = 5;

const FLAG_DELETED: u8 = 1;
const FLAG_RECORD: u8 = 2;
const FLAG_ORGANIZATION: u8 = 4;
const FLAG_USER: u8 = 8;

const _: () = assert!(NewEntry::MAX_BODY_BYTES + 4096 <= MAX_PAYLOAD_BYTES);
const _: () = assert!(
    MAX_SETTLED_PER_FRAME * (10 + Settled::MAX_REASON_BYTES) + 3 <= MAX_PAYLOAD_BYTES
        && MAX_SETTLED_PER_FRAME <= u16::MAX as usize
);

/// Encodes an entry as a whole frame but for its sequence number and checksum, which
/// [`seal_entry`] fills in; encrypted if there is a key. `None` if the event's name or the body is too long.
pub fn encode_entry(entry: &NewEntry, keys: &Keyring) -> Option<Vec<u8>> {
    if entry.body.len() > NewEntry::MAX_BODY_BYTES {
        return None;
    }
    let room = encrypted::room(keys);
    let mut out = Vec::with_capacity(room + 640 + entry.body.len());
    out.resize(room, 0);
    out.push(KIND_ENTRY);
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&entry.received_ms.to_le_bytes());
    let flag = |on: bool, bit: u8| if on { bit } else { 0 };
    out.push(
        flag(entry.deleted, FLAG_DELETED)
            | flag(entry.record.is_some(), FLAG_RECORD)
            | flag(entry.related.organization.is_some(), FLAG_ORGANIZATION)
            | flag(entry.related.user.is_some(), FLAG_USER),
    );
    out.push(cause_code(entry.cause.kind()));
    out.extend_from_slice(&entry.version.ms().to_le_bytes());
    out.extend_from_slice(&entry.fingerprint.to_le_bytes());
    if let Some(record) = &entry.record {
        out.push(record.table.code());
        put_short(&mut out, record.key.as_str().as_bytes())?;
    }
    let related = [&entry.related.organization, &entry.related.user];
    for key in related.into_iter().flatten() {
        put_short(&mut out, key.as_str().as_bytes())?;
    }
    if let Cause::Delivery { id, event_type } = &entry.cause {
        put_long(&mut out, id.as_str().as_bytes())?;
        put_short(&mut out, event_type.as_bytes())?;
    }
    out.extend_from_slice(&entry.body);
    encrypted::encrypt(&mut out, keys);
    Some(out)
}

/// Writes sequence number, length and checksum into a frame of [`encode_entry`] with the same keys.
pub fn seal_entry(frame: &mut [u8], seq: u64, keys: &Keyring) {
    encrypted::seal_numbered(frame, seq, keys);
}

/// Appends a settle frame; at most [`MAX_SETTLED_PER_FRAME`] verdicts are taken.
pub fn put_settle(out: &mut Vec<u8>, settled: &[Settled], keys: &Keyring) {
    let settled = &settled[..settled.len().min(MAX_SETTLED_PER_FRAME)];
    encrypted::put_note(out, keys, |out| {
        out.push(KIND_SETTLE);
        out.extend_from_slice(&(settled.len() as u16).to_le_bytes());
        for verdict in settled {
            out.extend_from_slice(&verdict.seq.to_le_bytes());
            out.push(verdict.state);
            let reason = verdict.reason.as_deref().unwrap_or("");
            let reason = cut(reason, Settled::MAX_REASON_BYTES);
            out.push(reason.len() as u8);
            out.extend_from_slice(reason.as_bytes());
        }
    });
}

/// Appends a park frame.
pub fn put_park(out: &mut Vec<u8>, parked: &Parked, keys: &Keyring) {
    encrypted::put_note(out, keys, |out| {
        out.push(KIND_PARK);
        out.extend_from_slice(&parked.seq.to_le_bytes());
        out.extend_from_slice(&parked.attempts.to_le_bytes());
        out.extend_from_slice(&parked.at_ms.to_le_bytes());
        let code = cut(&parked.code, Parked::MAX_CODE_BYTES);
        out.push(code.len() as u8);
        out.extend_from_slice(code.as_bytes());
        let reason = cut(&parked.reason, Parked::MAX_REASON_BYTES);
        out.extend_from_slice(&(reason.len() as u16).to_le_bytes());
        out.extend_from_slice(reason.as_bytes());
    });
}

/// Appends an unpark frame.
pub fn put_unpark(out: &mut Vec<u8>, seq: u64, keys: &Keyring) {
    encrypted::put_note(out, keys, |out| {
        out.push(KIND_UNPARK);
        out.extend_from_slice(&seq.to_le_bytes());
    });
}

/// A payload, understood as far as opening the journal needs.
#[derive(Debug, PartialEq)]
pub enum Payload<'a> {
    /// An entry, without its body.
    Entry(EntryHead<'a>),
    /// Verdicts.
    Settle(Vec<Settled>),
    /// A dead letter.
    Park(Parked),
    /// A dead letter that is tried again.
    Unpark(u64),
}

/// An entry's fields, borrowed from the bytes.
#[derive(Debug, PartialEq)]
pub struct EntryHead<'a> {
    /// The entry's number.
    pub seq: u64,
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
    /// The sender's id and the event's name, for deliveries.
    pub delivery: Option<(&'a str, &'a str)>,
    organization: Option<&'a str>,
    user: Option<&'a str>,
    body: &'a [u8],
}

impl EntryHead<'_> {
    /// What the queue is told of the entry at this place.
    pub fn meta(self, position: Position) -> Meta {
        Meta {
            seq: self.seq,
            position,
            received_ms: self.received_ms,
            record: self.record,
            version: self.version,
            deleted: self.deleted,
            fingerprint: self.fingerprint,
            cause: self.cause,
        }
    }

    /// The whole entry.
    pub fn entry(self) -> Option<Entry> {
        let cause = match (self.cause, self.delivery) {
            (CauseKind::Delivery, Some((id, event_type))) => Cause::Delivery {
                id: DeliveryId::parse(id)?,
                event_type: event_type.into(),
            },
            (CauseKind::Request(origin), _) => Cause::Request { origin },
            (CauseKind::Delivery, None) => return None,
        };
        let key = |text: Option<&str>| match text {
            None => Some(None),
            Some(text) => Key::parse(text).map(Some),
        };
        Some(Entry {
            seq: self.seq,
            content: NewEntry {
                received_ms: self.received_ms,
                cause,
                record: self.record,
                version: self.version,
                deleted: self.deleted,
                fingerprint: self.fingerprint,
                related: Related {
                    organization: key(self.organization)?,
                    user: key(self.user)?,
                },
                body: Bytes::copy_from_slice(self.body),
            },
        })
    }
}

/// Reads a payload whose checksum was right.
pub fn decode(payload: &[u8]) -> Option<Payload<'_>> {
    let mut cursor = Cursor::new(payload);
    match cursor.u8()? {
        KIND_ENTRY => decode_entry(cursor).map(Payload::Entry),
        KIND_SETTLE => decode_settle(cursor).map(Payload::Settle),
        KIND_PARK => Some(Payload::Park(Parked {
            seq: cursor.u64()?,
            attempts: cursor.u32()?,
            at_ms: cursor.i64()?,
            code: cursor.short_text()?.into(),
            reason: cursor.long_text()?.into(),
        })),
        KIND_UNPARK => cursor.u64().map(Payload::Unpark),
        _ => None,
    }
}

fn decode_entry(mut cursor: Cursor<'_>) -> Option<EntryHead<'_>> {
    let seq = cursor.u64()?;
    let received_ms = cursor.i64()?;
    let flags = cursor.u8()?;
    let cause = cause_of(cursor.u8()?)?;
    let version = Version(cursor.i64()?);
    let fingerprint = cursor.u64()?;
    let record = if flags & FLAG_RECORD != 0 {
        let table = Table::from_code(cursor.u8()?)?;
        Some(RecordKey::new(table, Key::parse(cursor.short_text()?)?))
    } else {
        None
    };
    let mut optional = |bit: u8| match flags & bit {
        0 => Some(None),
        _ => cursor.short_text().map(Some),
    };
    let organization = optional(FLAG_ORGANIZATION)?;
    let user = optional(FLAG_USER)?;
    let delivery = match cause {
        CauseKind::Delivery => Some((cursor.long_text()?, cursor.short_text()?)),
        CauseKind::Request(_) => None,
    };
    Some(EntryHead {
        seq,
        received_ms,
        record,
        version,
        deleted: flags & FLAG_DELETED != 0,
        fingerprint,
        cause,
        delivery,
        organization,
        user,
        body: cursor.rest(),
    })
}

fn decode_settle(mut cursor: Cursor<'_>) -> Option<Vec<Settled>> {
    let count = cursor.u16()? as usize;
    if count > MAX_SETTLED_PER_FRAME {
        return None;
    }
    let mut settled = Vec::with_capacity(count);
    for _ in 0..count {
        let (seq, state) = (cursor.u64()?, cursor.u8()?);
        let reason = cursor.short_text()?;
        settled.push(Settled {
            seq,
            state,
            reason: (!reason.is_empty()).then(|| reason.into()),
        });
    }
    Some(settled)
}

fn put_short(out: &mut Vec<u8>, bytes: &[u8]) -> Option<()> {
    out.push(u8::try_from(bytes.len()).ok()?);
    out.extend_from_slice(bytes);
    Some(())
}

fn put_long(out: &mut Vec<u8>, bytes: &[u8]) -> Option<()> {
    out.extend_from_slice(&u16::try_from(bytes.len()).ok()?.to_le_bytes());
    out.extend_from_slice(bytes);
    Some(())
}

/// The longest beginning of `text` that fits and ends between two characters.
fn cut(text: &str, max: usize) -> &str {
    let mut end = max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn cause_code(cause: CauseKind) -> u8 {
    match cause {
        CauseKind::Delivery => 0,
        CauseKind::Request(RequestOrigin::Operator) => 1,
        CauseKind::Request(RequestOrigin::Repair) => 2,
        CauseKind::Request(RequestOrigin::Malformed) => 3,
    }
}

fn cause_of(code: u8) -> Option<CauseKind> {
    Some(match code {
        0 => CauseKind::Delivery,
        1 => CauseKind::Request(RequestOrigin::Operator),
        2 => CauseKind::Request(RequestOrigin::Repair),
        3 => CauseKind::Request(RequestOrigin::Malformed),
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
