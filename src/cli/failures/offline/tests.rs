//! Dead letters that a daemon has left behind: listed, shown, put back and given up without it.
//!
//! The journal is a real one. What was done is looked for where it has to be: in the journal at its next opening, and in
//! the operations log.

use bytes::Bytes;

use super::*;
use crate::{
    cli::exit::Exit,
    config::{Config, Env},
    model::{DeliveryId, Key, RecordKey, Table, Version},
    store::{
        crypt::Keyring,
        journal::{NewEntry, Parked, Related},
    },
};

fn state(dir: &std::path::Path) -> State {
    let env = Env::new([("CCS_STATE__DIR", dir.to_str().unwrap())]);
    Config::load_local(None, &env).unwrap().state
}

fn entry(number: i64) -> NewEntry {
    let key = Key::parse(&format!("user_{number}")).unwrap();
    NewEntry {
        received_ms: 1_700_000_000_000 + number,
        cause: Cause::Delivery {
            id: DeliveryId::parse(&format!("msg_{number}")).unwrap(),
            event_type: "user.updated".into(),
        },
        record: Some(RecordKey::new(Table::Users, key)),
        version: Version(number),
        deleted: false,
        fingerprint: 0,
        related: Related::default(),
        body: Bytes::from(format!("{{\"number\":{number}}}")),
    }
}

/// What a daemon leaves behind that gave up on the first three of four entries.
async fn left_behind(dir: &std::path::Path) {
    let opened = Journal::open(&dir.join(journal::DIR), Options::default()).unwrap();
    for number in 1..=4 {
        opened.journal.append(entry(number)).await.unwrap();
    }
    for seq in 1..=3 {
        opened.journal.park(Parked {
            seq,
            attempts: 3,
            code: "refused".into(),
            reason: "Convex refused the row".into(),
            at_ms: 1_700_000_100_000,
        });
    }
    opened.journal.close().await.unwrap();
}

async fn open(dir: &std::path::Path) -> OfflineFailures {
    OfflineFailures::open(&state(dir)).unwrap().unwrap()
}

#[tokio::test]
async fn they_are_listed_page_by_page_and_shown_with_their_bodies() {
    let dir = tempfile::tempdir().unwrap();
    left_behind(dir.path()).await;
    let failures = open(dir.path()).await;
    let first = failures.list(None, 2);
    let ids = |page: &Page| {
        page.failures
            .iter()
            .map(|f| f.id.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(&first), ["dl_1", "dl_2"]);
    assert_eq!((first.total, first.next.as_deref()), (3, Some("dl_2")));
    assert!(first.failures.iter().all(|letter| letter.body.is_none()));
    let second = failures.list(first.next.as_deref(), 2);
    assert_eq!(ids(&second), ["dl_3"]);
    assert_eq!(second.next, None);

    let shown = failures.show("dl_2").unwrap();
    assert_eq!(shown.body, Some(serde_json::json!({ "number": 2 })));
    assert_eq!(shown.delivery.as_deref(), Some("msg_2"));
    assert_eq!(shown.key.as_deref(), Some("user_2"));
    assert_eq!(shown.received_at, "2023-11-14T22:13:20.002Z");
    assert!(failures.show("dl_4").is_none(), "it only waits");
}

#[tokio::test]
async fn what_is_retried_waits_for_the_next_start_and_what_is_dropped_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    left_behind(dir.path()).await;
    let failures = open(dir.path()).await;
    let these = Selection::These(vec!["dl_1".to_owned(), "dl_9".to_owned(), "x".to_owned()]);
    let retried = failures.retry(&these).await.unwrap();
    assert_eq!(retried.retried, 1);
    assert_eq!(retried.unknown, ["dl_9", "x"]);
    assert!(failures.drop_one("dl_2").await.unwrap());
    assert!(!failures.drop_one("dl_9").await.unwrap());
    failures.journal.close().await.unwrap();

    let next = Journal::open(&dir.path().join(journal::DIR), Options::default()).unwrap();
    let pending: Vec<u64> = next.recovered.pending.iter().map(|meta| meta.seq).collect();
    let parked: Vec<u64> = next.recovered.parked.iter().map(|l| l.meta.seq).collect();
    assert_eq!(pending, [1, 4]);
    assert_eq!(parked, [3]);
    let log = oplog::Reader::look(dir.path(), &Keyring::default());
    let all = oplog::Wanted {
        limit: 10,
        ..oplog::Wanted::default()
    };
    let entries = log.newest(&all).unwrap();
    let entries: Vec<Value> = entries
        .iter()
        .map(|entry| serde_json::from_str(entry.get()).unwrap())
        .collect();
    let told: Vec<_> = entries
        .iter()
        .map(|entry| (entry["what"].as_str(), entry["reason"].as_str()))
        .collect();
    let retried = "1 dead letter(s) put back; no daemon runs";
    let expected = [
        (Some("failures retry"), Some(retried)),
        (Some("failures drop"), Some("dl_2 given up; no daemon runs")),
    ];
    assert_eq!(told, expected, "what was not there is no change");
    let who = format!("uid {}", geteuid().as_raw());
    assert!(entries.iter().all(|entry| entry["by"]["who"] == who));
    assert!(log.verify().unwrap().ok);
}

#[tokio::test]
async fn what_cannot_be_written_down_is_not_done() {
    let dir = tempfile::tempdir().unwrap();
    left_behind(dir.path()).await;
    std::fs::write(dir.path().join("oplog"), "in the way").unwrap();
    let failures = open(dir.path()).await;
    assert_eq!(
        failures.drop_one("dl_2").await.unwrap_err().exit,
        Exit::Failed
    );
    assert_eq!(
        failures.retry(&Selection::All).await.unwrap_err().exit,
        Exit::Failed
    );
    failures.journal.close().await.unwrap();
    let next = Journal::open(&dir.path().join(journal::DIR), Options::default()).unwrap();
    assert_eq!(next.recovered.parked.len(), 3);
}

#[tokio::test]
async fn all_are_retried_at_once() {
    let dir = tempfile::tempdir().unwrap();
    left_behind(dir.path()).await;
    let retried = open(dir.path()).await.retry(&Selection::All).await.unwrap();
    assert_eq!((retried.retried, retried.unknown.len()), (3, 0));
}

#[tokio::test]
async fn a_journal_in_use_is_told_by_its_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    left_behind(dir.path()).await;
    let _daemon = open(dir.path()).await;
    let failure = OfflineFailures::open(&state(dir.path())).err().unwrap();
    assert_eq!(failure.exit, Exit::Unreachable);
}

#[test]
fn a_directory_without_a_journal_is_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    assert!(OfflineFailures::open(&state(dir.path())).unwrap().is_none());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}
