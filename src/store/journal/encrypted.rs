//! Frames whose payload is encrypted. Pure: no file, no clock.
//!
//! ```text
//!   5 encrypted  key id[8]  nonce[24]  tag[16]  seq u64 (an entry's; zero for a note)  proof[16]  another payload, encrypted
//! ```
//!
//! An entry is encrypted by whoever brings it, before it has a number; the committer adds the number and the proof
//! that binds it, so that it does little for each. The frame's checksum covers what is written: a torn
//! or damaged frame is told from one whose key is not there, and from one that was put in another's place.

use std::borrow::Cow;

use super::cursor::Cursor;
use super::format::{KIND_ENCRYPTED, KIND_ENTRY};
use super::frame::{FRAME_HEAD_BYTES, seal};
use crate::store::crypt::{HEAD_BYTES, Head, KeyId, Keyring, Name, PROOF_BYTES, Unreadable};

/// What stands before the encrypted payload, in bytes.
const LEAD_BYTES: usize = 1 + HEAD_BYTES + 8 + PROOF_BYTES;
/// Where an entry's number stands in an encrypted payload, and in a plain one.
const SEQ_AT: usize = 1 + HEAD_BYTES;
const PLAIN_SEQ_AT: usize = 1;

/// How much room a frame's beginning takes, for a payload to be written behind it.
pub fn room(keys: &Keyring) -> usize {
    FRAME_HEAD_BYTES + lead(keys)
}

fn lead(keys: &Keyring) -> usize {
    keys.writes().map_or(0, |_| LEAD_BYTES)
}

/// Encrypts the payload that stands behind [`room`], if there is a key.
pub fn encrypt(frame: &mut [u8], keys: &Keyring) {
    let (before, payload) = frame.split_at_mut(room(keys));
    if let Some(head) = keys.encrypt_in_place(Name::Frame, payload) {
        before[FRAME_HEAD_BYTES] = KIND_ENCRYPTED;
        before[FRAME_HEAD_BYTES + 1..][..HEAD_BYTES].copy_from_slice(&head.encode());
    }
}

/// Writes an entry's number where it belongs, then length and checksum.
pub fn seal_numbered(frame: &mut [u8], seq: u64, keys: &Keyring) {
    let payload = &mut frame[FRAME_HEAD_BYTES..];
    let at = match payload.first() {
        Some(&KIND_ENCRYPTED) => SEQ_AT,
        _ => PLAIN_SEQ_AT,
    };
    if let Some(slot) = payload.get_mut(at..at + 8) {
        slot.copy_from_slice(&seq.to_le_bytes());
    }
    if at == SEQ_AT {
        prove(payload, seq, keys);
    }
    seal(frame);
}

/// Appends a frame around the payload that `write` appends: a note, which has no number of its own.
pub fn put_note(out: &mut Vec<u8>, keys: &Keyring, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.resize(start + room(keys), 0);
    write(out);
    let frame = &mut out[start..];
    encrypt(frame, keys);
    if lead(keys) > 0 {
        prove(&mut frame[FRAME_HEAD_BYTES..], 0, keys);
    }
    seal(frame);
}

/// Appends a frame of a payload that [`open`] answered.
pub fn put_again(out: &mut Vec<u8>, plain: &[u8], keys: &Keyring) {
    let seq = match plain {
        [KIND_ENTRY, seq @ ..] => seq.first_chunk().map(|seq| u64::from_le_bytes(*seq)),
        _ => None,
    };
    let start = out.len();
    put_note(out, keys, |out| out.extend_from_slice(plain));
    if let Some(seq) = seq {
        seal_numbered(&mut out[start..], seq, keys);
    }
}

fn prove(payload: &mut [u8], seq: u64, keys: &Keyring) {
    let proof = payload
        .get(1..SEQ_AT)
        .and_then(Head::decode)
        .and_then(|head| keys.prove(&head, seq).ok());
    // Whoever seals it has encrypted it a moment ago, under a key of this ring.
    if let (Some(proof), Some(slot)) = (proof, payload.get_mut(SEQ_AT + 8..LEAD_BYTES)) {
        slot.copy_from_slice(&proof);
    }
}

/// The payload in plain, as `format` reads it.
pub fn open<'p>(payload: &'p [u8], keys: &Keyring) -> Result<Cow<'p, [u8]>, Unreadable> {
    let Some((&KIND_ENCRYPTED, rest)) = payload.split_first() else {
        return Ok(Cow::Borrowed(payload));
    };
    let (head, seq, proof, encrypted) = parts(rest).ok_or(Unreadable::Changed)?;
    keys.proves(&head, seq, proof)?;
    let mut plain = encrypted.to_vec();
    keys.decrypt_in_place(Name::Frame, &head, &mut plain)?;
    match plain.as_mut_slice() {
        [KIND_ENTRY, slot @ ..] if slot.len() >= 8 => slot[..8].copy_from_slice(&seq.to_le_bytes()),
        _ if seq == 0 => {}
        _ => return Err(Unreadable::Changed),
    }
    Ok(Cow::Owned(plain))
}

/// The key under which a payload is encrypted; none if it is plain.
pub fn key_of(payload: &[u8]) -> Option<KeyId> {
    match payload.split_first() {
        Some((&KIND_ENCRYPTED, rest)) => parts(rest).map(|(head, ..)| head.id()),
        _ => None,
    }
}

fn parts(rest: &[u8]) -> Option<(Head, u64, &[u8], &[u8])> {
    let mut cursor = Cursor::new(rest);
    let head = Head::decode(cursor.bytes(HEAD_BYTES)?)?;
    let (seq, proof) = (cursor.u64()?, cursor.bytes(PROOF_BYTES)?);
    Some((head, seq, proof, cursor.rest()))
}

#[cfg(test)]
mod tests {
    use super::super::format::{Payload, decode, encode_entry, put_park, seal_entry};
    use super::super::frame::frame;
    use super::super::tests::{delivery, parked};
    use super::*;

    fn ring(key: u8) -> Keyring {
        Keyring::new(&[[key; 32]])
    }

    fn entry(keys: &Keyring, seq: u64) -> Vec<u8> {
        let mut bytes = encode_entry(&delivery("msg_1", "user_1", b"{\"a\":1}"), keys).unwrap();
        seal_entry(&mut bytes, seq, keys);
        bytes
    }

    #[test]
    fn an_entry_and_a_note_come_back_and_show_nothing() {
        let keys = ring(1);
        let bytes = entry(&keys, 7);
        assert!(!bytes.windows(6).any(|part| part == b"user_1"));
        let payload = frame(&bytes).unwrap();
        assert_eq!(key_of(payload), keys.writes());
        let plain = open(payload, &keys).unwrap();
        let Some(Payload::Entry(head)) = decode(&plain) else {
            panic!("not an entry");
        };
        assert_eq!(head.seq, 7);
        let mut bytes = Vec::new();
        put_park(&mut bytes, &parked(9), &keys);
        let plain = open(frame(&bytes).unwrap(), &keys).unwrap();
        assert_eq!(decode(&plain), Some(Payload::Park(parked(9))));
    }

    #[test]
    fn a_payload_under_another_number_or_key_is_not_believed() {
        let keys = ring(1);
        let (one, two) = (entry(&keys, 1), entry(&keys, 2));
        let at = FRAME_HEAD_BYTES + SEQ_AT;
        // The number alone, and the number with its proof.
        for end in [at + 8, at + 8 + PROOF_BYTES] {
            let mut mixed = one.clone();
            mixed[at..end].copy_from_slice(&two[at..end]);
            seal(&mut mixed);
            let payload = frame(&mixed).unwrap();
            assert_eq!(open(payload, &keys), Err(Unreadable::Changed));
        }
        let payload = frame(&one).unwrap();
        let missing = Unreadable::UnknownKey(keys.writes().unwrap());
        assert_eq!(open(payload, &ring(2)), Err(missing));
        assert_eq!(open(payload, &Keyring::default()), Err(missing));
    }

    #[test]
    fn what_is_put_again_is_the_same_under_the_new_key() {
        let (old, new) = (ring(1), Keyring::new(&[[2; 32], [1; 32]]));
        for from in [&Keyring::default(), &old] {
            let before = entry(from, 3);
            let plain = open(frame(&before).unwrap(), &new).unwrap();
            let mut bytes = Vec::new();
            put_again(&mut bytes, &plain, &new);
            let payload = frame(&bytes).unwrap();
            assert_eq!(key_of(payload), new.writes());
            assert_eq!(open(payload, &new).unwrap(), plain);
        }
    }
}
