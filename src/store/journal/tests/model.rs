//! Random lives with random ends, held against what must be true of every one of them.
//!
//! What was acknowledged and is not final is found, unless the damage hit that very frame; what is
//! found was written; and the journal works on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    Settle(usize),
    Park(usize),
    Unpark(usize),
    Restart,
}

#[derive(Clone, Debug)]
enum End {
    /// The newest segment ends early, as after a kill or a power cut.
    Cut(prop::sample::Index),
    /// One bit of one segment is wrong.
    Flip(prop::sample::Index, prop::sample::Index),
    /// A stretch of one segment is overwritten.
    Garbage(prop::sample::Index, prop::sample::Index, Vec<u8>),
    Nothing,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0usize..1500).prop_map(Step::Append),
        4 => any::<usize>().prop_map(Step::Settle),
        1 => any::<usize>().prop_map(Step::Park),
        1 => any::<usize>().prop_map(Step::Unpark),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..60)
}

fn end() -> impl Strategy<Value = End> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        index().prop_map(End::Cut),
        (index(), index()).prop_map(|(file, bit)| End::Flip(file, bit)),
        (index(), index(), prop::collection::vec(any::<u8>(), 1..300))
            .prop_map(|(file, at, bytes)| End::Garbage(file, at, bytes)),
        Just(End::Nothing),
    ]
}

/// What is known to be stored and not final.
#[derive(Default)]
struct Truth {
    live: BTreeMap<u64, NewEntry>,
    parked: BTreeSet<u64>,
    written: BTreeMap<u64, NewEntry>,
    last: u64,
}

impl Truth {
    fn pick(&self, n: usize) -> Option<u64> {
        let count = self.live.len();
        (count > 0).then(|| *self.live.keys().nth(n % count).unwrap())
    }
}

async fn live(dir: &Path, steps: &[Step]) -> Truth {
    let mut truth = Truth::default();
    let mut opened = Journal::open(dir, small()).unwrap();
    for (n, step) in steps.iter().enumerate() {
        let journal = &opened.journal;
        match step {
            Step::Append(size) => {
                let entry = delivery(&format!("msg_{n}"), "user_1", &vec![b'x'; *size]);
                let seq = store(journal, entry.clone()).await;
                assert!(seq > truth.last, "a number was used again");
                truth.last = seq;
                truth.live.insert(seq, entry.clone());
                truth.written.insert(seq, entry);
            }
            Step::Settle(pick) => {
                if let Some(seq) = truth.pick(*pick) {
                    journal.settle([settled(seq)]);
                    truth.live.remove(&seq);
                    truth.parked.remove(&seq);
                }
            }
            Step::Park(pick) => {
                if let Some(seq) = truth.pick(*pick) {
                    journal.park(parked(seq));
                    truth.parked.insert(seq);
                }
            }
            Step::Unpark(pick) => {
                if let Some(seq) = truth.pick(*pick) {
                    journal.unpark(seq);
                    truth.parked.remove(&seq);
                }
            }
            Step::Restart => {
                drop(opened);
                opened = Journal::open(dir, small()).unwrap();
                holds(&opened, &truth).await;
            }
        }
    }
    opened.journal.close().await.unwrap();
    truth
}

/// Exactly what is live was found, and can be read.
async fn holds(opened: &Opened, truth: &Truth) {
    let recovered = &opened.recovered;
    assert_eq!(recovered.damage, Damage::default());
    let parked: Vec<u64> = recovered.parked.iter().map(|p| p.meta.seq).collect();
    assert!(parked.iter().eq(truth.parked.iter()));
    let waiting: Vec<u64> = truth
        .live
        .keys()
        .filter(|seq| !truth.parked.contains(seq))
        .copied()
        .collect();
    assert_eq!(pending(recovered), waiting);
    everything_found_was_written(opened, truth).await;
}

async fn everything_found_was_written(opened: &Opened, truth: &Truth) {
    let parked = opened.recovered.parked.iter().map(|parked| &parked.meta);
    for meta in opened.recovered.pending.iter().chain(parked) {
        let mut position = meta.position;
        let entry = loop {
            match opened.journal.read(position) {
                // It was copied forward since.
                Err(ReadError::Gone) => {
                    position = opened.journal.locate(meta.seq).await.unwrap();
                }
                read => break read.unwrap(),
            }
        };
        assert_eq!(entry.seq, meta.seq);
        assert_eq!(Some(&entry.content), truth.written.get(&meta.seq));
    }
}

fn found(recovered: &Recovered) -> BTreeSet<u64> {
    let parked = recovered.parked.iter().map(|parked| parked.meta.seq);
    pending(recovered).into_iter().chain(parked).collect()
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "seg"))
        .collect();
    files.sort();
    files
}

/// Damages the files; answers which segment from which byte to which.
fn apply(dir: &Path, end: &End) -> Option<(u32, std::ops::Range<usize>)> {
    let files = segments(dir);
    let number = |path: &Path| path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    match end {
        End::Nothing => None,
        End::Cut(at) => {
            let path = files.last().unwrap();
            let bytes = fs::read(path).unwrap();
            let at = at.index(bytes.len() + 1);
            fs::write(path, &bytes[..at]).unwrap();
            Some((number(path), at..bytes.len()))
        }
        End::Flip(file, bit) => {
            let path = &files[file.index(files.len())];
            let mut bytes = fs::read(path).unwrap();
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            fs::write(path, &bytes).unwrap();
            Some((number(path), bit / 8..bit / 8 + 1))
        }
        End::Garbage(file, at, garbage) => {
            let path = &files[file.index(files.len())];
            let mut bytes = fs::read(path).unwrap();
            let at = at.index(bytes.len());
            let to = (at + garbage.len()).min(bytes.len());
            bytes[at..to].copy_from_slice(&garbage[..to - at]);
            fs::write(path, &bytes).unwrap();
            Some((number(path), at..to))
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_was_acknowledged_is_found_unless_the_damage_hit_it(steps in steps(), end in end()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let truth = runtime.block_on(live(dir.path(), &steps));

        // Where everything lies before the damage; nothing moves meanwhile.
        let still = Options { keep_segments: usize::MAX, ..small() };
        let opened = Journal::open(dir.path(), still).unwrap();
        runtime.block_on(holds(&opened, &truth));
        let parked = opened.recovered.parked.iter().map(|parked| &parked.meta);
        let places: BTreeMap<u64, Position> = opened.recovered.pending.iter()
            .chain(parked)
            .map(|meta| (meta.seq, meta.position))
            .collect();
        drop(opened);

        let hit = apply(dir.path(), &end);
        let again = Journal::open(dir.path(), small()).unwrap();
        runtime.block_on(everything_found_was_written(&again, &truth));
        let found = found(&again.recovered);
        for (seq, place) in &places {
            let frame = place.offset as usize..(place.offset + 8 + place.len) as usize;
            let spared = match &hit {
                None => true,
                Some((segment, range)) => {
                    *segment != place.segment || range.end <= frame.start || frame.end <= range.start
                }
            };
            prop_assert!(!spared || found.contains(seq), "{seq} at {place:?} is gone after {hit:?}");
        }
        if hit.is_none() {
            runtime.block_on(holds(&again, &truth));
        }
        // And it can be used and opened again.
        let seq = runtime.block_on(store(&again.journal, request("user_9")));
        prop_assert!(!found.contains(&seq));
        drop(again);
        let third = Journal::open(dir.path(), small()).unwrap();
        prop_assert!(pending(&third.recovered).contains(&seq));
    }
}
