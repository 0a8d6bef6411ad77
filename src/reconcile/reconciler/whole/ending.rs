//! The end of a group: did the listing prove itself complete, and may what is gone from Clerk go from Convex?

use super::Whole;
use crate::{
    clerk::{
        Priority,
        proof::{CompleteWalk, Evidence, prove},
    },
    model::{Action, Difference},
    reconcile::{
        Trouble,
        cursor::RunCursor,
        ends::Ends,
        full::{Walked, group::Group, records, tally::Tally},
        mend::Orphan,
        merge::{self, Double},
        reconciler::emptied,
        remove::{leave, remove},
        repair::brake::{Brake, Situation, brake},
        scan::{lost_note, sweep},
    },
};

impl Whole<'_> {
    /// Everything of a group was walked: may what is gone from Clerk go from Convex?
    pub(super) async fn end_of(
        &mut self,
        run: &RunCursor,
        walked: Walked,
        tally: &mut Tally,
    ) -> Result<(), Trouble> {
        let group = run.group;
        let proof = self.prove(run, &walked).await?;
        let (orphans, doubles) = (walked.orphans, walked.doubles);
        let unproven = match &proof {
            Ok(_) => None,
            Err(why) => {
                self.failed = true;
                // A listing that is only too short ends somewhere, and that is the page to look at.
                let pages = match walked.flaws.is_empty() {
                    true => walked.ends.join("; "),
                    false => walked.flaws.join("; "),
                };
                let pages = match pages.is_empty() {
                    true => pages,
                    false => format!(" ({pages})"),
                };
                self.notes
                    .push(format!("{}: {why}{pages}", group.own_table()));
                Some(why.clone())
            }
        };
        let counted = group.counted_table(&self.tables);
        let own = tally.figures(counted);
        let empty = own.clerk == 0 && own.convex > tally.held_of(counted);
        self.say_empty(group, empty);
        // Where runs repair, one that only looks leaves what it found to the scans.
        let only_looks = self.rules.repair && !self.may.repair;
        if proof.is_ok() && group == Group::Users && !only_looks {
            if let Some(belief) = walked.belief {
                self.reconciler.options.beliefs.replace(belief);
                self.reconciler.options.beliefs.save(&self.ends.state)?;
            }
            sweep::close_gap(&self.ends.state, run.started_ms, run.gap)?;
        }
        if orphans.is_empty() && doubles.is_empty() {
            return Ok(());
        }
        if !self.may.repair {
            let words = "Clerk does not list it and does not know its id";
            return self.count(leave(orphans, Action::None, words), tally);
        }
        let verdict = self.brake(group, &orphans, &doubles, unproven, tally);
        match verdict.await? {
            Brake::Released => {
                self.remove(group, orphans, tally).await?;
                let ends = self.confirming();
                let merged = merge::merge(&ends, group, &doubles, &self.lately).await?;
                self.count(merged, tally)
            }
            Brake::Held { reason } => {
                self.held = true;
                self.plan
                    .hold_because(format!("{}: {reason}", group.own_table()));
                for orphan in &orphans {
                    self.plan.insert(orphan.record(group));
                }
                for double in &doubles {
                    self.plan.insert_merge(double.record(group));
                }
                self.count(merge::leave(&doubles, Action::Held, &reason), tally)?;
                self.count(leave(orphans, Action::Held, &reason), tally)
            }
            Brake::Refused { reason } => {
                self.failed = true;
                self.notes
                    .push(format!("no {} were deleted: {reason}", group.own_table()));
                self.count(merge::leave(&doubles, Action::None, &reason), tally)?;
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
        let counted_after = match walked.total {
            Some(total) => total,
            None => records::count(&clerk, run.group).await?,
        };
        let counted = run.group.counted_table(&self.tables);
        let own = walked.tally.figures(counted);
        // Rows that are held are expected to have no record, and the brake knows what it means that there is no
        // membership at all.
        let expected = match run.group {
            Group::Memberships => 0,
            _ => own.convex - walked.tally.held_of(counted).min(own.convex),
        };
        let evidence = Evidence {
            counted_before: run.counted,
            counted_after,
            rows: own.clerk,
            flaws: walked.flaws.len() as u64,
            failed_pages: 0,
            rows_elsewhere: expected,
        };
        Ok(prove(&evidence).map_err(|why| why.to_string()))
    }

    async fn brake(
        &self,
        group: Group,
        orphans: &[Orphan],
        doubles: &[Double],
        unproven: Option<String>,
        tally: &mut Tally,
    ) -> Result<Brake, Trouble> {
        let emptied = emptied(&self.ends, group, orphans).await?;
        let listed = tally.figures(group.counted_table(&self.tables)).clerk;
        for table in self.of(group) {
            let of_table =
                |orphan: &&Orphan| orphan.differences.iter().any(|one| one.table == table);
            let merged: u64 = doubles.iter().map(|double| double.rows_of(table)).sum();
            let verdict = brake(
                self.limits,
                &Situation {
                    deletions: orphans.iter().filter(of_table).count() as u64 + merged,
                    rows: tally.of(table).convex,
                    listed,
                    unproven: unproven.clone(),
                    none_counted: group == Group::Memberships,
                    emptied,
                    lately: self.lately.removed(table)?,
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
        let ends = self.confirming();
        let known = self.reconciler.options.known.as_ref();
        let removed = remove(&ends, group, orphans, known, &self.lately).await?;
        let lost = lost_note(removed.missed);
        let own = group.own_table();
        self.notes
            .extend(lost.map(|words| format!("{own}: {words}")));
        if !removed.spared.is_empty() {
            self.notes.push(format!(
                "{} of {} exist in Clerk after all and were left alone",
                removed.spared.len(),
                group.own_table()
            ));
        }
        self.count(removed.differences, tally)
    }

    /// The ends for looking again.
    fn confirming(&self) -> Ends {
        Ends {
            clerk: self.ends.clerk.at(Priority::Confirm),
            ..self.ends.clone()
        }
    }

    pub(super) fn count(
        &mut self,
        differences: Vec<Difference>,
        tally: &mut Tally,
    ) -> Result<(), Trouble> {
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
}
