//! Rows that are ahead of Clerk on purpose: a user's own edit waits to be carried there.
//!
//! `list` and `get` show a row as it is, so such an edit looks like drift. Whether it is one is asked only where
//! something differs in a column that may be edited. What an edit explains is no difference; anything else
//! about the same user is. Promises nothing about edits beyond the thousand that wait longest.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::{
    Trouble,
    confirm::{Confirmed, Judged, overtaken},
    ends::Ends,
    full::group::Group,
    patiently,
    verdict::Verdict,
};
use crate::{
    convex::reader::MAX_EDITS,
    model::{Action, DriftKind, FieldDrift, Key},
};

/// The fields that wait, by the contract's names; a missing value clears one.
type Edited = BTreeMap<String, Option<String>>;

/// Takes out of what was judged what is explained by edits that wait.
pub async fn excuse(ends: &Ends, judged: &mut Judged) -> Result<(), Trouble> {
    let may_be = |one: &Confirmed| may_be_ahead(&ends.editable, &one.verdict);
    if !judged.confirmed.iter().any(may_be) {
        return Ok(());
    }
    let mut waiting: HashMap<Key, Edited> = HashMap::new();
    for edit in patiently(|| ends.reader.edits(MAX_EDITS)).await? {
        if let Some(key) = edit.key {
            waiting.entry(key).or_default().extend(edit.fields);
        }
    }
    let mut left = Vec::with_capacity(judged.confirmed.len());
    for mut one in std::mem::take(&mut judged.confirmed) {
        if !may_be(&one) {
            left.push(one);
            continue;
        }
        let key = &one.name.key;
        if let Some(edited) = waiting.get(key) {
            judged.ahead += u64::from(explain(edited, &mut one.verdict));
        }
        // An edit that Clerk took since it was looked at is in no outbox any more, and the ledger knows.
        let version = one.clerk.as_ref().map(|clerk| clerk.version);
        let carried = version.is_some_and(|version| overtaken(ends, Group::Users, key, version));
        if one.verdict.differences.is_empty() {
            continue;
        }
        match carried {
            true => judged.overtaken += 1,
            false => left.push(one),
        }
    }
    judged.confirmed = left;
    Ok(())
}

fn may_be_ahead(editable: &[String], verdict: &Verdict) -> bool {
    let edited = |drift: &FieldDrift| editable.contains(&drift.field);
    let mut differences = verdict.differences.iter();
    differences.any(|one| one.kind == DriftKind::Stale && one.fields.iter().any(edited))
}

/// Takes out what the edit explains: true if that is anything.
fn explain(edited: &Edited, verdict: &mut Verdict) -> bool {
    let ahead = |drift: &FieldDrift| match (edited.get(&drift.field), &drift.convex) {
        (Some(None), Value::Null) => true,
        (Some(Some(typed)), Value::String(row)) => typed == row,
        _ => false,
    };
    let mut any = false;
    verdict.differences.retain_mut(|one| {
        let before = one.fields.len();
        one.fields.retain(|drift| !ahead(drift));
        any |= one.fields.len() < before;
        // One that never named a column is about something else.
        before == 0 || !one.fields.is_empty()
    });
    let mut left = verdict.differences.iter();
    verdict.write &= left.any(|one| {
        one.kind == DriftKind::Missing
            || (one.kind == DriftKind::Stale && one.action == Action::None)
    });
    any
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::{Difference, Table};

    fn difference(kind: DriftKind, fields: &[(&str, Value)]) -> Difference {
        let drift = |(field, convex): &(&str, Value)| FieldDrift {
            field: (*field).into(),
            clerk: json!("Clerk's"),
            convex: convex.clone(),
        };
        Difference {
            table: Table::Profiles,
            key: Key::parse("user_1").unwrap(),
            kind,
            fields: fields.iter().map(drift).collect(),
            action: Action::None,
            reason: None,
        }
    }

    /// The columns that are left, whether to write, and whether anything was explained.
    fn left(differences: Vec<Difference>) -> (Vec<String>, bool, bool) {
        let edited = [
            ("firstName".to_owned(), Some("Augusta".to_owned())),
            ("lastName".to_owned(), None),
        ];
        let mut verdict = Verdict {
            differences,
            write: true,
            orphan: false,
            younger: Vec::new(),
        };
        let any = explain(&edited.into(), &mut verdict);
        let fields = verdict.differences.into_iter().flat_map(|one| one.fields);
        (
            fields.map(|drift| drift.field).collect(),
            verdict.write,
            any,
        )
    }

    #[test]
    fn an_edit_explains_its_own_values_and_nothing_else() {
        let stale = |fields: &[(&str, Value)]| difference(DriftKind::Stale, fields);
        let names = || stale(&[("firstName", json!("Augusta")), ("lastName", Value::Null)]);
        assert_eq!(left(vec![names()]), (vec![], false, true));
        // Another column of the same row, and a value that nobody edited.
        let more = stale(&[
            ("firstName", json!("Augusta")),
            ("phoneNumber", json!("+1")),
        ]);
        assert_eq!(left(vec![more]), (vec!["phoneNumber".into()], true, true));
        let by_hand = stale(&[("firstName", json!("By hand"))]);
        assert_eq!(left(vec![by_hand]), (vec!["firstName".into()], true, false));
        // A row that is missing beside it is written.
        let missing = difference(DriftKind::Missing, &[]);
        assert_eq!(left(vec![names(), missing]), (vec![], true, true));
        // Two rows of one key are a difference of their own.
        let double = difference(DriftKind::Duplicate, &[]);
        assert_eq!(left(vec![double, names()]), (vec![], false, true));
    }

    #[test]
    fn only_columns_that_may_be_edited_are_a_reason_to_ask() {
        let verdict = |field: &str, kind| Verdict {
            differences: vec![difference(kind, &[(field, json!("x"))])],
            ..Verdict::default()
        };
        let editable = ["firstName".to_owned()];
        assert!(may_be_ahead(
            &editable,
            &verdict("firstName", DriftKind::Stale)
        ));
        assert!(!may_be_ahead(&editable, &verdict("name", DriftKind::Stale)));
        assert!(!may_be_ahead(
            &editable,
            &verdict("firstName", DriftKind::Missing)
        ));
        assert!(!may_be_ahead(&[], &verdict("firstName", DriftKind::Stale)));
    }
}
