//! A full diff: group after group, walked, judged, and what may go removed.

use std::time::Duration;

use uuid::Uuid;

use super::{Reconciler, Rules, pins};
use crate::{
    clerk::{
        Priority,
        proof::{CompleteWalk, Evidence, prove},
        walk::WalkError,
    },
    model::{Action, Difference, Table},
    reconcile::{
        Trouble,
        cursor::{Cursors, Held, RangeCursor, RunCursor},
        ends::Ends,
        full::{self, Setting, Walked, group::Group, range::DIFFERENCES, records, tally::Tally},
        mend::Orphan,
        parts::Parts,
        remove::{leave, remove},
        repair::{
            brake::{Brake, Limits, Situation, brake},
            plan::Plan,
            plans::Plans,
        },
        run::{RunError, RunRequest, Watch},
        scan::{lost_note, sweep},
    },
    report::{Report, RunKind, RunOutcome, TableFigures, history::DifferenceLog, json},
};

/// A run that was cut off longer ago is not taken up: what it has seen is too old to be reported as now.
const FRESH: Duration = Duration::from_secs(6 * 60 * 60);

/// One full diff in work.
pub(super) struct Whole<'r> {
    reconciler: &'r Reconciler,
    ends: Ends,
    rules: Rules,
    limits: Limits,
    repair: bool,
    tables: Vec<Table>,
    cursors: Cursors,
    progress: &'r Watch,
    /// What was decided at the end of groups; ranges keep their own.
    late: Vec<Difference>,
    notes: Vec<String>,
    plan: Plan,
    held: bool,
    failed: bool,
}

impl Reconciler {
    pub(super) async fn whole(
        &self,
        mut ends: Ends,
        rules: Rules,
        request: &RunRequest,
        progress: &Watch,
    ) -> Result<Report, RunError> {
        let repair = request.kind == RunKind::Reconcile && rules.repair;
        if request.kind == RunKind::Reconcile && !rules.repair {
            let words = "repair.mode is `report`, so nothing may be repaired; `audit` only looks";
            return Err(RunError::Refused(words.into()));
        }
        let described = super::described(&ends).await?;
        let asked = |table: &Table| request.tables.is_empty() || request.tables.contains(table);
        ends.tables = described;
        let tables: Vec<Table> = ends.tables.iter().copied().filter(asked).collect();
        if tables.is_empty() {
            let words = "the deployment serves none of these tables; see `convex/clerkSync.ts`";
            return Err(RunError::Refused(words.into()));
        }
        pins::check(&ends, self.options.identity.as_ref()).await?;
        let now_ms = (ends.now)();
        let mut whole = Whole {
            reconciler: self,
            limits: Limits {
                max_deletes: request.max_deletes.unwrap_or(rules.max_deletes),
                max_delete_ratio: rules.max_delete_ratio,
            },
            cursors: Cursors::of(ends.state.clone(), request.kind),
            plan: Plan::new(String::new(), now_ms),
            ends,
            rules,
            repair,
            tables,
            progress,
            late: Vec::new(),
            notes: Vec::new(),
            held: false,
            failed: false,
        };
        whole.run(request.kind).await.map_err(RunError::from)
    }
}

impl Whole<'_> {
    async fn run(&mut self, kind: RunKind) -> Result<Report, Trouble> {
        let (mut run, mut ranges) = self.take_up()?;
        let resumed = run.resumed > 0;
        let parts = Parts::open(&self.reconciler.options.dir, &run.id)?;
        parts.remove_others()?;
        let report_id = if resumed { new_id() } else { run.id.clone() };
        self.plan = Plan::new(report_id.clone(), (self.ends.now)());
        let begun = run.group;
        let groups: Vec<Group> = Group::ALL
            .into_iter()
            .filter(|group| !self.of(*group).is_empty())
            .skip_while(|group| *group != begun)
            .collect();
        let mut cut_off = false;
        for group in groups {
            if group != run.group {
                run.group = group;
                run.pass = 1;
                run.moved = Tally::default();
                ranges = None;
            }
            let walked = match self.group(&mut run, ranges.take()).await {
                Ok(walked) => walked,
                Err(trouble) if is_switched_off(&trouble) => {
                    let what = group.own_table();
                    self.notes
                        .push(format!("{trouble}; {what} were not compared"));
                    continue;
                }
                Err(trouble) => return Err(trouble),
            };
            if let Some(trouble) = &walked.cut_off {
                cut_off = true;
                self.failed = true;
                run.before.add(&walked.tally);
                self.notes.push(format!(
                    "{} were not compared to their end: {trouble}; the next run goes on there, and nothing was deleted",
                    group.own_table()
                ));
                break;
            }
            let mut tally = walked.tally.clone();
            self.end_of(&run, walked, &mut tally).await?;
            run.before.add(&tally);
        }
        let report = self.conclude(kind, report_id, resumed, &run, &parts)?;
        if !cut_off {
            self.cursors.clear()?;
            parts.remove()?;
        }
        Ok(report)
    }

    /// What was cut off, if it is of the same wish and fresh; else a run that begins.
    fn take_up(&mut self) -> Result<(RunCursor, Option<Vec<RangeCursor>>), Trouble> {
        let now_ms = (self.ends.now)();
        let wish = self.wish();
        match self.cursors.load()? {
            Held::Cut(mut run, ranges) => {
                let age_ms = now_ms.saturating_sub(run.started_ms);
                let fresh = u128::try_from(age_ms).is_ok_and(|age| age < FRESH.as_millis());
                if fresh && run.wish == wish {
                    run.resumed += 1;
                    return Ok((run, Some(ranges)));
                }
            }
            Held::Damaged => self.notes.push(
                "where an earlier run stood could not be read, so this one compares everything anew".into(),
            ),
            Held::Nothing => {}
        }
        let first = Group::ALL
            .into_iter()
            .find(|group| !self.of(*group).is_empty());
        let group = first.unwrap_or(Group::Users);
        Ok((RunCursor::begin(new_id(), now_ms, group, wish), None))
    }

    /// The tables of a group that this run compares.
    fn of(&self, group: Group) -> Vec<Table> {
        let tables = group.tables().iter().copied();
        tables.filter(|table| self.tables.contains(table)).collect()
    }

    /// Another wish is another run.
    fn wish(&self) -> String {
        // The rules hold no personal value.
        let words = format!("{:?} {} {:?}", self.tables, self.repair, self.ends.rules);
        blake3::hash(words.as_bytes()).to_hex()[..16].to_owned()
    }

    /// Walks a group; what was moved into an empty table is walked a second time, to see that it arrived.
    async fn group(
        &mut self,
        run: &mut RunCursor,
        ranges: Option<Vec<RangeCursor>>,
    ) -> Result<Walked, Trouble> {
        let mut ranges = ranges.filter(|ranges| !ranges.is_empty());
        loop {
            let tables = self.of(run.group);
            let setting = Setting {
                ends: &self.ends,
                tables,
                repair: self.repair,
                show_values: self.rules.show_values,
                page_rows: self.rules.page_rows,
                cursors: &self.cursors,
                dir: &self.reconciler.options.dir,
                progress: self.progress,
            };
            let todo = match ranges.take() {
                Some(ranges) => ranges,
                None => {
                    let ranges = full::begin(&setting, run).await?;
                    run.ranges = ranges.len();
                    self.cursors.save(run, &ranges)?;
                    ranges
                }
            };
            let walked = full::walk(&setting, run, todo).await?;
            let moved = run.bulk && self.repair && walked.tally.repaired() > 0;
            if walked.cut_off.is_some() || !moved || run.pass > 1 {
                return Ok(walked);
            }
            // The figures of what was read come from the second look, those of what was done from both.
            run.moved = walked.tally.without_counts();
            run.pass += 1;
        }
    }

    /// Everything of a group was walked: may what is gone from Clerk go from Convex?
    async fn end_of(
        &mut self,
        run: &RunCursor,
        walked: Walked,
        tally: &mut Tally,
    ) -> Result<(), Trouble> {
        let group = run.group;
        let proof = self.prove(run, &walked).await?;
        let orphans = walked.orphans;
        let unproven = match &proof {
            Ok(_) => None,
            Err(why) => {
                self.failed = true;
                let flaws = walked.flaws.join("; ");
                self.notes
                    .push(format!("{}: {why} {flaws}", group.own_table()));
                Some(why.clone())
            }
        };
        let empty =
            tally.of(group.own_table()).clerk == 0 && tally.of(group.own_table()).convex > 0;
        self.say_empty(group, empty);
        if proof.is_ok() && group == Group::Users {
            if let Some(belief) = walked.belief {
                self.reconciler.options.beliefs.replace(belief);
                self.reconciler.options.beliefs.save(&self.ends.state)?;
            }
            sweep::close_gap(&self.ends.state, run.started_ms)?;
        }
        if orphans.is_empty() {
            return Ok(());
        }
        if !self.repair {
            let words = "Clerk does not list it and does not know its id";
            return self.count(leave(orphans, Action::None, words), tally);
        }
        match self.brake(group, &orphans, unproven, tally).await? {
            Brake::Released => self.remove(group, orphans, tally).await,
            Brake::Held { reason } => {
                self.held = true;
                self.plan
                    .hold_because(format!("{}: {reason}", group.own_table()));
                for orphan in &orphans {
                    self.plan.insert(orphan.record(group));
                }
                self.count(leave(orphans, Action::Held, &reason), tally)
            }
            Brake::Refused { reason } => {
                self.failed = true;
                self.notes
                    .push(format!("no {} were deleted: {reason}", group.own_table()));
                self.count(leave(orphans, Action::None, &reason), tally)
            }
        }
    }

    async fn prove(
        &self,
        run: &RunCursor,
        walked: &Walked,
    ) -> Result<Result<CompleteWalk, String>, Trouble> {
        let clerk = self.ends.clerk.at(Priority::Scan);
        let own = walked.tally.tables.get(&run.group.own_table());
        let own = own.copied().unwrap_or_default();
        let evidence = Evidence {
            counted_before: run.counted,
            counted_after: records::count(&clerk, run.group).await?,
            rows: own.clerk,
            flaws: walked.flaws.len() as u64,
            failed_pages: 0,
            rows_elsewhere: own.convex,
        };
        Ok(prove(&evidence).map_err(|why| why.to_string()))
    }

    async fn brake(
        &self,
        group: Group,
        orphans: &[Orphan],
        unproven: Option<String>,
        tally: &mut Tally,
    ) -> Result<Brake, Trouble> {
        let emptied = super::emptied(&self.ends, group, orphans).await?;
        let listed = tally.of(group.own_table()).clerk;
        for table in self.of(group) {
            let of_table =
                |orphan: &&Orphan| orphan.differences.iter().any(|one| one.table == table);
            let verdict = brake(
                self.limits,
                &Situation {
                    deletions: orphans.iter().filter(of_table).count() as u64,
                    rows: tally.of(table).convex,
                    listed,
                    unproven: unproven.clone(),
                    emptied,
                    lately: 0,
                },
            );
            if verdict != Brake::Released {
                return Ok(verdict);
            }
        }
        Ok(Brake::Released)
    }

    async fn remove(
        &mut self,
        group: Group,
        orphans: Vec<Orphan>,
        tally: &mut Tally,
    ) -> Result<(), Trouble> {
        let ends = Ends {
            clerk: self.ends.clerk.at(Priority::Confirm),
            ..self.ends.clone()
        };
        let known = self.reconciler.options.known.as_ref();
        let removed = remove(&ends, group, orphans, known).await?;
        self.notes.extend(lost_note(removed.missed));
        if !removed.spared.is_empty() {
            self.notes.push(format!(
                "{} of {} exist in Clerk after all and were left alone",
                removed.spared.len(),
                group.own_table()
            ));
        }
        self.count(removed.differences, tally)
    }

    fn count(&mut self, differences: Vec<Difference>, tally: &mut Tally) -> Result<(), Trouble> {
        differences.iter().for_each(|one| tally.count(one));
        self.late.extend(differences);
        Ok(())
    }

    fn say_empty(&self, group: Group, empty: bool) {
        if group != Group::Users {
            return;
        }
        if empty {
            let words = "Clerk lists no user at all while Convex has rows; nothing was deleted. Check clerk.secret_key \
                         and the instance";
            self.ends
                .alerts
                .raise("empty_listing", words, (self.ends.now)());
        } else {
            self.ends.alerts.clear("empty_listing");
        }
    }

    fn conclude(
        &mut self,
        kind: RunKind,
        id: String,
        resumed: bool,
        run: &RunCursor,
        parts: &Parts,
    ) -> Result<Report, Trouble> {
        let history = &self.reconciler.options.history;
        let mut log = history.log(&id)?;
        let mut differences = Vec::new();
        let mut add = |difference: Difference, log: &mut DifferenceLog| {
            if differences.len() < Report::MAX_DIFFERENCES {
                differences.push(difference.clone());
            }
            log.append(&difference)
        };
        let mut trouble = None;
        for name in parts.names(DIFFERENCES)? {
            parts.lines(&name, |line| {
                let added = json::read_difference(line).map(|one| add(one, &mut log));
                if let Ok(Err(error)) = added {
                    trouble = Some(error);
                }
            })?;
        }
        if let Some(error) = trouble {
            return Err(error.into());
        }
        for one in std::mem::take(&mut self.late) {
            add(one, &mut log)?;
        }
        let tally = &run.before;
        let digest = self.settle_plan(kind)?;
        self.say(tally);
        let report = Report {
            id,
            kind,
            started_ms: run.started_ms,
            finished_ms: (self.ends.now)(),
            plan_digest: digest,
            outcome: self.outcome(tally),
            resumed,
            tables: self
                .tables
                .iter()
                .map(|table| (*table, tally.figures(*table)))
                .collect(),
            differences,
            calls: self.ends.cost.calls(),
            bytes: self.ends.cost.bytes(),
            notes: std::mem::take(&mut self.notes),
        };
        history.keep(&report, Some(log))?;
        Ok(report)
    }

    /// Keeps the plan of what is held and tells people once; forgets plans that are out of date.
    fn settle_plan(&mut self, kind: RunKind) -> Result<Option<String>, Trouble> {
        if kind == RunKind::Audit {
            return Ok(None);
        }
        let plans = Plans::of(&self.reconciler.options.dir);
        let digest = self.held.then(|| self.plan.digest());
        // A run that did not see everything knows nothing of older plans.
        if !self.failed {
            for head in plans.list()? {
                if Some(&head.digest) != digest.as_ref() {
                    plans.remove(&head.digest)?;
                }
            }
        }
        let Some(digest) = digest else {
            if !self.failed {
                self.ends.alerts.clear("plan_held");
            }
            return Ok(None);
        };
        plans.save(&self.plan)?;
        let words = format!(
            "{} deletion(s) are held: {}. Look at the report, then `clerk-convex-sync reconcile --approve {digest}`",
            self.plan.len(),
            self.plan.head().reasons.join("; ")
        );
        // Raising what is raised with the same words says nothing new.
        self.ends
            .alerts
            .raise("plan_held", words, (self.ends.now)());
        Ok(Some(digest.to_string()))
    }

    fn say(&mut self, tally: &Tally) {
        if tally.overtaken > 0 {
            self.notes.push(format!(
                "{} record(s) were changed by deliveries while the run looked at them, and left to those",
                tally.overtaken
            ));
        }
        if tally.unmanaged > 0 {
            self.notes.push(format!(
                "{} row(s) have a clerkId that can be none of Clerk's; they were left alone",
                tally.unmanaged
            ));
        }
    }

    fn outcome(&self, tally: &Tally) -> RunOutcome {
        let sum = |of: fn(&TableFigures) -> u64| tally.tables.values().map(of).sum::<u64>();
        let (all, repaired) = (tally.differences(), tally.repaired());
        if self.failed {
            RunOutcome::Failed
        } else if self.held || sum(|figures| figures.held) > 0 {
            RunOutcome::Held
        } else if all == 0 {
            RunOutcome::InSync
        } else if repaired == all {
            RunOutcome::Repaired
        } else {
            RunOutcome::Differences
        }
    }
}

fn new_id() -> String {
    Uuid::now_v7().to_string()
}

fn is_switched_off(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::Walk(WalkError::SwitchedOff))
        || matches!(trouble, Trouble::Clerk(error) if error.code() == "organization_not_enabled_in_instance")
}
