//! The journal's answers when the disk refuses, fails, or loses its power.
//!
//! The order of write, sync and answer is held here too, and a twin that only pretends to sync shows
//! that the power cut test can fail.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;

use super::faulty_disk::Asked;
use super::*;

fn big(n: usize) -> NewEntry {
    delivery(&format!("msg_{n}"), "user_1", &[b'x'; 2500])
}

#[tokio::test]
async fn no_answer_comes_before_the_sync_that_covers_it() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let opened = open_faulty(&disk, dir.path(), small());
    let opening = disk.asked();
    assert_eq!(opening, [Asked::Create, Asked::Write(32), Asked::SyncDir]);
    for n in 0..20 {
        store(&opened.journal, big(n)).await;
        let asked = disk.asked();
        // Whatever else was done (a new segment), the entry's write, then its sync, came last.
        let [.., Asked::Write(_), Asked::Sync] = asked[..] else {
            panic!("answered after {asked:?}");
        };
        if asked.contains(&Asked::Create) {
            assert!(asked.contains(&Asked::SyncDir), "{asked:?}");
        }
    }

    disk.set(|faults| faults.hang = true);
    let mut waiting = Box::pin(opened.journal.append(big(100)));
    let moment = std::time::Duration::from_millis(50);
    assert!(tokio::time::timeout(moment, &mut waiting).await.is_err());
    // A copy of what is not durable yet waits as well.
    let mut copy = Box::pin(opened.journal.append(big(100)));
    assert!(tokio::time::timeout(moment, &mut copy).await.is_err());
    disk.set(|faults| faults.hang = false);
    assert!(matches!(waiting.await, Ok(Appended::Stored { .. })));
    assert_eq!(copy.await, Ok(Appended::Known { settled: false }));
}

#[tokio::test]
async fn what_a_killed_process_did_not_sync_is_synced_before_it_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    disk.set(|faults| faults.pretend = true);
    let opened = open_faulty(&disk, dir.path(), small());
    // Written, and killed before its sync: the next process finds it in memory.
    let written = store(&opened.journal, big(1)).await;
    drop(opened);
    disk.set(|faults| faults.pretend = false);
    disk.asked();
    let again = open_faulty(&disk, dir.path(), small());
    assert_eq!(disk.asked()[..2], [Asked::Sync, Asked::SyncDir]);
    let repeated = again.journal.append(big(1)).await;
    assert_eq!(repeated, Ok(Appended::Known { settled: false }));
    let left = tempfile::tempdir().unwrap();
    disk.power_cut(dir.path(), left.path(), 0);
    assert_eq!(pending(&open(left.path()).recovered), [written]);
    drop(again);

    // What cannot be synced may be gone after all.
    disk.set(|faults| faults.sync = Some(Errno::IO));
    let refused = Journal::open_on(Arc::new(disk), dir.path(), small());
    assert!(matches!(refused, Err(OpenError::Io { .. })));
}

#[tokio::test]
async fn many_that_wait_share_one_sync() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let opened = open_faulty(&disk, dir.path(), Options::default());
    disk.set(|faults| faults.hang = true);
    let asked: Vec<_> = (0..200).map(|n| opened.journal.append(big(n))).collect();
    disk.set(|faults| faults.hang = false);
    for answer in asked {
        answer.await.unwrap();
    }
    let syncs = disk.asked().iter().filter(|a| **a == Asked::Sync).count();
    assert!(syncs <= 3, "{syncs} syncs for 200 entries");
}

#[tokio::test]
async fn a_full_disk_refuses_and_heals_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let opened = open_faulty(&disk, dir.path(), Options::default());
    let journal = &opened.journal;
    let first = store(journal, big(1)).await;
    // The write is cut short, then there is no room for the rest.
    for room in [0, 1, 700, 1500, 2550] {
        disk.set(|faults| faults.room = Some(room));
        let refused = journal.append(big(2)).await;
        assert!(
            matches!(refused, Err(AppendError::Unwritable(_))),
            "{refused:?} with room for {room}"
        );
        assert!(matches!(&*journal.health().borrow(), Health::Unwritable(_)));
    }
    journal.settle([settled(first)]);
    disk.set(|faults| faults.room = None);
    let second = store(journal, big(2)).await;
    assert_eq!(*journal.health().borrow(), Health::Writing);
    journal.close().await.unwrap();
    drop(opened);

    let again = open(dir.path());
    assert_eq!(pending(&again.recovered), [second]);
    assert_eq!(again.recovered.damage, Damage::default());
}

#[tokio::test]
async fn a_tail_that_cannot_be_cut_off_is_left_in_its_segment() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let opened = open_faulty(&disk, dir.path(), Options::default());
    let journal = &opened.journal;
    let first = store(journal, big(1)).await;
    disk.set(|faults| {
        faults.room = Some(1500);
        faults.truncate = Some(Errno::ROFS);
    });
    assert!(journal.append(big(2)).await.is_err());
    assert!(journal.append(big(2)).await.is_err());
    disk.set(|faults| faults.room = None);
    let second = store(journal, big(2)).await;
    journal.pulse().await.unwrap();
    assert_eq!(journal.stats().segments, 2);
    drop(opened);

    let again = open(dir.path());
    assert_eq!(pending(&again.recovered), [first, second]);
    assert!(again.recovered.damage.bytes > 0);
    for meta in &again.recovered.pending {
        again.journal.read(meta.position).unwrap();
    }
}

#[tokio::test]
async fn a_failed_sync_is_never_asked_again_and_ends_the_journal() {
    for dir_too in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let disk = FaultyDisk::default();
        let opened = open_faulty(&disk, dir.path(), small());
        let journal = &opened.journal;
        let first = store(journal, big(1)).await;
        disk.set(|faults| match dir_too {
            false => faults.sync = Some(Errno::IO),
            true => faults.sync_dir = Some(Errno::IO),
        });
        disk.asked();
        let refused = journal.append(big(2)).await;
        assert!(matches!(refused, Err(AppendError::Poisoned(_))));
        disk.set(|faults| {
            faults.sync = None;
            faults.sync_dir = None;
        });
        let after = disk.asked();
        for n in 3..10 {
            let refused = journal.append(big(n)).await;
            assert!(matches!(refused, Err(AppendError::Poisoned(_))));
        }
        journal.settle([settled(first)]);
        assert!(journal.sync().await.is_err());
        assert_eq!(disk.asked(), [], "the disk is left alone after {after:?}");
        let moment = std::time::Duration::from_secs(5);
        let reason = tokio::time::timeout(moment, journal.fatal()).await.unwrap();
        assert!(!reason.is_empty());
        assert!(journal.close().await.is_err());
        drop(opened);

        let again = open(dir.path());
        assert!(pending(&again.recovered).contains(&first));
    }
}

#[tokio::test]
async fn a_disk_that_fails_a_write_otherwise_is_not_believed_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let opened = open_faulty(&disk, dir.path(), Options::default());
    disk.set(|faults| faults.write = Some(Errno::IO));
    let refused = opened.journal.append(big(1)).await;
    assert!(matches!(refused, Err(AppendError::Poisoned(_))));
    // An interrupted write is no failure.
    drop(opened);
    let opened = open_faulty(&disk, dir.path(), Options::default());
    disk.set(|faults| faults.write = Some(Errno::INTR));
    store(&opened.journal, big(2)).await;
}

#[tokio::test]
async fn verdicts_given_while_the_disk_is_full_are_written_later() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let opened = open_faulty(&disk, dir.path(), Options::default());
    let journal = &opened.journal;
    for n in 1..=3 {
        store(journal, big(n)).await;
    }
    disk.set(|faults| faults.room = Some(0));
    journal.settle([settled(1)]);
    journal.park(parked(2));
    assert!(matches!(
        journal.sync().await,
        Err(AppendError::Unwritable(_))
    ));
    disk.set(|faults| faults.room = None);
    // Nobody appends; the notes go out on their own.
    let moment = std::time::Duration::from_secs(10);
    let healed = async {
        let mut health = journal.health();
        health
            .wait_for(|health| *health == Health::Writing)
            .await
            .map(|_| ())
    };
    tokio::time::timeout(moment, healed).await.unwrap().unwrap();
    drop(opened);
    let again = open(dir.path());
    assert_eq!(pending(&again.recovered), [3]);
    assert_eq!(again.recovered.parked[0].meta.seq, 2);
}

#[test]
fn a_directory_without_room_for_the_first_segment_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    disk.set(|faults| faults.room = Some(10));
    let refused = Journal::open_on(Arc::new(disk), dir.path(), Options::default());
    assert!(matches!(refused, Err(OpenError::Io { .. })));
    let left: Vec<PathBuf> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some())
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_panic_of_the_committer_refuses_everybody_and_is_fatal() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let opened = open_faulty(&disk, dir.path(), Options::default());
    let first = store(&opened.journal, big(1)).await;
    disk.set(|faults| faults.panic = true);
    assert!(opened.journal.append(big(2)).await.is_err());
    let moment = std::time::Duration::from_secs(5);
    tokio::time::timeout(moment, opened.journal.fatal())
        .await
        .expect("the daemon is told to end");
    let refused = opened.journal.append(big(3)).await;
    assert!(matches!(refused, Err(AppendError::Poisoned(_))));
    drop(opened);
    assert_eq!(pending(&open(dir.path()).recovered), [first]);
}

/// Appends from several tasks while the power is cut at twenty moments; answers how many entries were
/// lost of those that had been answered, and were not final, before each cut.
async fn lost_in_power_cuts(pretend: bool) -> usize {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    disk.set(|faults| faults.pretend = pretend);
    let options = Options {
        segment_bytes: 32 * 1024,
        ..Options::default()
    };
    let opened = open_faulty(&disk, dir.path(), options);
    let answered: Arc<std::sync::Mutex<BTreeSet<u64>>> = Arc::default();
    let stop = Arc::new(AtomicBool::new(false));
    // While somebody looks at what a cut has left, nothing more is written: looking takes long.
    let looks = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let (journal, answered) = (opened.journal.clone(), Arc::clone(&answered));
            let (stop, looks) = (Arc::clone(&stop), Arc::clone(&looks));
            tokio::spawn(async move {
                let mut n = 0;
                while !stop.load(Ordering::Relaxed) {
                    if looks.load(Ordering::Relaxed) {
                        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                        continue;
                    }
                    n += 1;
                    let seq = store(&journal, big(task * 1_000_000 + n)).await;
                    answered.lock().unwrap().insert(seq);
                    if n % 3 != 0 {
                        answered.lock().unwrap().remove(&seq);
                        journal.settle([settled(seq)]);
                    }
                }
            })
        })
        .collect();
    let mut lost = 0;
    for cut in 0..20 {
        tokio::time::sleep(std::time::Duration::from_millis(7)).await;
        let left = tempfile::tempdir().unwrap();
        let before = answered.lock().unwrap().clone();
        disk.power_cut(dir.path(), left.path(), cut * 37 % 101);
        looks.store(true, Ordering::Relaxed);
        let found = pending(&open(left.path()).recovered);
        let found: BTreeSet<u64> = found.into_iter().collect();
        // What became final between the look and the cut is not lost.
        let after = answered.lock().unwrap().clone();
        lost += before
            .intersection(&after)
            .filter(|seq| !found.contains(seq))
            .count();
        looks.store(false, Ordering::Relaxed);
    }
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    lost
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_takes_nothing_that_was_answered() {
    assert_eq!(lost_in_power_cuts(false).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_only_pretends_to_sync_is_caught_by_the_same_test() {
    assert!(lost_in_power_cuts(true).await > 0);
}
