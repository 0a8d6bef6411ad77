//! Frames come back as they went in, and nothing else comes back at all.
//!
//! Every kind of payload, its bounds, every flipped bit of one frame, and arbitrary bytes.

use proptest::prelude::*;

use super::*;
use crate::store::journal::frame::frame;
use crate::store::journal::tests::{delivery, request};

fn sealed(entry: &NewEntry, seq: u64) -> Vec<u8> {
    let mut bytes = encode_entry(entry, &Keyring::default()).unwrap();
    seal_entry(&mut bytes, seq, &Keyring::default());
    bytes
}

#[test]
fn an_entry_comes_back_as_it_went_in() {
    let mut full = delivery("msg_1", "user_1", b"{\"a\":1}");
    full.deleted = true;
    full.related = Related {
        organization: Key::parse("org_1"),
        user: Key::parse("user_1"),
    };
    let mut bare = request("user_2");
    bare.record = None;
    for entry in [full, bare, request("user_3")] {
        let bytes = sealed(&entry, 7);
        let Some(Payload::Entry(head)) = decode(frame(&bytes).unwrap()) else {
            panic!("not an entry");
        };
        assert_eq!(
            head.entry(),
            Some(Entry {
                seq: 7,
                content: entry
            })
        );
    }
}

#[test]
fn notes_come_back_as_they_went_in() {
    let settled = vec![
        Settled {
            seq: 1,
            state: 3,
            reason: None,
        },
        Settled {
            seq: u64::MAX,
            state: 255,
            reason: Some("superseded".into()),
        },
    ];
    let parked = Parked {
        seq: 9,
        attempts: 4,
        code: "rejected".into(),
        reason: "the mutation refuses this row".into(),
        at_ms: -1,
    };
    let mut bytes = Vec::new();
    let keys = Keyring::default();
    put_settle(&mut bytes, &settled, &keys);
    let park_at = bytes.len();
    put_park(&mut bytes, &parked, &keys);
    let unpark_at = bytes.len();
    put_unpark(&mut bytes, 9, &keys);
    let read = |at: usize| decode(frame(&bytes[at..]).unwrap());
    assert_eq!(read(0), Some(Payload::Settle(settled)));
    assert_eq!(read(park_at), Some(Payload::Park(parked)));
    assert_eq!(read(unpark_at), Some(Payload::Unpark(9)));
}

#[test]
fn long_reasons_are_cut_between_characters() {
    let mut bytes = Vec::new();
    put_park(
        &mut bytes,
        &Parked {
            seq: 1,
            attempts: 1,
            code: "x".repeat(100).into(),
            reason: "é".repeat(300).into(),
            at_ms: 0,
        },
        &Keyring::default(),
    );
    let Some(Payload::Park(parked)) = decode(frame(&bytes).unwrap()) else {
        panic!("not a park frame");
    };
    assert_eq!(parked.code.len(), Parked::MAX_CODE_BYTES);
    assert_eq!(&*parked.reason, "é".repeat(Parked::MAX_REASON_BYTES / 2));
}

#[test]
fn what_is_too_large_is_not_encoded() {
    let mut entry = delivery("msg_1", "user_1", b"");
    entry.body = vec![0; NewEntry::MAX_BODY_BYTES].into();
    let bytes = sealed(&entry, 1);
    assert!(frame(&bytes).is_some());
    entry.body = vec![0; NewEntry::MAX_BODY_BYTES + 1].into();
    assert_eq!(encode_entry(&entry, &Keyring::default()), None);
    let mut named = delivery("msg_1", "user_1", b"");
    if let Cause::Delivery { event_type, .. } = &mut named.cause {
        *event_type = "x".repeat(256).into();
    }
    assert_eq!(encode_entry(&named, &Keyring::default()), None);
}

#[test]
fn a_length_above_the_bound_is_damage() {
    let mut bytes = vec![0; 64];
    bytes[..4].copy_from_slice(&(MAX_PAYLOAD_BYTES as u32 + 1).to_le_bytes());
    assert_eq!(frame(&bytes), None);
    assert_eq!(frame(&[0; 64]), None, "zeros are no frame");
}

#[test]
fn every_flipped_bit_is_noticed() {
    let bytes = sealed(&delivery("msg_1", "user_1", b"{\"some\":\"body\"}"), 3);
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(frame(&damaged), None, "bit {bit}");
    }
}

proptest! {
    #[test]
    fn decoding_anything_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..400), kind in 0u8..7) {
        let mut payload = bytes.clone();
        if let Some(first) = payload.first_mut() {
            *first = kind;
        }
        if let Some(Payload::Entry(head)) = decode(&payload) {
            let _ = head.entry();
        }
        let _ = frame(&bytes);
    }
}
