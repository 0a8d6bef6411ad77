//! The state with keys: cells by their content, keys that are missing, values in another one's place.
//!
//! What is swapped is swapped in sled's own files.

use super::*;
use crate::store::crypt::Keyring;

fn ring(keys: &[u8]) -> Keyring {
    let keys: Vec<[u8; 32]> = keys.iter().map(|key| [*key; 32]).collect();
    Keyring::new(&keys)
}

fn keyed(keys: &Keyring, generation: Option<u64>) -> Options {
    Options {
        keys: keys.clone(),
        ..Options::at(DateTime::from_timestamp_millis(1_000).unwrap(), generation)
    }
}

#[test]
fn with_a_key_cells_are_compared_and_listed_by_their_content() {
    let dir = tempfile::tempdir().unwrap();
    let plain = State::open(dir.path(), &keyed(&ring(&[]), None)).unwrap();
    plain.state.put_cell("run/a", Some(b"plain")).unwrap();
    let generation = Some(plain.generation);
    drop(plain);
    let keys = ring(&[1]);
    let opened = State::open(dir.path(), &keyed(&keys, generation)).unwrap();
    assert_eq!(opened.rebuilt, None);
    let state = &opened.state;
    state.put_cell("run/b", Some(b"one")).unwrap();
    let listed = state.cells("run/").unwrap();
    assert_eq!(
        listed,
        [
            ("run/a".into(), b"plain".to_vec()),
            ("run/b".into(), b"one".to_vec())
        ]
    );
    let swap = |old: Option<&[u8]>, new: Option<&[u8]>| state.compare_and_set("run/b", old, new);
    assert!(!swap(Some(b"two"), Some(b"three")).unwrap());
    assert!(!swap(None, Some(b"three")).unwrap());
    assert!(swap(Some(b"one"), Some(b"two")).unwrap());
    assert_eq!(
        state.get_cell("run/b").unwrap().as_deref(),
        Some(&b"two"[..])
    );
    assert!(swap(Some(b"two"), None).unwrap());
    assert!(swap(None, Some(b"new")).unwrap());
}

#[test]
fn a_missing_key_sets_nothing_aside_and_a_swapped_cell_does() {
    let dir = tempfile::tempdir().unwrap();
    let opened = State::open(dir.path(), &keyed(&ring(&[1]), None)).unwrap();
    let number = opened.generation;
    let generation = Some(number);
    for (cell, content) in [("pause", &b"on"[..]), ("pin", b"ins_1")] {
        opened.state.put_cell(cell, Some(content)).unwrap();
    }
    drop(opened);
    for keys in [ring(&[2]), ring(&[])] {
        let refused = State::open(dir.path(), &keyed(&keys, generation)).err();
        assert!(
            matches!(refused, Some(StateError::UnknownKey(_))),
            "{refused:?}"
        );
    }
    let opened = State::open(dir.path(), &keyed(&ring(&[2, 1]), generation)).unwrap();
    assert_eq!((opened.rebuilt.clone(), opened.generation), (None, number));
    drop(opened);
    let db = sled::Config::new()
        .path(dir.path().join("sled"))
        .open()
        .unwrap();
    let cells = db.open_tree("cells").unwrap();
    let (pause, pin) = (cells.get("pause").unwrap(), cells.get("pin").unwrap());
    cells.insert("pause", pin.unwrap()).unwrap();
    cells.insert("pin", pause.unwrap()).unwrap();
    db.flush().unwrap();
    drop((cells, db));
    let opened = State::open(dir.path(), &keyed(&ring(&[1]), generation)).unwrap();
    assert!(
        matches!(opened.rebuilt, Some(Reason::Damaged { .. })),
        "{:?}",
        opened.rebuilt
    );
}
