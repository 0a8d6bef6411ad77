//! What the state keeps, what it bounds, and what it does with a store that is damaged.
//!
//! Damage is done to sled's real files; sled panics on some of it, which is seen in the output.

mod damage;
mod encrypted;

use std::fs;
use std::path::Path;

use chrono::{DateTime, TimeZone, Utc};

use super::*;
use crate::model::{ContentHash, Key, RecordKey, Table, Version};

fn now() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 1, 2, 3, 4, 5).unwrap()
}

fn options(generation: Option<u64>) -> Options {
    Options {
        ledger_records: 100,
        ..Options::at(now(), generation)
    }
}

/// No version is too far ahead.
const NEVER: Version = Version(i64::MAX);

fn open(dir: &Path, generation: Option<u64>) -> Opened {
    State::open(dir, &options(generation)).unwrap()
}

fn user(n: usize) -> RecordKey {
    RecordKey::new(Table::Users, Key::parse(&format!("user_{n}")).unwrap())
}

fn seen(version: i64) -> Seen {
    Seen {
        version: Version(version),
        deleted: version % 2 == 1,
        hash: ContentHash([version as u8; 16]),
    }
}

fn set_aside(dir: &Path) -> usize {
    fs::read_dir(dir)
        .unwrap()
        .filter(|entry| {
            let name = entry.as_ref().unwrap().file_name();
            name.to_str().unwrap().starts_with("sled.corrupt-")
        })
        .count()
}

#[test]
fn what_was_put_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path(), None);
    assert_eq!(first.rebuilt, None);
    first.state.put_cell("paused", Some(b"yes")).unwrap();
    let put = [(user(1), seen(10)), (user(2), seen(11))];
    first.state.ledger_put_many(&put, NEVER).unwrap();
    first.state.sync().unwrap();
    let generation = first.generation;
    drop(first);

    let second = open(dir.path(), Some(generation));
    assert_eq!(second.rebuilt, None);
    assert_eq!(second.generation, generation);
    let state = second.state;
    assert_eq!(state.get_cell("paused").unwrap().unwrap(), b"yes");
    assert_eq!(state.ledger_get(&user(1)), Some(seen(10)));
    assert_eq!(state.ledger_get(&user(2)), Some(seen(11)));
    let same_id = RecordKey::new(Table::Organizations, user(1).key);
    assert_eq!(state.ledger_get(&same_id), None);
    assert!(!state.failed());
}

#[test]
fn cells_change_hands_only_as_expected() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(dir.path(), None).state;
    assert!(state.compare_and_set("run/1", None, Some(b"a")).unwrap());
    assert!(!state.compare_and_set("run/1", None, Some(b"b")).unwrap());
    assert!(!state.compare_and_set("run/1", Some(b"x"), None).unwrap());
    assert!(
        state
            .compare_and_set("run/1", Some(b"a"), Some(b"c"))
            .unwrap()
    );
    state.put_cell("run/2", Some(b"d")).unwrap();
    state.put_cell("other", Some(b"e")).unwrap();
    let listed = state.cells("run/").unwrap();
    let expected = [("run/1", b"c"), ("run/2", b"d")];
    assert_eq!(
        listed,
        expected.map(|(name, value)| (name.to_owned(), value.to_vec()))
    );
    state.put_cell("run/2", None).unwrap();
    assert_eq!(state.get_cell("run/2").unwrap(), None);
}

#[test]
fn long_keys_and_values_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(dir.path(), None).state;
    let long_name = "n".repeat(MAX_KEY_BYTES + 1);
    let long = vec![0; MAX_VALUE_BYTES + 1];
    assert!(state.get_cell(&long_name).is_err());
    assert!(state.put_cell(&long_name, Some(b"")).is_err());
    assert!(state.put_cell("n", Some(&long)).is_err());
    let refused = state.compare_and_set("n", None, Some(&long)).unwrap_err();
    assert_eq!(refused.fault(), Fault::Record);
    assert!(!state.failed(), "a refusal is no failure of the disk");
    state.put_cell(&long_name[1..], Some(&long[1..])).unwrap();
}

#[test]
fn a_version_from_a_clock_far_ahead_does_not_raise_the_floor() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path(), None);
    let state = &opened.state;
    let horizon = Version(20_000);
    state
        .ledger_put_many(&[(user(0), seen(9_000_000))], horizon)
        .unwrap();
    for n in 1..1000 {
        let version = seen(10_000 + n as i64);
        state
            .ledger_put_many(&[(user(n), version)], horizon)
            .unwrap();
    }
    assert_eq!(state.ledger_get(&user(0)), None, "long forgotten");
    let floor = state.ledger_floor();
    assert!(floor > Version(10_000) && floor <= horizon, "{floor:?}");
}

#[test]
fn the_ledger_is_bounded_and_its_floor_covers_what_it_forgot() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path(), None);
    let state = &opened.state;
    assert_eq!(state.ledger_floor(), Version(0));
    for n in 0..1000 {
        // Versions come out of order, as they do.
        let version = 10_000 + n as i64 + if n % 7 == 0 { 40 } else { 0 };
        state
            .ledger_put_many(&[(user(n), seen(version))], NEVER)
            .unwrap();
        // Putting a record again takes no further room.
        state
            .ledger_put_many(&[(user(n), seen(version))], NEVER)
            .unwrap();
        let floor = state.ledger_floor();
        for earlier in [0, n / 2, n.saturating_sub(60), n.saturating_sub(30), n] {
            let version = 10_000 + earlier as i64 + if earlier % 7 == 0 { 40 } else { 0 };
            match state.ledger_get(&user(earlier)) {
                Some(found) => assert_eq!(found, seen(version)),
                None => assert!(
                    Version(version) <= floor,
                    "user_{earlier} is below {floor:?}"
                ),
            }
        }
        assert!(state.ledger_get(&user(n.saturating_sub(48))).is_some());
    }
    let kept = (0..1000)
        .filter(|n| state.ledger_get(&user(*n)).is_some())
        .count();
    assert!(kept <= 100, "{kept} kept");
    let floor = state.ledger_floor();
    let generation = opened.generation;
    drop(opened);

    let again = open(dir.path(), Some(generation)).state;
    assert_eq!(again.ledger_floor(), floor);
    let still = (0..1000).filter(|n| again.ledger_get(&user(*n)).is_some());
    assert_eq!(still.count(), kept);
}

#[test]
fn what_is_written_by_the_thousand_is_remembered_in_part_and_the_rest_is_declared_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(dir.path(), None).state;
    let all: Vec<_> = (0..90).map(|n| (user(n), seen(1000 + n as i64))).collect();
    for some in all.chunks(30) {
        state.ledger_put_some(some, NEVER).unwrap();
    }
    for (record, seen) in &all {
        match state.ledger_get(record) {
            Some(found) => assert_eq!(found, *seen),
            None => assert!(seen.version <= state.ledger_floor()),
        }
    }
    assert_eq!(state.ledger_get(&user(0)), Some(seen(1000)));
    assert_eq!(state.ledger_get(&user(89)), None);
    assert_eq!(state.ledger_floor(), Version(1089));
}

#[test]
fn a_ledger_of_the_older_form_is_declared_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path(), None);
    let generation = opened.generation;
    let inner = &opened.state.inner;
    let numbers = [7_i64, 1, 5_000, 4_000, 3_000];
    let head: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
    inner.cells.insert("ledger", head).unwrap();
    inner
        .db
        .open_tree("ledger.7")
        .unwrap()
        .insert("x", "y")
        .unwrap();
    drop(opened);

    let again = open(dir.path(), Some(generation));
    assert_eq!(again.rebuilt, None);
    assert_eq!(again.state.ledger_floor(), Version(5_000));
    let trees = again.state.inner.db.tree_names();
    assert!(!trees.iter().any(|name| **name == *b"ledger.7"));
}

#[test]
fn the_floor_is_never_lowered() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(dir.path(), None).state;
    state.raise_floor(Version(500)).unwrap();
    state.raise_floor(Version(400)).unwrap();
    assert_eq!(state.ledger_floor(), Version(500));
}

#[test]
fn a_second_opener_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path(), None);
    let refused = State::open(dir.path(), &options(None)).err();
    assert!(matches!(refused, Some(StateError::InUse(_))));
    first.state.put_cell("a", Some(b"b")).unwrap();
    assert_eq!(set_aside(dir.path()), 0);
}

#[test]
fn an_emptied_or_foreign_store_is_not_taken_for_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path(), None);
    let generation = first.generation;
    drop(first);
    fs::remove_dir_all(dir.path().join("sled")).unwrap();
    let emptied = open(dir.path(), Some(generation));
    assert_eq!(emptied.rebuilt, Some(Reason::Emptied));
    assert_eq!(
        emptied.state.ledger_floor(),
        Version(now().timestamp_millis()),
        "nothing said before the loss is believed"
    );
    let generation = emptied.generation;
    drop(emptied);

    let foreign = open(dir.path(), Some(generation ^ 1));
    assert!(matches!(foreign.rebuilt, Some(Reason::Foreign { .. })));
    assert_ne!(foreign.generation, generation);
    assert_eq!(set_aside(dir.path()), 1);
}

/// A store with something in it, closed. Answers its generation.
fn filled(dir: &Path) -> u64 {
    let opened = open(dir, None);
    for n in 0..40 {
        opened
            .state
            .ledger_put_many(&[(user(n), seen(n as i64))], NEVER)
            .unwrap();
    }
    opened.state.sync().unwrap();
    opened.generation
}

#[test]
fn files_are_for_the_owner_only_and_small_values_stay_out_of_blobs() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let store = dir.path().join("sled");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&store), 0o700);
    assert_eq!(mode(&store.join("db")), 0o600);
    assert_eq!(fs::read_dir(store.join("blobs")).unwrap().count(), 0);
}
