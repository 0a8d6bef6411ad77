//! Small programs in C for what safe Rust cannot ask of a system: built by each test that needs one.

use std::{
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
};

/// Cuts the power of an ext4 file system: nothing that was not synced reaches the disk any more.
const CUT: &str = include_str!("native/cut.c");
/// A library that stands between the daemon and the disk, and fails on request.
const SHIM: &str = include_str!("native/shim.c");

/// A resolver that knows some names at times only.
const NAMES: &str = include_str!("native/names.c");

/// A library that moves the time of day.
const CLOCK: &str = include_str!("native/clock.c");

/// The time of day of a process whose `LD_PRELOAD` this is.
pub struct Clock {
    library: PathBuf,
    file: PathBuf,
}

impl Clock {
    /// The right time, to be set later.
    pub fn right(dir: &Path) -> Result<Clock, String> {
        let library = build(dir, "clock.so", CLOCK, &["-shared", "-fPIC"])?;
        let file = dir.join("offset");
        std::fs::write(&file, 0_i64.to_ne_bytes()).expect("written");
        Ok(Clock { library, file })
    }

    /// What a process needs so that this is its clock.
    pub fn settings(&self) -> [(&'static str, &str); 2] {
        let text = |path: &'static str, at| (path, Path::to_str(at).expect("a path of ours"));
        [
            text("LD_PRELOAD", &self.library),
            text("CLOCK_OFFSET", &self.file),
        ]
    }

    /// From now on it is off by so many seconds.
    pub fn set(&self, seconds: i64) {
        let mut file = std::fs::OpenOptions::new();
        // In place: the process looks at these bytes whenever it wants to know the time.
        let file = file.write(true).open(&self.file).expect("a file");
        file.write_all_at(&seconds.to_ne_bytes(), 0)
            .expect("written");
    }
}

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
