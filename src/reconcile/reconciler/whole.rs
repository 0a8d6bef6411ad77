//! A full diff: group after group, walked, judged, and what may go removed.

mod derived;
mod ending;
mod files;
mod naming;
mod purge;
mod telling;

use std::{sync::Arc, time::Duration};

use uuid::Uuid;

use super::{Reconciler, Rules, pins};
use crate::{
    clerk::{ClerkError, walk::WalkError},
    convex::reader::Range,
    model::{Difference, Fault, Table},
    reconcile::{
        Trouble,
        cursor::{Cursors, Held, RangeCursor, RunCursor},
        ends::Ends,
        full::{
            self, Setting, Walked, affiliation::Affiliations, group::Group, held::HeldRows,
            tally::Tally, unnamed::Unnamed,
        },
        mend::May,
        parts::Parts,
        patiently,
        repair::{brake::Limits, lately::Lately, plan::Plan},
        run::{AskedBy, RunError, RunRequest, Watch},
        scan::sweep,
    },
    report::{FileFigures, Report, RunKind},
};

/// A run that was cut off longer ago is not taken up: what it has seen is too old to be reported as now.
const FRESH: Duration = Duration::from_secs(6 * 60 * 60);

/// One full diff in work.
pub(super) struct Whole<'r> {
    reconciler: &'r Reconciler,
    ends: Ends,
    rules: Rules,
    limits: Limits,
    may: May,
    asked_by: AskedBy,
    /// What scans removed of late, if this is one of them.
    lately: Lately,
    tables: Vec<Table>,
    cursors: Cursors,
    progress: &'r Watch,
    /// What was decided at the end of groups; ranges keep their own.
    late: Vec<Difference>,
    notes: Vec<String>,
    plan: Plan,
    held: bool,
    failed: bool,
    /// What users' rows say about organizations, for the walk of memberships.
    affiliations: Arc<Affiliations>,
    /// Softly deleted rows that were held long enough.
    held_rows: Arc<HeldRows>,
    /// Users for whom Clerk names no row, or another one.
    unnamed: Arc<Unnamed>,
    /// What was counted of the app's files.
    files: Option<FileFigures>,
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
        let mut notes = Vec::new();
        if request.kind == RunKind::Reconcile && !repair {
            notes.push("repair.mode is `report`: nothing was repaired".into());
        }
        if let Some(other) = request
            .mapping
            .as_ref()
            .filter(|other| **other != ends.rules)
        {
            if request.kind != RunKind::Audit {
                let words = "only an audit compares by other rules than those in use";
                return Err(RunError::Refused(words.into()));
            }
            ends.rules = other.clone();
            notes.push(
                "users were compared by the rules that were given, not by those in use".into(),
            );
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
        let hold = rules.purge_after.filter(|_| repair);
        let hold = hold.and_then(|hold| i64::try_from(hold.as_millis()).ok());
        let bound = hold.map(|hold| now_ms.saturating_sub(hold));
        let mut whole = Whole {
            reconciler: self,
            limits: Limits {
                max_deletes: request.max_deletes.unwrap_or(rules.max_deletes),
                max_delete_ratio: rules.max_delete_ratio,
            },
            cursors: Cursors::of(ends.state.clone(), request.kind),
            plan: Plan::new(String::new(), now_ms),
            unnamed: Arc::new(Unnamed::noted(ends.tell_clerk.is_some())),
            lately: Lately::of(&ends, request.asked_by),
            asked_by: request.asked_by,
            ends,
            may: May {
                repair,
                merge: repair && rules.merge_duplicates,
            },
            rules,
            affiliations: Arc::new(Affiliations::new(
                day_of(now_ms),
                [Table::Users, Table::Memberships]
                    .iter()
                    .all(|both| tables.contains(both)),
            )),
            tables,
            progress,
            late: Vec::new(),
            notes,
            held: false,
            failed: false,
            held_rows: Arc::new(HeldRows::deleted_before(bound)),
            files: None,
        };
        whole.run(request.kind).await.map_err(RunError::from)
    }
}

impl Whole<'_> {
    async fn run(&mut self, kind: RunKind) -> Result<Report, Trouble> {
        let (mut run, mut ranges) = self.take_up()?;
        let resumed = run.resumed > 0;
        let parts = {
            let options = &self.reconciler.options;
            Parts::open(&options.dir, &run.id, &options.keys)?
        };
        parts.remove_others()?;
        let report_id = if resumed { new_id() } else { run.id.clone() };
        let (ends, by) = (self.ends.clone(), self.asked_by);
        self.ends = ends.for_run(kind, report_id.clone(), by);
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
                    self.not_compared(group, &trouble);
                    continue;
                }
                Err(trouble) if group != Group::Users && is_withheld(&trouble) => {
                    self.not_compared(group, &trouble);
                    // Without rows there is nothing that could have been missed; a sync of users alone is whole.
                    self.failed |= self.has_rows(group).await?;
                    continue;
                }
                Err(trouble) if group != begun && is_service(&trouble) => Walked::unseen(trouble),
                Err(trouble) => return Err(trouble),
            };
            if let Some(trouble) = &walked.cut_off {
                self.failed = true;
                run.before.add(&walked.tally);
                self.notes.push(format!(
                    "{} were not compared to their end: {trouble}; nothing of them was deleted",
                    group.own_table()
                ));
                if full::is_one_page(trouble) || is_one_listing(trouble) {
                    continue;
                }
                self.notes
                    .push("the next run goes on where this one was cut off".into());
                cut_off = true;
                break;
            }
            let mut tally = walked.tally.clone();
            self.end_of(&run, walked, &mut tally).await?;
            self.follow_up(group, &run, &mut tally).await?;
            run.before.add(&tally);
        }
        if !cut_off && self.tables.contains(&Table::Users) {
            self.count_files().await;
        }
        let report = self.conclude(kind, report_id, resumed, &run, &parts)?;
        if !cut_off {
            self.cursors.clear()?;
            parts.remove()?;
        }
        Ok(report)
    }

    /// What only a group that was walked to its end can tell.
    async fn follow_up(
        &mut self,
        group: Group,
        run: &RunCursor,
        tally: &mut Tally,
    ) -> Result<(), Trouble> {
        match group {
            Group::Users => {
                self.purge(tally).await?;
                self.name_rows().await
            }
            Group::Memberships => self.derived(run, tally).await,
            Group::Organizations => Ok(()),
        }
    }

    fn not_compared(&mut self, group: Group, trouble: &Trouble) {
        let what = group.own_table();
        self.notes
            .push(format!("{trouble}; {what} were not compared"));
    }

    /// What was moved was walked twice, which the figures of one walk do not tell.
    fn say_moved(&mut self, group: Group) {
        let tables: Vec<&str> = self.of(group).iter().map(|table| table.name()).collect();
        self.notes.push(format!(
            "{}: empty at first, so what Clerk has was written before it was compared; the rows in Convex are those \
             after that",
            tables.join(" and ")
        ));
    }

    async fn has_rows(&self, group: Group) -> Result<bool, Trouble> {
        let (table, all) = (group.own_table(), Range::default());
        let page = patiently(|| self.ends.reader.list(table, all, None, 1)).await?;
        Ok(!page.rows.is_empty())
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
                    return Ok((*run, Some(ranges)));
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
        let gap = sweep::gap(&self.ends.state)?;
        let run = RunCursor::begin(new_id(), now_ms, group, wish, gap);
        Ok((run, None))
    }

    /// The tables of a group that this run compares.
    fn of(&self, group: Group) -> Vec<Table> {
        let tables = group.tables().iter().copied();
        tables.filter(|table| self.tables.contains(table)).collect()
    }

    /// Another wish is another run.
    fn wish(&self) -> String {
        // The rules hold no personal value.
        let May { repair, merge } = self.may;
        let merge = if merge { " merge" } else { "" };
        let words = format!("{:?} {repair}{merge} {:?}", self.tables, self.ends.rules);
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
                may: self.may,
                show_values: self.rules.show_values,
                page_rows: self.rules.page_rows,
                calls: self.rules.calls,
                cursors: &self.cursors,
                dir: &self.reconciler.options.dir,
                keys: &self.reconciler.options.keys,
                progress: self.progress,
                affiliations: &self.affiliations,
                held_rows: &self.held_rows,
                unnamed: &self.unnamed,
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
            let moved = run.bulk && self.may.repair && walked.tally.repaired() > 0;
            if walked.cut_off.is_some() || !moved || run.pass > 1 {
                if run.pass > 1 {
                    self.say_moved(run.group);
                }
                return Ok(walked);
            }
            // The figures of what was read come from the second look, those of what was done from both.
            run.moved = walked.tally.without_counts();
            run.pass += 1;
        }
    }
}

fn day_of(now_ms: i64) -> u64 {
    const DAY_MS: u64 = 24 * 60 * 60 * 1000;
    u64::try_from(now_ms).unwrap_or(0) / DAY_MS
}

fn new_id() -> String {
    Uuid::now_v7().to_string()
}

/// Clerk does not show this listing: the plan, the key's scopes or the API do not have it.
fn is_withheld(trouble: &Trouble) -> bool {
    let error = match trouble {
        Trouble::Clerk(error) | Trouble::Walk(WalkError::Refused(error)) => error,
        Trouble::Walk(WalkError::Page { source, .. }) => source,
        _ => return false,
    };
    match error {
        ClerkError::Refused { status, .. } => matches!(status, 402..=404),
        ClerkError::NotFound { .. } => true,
        _ => false,
    }
}

/// True if other listings may well be readable: Clerk answered, if only with an error.
fn is_one_listing(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::Clerk(ClerkError::Busy { status, .. }) if *status != 429)
}

/// True if a service is away: what was compared before counts all the same.
fn is_service(trouble: &Trouble) -> bool {
    matches!(trouble.fault(), Fault::Service { .. })
}

fn is_switched_off(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::Walk(WalkError::SwitchedOff))
        || matches!(trouble, Trouble::Clerk(error) if error.code() == "organization_not_enabled_in_instance")
}
