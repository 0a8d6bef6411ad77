//! G24: whatever became of the state directory, the daemon starts, tells, and ends in the right rows.
//!
//! One state is made, copied, damaged in one way, and started. What was lost is known: then deletions wait until
//! a full diff has passed. Nothing is taken for a new installation, and the second start finds nothing to mend.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    hand::created,
    process::System,
    runs::{keys, notes, report, same_records},
    soak::{self, Dice},
};

/// Users that stand on both sides.
const USERS: usize = 20;
/// Deliveries that wait in the journal.
const WAITING: usize = 4;
/// Alerts that say that something was lost; then deletions are held.
const LOST: [&str; 3] = ["state_rebuilt", "journal_damaged", "journal_lost"];

/// Ways to damage a state directory.
const DAMAGES: &[&str] = &[
    "derived: a bit",
    "derived: a page of zeros",
    "derived: a page of noise",
    "derived: all of it cut off",
    "derived: half",
    "derived: a tenth cut off",
    "derived: its last byte",
    "derived: db is gone",
    "derived: conf is gone",
    "derived: snapshots are gone",
    "derived: blobs are gone",
    "derived: a snapshot half made",
    "derived: all gone",
    "journal: a bit",
    "journal: a page of zeros",
    "journal: all of it cut off",
    "journal: half",
    "journal: its last byte",
    "journal: all gone",
    "STATE: gone",
    "STATE: noise",
    "everything: of another installation",
    "everything: nobody may read it",
    "everything: gone",
];

/// Damages the state in `dir`.
fn damage(dir: &Path, how: &str, foreign: &Path, dice: &mut Dice) {
    let (part, what) = how.split_once(": ").expect("a part and what happens to it");
    let store = dir.join("derived/sled");
    let file = match part {
        "derived" => store.join("db"),
        "journal" => segment(dir),
        "STATE" => dir.join("STATE"),
        _ => dir.to_owned(),
    };
    match (part, what) {
        ("derived", "all gone") => fs::remove_dir_all(dir.join("derived")).expect("removed"),
        ("derived", "conf is gone") => fs::remove_file(store.join("conf")).expect("removed"),
        ("derived", "db is gone") => fs::remove_file(file).expect("removed"),
        ("derived", "blobs are gone") => {
            let _none = fs::remove_dir_all(store.join("blobs"));
        }
        ("derived", "snapshots are gone") => {
            for entry in fs::read_dir(store).expect("a directory") {
                let path = entry.expect("an entry").path();
                if path.to_string_lossy().contains("snap.") {
                    fs::remove_file(path).expect("removed");
                }
            }
        }
        ("derived", "a snapshot half made") => {
            let name = format!("snap.{:016X}.generating", dice.below(1 << 40));
            fs::write(store.join(name), "").expect("written");
        }
        ("journal", "all gone") => fs::remove_dir_all(dir.join("journal")).expect("removed"),
        ("STATE", "gone") => fs::remove_file(file).expect("removed"),
        ("STATE", _) => fs::write(file, "\0\0{").expect("written"),
        ("everything", "gone") => empty(dir),
        ("everything", "of another installation") => {
            empty(dir);
            copy(foreign, dir);
        }
        ("everything", _) => forbid(dir),
        _ => change(&file, what, dice),
    }
}

/// Damages a file's bytes.
fn change(file: &Path, what: &str, dice: &mut Dice) {
    let mut bytes = fs::read(file).expect("a file");
    let len = bytes.len();
    let at = usize::try_from(dice.below(len as u64)).expect("below a length");
    let page = at / 4096 * 4096;
    let end = (page + 4096).min(len);
    match what {
        "a bit" => bytes[at] ^= 1 << dice.below(8),
        "a page of zeros" => bytes[page..end].fill(0),
        "a page of noise" => {
            let mut noise = || u8::try_from(dice.below(256)).expect("below 256");
            bytes[page..end].fill_with(&mut noise);
        }
        "all of it cut off" => bytes.clear(),
        "half" => bytes.truncate(len / 2),
        "a tenth cut off" => bytes.truncate(len * 9 / 10),
        "its last byte" => bytes.truncate(len - 1),
        other => panic!("{other} is not known"),
    }
    fs::write(file, bytes).expect("written");
}

fn segment(dir: &Path) -> PathBuf {
    dir.join("journal/0000000001.seg")
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("a directory");
    entries
        .map(|entry| entry.expect("an entry").path())
        .collect()
}

/// Takes everything out of a directory.
pub fn empty(dir: &Path) {
    for path in entries(dir) {
        match path.is_dir() {
            true => fs::remove_dir_all(path).expect("removed"),
            false => fs::remove_file(path).expect("removed"),
        }
    }
}

/// Copies everything into a directory.
pub fn copy(from: &Path, to: &Path) {
    for path in entries(from) {
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            fs::create_dir_all(&target).expect("made");
            copy(&path, &target);
        } else if path.is_file() {
            fs::copy(&path, &target).expect("copied");
        }
    }
}

fn forbid(dir: &Path) {
    for path in entries(dir) {
        if path.is_dir() {
            forbid(&path);
        }
        fs::set_permissions(path, fs::Permissions::from_mode(0o000)).expect("ours");
    }
}

/// What was set aside, checked for its number and its mode.
fn set_aside(dir: &Path) -> usize {
    let mut found = 0;
    for part in ["derived", "journal"] {
        let aside = entries(&dir.join(part))
            .into_iter()
            .filter(|path| path.to_string_lossy().contains(".corrupt-"));
        let aside: Vec<PathBuf> = aside.collect();
        assert!(aside.len() <= 3, "{aside:?}");
        for path in &aside {
            let mode = fs::metadata(path)
                .expect("it is there")
                .permissions()
                .mode();
            assert_eq!(mode & 0o077, 0, "{path:?}");
        }
        found += aside.len();
    }
    found
}

/// A state with rows behind it and deliveries that wait, and a copy of it.
async fn prepare(system: &mut System) -> tempfile::TempDir {
    system.clerk.seed_users(USERS);
    system.start_daemon().await;
    report(&system.door(), "reconcile").await;
    system.convex.down();
    for n in 0..WAITING {
        let user = json!({"first_name": "Waiting", "last_name": n.to_string()});
        let id = system.clerk.create_user(user).expect("created");
        system.hand().say(&created(&id, 1, "Waiting")).await;
    }
    // Clean, so that everything is in the files.
    assert_eq!(system.terminate().await, 0);
    let kept = tempfile::tempdir().expect("a directory");
    copy(system.state.path(), kept.path());
    kept
}

/// Leaves a row whose user Clerk does not have any more; its key.
fn orphan(system: &System) -> String {
    let gone = system.clerk.create_user(json!({"first_name": "Gone"}));
    let gone = gone.expect("created");
    system.clerk.delete_user(&gone).expect("deleted");
    let mut row = system.convex.rows("users").remove(0);
    for own in ["_id", "_creationTime"] {
        row.as_object_mut().expect("a document").remove(own);
    }
    row["clerkId"] = gone.clone().into();
    system.convex.insert_row("users", &row).expect("inserted");
    gone
}

/// One damage, from the start to the right rows. Answers whether something was lost, and how long the start took.
async fn survive(system: &mut System, how: &str) -> (bool, Duration) {
    system.convex.up();
    let orphan = orphan(system);
    let start = Instant::now();
    system.start_daemon().await;
    let took = start.elapsed();
    let alerts = system.door().alerts().await;
    let lost = alerts.iter().any(|code| LOST.contains(&code.as_str()));
    let aside = set_aside(system.state.path());
    system.door().idle().await;
    let mut first = report(&system.door(), "reconcile").await;
    if first["resumed"] == true {
        // A store that lost its end opens as it was before, and a run that was under way then goes on.
        first = report(&system.door(), "reconcile").await;
    }
    let there = keys(&system.convex, "users").contains(&orphan);
    assert_eq!(
        there,
        lost,
        "{how}: {alerts:?}, {}: {}",
        first["differences"],
        notes(&first)
    );
    if lost {
        assert_eq!(first["outcome"], "held", "{how}: {}", notes(&first));
        report(&system.door(), "reconcile").await;
    }
    system.door().idle().await;
    same_records(&system.clerk, &system.convex);
    assert_eq!(system.terminate().await, 0);
    system.start_daemon().await;
    let alerts = system.door().alerts().await;
    let again: Vec<_> = alerts
        .iter()
        .filter(|code| code.starts_with("state_"))
        .collect();
    assert!(again.is_empty(), "{how}, second start: {alerts:?}");
    assert_eq!(set_aside(system.state.path()), aside, "{how}, second start");
    assert_eq!(system.terminate().await, 0);
    (lost, took)
}

#[tokio::test(flavor = "multi_thread")]
async fn g24_a_damaged_state_starts_tells_and_ends_in_the_right_rows() {
    let mut dice = Dice::new();
    let rounds = soak::size("CCS_SOAK_DAMAGES", 8);
    let mut other = System::prepared(&[]).await;
    let foreign = prepare(&mut other).await;
    let mut system = System::prepared(&[]).await;
    let kept = prepare(&mut system).await;
    let first = usize::try_from(dice.below(DAMAGES.len() as u64)).expect("below a length");
    let (mut lost, mut longest) = (0, Duration::ZERO);
    for round in 0..rounds {
        // Beginning anywhere, by steps that meet all of them.
        let how = DAMAGES[(first + round * 7) % DAMAGES.len()];
        println!("{round}: {how}");
        empty(system.state.path());
        copy(kept.path(), system.state.path());
        damage(system.state.path(), how, foreign.path(), &mut dice);
        let (some, took) = survive(&mut system, how).await;
        lost += usize::from(some);
        longest = longest.max(took);
    }
    soak::say(
        "G24",
        &format!(
            "{rounds} damaged states of {} kinds: all started, slowest {} ms, {lost} told of a loss and held deletions \
             for one full diff, all ended in the right rows and started again without mending; seed {}",
            rounds.min(DAMAGES.len()),
            longest.as_millis(),
            dice.seed
        ),
    );
}
