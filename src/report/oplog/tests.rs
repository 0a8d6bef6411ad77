//! The log on a disk: kills, torn ends, room, tampering, keys.

mod handed;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use proptest::prelude::*;
use serde_json::Value;
use tempfile::TempDir;

use super::{
    book::Book,
    files::Files,
    note::{Note, Place},
    *,
};
use crate::{
    model::{Asked, DeliveryId, Key, RecordKey, Table},
    store::crypt::Keyring,
};

const MIB: u64 = 1 << 20;
const NOON: i64 = 1_772_366_400_000;

struct Disk {
    dir: TempDir,
    keys: Keyring,
    keep: u64,
    alerts: Alerts,
}

impl Disk {
    fn new() -> Disk {
        Disk {
            dir: tempfile::tempdir().unwrap(),
            keys: Keyring::default(),
            keep: 64 * MIB,
            alerts: Alerts::default(),
        }
    }

    fn open(&self) -> (Book, Found) {
        Book::open(Files::of(self.dir.path(), &self.keys), self.keep).unwrap()
    }

    fn log(&self) -> OperationsLog {
        let options = Options {
            keep: self.keep,
            keys: self.keys.clone(),
            alerts: self.alerts.clone(),
            now_ms: || NOON,
        };
        OperationsLog::open(self.dir.path(), options).unwrap()
    }

    fn verify(&self) -> Verified {
        self.reader().verify().unwrap()
    }

    fn reader(&self) -> Reader {
        Reader::look(self.dir.path(), &self.keys)
    }

    fn entries(&self, key: Option<&str>) -> Vec<Value> {
        let wanted = Wanted {
            key: key.and_then(Key::parse),
            since_ms: None,
            limit: MOST,
        };
        let found = self.reader().newest(&wanted).unwrap();
        found
            .iter()
            .map(|one| serde_json::from_str(one.get()).unwrap())
            .collect()
    }

    /// Segments, oldest first.
    fn segments(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(self.dir.path().join("oplog")).unwrap();
        let paths = files.map(|file| file.unwrap().path());
        let mut found: Vec<PathBuf> = paths
            .filter(|path| path.extension().is_some_and(|one| one == "ndjson"))
            .collect();
        found.sort();
        found
    }
}

fn note(key: &str) -> Note {
    let asked = Asked::Delivery {
        id: DeliveryId::parse("msg_1").unwrap(),
    };
    let record = RecordKey::new(Table::Users, Key::parse(key).unwrap());
    Note::new(NOON, Place::Convex, asked, "upsert", "updated").about(record)
}

fn append(book: &mut Book, entries: std::ops::Range<u64>) {
    for n in entries {
        let note = note(&format!("user_{n}"));
        book.append(|lines| lines.note("2026-03-01T12:00:00.000Z", &note))
            .unwrap();
    }
    book.write().unwrap();
}

fn add_to(path: &Path, bytes: &[u8]) {
    let mut all = fs::read(path).unwrap();
    all.extend_from_slice(bytes);
    fs::write(path, all).unwrap();
}

#[test]
fn what_was_written_outlives_a_kill_and_a_torn_end_is_cut_off_and_told() {
    let disk = Disk::new();
    let (mut book, found) = disk.open();
    assert_eq!(found, Found::default());
    append(&mut book, 0..5);
    // As after a kill: nothing was synced, nothing was closed.
    drop(book);
    add_to(&disk.segments()[0], b"{\"n\":6,\"at\":\"2026");
    let torn = disk.verify();
    assert!(torn.ok, "{torn:?}");
    assert_eq!((torn.entries, torn.unfinished_bytes), (5, 17));
    let (mut book, found) = disk.open();
    assert_eq!((found.torn_bytes, found.damaged), (17, false));
    append(&mut book, 5..7);
    book.close().unwrap();
    let whole = disk.verify();
    assert_eq!((whole.ok, whole.entries, whole.last.n), (true, 7, 7));
    assert_eq!(whole.unfinished_bytes, 0);
}

#[test]
fn the_oldest_entries_give_way_and_the_chain_still_holds() {
    let disk = Disk {
        keep: MIB,
        ..Disk::new()
    };
    for round in 0..4 {
        let (mut book, found) = disk.open();
        assert_eq!(found, Found::default(), "round {round}");
        append(&mut book, round * 4_000..(round + 1) * 4_000);
        book.close().unwrap();
        drop(book);
        let verified = disk.verify();
        assert!(verified.ok, "{verified:?}");
        assert_eq!(verified.last.n, (round + 1) * 4_000);
        assert_eq!(verified.removed + verified.entries, verified.last.n);
    }
    let bytes: u64 = disk
        .segments()
        .iter()
        .map(|path| fs::metadata(path).unwrap().len())
        .sum();
    assert!((MIB * 3 / 4..=MIB).contains(&bytes), "{bytes}");
    let verified = disk.verify();
    assert!(verified.removed > 10_000, "{verified:?}");
    // The first segment that is left, taken away by somebody else.
    fs::remove_file(&disk.segments()[0]).unwrap();
    let broken = disk.verify().broken.unwrap();
    assert_eq!(broken.n, verified.removed + 1, "{broken:?}");
}

#[test]
fn what_somebody_changes_is_found_at_its_entry_and_stays_to_be_found() {
    let disk = Disk::new();
    let (mut book, _) = disk.open();
    append(&mut book, 0..100);
    book.close().unwrap();
    drop(book);
    let path = &disk.segments()[0];
    let sound = fs::read_to_string(path).unwrap();
    let lines: Vec<&str> = sound.lines().collect();
    let without = |n: usize| {
        let kept = lines.iter().enumerate().filter(|(at, _)| *at != n - 1);
        kept.map(|(_, line)| format!("{line}\n"))
            .collect::<String>()
    };
    for (n, tampered) in [
        (41, sound.replace("\"user_40\"", "\"user_99\"")),
        (100, sound.replace("\"user_99\"", "\"user_98\"")),
        (41, without(41)),
        (100, without(100)),
        (1, without(1)),
    ] {
        fs::write(path, tampered).unwrap();
        let broken = disk.verify().broken.unwrap();
        assert_eq!(broken.n, n, "{broken:?}");
    }
    // The next start goes on behind it and covers nothing up.
    fs::write(path, sound.replace("\"user_40\"", "\"user_99\"")).unwrap();
    let (mut book, found) = disk.open();
    assert!(found.damaged);
    append(&mut book, 100..110);
    book.close().unwrap();
    drop(book);
    assert_eq!(disk.verify().broken.unwrap().n, 41);
    assert_eq!(disk.entries(Some("user_105")).len(), 1);
    assert_eq!(disk.entries(Some("user_105"))[0]["n"], 106);
}

#[test]
fn an_end_that_was_cut_off_is_found() {
    let disk = Disk::new();
    let (mut book, _) = disk.open();
    append(&mut book, 0..10);
    book.close().unwrap();
    drop(book);
    fs::remove_file(&disk.segments()[0]).unwrap();
    assert_eq!(disk.verify().broken.unwrap().n, 1);
    let (mut book, found) = disk.open();
    assert!(found.damaged);
    append(&mut book, 10..12);
    drop(book);
    let verified = disk.verify();
    assert_eq!(verified.broken.unwrap().n, 1);
    assert_eq!(disk.entries(None)[0]["n"], 11, "no number is used twice");
}

#[tokio::test]
async fn a_log_that_can_neither_be_opened_nor_set_aside_takes_nothing_and_holds_nobody_up() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = dir.path().join("file");
    fs::write(&nowhere, "x").unwrap();
    let alerts = Alerts::default();
    let options = Options {
        keep: MIB,
        keys: Keyring::default(),
        alerts: alerts.clone(),
        now_ms: || NOON,
    };
    let log = OperationsLog::open_or_begin(&nowhere, options);
    assert!(alerts.is_raised("oplog_failed"));
    log.note(note("user_1")).await;
    log.note_now(note("user_2"));
    log.written().await;
    log.close().await;
    assert!(alerts.is_raised("oplog_failed"), "until the next start");
}

#[test]
fn files_are_the_owners_alone_and_nothing_is_plain_under_a_key() {
    let keys = Keyring::new([&[7; 32]]);
    let disk = Disk {
        keys: keys.clone(),
        ..Disk::new()
    };
    let (mut book, _) = disk.open();
    append(&mut book, 0..50);
    book.close().unwrap();
    drop(book);
    let dir = disk.dir.path().join("oplog");
    assert_eq!(
        fs::metadata(&dir).unwrap().permissions().mode() & 0o777,
        0o700
    );
    for file in fs::read_dir(&dir).unwrap() {
        let path = file.unwrap().path();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
        assert!(
            !text.contains("user_1") && !text.contains("\"n\""),
            "{path:?}"
        );
    }
    assert_eq!(disk.entries(Some("user_7")).len(), 1);
    // A torn end under a key.
    let bytes = fs::read(&disk.segments()[0]).unwrap();
    add_to(&disk.segments()[0], &bytes[..40]);
    let (mut book, found) = disk.open();
    assert_eq!((found.torn_bytes, found.damaged), (40, false));
    append(&mut book, 50..51);
    drop(book);
    assert_eq!(disk.verify().entries, 51);
    // Without the key nothing is said of anybody.
    let blind = Reader::look(disk.dir.path(), &Keyring::default());
    let found = blind.verify().unwrap();
    assert!(!found.ok && found.broken.unwrap().problem.contains("cannot be read"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn whatever_a_kill_leaves_the_chain_holds_after_the_next_start(
        rounds in prop::collection::vec((0_u64..200, any::<bool>(), 0_usize..600, any::<bool>()), 1..8),
        encrypted in any::<bool>(),
    ) {
        let mut disk = Disk { keep: MIB / 4, ..Disk::new() };
        if encrypted {
            disk.keys = Keyring::new([&[3; 32]]);
        }
        let (mut written, mut synced) = (0, 0);
        for (entries, syncs, torn, closes) in rounds {
            let (mut book, found) = disk.open();
            prop_assert!(!found.damaged);
            append(&mut book, written..written + entries);
            written += entries;
            if syncs {
                book.sync().unwrap();
                synced = written;
            }
            if closes {
                book.close().unwrap();
                synced = written;
            }
            drop(book);
            if let Some(last) = disk.segments().last() {
                // A power cut takes some of the end that was not synced.
                let bytes = fs::read(last).unwrap();
                if synced < written && torn > 0 {
                    fs::write(last, &bytes[..bytes.len() - torn.min(bytes.len() / 2)]).unwrap();
                    let (book, found) = disk.open();
                    drop(book);
                    let there = disk.verify();
                    if found.damaged {
                        // What was cut off reached into what a new segment had synced.
                        prop_assert!(!there.ok);
                        return Ok(());
                    }
                    written = there.last.n.max(there.removed);
                    synced = synced.min(written);
                } else if torn > 0 {
                    add_to(last, &bytes[..torn.min(bytes.len())]);
                    let whole = bytes[..torn.min(bytes.len())].contains(&b'\n');
                    prop_assert!(whole || disk.verify().ok);
                    let (book, _) = disk.open();
                    drop(book);
                }
            }
            let verified = disk.verify();
            prop_assert!(verified.ok, "{:?}", verified);
            prop_assert_eq!(verified.last.n, written);
            prop_assert_eq!(verified.removed + verified.entries, written);
        }
    }
}
