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
        if tally.unknown_roles > 0 {
            self.notes.push(format!(
                "{} user(s) have a role in their metadata that users.roles does not allow; they have the default",
                tally.unknown_roles
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
