//! The machine itself: how long its disk and its clock take with nobody at work, and what its host takes from it.
//!
//! Looked at with each turn, since a shared machine changes within minutes. An acknowledgement waits for one sync and for
//! being woken more than once, so no contender that stores anything can be faster than what is seen here.

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

use crate::support::{process::TICKS_PER_SECOND, spread::Spread};

/// How often each is tried.
const TIMES: u64 = 300;
/// What is written before each sync, in bytes: about one delivery.
const WRITTEN: usize = 3 * 1024;
/// From one sync to the next.
const PAUSE: Duration = Duration::from_millis(1);

/// What the machine takes.
#[derive(Clone, Copy, Debug)]
pub struct Alone {
    /// To write so much into a file that has the room, and sync it.
    pub sync: Spread,
    /// How long after the end of a pause who slept is woken.
    pub late: Spread,
}

impl Alone {
    /// Tries both for half a second, in this directory.
    pub fn look(dir: &Path) -> io::Result<Alone> {
        let path = dir.join("alone");
        let mut options = OpenOptions::new();
        let file = options
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)?;
        file.write_all_at(&vec![0; WRITTEN * TIMES as usize], 0)?;
        file.sync_all()?;
        let (mut sync, mut late) = (Vec::new(), Vec::new());
        for time in 0..TIMES {
            let slept = Instant::now();
            sleep(PAUSE);
            late.push(slept.elapsed().saturating_sub(PAUSE));
            let written = Instant::now();
            file.write_all_at(&[b'x'; WRITTEN], time * WRITTEN as u64)?;
            file.sync_data()?;
            sync.push(written.elapsed());
        }
        fs::remove_file(path)?;
        Ok(Alone {
            sync: Spread::of(sync),
            late: Spread::of(late),
        })
    }
}

/// Seconds of processor time that a virtual machine wanted and its host gave to others, since it was started: none where
/// there is no host.
pub fn stolen() -> io::Result<f64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let all = stat.lines().next().unwrap_or_default();
    // The name, then user, nice, system, idle, iowait, irq, softirq, steal.
    let steal = all.split_ascii_whitespace().nth(8);
    let ticks: f64 = steal.and_then(|text| text.parse().ok()).unwrap_or(0.0);
    Ok(ticks / TICKS_PER_SECOND)
}
