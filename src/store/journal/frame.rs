//! What a segment file is made of: a header, then frames. Pure: no file, no clock.
//!
//! ```text
//! header  magic[8]  format u32  segment u32  first sequence u64  reserved u32  crc32c u32 (over the 28 before)
//! frame   length u32 (of the payload)  crc32c u32 (over length and payload)  payload
//! ```
//!
//! All numbers are little-endian. Knows nothing of what a payload means; see `format`.

use super::cursor::Cursor;

/// The length of a segment's header, in bytes.
pub const HEADER_BYTES: usize = 32;
/// The length of what stands before each payload, in bytes.
pub const FRAME_HEAD_BYTES: usize = 8;
/// The longest payload, in bytes. A length above it is damage.
pub const MAX_PAYLOAD_BYTES: usize = 4 * 1024 * 1024;
/// The version of this layout. Raised when an older reader would misread it: 2 may hold encrypted payloads.
pub const FORMAT: u32 = 2;

/// The shortest payload that means anything: an unpark.
const MIN_PAYLOAD_BYTES: usize = 9;
const MAGIC: [u8; 8] = *b"ccsjrnl\0";

/// What a segment says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The layout it was written in.
    pub format: u32,
    /// Its number, also in its name.
    pub segment: u32,
    /// The lowest number of an entry first written here.
    pub first_seq: u64,
}

impl Header {
    /// The header's bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&self.format.to_le_bytes());
        out[12..16].copy_from_slice(&self.segment.to_le_bytes());
        out[16..24].copy_from_slice(&self.first_seq.to_le_bytes());
        let crc = crc32c::crc32c(&out[..28]);
        out[28..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// The header at the start of `bytes`, if it is whole.
    pub fn decode(bytes: &[u8]) -> Option<Header> {
        let mut cursor = Cursor::new(bytes.get(..HEADER_BYTES)?);
        if cursor.bytes(8)? != MAGIC {
            return None;
        }
        let header = Header {
            format: cursor.u32()?,
            segment: cursor.u32()?,
            first_seq: cursor.u64()?,
        };
        cursor.u32()?;
        (cursor.u32()? == crc32c::crc32c(&bytes[..28])).then_some(header)
    }
}

/// The payload of the frame at the start of `bytes`, if length and checksum are right.
pub fn frame(bytes: &[u8]) -> Option<&[u8]> {
    let payload = unchecked_frame(bytes)?;
    let stored = u32::from_le_bytes(bytes.get(4..8)?.try_into().ok()?);
    (stored == checksum(&bytes[..4], payload)).then_some(payload)
}

/// The payload of what may be a frame at the start of `bytes`: the length is
/// believable, the checksum was not looked at.
pub fn unchecked_frame(bytes: &[u8]) -> Option<&[u8]> {
    let len = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    if !(MIN_PAYLOAD_BYTES..=MAX_PAYLOAD_BYTES).contains(&len) {
        return None;
    }
    bytes.get(FRAME_HEAD_BYTES..FRAME_HEAD_BYTES.checked_add(len)?)
}

/// Fills in the head of a frame whose payload is complete.
pub fn seal(frame: &mut [u8]) {
    let len = (frame.len() - FRAME_HEAD_BYTES) as u32;
    let (head, payload) = frame.split_at_mut(FRAME_HEAD_BYTES);
    head[..4].copy_from_slice(&len.to_le_bytes());
    let crc = checksum(&head[..4], payload);
    head[4..].copy_from_slice(&crc.to_le_bytes());
}

fn checksum(len: &[u8], payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(len), payload)
}
