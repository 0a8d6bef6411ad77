//! Where a full diff stands, kept in the state after every page.
//!
//! One cell for the run and one for each of its ranges, each a small JSON document with a version. A cell that
//! cannot be read is said to be damaged and makes the run begin anew: a cursor is never guessed.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    full::{group::Group, tally::Tally},
    scan::sweep::Gap,
};
use crate::{
    clerk::walk::OffsetPlace,
    report::RunKind,
    store::state::{State, StateError},
    twin::{self, Twin},
};

/// The form of the cells; another one is not read.
const FORM: u32 = 1;
/// The most ranges of one run.
pub const MAX_RANGES: usize = 64;
/// Flaws that a range remembers; more are counted only.
const MAX_FLAWS: usize = 3;

/// The run that goes on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunCursor {
    form: u32,
    /// The report's id.
    pub id: String,
    /// When it began, milliseconds since the epoch.
    pub started_ms: i64,
    /// The group of tables that is walked.
    pub group: Group,
    /// What it walks, as a fingerprint of tables and mapping: another wish is another run.
    pub wish: String,
    /// How many records Clerk counted when it began.
    pub counted: u64,
    /// True if Convex held no row when it began.
    pub bulk: bool,
    /// Its ranges.
    pub ranges: usize,
    /// Groups that were done before this one, with what they counted.
    pub before: Tally,
    /// The first or the second walk of the group.
    pub pass: u32,
    /// What the first walk did to an empty table.
    pub moved: Tally,
    /// How often it was taken up again.
    pub resumed: u32,
    /// What sweeps had not looked at when it began.
    #[serde(default)]
    pub gap: Option<Gap>,
}

/// One range of `created_at`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RangeCursor {
    form: u32,
    /// Inclusive; `None` begins with the rows that have no time.
    pub from: Option<i64>,
    /// Exclusive; `None` is the end.
    pub before: Option<i64>,
    /// Everything below has been dealt with; `None` as long as nothing has.
    pub done_below: Option<i64>,
    /// True once all of it has been dealt with.
    pub done: bool,
    part: bool,
    /// What it has counted.
    pub tally: Tally,
    /// Why its listing proves nothing, in words.
    pub flaws: Vec<String>,
    /// Its last page, in words, once it was read.
    #[serde(default)]
    pub end: Option<String>,
    /// Where to take up a listing by offsets.
    #[serde(default)]
    pub place: Option<OffsetPlace>,
    /// How many records there are, as the last page of such a listing said.
    #[serde(default)]
    pub total: Option<u64>,
    /// Bytes of its part of the list of differences that count.
    pub log_bytes: u64,
    /// Orphans that wait in its part of the list.
    pub orphan_bytes: u64,
}

/// What the state holds of a run.
#[derive(Debug)]
pub enum Held {
    /// Nothing.
    Nothing,
    /// A run that was cut off.
    Cut(Box<RunCursor>, Vec<RangeCursor>),
    /// Something that cannot be read.
    Damaged,
}

impl RunCursor {
    /// A run that begins.
    pub fn begin(
        id: String,
        started_ms: i64,
        group: Group,
        wish: String,
        gap: Option<Gap>,
    ) -> RunCursor {
        RunCursor {
            form: FORM,
            id,
            started_ms,
            group,
            wish,
            counted: 0,
            bulk: false,
            ranges: 0,
            before: Tally::default(),
            pass: 1,
            moved: Tally::default(),
            resumed: 0,
            gap,
        }
    }

    /// What the lists of this walk are named after.
    pub fn walk(&self) -> String {
        format!("{}-{}", self.group.own_table(), self.pass)
    }
}

impl RangeCursor {
    /// A range that begins.
    pub fn begin(from: Option<i64>, before: Option<i64>) -> RangeCursor {
        RangeCursor {
            form: FORM,
            from,
            before,
            ..RangeCursor::default()
        }
    }

    /// Where to go on reading.
    pub fn goes_on_from(&self) -> Option<i64> {
        self.done_below.or(self.from)
    }

    /// True if it was made of the rest of another.
    pub fn is_part(&self) -> bool {
        self.part
    }

    /// Cuts what was not dealt with into ranges of their own, of equal times, and ends here.
    pub fn part_rest(&mut self, parts: usize, now_ms: i64) -> Vec<RangeCursor> {
        let from = self.goes_on_from();
        let least = from.unwrap_or(0);
        let most = self.before.unwrap_or(now_ms).max(least);
        let step = (most - least) / i64::try_from(parts).unwrap_or(i64::MAX).max(1);
        let cut = |at: usize| i64::try_from(at).map_or(most, |at| least + step * at);
        let bounds = (1..parts).map(|at| Some(cut(at)));
        let starts = std::iter::once(from).chain(bounds.clone());
        let ends = bounds.chain([self.before]);
        let rest = starts.zip(ends).map(|(from, before)| RangeCursor {
            part: true,
            ..RangeCursor::begin(from, before)
        });
        let rest = rest.collect();
        self.done = true;
        rest
    }

    /// Remembers why the listing proves nothing.
    pub fn flaw(&mut self, words: String) {
        if self.flaws.len() < MAX_FLAWS {
            self.flaws.push(words);
        }
    }
}

/// The cells of a kind of run.
#[derive(Clone)]
pub struct Cursors {
    state: State,
    kind: RunKind,
}

impl Cursors {
    /// Those of audits, or of reconciliations.
    pub fn of(state: State, kind: RunKind) -> Cursors {
        Cursors { state, kind }
    }

    /// What an earlier process left.
    pub fn load(&self) -> Result<Held, StateError> {
        let Some(bytes) = self.state.get_cell(&self.run_cell())? else {
            return Ok(Held::Nothing);
        };
        let Some(run) = read::<RunCursor>(&bytes).filter(|run| run.form == FORM) else {
            return Ok(Held::Damaged);
        };
        let mut ranges = Vec::with_capacity(run.ranges.min(MAX_RANGES));
        for number in 0..run.ranges.min(MAX_RANGES) {
            let cell = self.state.get_cell(&self.range_cell(number))?;
            match cell.as_deref().and_then(read::<RangeCursor>) {
                Some(range) if range.form == FORM => ranges.push(range),
                _ => return Ok(Held::Damaged),
            }
        }
        Ok(Held::Cut(Box::new(run), ranges))
    }

    /// Keeps the run and all its ranges, and hands them to the system: they survive a kill.
    pub fn save(&self, run: &RunCursor, ranges: &[RangeCursor]) -> Result<(), StateError> {
        for (number, range) in ranges.iter().enumerate() {
            self.put(&self.range_cell(number), range)?;
        }
        self.put(&self.run_cell(), run)?;
        self.state.sync()
    }

    /// Keeps one range.
    pub fn save_range(&self, number: usize, range: &RangeCursor) -> Result<(), StateError> {
        self.put(&self.range_cell(number), range)?;
        self.state.flush()
    }

    /// Forgets the run.
    pub fn clear(&self) -> Result<(), StateError> {
        self.state.put_cell(&self.run_cell(), None)?;
        for number in 0..MAX_RANGES {
            self.state.put_cell(&self.range_cell(number), None)?;
        }
        self.state.flush()
    }

    fn put(&self, cell: &str, value: &impl Serialize) -> Result<(), StateError> {
        if twin::broken(Twin::NoCheckpoint) {
            return Ok(());
        }
        // Numbers, short texts and string keys only.
        let bytes = serde_json::to_vec(value).expect("a cursor is always JSON");
        self.state.put_cell(cell, Some(&bytes))
    }

    fn run_cell(&self) -> String {
        format!("run/{}", self.kind)
    }

    fn range_cell(&self, number: usize) -> String {
        format!("run/{}/{number:02}", self.kind)
    }
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes).ok()
}
