//! Rolling slices of organizations and memberships: constant work that finds in half a day what no delivery told.
//!
//! Neither listing can be ordered by `updated_at`, so no sweep sees a changed role; both have only offsets. Each
//! census reads the next page or few of the one and then of the other, oldest first, so many that all of it is
//! seen every `TURNS` censuses. What the ledger knows to be equal costs no question to Convex. Slices create and
//! update; what a page does not show may have moved to another, so deletions are left to the full diff, which
//! also finds what slipped past because more than an overlap was deleted between two pages.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    clerk::{ClerkError, RawRecord, client::MAX_PAGE},
    model::{ContentHash, Difference, Fault, RecordKey, Table},
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

/// Where the slices stand.
const CELL: &str = "slices";
/// The form of the cell; another one begins anew.
const FORM: u32 = 1;
/// Censuses in which all of one listing is seen. There are 288 a day at the default rhythm, so that both listings
/// are seen in a day and one missed census in ten does not matter.
const TURNS: u64 = 128;
/// Records by which two pages overlap, since deletions move the rest forward.
const OVERLAP: u32 = 10;
/// The most pages of one census, whatever the total: a census is to end before the next begins.
const MAX_PAGES: u64 = 64;
/// Where organizations are switched off they are asked for again after this, in milliseconds.
const OFF_MS: i64 = 12 * 60 * 60 * 1000;

/// Where the slices stand.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Place {
    form: u32,
    group: Group,
    offset: u32,
    /// Organizations are switched off; not before this they are asked for again.
    off_until_ms: Option<i64>,
}

/// What a census found in its slice.
#[derive(Debug, Default)]
pub struct Slice {
    tally: Tally,
    differences: Vec<Difference>,
    trouble: Option<String>,
}

/// One page, and whether it was the last.
struct Page {
    records: Vec<RawRecord>,
    total: u64,
}

/// Reads the next slice and puts right (`repair`) what differs. What fails is in the slice: the next census
/// goes on at the same place.
pub async fn go_on(ends: &Ends, repair: bool) -> Slice {
    let mut slice = Slice::default();
    if let Err(trouble) = slice.read(ends, repair).await {
        slice.trouble = Some(format!(
            "organizations and memberships were not looked at further: {trouble}"
        ));
    }
    slice
}

impl Slice {
    async fn read(&mut self, ends: &Ends, repair: bool) -> Result<(), Trouble> {
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
            self.compare(ends, place.group, &page.records, repair)
                .await?;
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
        ends: &Ends,
        group: Group,
        records: &[RawRecord],
        repair: bool,
    ) -> Result<(), Trouble> {
        let table = group.own_table();
        let tables = vec![table];
        let map = |record| Candidate::of(record, &ends.rules, &tables);
        let page: Arc<[Candidate]> = records.iter().map(map).collect();
        let figures = self.tally.of(table);
        figures.clerk += page.len() as u64;
        let mut unknown = Listed::all(&page);
        unknown.retain(|listed| !is_known(ends, table, listed.candidate()));
        if unknown.is_empty() {
            return Ok(());
        }
        let keys: Vec<_> = unknown
            .iter()
            .map(|one| one.candidate().key.clone())
            .collect();
        let rows = rows_of(ends, &tables, &keys).await?;
        let mut suspects = Suspects::default();
        for listed in unknown {
            let key = listed.candidate().key.clone();
            let rows = rows.get(&(table, key)).map_or(&[][..], Vec::as_slice);
            figures.convex += rows.len() as u64;
            let agrees = match (listed.candidate().fields(table), rows) {
                (Some(fields), [row]) => {
                    row.deleted_at.is_none() && compare::equal(fields, &row.fields)
                }
                _ => false,
            };
            if !agrees {
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
        let mended = mend(ends, group, judged, May::only(repair)).await?;
        for difference in mended.differences {
            self.tally.count(&difference);
            if self.differences.len() < Report::MAX_DIFFERENCES {
                self.differences.push(difference);
            }
        }
        Ok(())
    }

    /// Tells a census's report what the slice came to.
    pub fn add_to(self, report: &mut Report) {
        let (found, repaired) = (self.tally.differences(), self.tally.repaired());
        let failed = self.tally.tables.values().any(|figures| figures.failed > 0);
        for (table, figures) in self.tally.tables {
            if figures != TableFigures::default() {
                report.tables.insert(table, figures);
            }
        }
        report.differences.extend(self.differences);
        report.differences.truncate(Report::MAX_DIFFERENCES);
        if repaired > 0 {
            report.notes.push(format!(
                "{repaired} change(s) of organizations or memberships were told by no delivery"
            ));
        }
        let broke_off = self.trouble.is_some();
        report.notes.extend(self.trouble);
        report.outcome = match report.outcome {
            RunOutcome::Failed | RunOutcome::Held => report.outcome,
            _ if broke_off || failed => RunOutcome::Failed,
            _ if found > repaired => RunOutcome::Differences,
            RunOutcome::InSync if repaired > 0 => RunOutcome::Repaired,
            as_it_was => as_it_was,
        };
    }
}

impl Place {
    fn begin() -> Place {
        Place {
            form: FORM,
            group: Group::Organizations,
            offset: 0,
            off_until_ms: None,
        }
    }

    /// The end of a listing: the other one comes next.
    fn turn(&mut self, served: &[Table]) {
        self.offset = 0;
        self.group = match self.group {
            Group::Organizations => Group::Memberships,
            _ => Group::Organizations,
        };
        self.skip_unserved(served);
    }

    fn skip_unserved(&mut self, served: &[Table]) {
        let other = match self.group {
            Group::Organizations => Group::Memberships,
            _ => Group::Organizations,
        };
        let serves = |group: Group| served.contains(&group.own_table());
        if !serves(self.group) && serves(other) {
            (self.group, self.offset) = (other, 0);
        }
    }
}

/// Pages of one census, so that all of so many records are seen in [`TURNS`] of them.
fn pages_of(total: u64) -> u64 {
    let fresh = u64::from(MAX_PAGE - OVERLAP);
    total.div_ceil(fresh).div_ceil(TURNS).clamp(1, MAX_PAGES)
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

/// A cell that cannot be read begins anew: a place is never guessed.
fn load(ends: &Ends) -> Result<Place, Trouble> {
    let cell = ends.state.get_cell(CELL)?;
    let read = |bytes: Vec<u8>| serde_json::from_slice::<Place>(&bytes).ok();
    let place = cell.and_then(read).filter(|place| place.form == FORM);
    Ok(place.unwrap_or_else(Place::begin))
}

fn save(ends: &Ends, place: Place) -> Result<(), Trouble> {
    // A struct of numbers and a name always becomes a document.
    let bytes = serde_json::to_vec(&place).unwrap_or_default();
    Ok(ends.state.put_cell(CELL, Some(&bytes))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_seen_in_a_day_and_small_instances_cost_a_page_a_census() {
        for (total, pages) in [
            (0, 1),
            (500, 1),
            (62_720, 1),
            (62_721, 2),
            (200_000, 4),
            (100_000_000, MAX_PAGES),
        ] {
            assert_eq!(pages_of(total), pages, "{total}");
        }
    }

    #[test]
    fn both_listings_take_turns_and_what_is_not_served_is_left_out() {
        let mut place = Place {
            offset: 490,
            ..Place::begin()
        };
        place.turn(&Table::ALL);
        assert_eq!((place.group, place.offset), (Group::Memberships, 0));
        place.turn(&Table::ALL);
        assert_eq!(place.group, Group::Organizations);
        place.turn(&[Table::Users, Table::Organizations]);
        assert_eq!(place.group, Group::Organizations);
        let mut place = Place::begin();
        place.skip_unserved(&[Table::Users, Table::Memberships]);
        assert_eq!(place.group, Group::Memberships);
    }
}
