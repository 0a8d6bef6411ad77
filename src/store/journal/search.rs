//! Finds the frames of a segment, also behind damage. Pure: bytes in, frames out.
//!
//! A frame counts if its checksum is right, it is what was encrypted under its number, and it says something.
//! Promises no panic on any bytes, that every whole frame is found, and that a key that is not there is told and
//! never taken for damage.

use std::borrow::Cow;

use super::encrypted;
use super::format::decode;
use super::frame::{FRAME_HEAD_BYTES, HEADER_BYTES, frame, unchecked_frame};
use crate::store::crypt::{KeyId, Keyring, Unreadable};

/// How many bytes may be put through the checksum in search of the next whole frame, a segment.
/// Random bytes need far less; it bounds what made-up lengths can cost at start.
const SEARCH_BYTES: usize = 256 * 1024 * 1024;

/// See the module's words.
pub struct Frames<'b> {
    bytes: &'b [u8],
    keys: &'b Keyring,
    good: usize,
    search: usize,
}

/// A whole frame.
pub struct Found<'b> {
    /// Bytes before it that belong to none.
    pub skipped: usize,
    /// Where it starts.
    pub at: usize,
    /// The length of its payload as it is written.
    pub len: usize,
    /// Its payload in plain.
    pub plain: Cow<'b, [u8]>,
    /// The key under which it is encrypted.
    pub key: Option<KeyId>,
}

impl<'b> Frames<'b> {
    /// The frames of a segment's bytes, behind its header.
    pub fn of(bytes: &'b [u8], keys: &'b Keyring) -> Self {
        Frames {
            bytes,
            keys,
            good: HEADER_BYTES.min(bytes.len()),
            search: SEARCH_BYTES,
        }
    }

    /// Behind the last whole frame; what stands there is no whole frame once [`Frames::next`] has answered none.
    pub fn good(&self) -> usize {
        self.good
    }

    /// The next whole frame.
    ///
    /// # Errors
    /// The key that it is encrypted under, if that is not there.
    pub fn next(&mut self) -> Result<Option<Found<'b>>, KeyId> {
        let from = self.good;
        let found = match self.whole(from)? {
            Some(found) => Some(found),
            None => self.resync(from)?,
        };
        Ok(found.map(|found| {
            self.good = found.at + FRAME_HEAD_BYTES + found.len;
            Found {
                skipped: found.at - from,
                ..found
            }
        }))
    }

    fn whole(&self, at: usize) -> Result<Option<Found<'b>>, KeyId> {
        let Some(payload) = self.bytes.get(at..).and_then(frame) else {
            return Ok(None);
        };
        let plain = match encrypted::open(payload, self.keys) {
            Ok(plain) => plain,
            Err(Unreadable::UnknownKey(key)) => return Err(key),
            Err(Unreadable::Changed) => return Ok(None),
        };
        let found = decode(&plain).is_some().then(|| Found {
            skipped: 0,
            at,
            len: payload.len(),
            key: encrypted::key_of(payload),
            plain,
        });
        Ok(found)
    }

    /// Finds the next whole frame behind a damaged one: first where its length says, then byte by byte.
    /// A frame made up inside a body is not to be feared: JSON holds no zero bytes, a length always does; and
    /// nobody without the key can choose what an encrypted body looks like.
    fn resync(&mut self, damaged: usize) -> Result<Option<Found<'b>>, KeyId> {
        if let Some(payload) = self.bytes.get(damaged..).and_then(unchecked_frame) {
            let next = damaged + FRAME_HEAD_BYTES + payload.len();
            if let Some(found) = self.check(next)? {
                return Ok(Some(found));
            }
        }
        for at in damaged + 1..self.bytes.len() {
            if let Some(found) = self.check(at)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn check(&mut self, at: usize) -> Result<Option<Found<'b>>, KeyId> {
        let Some(payload) = self.bytes.get(at..).and_then(unchecked_frame) else {
            return Ok(None);
        };
        let cost = payload.len() + FRAME_HEAD_BYTES;
        if self.search < cost {
            return Ok(None);
        }
        self.search -= cost;
        self.whole(at)
    }
}

/// What stands behind the frames of the newest segment, without the zeros that were to be written over.
pub fn without_zeros(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| *byte != 0);
    &bytes[..end.map_or(0, |at| at + 1)]
}
