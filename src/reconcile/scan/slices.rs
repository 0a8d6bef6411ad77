//! Rolling slices of organizations and memberships: constant work that finds in half a day what no delivery told.
//!
//! Neither listing can be ordered by `updated_at`, so no sweep sees a changed role; both have only offsets. Each
//! census reads the next page or few of the one and then of the other, oldest first, so many that all of it is
//! seen every `TURNS` censuses. What the ledger knows to be equal costs no question to Convex. Slices create and
//! update; what a page does not show may have moved to another, so deletions are left to the counts of members and
//! to the full diff, which also finds what slipped past because more than an overlap was deleted between two
//! pages. What a slice finds is a delivery that was missed, counted and explained as the sweep's are.

mod place;

use std::collections::HashMap;

use self::place::{OFF_MS, OVERLAP, Place, load, pages_of, save};
use super::{
    MissedDeliveries,
    missed::{Cause, GRACE_MS, Known, causes, late},
};
use crate::{
    clerk::{ClerkError, RawRecord, client::MAX_PAGE},
    convex::wire::Row,
    model::{Action, ContentHash, Difference, Fault, RecordKey, Table},
    reconcile::{
        Trouble,
        confirm::{Looking, Suspects, rows_of},
        diff::compare,
        ends::Ends,
        full::{
            candidate::{Candidate, Listed},
            group::Group,
            tally::Tally,
        },
        mend::{May, mend},
        patiently,
    },
    report::{Report, RunOutcome, TableFigures},
};

/// What a census found in its slice.
#[derive(Debug, Default)]
pub struct Slice {
    tally: Tally,
    differences: Vec<Difference>,
    /// Why, and when it was changed, of each that a delivery should have told.
    missed: Vec<(Cause, i64)>,
    /// When those were changed whose deliveries may be on their way.
    young: Vec<i64>,
    /// Of those missed, the deliveries that are nowhere.
    lost: u64,
    trouble: Option<String>,
}

/// What a scan works with.
struct Work<'e> {
    ends: &'e Ends,
    known: &'e dyn Known,
    repair: bool,
}

/// Why a record is not as it should be, as was known before it was put right.
struct Told {
    changed_ms: i64,
    cause: Cause,
}

/// One page, and whether it was the last.
struct Page {
    records: Vec<RawRecord>,
    total: u64,
}

/// Reads the next slice and puts right (`repair`) what differs. What fails is in the slice: the next census
/// goes on at the same place.
pub(super) async fn go_on(
    ends: &Ends,
    known: &dyn Known,
    deliveries: &MissedDeliveries,
    repair: bool,
) -> Slice {
    let mut slice = Slice::default();
    let work = Work {
        ends,
        known,
        repair,
    };
    if let Err(trouble) = slice.read(&work).await {
        slice.trouble = Some(format!(
            "organizations and memberships were not looked at further: {trouble}"
        ));
    }
    slice.told(ends, known, deliveries);
    slice
}

impl Slice {
    async fn read(&mut self, work: &Work<'_>) -> Result<(), Trouble> {
        let ends = work.ends;
        let mut place = load(ends)?;
        let now_ms = (ends.now)();
        if !ends.tables.contains(&place.group.own_table())
            || place.off_until_ms.is_some_and(|until| now_ms < until)
        {
            place.skip_unserved(&ends.tables);
            return save(ends, place);
        }
        let mut left = 1;
        let mut read = 0;
        while left > 0 {
            let page = match list(ends, place).await {
                Err(Trouble::Clerk(error)) if is_switched_off(&error) => {
                    place.off_until_ms = Some(now_ms.saturating_add(OFF_MS));
                    return save(ends, place);
                }
                answer => answer?,
            };
            if read == 0 {
                left = pages_of(page.total);
            }
            (read, left) = (read + 1, left - 1);
            let length = u32::try_from(page.records.len()).unwrap_or(MAX_PAGE);
            self.compare(work, place, page.records).await?;
            place.off_until_ms = None;
            if length < MAX_PAGE {
                place.turn(&ends.tables);
                left = 0;
            } else {
                place.offset = place.offset.saturating_add(length - OVERLAP);
            }
            save(ends, place)?;
        }
        Ok(())
    }

    async fn compare(
        &mut self,
        work: &Work<'_>,
        place: Place,
        records: Vec<RawRecord>,
    ) -> Result<(), Trouble> {
        let (ends, group) = (work.ends, place.group);
        let table = group.own_table();
        let tables = vec![table];
        let figures = self.tally.of(table);
        figures.clerk += records.len() as u64;
        let map = |listed: Listed| {
            let candidate = Candidate::of(listed.record(), &ends.rules, &tables);
            (listed, candidate)
        };
        let mapped = Listed::all(records).into_iter().map(map);
        let unknown: Vec<_> = mapped
            .filter(|(_, candidate)| !is_known(ends, table, candidate))
            .collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let keys: Vec<_> = unknown.iter().map(|(_, one)| one.key.clone()).collect();
        let rows = rows_of(ends, &tables, &keys).await?;
        let records: Vec<_> = keys
            .into_iter()
            .map(|key| RecordKey::new(table, key))
            .collect();
        let causes = causes(work.known, &records).await;
        let mut suspects = Suspects::default();
        let mut told = HashMap::new();
        for ((listed, candidate), cause) in unknown.into_iter().zip(causes) {
            let rows = rows.get(&(table, candidate.key.clone()));
            let rows = rows.map_or(&[][..], Vec::as_slice);
            figures.convex += rows.len() as u64;
            let agrees = match (candidate.fields(table), rows) {
                (Some(fields), [row]) => {
                    row.deleted_at.is_none() && compare::equal(fields, &row.fields)
                }
                _ => false,
            };
            if !agrees {
                let words = work.explain(table, &candidate, rows, cause);
                told.insert(candidate.key, words);
                suspects.add_listed(listed);
            }
        }
        let looking = Looking {
            ends: ends.clone(),
            group,
            tables,
            bulk: false,
        };
        let judged = suspects.confirm(&looking).await?;
        let mended = mend(ends, group, judged, May::only(work.repair)).await?;
        for mut difference in mended.differences {
            self.tally.count(&difference);
            if let Some(told) = told.get(&difference.key) {
                let (now_ms, action) = ((ends.now)(), difference.action);
                let words = self.tell(now_ms, place.since_ms, told, action);
                difference.reason.get_or_insert(words);
            }
            if self.differences.len() < Report::MAX_DIFFERENCES {
                self.differences.push(difference);
            }
        }
        Ok(())
    }

    /// The reason in a report; counts what a delivery should have told, once it is put right.
    fn tell(&mut self, now_ms: i64, since_ms: i64, told: &Told, action: Action) -> String {
        let Told { changed_ms, cause } = *told;
        let age = now_ms.saturating_sub(changed_ms);
        let counts = matches!(action, Action::Created | Action::Updated);
        if changed_ms < since_ms {
            return "it was changed before anybody looked".into();
        }
        if age < GRACE_MS {
            self.young.extend(counts.then_some(changed_ms));
            return "found before its delivery".into();
        }
        self.missed.extend(counts.then_some((cause, changed_ms)));
        format!("{}; found {} after the change", cause.words(), late(age))
    }

    /// Takes in what was found otherwise than by a slice, and what was done about it.
    pub async fn take(&mut self, ends: &Ends, known: &dyn Known, differences: Vec<Difference>) {
        let record = |one: &Difference| RecordKey::new(one.table, one.key.clone());
        let records: Vec<_> = differences.iter().map(record).collect();
        let causes = causes(known, &records).await;
        for ((mut difference, record), cause) in differences.into_iter().zip(records).zip(causes) {
            self.tally.count(&difference);
            let written = ends.state.ledger_get(&record);
            if let (Some(seen), Action::Created | Action::Updated) = (written, difference.action) {
                let told = Told {
                    changed_ms: seen.version.ms(),
                    cause,
                };
                let words = self.tell((ends.now)(), i64::MIN, &told, difference.action);
                difference.reason.get_or_insert(words);
            }
            if self.differences.len() < Report::MAX_DIFFERENCES {
                self.differences.push(difference);
            }
        }
    }

    /// Says why not everything could be looked at.
    pub fn fail(&mut self, words: String) {
        self.trouble.get_or_insert(words);
    }

    /// So many deletions were told by no delivery.
    pub fn lost(&mut self, deletions: u64) {
        self.lost += deletions;
    }

    /// Counts the deliveries that are missing, and says it aloud when they are more than a trickle.
    pub(super) fn told(&mut self, ends: &Ends, known: &dyn Known, deliveries: &MissedDeliveries) {
        if !(self.missed.is_empty() && self.young.is_empty()) {
            self.lost += deliveries.tell(ends, known, &self.missed, &self.young);
        }
    }

    /// Tells a census's report what the slice came to.
    pub fn add_to(self, report: &mut Report) {
        let (found, repaired) = (self.tally.differences(), self.tally.repaired());
        let any = |of: fn(&TableFigures) -> u64| self.tally.tables.values().any(|f| of(f) > 0);
        let (failed, held) = (any(|figures| figures.failed), any(|figures| figures.held));
        for (table, figures) in &self.tally.tables {
            if *figures != TableFigures::default() {
                report.tables.entry(*table).or_default().add(figures);
            }
        }
        report.differences.extend(self.differences);
        report.differences.truncate(Report::MAX_DIFFERENCES);
        if self.lost > 0 {
            report.notes.push(format!(
                "{} change(s) of organizations or memberships were told by no delivery",
                self.lost
            ));
        }
        let broke_off = self.trouble.is_some();
        report.notes.extend(self.trouble);
        report.outcome = match report.outcome {
            RunOutcome::Failed | RunOutcome::Held => report.outcome,
            _ if broke_off || failed => RunOutcome::Failed,
            _ if held => RunOutcome::Held,
            _ if found > repaired => RunOutcome::Differences,
            RunOutcome::InSync if repaired > 0 => RunOutcome::Repaired,
            as_it_was => as_it_was,
        };
    }
}

impl Work<'_> {
    /// Asked before anything is put right: what waits now may be done by then, and the ledger changes.
    fn explain(&self, table: Table, candidate: &Candidate, rows: &[Row], cause: Cause) -> Told {
        let record = RecordKey::new(table, candidate.key.clone());
        let seen = self.ends.state.ledger_get(&record);
        let written = seen.filter(|seen| !seen.deleted).map(|seen| seen.version);
        // The version that Clerk has was written, so something else than a delivery is to blame for the content;
        // and so it is for a row that is gone.
        let overwritten = match rows.first() {
            Some(row) => written.max(row.version) >= Some(candidate.version),
            None => written.is_some(),
        };
        Told {
            changed_ms: candidate.version.ms(),
            cause: match overwritten {
                true => Cause::Overwritten,
                false => cause,
            },
        }
    }
}

/// True if the last that was written of it is this very content.
fn is_known(ends: &Ends, table: Table, candidate: &Candidate) -> bool {
    let record = RecordKey::new(table, candidate.key.clone());
    let seen = ends.state.ledger_get(&record);
    seen.is_some_and(|seen| {
        !seen.deleted
            && seen.version == candidate.version
            && candidate
                .fields(table)
                .is_some_and(|fields| ContentHash::of(fields) == seen.hash)
    })
}

async fn list(ends: &Ends, place: Place) -> Result<Page, Trouble> {
    let (clerk, offset) = (&ends.clerk, place.offset);
    let listing = match place.group {
        Group::Memberships => patiently(|| clerk.list_all_memberships(offset, MAX_PAGE)).await?,
        _ => patiently(|| clerk.list_organizations(offset, MAX_PAGE)).await?,
    };
    Ok(Page {
        records: listing.records,
        total: listing.total,
    })
}

fn is_switched_off(error: &ClerkError) -> bool {
    error.fault() != Fault::Ours && error.code() == "organization_not_enabled_in_instance"
}
