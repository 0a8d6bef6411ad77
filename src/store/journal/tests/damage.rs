//! Whatever happens to the files, the journal opens, tells, and keeps what is whole.
//!
//! Each case damages real files of a closed journal by hand: one place, and what it may cost.

use std::fs;

use super::*;

/// Six entries in one segment, and where each frame starts.
async fn six(dir: &Path) -> (std::path::PathBuf, Vec<Position>) {
    let mut opened = open(dir);
    for n in 1..=6 {
        store(
            &opened.journal,
            delivery(&format!("msg_{n}"), "user_1", b"{\"a\":1}"),
        )
        .await;
    }
    opened.journal.close().await.unwrap();
    let mut places = Vec::new();
    while let Some(Notice::Stored(metas)) = opened.notices.try_recv() {
        places.extend(metas.into_iter().map(|meta| meta.position));
    }
    (dir.join("0000000001.seg"), places)
}

#[tokio::test]
async fn a_damaged_frame_costs_itself_and_no_other() {
    // Length, checksum, kind, and body, in the middle of the file.
    for byte in [0, 2, 3, 5, 8, 40, 60] {
        let dir = tempfile::tempdir().unwrap();
        let (file, places) = six(dir.path()).await;
        let mut bytes = fs::read(&file).unwrap();
        bytes[places[2].offset as usize + byte] ^= 0x40;
        fs::write(&file, bytes).unwrap();
        let again = open(dir.path());
        assert_eq!(pending(&again.recovered), [1, 2, 4, 5, 6], "byte {byte}");
        let damage = &again.recovered.damage;
        assert_eq!(damage.places, 1);
        assert_eq!(damage.bytes, u64::from(places[2].len) + 8);
        assert!(damage.may_have_lost());
        assert_eq!(store(&again.journal, request("user_1")).await, 7);
    }
}

#[tokio::test]
async fn a_torn_tail_is_cut_off_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (file, places) = six(dir.path()).await;
    let whole = fs::read(&file).unwrap();
    let cut = places[5].offset as usize + 20;
    fs::write(&file, &whole[..cut]).unwrap();
    let again = open(dir.path());
    assert_eq!(pending(&again.recovered), [1, 2, 3, 4, 5]);
    let damage = &again.recovered.damage;
    assert_eq!((damage.places, damage.torn_bytes), (0, 20));
    assert!(!damage.may_have_lost(), "a kill leaves this behind");
    assert_eq!(
        fs::read(&damage.set_aside[0]).unwrap(),
        whole[cut - 20..cut]
    );
    assert_eq!(store(&again.journal, request("user_1")).await, 6);
    drop(again);
    let third = open(dir.path());
    assert_eq!(third.recovered.damage, Damage::default());
    assert_eq!(pending(&third.recovered), [1, 2, 3, 4, 5, 6]);
}

#[tokio::test]
async fn zeros_at_the_end_are_cut_off_without_a_trace() {
    let dir = tempfile::tempdir().unwrap();
    let (file, _) = six(dir.path()).await;
    let mut bytes = fs::read(&file).unwrap();
    bytes.resize(bytes.len() + 5000, 0);
    fs::write(&file, bytes).unwrap();
    let again = open(dir.path());
    assert_eq!(pending(&again.recovered).len(), 6);
    assert_eq!(again.recovered.damage, Damage::default());
}

#[tokio::test]
async fn kept_tails_are_few() {
    let dir = tempfile::tempdir().unwrap();
    let (file, _) = six(dir.path()).await;
    for n in 0..30u8 {
        let mut bytes = fs::read(&file).unwrap();
        bytes.extend([n + 1; 10]);
        fs::write(&file, &bytes).unwrap();
        let opened = open(dir.path());
        store(&opened.journal, request("user_1")).await;
    }
    let torn = fs::read_dir(dir.path())
        .unwrap()
        .filter(|entry| {
            entry
                .as_ref()
                .unwrap()
                .path()
                .extension()
                .is_some_and(|e| e == "torn")
        })
        .count();
    assert!((1..=8).contains(&torn), "{torn}");
}

#[tokio::test]
async fn damaged_segments_are_kept_but_few_and_each_once() {
    let dir = tempfile::tempdir().unwrap();
    let kept = || {
        let files = fs::read_dir(dir.path()).unwrap();
        let paths = files.map(|file| file.unwrap().path());
        paths
            .filter(|path| path.to_string_lossy().contains(".corrupt-"))
            .collect::<Vec<_>>()
    };
    for n in 1..=5 {
        let opened = open(dir.path());
        let live = store(
            &opened.journal,
            delivery(&format!("msg_{n}"), "user_1", b"{}"),
        )
        .await;
        let more = store(
            &opened.journal,
            delivery(&format!("msg_{n}+"), "user_1", b"{}"),
        )
        .await;
        opened.journal.settle([settled(live)]);
        opened.journal.close().await.unwrap();
        drop(opened);
        let newest = dir.path().join(format!("{n:010}.seg"));
        let mut bytes = fs::read(&newest).unwrap();
        bytes[45] ^= 1;
        fs::write(&newest, &bytes).unwrap();
        for _ in 0..2 {
            let again = open(dir.path());
            assert!(again.recovered.damage.may_have_lost());
            assert!(pending(&again.recovered).contains(&more));
            drop(again);
            assert_eq!(kept().len(), n.min(3), "{:?}", kept());
        }
        let mut names = kept();
        names.sort_unstable();
        assert_eq!(
            fs::read(names.last().unwrap()).unwrap(),
            bytes,
            "as it was found"
        );
    }
}

#[tokio::test]
async fn a_damaged_header_costs_no_entry() {
    let dir = tempfile::tempdir().unwrap();
    let (file, _) = six(dir.path()).await;
    let mut bytes = fs::read(&file).unwrap();
    bytes[1] ^= 1;
    fs::write(&file, bytes).unwrap();
    let again = open(dir.path());
    assert_eq!(pending(&again.recovered).len(), 6);
    assert_eq!(again.recovered.damage.places, 1);
    assert_eq!(store(&again.journal, request("user_1")).await, 7);
    assert_eq!(again.journal.stats().segments, 2);
}

#[tokio::test]
async fn a_newer_layout_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (file, _) = six(dir.path()).await;
    let mut bytes = fs::read(&file).unwrap();
    let header = super::super::frame::Header {
        format: 9,
        segment: 1,
        first_seq: 1,
    };
    bytes[..32].copy_from_slice(&header.encode());
    bytes.extend([7; 9]);
    fs::write(&file, &bytes).unwrap();
    let refused = Journal::open(dir.path(), Options::default()).err();
    assert!(matches!(refused, Some(OpenError::Newer { found: 9, .. })));
    assert_eq!(fs::read(&file).unwrap(), bytes);
}

#[tokio::test]
async fn a_missing_segment_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let opened = Journal::open(dir.path(), small()).unwrap();
    for n in 1..=12 {
        store(
            &opened.journal,
            delivery(&format!("msg_{n}"), "user_1", &[b'x'; 1000]),
        )
        .await;
    }
    drop(opened);
    fs::remove_file(dir.path().join("0000000002.seg")).unwrap();
    let again = open(dir.path());
    assert_eq!(again.recovered.damage.missing_segments, 1);
    assert!(again.recovered.damage.may_have_lost());
    assert_eq!(again.recovered.highest_seq, 12);
}

#[tokio::test]
async fn damage_found_by_a_reader_is_told_and_not_handed_out() {
    let dir = tempfile::tempdir().unwrap();
    let (file, places) = six(dir.path()).await;
    let again = open(dir.path());
    let mut bytes = fs::read(&file).unwrap();
    bytes[places[1].offset as usize + 70] ^= 1;
    fs::write(&file, bytes).unwrap();
    let read = again.journal.read(places[1]);
    assert!(matches!(read, Err(ReadError::Damaged(at)) if at == places[1]));
    assert!(again.journal.read(places[2]).is_ok());
    // A place that never was one is damage too, whatever it asks for.
    for (offset, len) in [(0, 10), (40, u32::MAX), (u32::MAX, 10)] {
        let place = Position {
            segment: 1,
            offset,
            len,
        };
        assert!(matches!(
            again.journal.read(place),
            Err(ReadError::Damaged(_))
        ));
    }
}

#[test]
fn made_up_files_open_too() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("0000000001.seg"), b"").unwrap();
    fs::write(dir.path().join("0000000002.seg"), [0xff; 3000]).unwrap();
    fs::write(dir.path().join("0000000003.seg"), [0; 10]).unwrap();
    fs::write(dir.path().join("notes.txt"), b"not ours").unwrap();
    fs::write(dir.path().join("9.seg"), b"not ours either").unwrap();
    let opened = open(dir.path());
    assert!(opened.recovered.pending.is_empty());
    assert_eq!(opened.recovered.damage.bytes, 3000);
    assert!(dir.path().join("9.seg").exists());
}
