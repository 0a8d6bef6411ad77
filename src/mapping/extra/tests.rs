//! Columns by pointer: their types, what they may not overwrite, and what Convex cannot hold.
//!
//! The columns expected here are written by hand from the rules, not taken from what the code answers.

use serde_json::json;

use crate::{
    mapping::{
        Note, record,
        tests::{field, map, rules, user_json},
    },
    model::{ExtraField, ExtraKind, Fault, Table},
};

#[test]
fn extra_columns_hold_their_type_or_null() {
    use ExtraKind::{Any, Boolean, Json, Number, String};
    let user = json!({"banned": false, "external_id": "crm-1", "public_metadata":
        {"plan": "pro", "seats": 3, "a/b": {"~": [10, 11]}, "$odd": {"é": 1, "a": null}}});
    let wrong = true;
    for (pointer, kind, expected, noted) in [
        ("/banned", Boolean, json!(false), false),
        ("/external_id", String, json!("crm-1"), false),
        ("/public_metadata/plan", String, json!("pro"), false),
        ("/public_metadata/plan", Number, json!(null), wrong),
        ("/public_metadata/seats", Number, json!(3), false),
        ("/public_metadata/seats", String, json!(null), wrong),
        ("/public_metadata/seats", Boolean, json!(null), wrong),
        ("/public_metadata/a~1b/~0/1", Number, json!(11), false),
        (
            "/public_metadata/$odd",
            Json,
            json!("{\"a\":null,\"é\":1}"),
            false,
        ),
        ("/public_metadata/plan", Json, json!("\"pro\""), false),
        ("/public_metadata/none", Json, json!(null), false),
        ("/public_metadata/plan", Any, json!("pro"), false),
        ("/public_metadata/seats", Any, json!(3), false),
        ("/banned", Any, json!(false), false),
        ("/public_metadata/a~1b/~0", Any, json!("[10,11]"), false),
        ("/public_metadata/$odd/a", Any, json!(null), false),
        ("/none/at/all", String, json!(null), false),
        ("/public_metadata/plan/x", String, json!(null), false),
        ("no pointer", String, json!(null), false),
    ] {
        let mut rules = rules();
        let pointer = pointer.to_owned();
        let field = ExtraField { pointer, kind };
        rules.extra_fields.insert("extra".into(), field.clone());
        let mapped = map(user.clone(), &rules);
        assert_eq!(mapped.upsert.fields["extra"], expected, "{field:?}");
        let column = "extra".to_owned();
        let notes = if noted {
            vec![Note::WrongType { column }]
        } else {
            vec![]
        };
        assert_eq!(mapped.notes, notes, "{field:?}");
    }
}

#[test]
fn a_number_is_the_double_that_its_text_stands_for() {
    let mut rules = rules();
    let field = ExtraField {
        pointer: "/public_metadata/price".into(),
        kind: ExtraKind::Number,
    };
    rules.extra_fields.insert("price".into(), field);
    // A reader that rounds on its way takes each of these but the last for its neighbour; Convex does not.
    for text in ["19.990000000000002", "1.1500000000000001", "0.1"] {
        let user = user_json(json!({})).replace(
            "\"object\"",
            &format!("\"public_metadata\":{{\"price\":{text}}},\"object\""),
        );
        let rows = record(Table::Users, &user, &rules).unwrap();
        let price = &rows[0].upsert.fields["price"];
        assert_eq!(price.as_f64(), text.parse().ok(), "{text}");
        assert_eq!(price.to_string(), text);
    }
}

#[test]
fn no_pointer_overwrites_a_column_that_has_a_meaning_of_its_own() {
    let mut rules = rules();
    let pointer = "/unsafe_metadata/role".to_owned();
    let kind = ExtraKind::String;
    rules
        .extra_fields
        .insert("role".into(), ExtraField { pointer, kind });
    let user = json!({"unsafe_metadata": {"role": "admin"}});
    assert_eq!(field(user, &rules, "role"), Some(json!("user")));
}

#[test]
fn what_convex_cannot_hold_is_a_fault_of_the_record() {
    let mut with_extra = rules();
    let field = ExtraField {
        pointer: "/public_metadata".into(),
        kind: ExtraKind::Json,
    };
    with_extra.extra_fields.insert("metadata".into(), field);
    let deep = format!("{{\"x\":{}{}}}", "[".repeat(500), "]".repeat(500));
    let large = format!("{{\"x\":\"{}\"}}", "x".repeat(1 << 20));
    for (metadata, rules, code) in [
        (deep.as_str(), &with_extra, "unreadable_field"),
        ("{\"x\":1e400}", &with_extra, "unreadable_field"),
        ("{\"x\":\"\\ud800\"}", &with_extra, "unreadable_field"),
        (&large, &with_extra, "too_large"),
        ("{\"role\":\"\\ud800\"}", &rules(), "malformed"),
    ] {
        let text = user_json(json!({})).replace(
            "\"object\"",
            &format!("\"public_metadata\":{metadata},\"object\""),
        );
        let error = record(Table::Users, &text, rules).unwrap_err();
        assert_eq!(error.code(), code);
        assert_eq!(error.fault(), Fault::Record);
    }
    // Unmapped metadata may be as odd as it likes: it does not leave Clerk.
    for metadata in [
        deep.as_str(),
        "{\"x\":1e400}",
        "{\"x\":\"\\ud800\",\"$y\":\"\\u0000\"}",
        &large,
    ] {
        let text = user_json(json!({})).replace(
            "\"object\"",
            &format!("\"public_metadata\":{metadata},\"object\""),
        );
        assert!(record(Table::Users, &text, &rules()).is_ok());
    }
}
