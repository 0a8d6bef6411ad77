//! What a full diff says at its end: the report, the plan that is held, the notes.

use super::Whole;
use crate::{
    model::Difference,
    reconcile::{
        Trouble,
        cursor::RunCursor,
        full::{range::DIFFERENCES, tally::Tally},
        parts::Parts,
        repair::plans::Plans,
    },
    report::{Report, RunKind, RunOutcome, TableFigures, history::DifferenceLog, json},
};

impl Whole<'_> {
    pub(super) fn conclude(
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
        let (mut read, mut trouble) = (0, None);
        for name in parts.names(DIFFERENCES)? {
            parts.lines(&name, |line| {
                read += 1;
                // A move writes them by the hundred thousand.
                let added = if read > Report::MAX_DIFFERENCES && json::holds_no_values(line) {
                    log.append_line(line)
                } else {
                    json::read_difference(line).map_or(Ok(()), |one| add(one, &mut log))
                };
                trouble = trouble.take().or(added.err());
            })?;
        }
        if let Some(error) = trouble {
            return Err(error.into());
        }
        for one in std::mem::take(&mut self.late) {
            add(one, &mut log)?;
        }
        if log.left_out() > 0 {
            self.notes.push(format!(
                "{} difference(s) had no room in the list of all of them",
                log.left_out()
            ));
        }
        let tally = &run.before;
        let digest = self.settle_plan()?;
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
            files: self.files,
            differences,
            calls: self.ends.cost.calls(),
            bytes: self.ends.cost.bytes(),
            notes: std::mem::take(&mut self.notes),
        };
        history.keep(&report, Some(log))?;
        Ok(report)
    }

    /// Keeps the plan of what is held and tells people once; forgets plans that are out of date.
    fn settle_plan(&mut self) -> Result<Option<String>, Trouble> {
        // Who only looks holds nothing.
        if !self.may.repair {
            return Ok(None);
        }
        let options = &self.reconciler.options;
        let plans = Plans::of(&options.dir, &options.keys);
        let digest = self.held.then(|| self.plan.digest());
        // A run that did not see everything knows nothing of older plans.
        let whole = self.tables.len() == self.ends.tables.len();
        if whole && !self.failed {
            for head in plans.list()? {
                if Some(&head.digest) != digest.as_ref() {
                    plans.remove(&head.digest)?;
                }
            }
        }
        if digest.is_some() {
            plans.save(&self.plan)?;
        }
        plans.tell(&self.ends.alerts)?;
        Ok(digest.map(|digest| digest.to_string()))
    }

    fn say(&mut self, tally: &Tally) {
        for (count, words) in [
            (
                tally.overtaken,
                "record(s) were changed by deliveries while the run looked at them, and left to those",
            ),
            (
                tally.edits_waiting,
                "user(s) have edits waiting to be carried to Clerk: their rows are ahead on purpose, which is no \
                 difference",
            ),
            (
                tally.unknown_roles,
                "user(s) have a role in their metadata that users.roles does not allow; they have the default",
            ),
            (
                tally.unlisted,
                "row(s) that went into an empty table are counted and not listed one by one",
            ),
            (
                tally.unmanaged,
                "row(s) have a clerkId that can be none of Clerk's; they were left alone",
            ),
        ] {
            if count > 0 {
                self.notes.push(format!("{count} {words}"));
            }
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
