//! Past runs: a directory of reports, newest first, that never grows beyond its bounds.
//!
//! `<state>/reports` holds `<id>.json`, the report, and `<id>.ndjson`, all of its differences; both masked
//! like every report. A file is there whole or not at all, and is for the owner only. Sweeps and censuses that
//! found nothing are counted instead ([`QuietRuns`]): there are thousands a day. A file that cannot be read is
//! named, and the others are listed all the same. With personal values in them, and a key, they are encrypted; masked
//! ones are not, so that they can be read and handed on without it. Everything here blocks on the disk.

mod files;
mod log;
mod quiet;
mod retention;
mod witness;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use thiserror::Error;

use self::witness::Witness;
pub use self::{
    log::DifferenceLog,
    quiet::{QuietRuns, Spent},
    witness::OnKept,
};
use super::{Report, RunKind, RunOutcome, Summary, json, oplog::chain::Hash};
use crate::{
    model::Fault,
    store::crypt::{Keyring, Name, Unreadable},
};

/// The directory's name in the state directory.
const DIRECTORY: &str = "reports";
/// The most that is read of a report, in bytes: a thousand differences of many long columns.
const MAX_REPORT_BYTES: u64 = 64 << 20;
/// The shortest beginning of an id that is looked for, in characters.
const SHORTEST_PREFIX: usize = 4;

/// Why reports cannot be kept or read.
#[derive(Debug, Error)]
pub enum HistoryError {
    /// The disk refused. Transient if space or rights come back.
    #[error("{}: {source}; check owner, mode and free space", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The answer.
        source: io::Error,
    },
    /// Something that leads elsewhere, or is no file. Permanent.
    #[error("{} is a link or no plain file, and is not followed; remove it", .path.display())]
    NotPlain {
        /// The name.
        path: PathBuf,
    },
    /// It cannot be read as what it is to be. Permanent.
    #[error("{} is damaged: {reason}; remove it", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// It cannot be decrypted.
    #[error("{}: {error}; `reports` reads it with the daemon's own configuration and keys", .path.display())]
    Encrypted {
        /// The file.
        path: PathBuf,
        /// Why.
        error: Unreadable,
    },
    /// There is no such report. Permanent.
    #[error(
        "there is no report {id:?}; `clerk-convex-sync reports list` names those that are there"
    )]
    Unknown {
        /// What was asked for.
        id: String,
    },
    /// Several reports begin like that. Permanent.
    #[error("{count} reports begin with {prefix:?}; write more of the id")]
    Ambiguous {
        /// What was asked for.
        prefix: String,
        /// How many there are.
        count: usize,
    },
    /// No run has left a report yet.
    #[error("there are no reports yet; `clerk-convex-sync audit` makes one")]
    Empty,
}

impl HistoryError {
    /// Whose fault it is: always ours.
    pub fn fault(&self) -> Fault {
        Fault::Ours
    }
}

/// What is there.
#[derive(Debug, Default)]
pub struct Listing {
    /// Runs with a report, newest first.
    pub summaries: Vec<Summary>,
    /// What cannot be read, and why.
    pub damaged: Vec<HistoryError>,
}

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is on stable storage.
    Stored,
    /// It found nothing and was only counted.
    Counted,
}

/// The reports of a state directory. Clones share one.
#[derive(Clone, Debug)]
pub struct History(Arc<Inner>, Witness);

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    show_values: bool,
    /// Those that read.
    keys: Keyring,
    known: Mutex<Known>,
}

/// What need not be read again: a report does not change once it is there.
#[derive(Debug, Default)]
struct Known {
    summaries: BTreeMap<String, Summary>,
    quiet: QuietRuns,
}

impl History {
    /// The reports of this state directory, to be added to; makes their directory. `show_values`: write
    /// personal values instead of masking them, encrypted with `keys`.
    ///
    /// # Errors
    /// The directory cannot be made, or is a link.
    pub fn open(
        state_dir: &Path,
        show_values: bool,
        keys: &Keyring,
    ) -> Result<History, HistoryError> {
        let history = History::look(state_dir, show_values, keys);
        files::make_directory(&history.0.dir)?;
        Ok(history)
    }

    /// The reports of this state directory, to be read; makes nothing.
    pub fn look(state_dir: &Path, show_values: bool, keys: &Keyring) -> History {
        let dir = state_dir.join(DIRECTORY);
        let quiet = QuietRuns::load(&dir);
        let known = Known {
            quiet,
            ..Known::default()
        };
        let inner = Inner {
            dir,
            show_values,
            keys: keys.clone(),
            known: Mutex::new(known),
        };
        History(Arc::new(inner), Witness::default())
    }

    /// The same; from now on this one hears of each report that is kept.
    pub fn told_to(self, on_kept: OnKept) -> History {
        History(self.0, Witness::of(on_kept))
    }

    /// Where the reports lie.
    pub fn dir(&self) -> &Path {
        &self.0.dir
    }

    /// The list of all differences of a run. The file is made with the first of them.
    ///
    /// # Errors
    /// An id that cannot be a file's name.
    pub fn log(&self, id: &str) -> Result<DifferenceLog, HistoryError> {
        Ok(DifferenceLog::begin(self.list_of(id)?, self.0.show_values))
    }

    /// Takes in the report of a run that has ended, with its list of differences; returns when both are on
    /// stable storage. Then whatever is too old or too much goes. A sweep or census that found nothing is
    /// only counted. Repeating it with the same report changes nothing.
    ///
    /// # Errors
    /// The disk refused, or the id cannot be a file's name.
    pub fn keep(&self, report: &Report, log: Option<DifferenceLog>) -> Result<Kept, HistoryError> {
        let path = self.path(&report.id, "json")?;
        if is_quiet(report) {
            if let Some(log) = log {
                log.discard()?;
            }
            let mut known = self.known();
            let due = known.quiet.add(report);
            return match due {
                true => known.quiet.save(&self.0.dir).map(|()| Kept::Counted),
                false => Ok(Kept::Counted),
            };
        }
        if let Some(mut log) = log {
            log.flush()?;
        }
        let text = json::render(report, self.0.show_values);
        let name = name(&report.id, "json");
        let kept = self
            .writing()
            .encrypt(Name::File(&name), text.as_bytes())
            .into_owned();
        files::replace(&self.0.dir, &path, &kept)?;
        self.1.hears(report, Hash::of(text.as_bytes()));
        let mut known = self.known();
        known
            .summaries
            .insert(report.id.clone(), Summary::of(report));
        known.quiet.save(&self.0.dir)?;
        drop(known);
        let listing = self.list()?;
        retention::apply(&self.0.dir, &listing.summaries, report.finished_ms);
        Ok(Kept::Stored)
    }

    /// All reports, newest first.
    ///
    /// # Errors
    /// The directory is there and cannot be read. What cannot be read in it stands in the listing.
    pub fn list(&self) -> Result<Listing, HistoryError> {
        let ids = files::ids(&self.0.dir, ".json")?;
        let mut known = self.known();
        known.summaries.retain(|id, _| ids.contains(id));
        let mut damaged = Vec::new();
        for id in ids {
            if known.summaries.contains_key(&id) {
                continue;
            }
            match self.read(&id, json::read_summary) {
                Ok(summary) => {
                    known.summaries.insert(id, summary);
                }
                Err(error) => damaged.push(error),
            }
        }
        let mut summaries: Vec<_> = known.summaries.values().cloned().collect();
        summaries.sort_by(|a, b| (b.started_ms, &b.id).cmp(&(a.started_ms, &a.id)));
        Ok(Listing { summaries, damaged })
    }

    /// The last run of a kind, whether it left a report or was only counted.
    ///
    /// # Errors
    /// As [`History::list`].
    pub fn last(&self, kind: RunKind) -> Result<Option<Summary>, HistoryError> {
        let stored = self.list()?.summaries.into_iter();
        let stored = stored.filter(|summary| summary.kind == kind);
        let counted = self.known().quiet.last(kind);
        Ok(stored.chain(counted).max_by_key(|last| last.finished_ms))
    }

    /// The runs that were only counted.
    pub fn quiet(&self) -> QuietRuns {
        self.known().quiet.clone()
    }

    /// Writes the counts of quiet runs down; for the end of the process. Otherwise they are written every
    /// few minutes, and a kill loses those since.
    ///
    /// # Errors
    /// The disk refused.
    pub fn flush(&self) -> Result<(), HistoryError> {
        self.known().quiet.save(&self.0.dir)
    }

    /// A report by its id, by a beginning of it that no other has, or the newest one: `latest`.
    ///
    /// # Errors
    /// There is none or more than one, or it cannot be read.
    pub fn load(&self, which: &str) -> Result<Report, HistoryError> {
        let id = self.resolve(which)?;
        self.read(&id, json::read)
    }

    /// The hash of a report's text as it is now; `None` if it is not there.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn hash_of(&self, id: &str) -> Result<Option<Hash>, HistoryError> {
        match self.read(id, |text| Ok(Hash::of(text))) {
            Err(HistoryError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(None)
            }
            read => read.map(Some),
        }
    }

    fn resolve(&self, which: &str) -> Result<String, HistoryError> {
        if which == "latest" {
            let newest = self.list()?.summaries.into_iter().next();
            return newest.map(|summary| summary.id).ok_or(HistoryError::Empty);
        }
        let unknown = || HistoryError::Unknown {
            id: which.to_owned(),
        };
        let mut ids = files::ids(&self.0.dir, ".json")?;
        if ids.contains(which) {
            return Ok(which.to_owned());
        }
        ids.retain(|id| which.len() >= SHORTEST_PREFIX && id.starts_with(which));
        match ids.len() {
            0 | 1 => ids.into_iter().next().ok_or_else(unknown),
            count => Err(HistoryError::Ambiguous {
                prefix: which.to_owned(),
                count,
            }),
        }
    }

    fn read<T>(
        &self,
        id: &str,
        parse: impl Fn(&[u8]) -> Result<T, json::ReadError>,
    ) -> Result<T, HistoryError> {
        let path = self.path(id, "json")?;
        let kept = files::read(&path, MAX_REPORT_BYTES)?;
        let text = match self.0.keys.decrypt(Name::File(&name(id, "json")), &kept) {
            Ok(text) => text,
            Err(error) => return Err(HistoryError::Encrypted { path, error }),
        };
        parse(&text).map_err(|error| HistoryError::Damaged {
            path,
            reason: error.to_string(),
        })
    }

    /// The keys that write: none where there is nothing to hide.
    fn writing(&self) -> Keyring {
        match self.0.show_values {
            true => self.0.keys.clone(),
            false => Keyring::default(),
        }
    }

    fn list_of(&self, id: &str) -> Result<log::Place, HistoryError> {
        Ok(log::Place {
            path: self.path(id, "ndjson")?,
            name: name(id, "ndjson"),
            keys: self.0.keys.clone(),
        })
    }

    fn path(&self, id: &str, ending: &str) -> Result<PathBuf, HistoryError> {
        if files::is_id(id) {
            Ok(self.0.dir.join(format!("{id}.{ending}")))
        } else {
            Err(HistoryError::Unknown { id: id.to_owned() })
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file's name in the state directory.
fn name(id: &str, ending: &str) -> String {
    format!("{DIRECTORY}/{id}.{ending}")
}

/// True if nobody will ever look at it: every half minute a sweep finds nothing.
fn is_quiet(report: &Report) -> bool {
    let small = matches!(report.kind, RunKind::Sweep | RunKind::Census);
    small && report.outcome == RunOutcome::InSync && report.differences.is_empty()
}

#[cfg(test)]
mod tests;
