//! What the journal promises on a disk that works.
//!
//! Storing, reading, copies, verdicts, restarts, bounds, and who may look.

use std::os::unix::fs::PermissionsExt;

use super::*;

#[tokio::test]
async fn what_was_stored_waits_after_a_restart_and_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    assert_eq!(first.recovered.segments, 0);
    let one = delivery("msg_1", "user_1", b"{\"n\":1}");
    let two = request("user_2");
    assert_eq!(store(&first.journal, one.clone()).await, 1);
    assert_eq!(store(&first.journal, two.clone()).await, 2);
    drop(first);

    let second = open(dir.path());
    assert_eq!(pending(&second.recovered), [1, 2]);
    assert_eq!(second.recovered.highest_seq, 2);
    assert_eq!(second.recovered.damage, Damage::default());
    let metas = &second.recovered.pending;
    assert_eq!(metas[0].record, one.record);
    assert_eq!(metas[1].cause, CauseKind::Request(RequestOrigin::Repair));
    let read = |meta: &Meta| second.journal.read(meta.position).unwrap().content;
    assert_eq!(read(&metas[0]), one);
    assert_eq!(read(&metas[1]), two);
    assert_eq!(store(&second.journal, request("user_3")).await, 3);
}

#[tokio::test]
async fn the_queue_is_told_in_order_before_the_sender_is() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = open(dir.path());
    let asked: Vec<_> = (0..100)
        .map(|n| {
            opened
                .journal
                .append(delivery(&format!("msg_{n}"), "user_1", b"{}"))
        })
        .collect();
    for answer in asked {
        answer.await.unwrap();
    }
    let mut told = Vec::new();
    while let Some(Notice::Stored(metas)) = opened.notices.try_recv() {
        told.extend(metas);
    }
    let seqs: Vec<u64> = told.iter().map(|meta| meta.seq).collect();
    assert_eq!(seqs, (1..=100).collect::<Vec<u64>>());
    for meta in told {
        assert_eq!(opened.journal.read(meta.position).unwrap().seq, meta.seq);
    }
}

#[tokio::test]
async fn a_copy_of_a_delivery_is_known_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path());
    let copy = || opened.journal.append(delivery("msg_1", "user_1", b"{}"));
    // All at once: most share the first one's group.
    let asked: Vec<_> = (0..20).map(|_| copy()).collect();
    let mut stored = 0;
    for answer in asked {
        match answer.await.unwrap() {
            Appended::Stored { .. } => stored += 1,
            Appended::Known { settled } => assert!(!settled),
        }
    }
    assert_eq!(stored, 1);
    opened.journal.settle([settled(1)]);
    opened.journal.sync().await.unwrap();
    assert_eq!(copy().await, Ok(Appended::Known { settled: true }));
    drop(opened);

    let again = open(dir.path());
    assert!(again.recovered.pending.is_empty());
    assert_eq!(
        again
            .journal
            .append(delivery("msg_1", "user_1", b"{}"))
            .await,
        Ok(Appended::Known { settled: true })
    );
    // A wish has no id and is never a copy.
    assert_eq!(store(&again.journal, request("user_1")).await, 2);
    assert_eq!(store(&again.journal, request("user_1")).await, 3);
}

#[tokio::test]
async fn verdicts_and_dead_letters_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path());
    for n in 1..=5 {
        store(
            &opened.journal,
            delivery(&format!("msg_{n}"), "user_1", b"{}"),
        )
        .await;
    }
    opened.journal.settle([settled(1), settled(77)]);
    opened.journal.park(parked(2));
    opened.journal.park(parked(3));
    opened.journal.unpark(3);
    opened.journal.park(parked(4));
    opened.journal.settle([settled(4)]);
    opened.journal.close().await.unwrap();
    assert_eq!(
        opened.journal.append(request("user_1")).await,
        Err(AppendError::Closed)
    );

    let again = open(dir.path());
    assert_eq!(pending(&again.recovered), [3, 5]);
    let dead = &again.recovered.parked;
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].parked, parked(2));
    assert_eq!(dead[0].meta.seq, 2);
    let stats = again.journal.stats();
    assert_eq!((stats.pending, stats.parked, stats.highest_seq), (2, 1, 5));
}

#[tokio::test]
async fn verdicts_reach_the_disk_by_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path());
    store(&opened.journal, request("user_1")).await;
    opened.journal.pulse().await.unwrap();
    let before = opened.journal.stats().bytes;
    opened.journal.settle([settled(1)]);
    let written = async {
        while opened.journal.stats().bytes == before {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(5), written)
        .await
        .expect("a verdict alone is written within moments");
}

#[tokio::test]
async fn a_second_process_is_refused_and_the_first_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    let second = Journal::open(dir.path(), Options::default());
    assert!(matches!(second, Err(OpenError::InUse(_))));
    store(&first.journal, request("user_1")).await;
    first.journal.close().await.unwrap();
    open(dir.path());
}

#[tokio::test]
async fn files_are_for_the_owner_only() {
    let outer = tempfile::tempdir().unwrap();
    let dir = outer.path().join("journal");
    std::fs::create_dir(&dir).unwrap();
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).unwrap();
    let opened = open(&dir);
    store(&opened.journal, request("user_1")).await;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    for file in std::fs::read_dir(&dir).unwrap() {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
}

#[tokio::test]
async fn every_bound_refuses_and_stores_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let opened = Journal::open(
        dir.path(),
        Options {
            max_entries: 2,
            waiting_bytes: 10_000,
            ..Options::default()
        },
    )
    .unwrap();
    let journal = &opened.journal;
    let large = delivery("msg_l", "user_1", &[b' '; 20_000]);
    assert_eq!(
        journal.append(large).await,
        Err(AppendError::Full(Limit::Bytes))
    );
    store(journal, request("user_1")).await;
    store(journal, request("user_2")).await;
    let third = || journal.append(request("user_3"));
    assert_eq!(third().await, Err(AppendError::Full(Limit::Entries)));
    assert_eq!(
        third().await.unwrap_err().fault(),
        crate::model::Fault::Ours
    );
    journal.settle([settled(1)]);
    journal.sync().await.unwrap();
    assert!(third().await.is_ok());
    assert_eq!(journal.stats().waiting_bytes, 0);
    drop(opened);

    let full = Journal::open(
        dir.path(),
        Options {
            max_bytes: 100,
            ..Options::default()
        },
    )
    .unwrap();
    assert_eq!(
        full.journal.append(request("user_4")).await,
        Err(AppendError::Full(Limit::Disk))
    );
}

#[tokio::test]
async fn numbers_start_where_the_state_file_says_even_in_an_emptied_directory() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        first_seq: 500,
        ..Options::default()
    };
    let opened = Journal::open(dir.path(), options).unwrap();
    assert_eq!(store(&opened.journal, request("user_1")).await, 500);
}

#[tokio::test]
async fn the_place_of_an_entry_can_be_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = open(dir.path());
    let seq = store(&opened.journal, request("user_1")).await;
    let Some(Notice::Stored(metas)) = opened.notices.recv().await else {
        panic!("nothing was told");
    };
    assert_eq!(opened.journal.locate(seq).await, Some(metas[0].position));
    opened.journal.settle([settled(seq)]);
    opened.journal.sync().await.unwrap();
    assert_eq!(opened.journal.locate(seq).await, None);
    opened.journal.pulse().await.unwrap();
}
