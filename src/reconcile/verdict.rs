//! What differs about one record, given what both sides say about it now. Pure.
//!
//! Judges by content alone: which side is newer is decided by versions where it is written. A row that was
//! deleted softly is no row to a record that is gone, and needs a person where the record is alive. The profile
//! of a user whose row is held like that is held with it.

use crate::{
    convex::wire::Row,
    model::{Action, Difference, DriftKind, Key, Table, Version},
    reconcile::diff::compare,
};

use super::merge;

pub use super::full::candidate::Candidate;

/// Both sides of one record, as they were looked at last.
pub struct Sides<'s> {
    /// Clerk's id.
    pub key: &'s Key,
    /// What Clerk has; `None` if nothing.
    pub clerk: Option<&'s Candidate>,
    /// The rows of each table that was asked for.
    pub rows: Vec<(Table, Vec<Row>)>,
    /// True if the user's own row was deleted softly, so that it and its profile stay as they are.
    pub held: bool,
}

/// What follows.
#[derive(Debug, Default)]
pub struct Verdict {
    /// What differs; none is agreement. The action is what will be true if nobody repairs it.
    pub differences: Vec<Difference>,
    /// True if writing Clerk's content would put the record right.
    pub write: bool,
    /// True if the record has to go.
    pub orphan: bool,
    /// Rows beside the oldest that could go for it, by table.
    pub younger: Vec<(Table, u64)>,
}

/// Judges one record.
pub fn judge(sides: &Sides<'_>) -> Verdict {
    let mut verdict = Verdict::default();
    for (table, rows) in &sides.rows {
        match sides.clerk {
            Some(candidate) => alive(*table, candidate, rows, &mut verdict),
            None if sides.held && *table == Table::Profiles => {}
            None => gone(sides.key, *table, rows, &mut verdict),
        }
    }
    verdict
}

fn alive(table: Table, candidate: &Candidate, rows: &[Row], verdict: &mut Verdict) {
    let difference = |kind, fields, action, reason: Option<String>| Difference {
        table,
        key: candidate.key.clone(),
        kind,
        fields,
        action,
        reason,
    };
    let Ok(mapped) = &candidate.rows else {
        let reason = candidate.rows.as_ref().err().cloned();
        let kind = if rows.is_empty() {
            DriftKind::Missing
        } else {
            DriftKind::Stale
        };
        let failed = difference(kind, Vec::new(), Action::Failed, reason);
        return verdict.differences.push(failed);
    };
    let Some(wanted) = mapped.iter().find(|row| row.table == table) else {
        return;
    };
    let Some(row) = rows.first() else {
        let missing = difference(DriftKind::Missing, Vec::new(), Action::None, None);
        verdict.differences.push(missing);
        verdict.write = true;
        return;
    };
    if rows.len() > 1 {
        let reason = format!("{} rows have this key; none was removed", rows.len());
        let double = difference(DriftKind::Duplicate, Vec::new(), Action::None, Some(reason));
        verdict.differences.push(double);
        let younger = merge::younger(rows);
        verdict
            .younger
            .extend((younger > 0).then_some((table, younger)));
    }
    if row.deleted_at.is_some() {
        let reason = "the row was deleted softly although Clerk has the record; bring it back with \
                      `clerk-convex-sync sync user ID --revive`";
        let kind = DriftKind::Stale;
        let held = difference(kind, Vec::new(), Action::Held, Some(reason.into()));
        return verdict.differences.push(held);
    }
    let fields = compare::differences(&wanted.fields, &row.fields);
    if fields.is_empty() {
        return;
    }
    if row
        .version
        .is_some_and(|version| version > candidate.version)
    {
        let reason = "the row claims a newer version than Clerk has";
        let ahead = difference(
            DriftKind::Stale,
            fields,
            Action::Failed,
            Some(reason.into()),
        );
        return verdict.differences.push(ahead);
    }
    let stale = difference(DriftKind::Stale, fields, Action::None, None);
    verdict.differences.push(stale);
    verdict.write = true;
}

fn gone(key: &Key, table: Table, rows: &[Row], verdict: &mut Verdict) {
    if rows.iter().all(|row| row.deleted_at.is_some()) {
        return;
    }
    verdict.orphan = true;
    let orphaned = Difference::orphaned(table, key.clone());
    verdict.differences.push(orphaned);
}

/// True if a delivery has said something newer than what was listed: then the list is out of date, not the row.
pub fn is_overtaken(listed: Version, seen: Option<(Version, bool)>) -> bool {
    seen.is_some_and(|(version, deleted)| deleted || version > listed)
}
