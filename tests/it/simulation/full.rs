//! The full diff: both sides walked and joined, suspects looked at again and repaired.
//!
//! As `reconcile/full/range.rs`, `confirm.rs` and `mend.rs`; the join and the verdicts are the program's own. Table
//! after table, parents before children; one range each, and its cursor after every page.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use clerk_convex_sync::{
    convex::wire,
    model::{Key, Table, Upsert, Version},
    reconcile::{
        diff::merge::{Finding, Listed, Merge, Need, Step, Stored},
        repair::plan::Plan,
        verdict::{Candidate, Sides, is_overtaken, judge},
    },
    report::RunOutcome,
};

use super::{
    clerk::{Parents, Record, fields_of, record_of, table_of},
    convex::Row,
    daemon::Daemon,
    desk::{Trouble, patiently},
    writing::Repair,
};

/// What a full diff walks.
const TABLES: [Table; 3] = [Table::Users, Table::Organizations, Table::Memberships];

/// Where a full diff stands.
#[derive(Clone, Debug, Default)]
pub struct Cursor {
    pub run: u64,
    started: i64,
    /// The table, by its place.
    at: usize,
    pub counted: Option<u64>,
    below: Option<i64>,
    pub listed: u64,
    pub rows: u64,
    pub flaws: u64,
    pub orphans: BTreeSet<Orphan>,
    pub differences: u64,
    pub failed: bool,
    pub held: bool,
}

/// A record that Clerk does not list, and whose it is.
pub type Orphan = (Key, Option<Parents>);

#[derive(Clone, Debug)]
struct Left(Rc<Record>);

#[derive(Clone, Debug)]
struct Right(Key, Row);

impl Listed for Left {
    fn created_at(&self) -> i64 {
        self.0.created_at
    }

    fn key(&self) -> &Key {
        &self.0.key
    }
}

impl Stored for Right {
    fn created_at(&self) -> Option<i64> {
        self.1.created_at
    }

    fn key(&self) -> &Key {
        &self.0
    }
}

type Join = Merge<Left, Right>;

/// What was listed of it, and whose its row is.
#[derive(Default)]
struct Suspect {
    listed: Option<Rc<Record>>,
    parents: Option<Parents>,
}

type Suspects = BTreeMap<Key, Suspect>;

impl Daemon {
    pub async fn compare(self: &Rc<Self>, number: u64) -> Result<RunOutcome, Trouble> {
        let world = &self.world;
        self.check_pins().await?;
        let mut cursor = match world.disk.borrow().state.now.run.clone() {
            Some(cursor) if world.machine.now() - cursor.started < 6 * 3_600_000 => Some(cursor),
            _ => None,
        };
        if cursor.is_none() {
            let begun = Cursor {
                run: number,
                started: world.machine.now(),
                counted: Some(patiently!(self, world.count(Table::Users))),
                ..Cursor::default()
            };
            world.checks.borrow_mut().run_begins(begun.run, false);
            cursor = Some(begun);
        }
        let mut cursor = cursor.expect("a cursor");
        let mut plan = Plan::new("run", world.machine.now());
        let tables = match world.drawn.groups > 0.0 {
            true => &TABLES[..],
            false => &TABLES[..1],
        };
        while let Some(table) = tables.get(cursor.at).copied() {
            if cursor.counted.is_none() {
                cursor.counted = Some(patiently!(self, world.count(table)));
            }
            self.walk(table, &mut cursor).await?;
            self.end_of(table, &mut cursor, &mut plan).await?;
            cursor = cursor.of_next();
        }
        let outcome = self.conclude(&cursor, plan);
        // What was mended before it was cut off is not found again.
        if outcome == RunOutcome::InSync && cursor.run == number {
            world.found_nothing(cursor.run);
        }
        world.disk.borrow_mut().state.now.run = None;
        Ok(outcome)
    }

    /// A key that was never proved has to know one of the rows at least; as `reconciler/pins.rs`.
    async fn check_pins(self: &Rc<Self>) -> Result<(), Trouble> {
        let world = &self.world;
        if world.disk.borrow().state.now.proved {
            return Ok(());
        }
        let rows = patiently!(self, world.list_rows(Table::Users, None, 100));
        let keys: Vec<Key> = rows.into_iter().map(|(key, _)| key).collect();
        if keys.is_empty() {
            return Ok(());
        }
        let found = patiently!(self, world.records_by_id(&keys));
        if !found.is_empty() {
            world.disk.borrow_mut().state.now.proved = true;
        } else if keys.len() >= 3 {
            return Err(Trouble::Broken);
        }
        Ok(())
    }

    async fn walk(self: &Rc<Self>, table: Table, cursor: &mut Cursor) -> Result<(), Trouble> {
        let limit = self.world.drawn.page;
        let mut join = Join::new();
        // From this millisecond on, itself included.
        let mut left = cursor.below.map(|below| (below, first_key()));
        let mut right = cursor.below.map(|below| (Some(below), first_key()));
        let mut ended = false;
        while !ended {
            let page = patiently!(self, self.world.list(table, left.clone(), limit));
            ended = page.len() < limit;
            left = page
                .last()
                .map(|one| (one.created_at, one.key.clone()))
                .or(left);
            join.feed_left(page.into_iter().map(|one| Left(Rc::new(one))).collect());
            if ended {
                join.end_left();
            }
            let mut suspects = Suspects::new();
            loop {
                match join.step() {
                    Ok(Step::Found(found)) => look(found, cursor, &mut suspects),
                    Ok(Step::Need(Need::Left) | Step::Done) => break,
                    Ok(Step::Need(_)) => {
                        let rows =
                            patiently!(self, self.world.list_rows(table, right.clone(), limit));
                        let short = rows.len() < limit;
                        let last = rows.last();
                        right = last
                            .map(|(key, row)| (row.created_at, key.clone()))
                            .or(right);
                        let rows = rows.into_iter().map(|(key, row)| Right(key, row));
                        join.feed_right(rows.collect());
                        if short {
                            join.end_right();
                        }
                    }
                    Err(_) => return Err(Trouble::Broken),
                }
            }
            self.deal_with(table, suspects, cursor).await?;
            cursor.below = join.settled().max(cursor.below);
            let mut disk = self.world.disk.borrow_mut();
            disk.state.now.run = Some(cursor.clone());
            disk.state.flush();
        }
        Ok(())
    }

    /// Looks again on both sides, and repairs what still differs.
    async fn deal_with(
        self: &Rc<Self>,
        table: Table,
        mut suspects: Suspects,
        cursor: &mut Cursor,
    ) -> Result<(), Trouble> {
        suspects.retain(|key, suspect| {
            let seen = self.seen(&record_of(key));
            let seen = seen.map(|seen| (seen.version, seen.deleted));
            let over = |listed: &Rc<Record>| is_overtaken(Version(listed.version), seen);
            !suspect.listed.as_ref().is_some_and(over)
        });
        if suspects.is_empty() {
            return Ok(());
        }
        let keys: Vec<Key> = suspects.keys().cloned().collect();
        let now = self.look_up(table, &suspects).await?;
        let rows = patiently!(self, self.world.get_rows(&keys));
        let mut repairs = Vec::new();
        for (key, suspect) in suspects {
            let record = now.iter().find(|one| one.key == key);
            let candidate = record.map(candidate);
            let rows = rows.iter().filter(|(of, _)| *of == key);
            let rows = rows.map(|(key, row)| wire_row(key, row)).collect();
            let verdict = judge(&Sides {
                key: &key,
                clerk: candidate.as_ref(),
                rows: vec![(table, rows)],
                held: false,
            });
            cursor.differences += verdict.differences.len() as u64;
            if verdict.orphan {
                cursor.orphans.insert((key, suspect.parents));
            } else if let Some(record) = record.filter(|_| verdict.write) {
                repairs.push(Repair::of(record.clone()));
            }
        }
        let count = repairs.len();
        let done = self.repair(repairs, cursor.run).await?;
        debug_assert_eq!(done.len(), count);
        for repaired in done {
            self.world.machine.say(|| format!("mended: {repaired:?}"));
        }
        Ok(())
    }

    /// What Clerk has of these now. No request takes many memberships by their ids, so of those what was listed counts.
    async fn look_up(
        self: &Rc<Self>,
        table: Table,
        suspects: &Suspects,
    ) -> Result<Vec<Record>, Trouble> {
        if table != Table::Memberships {
            let keys: Vec<Key> = suspects.keys().cloned().collect();
            return Ok(patiently!(self, self.world.records_by_id(&keys)));
        }
        let mut now = Vec::new();
        for (key, suspect) in suspects {
            match &suspect.listed {
                Some(listed) => now.push(Record::clone(listed)),
                None => now.extend(patiently!(self, self.world.get_record(key))),
            }
        }
        Ok(now)
    }
}

/// What to make of a finding; as `RangeRun::look`.
fn look(found: Finding<Left, Right>, cursor: &mut Cursor, suspects: &mut Suspects) {
    match found {
        Finding::Both(Left(listed), Right(_, row)) => {
            cursor.listed += 1;
            cursor.rows += 1;
            if listed.content != row.content {
                suspect(listed, suspects);
            }
        }
        Finding::OnlyLeft(Left(listed)) => {
            cursor.listed += 1;
            suspect(listed, suspects);
        }
        Finding::OnlyRight(Right(key, row)) | Finding::Again(Right(key, row)) => {
            cursor.rows += 1;
            suspects.entry(key).or_default().parents = row.parents;
        }
        Finding::Late(Left(listed)) => {
            cursor.flaws += 1;
            cursor.listed += 1;
            suspect(listed, suspects);
        }
        Finding::Repeated(_) => cursor.flaws += 1,
    }
}

fn suspect(listed: Rc<Record>, suspects: &mut Suspects) {
    let slot = suspects.entry(listed.key.clone()).or_default();
    slot.listed = Some(listed);
}

impl Cursor {
    /// At the beginning of the next table.
    fn of_next(self) -> Cursor {
        Cursor {
            at: self.at + 1,
            counted: None,
            below: None,
            listed: 0,
            rows: 0,
            flaws: 0,
            orphans: BTreeSet::new(),
            ..self
        }
    }
}

fn candidate(record: &Record) -> Candidate {
    let row = Upsert {
        table: table_of(&record.key),
        key: record.key.clone(),
        created_at: record.created_at,
        version: Version(record.version),
        fields: fields_of(record.content),
        insert_defaults: None,
        link_email: None,
        revive: None,
        merge: None,
    };
    Candidate {
        key: record.key.clone(),
        created_at: record.created_at,
        version: Version(record.version),
        rows: Ok(vec![row]),
    }
}

fn wire_row(key: &Key, row: &Row) -> wire::Row {
    wire::Row {
        id: key.to_string(),
        key: key.clone(),
        created_at: row.created_at,
        version: Some(Version(row.version)),
        deleted_at: None,
        fields: fields_of(row.content),
    }
}

/// Before every key of a millisecond.
fn first_key() -> Key {
    Key::parse("-").expect("a key")
}
