//! The end of a table in a full diff: did the listing prove itself, and may what is gone from Clerk go from Convex?
//!
//! As `whole/ending.rs`, `remove.rs` and `approve.rs`; the proof, the brake and the plan are the program's own.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use clerk_convex_sync::{
    clerk::proof::{Evidence, prove},
    model::{Key, Table},
    reconcile::repair::{
        brake::{Brake, EMPTIED_FROM, Situation, brake},
        plan::Plan,
    },
    report::RunOutcome,
};

use super::{
    checks::LIMITS,
    clerk::record_of,
    daemon::Daemon,
    desk::{Trouble, patiently},
    faults::Breach,
    full::{Cursor, Orphan},
    writing::{Repair, Repaired},
};

impl Daemon {
    /// Everything of a table was walked: may what is gone from Clerk go from Convex?
    pub async fn end_of(
        self: &Rc<Self>,
        table: Table,
        cursor: &mut Cursor,
        plan: &mut Plan,
    ) -> Result<(), Trouble> {
        let world = &self.world;
        let members = table == Table::Memberships;
        let evidence = Evidence {
            counted_before: cursor.counted.unwrap_or_default(),
            counted_after: patiently!(self, world.count(table)),
            rows: cursor.listed,
            flaws: cursor.flaws,
            failed_pages: 0,
            rows_elsewhere: if members { 0 } else { cursor.rows },
        };
        let unproven = prove(&evidence).err().map(|why| why.to_string());
        cursor.failed |= unproven.is_some();
        let orphans = std::mem::take(&mut cursor.orphans);
        let verdict = brake(
            LIMITS,
            &Situation {
                deletions: orphans.len() as u64,
                rows: cursor.rows,
                listed: cursor.listed,
                unproven,
                none_counted: members,
                emptied: self.emptied(&orphans).await?,
                lately: 0,
            },
        );
        match verdict {
            Brake::Held { reason } if !world.is_broken(Breach::NoBrake) => {
                world.machine.say(|| format!("held: {orphans:?}"));
                plan.hold_because(reason);
                let records = orphans.iter().map(|(key, _)| record_of(key));
                records.for_each(|record| plan.insert(record));
                cursor.held = true;
            }
            Brake::Refused { .. } if !world.is_broken(Breach::NoBrake) => cursor.failed = true,
            _ if orphans.is_empty() => {}
            _ => {
                // A power cut may bring back where a run stood that was over: the brake judges it anew.
                world.checks.borrow_mut().run_begins(cursor.run, false);
                let orphans = orphans.into_iter().map(|(key, _)| key);
                self.remove(orphans.collect(), cursor.run).await?;
            }
        }
        Ok(())
    }

    /// Organizations that would lose all their members and stay; as `reconciler.rs`.
    async fn emptied(self: &Rc<Self>, orphans: &BTreeSet<Orphan>) -> Result<u64, Trouble> {
        let mut leaving: BTreeMap<&Key, u64> = BTreeMap::new();
        for (organization, _) in orphans.iter().filter_map(|(_, parents)| parents.as_ref()) {
            *leaving.entry(organization).or_default() += 1;
        }
        leaving.retain(|_, gone| *gone >= EMPTIED_FROM);
        let mut emptied = 0;
        for organization in leaving.into_keys() {
            let there = patiently!(self, self.world.get_record(organization)).is_some();
            let none = there && patiently!(self, self.world.count_members(organization)) == 0;
            emptied += u64::from(none);
        }
        Ok(emptied)
    }

    /// Keeps what is held, and says how the run went.
    pub fn conclude(&self, cursor: &Cursor, plan: Plan) -> RunOutcome {
        if cursor.held {
            let mut disk = self.world.disk.borrow_mut();
            let digest = plan.digest();
            if disk.plans.iter().all(|held| held.digest() != digest) {
                disk.plans.push(plan);
            }
        }
        match (cursor.failed, cursor.held, cursor.differences) {
            (true, ..) => RunOutcome::Failed,
            (_, true, _) => RunOutcome::Held,
            (_, _, 0) => RunOutcome::InSync,
            _ => RunOutcome::Repaired,
        }
    }

    /// Removes those that Clerk says do not exist, each by its id.
    async fn remove(self: &Rc<Self>, orphans: Vec<Key>, run: u64) -> Result<(), Trouble> {
        let mut repairs = Vec::new();
        for key in orphans {
            let unasked = self.world.is_broken(Breach::NoConfirm);
            let there = match unasked {
                true => None,
                false => patiently!(self, self.world.get_record(&key)),
            };
            let record = record_of(&key);
            match there {
                None => repairs.push(Repair { record, wish: None }),
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
