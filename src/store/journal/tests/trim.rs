//! Disk use stays near what is still needed, and nothing needed goes with it.
//!
//! Segments of 4 KiB, so that a few entries fill one.

use super::faulty_disk::Asked;
use super::*;

fn big(n: u64) -> NewEntry {
    delivery(&format!("msg_{n}"), "user_1", &[b'x'; 1000])
}

fn segment_files(dir: &Path) -> usize {
    std::fs::read_dir(dir)
        .unwrap()
        .filter(|file| {
            let path = file.as_ref().unwrap().path();
            path.extension().is_some_and(|extension| extension == "seg")
        })
        .count()
}

#[tokio::test]
async fn finished_segments_go_oldest_first() {
    let dir = tempfile::tempdir().unwrap();
    let opened = Journal::open(dir.path(), small()).unwrap();
    let journal = &opened.journal;
    for n in 1..=30 {
        store(journal, big(n)).await;
    }
    let all = segment_files(dir.path());
    assert!(all >= 8, "{all} segments");
    // The oldest entry is still needed: nothing goes, however much behind it is final. (Too much of
    // everything is needed for carrying.)
    journal.settle((2..=12).map(settled));
    journal.sync().await.unwrap();
    journal.pulse().await.unwrap();
    assert_eq!(segment_files(dir.path()), all);
    journal.settle([settled(1)]);
    until(|| segment_files(dir.path()) <= all - 3).await;
    journal.settle((13..=30).map(settled));
    until(|| segment_files(dir.path()) <= 2).await;
    drop(opened);
    let again = open(dir.path());
    assert!(again.recovered.pending.is_empty());
    assert_eq!(again.recovered.highest_seq, 30);
}

#[tokio::test]
async fn what_is_left_in_old_segments_is_carried_forward() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = Journal::open(dir.path(), small()).unwrap();
    let journal = opened.journal.clone();
    store(&journal, big(1)).await;
    store(&journal, big(2)).await;
    journal.park(parked(2));
    for n in 3..=200 {
        let seq = store(&journal, big(n)).await;
        journal.settle([settled(seq)]);
    }
    until(|| journal.stats().segments <= 6).await;

    // The queue was told where the two lie now, and a reader finds them there.
    let mut places = std::collections::HashMap::new();
    let mut moves = 0;
    loop {
        let now = [journal.locate(1).await, journal.locate(2).await];
        while let Some(notice) = opened.notices.try_recv() {
            match notice {
                Notice::Stored(metas) => {
                    places.extend(metas.into_iter().map(|meta| (meta.seq, meta.position)));
                }
                Notice::Moved(moved) => {
                    moves += moved.len();
                    places.extend(moved);
                }
            }
        }
        // Unless they moved once more in between.
        if [1, 2].map(|seq| places.get(&seq).copied()) == now {
            break;
        }
    }
    assert!(moves >= 2, "{moves} moves");
    for seq in [1, 2] {
        assert_eq!(journal.read(places[&seq]).unwrap().content, big(seq));
    }
    drop((opened, journal));

    let again = Journal::open(dir.path(), small()).unwrap();
    assert_eq!(pending(&again.recovered), [1]);
    assert_eq!(again.recovered.parked[0].parked, parked(2));
    assert_eq!(again.recovered.parked[0].meta.seq, 2);
    // They are still copies of themselves.
    assert_eq!(
        again.journal.append(big(1)).await,
        Ok(Appended::Known { settled: false })
    );
}

#[tokio::test]
async fn a_reader_with_an_old_place_is_told_to_ask_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = Journal::open(dir.path(), small()).unwrap();
    let journal = opened.journal.clone();
    store(&journal, big(1)).await;
    let Some(Notice::Stored(first)) = opened.notices.recv().await else {
        panic!("nothing was told");
    };
    let old = first[0].position;
    for n in 2..=60 {
        let seq = store(&journal, big(n)).await;
        journal.settle([settled(seq)]);
    }
    until(|| journal.read(old).is_err()).await;
    assert!(matches!(journal.read(old), Err(ReadError::Gone)));
    let new = journal.locate(1).await.unwrap();
    assert_eq!(journal.read(new).unwrap().content, big(1));
}

#[tokio::test]
async fn disk_use_is_bounded_by_twice_what_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        segment_bytes: 16 * 1024,
        ..Options::default()
    };
    let keep = options.keep_segments as u64;
    let limit = options.segment_bytes;
    let opened = Journal::open(dir.path(), options).unwrap();
    let journal = &opened.journal;
    // Every fifth entry stays for good, in every segment alike.
    let mut needed = 0;
    for n in 1..=1500 {
        let seq = store(journal, big(n)).await;
        if n % 5 == 0 {
            needed += 1200;
        } else {
            journal.settle([settled(seq)]);
        }
        if n % 100 == 0 {
            let bound = needed * 2 + (keep + 2) * limit;
            until(|| journal.stats().bytes <= bound).await;
        }
    }
    drop(opened);
    let again = open(dir.path());
    let fifth: Vec<u64> = (1..=300).map(|n| n * 5).collect();
    assert_eq!(pending(&again.recovered), fifth);
}

/// Dead letters in a segment that is worth emptying, in two groups.
async fn three_dead_letters_to_carry(dir: &Path) {
    let options = Options {
        segment_bytes: 2 << 20,
        keep_segments: usize::MAX,
        ..Options::default()
    };
    let opened = Journal::open(dir, options).unwrap();
    let journal = &opened.journal;
    let large = |n: u64| delivery(&format!("msg_{n}"), "user_1", &vec![b'x'; 1_200_000]);
    store(journal, large(1)).await;
    store(journal, big(2)).await;
    store(journal, big(3)).await;
    for n in 4..=8 {
        let seq = store(journal, large(n)).await;
        journal.settle([settled(seq)]);
    }
    (1..=3).for_each(|seq| journal.park(parked(seq)));
    journal.close().await.unwrap();
}

#[tokio::test]
async fn a_note_that_is_written_together_with_a_copy_of_its_entry_outlives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    three_dead_letters_to_carry(dir.path()).await;
    let disk = FaultyDisk::default();
    disk.set(|faults| faults.hang = true);
    // What is copied goes on in the newest segment.
    let options = Options {
        segment_bytes: 16 << 20,
        keep_segments: 2,
        ..Options::default()
    };
    let opened = open_faulty(&disk, dir.path(), options);
    let journal = &opened.journal;
    // The first group copies the large one and waits for its sync; the next one copies the others, with these notes.
    let writes = |asked: &Asked| matches!(asked, Asked::Write(_));
    let mut copying = false;
    for _ in 0..5_000 {
        copying |= disk.asked().iter().any(writes);
        if copying {
            break;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    journal.unpark(2);
    let again = Parked {
        attempts: 7,
        ..parked(3)
    };
    journal.unpark(3);
    journal.park(again.clone());
    disk.set(|faults| faults.hang = false);
    assert!(copying, "nothing was copied");
    until(|| segment_files(dir.path()) <= 3).await;
    journal.sync().await.unwrap();
    assert_eq!(journal.stats().parked, 2);
    drop(opened);
    let opened = Journal::open(dir.path(), Options::default()).unwrap();
    assert_eq!(pending(&opened.recovered), [2], "it is tried again");
    let parks: Vec<Parked> = opened
        .recovered
        .parked
        .into_iter()
        .map(|one| one.parked)
        .collect();
    assert_eq!(parks, [parked(1), again]);
}
