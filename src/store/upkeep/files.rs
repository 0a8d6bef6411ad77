//! The files beside the two stores that may hold encrypted records: plans, reports, parts of runs, the operations log.
//!
//! A plan or a report is one record; a list of differences, which grows, is a record a line. Knows where they lie and
//! how they are encrypted, not what they say. Follows no link.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::verify::Tally;
use crate::store::crypt::{Keyring, Name, Unreadable, key_of, key_of_line};
use crate::store::directory;

/// Where plans, reports and parts of runs lie in the state directory.
pub const PLANS: &str = "plans";
pub const REPORTS: &str = "reports";
pub const RUNS: &str = "runs";
/// Where the operations log lies.
pub const OPLOG: &str = "oplog";
/// What stands in the place of an entry of the operations log that nobody can decrypt: the entries after it stay.
const LOST: &[u8] = b"{}";
/// Runs that found nothing, counted: no value of anybody is in it, and it is read without a key.
const COUNTED: &str = "quiet.json";
/// What a file's name begins with until it is whole.
const UNFINISHED: &str = ".";
/// The longest line that is read, in bytes: twice what any of the lists holds.
const MAX_LINE: u64 = 4 << 20;

/// One of them.
pub struct RecordFile {
    /// The file.
    pub path: PathBuf,
    /// Its name in the state directory, which is bound into what is encrypted.
    name: String,
    lines: bool,
}

/// The files of a kind, by name.
pub fn list(state: &Path, kind: &str) -> io::Result<Vec<RecordFile>> {
    let mut found = Vec::new();
    collect(&state.join(kind), kind, &mut found)?;
    found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn collect(dir: &Path, name: &str, found: &mut Vec<RecordFile>) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        let own = entry.file_name().to_string_lossy().into_owned();
        let (path, kind) = (entry.path(), entry.file_type()?);
        let name = format!("{name}/{own}");
        if kind.is_dir() {
            collect(&path, &name, found)?;
        } else if kind.is_file() && own != COUNTED && !own.starts_with(UNFINISHED) {
            let grows = name.starts_with(REPORTS) || name.starts_with(OPLOG);
            let lines = name.starts_with(RUNS) || (grows && name.ends_with(".ndjson"));
            found.push(RecordFile { path, name, lines });
        }
    }
    Ok(())
}

/// Removes files that a killed process did not finish.
pub fn remove_unfinished(dir: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        let unfinished = entry.file_name().to_string_lossy().starts_with(UNFINISHED);
        if unfinished && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

impl RecordFile {
    /// Its name in the state directory.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Counts its records.
    pub fn count(&self, keys: &Keyring, tally: &mut Tally) -> io::Result<()> {
        if !self.lines {
            let kept = fs::read(&self.path)?;
            let readable = keys.decrypt(Name::File(&self.name), &kept).is_ok();
            tally.add(key_of(&kept), readable);
            return Ok(());
        }
        self.each_line(|at, line| {
            let readable = keys.decrypt_line(&self.name, at, line).is_ok();
            tally.add(key_of_line(line), readable);
            Ok(())
        })
    }

    /// Writes it anew under the key that writes; what is plain too if `plain_too`. False if it is as it should be.
    pub fn rewrite(&self, keys: &Keyring, plain_too: bool) -> io::Result<bool> {
        let due = self.is_due(keys, plain_too)?;
        if due {
            let beside = self.path.with_file_name(format!("{UNFINISHED}rekeyed"));
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&beside)?;
            let mut out = BufWriter::new(file);
            self.write(&mut out, keys, plain_too)?;
            out.into_inner()?.sync_all()?;
            fs::rename(&beside, &self.path)?;
            self.path.parent().map_or(Ok(()), directory::sync)?;
        }
        Ok(due)
    }

    fn is_due(&self, keys: &Keyring, plain_too: bool) -> io::Result<bool> {
        let due = |key| match key {
            None => plain_too,
            key => key != keys.writes(),
        };
        if !self.lines {
            return Ok(due(key_of(&fs::read(&self.path)?)));
        }
        let mut any = false;
        self.each_line(|_, line| {
            any |= due(key_of_line(line));
            Ok(())
        })?;
        Ok(any)
    }

    fn write(&self, out: &mut impl Write, keys: &Keyring, plain_too: bool) -> io::Result<()> {
        if !self.lines {
            let kept = fs::read(&self.path)?;
            let name = Name::File(&self.name);
            let plain = keys.decrypt(name, &kept).map_err(unreadable)?;
            return out.write_all(&keys.encrypt(name, &plain));
        }
        let mut written = 0;
        self.each_line(|at, line| {
            let plain = match keys.decrypt_line(&self.name, at, line) {
                Err(_) if self.is_log() => LOST.into(),
                plain => plain.map_err(unreadable)?,
            };
            let line = match key_of_line(line).is_some() || plain_too {
                true => keys.encrypt_line(&self.name, written, &plain),
                false => [&plain, &b"\n"[..]].concat(),
            };
            written += line.len() as u64;
            out.write_all(&line)
        })
    }

    fn is_log(&self) -> bool {
        self.name.starts_with(OPLOG)
    }

    /// Reads line by line, each with its place and without its end.
    fn each_line(&self, mut each: impl FnMut(u64, &[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut reader = BufReader::new(File::open(&self.path)?);
        let (mut at, mut line) = (0, Vec::new());
        loop {
            line.clear();
            let read = io::Read::take(&mut reader, MAX_LINE).read_until(b'\n', &mut line)?;
            // A kill may have left an entry of the log without its end; the next start cuts it off.
            if read == 0 || (self.is_log() && !line.ends_with(b"\n")) {
                return Ok(());
            }
            each(at, line.strip_suffix(b"\n").unwrap_or(&line))?;
            at += read as u64;
        }
    }
}

fn unreadable(error: Unreadable) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
