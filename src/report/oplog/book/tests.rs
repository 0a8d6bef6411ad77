//! A disk whose syncs fail.
//!
//! In the place of the file stands one that takes everything, keeps nothing, and fails when it is synced.

use tempfile::TempDir;

use super::*;
use crate::{
    model::Asked,
    report::oplog::{
        Reader,
        note::{Note, Place},
    },
    store::crypt::Keyring,
};

fn files(dir: &TempDir) -> Files {
    Files::of(dir.path(), &Keyring::default())
}

fn append(book: &mut Book, entries: usize) -> Result<(), OplogError> {
    for _ in 0..entries {
        let note = Note::new(0, Place::Daemon, Asked::Daemon, "test", "noted");
        book.append(|lines| lines.note("1970-01-01T00:00:00.000Z", &note))?;
    }
    book.write()
}

fn nowhere() -> Option<File> {
    let file = File::options().write(true).open("/dev/null");
    Some(file.unwrap())
}

#[test]
fn a_sync_that_failed_is_not_asked_again_and_what_it_may_have_cost_stays_to_be_seen() {
    let dir = tempfile::tempdir().unwrap();
    let (mut book, _) = Book::open(files(&dir), 1 << 20).unwrap();
    append(&mut book, 3).unwrap();
    book.sync().unwrap();
    book.file = nowhere();
    append(&mut book, 2).unwrap();
    book.sync().unwrap_err();
    assert_eq!(book.take_doubtful(), Some((4, 5)));
    // Nobody asks again, and nobody takes it for synced.
    assert!(!book.is_dirty());
    book.sync().unwrap();
    book.close().unwrap();
    let tail = || files(&dir).marks().unwrap().unwrap().tail.n;
    assert_eq!(tail(), 3);
    append(&mut book, 1).unwrap();
    book.close().unwrap();
    assert_eq!((tail(), book.take_doubtful()), (6, None));
    let segments = files(&dir).segments().unwrap();
    let firsts: Vec<u64> = segments.iter().map(|segment| segment.first).collect();
    assert_eq!(firsts, [1, 6], "it went on in another file");
    let reader = Reader::look(dir.path(), &Keyring::default());
    let broken = reader.verify().unwrap().broken.unwrap();
    assert_eq!(broken.n, 4, "{broken:?}");
}

#[test]
fn a_full_segment_whose_sync_fails_is_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (mut book, _) = Book::open(files(&dir), 1 << 20).unwrap();
    append(&mut book, 1).unwrap();
    book.sync().unwrap();
    book.file = nowhere();
    append(&mut book, 1).unwrap();
    // As when it is full.
    book.apart = true;
    append(&mut book, 1).unwrap_err();
    assert_eq!(
        (book.take_lost(), book.take_doubtful()),
        (1, Some((2, 2))),
        "the entry that met it has no number"
    );
    append(&mut book, 1).unwrap();
    book.close().unwrap();
    assert_eq!(files(&dir).marks().unwrap().unwrap().tail.n, 3);
}
