//! Looks through a state directory: whether everything can be read, how much there is, under which keys.
//!
//! Writes nothing but a copy of the derived state, which it removes. What the daemon puts right by itself (a torn
//! end, an old layout) is told and is no damage; what is lost, or was put in another's place, is.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde::Serialize;

use super::files::{self, OPLOG, PLANS, REPORTS, RUNS};
use super::rekey::set_aside;
use super::{Locks, UpkeepError, at};
use crate::store::crypt::{KeyId, Keyring};
use crate::store::journal::{self, Recovered};
use crate::store::state;
use crate::store::state_file::{LAYOUT, Loaded, StateFile};

/// Rights of others than the owner.
const OTHERS: u32 = 0o077;
/// Findings that are kept of one kind; a thousand files with the wrong mode are one mistake.
const MAX_LAX: usize = 20;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Survey {
    /// No damage.
    pub ok: bool,
    /// The layout, as `STATE` has it.
    pub layout: Option<u32>,
    /// The key that writes.
    pub writes: Option<KeyId>,
    /// The keys that `STATE` names.
    pub keys: Vec<KeyId>,
    /// The journal.
    pub journal: JournalCounts,
    /// Records by key; no key: plain.
    pub records: Vec<Counts>,
    /// What is to be said.
    pub findings: Vec<Finding>,
}

/// What is in the journal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct JournalCounts {
    /// Segment files.
    pub segments: usize,
    /// Their length, in bytes.
    pub bytes: u64,
    /// Deliveries and wishes that wait.
    pub waiting: usize,
    /// Dead letters.
    pub dead_letters: usize,
    /// Those with a final verdict that still lie in a segment.
    pub settled: u64,
    /// The highest number.
    pub highest_seq: u64,
}

/// How many records there are under a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// The key; none: plain.
    pub key: Option<KeyId>,
    /// Entries, verdicts and notes of the journal.
    pub journal: u64,
    /// Values of the derived state.
    pub derived: u64,
    /// Plans, reports, and lines of lists and of the operations log.
    pub files: u64,
}

/// Something worth saying.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// True if something is lost, or not as it has to be.
    pub damage: bool,
    /// Where.
    pub place: String,
    /// What, and what to do.
    pub problem: String,
}

/// Records of files, counted.
#[derive(Debug, Default)]
pub struct Tally {
    keys: BTreeMap<Option<KeyId>, u64>,
    unreadable: u64,
}

impl Tally {
    /// Counts one.
    pub fn add(&mut self, key: Option<KeyId>, readable: bool) {
        *self.keys.entry(key).or_default() += 1;
        self.unreadable += u64::from(!readable);
    }
}

/// Looks through the directory.
///
/// # Errors
/// See [`UpkeepError`]: another process has it, a key is missing, a newer release wrote it, the disk refused.
pub fn verify(dir: &Path, keys: &Keyring) -> Result<Survey, UpkeepError> {
    let _locks = Locks::take(dir, keys)?;
    let mut survey = Survey {
        writes: keys.writes(),
        ..Survey::default()
    };
    let file = match StateFile::admit(dir, keys)? {
        Loaded::Found(file) => Some(file),
        Loaded::Unproved(file) => {
            survey.note(
                "STATE",
                "has no proof that nobody else wrote it; the next start gives it one",
            );
            Some(file)
        }
        Loaded::Absent => {
            survey.damage("STATE", "is missing; the next start writes it anew");
            None
        }
        Loaded::Damaged => {
            survey.damage("STATE", "is damaged; the next start sets it aside");
            None
        }
    };
    let mut look = Look {
        dir,
        keys,
        file: file.as_ref(),
        survey: &mut survey,
        records: BTreeMap::new(),
    };
    look.at_journal()?;
    look.at_derived()?;
    look.at_files()?;
    look.at_rights().map_err(at(dir))?;
    let records = look.records;
    for path in set_aside(dir)? {
        let name = path
            .strip_prefix(dir)
            .unwrap_or(&path)
            .display()
            .to_string();
        survey.note(&name, "was set aside as damaged, to be looked at");
    }
    if let Some(file) = file {
        survey.layout = Some(file.layout);
        survey.keys = file.keys;
    }
    survey.records = records.into_values().collect();
    survey.about_keys();
    survey.ok = !survey.findings.iter().any(|finding| finding.damage);
    Ok(survey)
}

/// A look through a directory, part after part.
struct Look<'l> {
    dir: &'l Path,
    keys: &'l Keyring,
    file: Option<&'l StateFile>,
    survey: &'l mut Survey,
    records: BTreeMap<Option<KeyId>, Counts>,
}

impl Look<'_> {
    fn count(&mut self, key: Option<KeyId>) -> &mut Counts {
        self.records.entry(key).or_insert(Counts {
            key,
            ..Counts::default()
        })
    }

    fn at_journal(&mut self) -> Result<(), UpkeepError> {
        let journal = self.dir.join(journal::DIR);
        let found = match journal.is_dir() {
            true => journal::examine(&journal, self.keys)?,
            false => Recovered::default(),
        };
        let known = self.file.map_or(0, |file| file.highest_seq);
        self.survey.journal = JournalCounts {
            segments: found.segments,
            bytes: found.bytes,
            waiting: found.pending.len(),
            dead_letters: found.parked.len(),
            settled: found.settled,
            highest_seq: found.highest_seq.max(known),
        };
        for (key, frames) in found.frames {
            self.count(key).journal = frames;
        }
        if found.segments == 0 && known > 0 {
            self.survey
                .damage("journal", "is gone, although there was one");
        }
        let damage = found.damage;
        if damage.places > 0 {
            let problem = format!(
                "{} place(s) with {} bytes cannot be read; a full comparison says what was lost there",
                damage.places, damage.bytes
            );
            self.survey.damage("journal", &problem);
        }
        if damage.missing_segments > 0 {
            let problem = format!("{} segment(s) are missing", damage.missing_segments);
            self.survey.damage("journal", &problem);
        }
        if damage.torn_bytes > 0 {
            let problem = format!(
                "ends in {} bytes that a kill left unfinished; the next start cuts them off",
                damage.torn_bytes
            );
            self.survey.note("journal", &problem);
        }
        Ok(())
    }

    fn at_derived(&mut self) -> Result<(), UpkeepError> {
        let derived = self.dir.join(state::DIR);
        let found = match derived.is_dir() {
            true => state::examine(&derived, self.keys),
            false => Ok(None),
        };
        let found = match found {
            Ok(Some(found)) => found,
            Ok(None) => {
                self.survey
                    .damage("derived", "is gone; the next start builds it anew");
                return Ok(());
            }
            Err(state::StateError::Damaged(message)) => {
                let problem = format!("does not open ({message}); the next start sets it aside");
                self.survey.damage("derived", &problem);
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        for (key, values) in found.keys {
            self.count(key).derived = values;
        }
        if found.changed > 0 {
            let problem = format!(
                "{} value(s) are not what was encrypted there",
                found.changed
            );
            self.survey.damage("derived", &problem);
        }
        if self
            .file
            .is_some_and(|file| found.generation != Some(file.generation))
        {
            self.survey.damage(
                "derived",
                "is not the one that STATE names; the next start builds it anew",
            );
        }
        Ok(())
    }

    fn at_files(&mut self) -> Result<(), UpkeepError> {
        for kind in [PLANS, REPORTS, RUNS, OPLOG] {
            for file in files::list(self.dir, kind).map_err(at(&self.dir.join(kind)))? {
                let mut tally = Tally::default();
                file.count(self.keys, &mut tally).map_err(at(&file.path))?;
                for (key, many) in tally.keys {
                    self.count(key).files += many;
                }
                if tally.unreadable > 0 {
                    let problem = format!("{} record(s) cannot be decrypted", tally.unreadable);
                    self.survey.damage(file.name(), &problem);
                }
            }
        }
        Ok(())
    }

    /// Whatever others may get at, and whatever leads elsewhere.
    fn at_rights(&mut self) -> io::Result<()> {
        let (mut left, mut lax) = (vec![self.dir.to_owned()], 0);
        while let Some(path) = left.pop() {
            let found = fs::symlink_metadata(&path)?;
            let name = match path.strip_prefix(self.dir) {
                Ok(rest) if !rest.as_os_str().is_empty() => rest.display().to_string(),
                _ => "the directory".to_owned(),
            };
            if found.is_symlink() {
                self.survey
                    .damage(&name, "is a link; the daemon does not start with it");
                continue;
            }
            if found.is_dir() {
                for entry in fs::read_dir(&path)? {
                    left.push(entry?.path());
                }
            } else if !found.is_file() {
                // The operators' socket.
                continue;
            }
            if found.permissions().mode() & OTHERS != 0 {
                lax += 1;
                if lax <= MAX_LAX {
                    self.survey
                        .damage(&name, "is open to others; the next start makes it private");
                }
            }
        }
        Ok(())
    }
}

impl Survey {
    fn damage(&mut self, place: &str, problem: &str) {
        self.find(true, place, problem);
    }

    fn note(&mut self, place: &str, problem: &str) {
        self.find(false, place, problem);
    }

    fn find(&mut self, damage: bool, place: &str, problem: &str) {
        self.findings.push(Finding {
            damage,
            place: place.to_owned(),
            problem: problem.to_owned(),
        });
    }

    /// What `state rekey` or `state migrate` would do.
    fn about_keys(&mut self) {
        if self.layout.is_some_and(|layout| layout < LAYOUT) {
            self.note(
                "STATE",
                "has an older layout; the next start brings it up to date",
            );
        }
        let Some(writes) = self.writes else {
            return;
        };
        let other = |counts: &Counts| match counts.key {
            // Masked reports stay plain, so that they can be read without a key.
            None => counts.journal + counts.derived,
            Some(key) if key == writes => 0,
            Some(_) => counts.journal + counts.derived + counts.files,
        };
        let others: u64 = self.records.iter().map(other).sum();
        let named = self.keys.iter().any(|key| *key != writes);
        if others > 0 || named {
            let problem = format!(
                "{others} record(s) are not under the first key; `state rekey` brings them under it"
            );
            self.note("keys", &problem);
        }
    }
}
