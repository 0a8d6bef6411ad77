//! Walks of users and memberships, against what a plain computation over all of them says.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn row(key: &str, fields: serde_json::Value) -> ListedRow {
    ListedRow::new(Key::parse(key).expect("an id"), Some(1), &fields)
}

fn user(number: u8, organization: Option<u8>) -> ListedRow {
    let named = organization.map(|one| format!("org_{one}"));
    row(&format!("user_{number}"), json!({ COLUMN: named }))
}

fn member(number: usize, user: u8, organization: u8) -> ListedRow {
    let fields = json!({
        "clerkUserId": format!("user_{user}"),
        "clerkOrganizationId": format!("org_{organization}"),
    });
    row(&format!("orgmem_{number}"), fields)
}

/// Each user's wrong row, by what it should say.
fn wrong(found: &Found) -> BTreeMap<String, Option<String>> {
    let named = |one: &Suspect| (one.key.to_string(), one.expected.clone());
    found.suspects.iter().map(named).collect()
}

proptest! {
    #[test]
    fn exactly_those_rows_are_suspects_that_differ_from_the_oldest_membership(
        users in prop::collection::btree_map(0u8..12, (prop::option::of(0u8..4), any::<bool>()), 0..12),
        members in prop::collection::vec((0u8..12, 0u8..4), 0..30),
    ) {
        let notes = Affiliations::new(0, true);
        for (number, (organization, named)) in &users {
            notes.user(&user(*number, *organization), *named);
        }
        for (number, (of, organization)) in members.iter().enumerate() {
            notes.membership(&member(number, *of, *organization));
        }
        let mut found = notes.take();
        for (number, (organization, _)) in &users {
            found.name(&user(*number, *organization));
        }
        let mut expected = BTreeMap::new();
        for (number, (organization, named)) in &users {
            let oldest = members.iter().find(|(of, _)| of == number).map(|(_, org)| *org);
            if !named && oldest != *organization {
                let oldest = oldest.map(|one| format!("org_{one}"));
                expected.insert(format!("user_{number}"), oldest);
            }
        }
        let mut found = wrong(&found);
        // A user without a row is looked up, and then there is none.
        found.retain(|key, _| users.keys().any(|number| *key == format!("user_{number}")));
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn memberships_without_users_are_not_noted() {
    let notes = Affiliations::new(0, false);
    notes.membership(&member(1, 1, 2));
    assert!(notes.held().users.is_empty());
}

#[test]
fn what_a_row_said_then_is_what_makes_it_suspicious() {
    let notes = Affiliations::new(0, true);
    notes.user(&user(1, Some(3)), false);
    notes.membership(&member(1, 1, 2));
    let found = notes.take();
    assert!(found.suspects[0].still_says(Some("org_3")));
    assert!(!found.suspects[0].still_says(Some("org_2")));
    assert!(!found.suspects[0].still_says(None));
}

#[test]
fn of_too_many_users_another_part_is_noted_each_day_and_in_the_end_all_were() {
    let mut seen = std::collections::BTreeSet::new();
    let mut parts = 1;
    let mut day = 0;
    while day < parts {
        let notes = Affiliations::at_most(20, day);
        for number in 0..100 {
            notes.user(&user(number, Some(1)), false);
        }
        for number in 0..100 {
            notes.membership(&member(number.into(), number, 2));
        }
        let found = notes.take();
        assert!(found.one_of > 1 && found.suspects.len() <= 20);
        parts = parts.max(found.one_of);
        seen.extend(wrong(&found).into_keys());
        day += 1;
    }
    assert_eq!(seen.len(), 100, "after {parts} days");
}
