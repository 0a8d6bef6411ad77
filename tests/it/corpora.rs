//! The corpora of the fuzz targets, replayed: each file as it is, cut short, and with a byte turned over.
//!
//! What fuzzing finds is kept as a file below `fuzz/corpus`, and stays found. Which bytes are turned over is
//! always the same, so a failure names what to look at.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

#[path = "../../fuzz/inputs.rs"]
mod inputs;

/// Variants of one file, at most: a file of the journal costs a few milliseconds each time.
const VARIANTS: usize = 60;

/// Replays a corpus, which must have at least so many files.
fn replay(name: &str, least: usize, input: fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(name);
    let entries = fs::read_dir(&dir).expect("a corpus");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    assert!(files.len() >= least, "only {} files in {name}", files.len());
    for file in files {
        let whole = fs::read(&file).expect("a file");
        for (what, data) in variants(&whole) {
            let tried = catch_unwind(AssertUnwindSafe(|| input(&data)));
            assert!(tried.is_ok(), "{}: {what}", file.display());
        }
    }
}

/// The bytes as they are, then cut short, then with one byte turned over, at places spread over the whole.
fn variants(whole: &[u8]) -> Vec<(String, Vec<u8>)> {
    let step = (whole.len() / (VARIANTS / 2)).max(1);
    let places = || (0..whole.len()).step_by(step);
    let mut all = vec![("as it is".to_owned(), whole.to_vec())];
    all.extend(places().map(|at| (format!("cut at {at}"), whole[..at].to_vec())));
    all.extend(places().map(|at| {
        let mut turned = whole.to_vec();
        turned[at] ^= 1 << (at % 8);
        (format!("byte {at} turned over"), turned)
    }));
    all
}

#[test]
fn headers_and_signatures() {
    replay("signature", 8, inputs::signature);
}

#[test]
fn bodies_of_deliveries() {
    replay("event", 8, inputs::event);
}

#[test]
fn segments_of_the_journal() {
    replay("journal", 3, inputs::journal);
}

#[test]
fn entries_of_the_journal() {
    replay("entries", 3, inputs::entries);
}

#[test]
fn configuration_files() {
    replay("configuration", 4, inputs::configuration);
}

#[test]
fn reports_of_earlier_runs() {
    replay("report", 3, inputs::report);
}

#[test]
fn a_corpus_that_breaks_something_is_noticed() {
    let caught = catch_unwind(|| replay("signature", 1, |data| assert!(data.len() < 40)));
    assert!(
        caught.is_err(),
        "an input that panics passes for a good one"
    );
    let missing = catch_unwind(|| replay("signature", 10_000, |_| {}));
    assert!(missing.is_err(), "an empty corpus passes for a good one");
}
