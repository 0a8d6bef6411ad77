//! Deletions that wait for a person: which rows, and the digest by which they are approved.
//!
//! Values and text only; where plans lie is [`super::plans`]'s business. The digest stands for the set of
//! records and nothing else, so every run that finds the same set makes the same plan, and what a person
//! approved cannot have grown. A record either goes, or it stays and the younger of its rows go. Holds keys, no
//! personal values.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

use crate::model::{Key, RecordKey, Table};

/// The most records in one plan. What is beyond is counted and left to the plan of a later run: a plan is
/// held in memory, about 100 bytes a record.
pub const MAX_RECORDS: usize = 100_000;
/// The layout of the text.
const LAYOUT: u32 = 1;
/// Tells this digest from any other use of the hash. Never changed.
const DOMAIN: &str = "clerk-convex-sync held plan of deletions, layout 1";

/// The name of a plan: 64 bits in 16 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Digest(String);

impl Digest {
    /// The length, in characters.
    pub const CHARS: usize = 16;

    /// Takes a digest as a person typed it; upper case and space around it are forgiven. `None` if it cannot
    /// be one, so what is parsed can be part of a file name.
    pub fn parse(text: &str) -> Option<Digest> {
        let text = text.trim().to_ascii_lowercase();
        let fine = text.len() == Self::CHARS && text.bytes().all(|b| b.is_ascii_hexdigit());
        fine.then_some(Digest(text))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What stands above the records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Head {
    /// The plan's name.
    pub digest: Digest,
    /// When it was made, in milliseconds since the epoch.
    pub made_ms: i64,
    /// The report of the run that made it.
    pub run: String,
    /// Why it was held, in words for a person; one sentence a table.
    pub reasons: Vec<String>,
    /// How many records it names.
    pub records: u64,
    /// How many more the run found, beyond [`MAX_RECORDS`].
    pub left_out: u64,
}

impl Head {
    /// What people are told while it waits; ends in what to do.
    pub fn alert(&self) -> String {
        format!(
            "{} deletion(s) are held: {}. Look at the report, then `clerk-convex-sync reconcile --approve {}`",
            self.records,
            self.reasons.join("; "),
            self.digest
        )
    }
}

/// Records to be deleted, each once. Built from any order:
///
/// ```text
/// let mut plan = Plan::new(run_id, now_ms);
/// plan.hold_because("600 of 1000 rows would be deleted; …");
/// for orphan in orphans { plan.insert(orphan.record); }
/// plans.save(&plan)?;                       // report.plan_digest = Some(plan.digest())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    run: String,
    made_ms: i64,
    reasons: Vec<String>,
    records: BTreeSet<RecordKey>,
    merges: BTreeSet<RecordKey>,
    left_out: u64,
}

/// Why a text is no plan. Permanent: the next run makes it anew.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// It is not what this release or an older one writes.
    #[error("line {line} of the plan cannot be read")]
    Unreadable {
        /// From 1.
        line: usize,
    },
    /// A later release wrote it.
    #[error("the plan has layout {0}, this release knows up to {LAYOUT}")]
    Newer(u32),
    /// The records are not those that the digest stands for.
    #[error("the plan is not what its digest says; it was changed or cut off")]
    Changed,
}

impl Plan {
    /// A plan of nothing yet, by the run whose report has this id.
    pub fn new(run: impl Into<String>, made_ms: i64) -> Self {
        Plan {
            run: run.into(),
            made_ms,
            reasons: Vec::new(),
            records: BTreeSet::new(),
            merges: BTreeSet::new(),
            left_out: 0,
        }
    }

    /// Adds a reason, in words for a person.
    pub fn hold_because(&mut self, reason: impl Into<String>) {
        self.reasons.push(reason.into());
    }

    /// Adds a record that is to be deleted. Of more than [`MAX_RECORDS`] the first by table and key stay, in whatever order they came;
    /// the others are counted.
    pub fn insert(&mut self, record: RecordKey) {
        self.records.insert(record);
        self.bound();
    }

    /// Adds a record of which the younger rows are to go for the oldest. The deletions come first where there
    /// are too many.
    pub fn insert_merge(&mut self, record: RecordKey) {
        self.merges.insert(record);
        self.bound();
    }

    fn bound(&mut self) {
        if self.len() > MAX_RECORDS {
            if self.merges.pop_last().is_none() {
                self.records.pop_last();
            }
            self.left_out += 1;
        }
    }

    /// The records that are to be deleted, by table and key.
    pub fn records(&self) -> impl ExactSizeIterator<Item = &RecordKey> {
        self.records.iter()
    }

    /// The records of which the younger rows are to go, by table and key.
    pub fn merges(&self) -> impl ExactSizeIterator<Item = &RecordKey> {
        self.merges.iter()
    }

    /// How many there are of both.
    pub fn len(&self) -> usize {
        self.records.len() + self.merges.len()
    }

    /// True if there is nothing to remove.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// True if this record is part of it.
    pub fn contains(&self, record: &RecordKey) -> bool {
        self.records.contains(record)
    }

    /// The name: the same for the same records, whoever found them when.
    pub fn digest(&self) -> Digest {
        let mut hasher = blake3::Hasher::new_derive_key(DOMAIN);
        hasher.update(&(self.records.len() as u64).to_le_bytes());
        for RecordKey { table, key } in &self.records {
            hasher.update(&[table.code()]);
            hasher.update(&(key.as_str().len() as u64).to_le_bytes());
            hasher.update(key.as_str().as_bytes());
        }
        // What has nothing to merge has the digest that it always had.
        if !self.merges.is_empty() {
            hasher.update(b"merges");
            for RecordKey { table, key } in &self.merges {
                hasher.update(&[table.code()]);
                hasher.update(&(key.as_str().len() as u64).to_le_bytes());
                hasher.update(key.as_str().as_bytes());
            }
        }
        let mut hex = hasher.finalize().to_hex().to_string();
        hex.truncate(Digest::CHARS);
        Digest(hex)
    }

    /// What stands above the records.
    pub fn head(&self) -> Head {
        Head {
            digest: self.digest(),
            made_ms: self.made_ms,
            run: self.run.clone(),
            reasons: self.reasons.clone(),
            records: self.len() as u64,
            left_out: self.left_out,
        }
    }

    /// As text: one JSON object with the head, then one a record, each on a line.
    pub fn to_ndjson(&self) -> String {
        let head = self.head();
        let mut text = String::with_capacity(512 + 80 * self.records.len());
        push_line(
            &mut text,
            &HeadLine {
                plan: LAYOUT,
                digest: head.digest.0,
                made_ms: head.made_ms,
                run: head.run,
                reasons: head.reasons,
                records: head.records,
                left_out: head.left_out,
            },
        );
        for record in &self.records {
            push_line(&mut text, record);
        }
        for RecordKey { table, key } in &self.merges {
            let line = RecordLine {
                table: *table,
                key: key.to_string(),
                merge: true,
            };
            push_line(&mut text, &line);
        }
        text
    }

    /// Reads what [`Plan::to_ndjson`] wrote, and believes it only if the digest agrees.
    pub fn parse(text: &str) -> Result<Plan, PlanError> {
        let mut lines = text.lines();
        let head = parse_head(lines.next().unwrap_or_default())?;
        let (mut records, mut merges) = (BTreeSet::new(), BTreeSet::new());
        for (at, line) in lines.enumerate() {
            let unreadable = PlanError::Unreadable { line: at + 2 };
            if records.len() + merges.len() == MAX_RECORDS {
                return Err(unreadable);
            }
            let Ok(RecordLine { table, key, merge }) = serde_json::from_str(line) else {
                return Err(unreadable);
            };
            let key = Key::parse(&key).ok_or(unreadable)?;
            let of = if merge { &mut merges } else { &mut records };
            of.insert(RecordKey { table, key });
        }
        let plan = Plan {
            run: head.run,
            made_ms: head.made_ms,
            reasons: head.reasons,
            records,
            merges,
            left_out: head.left_out,
        };
        if plan.digest() == head.digest {
            Ok(plan)
        } else {
            Err(PlanError::Changed)
        }
    }
}

/// Reads the first line of a plan, for lists; the records are not looked at, so the digest is not proved.
pub fn parse_head(line: &str) -> Result<Head, PlanError> {
    /// All that must be understood of a later layout.
    #[derive(Deserialize)]
    struct Layout {
        plan: u32,
    }
    let unreadable = PlanError::Unreadable { line: 1 };
    match serde_json::from_str(line) {
        Ok(Layout { plan }) if plan > LAYOUT => return Err(PlanError::Newer(plan)),
        Ok(_) => {}
        Err(_) => return Err(unreadable),
    }
    let Ok(head) = serde_json::from_str::<HeadLine>(line) else {
        return Err(unreadable);
    };
    Ok(Head {
        digest: Digest::parse(&head.digest).ok_or(unreadable)?,
        made_ms: head.made_ms,
        run: head.run,
        reasons: head.reasons,
        records: head.records,
        left_out: head.left_out,
    })
}

#[derive(Serialize, Deserialize)]
struct HeadLine {
    plan: u32,
    digest: String,
    made_ms: i64,
    run: String,
    reasons: Vec<String>,
    records: u64,
    left_out: u64,
}

#[derive(Serialize, Deserialize)]
struct RecordLine {
    table: Table,
    key: String,
    #[serde(default)]
    merge: bool,
}

fn push_line(text: &mut String, value: &impl Serialize) {
    // Strings and whole numbers under string keys: there is nothing in it that serde_json could refuse.
    text.push_str(&serde_json::to_string(value).expect("a line of a plan is always JSON"));
    text.push('\n');
}

#[cfg(test)]
mod tests;
