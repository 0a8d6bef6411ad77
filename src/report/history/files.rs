//! Files of reports: written as a whole, read without following links, named by ids.
//!
//! Knows names and bytes, not what is in them.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rustix::fs::OFlags;

use super::HistoryError;
use crate::store::directory;

/// Names that are looked at in the directory. Retention keeps it to a tenth of that.
const MAX_ENTRIES: usize = 10_000;
/// The longest id, in bytes. A UUID has 36.
const LONGEST_ID: usize = 64;
/// How a file begins that is not whole yet.
pub(super) const UNFINISHED: &str = ".report-";

/// True for what can be a file's name and nothing else.
pub(super) fn is_id(id: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    !id.is_empty() && id.len() <= LONGEST_ID && !id.starts_with('-') && id.bytes().all(plain)
}

/// Makes the directory for the owner only.
pub(super) fn make_directory(dir: &Path) -> Result<(), HistoryError> {
    match fs::symlink_metadata(dir) {
        Ok(found) if !found.is_dir() => Err(HistoryError::NotPlain {
            path: dir.to_owned(),
        }),
        _ => directory::make_private(dir).map_err(at(dir)),
    }
}

/// The ids of which there is a file that ends like this. None if there is no directory.
pub(super) fn ids(dir: &Path, ending: &str) -> Result<BTreeSet<String>, HistoryError> {
    match fs::symlink_metadata(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(at(dir)(error)),
        Ok(found) if !found.is_dir() => {
            return Err(HistoryError::NotPlain {
                path: dir.to_owned(),
            });
        }
        Ok(_) => {}
    }
    let mut ids = BTreeSet::new();
    for entry in fs::read_dir(dir).map_err(at(dir))?.take(MAX_ENTRIES) {
        let name = entry.map_err(at(dir))?.file_name();
        let id = name.to_str().and_then(|name| name.strip_suffix(ending));
        ids.extend(
            id.filter(|id| is_id(id) && *id != super::quiet::ID)
                .map(str::to_owned),
        );
    }
    Ok(ids)
}

/// Puts this in the file's place; returns when it is on stable storage.
pub(super) fn replace(dir: &Path, path: &Path, text: &[u8]) -> Result<(), HistoryError> {
    let write = || {
        // A temporary file is for the owner only, as this has to be.
        let mut file = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempfile_in(dir)?;
        file.write_all(text)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        directory::sync(dir)
    };
    write().map_err(at(path))
}

/// Opens a plain file. The flags keep a link from leading elsewhere and a pipe from holding us up.
pub(super) fn open(path: &Path, options: &mut OpenOptions) -> Result<File, HistoryError> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    // The bits of open flags are few and positive.
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let not_plain = || HistoryError::NotPlain {
        path: path.to_owned(),
    };
    let file = options
        .mode(0o600)
        .custom_flags(flags)
        .open(path)
        .map_err(|error| match rustix::io::Errno::from_io_error(&error) {
            Some(rustix::io::Errno::LOOP | rustix::io::Errno::NXIO) => not_plain(),
            _ => at(path)(error),
        })?;
    match file.metadata().map_err(at(path))?.is_file() {
        true => Ok(file),
        false => Err(not_plain()),
    }
}

/// The content of a plain file of a bounded size.
pub(super) fn read(path: &Path, at_most: u64) -> Result<Vec<u8>, HistoryError> {
    let file = open(path, OpenOptions::new().read(true))?;
    let mut text = Vec::new();
    let mut bounded = file.take(at_most + 1);
    bounded.read_to_end(&mut text).map_err(at(path))?;
    if text.len() as u64 > at_most {
        return Err(HistoryError::Damaged {
            path: path.to_owned(),
            reason: format!("it is larger than {at_most} bytes"),
        });
    }
    Ok(text)
}

/// What an error of the disk was about.
pub(super) fn at(path: &Path) -> impl Fn(io::Error) -> HistoryError {
    let path = path.to_owned();
    move |source| HistoryError::Io {
        path: path.clone(),
        source,
    }
}
