//! Carrying out a held plan that a person has approved.
//!
//! The digest names the records, no more and no less. Each is looked at again: what has no row any more is
//! passed over, what exists in Clerk again is left alone and named.

use super::{Reconciler, pins};
use crate::{
    clerk::Priority,
    convex::reader::MAX_KEYS,
    model::{Action, Difference, DriftKind, Key, Table},
    reconcile::{
        Trouble,
        confirm::rows_of,
        ends::Ends,
        full::{
            group::{Group, Name},
            tally::Tally,
        },
        mend::Orphan,
        merge::{Double, merge, younger},
        patiently,
        remove::{Removed, remove},
        repair::{
            lately::Lately,
            plan::{Digest, Plan},
            plans::Plans,
        },
        run::{Progress, RunError, Watch},
    },
    report::{Report, RunKind, RunOutcome},
};

impl Reconciler {
    pub(super) async fn approve(
        &self,
        ends: Ends,
        digest: &str,
        progress: &Watch,
    ) -> Result<Report, RunError> {
        let Some(digest) = Digest::parse(digest) else {
            let words = "this is no digest of a plan; `reports show` of the held run names it";
            return Err(RunError::Refused(words.into()));
        };
        let plans = Plans::of(&self.options.dir, &self.options.keys);
        let plan = plans.load(&digest).map_err(Trouble::from)?;
        let alerts = ends.alerts.clone();
        let report = self.carry(ends, &plan, progress).await?;
        // What could not be removed is found again by the next run, as a plan of its own.
        let removed = plans.remove(&digest);
        removed
            .and_then(|_| plans.tell(&alerts))
            .map_err(Trouble::from)?;
        Ok(report)
    }

    async fn carry(
        &self,
        mut ends: Ends,
        plan: &Plan,
        progress: &Watch,
    ) -> Result<Report, Trouble> {
        let started_ms = (ends.now)();
        ends.tables = super::described(&ends).await?;
        pins::check(&ends, self.options.identity.as_ref()).await?;
        ends.clerk = ends.clerk.at(Priority::Confirm);
        let mut tally = Tally::default();
        let mut differences = Vec::new();
        let mut notes = Vec::new();
        let total = plan.len() as u64;
        let (known, by_person) = (self.options.known.as_ref(), Lately::by_person());
        for group in Group::ALL {
            let own = group.own_table();
            let records = plan.records().filter(|record| record.table == own);
            let keys: Vec<Key> = records.map(|record| record.key.clone()).collect();
            for some in keys.chunks(MAX_KEYS.min(200)) {
                let orphans = orphans(&ends, group, some).await?;
                let passed_over = some.len() - orphans.len();
                if passed_over > 0 {
                    notes.push(format!("{passed_over} of {own} have no row any more"));
                }
                let Removed {
                    differences: done,
                    spared,
                    ..
                } = remove(&ends, group, orphans, known, &by_person).await?;
                differences.extend(done);
                differences.extend(spared.into_iter().map(|name| left_alone(own, name)));
                step(progress, some.len(), total, differences.len());
            }
            let merges = plan.merges().filter(|record| record.table == own);
            let keys: Vec<Key> = merges.map(|record| record.key.clone()).collect();
            for some in keys.chunks(MAX_KEYS.min(200)) {
                let doubles = doubles(&ends, group, some).await?;
                differences.extend(merge(&ends, group, &doubles, &by_person).await?);
                step(progress, some.len(), total, differences.len());
            }
        }
        differences.iter().for_each(|one| tally.count(one));
        self.conclude_plan(&ends, started_ms, plan, tally, differences, notes)
    }

    fn conclude_plan(
        &self,
        ends: &Ends,
        started_ms: i64,
        plan: &Plan,
        tally: Tally,
        differences: Vec<Difference>,
        mut notes: Vec<String>,
    ) -> Result<Report, Trouble> {
        let left =
            |one: &&Difference| one.action == Action::None && one.kind == DriftKind::Orphaned;
        let spared = differences.iter().filter(left).count();
        if spared > 0 {
            notes.push(format!(
                "{spared} of {} exist in Clerk again and were left alone",
                plan.len()
            ));
        }
        let failed = differences.iter().any(|one| one.action == Action::Failed);
        let id = ends.run_id(started_ms);
        let mut log = self.options.history.log(&id)?;
        for one in &differences {
            log.append(one)?;
        }
        let report = Report {
            id,
            kind: RunKind::Reconcile,
            started_ms,
            finished_ms: (ends.now)(),
            plan_digest: None,
            outcome: if failed {
                RunOutcome::Differences
            } else {
                RunOutcome::Repaired
            },
            resumed: false,
            files: None,
            tables: tally.tables,
            differences: differences
                .into_iter()
                .take(Report::MAX_DIFFERENCES)
                .collect(),
            calls: ends.cost.calls(),
            bytes: ends.cost.bytes(),
            notes,
        };
        self.options.history.keep(&report, Some(log))?;
        Ok(report)
    }
}

/// The records of these keys that have rows, with what Clerk has to be asked by.
async fn orphans(ends: &Ends, group: Group, keys: &[Key]) -> Result<Vec<Orphan>, Trouble> {
    let mut orphans: Vec<Orphan> = Vec::with_capacity(keys.len());
    for table in group
        .tables()
        .iter()
        .filter(|table| ends.tables.contains(table))
    {
        let page = patiently(|| ends.reader.get(*table, keys)).await?;
        for row in page.rows.iter().filter(|row| row.deleted_at.is_none()) {
            let difference = Difference::orphaned(*table, row.key.clone());
            match orphans.iter_mut().find(|orphan| orphan.name.key == row.key) {
                Some(orphan) if orphan.differences.iter().any(|one| one.table == *table) => {}
                Some(orphan) => orphan.differences.push(difference),
                None => orphans.push(Orphan {
                    name: Name::of(&row.key, &row.fields),
                    differences: vec![difference],
                }),
            }
        }
    }
    Ok(orphans)
}

/// The records of these keys that have several rows.
async fn doubles(ends: &Ends, group: Group, keys: &[Key]) -> Result<Vec<Double>, Trouble> {
    let tables = group.tables().iter().copied();
    let tables: Vec<Table> = tables.filter(|table| ends.tables.contains(table)).collect();
    let rows = rows_of(ends, &tables, keys).await?;
    let mut doubles = Vec::with_capacity(keys.len());
    for key in keys {
        let of = |table: Table| {
            rows.get(&(table, key.clone()))
                .map_or(&[][..], Vec::as_slice)
        };
        let younger = tables.iter().map(|table| (*table, younger(of(*table))));
        let younger: Vec<(Table, u64)> = younger.filter(|(_, rows)| *rows > 0).collect();
        let row = of(group.own_table()).first();
        let name = row.map_or(Name::plain(key.clone()), |row| Name::of(key, &row.fields));
        if !younger.is_empty() {
            doubles.push(Double { name, younger });
        }
    }
    Ok(doubles)
}

fn step(progress: &Watch, dealt_with: usize, total: u64, repaired: usize) {
    progress.send_modify(|at| {
        *at = Progress {
            phase: "carrying out the plan".into(),
            done: at.done + dealt_with as u64,
            total: Some(total),
            differences: at.differences,
            repaired: repaired as u64,
        }
    });
}

fn left_alone(table: Table, name: Name) -> Difference {
    Difference {
        reason: Some("it exists in Clerk again and was left alone".into()),
        ..Difference::orphaned(table, name.key)
    }
}
