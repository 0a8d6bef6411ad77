//! What is encrypted comes back under its own name and key, and under no other.

use super::*;

fn ring(keys: &[u8]) -> Keyring {
    let keys: Vec<[u8; KEY_BYTES]> = keys.iter().map(|key| [*key; KEY_BYTES]).collect();
    Keyring::new(&keys)
}

const CELL: Name<'_> = Name::Value {
    tree: b"cells",
    key: b"paused",
};

#[test]
fn a_record_comes_back_under_its_name_and_no_other() {
    let keys = ring(&[1]);
    let kept = keys.encrypt(CELL, b"ada@post.example").into_owned();
    assert!(!kept.windows(3).any(|part| part == b"ada"));
    assert_eq!(&*keys.decrypt(CELL, &kept).unwrap(), b"ada@post.example");
    assert_eq!(key_of(&kept), keys.writes());
    for other in [
        Name::Value {
            tree: b"cell",
            key: b"spaused",
        },
        Name::Value {
            tree: b"cells",
            key: b"pauses",
        },
        Name::File("cellspaused"),
        Name::Line {
            file: "cells",
            at: 0,
        },
        Name::Frame,
    ] {
        assert_eq!(
            keys.decrypt(other, &kept),
            Err(Unreadable::Changed),
            "{other:?}"
        );
    }
    assert_ne!(kept, keys.encrypt(CELL, b"ada@post.example").into_owned());
}

#[test]
fn every_flipped_bit_is_noticed() {
    let keys = ring(&[1]);
    let kept = keys.encrypt(CELL, b"some content").into_owned();
    for bit in MARK.len() * 8..kept.len() * 8 {
        let mut damaged = kept.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(keys.decrypt(CELL, &damaged).is_err(), "bit {bit}");
    }
}

#[test]
fn the_first_key_writes_and_all_of_them_read() {
    let (old, both, new) = (ring(&[1]), ring(&[2, 1]), ring(&[2]));
    let kept = old.encrypt(CELL, b"x").into_owned();
    assert_eq!(&*both.decrypt(CELL, &kept).unwrap(), b"x");
    let missing = Unreadable::UnknownKey(old.writes().unwrap());
    assert_eq!(new.decrypt(CELL, &kept), Err(missing));
    assert_eq!(Keyring::default().decrypt(CELL, &kept), Err(missing));
    let kept = both.encrypt(CELL, b"x").into_owned();
    assert_eq!(&*new.decrypt(CELL, &kept).unwrap(), b"x");
    assert_eq!(both.ids(), [new.writes().unwrap(), old.writes().unwrap()]);
}

#[test]
fn without_a_key_everything_stays_as_it_is_and_stays_readable_with_one() {
    let none = Keyring::default();
    assert_eq!(&*none.encrypt(CELL, b"x"), b"x");
    assert_eq!(none.encrypt_line("a", 0, b"{}"), b"{}\n");
    assert_eq!(&*ring(&[1]).decrypt(CELL, b"x").unwrap(), b"x");
    assert_eq!(&*ring(&[1]).decrypt_line("a", 0, b"{}").unwrap(), b"{}");
    assert_eq!((key_of(b"x"), key_of_line(b"{}")), (None, None));
}

#[test]
fn a_line_is_bound_to_its_file_and_place() {
    let keys = ring(&[1]);
    let mut line = keys.encrypt_line("runs/1/a", 70, b"{\"a\":1}");
    assert_eq!(line.pop(), Some(b'\n'));
    assert!(!line.contains(&b'\n'));
    assert_eq!(key_of_line(&line), keys.writes());
    let read = |file, at| keys.decrypt_line(file, at, &line).map(Cow::into_owned);
    assert_eq!(read("runs/1/a", 70).unwrap(), b"{\"a\":1}");
    assert_eq!(read("runs/1/a", 71), Err(Unreadable::Changed));
    assert_eq!(read("runs/1/b", 70), Err(Unreadable::Changed));
}

#[test]
fn a_proof_is_for_one_record_and_one_number() {
    let keys = ring(&[1]);
    let head = |content: &[u8]| {
        let mut bytes = content.to_vec();
        keys.encrypt_in_place(Name::Frame, &mut bytes).unwrap()
    };
    let (one, two) = (head(b"same"), head(b"same"));
    let proof = keys.prove(&one, 7).unwrap();
    assert_eq!(keys.proves(&one, 7, &proof), Ok(()));
    assert_eq!(keys.proves(&one, 8, &proof), Err(Unreadable::Changed));
    assert_eq!(keys.proves(&two, 7, &proof), Err(Unreadable::Changed));
    assert_eq!(keys.proves(&one, 7, &proof[..15]), Err(Unreadable::Changed));
}

#[test]
fn neither_key_nor_content_is_shown() {
    let keys = ring(b"k");
    let shown = format!("{keys:?} {:?}", keys.writes());
    assert!(
        !shown.contains("6b6b6b") && !shown.contains("107, 107"),
        "{shown}"
    );
    let id = keys.writes().unwrap();
    assert_eq!(KeyId::parse(&id.to_string()), Some(id));
    assert_eq!(serde_json::to_string(&id).unwrap(), format!("\"{id}\""));
    for wrong in ["", "0011", "00112233445566zz", "+0112233445566778"] {
        assert_eq!(KeyId::parse(wrong), None, "{wrong}");
    }
}
