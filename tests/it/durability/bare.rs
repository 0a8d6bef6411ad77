//! The measure for G02: what the same cuts do to a program that only appends to a file and syncs it.
//!
//! What was synced before a cut was ordered is there after it. A sync that meets the shut-down is another matter:
//! ext4 may answer it with yes and keep nothing, whoever asks, since it takes a commit that was broken off for one
//! that is over. So nothing that is acknowledged from the order on can be held against the daemon.

use std::{
    fs::{self, File},
    io::Write,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use super::{native, power::FILLINGS, volume::Volume};
use crate::soak::{self, Dice};

/// The latest moment of a cut, in milliseconds.
const LATEST_MS: u64 = 300;
/// Room for one file.
const MIB: u64 = 256;

/// How many syncs said yes, and of how many the bytes were not there afterwards.
#[derive(Default)]
struct Counted {
    before: usize,
    before_lost: usize,
    after: usize,
    after_lost: usize,
    broken_volumes: usize,
}

/// A record that was synced: from byte to byte, its filling, and when.
struct Synced {
    from: usize,
    to: usize,
    filling: u8,
    at: Instant,
}

/// Appends and syncs until it is told to stop or the file system is gone.
fn append(mut file: File, stop: &AtomicBool, mut dice: Dice) -> Vec<Synced> {
    let mut synced = Vec::new();
    let (mut from, mut filling) = (0, 0_u8);
    while !stop.load(Ordering::Relaxed) {
        filling = filling % 255 + 1;
        let bytes = vec![filling; *dice.one(FILLINGS)];
        if file
            .write_all(&bytes)
            .and_then(|()| file.sync_data())
            .is_err()
        {
            break;
        }
        let (to, at) = (from + bytes.len(), Instant::now());
        synced.push(Synced {
            from,
            to,
            filling,
            at,
        });
        from = to;
        std::thread::sleep(Duration::from_micros(dice.below(5_000)));
    }
    synced
}

/// Cuts the power so often; the reason if that cannot be done here.
fn cut_under_a_file(cuts: usize, dice: &mut Dice) -> Result<Counted, String> {
    let (tools, at) = (tempfile::tempdir(), tempfile::tempdir());
    let (tools, at) = (tools.expect("a directory"), at.expect("a directory"));
    let cut = native::cut(tools.path())?;
    let volume = Volume::on_loop_device(at.path(), MIB)?;
    let mut counted = Counted::default();
    for _ in 0..cuts {
        let (path, stop) = (at.path().join("file"), AtomicBool::new(false));
        let file = File::create(&path).expect("a file");
        file.sync_all().expect("there is power");
        let (ordered, synced) = std::thread::scope(|scope| {
            let own = Dice::of(dice.below(u64::MAX));
            let writer = scope.spawn(|| append(file, &stop, own));
            std::thread::sleep(Duration::from_millis(dice.below(LATEST_MS)));
            let ordered = Instant::now();
            let done = Command::new(&cut).arg(at.path()).status();
            assert!(done.is_ok_and(|done| done.success()), "the power is cut");
            stop.store(true, Ordering::Relaxed);
            (ordered, writer.join().expect("no panic"))
        });
        volume.unmount();
        counted.broken_volumes += usize::from(volume.recover().is_some());
        let kept = fs::read(&path).unwrap_or_default();
        for one in synced {
            let bytes = kept.get(one.from..one.to);
            let lost = !bytes.is_some_and(|bytes| bytes.iter().all(|byte| *byte == one.filling));
            if one.at < ordered {
                counted.before += 1;
                counted.before_lost += usize::from(lost);
            } else {
                counted.after += 1;
                counted.after_lost += usize::from(lost);
            }
        }
    }
    Ok(counted)
}

#[test]
fn g02_a_file_keeps_what_was_synced_before_the_cut_was_ordered() {
    let mut dice = Dice::new();
    let cuts = soak::size("CCS_SOAK_CUTS", 4);
    let counted = match cut_under_a_file(cuts, &mut dice) {
        Ok(counted) => counted,
        Err(why) => return soak::not_run("G02", &format!("no power can be cut here: {why}")),
    };
    soak::say(
        "G02",
        &format!(
            "the same {cuts} cuts under a file that is appended to: of {} syncs that ended before the order {} lost, \
             of {} that said yes after it {}; the file system was damaged {} times; seed {}",
            counted.before,
            counted.before_lost,
            counted.after,
            counted.after_lost,
            counted.broken_volumes,
            dice.seed
        ),
    );
    assert_eq!(counted.before_lost, 0);
}
