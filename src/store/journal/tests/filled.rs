//! The zeros that stand where something will be written next: who sees them, and who must not.

use std::fs;

use rustix::io::Errno;

use super::faulty_disk::Asked;
use super::*;

fn big(n: usize) -> NewEntry {
    delivery(&format!("msg_{n}"), "user_1", &[b'x'; 2500])
}

fn first_segment(dir: &Path) -> u64 {
    fs::metadata(dir.join("0000000001.seg")).unwrap().len()
}

#[tokio::test]
async fn most_entries_are_written_into_bytes_that_the_file_has() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let opened = open_faulty(&disk, dir.path(), Options::default());
    store(&opened.journal, big(0)).await;
    let (filled, mut grown) = (first_segment(dir.path()), 0);
    assert!(filled > 1024 * 1024, "{filled}");
    disk.asked();
    for n in 1..=1000 {
        let before = first_segment(dir.path());
        store(&opened.journal, big(n)).await;
        match first_segment(dir.path()) - before {
            0 => assert!(matches!(disk.asked()[..], [Asked::Write(_), Asked::Sync])),
            _ => {
                disk.asked();
                grown += 1;
            }
        }
    }
    // Two and a half megabytes, one at a time.
    assert_eq!(grown, 2);
    opened.journal.close().await.unwrap();
    assert!(
        first_segment(dir.path()) < 2_700_000,
        "a clean end leaves none"
    );
}

#[tokio::test]
async fn a_finished_segment_ends_with_what_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    let opened = Journal::open(dir.path(), small()).unwrap();
    for n in 0..6 {
        store(&opened.journal, big(n)).await;
    }
    // As a killed process leaves it.
    let left = tempfile::tempdir().unwrap();
    for file in fs::read_dir(dir.path()).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), left.path().join(file.file_name())).unwrap();
    }
    let again = open(left.path());
    assert_eq!(again.recovered.segments, 6);
    assert_eq!(again.recovered.damage, Damage::default());
    assert_eq!(pending(&again.recovered), [1, 2, 3, 4, 5, 6]);
    assert_eq!(again.recovered.bytes, opened.journal.stats().bytes);
}

#[tokio::test]
async fn room_that_entries_may_need_is_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let opened = open_faulty(&disk, dir.path(), Options::default());
    // What is left is for entries; and where nobody can say how much that is, it is found out.
    disk.set(|faults| faults.available = Some(16 << 20));
    store(&opened.journal, big(0)).await;
    assert_eq!(disk.asked().last(), Some(&Asked::Sync));
    assert!(first_segment(dir.path()) < 3000);
    disk.set(|faults| (faults.available, faults.room) = (None, Some(9000)));
    store(&opened.journal, big(1)).await;
    assert_eq!(disk.asked().last(), Some(&Asked::Sync));
    assert!(first_segment(dir.path()) < 6000);

    // Nor does a tail that cannot be cut off now come between two entries.
    disk.set(|faults| faults.room = Some(100_000));
    drop(opened);
    let opened = open_faulty(&disk, dir.path(), Options::default());
    disk.set(|faults| faults.truncate = Some(Errno::IO));
    store(&opened.journal, big(2)).await;
    disk.set(|faults| (faults.room, faults.truncate) = (None, None));
    store(&opened.journal, big(3)).await;
    drop(opened);
    let again = open(dir.path());
    assert_eq!(pending(&again.recovered), [1, 2, 3, 4]);
    assert_eq!(again.recovered.damage, Damage::default());
}
