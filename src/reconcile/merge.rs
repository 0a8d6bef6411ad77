//! Several rows of one key become one, where a person has allowed it (`repair.merge_duplicates`).
//!
//! Decided with the deletions of the run, since it removes rows, and done like them: both sides are looked at once
//! more, then one upsert a record asks Convex to keep the oldest row and to let the younger ones go, in one
//! transaction. Nothing rests on an absence here: the record exists, by Clerk's own word.

use super::{
    Trouble,
    confirm::rows_of,
    ends::Ends,
    full::{
        candidate::Candidate,
        group::{Group, Name},
    },
    repair::lately::Lately,
};
use crate::{
    convex::wire::Row,
    model::{Action, Difference, DriftKind, Outcome, RecordKey, Table},
    queue::repairs::{Repair, Repaired, Wish},
};

/// Records that are looked at and merged at a time.
const AT_A_TIME: usize = 50;

/// A record with several rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Double {
    /// What Clerk is asked by.
    pub name: Name,
    /// How many rows there are beside the oldest, by table.
    pub younger: Vec<(Table, u64)>,
}

impl Double {
    /// The record's name in the group.
    pub fn record(&self, group: Group) -> RecordKey {
        RecordKey::new(group.own_table(), self.name.key.clone())
    }

    /// Rows of this table that merging removes.
    pub fn rows_of(&self, table: Table) -> u64 {
        let of_table = self.younger.iter().filter(|(of, _)| *of == table);
        of_table.map(|(_, rows)| rows).sum()
    }

    /// What reports say of it: one difference for each table.
    pub fn differences(
        &self,
        action: Action,
        reason: impl Fn(u64) -> String,
    ) -> impl Iterator<Item = Difference> {
        self.younger.iter().map(move |(table, rows)| Difference {
            table: *table,
            key: self.name.key.clone(),
            kind: DriftKind::Duplicate,
            fields: Vec::new(),
            action,
            reason: Some(reason(*rows)),
        })
    }
}

/// The younger rows that are beside the oldest; nothing to merge where that one was deleted softly.
pub fn younger(rows: &[Row]) -> u64 {
    match rows.split_first() {
        Some((oldest, younger)) if oldest.deleted_at.is_none() => younger.len() as u64,
        _ => 0,
    }
}

/// Says the same of all of them.
pub fn leave(doubles: &[Double], action: Action, reason: &str) -> Vec<Difference> {
    let said = |double: &Double| {
        let all = double.differences(action, |rows| format!("{}; {reason}", many(rows + 1)));
        all.collect::<Vec<_>>()
    };
    doubles.iter().flat_map(said).collect()
}

fn many(rows: u64) -> String {
    format!("{rows} rows have this key")
}

/// Merges the rows of these records, as far as they still have several and Clerk still has them.
pub async fn merge(
    ends: &Ends,
    group: Group,
    doubles: &[Double],
    lately: &Lately,
) -> Result<Vec<Difference>, Trouble> {
    let mut differences = Vec::new();
    for some in doubles.chunks(AT_A_TIME) {
        let (now, mut said) = look_again(ends, group, some).await?;
        differences.append(&mut said);
        let (doubles, repairs): (Vec<Double>, Vec<Repair>) = now.into_iter().unzip();
        let done = ends.repair(repairs).await?;
        differences.extend(settle_all(doubles.iter().zip(done), lately)?);
    }
    Ok(differences)
}

/// The records that have several rows still, each with what is to be written; and what is said of the others.
async fn look_again(
    ends: &Ends,
    group: Group,
    doubles: &[Double],
) -> Result<(Vec<(Double, Repair)>, Vec<Difference>), Trouble> {
    let tables = group.tables().iter().copied();
    let tables: Vec<Table> = tables.filter(|table| ends.tables.contains(table)).collect();
    let names: Vec<Name> = doubles.iter().map(|double| double.name.clone()).collect();
    let keys: Vec<_> = names.iter().map(|name| name.key.clone()).collect();
    let mut known = group.look_up(ends, &names, &tables).await?;
    let mut rows = rows_of(ends, &tables, &keys).await?;
    let (mut todo, mut said) = (Vec::new(), Vec::new());
    for double in doubles {
        let one = std::slice::from_ref(double);
        let mut of = |table: Table| rows.remove(&(table, double.name.key.clone()));
        let now = double
            .younger
            .iter()
            .map(|(table, _)| (*table, younger(&of(*table).unwrap_or_default())));
        let now = Double {
            name: double.name.clone(),
            younger: now.filter(|(_, rows)| *rows > 0).collect(),
        };
        match known.remove(&double.name.key) {
            _ if now.younger.is_empty() => {}
            None => said.extend(leave(
                one,
                Action::None,
                "Clerk does not show the record any more, so none was removed",
            )),
            Some(candidate) => match wish(group, &now, candidate) {
                Ok(repair) => todo.push((now, repair)),
                Err(reason) => said.extend(leave(one, Action::Failed, &reason)),
            },
        }
    }
    Ok((todo, said))
}

fn wish(group: Group, double: &Double, candidate: Candidate) -> Result<Repair, String> {
    let mut rows = candidate.rows?;
    for row in &mut rows {
        row.merge = (double.rows_of(row.table) > 0).then_some(true);
    }
    Ok(Repair {
        record: double.record(group),
        wish: Wish::Write {
            version: candidate.version,
            rows,
        },
        why: Some(DriftKind::Duplicate),
    })
}

/// What became of them. All are looked at before the first trouble is told: what went counts for the brake, whatever
/// became of the others.
fn settle_all<'d>(
    done: impl Iterator<Item = (&'d Double, Repaired)>,
    lately: &Lately,
) -> Result<Vec<Difference>, Trouble> {
    let settled: Vec<_> = done
        .map(|(double, done)| settle(double, done, lately))
        .collect();
    let differences: Result<Vec<_>, Trouble> = settled.into_iter().collect();
    Ok(differences?.into_iter().flatten().collect())
}

fn settle(double: &Double, done: Repaired, lately: &Lately) -> Result<Vec<Difference>, Trouble> {
    let one = std::slice::from_ref(double);
    Ok(match done {
        Repaired::Applied {
            outcome: Outcome::Updated,
            ..
        } => {
            for (table, rows) in &double.younger {
                lately.add(*table, *rows);
            }
            double.differences(Action::Updated, removed).collect()
        }
        // Somebody else was faster.
        Repaired::Applied {
            outcome: Outcome::Unchanged | Outcome::Created | Outcome::Linked,
            ..
        } => Vec::new(),
        Repaired::Applied { outcome, .. } => {
            let reason = format!(
                "none was removed, since Convex answered with `{}`: a row of them is newer than what Clerk \
                 has, or deleted",
                outcome.name()
            );
            leave(one, Action::None, &reason)
        }
        Repaired::Overtaken => {
            let reason = "none was removed, since a delivery has changed it meanwhile; the next run looks again";
            leave(one, Action::None, reason)
        }
        Repaired::Refused { code, reason } => {
            let reason = format!("none was removed, Convex refused it ({code}): {reason}");
            leave(one, Action::Failed, &reason)
        }
        Repaired::Away { reason } => return Err(Trouble::Away(reason)),
    })
}

fn removed(rows: u64) -> String {
    let (removed, them) = match rows {
        1 => ("1 younger row was removed".to_owned(), "it"),
        many => (format!("{many} younger rows were removed"), "them"),
    };
    format!("the oldest row stays, {removed}; what the app kept on {them} is lost")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Key;

    fn double() -> Double {
        Double {
            name: Name::plain(Key::parse("user_1").unwrap()),
            younger: vec![(Table::Users, 2), (Table::Profiles, 1)],
        }
    }

    fn said(done: Repaired) -> Vec<(Action, String)> {
        let differences = settle(&double(), done, &Lately::by_person()).unwrap();
        assert!(
            differences
                .iter()
                .all(|one| one.kind == DriftKind::Duplicate)
        );
        let said = differences.into_iter();
        said.map(|one| (one.action, one.reason.unwrap())).collect()
    }

    fn applied(outcome: Outcome) -> Repaired {
        Repaired::Applied { outcome, id: None }
    }

    #[test]
    fn what_was_removed_is_told_by_number_and_what_was_not_with_the_reason() {
        let done = said(applied(Outcome::Updated));
        assert_eq!(done.len(), 2);
        assert!(done.iter().all(|(action, _)| *action == Action::Updated));
        assert!(
            done[0].1.contains("2 younger rows were removed"),
            "{done:?}"
        );
        assert!(done[1].1.contains("1 younger row was removed"), "{done:?}");
        assert_eq!(said(applied(Outcome::Unchanged)), []);
        for (repaired, action, words) in [
            (
                applied(Outcome::Stale),
                Action::None,
                "3 rows have this key; none was removed",
            ),
            (Repaired::Overtaken, Action::None, "a delivery"),
            (
                Repaired::Refused {
                    code: "too_many_files".into(),
                    reason: "no".into(),
                },
                Action::Failed,
                "too_many_files",
            ),
        ] {
            let said = said(repaired);
            assert_eq!(said[0].0, action);
            assert!(said[0].1.contains(words), "{said:?}");
        }
        let away = Repaired::Away { reason: "x".into() };
        assert!(settle(&double(), away, &Lately::by_person()).is_err());
    }

    #[test]
    fn what_was_merged_counts_for_the_brake_also_where_convex_was_away_for_another() {
        let (_dir, lately) = Lately::counting_from_nothing();
        let away = Repaired::Away { reason: "x".into() };
        let (first, second) = (double(), double());
        let done = [(&first, away), (&second, applied(Outcome::Updated))];
        assert!(settle_all(done.into_iter(), &lately).is_err());
        assert_eq!(lately.removed(Table::Users).unwrap(), 2);
    }
}
