//! Columns and values, by tables, and against the content hash by random pairs.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::model::ContentHash;

fn fields(value: Value) -> Fields {
    match value {
        Value::Object(map) => map,
        other => panic!("not an object: {other}"),
    }
}

fn names(wanted: Value, row: Value) -> Vec<String> {
    let (wanted, row) = (fields(wanted), fields(row));
    let found = differences(&wanted, &row);
    assert_eq!(equal(&wanted, &row), found.is_empty());
    let text = Value::Object(row.clone()).to_string();
    assert_eq!(equal_text(&wanted, &text), found.is_empty(), "{text}");
    found.into_iter().map(|drift| drift.field).collect()
}

#[test]
fn only_columns_that_the_mapping_gives_are_compared() {
    let row = json!({"name": "Ada", "organizationId": "org_1", "plan": "gold"});
    assert!(names(json!({"name": "Ada"}), row.clone()).is_empty());
    assert_eq!(names(json!({"name": "Eve"}), row.clone()), ["name"]);
    let pinned = json!({"name": "Ada", "organizationId": "org_2"});
    assert_eq!(names(pinned, row), ["organizationId"]);
}

#[test]
fn a_missing_column_and_null_are_the_same_and_an_empty_text_is_not() {
    assert!(names(json!({"name": null}), json!({})).is_empty());
    assert!(names(json!({"name": null}), json!({"name": null})).is_empty());
    for other in [json!(""), json!(0), json!(false), json!([]), json!({})] {
        assert_eq!(names(json!({"a": other}), json!({})), ["a"]);
        assert_eq!(names(json!({"a": null}), json!({"a": other})), ["a"]);
    }
}

#[test]
fn numbers_are_the_doubles_that_convex_keeps() {
    let same = [
        ("1", "1.0"),
        ("0", "-0.0"),
        ("1e3", "1000"),
        ("9007199254740993", "9007199254740992.0"),
        ("18446744073709551615", "18446744073709552000.0"),
        ("0.1", "0.1000000000000000055511151231257827"),
    ];
    let other = [
        ("1", "1.0000000000000002"),
        ("9007199254740992", "9007199254740994"),
        ("1", "\"1\""),
        ("1", "true"),
        // How Convex prints what JSON has no number for, and 64-bit integers.
        ("0", "\"NaN\""),
        ("0", "\"Infinity\""),
        ("123", "\"123\""),
    ];
    let read = |text: &str| json!({"n": serde_json::from_str::<Value>(text).unwrap()});
    for (one, two) in same {
        assert!(names(read(one), read(two)).is_empty(), "{one} {two}");
        assert!(names(read(two), read(one)).is_empty(), "{two} {one}");
    }
    for (one, two) in other {
        assert_eq!(names(read(one), read(two)), ["n"], "{one} {two}");
    }
}

#[test]
fn values_are_compared_to_their_depth_and_null_inside_counts() {
    let deep = |n: i32| json!({"a": {"b": [1, {"c": [null, n]}]}});
    assert!(names(deep(1), json!({"a": {"b": [1.0, {"c": [null, 1.0]}]}})).is_empty());
    assert_eq!(names(deep(1), deep(2)), ["a"]);
    assert_eq!(names(json!({"a": {"b": null}}), json!({"a": {}})), ["a"]);
    assert_eq!(names(json!({"a": [1, 2]}), json!({"a": [2, 1]})), ["a"]);
    assert_eq!(names(json!({"a": [1]}), json!({"a": [1, null]})), ["a"]);
    assert_eq!(names(json!({"a": {"x": 1}}), json!({"a": {"y": 1}})), ["a"]);
}

#[test]
fn a_difference_shows_both_sides_with_null_for_nothing() {
    let wanted = fields(json!({"a": 1, "b": null, "c": "x"}));
    let row = fields(json!({"b": "old", "c": "x", "d": "not ours"}));
    let drift = |field: &str, clerk, convex| FieldDrift {
        field: field.into(),
        clerk,
        convex,
    };
    let found = differences(&wanted, &row);
    let expected = [
        drift("a", json!(1), Value::Null),
        drift("b", Value::Null, json!("old")),
    ];
    assert_eq!(found, expected);
}

/// Few distinct values, so that equal ones in several spellings meet.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-1_i64..2).prop_map(Value::from),
        (-1_i8..2).prop_map(|n| Value::from(f64::from(n))),
        Just(json!(-0.0)),
        Just(json!(9_007_199_254_740_993_u64)),
        Just(json!(9_007_199_254_740_992.0)),
        prop_oneof![Just(""), Just("1"), Just("é")].prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            proptest::collection::btree_map("[ab]", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn row() -> impl Strategy<Value = Fields> {
    proptest::collection::btree_map("[a-d]", value(), 0..4)
        .prop_map(|map| map.into_iter().collect())
}

/// The columns of `like`, without those that say nothing.
fn normal(fields: &Fields, like: &Fields) -> Fields {
    let kept = fields
        .iter()
        .filter(|(name, value)| like.contains_key(*name) && !value.is_null());
    kept.map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn equal_rows_are_those_of_equal_hash(wanted in row(), held in row()) {
        let hashes = (
            ContentHash::of(&normal(&wanted, &wanted)),
            ContentHash::of(&normal(&held, &wanted)),
        );
        prop_assert_eq!(equal(&wanted, &held), hashes.0 == hashes.1);
        prop_assert_eq!(differences(&wanted, &held).is_empty(), hashes.0 == hashes.1);
    }

    #[test]
    fn a_row_that_was_written_is_equal_however_its_numbers_are_printed(wanted in row(), before in row()) {
        let mut after = before;
        for (name, value) in &wanted {
            after.insert(name.clone(), printed(value));
        }
        prop_assert!(equal(&wanted, &after));
    }
}

/// A value as Convex prints it again.
fn printed(value: &Value) -> Value {
    match value {
        Value::Number(number) => number.as_f64().map_or(Value::Null, Value::from),
        Value::Array(items) => items.iter().map(printed).collect(),
        Value::Object(map) => Value::Object(
            map.iter()
                .map(|(name, value)| (name.clone(), printed(value)))
                .collect(),
        ),
        other => other.clone(),
    }
}
