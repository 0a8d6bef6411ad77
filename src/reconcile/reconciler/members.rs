//! The memberships of one organization, now: listed by Clerk, compared by key, put right.
//!
//! What Clerk lists is written where it differs. What Convex has beyond that goes only if the listing proved
//! itself whole and the brake lets it, each after Clerk's word about it; anything else is left to a full diff,
//! which makes a plan. Holds the ids of one organization's members, never their records.

use std::collections::HashSet;

use super::{Reconciler, Rules};
use crate::{
    clerk::{
        client::MAX_PAGE,
        proof::{Evidence, prove},
        walk::{Listed as Listing, OffsetWalk, Room, Walk},
    },
    convex::{reader::Range, wire::ListedRow},
    model::{Action, Difference, Key, Table},
    reconcile::{
        Trouble,
        confirm::{Looking, Suspects},
        ends::Ends,
        full::{
            candidate::Listed,
            group::{Group, Name},
        },
        mend::{May, Mended, Orphan, mend},
        patiently,
        remove::{leave, remove},
        repair::{
            brake::{Brake, Limits, Situation, brake},
            lately::Lately,
        },
        rows::RowPages,
    },
};

/// Members of one organization that a person's command looks at; more is a full diff's work. Their ids take
/// about 5 MB.
const MOST: usize = 100_000;

/// What became of an organization's memberships.
#[derive(Debug, Default)]
pub(super) struct Members {
    listed: u64,
    written: u64,
    deleted: u64,
    failed: u64,
    /// Why some were left alone.
    left: Option<String>,
}

impl Members {
    /// True if any row was written or deleted.
    pub(super) fn changed(&self) -> bool {
        self.written + self.deleted > 0
    }

    /// True if something is left for a person or for a full diff.
    pub(super) fn needs_a_look(&self) -> bool {
        self.failed > 0 || self.left.is_some()
    }

    /// In words.
    pub(super) fn words(&self) -> String {
        let Members {
            listed,
            written,
            deleted,
            failed,
            left,
        } = self;
        let mut words = format!("{listed} member(s)");
        for (count, what) in [
            (written, "brought up to date"),
            (deleted, "deleted"),
            (failed, "not put right"),
        ] {
            if *count > 0 {
                words += &format!(", {count} {what}");
            }
        }
        if let Some(left) = left {
            words += &format!("; {left}");
        }
        words
    }

    fn count(&mut self, mended: &Mended) {
        for difference in &mended.differences {
            match difference.action {
                Action::Created | Action::Updated => self.written += 1,
                Action::Deleted => self.deleted += 1,
                Action::None | Action::Held | Action::Failed => self.failed += 1,
            }
        }
    }
}

/// What was found of an organization's memberships, and put right of them.
#[derive(Debug, Default)]
pub(super) struct Looked {
    /// Members that Clerk lists.
    pub(super) listed: u64,
    /// What was done about those.
    pub(super) mended: Mended,
    /// Rows beyond those.
    pub(super) orphans: Vec<Orphan>,
    /// All rows.
    pub(super) rows: u64,
    /// Why the listing proves nothing.
    pub(super) unproven: Option<String>,
}

impl Reconciler {
    /// Looks at an organization's memberships, puts right what Clerk lists, and lets go what it does not.
    pub(super) async fn members(
        &self,
        ends: &Ends,
        organization: &Key,
    ) -> Result<Members, Trouble> {
        let mut members = Members::default();
        if !ends.tables.contains(&Table::Memberships) {
            return Ok(members);
        }
        let rules = (self.options.rules)();
        // Who asks for one organization wants it written, whatever scans may do.
        let asked = Rules {
            repair: true,
            ..rules
        };
        let Some(looked) = self.look(ends, organization, asked).await? else {
            members.left = Some(format!(
                "it has more than {MOST}; `reconcile --table memberships` looks at all of them"
            ));
            return Ok(members);
        };
        members.listed = looked.listed;
        members.count(&looked.mended);
        self.leavers(ends, rules, looked, &mut members).await?;
        Ok(members)
    }

    /// Lists an organization's members and compares them by key; `None` if there are too many.
    pub(super) async fn look(
        &self,
        ends: &Ends,
        organization: &Key,
        rules: Rules,
    ) -> Result<Option<Looked>, Trouble> {
        let looking = Looking {
            ends: ends.clone(),
            group: Group::Memberships,
            tables: vec![Table::Memberships],
            bulk: false,
        };
        let listing = Listing::MembershipsOf(organization.clone());
        let mut walk = OffsetWalk::new(ends.clerk.clone(), listing, MAX_PAGE);
        let mut listed: HashSet<Key> = HashSet::new();
        let mut looked = Looked::default();
        while let Some(page) = walk.next().await? {
            listed.extend(page.records.iter().map(|record| record.key().clone()));
            if listed.len() > MOST {
                return Ok(None);
            }
            let mut suspects = Suspects::default();
            for one in Listed::all(page.records) {
                suspects.add_listed(one);
            }
            let judged = suspects.confirm(&looking).await?;
            let mended = mend(ends, Group::Memberships, judged, May::only(rules.repair)).await?;
            looked.mended.differences.extend(mended.differences);
        }
        looked.listed = listed.len() as u64;
        let walked = walk.walked();
        let (before, after) = walked.totals.unwrap_or_default();
        let proof = prove(&Evidence {
            counted_before: before,
            counted_after: after,
            rows: walked.rows,
            flaws: walked.flaw_count,
            ..Evidence::default()
        });
        looked.unproven = proof.err().map(|why| why.to_string());
        let mut beyond = Beyond {
            organization,
            listed: &listed,
            orphans: Vec::new(),
            rows: 0,
        };
        beyond.read(ends, rules.page_rows).await?;
        (looked.orphans, looked.rows) = (beyond.orphans, beyond.rows);
        Ok(Some(looked))
    }

    /// Rows of members that Clerk does not list.
    async fn leavers(
        &self,
        ends: &Ends,
        rules: Rules,
        looked: Looked,
        members: &mut Members,
    ) -> Result<(), Trouble> {
        let Looked {
            listed,
            orphans,
            rows,
            unproven,
            ..
        } = looked;
        if orphans.is_empty() {
            return Ok(());
        }
        let limits = Limits {
            max_deletes: rules.max_deletes,
            max_delete_ratio: rules.max_delete_ratio,
        };
        let situation = Situation {
            deletions: orphans.len() as u64,
            rows,
            listed,
            unproven,
            ..Situation::default()
        };
        match brake(limits, &situation) {
            Brake::Released => {
                let known = self.options.known.as_ref();
                let by_person = Lately::by_person();
                let group = Group::Memberships;
                let removed = remove(ends, group, orphans, known, &by_person).await?;
                members.count(&Mended {
                    differences: removed.differences,
                    ..Mended::default()
                });
            }
            Brake::Held { reason } | Brake::Refused { reason } => {
                let held = leave(orphans, Action::Held, &reason).len();
                members.left = Some(format!(
                    "{held} that Clerk does not list were left alone: {reason}; `reconcile --table memberships` \
                     makes a plan of them"
                ));
            }
        }
        Ok(())
    }
}

/// The organization's rows that are not of these ids, and how many rows it has in all.
struct Beyond<'a> {
    organization: &'a Key,
    listed: &'a HashSet<Key>,
    orphans: Vec<Orphan>,
    rows: u64,
}

impl Beyond<'_> {
    /// Reads no more than the organization's rows; of a deployment that cannot find them, the whole table.
    async fn read(&mut self, ends: &Ends, page_rows: u32) -> Result<(), Trouble> {
        let (reader, organization) = (&ends.reader, self.organization);
        let mut cursor: Option<String> = None;
        loop {
            let asked = cursor.as_deref();
            let page = patiently(|| reader.members(organization, asked, page_rows)).await?;
            let Some(page) = page else {
                // Nor can it say so in the middle: the table has again what was found before.
                (self.orphans, self.rows) = (Vec::new(), 0);
                return self.read_table(ends, page_rows).await;
            };
            self.take(page.rows);
            cursor = page.cursor;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }

    async fn read_table(&mut self, ends: &Ends, page_rows: u32) -> Result<(), Trouble> {
        let (table, everything) = (Table::Memberships, Range::default());
        let (reader, room) = (ends.reader.clone(), Room::of(1));
        let mut pages = RowPages::of(reader, table, everything, page_rows, &room);
        while let Some(page) = pages.next().await? {
            self.take(page.rows);
        }
        Ok(())
    }

    fn take(&mut self, rows: Vec<ListedRow>) {
        for row in rows {
            let name = Name::of(&row.key, &row.fields());
            let its = name
                .parents
                .as_ref()
                .is_some_and(|(of, _)| of == self.organization);
            if !its || row.deleted_at.is_some() {
                continue;
            }
            self.rows += 1;
            if !self.listed.contains(&row.key) && self.orphans.len() < MOST {
                let differences = vec![Difference::orphaned(Table::Memberships, row.key)];
                self.orphans.push(Orphan { name, differences });
            }
        }
    }
}
