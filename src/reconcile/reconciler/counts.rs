//! Member counts: organizations that have another number of members in Clerk than rows in Convex.
//!
//! Clerk says with each organization how many members it has, so a membership that came or went without a delivery
//! shows without a walk of all memberships: organizations are listed once, Convex's rows are counted, and only the
//! members of organizations whose counts differ are listed. No count shows a changed role; slices find those.
//! Deletions go as those of a full diff do: from listings that proved themselves whole, all of them before one
//! brake, each after Clerk's word about it.

use std::collections::HashMap;

use serde::Deserialize;

use super::{Reconciler, Rules, emptied, members::Looked};
use crate::{
    clerk::{
        RawRecord,
        client::MAX_PAGE,
        walk::{Listed, OffsetWalk, Room, Walk, WalkError},
        wire::Organization,
    },
    convex::{reader::Range, wire::ListedRow},
    model::{Action, Key, Table},
    reconcile::{
        Trouble,
        ends::Ends,
        full::group::Group,
        mend::Orphan,
        remove::{leave, remove},
        repair::{
            brake::{Brake, Limits, Situation, brake},
            lately::Lately,
        },
        rows::RowPages,
        run::AskedBy,
        scan::slices::Slice,
    },
};

/// Where it is kept how many censuses there were since the last look.
const CELL: &str = "member_counts";
/// Censuses between two looks: six hours at the default rhythm.
const EVERY: u8 = 72;
/// Censuses from a look that failed to the next one.
const AGAIN: u8 = 6;
/// Organizations whose rows are counted at most; about 5 MB. With more it is left to the full diff.
const MOST_COUNTED: usize = 1 << 16;
/// Organizations whose members one look lists at most. The next look finds the others.
const MOST_LISTED: usize = 50;

/// Rows of memberships by organization.
#[derive(Debug, Default)]
struct Counted {
    rows: HashMap<Key, u64>,
    total: u64,
}

/// The column that matters here, read without the others.
#[derive(Deserialize)]
struct Column {
    #[serde(rename = "clerkOrganizationId")]
    organization: Option<String>,
}

impl Reconciler {
    /// Every so many censuses: compares counts, and puts right what they point to. What fails is in the slice.
    pub(super) async fn member_counts(&self, ends: &Ends, rules: Rules) -> Option<Slice> {
        let tables = [Table::Organizations, Table::Memberships];
        if !tables.iter().all(|table| ends.tables.contains(table)) {
            return None;
        }
        let mut slice = Slice::default();
        let compared = match is_due(ends) {
            Ok(false) => return None,
            Ok(true) => self.compare_counts(ends, rules, &mut slice).await,
            Err(trouble) => Err(trouble),
        };
        match compared {
            Ok(()) | Err(Trouble::Walk(WalkError::SwitchedOff)) => {}
            Err(trouble) => {
                slice.fail(format!(
                    "the numbers of organizations' members were not compared: {trouble}"
                ));
                // Where the state does not answer either, the next look comes at its time.
                let soon = ends.state.put_cell(CELL, Some(&[EVERY - AGAIN]));
                soon.unwrap_or_else(|error| tracing::warn!("{error}"));
            }
        }
        let known = self.options.known.as_ref();
        self.options.census.told(ends, known, &mut slice);
        Some(slice)
    }

    async fn compare_counts(
        &self,
        ends: &Ends,
        rules: Rules,
        slice: &mut Slice,
    ) -> Result<(), Trouble> {
        let Some(counted) = count(ends, rules.page_rows).await? else {
            return Ok(());
        };
        let (differing, listed) = differing(ends, &counted).await?;
        let mut orphans = Vec::new();
        for organization in differing {
            let looked = match self.look(ends, &organization, rules).await {
                Err(Trouble::Walk(WalkError::NoSuchOrganization)) => continue,
                looked => looked?,
            };
            let Some(looked) = looked else { continue };
            let Looked {
                mended,
                orphans: its,
                unproven,
                ..
            } = looked;
            slice
                .take(ends, self.options.known.as_ref(), mended.differences)
                .await;
            match unproven {
                None => orphans.extend(its),
                Some(why) => slice.fail(format!("members of {organization}: {why}")),
            }
        }
        if orphans.is_empty() {
            return Ok(());
        }
        let lately = Lately::of(ends, AskedBy::Schedule);
        let situation = Situation {
            lately: lately.removed(Table::Memberships)?,
            deletions: orphans.len() as u64,
            rows: counted.total,
            listed,
            emptied: emptied(ends, Group::Memberships, &orphans).await?,
            ..Situation::default()
        };
        self.let_go(ends, rules, orphans, (&situation, &lately), slice)
            .await
    }

    /// May these rows go, whose memberships Clerk does not list?
    async fn let_go(
        &self,
        ends: &Ends,
        rules: Rules,
        orphans: Vec<Orphan>,
        (situation, lately): (&Situation, &Lately),
        slice: &mut Slice,
    ) -> Result<(), Trouble> {
        let known = self.options.known.as_ref();
        let limits = Limits {
            max_deletes: rules.max_deletes,
            max_delete_ratio: rules.max_delete_ratio,
        };
        let left = match brake(limits, situation) {
            Brake::Released if rules.repair => {
                let removed = remove(ends, Group::Memberships, orphans, known, lately).await?;
                slice.take(ends, known, removed.differences).await;
                slice.lost(removed.missed);
                return Ok(());
            }
            Brake::Released => leave(orphans, Action::None, "Clerk does not list it"),
            Brake::Held { reason } => {
                (self.options.want_full)(&format!("a plan is needed: {reason}"));
                leave(orphans, Action::Held, &reason)
            }
            Brake::Refused { reason } => leave(orphans, Action::None, &reason),
        };
        slice.take(ends, known, left).await;
        Ok(())
    }
}

/// Counts this census; true if it is the one that looks.
fn is_due(ends: &Ends) -> Result<bool, Trouble> {
    let kept = ends.state.get_cell(CELL)?;
    // A cell that cannot be read begins to count anew.
    let censuses = match kept.as_deref() {
        Some([censuses]) => censuses.saturating_add(1),
        _ => 1,
    };
    let is_due = censuses >= EVERY;
    let next = if is_due { 0 } else { censuses };
    ends.state.put_cell(CELL, Some(&[next]))?;
    Ok(is_due)
}

/// Counts Convex's rows; `None` if they are of more organizations than are counted.
async fn count(ends: &Ends, page_rows: u32) -> Result<Option<Counted>, Trouble> {
    let (table, everything) = (Table::Memberships, Range::default());
    let (reader, room) = (ends.reader.clone(), Room::of(1));
    let mut pages = RowPages::of(reader, table, everything, page_rows, &room);
    let mut counted = Counted::default();
    while let Some(page) = pages.next().await? {
        for row in page.rows.iter().filter(|row| row.deleted_at.is_none()) {
            counted.total += 1;
            if let Some(organization) = organization_of(row) {
                *counted.rows.entry(organization).or_default() += 1;
            }
        }
        if counted.rows.len() > MOST_COUNTED {
            return Ok(None);
        }
    }
    Ok(Some(counted))
}

/// Organizations whose numbers differ, and how many members there are in all.
async fn differing(ends: &Ends, counted: &Counted) -> Result<(Vec<Key>, u64), Trouble> {
    let (mut found, mut members) = (Vec::new(), 0);
    let mut walk = OffsetWalk::new(ends.clerk.clone(), Listed::Organizations, MAX_PAGE);
    while let Some(page) = walk.next().await? {
        for record in &page.records {
            // An instance that does not say it cannot be compared so.
            let Some(says) = members_of(record) else {
                continue;
            };
            members += says;
            let rows = counted.rows.get(record.key()).copied().unwrap_or(0);
            if says != rows && found.len() < MOST_LISTED {
                found.push(record.key().clone());
            }
        }
    }
    Ok((found, members))
}

fn members_of(record: &RawRecord) -> Option<u64> {
    let organization = Organization::parse(record.text()).ok()?;
    u64::try_from(organization.members_count?.0).ok()
}

fn organization_of(row: &ListedRow) -> Option<Key> {
    let column: Column = serde_json::from_str(row.text()).ok()?;
    Key::parse(&column.organization?)
}
