//! What is handed in to be written down: a call to Convex with its rows, or a single act.
//!
//! Pure. Made on the way of what is written, so it copies as little as it can: keys and names of columns are
//! shared, and of a call that repairs many rows only counts are kept. A value of somebody gets in through
//! [`Conflict`] alone, which masks it.

use serde::Serialize;
use serde_json::Value;

use crate::{
    model::{Asked, Columns, DriftKind, Key, Outcome, RecordKey, Table, Version},
    report::mask,
};

/// A call of one run about more records than this is one entry with counts; its report names them all.
pub const MANY: usize = 100;
/// The longest word from outside that is kept, in characters.
const LONGEST_WORD: usize = 96;
/// What was done when a report was kept; the reason names it, and the hash of its text.
pub const REPORT: &str = "report";
/// Names of one entry at most: a row has a dozen columns, and the configuration may add some.
const MOST_NAMES: usize = 64;

/// Where something was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// In Convex.
    Convex,
    /// In Clerk.
    Clerk,
    /// In the daemon, by an operator.
    Daemon,
}

/// What was done with one record in a call.
#[derive(Clone, Debug)]
pub struct Row {
    /// Which record.
    pub record: RecordKey,
    /// On whose behalf, where the call does not say.
    pub asked: Option<Asked>,
    /// Columns that were sent, by table; a user's profile travels with the user.
    pub columns: [Option<(Table, Columns)>; 2],
    /// Clerk's version that was sent.
    pub version: Version,
    /// Why a scan wanted it.
    pub why: Option<DriftKind>,
    /// What Convex did.
    pub outcome: Outcome,
}

impl Row {
    /// True if columns are of no interest: nothing was written.
    pub fn wrote(&self) -> bool {
        matches!(
            self.outcome,
            Outcome::Created | Outcome::Updated | Outcome::Linked
        )
    }
}

/// Records of a call that were too many to be named.
#[derive(Clone, Debug)]
pub struct Many {
    /// Of which table.
    pub table: Table,
    /// How many.
    pub count: u64,
    /// The first in the order of the call.
    pub first: Key,
    /// The last.
    pub last: Key,
    /// What Convex did, and how often.
    pub outcomes: Vec<(Outcome, u64)>,
}

/// A call that Convex answered.
#[derive(Clone, Debug)]
pub struct Call {
    /// When it was answered, in milliseconds since the epoch.
    pub at_ms: i64,
    /// On whose behalf, where it is the same for all of it.
    pub asked: Option<Asked>,
    /// Its records.
    pub rows: Vec<Row>,
    /// Its records, if they are many.
    pub many: Vec<Many>,
    summed: bool,
}

impl Call {
    /// A call about so many records. One on behalf of many, as deliveries are, names each of them.
    pub fn begin(at_ms: i64, asked: Option<&Asked>, records: usize) -> Call {
        let summed = records > MANY && asked.is_some();
        Call {
            at_ms,
            asked: asked.cloned(),
            rows: Vec::with_capacity(if summed { 0 } else { records }),
            many: Vec::new(),
            summed,
        }
    }

    /// Adds a record; `row` is called only where it is named.
    pub fn add(&mut self, record: &RecordKey, outcome: Outcome, row: impl FnOnce() -> Row) {
        if !self.summed {
            return self.rows.push(row());
        }
        match self
            .many
            .last_mut()
            .filter(|many| many.table == record.table)
        {
            Some(many) => many.add(&record.key, outcome),
            None => self.many.push(Many {
                table: record.table,
                count: 1,
                first: record.key.clone(),
                last: record.key.clone(),
                outcomes: vec![(outcome, 1)],
            }),
        }
    }

    /// What it takes in memory, counted in records.
    pub fn weight(&self) -> usize {
        self.rows.len() + self.many.len()
    }
}

impl Many {
    fn add(&mut self, key: &Key, outcome: Outcome) {
        self.count += 1;
        self.last = key.clone();
        match self.outcomes.iter_mut().find(|(was, _)| *was == outcome) {
            Some((_, count)) => *count += 1,
            None => self.outcomes.push((outcome, 1)),
        }
    }
}

/// Anything else that was done.
#[derive(Clone, Debug)]
pub struct Note {
    /// When, in milliseconds since the epoch.
    pub at_ms: i64,
    /// Where.
    pub to: Place,
    /// On whose behalf.
    pub asked: Asked,
    /// What.
    pub what: String,
    /// With which record.
    pub record: Option<RecordKey>,
    /// Its fields, by name.
    pub fields: Vec<String>,
    /// What came of it, in a word.
    pub outcome: String,
    /// More about that, in a word or a sentence. Holds nothing about a person.
    pub reason: Option<String>,
    /// How often, if not once.
    pub count: Option<u64>,
    /// Fields that both sides had changed.
    pub conflicts: Vec<Conflict>,
}

impl Note {
    /// One without particulars.
    pub fn new(at_ms: i64, to: Place, asked: Asked, what: &str, outcome: &str) -> Note {
        Note {
            at_ms,
            to,
            asked,
            what: printable(what),
            record: None,
            fields: Vec::new(),
            outcome: word(outcome),
            reason: None,
            count: None,
            conflicts: Vec::new(),
        }
    }

    /// About this record.
    pub fn about(self, record: RecordKey) -> Note {
        let record = Some(record);
        Note { record, ..self }
    }

    /// Names fields.
    pub fn fields<'n>(self, names: impl IntoIterator<Item = &'n str>) -> Note {
        let fields = names.into_iter().take(MOST_NAMES).map(word).collect();
        Note { fields, ..self }
    }

    /// A code from elsewhere as the reason.
    pub fn code(self, code: Option<&str>) -> Note {
        let reason = code.map(word);
        Note { reason, ..self }
    }

    /// What was done, in words of our own.
    pub fn did(self, words: Option<String>) -> Note {
        let reason = words.map(|words| printable(&words));
        Note { reason, ..self }
    }
}

/// A field that was changed on both sides.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Conflict {
    field: String,
    winner: Place,
    clerk: Said,
    convex: Said,
}

/// One side's word, masked.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Said {
    at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Value>,
}

/// What one side has said of a field, and when.
#[derive(Clone, Copy, Debug)]
pub struct Word<'w> {
    /// In milliseconds since the epoch.
    pub at_ms: i64,
    /// The text; none where it was cleared. Not there at all if nobody saw it.
    pub value: Option<Option<&'w str>>,
}

impl Conflict {
    /// Both words about this field, masked here, and whose went.
    pub fn of(field: &str, winner: Place, clerk: Word<'_>, convex: Word<'_>) -> Conflict {
        let side = |word: Word<'_>| Said {
            at: super::rfc3339(word.at_ms),
            value: word
                .value
                .map(|text| mask::masked(field, &text.map_or(Value::Null, Value::from))),
        };
        Conflict {
            field: word(field),
            winner,
            clerk: side(clerk),
            convex: side(convex),
        }
    }
}

/// A word that came from elsewhere, as a log may carry it.
fn word(text: &str) -> String {
    let fine = |c: &char| c.is_ascii_alphanumeric() || "_-:.".contains(*c);
    text.chars().filter(fine).take(LONGEST_WORD).collect()
}

/// Words of our own, with what they may quote.
fn printable(text: &str) -> String {
    let fine = |c: &char| *c == ' ' || c.is_ascii_graphic();
    text.chars().filter(fine).take(2 * LONGEST_WORD).collect()
}
