//! How large a test is, and what a process takes up.
//!
//! A test that can be long has its short size in the code and its long one in a variable `CCS_SOAK_…`. It
//! prints one line with what it measured, under the name of the goal that it is about.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::{Pid, getpriority_process};

/// The size that `CCS_SOAK_<name>` asks for, else the short one.
pub fn size(name: &str, short: usize) -> usize {
    match std::env::var(format!("CCS_SOAK_{name}")) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("CCS_SOAK_{name} is no number: {text}")),
        Err(_) => short,
    }
}

/// What a process holds in memory, in bytes.
pub fn memory(pid: Pid) -> u64 {
    status(pid, "VmRSS:") * 1024
}

/// The part of it that is not the program's own file, in bytes.
pub fn own_memory(pid: Pid) -> u64 {
    status(pid, "RssAnon:") * 1024
}

/// The most that it ever held, in bytes.
pub fn peak(pid: Pid) -> u64 {
    status(pid, "VmHWM:") * 1024
}

/// What of it is never swapped out, in bytes.
pub fn locked(pid: Pid) -> u64 {
    status(pid, "VmLck:") * 1024
}

/// Its threads.
pub fn threads(pid: Pid) -> u64 {
    status(pid, "Threads:")
}

/// The time that its living threads have spent on a processor.
pub fn processor(pid: Pid) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero()));
    let spent = tasks.expect("a running process").flatten().map(|task| {
        // A thread may end meanwhile.
        let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        let first = text.split_whitespace().next();
        first.and_then(|ns| ns.parse().ok()).unwrap_or(0)
    });
    Duration::from_nanos(spent.sum())
}

/// The number in this line of a process's status.
fn status(pid: Pid, name: &str) -> u64 {
    let path = format!("/proc/{}/status", pid.as_raw_nonzero());
    let status = fs::read_to_string(path).expect("a running process");
    let line = status.lines().find(|line| line.starts_with(name));
    let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    number.expect("a number")
}

/// How many files a process has open; only root may see that of a process that gives no core file.
pub fn open_files(pid: Pid) -> Option<usize> {
    let path = format!("/proc/{}/fd", pid.as_raw_nonzero());
    Some(fs::read_dir(path).ok()?.count())
}

/// So many bytes, in MiB, for people.
pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// What the files below a directory take up on the disk, in bytes. Some may go meanwhile.
pub fn disk(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => disk(&entry.path()),
        // In blocks of 512 bytes, whatever the file system's are.
        Ok(meta) => std::os::unix::fs::MetadataExt::blocks(&meta) * 512,
        Err(_) => 0,
    });
    sizes.sum()
}

/// Every file below a directory, with its content.
pub fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).expect("a directory") {
            let entry = entry.expect("an entry");
            let kind = entry.file_type().expect("a kind");
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file() {
                let bytes = fs::read(entry.path()).expect("a file");
                found.insert(entry.path(), bytes);
            }
        }
    }
    found
}

/// How far each of its threads stands back, by the names of the threads: the least and the most.
pub fn niceness(pid: Pid) -> BTreeMap<String, (i32, i32)> {
    let tasks = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero()));
    let mut found = BTreeMap::new();
    for task in tasks.expect("a running process").flatten() {
        let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        let thread = task.file_name().to_string_lossy().parse();
        let thread = Pid::from_raw(thread.expect("a number"));
        let Ok(nice) = getpriority_process(thread) else {
            continue;
        };
        let (least, most) = found.entry(name.trim().to_owned()).or_insert((nice, nice));
        (*least, *most) = (nice.min(*least), nice.max(*most));
    }
    found
}
