//! A directory with something of everything is looked through, rekeyed, cut off at every step, and migrated.
//!
//! Everything in it has a word in it that occurs nowhere else, so that what is plain can be found.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use chrono::DateTime;

use super::*;
use crate::model::{ContentHash, DeliveryId, Key, RecordKey, Table, Version};
use crate::store::crypt::{Keyring, Name};
use crate::store::directory;
use crate::store::journal::{Cause, Journal, NewEntry, Options, Parked, Related, Settled};
use crate::store::state::{Seen, State};
use crate::store::state_file::{LAYOUT, StateFile, recorded};

const WORD: &str = "Qu1xplanted";
const ENTRIES: u64 = 24;

fn ring(keys: &[u8]) -> Keyring {
    let keys: Vec<[u8; 32]> = keys.iter().map(|key| [*key; 32]).collect();
    Keyring::new(&keys)
}

fn entry(n: u64) -> NewEntry {
    NewEntry {
        received_ms: 1,
        cause: Cause::Delivery {
            id: DeliveryId::parse(&format!("msg_{n}")).unwrap(),
            event_type: "user.updated".into(),
        },
        record: Some(RecordKey::new(Table::Users, Key::parse("user_1").unwrap())),
        version: Version(1),
        deleted: false,
        fingerprint: n,
        related: Related::default(),
        body: Bytes::from(format!("{{\"name\":\"{WORD} {n} {}\"}}", "x".repeat(400))),
    }
}

fn journal_options(keys: &Keyring) -> Options {
    Options {
        segment_bytes: 4096,
        keys: keys.clone(),
        ..Options::default()
    }
}

fn state_options(dir: &Path, keys: &Keyring) -> state::Options {
    let now = DateTime::from_timestamp_millis(1_700_000_000_000).unwrap();
    let known = StateFile::load(dir).unwrap().found();
    state::Options {
        keys: keys.clone(),
        ..state::Options::at(now, known.map(|file| file.generation))
    }
}

/// Something of everything, under the first of the keys.
async fn fill(dir: &Path, keys: &Keyring) {
    let opened = Journal::open(&dir.join(journal::DIR), journal_options(keys)).unwrap();
    for n in 1..=ENTRIES {
        opened.journal.append(entry(n)).await.unwrap();
    }
    let settled = |seq| Settled {
        seq,
        state: 1,
        reason: Some(WORD.into()),
    };
    opened.journal.settle((2..=4).map(settled));
    opened.journal.park(Parked {
        seq: 5,
        attempts: 3,
        code: "rejected".into(),
        reason: WORD.into(),
        at_ms: 5,
    });
    opened.journal.close().await.unwrap();
    let derived = State::open(&dir.join(state::DIR), &state_options(dir, keys)).unwrap();
    for cell in ["paused", "run/audit", "cursor"] {
        derived.state.put_cell(cell, Some(WORD.as_bytes())).unwrap();
    }
    let seen = |n| {
        let key = RecordKey::new(Table::Users, Key::parse(&format!("user_{n}")).unwrap());
        let hash = ContentHash([n; 16]);
        let deleted = false;
        (
            key,
            Seen {
                version: Version(1),
                deleted,
                hash,
            },
        )
    };
    let all: Vec<_> = (1..50).map(seen).collect();
    derived.state.ledger_put_many(&all, Version(9)).unwrap();
    derived.state.sync().unwrap();
    let known = StateFile::load(dir).unwrap().found();
    let file = StateFile {
        layout: LAYOUT,
        generation: derived.generation,
        highest_seq: ENTRIES,
        instance: None,
        keys: recorded(
            known
                .as_ref()
                .map(|file| file.keys.as_slice())
                .or(Some(&[])),
            keys,
        ),
    };
    file.store(dir, keys).unwrap();
    drop(derived);
    for name in ["plans/one.ndjson", "plans/two.ndjson", "reports/shown.json"] {
        let kept = keys.encrypt(Name::File(name), WORD.as_bytes()).into_owned();
        write(dir, name, &kept);
    }
    for name in ["reports/shown.ndjson", "runs/1/users"] {
        let mut text = Vec::new();
        for n in 0..3 {
            let line = format!("{{\"n\":\"{WORD} {n}\"}}");
            text.extend(keys.encrypt_line(name, text.len() as u64, line.as_bytes()));
        }
        write(dir, name, &text);
    }
    write(dir, "reports/masked.json", b"{}");
    private(dir);
}

/// What the daemon's own mask does: sled makes its files as the process's mask allows.
fn private(dir: &Path) {
    directory::make_own(dir).unwrap();
}

fn write(dir: &Path, name: &str, text: &[u8]) {
    use std::os::unix::fs::PermissionsExt;
    let path = dir.join(name);
    directory::make_private(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let (mut left, mut found) = (vec![dir.to_owned()], Vec::new());
    while let Some(path) = left.pop() {
        match path.is_dir() {
            true => left.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            ),
            false => found.push(path),
        }
    }
    found
}

/// The files that hold these bytes.
fn holding(dir: &Path, bytes: &[u8]) -> Vec<PathBuf> {
    let holds = |path: &PathBuf| {
        let text = fs::read(path).unwrap();
        text.windows(bytes.len()).any(|part| part == bytes)
    };
    files(dir).into_iter().filter(holds).collect()
}

/// Everything that was put in can be read with these keys.
fn all_is_there(dir: &Path, keys: &Keyring) {
    let opened = Journal::open(&dir.join(journal::DIR), journal_options(keys)).unwrap();
    assert!(!opened.recovered.damage.may_have_lost());
    assert_eq!(opened.recovered.pending.len() as u64, ENTRIES - 4);
    assert_eq!(&*opened.recovered.parked[0].parked.reason, WORD);
    for meta in &opened.recovered.pending {
        let read = opened.journal.read(meta.position).unwrap();
        assert_eq!(read.content, entry(meta.seq));
    }
    let derived = State::open(&dir.join(state::DIR), &state_options(dir, keys)).unwrap();
    assert_eq!(derived.rebuilt, None);
    let paused = derived.state.get_cell("paused").unwrap();
    assert_eq!(paused.as_deref(), Some(WORD.as_bytes()));
    let key = RecordKey::new(Table::Users, Key::parse("user_7").unwrap());
    let seen = derived.state.ledger_get(&key).unwrap();
    assert_eq!(seen.hash, ContentHash([7; 16]));
    drop((opened, derived));
    private(dir);
}

fn rekeyed(dir: &Path, keys: &Keyring, steps: usize) -> Result<Rekeyed, UpkeepError> {
    let mut taken = 0;
    rekey(dir, keys, Kept::Shown, &mut |_| {
        taken += 1;
        match taken > steps {
            true => Err(io::Error::other("killed")),
            false => Ok(()),
        }
    })
}

#[tokio::test]
async fn a_rekeying_that_is_cut_off_at_any_step_goes_on_and_leaves_nothing_behind() {
    let (old, both, new) = (ring(&[1]), ring(&[2, 1]), ring(&[2]));
    for before in [Keyring::default(), old.clone()] {
        let dir = tempfile::tempdir().unwrap();
        fill(dir.path(), &before).await;
        assert_eq!(
            holding(dir.path(), WORD.as_bytes()).is_empty(),
            before.writes().is_some()
        );
        for aside in [
            "journal/0000000001-0000000100.torn",
            "journal/0000000001.corrupt-20260101T000000Z",
            "derived/sled.corrupt-20260101T000000000Z/db",
        ] {
            write(dir.path(), aside, WORD.as_bytes());
        }
        // Cut off ever later, each time from where the last one stopped: each step is once the last.
        let mut cut = 0;
        for steps in 0..100 {
            match rekeyed(dir.path(), &both, steps) {
                Err(error) => {
                    assert!(error.to_string().contains("killed"), "{error}");
                    cut += 1;
                    if steps % 4 == 0 {
                        all_is_there(dir.path(), &both);
                    }
                }
                Ok(done) => {
                    assert_eq!(Some(done.key), new.writes());
                    break;
                }
            }
        }
        assert!(cut > 5, "only {cut} steps");
        let survey = verify(dir.path(), &new).unwrap();
        assert!(survey.ok, "{survey:?}");
        assert_eq!(survey.findings, []);
        assert_eq!(survey.keys, new.ids());
        assert_eq!(holding(dir.path(), WORD.as_bytes()), Vec::<PathBuf>::new());
        let id = old.writes().unwrap().to_string();
        let bytes: Vec<u8> = (0..8)
            .map(|n| u8::from_str_radix(&id[2 * n..2 * n + 2], 16).unwrap())
            .collect();
        assert_eq!(holding(dir.path(), &bytes), Vec::<PathBuf>::new());
        assert_eq!(holding(dir.path(), id.as_bytes()), Vec::<PathBuf>::new());
        assert!(!dir.path().join("runs").exists());
        let shown = fs::read(dir.path().join("reports/masked.json")).unwrap();
        assert_ne!(
            shown, b"{}",
            "where values are shown, any report may hold some"
        );
        all_is_there(dir.path(), &new);
        let cells = State::open(
            &dir.path().join(state::DIR),
            &state_options(dir.path(), &new),
        );
        assert_eq!(cells.unwrap().state.get_cell("run/audit").unwrap(), None);
    }
}

#[tokio::test]
async fn a_survey_counts_everything_by_key_and_sees_what_was_swapped() {
    let dir = tempfile::tempdir().unwrap();
    let keys = ring(&[1]);
    fill(dir.path(), &keys).await;
    let survey = verify(dir.path(), &keys).unwrap();
    assert!(survey.ok, "{survey:?}");
    assert_eq!(
        (survey.journal.waiting as u64, survey.journal.dead_letters),
        (ENTRIES - 4, 1)
    );
    assert_eq!(
        (survey.journal.settled, survey.journal.highest_seq),
        (3, ENTRIES)
    );
    let under = survey
        .records
        .iter()
        .find(|counts| counts.key == keys.writes())
        .unwrap();
    // A verdict's frame and a dead letter's; three cells and the generation, and the ledger's two runs.
    assert_eq!(
        (under.journal, under.derived, under.files),
        (ENTRIES + 2, 4 + 2, 3 + 6)
    );
    assert_eq!(survey.records.len(), 2, "{:?}", survey.records);

    let plans = dir.path().join("plans");
    fs::rename(plans.join("one.ndjson"), plans.join("x")).unwrap();
    fs::rename(plans.join("two.ndjson"), plans.join("one.ndjson")).unwrap();
    fs::rename(plans.join("x"), plans.join("two.ndjson")).unwrap();
    let survey = verify(dir.path(), &keys).unwrap();
    let places: Vec<&str> = survey
        .findings
        .iter()
        .map(|one| one.place.as_str())
        .collect();
    assert_eq!(places, ["plans/one.ndjson", "plans/two.ndjson"]);
    assert!(!survey.ok);
}

#[tokio::test]
async fn a_survey_leaves_everything_as_it_was_and_says_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), &Keyring::default()).await;
    let all = |dir: &Path| {
        let mut all: Vec<_> = files(dir)
            .into_iter()
            .map(|path| (fs::read(&path).unwrap(), path))
            .collect();
        all.sort();
        all
    };
    let before = all(dir.path());
    assert!(verify(dir.path(), &Keyring::default()).unwrap().ok);
    assert!(before == all(dir.path()), "a survey changes nothing");
    fs::remove_file(dir.path().join("STATE")).unwrap();
    let segment = dir.path().join("journal/0000000002.seg");
    let mut bytes = fs::read(&segment).unwrap();
    bytes[100] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let survey = verify(dir.path(), &Keyring::default()).unwrap();
    let damaged = |place: &str| {
        survey
            .findings
            .iter()
            .any(|one| one.damage && one.place == place)
    };
    assert!(
        damaged("STATE") && damaged("journal") && !survey.ok,
        "{survey:?}"
    );
    let none = verify(&dir.path().join("elsewhere"), &Keyring::default());
    assert!(matches!(none, Err(UpkeepError::Absent(_))));
}

#[tokio::test]
async fn damage_is_not_forgotten_by_a_rekeying() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), &ring(&[1])).await;
    let segment = dir.path().join("journal/0000000002.seg");
    let mut bytes = fs::read(&segment).unwrap();
    bytes[300] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let before = verify(dir.path(), &ring(&[1])).unwrap();
    rekeyed(dir.path(), &ring(&[2, 1]), usize::MAX).unwrap();
    let after = verify(dir.path(), &ring(&[2])).unwrap();
    assert!(!before.ok && !after.ok);
    assert_eq!(before.journal.waiting, after.journal.waiting);
}

#[tokio::test]
async fn whoever_has_it_keeps_it_and_a_missing_key_touches_nothing() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), &ring(&[1])).await;
    for keys in [ring(&[2]), Keyring::default()] {
        let refused = verify(dir.path(), &keys).unwrap_err();
        assert!(refused.is_about_keys(), "{refused}");
    }
    let refused = rekeyed(dir.path(), &Keyring::default(), 0).unwrap_err();
    assert!(matches!(refused, UpkeepError::NoKey));
    let opened = Journal::open(&dir.path().join(journal::DIR), journal_options(&ring(&[1])));
    let refused = verify(dir.path(), &ring(&[1])).unwrap_err();
    assert!(refused.is_in_use(), "{refused}");
    drop(opened);
    let survey = verify(dir.path(), &ring(&[1])).unwrap();
    assert!(survey.ok, "{survey:?}");
}

#[tokio::test]
async fn a_directory_of_today_needs_no_migration() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), &ring(&[1])).await;
    let (before, done) = migrate(dir.path(), &ring(&[1]), &mut |_| Ok(())).unwrap();
    assert_eq!((before, done.segments), (LAYOUT, 0));
    assert!(done.unchanged > 3);
    all_is_there(dir.path(), &ring(&[1]));
}
