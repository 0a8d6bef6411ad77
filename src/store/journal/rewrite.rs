//! Writes segments anew, in today's layout and under the key that writes, while nobody else has the journal.
//!
//! One segment at a time: beside the old one, synced, then put in its place, so that after a kill each is the
//! old or the new one and both can be read. Damaged places stay damaged places, as zeros: what was lost there
//! is not forgotten. Says nothing of what an entry means.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::encrypted::put_again;
use super::error::OpenError;
use super::frame::{FORMAT, HEADER_BYTES, Header};
use super::recover::{is_newer, segment_numbers};
use super::search::Frames;
use super::writer::segment_path;
use crate::store::crypt::Keyring;
use crate::store::directory;

/// What a segment's name has behind it until it is whole.
const UNFINISHED: &str = "new";

/// What was done to a journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rewritten {
    /// Segments that were written anew.
    pub segments: u64,
    /// Their frames.
    pub frames: u64,
    /// Segments that were as they should be.
    pub unchanged: u64,
}

/// Brings all segments of a journal into today's layout and under the key that writes. `each` hears how many are
/// done, and of how many, after each one. The caller holds the journal's lock.
///
/// # Errors
/// See [`OpenError`]; what was done stays done, and the next call goes on.
pub fn rewrite(
    dir: &Path,
    keys: &Keyring,
    each: &mut dyn FnMut(usize, usize) -> io::Result<()>,
) -> Result<Rewritten, OpenError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::Io { path, source }
    };
    let mut done = Rewritten::default();
    remove_unfinished(dir).map_err(at(dir))?;
    let numbers = segment_numbers(dir)?;
    for (count, number) in numbers.iter().enumerate() {
        let path = segment_path(dir, *number);
        let bytes = fs::read(&path).map_err(at(&path))?;
        match anew(&path, *number, &bytes, keys)? {
            Some((text, frames)) => {
                replace(dir, &path, &text).map_err(at(&path))?;
                done.segments += 1;
                done.frames += frames;
            }
            None => done.unchanged += 1,
        }
        each(count + 1, numbers.len()).map_err(at(dir))?;
    }
    Ok(done)
}

/// Refuses a journal of which a segment was written by a newer release, before anything is touched.
///
/// # Errors
/// [`OpenError::Newer`], or the disk refused.
pub fn check_layout(dir: &Path) -> Result<(), OpenError> {
    if !dir.is_dir() {
        return Ok(());
    }
    for number in segment_numbers(dir)? {
        let path = segment_path(dir, number);
        let mut head = Vec::with_capacity(HEADER_BYTES);
        let read = File::open(&path)
            .and_then(|file| file.take(HEADER_BYTES as u64).read_to_end(&mut head));
        if let Err(source) = read {
            return Err(OpenError::Io { path, source });
        }
        if let Some(header) = Header::decode(&head) {
            is_newer(&path, header.format)?;
        }
    }
    Ok(())
}

/// Removes what a rewriting left that was cut off.
pub fn remove_unfinished(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == UNFINISHED) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// The segment as it should be and how many frames it has; none if it is.
fn anew(
    path: &Path,
    number: u32,
    bytes: &[u8],
    keys: &Keyring,
) -> Result<Option<(Vec<u8>, u64)>, OpenError> {
    let header = Header::decode(bytes);
    if let Some(header) = header {
        is_newer(path, header.format)?;
    }
    let unknown = |key| OpenError::UnknownKey {
        path: path.to_owned(),
        key,
    };
    let today = Header {
        format: FORMAT,
        segment: number,
        first_seq: header.map_or(0, |header| header.first_seq),
    };
    let mut out = Vec::with_capacity(bytes.len());
    out.extend_from_slice(&today.encode());
    let mut due = header.is_none_or(|header| header.format < FORMAT);
    let mut found = Frames::of(bytes, keys);
    let mut frames = 0;
    while let Some(frame) = found.next().map_err(unknown)? {
        due |= frame.key != keys.writes();
        frames += 1;
        out.resize(out.len() + frame.skipped, 0);
        put_again(&mut out, &frame.plain, keys);
    }
    let rest = bytes.len().saturating_sub(found.good().max(HEADER_BYTES));
    out.resize(out.len() + rest, 0);
    if u32::try_from(out.len()).is_err() {
        let source = io::Error::other("it would grow beyond 4 GiB; let the daemon empty it first");
        return Err(OpenError::Io {
            path: path.to_owned(),
            source,
        });
    }
    Ok(due.then_some((out, frames)))
}

fn replace(dir: &Path, path: &Path, text: &[u8]) -> io::Result<()> {
    let beside = unfinished(path);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(text)?;
    file.sync_all()?;
    drop::<File>(file);
    fs::rename(&beside, path)?;
    directory::sync(dir)
}

fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(UNFINISHED);
    PathBuf::from(name)
}
