//! A full disk is not kept full by the journal itself.
//!
//! Room is won back from the segment that is being written, too, and the last of it is not given to entries.

use super::*;

fn big(n: u64) -> NewEntry {
    delivery(&format!("msg_{n}"), "user_1", &[b'x'; 2500])
}

async fn twenty(journal: &Journal) {
    for n in 1..=20 {
        store(journal, big(n)).await;
    }
}

async fn says_it_has_room(journal: &Journal) {
    until(|| *journal.health().borrow() == Health::Writing).await;
}

fn bytes_on_disk(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir).unwrap();
    files
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum()
}

#[tokio::test]
async fn the_last_of_the_room_is_for_verdicts_and_a_dead_letter_is_carried_out_of_what_is_given_back()
 {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let opened = open_faulty(&disk, dir.path(), Options::default());
    let journal = &opened.journal;
    twenty(journal).await;
    disk.set(|faults| faults.available = Some(1000));
    let refused = journal.append(big(21)).await;
    assert!(
        matches!(refused, Err(AppendError::Unwritable(_))),
        "{refused:?}"
    );
    assert!(matches!(&*journal.health().borrow(), Health::Unwritable(_)));
    let before = bytes_on_disk(dir.path());
    journal.park(parked(7));
    journal.settle((1..=20).filter(|n| *n != 7).map(settled));
    journal.sync().await.expect("verdicts are written");
    until(|| bytes_on_disk(dir.path()) < before / 4).await;
    assert!(
        matches!(&*journal.health().borrow(), Health::Unwritable(_)),
        "still none for entries"
    );
    disk.set(|faults| faults.available = Some(8 << 20));
    says_it_has_room(journal).await;
    let next = store(journal, big(21)).await;
    drop(opened);

    let again = open(dir.path());
    assert_eq!(pending(&again.recovered), [next]);
    assert_eq!(again.recovered.parked[0].meta.seq, 7);
    let entry = again
        .journal
        .read(again.recovered.parked[0].meta.position)
        .unwrap();
    assert_eq!(entry.content.body.len(), 2500);
    assert_eq!(again.recovered.damage, Damage::default());
}

#[tokio::test]
async fn without_room_for_one_more_file_a_journal_of_nothing_needed_is_emptied() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let opened = open_faulty(&disk, dir.path(), Options::default());
    let journal = &opened.journal;
    twenty(journal).await;
    disk.set(|faults| faults.room = Some(0));
    assert!(journal.append(big(21)).await.is_err());
    let before = bytes_on_disk(dir.path());
    journal.settle((1..=19).map(settled));
    assert!(journal.sync().await.is_err());
    assert_eq!(bytes_on_disk(dir.path()), before, "one is needed");
    // The header that is written over needs no room.
    disk.set(|faults| faults.spare = 32);
    journal.settle([settled(20)]);
    until(|| bytes_on_disk(dir.path()) <= 32).await;
    disk.set(|faults| faults.room = None);
    says_it_has_room(journal).await;
    assert_eq!(
        journal.append(big(3)).await,
        Ok(Appended::Known { settled: true })
    );
    let next = store(journal, big(21)).await;
    assert!(next > 20, "{next} was given before");
    journal.close().await.unwrap();
    drop(opened);
    let again = open(dir.path());
    assert_eq!(pending(&again.recovered), [next]);
    assert_eq!(again.recovered.damage, Damage::default());
}
