//! Lists that a run keeps while it goes on: what differs, and who is suspected to be gone, range by range.
//!
//! One JSON document a line, appended; the range's cursor says how much of a file counts, so that what a killed
//! process wrote beyond its last cursor is cut off. Personal values are masked before they come here, and each line
//! is encrypted if there is a key.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::store::crypt::Keyring;

/// Where they lie in the state directory.
pub const DIR: &str = "runs";
/// The longest line that is read, in bytes: a difference of many columns with long masked values, encrypted.
const MAX_LINE: u64 = 3 << 19;

/// The directory of one run.
#[derive(Clone, Debug)]
pub struct Parts {
    dir: PathBuf,
    /// Its name in the state directory.
    name: String,
    keys: Keyring,
}

/// One file of it, to append to.
#[derive(Debug)]
pub struct Part {
    file: File,
    /// Its name in the state directory.
    name: String,
    keys: Keyring,
    bytes: u64,
}

impl Parts {
    /// Makes the directory if it is not there.
    pub fn open(state: &Path, run: &str, keys: &Keyring) -> io::Result<Parts> {
        let dir = state.join(DIR).join(run);
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(&dir)?;
        Ok(Parts {
            dir,
            name: format!("{DIR}/{run}"),
            keys: keys.clone(),
        })
    }

    /// Opens a file to go on after `keep` bytes; what stands behind is cut off.
    pub fn append(&self, name: &str, keep: u64) -> io::Result<Part> {
        let mut options = OpenOptions::new();
        let options = options.create(true).truncate(false).write(true).read(true);
        let mut file = options.mode(0o600).open(self.dir.join(name))?;
        file.set_len(keep)?;
        file.seek(SeekFrom::End(0))?;
        Ok(Part {
            file,
            name: self.named(name),
            keys: self.keys.clone(),
            bytes: keep,
        })
    }

    /// The files whose names begin so, by name.
    pub fn names(&self, prefix: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.starts_with(prefix) {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn named(&self, part: &str) -> String {
        format!("{}/{part}", self.name)
    }

    /// Reads a file line by line, without the lines' ends; one that is not there is empty.
    pub fn lines(&self, name: &str, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        let file = match File::open(self.dir.join(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut reader = BufReader::new(file);
        let (mut at, mut line, own) = (0, Vec::new(), self.named(name));
        loop {
            line.clear();
            let mut bounded = io::Read::take(&mut reader, MAX_LINE);
            let read = bounded.read_until(b'\n', &mut line)?;
            if read == 0 {
                return Ok(());
            }
            let kept = line.strip_suffix(b"\n").unwrap_or(&line);
            let plain = self.keys.decrypt_line(&own, at, kept);
            match plain {
                Ok(plain) => each(&plain),
                Err(error) => tracing::warn!(file = own, "a line was left out: {error}"),
            }
            at += read as u64;
        }
    }

    /// Reads a file of documents of one form; what cannot be read is left out.
    pub fn read<T: DeserializeOwned>(&self, name: &str, mut each: impl FnMut(T)) -> io::Result<()> {
        self.lines(name, |line| {
            if let Ok(one) = serde_json::from_slice(line) {
                each(one);
            }
        })
    }

    /// Forgets the run; other runs' directories stay.
    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Forgets all runs but this one: what processes left that ended before they could tidy up.
    pub fn remove_others(&self) -> io::Result<()> {
        let (Some(all), Some(own)) = (self.dir.parent(), self.dir.file_name()) else {
            return Ok(());
        };
        for other in fs::read_dir(all)? {
            let other = other?;
            if other.file_name() != own && other.file_type()?.is_dir() {
                fs::remove_dir_all(other.path())?;
            }
        }
        Ok(())
    }
}

impl Part {
    /// Appends one line for each.
    pub fn add<T: Serialize>(&mut self, items: impl IntoIterator<Item = T>) -> io::Result<()> {
        let mut text = Vec::new();
        for item in items {
            let line = serde_json::to_vec(&item)?;
            let at = self.bytes + text.len() as u64;
            text.append(&mut self.keys.encrypt_line(&self.name, at, &line));
        }
        self.file.write_all(&text)?;
        self.bytes += text.len() as u64;
        Ok(())
    }

    /// Its length.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}
