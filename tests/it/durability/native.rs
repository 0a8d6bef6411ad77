//! Small programs in C for what safe Rust cannot ask of a system: built by each test that needs one.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Cuts the power of an ext4 file system: nothing that was not synced reaches the disk any more.
const CUT: &str = include_str!("native/cut.c");
/// A library that stands between the daemon and the disk, and fails on request.
const SHIM: &str = include_str!("native/shim.c");

/// A resolver that knows some names at times only.
const NAMES: &str = include_str!("native/names.c");

/// Builds a program.
pub fn cut(dir: &Path) -> Result<PathBuf, String> {
    build(dir, "cut", CUT, &[])
}

/// Builds the library for `LD_PRELOAD`.
pub fn shim(dir: &Path) -> Result<PathBuf, String> {
    build(
        dir,
        "shim.so",
        SHIM,
        &["-shared", "-fPIC", "-ldl", "-lpthread"],
    )
}

/// The same for names.
pub fn names(dir: &Path) -> Result<PathBuf, String> {
    build(dir, "names.so", NAMES, &["-shared", "-fPIC", "-ldl"])
}

fn build(dir: &Path, name: &str, source: &str, flags: &[&str]) -> Result<PathBuf, String> {
    let (file, built) = (dir.join(format!("{name}.c")), dir.join(name));
    std::fs::write(&file, source).expect("written");
    let mut compiler = Command::new("cc");
    compiler
        .args(["-O1", "-Wall", "-o"])
        .arg(&built)
        .arg(&file)
        .args(flags);
    let output = compiler
        .output()
        .map_err(|error| format!("no C compiler: {error}"))?;
    match output.status.success() {
        true => Ok(built),
        false => panic!("{name}.c: {}", String::from_utf8_lossy(&output.stderr)),
    }
}
