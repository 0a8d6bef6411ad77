//! What becomes of a store that is damaged, or that sled hangs on.
//!
//! Damage is done to sled's real files. A hang is real too: sled waits for a pipe that nobody writes into, and the
//! threads that wait there end with the test's process.

use super::*;

#[test]
fn whatever_happens_to_the_files_the_state_opens_and_works() {
    let original = tempfile::tempdir().unwrap();
    let generation = filled(original.path());
    let db = fs::read(original.path().join("sled/db")).unwrap();
    let written = db.iter().rposition(|byte| *byte != 0).unwrap();
    let mut damages: Vec<(String, Vec<u8>)> = vec![
        ("empty".into(), Vec::new()),
        ("half".into(), db[..db.len() / 2].to_vec()),
        ("short".into(), db[..written].to_vec()),
        ("garbage".into(), vec![0xa5; db.len()]),
        ("zeros".into(), vec![0; db.len()]),
    ];
    for n in 0..12 {
        let mut bytes = db.clone();
        let at = written * n / 12;
        bytes[at] ^= 1 << (n % 8);
        damages.push((format!("bit in byte {at}"), bytes));
    }
    for (what, bytes) in damages {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("sled");
        fs::create_dir(&store).unwrap();
        fs::copy(original.path().join("sled/conf"), store.join("conf")).unwrap();
        fs::write(store.join("db"), bytes).unwrap();
        let opened = open(dir.path(), Some(generation));
        if opened.rebuilt.is_some() {
            assert_ne!(opened.generation, generation, "{what}");
            assert_eq!(opened.state.ledger_floor().ms(), now().timestamp_millis());
        }
        opened.state.put_cell("a", Some(b"b")).unwrap();
        opened.state.sync().unwrap();
        let generation = opened.generation;
        drop(opened);
        let again = open(dir.path(), Some(generation));
        assert_eq!(again.rebuilt, None, "{what}");
        assert_eq!(again.state.get_cell("a").unwrap().unwrap(), b"b");
    }
}

#[test]
fn a_leftover_of_an_interrupted_snapshot_does_not_stop_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let generation = filled(dir.path());
    fs::write(
        dir.path().join("sled/snap.0000000000000001.generating"),
        b"",
    )
    .unwrap();
    let opened = open(dir.path(), Some(generation));
    opened.state.put_cell("a", Some(b"b")).unwrap();
}

/// A store on which sled waits for ever: for somebody who writes into a pipe.
fn hung(dir: &Path) -> u64 {
    let generation = filled(dir);
    let conf = dir.join("sled/conf");
    fs::remove_file(&conf).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &conf, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    generation
}

#[test]
fn a_store_that_hangs_is_nobodys_until_the_process_has_ended_and_is_set_aside_in_the_third() {
    let dir = tempfile::tempdir().unwrap();
    let generation = hung(dir.path());
    let impatient = Options {
        patience: std::time::Duration::from_millis(100),
        ..options(Some(generation))
    };
    for _ in 0..2 {
        let refused = State::open(dir.path(), &impatient).err();
        assert!(matches!(refused, Some(StateError::Hangs(_))), "{refused:?}");
        assert_eq!(
            set_aside(dir.path()),
            0,
            "somebody may still be at work on it"
        );
        assert!(dir.path().join("sled/conf").exists());
    }
    let opened = State::open(dir.path(), &impatient).unwrap();
    let Some(Reason::Damaged { message, set_aside }) = opened.rebuilt else {
        panic!("{:?}", opened.rebuilt);
    };
    assert!(message.contains("hung 2 times"), "{message}");
    assert!(set_aside.join("db").exists());
    let generation = opened.generation;
    drop(opened.state);
    let again = State::open(dir.path(), &options(Some(generation))).unwrap();
    assert_eq!((again.rebuilt, again.generation), (None, generation));
}

#[test]
fn a_store_that_hung_once_and_opens_again_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let generation = filled(dir.path());
    for _ in 0..3 {
        // In the process before this one.
        hangs::Hangs::note(dir.path());
        let opened = open(dir.path(), Some(generation));
        assert_eq!(opened.rebuilt, None);
        assert_eq!(opened.state.ledger_get(&user(1)), Some(seen(1)));
    }
}

#[test]
fn a_store_that_somebody_has_open_is_waited_for_and_never_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let generation = filled(dir.path());
    // Whoever has filled it may be letting go of it still.
    let held = loop {
        match sled::open(dir.path().join("sled")) {
            Ok(held) => break held,
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(1)),
        }
    };
    let refused = State::open(dir.path(), &options(Some(generation))).err();
    assert!(matches!(refused, Some(StateError::Io(_))), "{refused:?}");
    assert_eq!(set_aside(dir.path()), 0);
    let lets_go = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(100));
        drop(held);
    });
    let opened = open(dir.path(), Some(generation));
    assert_eq!(opened.rebuilt, None);
    assert_eq!(opened.state.ledger_get(&user(1)), Some(seen(1)));
    lets_go.join().unwrap();
}

#[test]
fn few_damaged_stores_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..6u32 {
        filled(dir.path());
        fs::write(dir.path().join("sled/conf"), b"no configuration").unwrap();
        let later = Options {
            now: now() + chrono::Duration::seconds(i64::from(n / 2)),
            ..options(None)
        };
        let opened = State::open(dir.path(), &later).unwrap();
        let Some(Reason::Damaged { set_aside, .. }) = opened.rebuilt else {
            panic!("{:?}", opened.rebuilt);
        };
        assert!(set_aside.join("db").exists());
    }
    assert_eq!(set_aside(dir.path()), 3);
}
