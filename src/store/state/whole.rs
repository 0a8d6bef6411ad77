//! The derived state as a whole, while no daemon has it: counted, or written anew under another key.
//!
//! To count, a copy is opened: opening sled writes. To write anew, a second store is made beside the first,
//! synced, and put in its place, since sled keeps old values in its file for as long as it likes. A kill leaves
//! the old store or the whole new one, and [`finish_switch`] goes on from there.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::open::{GENERATION, OPEN_TIMEOUT, STORE, in_time, make_files_private};
use super::{CELLS, StateError, guarded};
use crate::store::crypt::{KeyId, Keyring, Name, Unreadable, key_of};
use crate::store::directory;

/// A second store that is not whole yet, and one that is.
const UNFINISHED: &str = "sled.new";
const WHOLE: &str = "sled.whole";
/// How the directory of a copy that is looked at begins.
const COPY: &str = ".copy-";
/// sled's own tree, which holds nothing of ours.
const OWN_TREE: &[u8] = b"__sled__default";
const CACHE_BYTES: u64 = 8 * 1024 * 1024;

/// What was found in a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Examined {
    /// Its values.
    pub values: u64,
    /// How many there are under each key; none: plain.
    pub keys: BTreeMap<Option<KeyId>, u64>,
    /// Values that are not what was encrypted under their name.
    pub changed: u64,
    /// The number of this store's life.
    pub generation: Option<u64>,
}

/// Counts what is in the store of this directory, in a copy of it; none if there is no store. The caller holds
/// the lock.
///
/// # Errors
/// The copy does not open, or the disk has no room for it.
pub fn examine(dir: &Path, keys: &Keyring) -> Result<Option<Examined>, StateError> {
    let store = dir.join(STORE);
    remove_copies(dir)?;
    if !store.is_dir() {
        return Ok(None);
    }
    let copy = tempfile::Builder::new().prefix(COPY).tempdir_in(dir)?;
    copy_files(&store, copy.path())?;
    let db = open(copy.path())?;
    let mut found = Examined::default();
    guarded(|| {
        each_value(&db, |tree, key, kept| {
            found.values += 1;
            *found.keys.entry(key_of(kept)).or_default() += 1;
            let plain = keys.decrypt(Name::Value { tree, key }, kept);
            found.changed += u64::from(plain.is_err());
            if (tree, key) == (CELLS.as_bytes(), GENERATION.as_bytes()) {
                let bytes = plain.ok().and_then(|plain| plain.as_ref().try_into().ok());
                found.generation = bytes.map(u64::from_le_bytes);
            }
            Ok(())
        })
    })?;
    Ok(Some(found))
}

/// Writes the store of this directory anew under the key that writes, without the cells that begin like one of
/// `forget`; answers how many values it has. What is not what was encrypted under its name is left out: nobody
/// would believe it. The caller holds the lock.
///
/// # Errors
/// The store is damaged, or the disk refused: the old store is as it was.
pub fn rewrite(dir: &Path, keys: &Keyring, forget: &[&str]) -> Result<u64, StateError> {
    finish_switch(dir)?;
    let (store, beside) = (dir.join(STORE), dir.join(UNFINISHED));
    if !store.is_dir() {
        return Ok(0);
    }
    let (old, new) = (open(&store)?, open(&beside)?);
    let mut values = 0;
    guarded(|| {
        each_value(&old, |tree, key, kept| {
            let named = forget.iter().any(|start| key.starts_with(start.as_bytes()));
            if tree == CELLS.as_bytes() && named {
                return Ok(());
            }
            let name = Name::Value { tree, key };
            let plain = match keys.decrypt(name, kept) {
                Ok(plain) => plain,
                Err(Unreadable::UnknownKey(key)) => return Err(StateError::UnknownKey(key)),
                Err(Unreadable::Changed) => return Ok(()),
            };
            new.open_tree(tree)?
                .insert(key, &*keys.encrypt(name, &plain))?;
            values += 1;
            Ok(())
        })?;
        new.flush()?;
        Ok(())
    })?;
    drop((old, new));
    make_files_private(&beside)?;
    sync_all(&beside)?;
    fs::rename(&beside, dir.join(WHOLE))?;
    directory::sync(dir)?;
    finish_switch(dir)?;
    Ok(values)
}

/// Puts a store that was written anew in the place of the old one, if there is one, and removes what else a killed
/// process left.
pub fn finish_switch(dir: &Path) -> io::Result<()> {
    remove_copies(dir)?;
    remove(&dir.join(UNFINISHED))?;
    let whole = dir.join(WHOLE);
    if whole.is_dir() {
        remove(&dir.join(STORE))?;
        fs::rename(&whole, dir.join(STORE))?;
        directory::sync(dir)?;
    }
    Ok(())
}

fn open(path: &Path) -> Result<sled::Db, StateError> {
    let config = sled::Config::new()
        .path(path)
        .cache_capacity(CACHE_BYTES)
        .flush_every_ms(None);
    in_time(OPEN_TIMEOUT, move || Ok(config.open()?))
}

fn each_value(
    db: &sled::Db,
    mut each: impl FnMut(&[u8], &[u8], &[u8]) -> Result<(), StateError>,
) -> Result<(), StateError> {
    for name in db.tree_names() {
        if &*name == OWN_TREE {
            continue;
        }
        for value in &db.open_tree(&name)? {
            let (key, kept) = value?;
            each(&name, &key, &kept)?;
        }
    }
    Ok(())
}

fn copy_files(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            directory::make_private(&target)?;
            copy_files(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

fn sync_all(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => sync_all(&entry.path())?,
            false => File::open(entry.path())?.sync_all()?,
        }
    }
    directory::sync(dir)
}

/// Copies that a killed process left.
fn remove_copies(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.starts_with(COPY)) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
