//! One range of a full diff: both sides read, joined, looked at again, repaired, and the cursor moved.
//!
//! After every page of Clerk's, and not before all that the page brought up has been dealt with, the cursor goes
//! to where both sides are settled. A run that is cut off reads at most one page of each range twice.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    affiliation::{Affiliations, COLUMN},
    candidate::{Candidate, Listed},
    held::HeldRows,
    kept::Kept,
    records::RecordPages,
    unnamed::Unnamed,
};
use crate::{
    clerk::{RawRecord, walk::Room},
    convex::{reader::Range, wire::ListedRow},
    mapping,
    model::{Action, Difference, Key, Table},
    reconcile::{
        Trouble,
        confirm::{Looking, Suspects},
        cursor::{Cursors, RangeCursor},
        diff::{
            compare,
            merge::{self, Finding, Merge, Need, Step},
        },
        mend::{May, mend},
        parts::{Part, Parts},
        rows::RowPages,
        scan::ranges::{Builder, MAX_RANGES},
    },
    report::json,
};

/// Bytes of a range's list from which on rows that go into an empty table are counted and not listed: a move of a
/// million records is no million findings, and the disk is not to grow with their number.
const MAX_FILL_BYTES: u64 = 4 << 20;
/// Suspects that are looked at together at most.
const SUSPECTS: usize = 1000;

impl merge::Listed for Listed {
    fn created_at(&self) -> i64 {
        self.record().created_at()
    }

    fn key(&self) -> &Key {
        self.record().key()
    }

    fn stand_alone(&mut self) {
        Listed::stand_alone(self);
    }
}

/// Hears of a page by the number of its range.
pub type OnPage = Box<dyn Fn(usize, &RangeCursor) + Send + Sync>;

/// What the ranges of a run have in common.
pub struct Course {
    /// Where and how to look again.
    pub looking: Looking,
    /// What may be done about what differs.
    pub may: May,
    /// True if each page is dealt with before the next is asked for.
    pub careful: bool,
    /// True if personal values are kept as they are.
    pub show_values: bool,
    /// Where ranges keep their place.
    pub cursors: Cursors,
    /// The run's lists.
    pub parts: Parts,
    /// The group and the pass, for the names of the lists.
    pub walk: String,
    /// Rows in one page.
    pub page_rows: u32,
    /// Room for pages of rows that lie ahead.
    pub rows_ahead: Room,
    /// Hears of every page that was dealt with, by the number of the range.
    pub on_page: OnPage,
    /// Ranges that were counted from their beginning to their end, for the census.
    pub counted: Mutex<BTreeMap<usize, Builder>>,
    /// What users' rows say about organizations.
    pub affiliations: Arc<Affiliations>,
    /// Softly deleted rows that were held long enough.
    pub held_rows: Arc<HeldRows>,
    /// Users for whom Clerk names no row, or another one.
    pub unnamed: Arc<Unnamed>,
}

/// One range in work.
pub struct RangeRun {
    course: Arc<Course>,
    number: usize,
    cursor: RangeCursor,
    differences: Part,
    orphans: Part,
    /// Its users so far; none if it did not begin at its beginning.
    counting: Option<Builder>,
}

/// One table of the range.
struct Join {
    table: Table,
    merge: Merge<Listed, ListedRow>,
    rows: RowPages,
}

impl RangeRun {
    /// Takes up a range where its cursor stands.
    pub fn new(
        course: Arc<Course>,
        number: usize,
        cursor: RangeCursor,
    ) -> Result<RangeRun, Trouble> {
        let (parts, walk) = (&course.parts, course.walk.as_str());
        Ok(RangeRun {
            differences: parts.append(&differences_name(walk, number), cursor.log_bytes)?,
            orphans: parts.append(&orphans_name(walk, number), cursor.orphan_bytes)?,
            counting: cursor
                .done_below
                .is_none()
                .then(|| Builder::new(MAX_RANGES / crate::reconcile::cursor::MAX_RANGES)),
            course,
            number,
            cursor,
        })
    }

    /// Walks it to its end.
    pub async fn run(mut self, mut records: RecordPages) -> Result<(), Trouble> {
        let course = Arc::clone(&self.course);
        let Looking { ends, tables, .. } = &course.looking;
        let range = Range {
            from: self.cursor.goes_on_from(),
            before: self.cursor.before,
        };
        let mut joins: Vec<Join> = tables
            .iter()
            .map(|table| Join {
                table: *table,
                merge: Merge::new(),
                rows: RowPages::of(
                    ends.reader.clone(),
                    *table,
                    range,
                    course.page_rows,
                    &course.rows_ahead,
                ),
            })
            .collect();
        let mut ended = false;
        let (mut suspects, mut waited) = (Suspects::default(), false);
        while !ended {
            match records.next().await? {
                Some(page) => {
                    self.count(&page);
                    let listed = Listed::all(page);
                    for join in &mut joins {
                        join.merge.feed_left(listed.clone());
                    }
                }
                None => {
                    ended = true;
                    joins.iter_mut().for_each(|join| join.merge.end_left());
                }
            }
            for join in &mut joins {
                self.drain(join, &mut suspects).await?;
            }
            // The cursor waits for what is not dealt with: two pages that go into an empty table fill one call.
            waited = !waited && !ended && self.fills(&suspects);
            if waited {
                continue;
            }
            self.deal_with(std::mem::take(&mut suspects)).await?;
            if ended {
                self.cursor.end = records.end();
            }
            let settled = joins.iter().map(|join| join.merge.settled()).min();
            let settled = settled.flatten();
            self.cursor.place = records.place(settled).or(self.cursor.place);
            self.cursor.total = records.total();
            self.checkpoint(settled, ended, records.flaws())?;
        }
        if let Some(counted) = self.counting {
            let mut all = course
                .counted
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            all.insert(self.number, counted);
        }
        Ok(())
    }

    fn fills(&self, suspects: &Suspects) -> bool {
        let bulk = self.course.looking.bulk && !self.course.careful;
        bulk && (1..SUSPECTS).contains(&suspects.len())
    }

    fn count(&mut self, page: &[RawRecord]) {
        let Some(counting) = &mut self.counting else {
            return;
        };
        let ascending = page
            .iter()
            .all(|one| counting.add(one.created_at()).is_ok());
        if !ascending {
            self.counting = None;
        }
    }

    /// Takes out of a join what can be said before Clerk's next page.
    async fn drain(&mut self, join: &mut Join, suspects: &mut Suspects) -> Result<(), Trouble> {
        loop {
            let found = match join.merge.step() {
                Ok(Step::Found(found)) => found,
                Ok(Step::Need(Need::Left)) | Ok(Step::Done) => return Ok(()),
                Ok(Step::Need(Need::Right | Need::Both)) => {
                    match join.rows.next().await? {
                        Some(page) => {
                            self.cursor.tally.unmanaged += page.odd as u64;
                            join.merge.feed_right(page.rows);
                        }
                        None => join.merge.end_right(),
                    }
                    continue;
                }
                Err(broken) => return Err(Trouble::Order(broken)),
            };
            self.look(join.table, found, suspects);
            if suspects.len() >= SUSPECTS {
                self.deal_with(std::mem::take(suspects)).await?;
            }
        }
    }

    fn look(&mut self, table: Table, found: Finding<Listed, ListedRow>, suspects: &mut Suspects) {
        let course = &self.course;
        let rules = &course.looking.ends.rules;
        if let Finding::Both(listed, _) | Finding::OnlyLeft(listed) | Finding::Late(listed) = &found
            && table == Table::Users
        {
            // Once for each user, however often its page is read: what was handed out is counted with the cursor.
            let metadata = listed.record().public_metadata();
            let unknown = metadata.is_some_and(|one| mapping::claims_unknown_role(&one, rules));
            self.cursor.tally.unknown_roles += u64::from(unknown);
        }
        if table == Table::Memberships && course.affiliations.is_on() {
            self.hold_against_users(&found);
        }
        let figures = self.cursor.tally.of(table);
        match found {
            Finding::Both(listed, row) => {
                figures.clerk += 1;
                figures.convex += 1;
                let mapped = Candidate::of(listed.record(), rules, &[table]);
                let fields = mapped.fields(table);
                if table == Table::Users {
                    if course.affiliations.is_on() {
                        let named = fields.is_some_and(|fields| fields.contains_key(COLUMN));
                        course.affiliations.user(&row, named);
                    }
                    course.unnamed.look(listed.record(), &row);
                }
                let equal = fields.is_some_and(|fields| compare::equal_text(fields, row.text()));
                if !equal || row.deleted_at.is_some() {
                    suspects.add_row(&row);
                    suspects.add_listed(listed);
                }
            }
            Finding::OnlyLeft(listed) => {
                figures.clerk += 1;
                suspects.add_listed(listed);
            }
            Finding::OnlyRight(row) => {
                figures.convex += 1;
                if row.deleted_at.is_none() {
                    suspects.add_row(&row);
                } else if table == Table::Users {
                    self.cursor.tally.held_rows += 1;
                    self.course.held_rows.note(&row);
                }
            }
            Finding::Again(row) => {
                figures.convex += 1;
                suspects.add_row(&row);
            }
            Finding::Late(listed) => {
                // Its place was passed; that is no proof of anything but of a listing out of order.
                let key = listed.record().key();
                self.cursor.flaw(format!("Clerk listed {key} out of order"));
                self.cursor.tally.of(table).clerk += 1;
                suspects.add_listed(listed);
            }
            Finding::Repeated(listed) => {
                let key = listed.record().key();
                self.cursor.flaw(format!("Clerk listed {key} twice"));
            }
        }
    }

    /// Memberships come in the order by which a user's organization is derived.
    fn hold_against_users(&self, found: &Finding<Listed, ListedRow>) {
        let Course {
            affiliations,
            looking,
            ..
        } = &*self.course;
        match found {
            Finding::Both(_, row) | Finding::Again(row) => affiliations.membership(row),
            Finding::OnlyRight(row) if row.deleted_at.is_none() => affiliations.row_differs(row),
            // Into empty tables each is derived right now.
            Finding::OnlyLeft(listed) | Finding::Late(listed) if !looking.bulk => {
                let table = Table::Memberships;
                let mapped = Candidate::of(listed.record(), &looking.ends.rules, &[table]);
                let user = mapped.fields(table).and_then(|all| all.get("clerkUserId"));
                affiliations.differs(user.and_then(|user| user.as_str()));
            }
            _ => {}
        }
    }

    async fn deal_with(&mut self, suspects: Suspects) -> Result<(), Trouble> {
        if suspects.len() == 0 {
            return Ok(());
        }
        let course = Arc::clone(&self.course);
        let looking = &course.looking;
        let judged = suspects.confirm(looking).await?;
        let full = judged.fills && self.differences.bytes() >= MAX_FILL_BYTES;
        let mended = mend(&looking.ends, looking.group, judged, course.may).await?;
        self.cursor.tally.overtaken += mended.overtaken;
        self.cursor.tally.edits_waiting += mended.ahead;
        let tally = &mut self.cursor.tally;
        mended.differences.iter().for_each(|one| tally.count(one));
        self.keep(&mended.differences, full)?;
        self.orphans.add(mended.orphans.iter().map(Kept::orphan))?;
        self.orphans.add(mended.doubles.iter().map(Kept::double))?;
        Ok(())
    }

    /// Puts differences on the list; of rows for an empty table only those that failed, once it is `full`.
    fn keep(&mut self, differences: &[Difference], full: bool) -> Result<(), Trouble> {
        let show = self.course.show_values;
        let listed = |one: &&Difference| !full || one.action == Action::Failed;
        let masked = differences.iter().filter(listed);
        let masked: Vec<_> = masked.map(|one| json::difference(one, show)).collect();
        self.cursor.tally.unlisted += (differences.len() - masked.len()) as u64;
        Ok(self.differences.add(masked)?)
    }

    fn checkpoint(
        &mut self,
        settled: Option<i64>,
        done: bool,
        flaws: Vec<String>,
    ) -> Result<(), Trouble> {
        self.cursor.done = done;
        self.cursor.done_below = settled.max(self.cursor.done_below);
        self.cursor.log_bytes = self.differences.bytes();
        self.cursor.orphan_bytes = self.orphans.bytes();
        flaws.into_iter().for_each(|words| self.cursor.flaw(words));
        self.course.cursors.save_range(self.number, &self.cursor)?;
        (self.course.on_page)(self.number, &self.cursor);
        Ok(())
    }
}

/// What the names of files with differences begin with.
pub const DIFFERENCES: &str = "differences-";
/// What the names of files with orphans begin with.
const ORPHANS: &str = "orphans-";

/// The file of a range's orphans; `walk` names the group and the pass.
pub fn orphans_name(walk: &str, number: usize) -> String {
    format!("{ORPHANS}{walk}-{number:02}")
}

fn differences_name(walk: &str, number: usize) -> String {
    format!("{DIFFERENCES}{walk}-{number:02}")
}
