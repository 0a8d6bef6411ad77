//! The reading side: the newest entries that are asked for, the whole chain, and the reports that it tells of.
//!
//! Reads the files, whether somebody writes them or not: what is there never changes, only the end grows and the
//! oldest segment goes. Holds one segment in memory at a time.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    OplogError,
    chain::{Break, Hash, Link, Marks, Walk},
    files::{Files, Kept, Segment},
    note::REPORT,
};
use crate::{model::Key, report::history::History, store::crypt::Keyring};

/// Entries that are answered at most.
pub const MOST: usize = 10_000;
/// How often it is begun anew when the oldest segment goes meanwhile.
const TRIES: usize = 5;

/// See the module's words. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reader(Files, History);

/// Which entries.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Only those that name this record.
    pub key: Option<Key>,
    /// Only those from this time on, in milliseconds since the epoch.
    pub since_ms: Option<i64>,
    /// So many of the newest, at most [`MOST`].
    pub limit: usize,
}

/// What was found along the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// True if it does not break.
    pub ok: bool,
    /// Entries that were found good.
    pub entries: u64,
    /// The number of the first that is there; 0 if there is none.
    pub first: u64,
    /// The last good one. Kept elsewhere, its hash shows also that nobody wrote all anew.
    pub last: Link,
    /// Entries before the first one, which made room.
    pub removed: u64,
    /// Where it breaks.
    pub broken: Option<Break>,
    /// Bytes of an entry at the end that is not whole: it is being written, or a kill came.
    pub unfinished_bytes: u64,
}

impl Reader {
    /// Of the log in this state directory.
    pub fn look(state: &Path, keys: &Keyring) -> Reader {
        Reader(Files::of(state, keys), History::look(state, false, keys))
    }

    /// The newest entries as they were written, oldest first.
    ///
    /// # Errors
    /// The disk refused. What cannot be read is left out: [`Reader::verify`] tells of it.
    pub fn newest(&self, wanted: &Wanted) -> Result<Vec<Box<RawValue>>, OplogError> {
        let limit = wanted.limit.min(MOST);
        let mut found = Vec::new();
        let since = wanted.since_ms.and_then(super::rfc3339);
        for segment in self.0.segments()?.iter().rev() {
            let bytes = self.0.read(segment.first)?.unwrap_or_default();
            for (_, kept) in self.0.lines(segment.first, &bytes).rev() {
                if found.len() >= limit {
                    break;
                }
                let Kept::Line(line) = kept else { continue };
                found.extend(entry(line, wanted.key.as_ref(), since.as_deref()));
            }
            if found.len() >= limit {
                break;
            }
        }
        found.reverse();
        Ok(found)
    }

    /// Goes along the whole chain, and looks whether the reports that are there are those it tells of.
    ///
    /// # Errors
    /// The disk refused.
    pub fn verify(&self) -> Result<Verified, OplogError> {
        for _ in 1..TRIES {
            if let Some(verified) = self.try_verify()? {
                return Ok(verified);
            }
        }
        let last = self.try_verify()?;
        last.ok_or_else(|| OplogError::Moving(self.0.dir().to_owned()))
    }

    /// `None` if the oldest segment was removed meanwhile.
    fn try_verify(&self) -> Result<Option<Verified>, OplogError> {
        // Before the segments: what is noted as the end is there then.
        let noted = self.0.marks()?;
        let marks = noted.unwrap_or(Marks::NONE);
        let mut segments = self.0.segments()?;
        let is_old = |next: &Segment| next.first <= marks.removed.n + 1;
        while segments.get(1).is_some_and(is_old) {
            segments.remove(0);
        }
        let begins = segments.first().map(|segment| segment.first);
        if begins.is_some_and(|first| first > marks.removed.n + 1) && self.0.marks()? != noted {
            return Ok(None);
        }
        let mut walk = Walk::new(marks);
        let (mut broken, mut unfinished) = (None, 0);
        let mut reports = BTreeMap::new();
        let last = segments.last().map(|segment| segment.first);
        for segment in &segments {
            let Some(bytes) = self.0.read(segment.first)? else {
                return Ok(None);
            };
            for (at, kept) in self.0.lines(segment.first, &bytes) {
                let step = match kept {
                    Kept::Line(line) => {
                        reports.extend(report_in(&line));
                        walk.step(&line)
                    }
                    Kept::Unfinished if Some(segment.first) == last => {
                        unfinished = bytes.len() as u64 - at;
                        Ok(())
                    }
                    Kept::Unfinished => Err(unreadable(&walk, "it has no end")),
                    Kept::Unreadable(why) => Err(unreadable(&walk, &why)),
                };
                broken = step.err();
                if broken.is_some() {
                    break;
                }
            }
            if broken.is_some() {
                break;
            }
        }
        let broken = broken.or_else(|| walk.end().err());
        let broken = broken.or_else(|| self.rewritten(&reports));
        let last = match walk.last() {
            Link { n: 0, .. } => Link::NONE,
            last => last,
        };
        Ok(Some(Verified {
            ok: broken.is_none(),
            entries: walk.entries,
            first: begins.unwrap_or(0),
            last,
            removed: marks.removed.n,
            broken,
            unfinished_bytes: unfinished,
        }))
    }

    /// A report that is not the one that was kept. Those that made room are not there any more.
    fn rewritten(&self, reports: &BTreeMap<String, (u64, String)>) -> Option<Break> {
        let found = reports
            .iter()
            .find(|(id, (_, kept))| match self.1.hash_of(id) {
                Ok(now) => now.is_some_and(|now| now.to_string() != *kept),
                Err(_) => true,
            });
        found.map(|(id, (n, _))| Break {
            n: *n,
            problem: format!("the report {id} is not the one that was kept then"),
        })
    }
}

/// The report that an entry tells of: its id, the entry's number, and the hash.
fn report_in(line: &[u8]) -> Option<(String, (u64, String))> {
    #[derive(Deserialize)]
    struct Told<'l> {
        n: u64,
        what: &'l str,
        reason: Option<&'l str>,
    }
    let told: Told = serde_json::from_slice(line).ok()?;
    let (id, hash) = told
        .reason
        .filter(|_| told.what == REPORT)?
        .split_once(' ')?;
    Some((id.to_owned(), (told.n, hash.to_owned())))
}

fn unreadable(walk: &Walk, why: &str) -> Break {
    Break {
        n: walk.last().n + 1,
        problem: format!("it cannot be read: {why}"),
    }
}

/// What is looked at of an entry.
#[derive(Deserialize)]
struct About<'l> {
    at: &'l str,
    key: Option<&'l str>,
    first: Option<&'l str>,
    last: Option<&'l str>,
}

/// The entry of a line, if it is about this record and not older than this.
fn entry(line: Vec<u8>, key: Option<&Key>, since: Option<&str>) -> Option<Box<RawValue>> {
    let text = String::from_utf8(line).ok()?;
    // Most lines are about somebody else: that is seen without reading them.
    if key.is_some_and(|key| !text.contains(key.as_str())) {
        return None;
    }
    let About {
        at,
        key: own,
        first,
        last,
    } = serde_json::from_str(&text).ok()?;
    let named = |key: &Key| [own, first, last].contains(&Some(key.as_str()));
    // Times are written in one form, which sorts as the times do.
    let wanted = key.is_none_or(named) && since.is_none_or(|since| at >= since);
    wanted.then(|| RawValue::from_string(text).ok()).flatten()
}

impl Verified {
    /// The hash to keep elsewhere.
    pub fn head(&self) -> Hash {
        self.last.hash
    }
}
