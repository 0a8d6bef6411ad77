//! The full diff: both sides walked and joined, suspects looked at again, what may go removed.
//!
//! As `reconcile/full/range.rs`, `confirm.rs`, `mend.rs`, `remove.rs` and the end of a group; the join, the
//! verdicts, the proof, the brake and the plan are the program's own. One range, and its cursor after every page.

use std::{collections::BTreeMap, rc::Rc};

use clerk_convex_sync::{
    clerk::proof::{Evidence, prove},
    convex::wire,
    model::{Key, Table, Upsert, Version},
    reconcile::{
        diff::merge::{Finding, Listed, Merge, Need, Step, Stored},
        repair::{
            brake::{Brake, Situation, brake},
            plan::Plan,
        },
        verdict::{Candidate, Sides, is_overtaken, judge},
    },
    report::RunOutcome,
};

use super::{
    checks::LIMITS,
    clerk::{User, fields_of, record_of},
    convex::Row,
    daemon::Daemon,
    desk::{Trouble, patiently},
    faults::Breach,
    writing::{Repair, Repaired},
};

/// Where a full diff stands.
#[derive(Clone, Debug, Default)]
pub struct Cursor {
    run: u64,
    started: i64,
    counted: u64,
    below: Option<i64>,
    listed: u64,
    rows: u64,
    flaws: u64,
    differences: u64,
    orphans: Vec<Key>,
}

#[derive(Clone, Debug)]
struct Left(Rc<User>);

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
type Suspects = BTreeMap<Key, Option<Rc<User>>>;

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
                counted: patiently!(self, world.count_users()),
                ..Cursor::default()
            };
            world.checks.borrow_mut().run_begins(begun.run, false);
            cursor = Some(begun);
        }
        let mut cursor = cursor.expect("a cursor");
        self.walk(&mut cursor).await?;
        let outcome = self.end_of(&mut cursor).await?;
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
        let rows = patiently!(self, world.list_rows(None, 100));
        let keys: Vec<Key> = rows.into_iter().map(|(key, _)| key).collect();
        if keys.is_empty() {
            return Ok(());
        }
        let found = patiently!(self, world.users_by_id(&keys));
        if !found.is_empty() {
            world.disk.borrow_mut().state.now.proved = true;
        } else if keys.len() >= 3 {
            return Err(Trouble::Broken);
        }
        Ok(())
    }

    async fn walk(self: &Rc<Self>, cursor: &mut Cursor) -> Result<(), Trouble> {
        let limit = self.world.drawn.page;
        let mut join = Join::new();
        // From this millisecond on, itself included.
        let mut left = cursor.below.map(|below| (below, first_key()));
        let mut right = cursor.below.map(|below| (Some(below), first_key()));
        let mut ended = false;
        while !ended {
            let page = patiently!(self, self.world.list_users(left.clone(), limit));
            ended = page.len() < limit;
            left = page
                .last()
                .map(|user| (user.created_at, user.key.clone()))
                .or(left);
            join.feed_left(page.into_iter().map(|user| Left(Rc::new(user))).collect());
            if ended {
                join.end_left();
            }
            let mut suspects = Suspects::new();
            loop {
                match join.step() {
                    Ok(Step::Found(found)) => look(found, cursor, &mut suspects),
                    Ok(Step::Need(Need::Left) | Step::Done) => break,
                    Ok(Step::Need(_)) => {
                        let rows = patiently!(self, self.world.list_rows(right.clone(), limit));
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
            self.deal_with(suspects, cursor).await?;
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
        mut suspects: Suspects,
        cursor: &mut Cursor,
    ) -> Result<(), Trouble> {
        suspects.retain(|key, listed| {
            let seen = self.seen(&record_of(key));
            let seen = seen.map(|seen| (seen.version, seen.deleted));
            let over = |user: &Rc<User>| is_overtaken(Version(user.version), seen);
            !listed.as_ref().is_some_and(over)
        });
        let keys: Vec<Key> = suspects.into_keys().collect();
        if keys.is_empty() {
            return Ok(());
        }
        let users = patiently!(self, self.world.users_by_id(&keys));
        let rows = patiently!(self, self.world.get_rows(&keys));
        let mut repairs = Vec::new();
        for key in keys {
            let user = users.iter().find(|user| user.key == key);
            let candidate = user.map(candidate);
            let rows = rows.iter().filter(|(of, _)| *of == key);
            let rows = rows.map(|(key, row)| wire_row(key, row)).collect();
            let verdict = judge(&Sides {
                key: &key,
                clerk: candidate.as_ref(),
                rows: vec![(Table::Users, rows)],
                held: false,
            });
            cursor.differences += verdict.differences.len() as u64;
            if verdict.orphan {
                cursor.orphans.push(key);
            } else if let Some(user) = user.filter(|_| verdict.write) {
                repairs.push(Repair::of(user.clone()));
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

    /// Everything was walked: may what is gone from Clerk go from Convex?
    async fn end_of(self: &Rc<Self>, cursor: &mut Cursor) -> Result<RunOutcome, Trouble> {
        let world = &self.world;
        let evidence = Evidence {
            counted_before: cursor.counted,
            counted_after: patiently!(self, world.count_users()),
            rows: cursor.listed,
            flaws: cursor.flaws,
            failed_pages: 0,
            rows_elsewhere: cursor.rows,
        };
        let unproven = prove(&evidence).err().map(|why| why.to_string());
        let mut outcome = match (unproven.is_some(), cursor.differences) {
            (true, _) => RunOutcome::Failed,
            (false, 0) => RunOutcome::InSync,
            (false, _) => RunOutcome::Repaired,
        };
        cursor.orphans.sort();
        cursor.orphans.dedup();
        let orphans = std::mem::take(&mut cursor.orphans);
        let verdict = brake(
            LIMITS,
            &Situation {
                deletions: orphans.len() as u64,
                rows: cursor.rows,
                listed: cursor.listed,
                unproven,
                none_counted: false,
                emptied: 0,
                lately: 0,
            },
        );
        match verdict {
            Brake::Held { reason } if !world.is_broken(Breach::NoBrake) => {
                let mut plan = Plan::new("run", world.machine.now());
                plan.hold_because(reason);
                orphans.iter().for_each(|key| plan.insert(record_of(key)));
                world.machine.say(|| format!("held: {orphans:?}"));
                let mut disk = world.disk.borrow_mut();
                let digest = plan.digest();
                if disk.plans.iter().all(|held| held.digest() != digest) {
                    disk.plans.push(plan);
                }
                outcome = RunOutcome::Held;
            }
            Brake::Refused { .. } if !world.is_broken(Breach::NoBrake) => {
                outcome = RunOutcome::Failed;
            }
            _ => self.remove(orphans, cursor.run).await?,
        }
        Ok(outcome)
    }

    /// Removes those that Clerk says do not exist, each by its id.
    async fn remove(self: &Rc<Self>, orphans: Vec<Key>, run: u64) -> Result<(), Trouble> {
        let mut repairs = Vec::new();
        for key in orphans {
            let unasked = self.world.is_broken(Breach::NoConfirm);
            let user = match unasked {
                true => None,
                false => patiently!(self, self.world.get_user(&key)),
            };
            let record = record_of(&key);
            match user {
                None => repairs.push(Repair { record, user: None }),
                Some(_) => self.world.machine.say(|| format!("{key} is spared")),
            }
        }
        for done in self.repair(repairs, run).await? {
            if done == Repaired::Refused {
                self.world.machine.say(|| "a deletion was refused".into());
            }
        }
        Ok(())
    }

    /// Carries out a plan; as `reconciler/approve.rs`.
    pub async fn carry_out(self: &Rc<Self>, plan: &Plan, run: u64) -> Result<RunOutcome, Trouble> {
        self.world.checks.borrow_mut().run_begins(run, true);
        let keys: Vec<Key> = plan.records().map(|record| record.key.clone()).collect();
        let rows = patiently!(self, self.world.get_rows(&keys));
        let orphans = rows.into_iter().map(|(key, _)| key).collect();
        self.remove(orphans, run).await?;
        Ok(RunOutcome::Repaired)
    }
}

/// What to make of a finding; as `RangeRun::look`.
fn look(found: Finding<Left, Right>, cursor: &mut Cursor, suspects: &mut Suspects) {
    match found {
        Finding::Both(Left(user), Right(key, row)) => {
            cursor.listed += 1;
            cursor.rows += 1;
            if user.content != row.content {
                suspects.insert(key, Some(user));
            }
        }
        Finding::OnlyLeft(Left(user)) => {
            cursor.listed += 1;
            suspects.insert(user.key.clone(), Some(user));
        }
        Finding::OnlyRight(Right(key, _)) | Finding::Again(Right(key, _)) => {
            cursor.rows += 1;
            suspects.entry(key).or_default();
        }
        Finding::Late(Left(user)) => {
            cursor.flaws += 1;
            cursor.listed += 1;
            suspects.insert(user.key.clone(), Some(user));
        }
        Finding::Repeated(_) => cursor.flaws += 1,
    }
}

fn candidate(user: &User) -> Candidate {
    let row = Upsert {
        table: Table::Users,
        key: user.key.clone(),
        created_at: user.created_at,
        version: Version(user.version),
        fields: fields_of(user.content),
        insert_defaults: None,
        link_email: None,
        revive: None,
        merge: None,
    };
    Candidate {
        key: user.key.clone(),
        created_at: user.created_at,
        version: Version(user.version),
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
