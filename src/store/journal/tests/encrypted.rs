//! The journal with keys: what it shows, which keys it needs, and what it does not believe.

use std::fs;

use super::*;
use crate::store::crypt::Keyring;
use crate::store::journal::frame::seal;

fn keyed(keys: &[u8]) -> Options {
    let keys: Vec<[u8; 32]> = keys.iter().map(|key| [*key; 32]).collect();
    Options {
        keys: Keyring::new(&keys),
        ..Options::default()
    }
}

async fn filled(dir: &Path, keys: &[u8], from: u64) -> Vec<Position> {
    let mut opened = Journal::open(dir, keyed(keys)).unwrap();
    for n in from..from + 4 {
        let body = format!("{{\"name\":\"Qu1x {n}\"}}");
        store(
            &opened.journal,
            delivery(&format!("msg_{n}"), "user_1", body.as_bytes()),
        )
        .await;
    }
    opened.journal.park(parked(from + 1));
    opened.journal.settle([settled(from)]);
    opened.journal.close().await.unwrap();
    let mut places = Vec::new();
    while let Some(Notice::Stored(metas)) = opened.notices.try_recv() {
        places.extend(metas.into_iter().map(|meta| meta.position));
    }
    places
}

#[tokio::test]
async fn nothing_of_a_delivery_is_in_the_file_and_all_of_it_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), &[1], 1).await;
    let text = fs::read(dir.path().join("0000000001.seg")).unwrap();
    for word in ["Qu1x", "user_1", "msg_", "user.updated", "refused"] {
        assert!(
            !text.windows(word.len()).any(|part| part == word.as_bytes()),
            "{word}"
        );
    }
    let again = Journal::open(dir.path(), keyed(&[1])).unwrap();
    assert_eq!(pending(&again.recovered), [3, 4]);
    assert_eq!(again.recovered.parked[0].parked, parked(2));
    let entry = again
        .journal
        .read(again.recovered.pending[0].position)
        .unwrap();
    assert_eq!(
        entry.content,
        delivery("msg_3", "user_1", b"{\"name\":\"Qu1x 3\"}")
    );
    let copy = again
        .journal
        .append(delivery("msg_3", "user_1", b"{}"))
        .await;
    assert_eq!(copy, Ok(Appended::Known { settled: false }));
}

#[tokio::test]
async fn plain_and_old_entries_stay_readable_beside_new_ones() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), &[], 1).await;
    filled(dir.path(), &[1], 5).await;
    filled(dir.path(), &[2, 1], 9).await;
    let again = Journal::open(dir.path(), keyed(&[2, 1])).unwrap();
    assert_eq!(pending(&again.recovered), [3, 4, 7, 8, 11, 12]);
    assert_eq!(again.recovered.parked.len(), 3);
    for meta in &again.recovered.pending {
        assert_eq!(again.journal.read(meta.position).unwrap().seq, meta.seq);
    }
    let kinds: Vec<bool> = again.recovered.frames.keys().map(Option::is_some).collect();
    assert_eq!(kinds, [false, true, true]);
}

#[tokio::test]
async fn without_its_key_it_is_refused_and_untouched() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), &[1], 1).await;
    let file = dir.path().join("0000000001.seg");
    // A torn end, which a start with the key would cut off.
    let mut bytes = fs::read(&file).unwrap();
    bytes.extend([7; 30]);
    fs::write(&file, &bytes).unwrap();
    for keys in [&[2][..], &[]] {
        let refused = Journal::open(dir.path(), keyed(keys)).err();
        assert!(matches!(refused, Some(OpenError::UnknownKey { .. })));
        assert_eq!(fs::read(&file).unwrap(), bytes);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
    let opened = Journal::open(dir.path(), keyed(&[1])).unwrap();
    assert_eq!(opened.recovered.damage.torn_bytes, 30);
}

#[tokio::test]
async fn an_entry_in_another_ones_place_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let places = filled(dir.path(), &[1], 1).await;
    let file = dir.path().join("0000000001.seg");
    let mut bytes = fs::read(&file).unwrap();
    let range = |place: Position| place.offset as usize..(place.offset + 8 + place.len) as usize;
    let (third, fourth) = (range(places[2]), range(places[3]));
    assert_eq!(third.len(), fourth.len());
    // Each under the other's number, with checksums that are right.
    let number = 8 + 1 + crate::store::crypt::HEAD_BYTES;
    let (one, two) = (
        bytes[third.clone()].to_vec(),
        bytes[fourth.clone()].to_vec(),
    );
    for (place, frame, other) in [(third, &two, &one), (fourth, &one, &two)] {
        let mut frame = frame.clone();
        frame[number..number + 8].copy_from_slice(&other[number..number + 8]);
        seal(&mut frame);
        bytes[place].copy_from_slice(&frame);
    }
    fs::write(&file, bytes).unwrap();
    let again = Journal::open(dir.path(), keyed(&[1])).unwrap();
    assert!(again.recovered.damage.may_have_lost());
    assert_eq!(pending(&again.recovered), [] as [u64; 0]);
}

#[tokio::test]
async fn what_is_encrypted_is_not_written_into_an_old_segment() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), &[], 1).await;
    let file = dir.path().join("0000000001.seg");
    let mut bytes = fs::read(&file).unwrap();
    let mut header = super::super::frame::Header::decode(&bytes).unwrap();
    header.format = 1;
    bytes[..32].copy_from_slice(&header.encode());
    fs::write(&file, &bytes).unwrap();
    // Without a key nothing in it would surprise an older release.
    filled(dir.path(), &[], 5).await;
    let longer = fs::read(&file).unwrap();
    assert!(longer.len() > bytes.len());
    filled(dir.path(), &[1], 9).await;
    assert_eq!(fs::read(&file).unwrap(), longer);
    let again = Journal::open(dir.path(), keyed(&[1])).unwrap();
    assert_eq!(pending(&again.recovered), [3, 4, 7, 8, 11, 12]);
    assert_eq!(again.recovered.segments, 2);
}
