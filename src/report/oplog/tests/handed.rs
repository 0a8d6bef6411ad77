//! What is handed in, and what an entry makes of it.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use serde_json::json;
use tokio::time::{Duration, sleep};

use super::{Disk, MIB, NOON, note};
use crate::{
    model::{Asked, Columns, DriftKind, Key, Outcome, RecordKey, Table, Version},
    report::oplog::{
        OperationsLog, Options,
        chain::Marks,
        files::Files,
        note::{Call, Conflict, Note, Place, Row, Word},
        queue::{Handed, Queue, ROOM},
    },
};

fn user(n: usize) -> RecordKey {
    RecordKey::new(Table::Users, Key::parse(&format!("user_{n}")).unwrap())
}

/// What became of a user and its profile.
fn row(record: RecordKey, outcome: Outcome) -> Row {
    let fields = json!({"email": "ada@post.example", "name": "Ada"});
    let columns = Columns::of(fields.as_object().unwrap());
    Row {
        record,
        asked: None,
        columns: [
            Some((Table::Users, columns.clone())),
            Some((Table::Profiles, columns)),
        ],
        version: Version(5),
        why: Some(DriftKind::Stale),
        outcome,
    }
}

#[tokio::test]
async fn calls_and_notes_become_entries_in_their_order() {
    let disk = Disk::new();
    let log = disk.log();
    let run = Asked::Run {
        run: "reconcile",
        id: "0190".into(),
        by: "operator",
    };
    let mut few = Call::begin(NOON, Some(&run), 2);
    few.add(&user(1), Outcome::Updated, || {
        row(user(1), Outcome::Updated)
    });
    few.add(&user(2), Outcome::Unchanged, || {
        row(user(2), Outcome::Unchanged)
    });
    log.call(few).await;
    let mut many = Call::begin(NOON, Some(&run), 500);
    for n in 0..500 {
        let outcome = if n % 5 == 0 {
            Outcome::Unchanged
        } else {
            Outcome::Created
        };
        many.add(&user(n), outcome, || row(user(n), outcome));
    }
    log.call(many).await;
    log.note(note("user_9").code(Some("bad\n\u{1b}[2Jcode ada@post.example")))
        .await;
    log.written().await;
    let entries = disk.entries(None);
    assert_eq!(entries.len(), 4);
    assert_eq!(
        entries[0]["fields"],
        json!(["email", "name", "profiles.email", "profiles.name"])
    );
    assert_eq!(
        (&entries[0]["outcome"], &entries[0]["why"]),
        (&json!("updated"), &json!("stale"))
    );
    assert_eq!(entries[0]["by"]["id"], "0190");
    assert_eq!(entries[1].get("fields"), None, "nothing was written");
    assert_eq!(
        entries[2]["outcomes"],
        json!({"created": 400, "unchanged": 100})
    );
    assert_eq!(
        (&entries[2]["first"], &entries[2]["last"]),
        (&json!("user_0"), &json!("user_499"))
    );
    assert_eq!(entries[3]["reason"], "bad2Jcodeadapost.example");
    assert_eq!(disk.entries(Some("user_1")).len(), 1);
    assert_eq!(disk.entries(Some("user_499")).len(), 1, "it ends the call");
    log.close().await;
    let verified = disk.verify();
    assert_eq!((verified.ok, verified.entries), (true, 4));
    assert_eq!(
        Files::of(disk.dir.path(), &disk.keys)
            .marks()
            .unwrap()
            .map(|marks: Marks| marks.tail.n),
        Some(4)
    );
}

#[test]
fn both_words_of_a_conflict_are_masked() {
    let word = |at_ms, value| Word {
        at_ms,
        value: Some(value),
    };
    let conflict = Conflict::of(
        "firstName",
        Place::Clerk,
        word(NOON, Some("Quixotic")),
        word(NOON - 1, None),
    );
    assert_eq!(
        serde_json::to_value(conflict).unwrap(),
        json!({
            "field": "firstName", "winner": "clerk",
            "clerk": {"at": "2026-03-01T12:00:00.000Z", "value": "Q…"},
            "convex": {"at": "2026-03-01T11:59:59.999Z", "value": null},
        })
    );
}

#[tokio::test]
async fn a_disk_that_takes_nothing_costs_entries_and_an_entry_says_how_many() {
    let disk = Disk {
        keep: MIB,
        ..Disk::new()
    };
    let log = disk.log();
    log.note(note("user_1")).await;
    log.written().await;
    // A segment that cannot be begun: something else has its name.
    let taken = disk.segments()[0].with_file_name(format!("{:020}.ndjson", 2));
    fs::create_dir(&taken).unwrap();
    let long = Note {
        reason: Some("x".repeat(70_000)),
        ..note("user_2")
    };
    log.note(long).await;
    log.written().await;
    assert_eq!(disk.entries(None).len(), 1, "it was not taken");
    assert!(disk.alerts.is_raised("oplog_failed"));
    fs::remove_dir(&taken).unwrap();
    // Whether or not anything else happens.
    while disk.alerts.is_raised("oplog_failed") {
        sleep(Duration::from_millis(10)).await;
    }
    log.note(note("user_3")).await;
    log.close().await;
    let entries = disk.entries(None);
    let told: Vec<_> = entries.iter().map(|one| &one["what"]).collect();
    assert_eq!(told, ["upsert", "left out", "upsert"]);
    assert_eq!(entries[1]["count"], 1);
    assert!(disk.verify().ok);
}

#[tokio::test]
async fn entries_for_which_there_is_no_room_are_alerted_at_once_and_told_though_nothing_else_happens()
 {
    let disk = Disk::new();
    // As if the disk had held up all that waits, and the thread.
    let held_up = Queue::new(disk.alerts.clone(), || NOON);
    let all = u32::try_from(ROOM).unwrap();
    let _all = held_up.room.acquire_many(all).await.unwrap();
    held_up.push(1, Handed::Note(Box::new(note("user_1"))));
    assert!(disk.alerts.is_raised("oplog_failed"));

    let log = disk.log();
    log.0.queue.leave_out(1);
    while disk.alerts.is_raised("oplog_failed") {
        sleep(Duration::from_millis(10)).await;
    }
    log.note(note("user_2")).await;
    log.written().await;
    let entries = disk.entries(None);
    assert_eq!(
        (&entries[0]["what"], &entries[0]["count"]),
        (&json!("left out"), &json!(1))
    );
    assert_eq!(entries[1]["key"], "user_2");
    log.close().await;
    log.note(note("user_3")).await;
    log.note_now(note("user_3"));
    assert!(!disk.alerts.is_raised("oplog_failed"), "it was closed");
}

/// Fails once, on the thread of the log.
fn broken_clock() -> i64 {
    static BROKEN: AtomicBool = AtomicBool::new(true);
    let here = thread::current();
    if here.name() == Some("oplog") && BROKEN.swap(false, Ordering::Relaxed) {
        panic!("the clock of this test");
    }
    NOON
}

#[tokio::test]
async fn a_thread_that_fails_is_an_alert_and_holds_up_nobody() {
    let disk = Disk::new();
    let options = Options {
        keep: disk.keep,
        keys: disk.keys.clone(),
        alerts: disk.alerts.clone(),
        now_ms: broken_clock,
    };
    let log = OperationsLog::open(disk.dir.path(), options).unwrap();
    log.note(note("user_1")).await;
    log.written().await;
    // It is about to say that something was left out.
    log.0.queue.leave_out(1);
    let failed = || {
        let raised = disk.alerts.raised();
        raised
            .iter()
            .any(|alert| alert.message.contains("please report it"))
    };
    while !failed() {
        sleep(Duration::from_millis(10)).await;
    }
    for _ in 0..2 {
        log.note(note("user_2")).await;
        log.note_now(note("user_2"));
        log.written().await;
    }
    log.close().await;
    assert_eq!(disk.entries(None).len(), 1);
    assert!(disk.verify().ok, "what was written before is whole");
}
