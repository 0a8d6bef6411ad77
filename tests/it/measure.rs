//! How large a test is, and what a process takes up.
//!
//! A test that can be long has its short size in the code and its long one in a variable `CCS_SOAK_…`. It
//! prints one line with what it measured, under the name of the goal that it is about.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use rustix::process::Pid;

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
    let path = format!("/proc/{}/status", pid.as_raw_nonzero());
    let status = fs::read_to_string(path).expect("a running process");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.expect("a number of KiB") * 1024
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
