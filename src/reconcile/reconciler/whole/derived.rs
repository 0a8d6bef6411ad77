//! The end of a full diff of memberships: does each user's row name the organization that it should?
//!
//! What both walks made suspicious is looked up once more on both sides. Where it is still so, the user is
//! written as Clerk has it, which derives its organization anew inside Convex; an audit only says what differs.

use std::collections::HashMap;

use super::Whole;
use crate::{
    clerk::{Priority, client::MAX_IDS, walk::Room},
    convex::reader::Range,
    model::{Action, Difference, DriftKind, FieldDrift, Key, Table},
    reconcile::{
        Trouble,
        confirm::{Confirmed, Judged, rows_of},
        cursor::RunCursor,
        ends::Ends,
        full::{
            affiliation::{COLUMN, Found, Suspect, organization},
            group::{Group, Name},
            tally::Tally,
        },
        mend::{May, mend},
        rows::RowPages,
        verdict::Verdict,
    },
};

impl Whole<'_> {
    /// Looks at the organizations that Convex derives, if both walks were seen from their beginning. After a
    /// move into empty tables there is nothing to look at: every one of them has just been derived.
    pub(super) async fn derived(
        &mut self,
        run: &RunCursor,
        tally: &mut Tally,
    ) -> Result<(), Trouble> {
        let mut found = self.affiliations.take();
        let both = [Table::Users, Table::Memberships];
        let seen = both.iter().all(|table| self.tables.contains(table));
        if !seen || run.resumed > 0 || run.bulk {
            return Ok(());
        }
        if found.one_of > 1 {
            self.notes.push(format!(
                "of users whose organizationId is derived, one of {} was held against its memberships; the \
                 others come in the next days",
                found.one_of
            ));
        }
        self.homeless(&mut found).await?;
        if found.further > 0 {
            self.notes.push(format!(
                "{} more user(s) may have a wrong organizationId; the next run looks at them",
                found.further
            ));
        }
        let ends = Ends {
            clerk: self.ends.clerk.at(Priority::Confirm),
            ..self.ends.clone()
        };
        for some in found.suspects.chunks(MAX_IDS) {
            let judged = judge(&ends, some).await?;
            let mended = mend(&ends, Group::Users, judged, May::only(self.may.repair)).await?;
            self.count(mended.differences, tally)?;
        }
        Ok(())
    }

    /// Rows that name an organization without any membership are named by listing users once more.
    async fn homeless(&self, found: &mut Found) -> Result<(), Trouble> {
        if !found.has_homeless() {
            return Ok(());
        }
        let (reader, everybody) = (self.ends.reader.clone(), Range::default());
        let (rows, room) = (self.rules.page_rows, Room::of(1));
        let mut pages = RowPages::of(reader, Table::Users, everybody, rows, &room);
        while let Some(page) = pages.next().await? {
            page.rows.iter().for_each(|row| found.name(row));
        }
        Ok(())
    }
}

/// Looks at suspects once more: what Clerk has, and what the rows say.
async fn judge(ends: &Ends, suspects: &[Suspect]) -> Result<Judged, Trouble> {
    let keys: Vec<Key> = suspects.iter().map(|suspect| suspect.key.clone()).collect();
    let mut rows = rows_of(ends, &[Table::Users], &keys).await?;
    let mut differing = HashMap::new();
    for suspect in suspects {
        let rows = rows.remove(&(Table::Users, suspect.key.clone()));
        // Of duplicates the oldest is the one that is written.
        let Some(row) = rows.and_then(|rows| rows.into_iter().next()) else {
            continue;
        };
        let says = organization(&row);
        let wrong = suspect.still_says(says) && says != suspect.expected.as_deref();
        if wrong && row.deleted_at.is_none() {
            let drift = FieldDrift {
                field: COLUMN.to_owned(),
                clerk: suspect.expected.clone().into(),
                convex: says.into(),
            };
            differing.insert(suspect.key.clone(), drift);
        }
    }
    let names: Vec<Name> = differing.keys().cloned().map(Name::plain).collect();
    let mut now = Group::Users.look_up(ends, &names, &[Table::Users]).await?;
    let mut judged = Judged::default();
    for (key, drift) in differing {
        // Metadata that names an organization is compared as every other column is.
        let derives = |fields: &crate::model::Fields| !fields.contains_key(COLUMN);
        let Some(clerk) = now
            .remove(&key)
            .filter(|clerk| clerk.fields(Table::Users).is_some_and(derives))
        else {
            continue;
        };
        let difference = Difference {
            table: Table::Users,
            key: key.clone(),
            kind: DriftKind::Stale,
            fields: vec![drift],
            action: Action::None,
            reason: Some("Convex derives it from the memberships".into()),
        };
        judged.confirmed.push(Confirmed {
            name: Name::plain(key),
            clerk: Some(clerk),
            verdict: Verdict {
                differences: vec![difference],
                write: true,
                orphan: false,
                younger: Vec::new(),
            },
        });
    }
    Ok(judged)
}
