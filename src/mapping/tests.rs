//! Tables of records and rows, the published examples, and what must hold for any input.
//!
//! The rows expected here are written by hand from the rules, not taken from what the code answers.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    clerk::{samples, wire::Envelope},
    model::{ExtraField, ExtraKind},
};

pub(super) fn rules() -> UserRules {
    UserRules {
        roles: vec!["admin".into(), "editor".into(), "user".into()],
        default_role: "user".into(),
        ..UserRules::default()
    }
}

pub(super) fn user_json(changes: Value) -> String {
    let mut user = json!({"id": "user_1", "object": "user", "created_at": 10, "updated_at": 20});
    for (name, value) in changes.as_object().unwrap() {
        user[name] = value.clone();
    }
    user.to_string()
}

pub(super) fn map(changes: Value, rules: &UserRules) -> Mapped {
    let text = user_json(changes);
    user(&User::parse(&text).unwrap(), rules).unwrap()
}

pub(super) fn field(changes: Value, rules: &UserRules, column: &str) -> Option<Value> {
    map(changes, rules).upsert.fields.get(column).cloned()
}

#[test]
fn a_bare_user_becomes_a_whole_row() {
    let mapped = map(json!({}), &rules());
    assert_eq!(mapped.notes, []);
    assert_eq!(
        serde_json::to_value(mapped.into_change()).unwrap(),
        json!({"kind": "upsert", "table": "users", "key": "user_1", "createdAt": 10, "version": 20,
               "fields": {"email": "", "name": null, "username": null, "imageUrl": null, "role": "user",
                          "appId": null}})
    );
}

#[test]
fn the_mail_address_is_the_primary_one_else_the_first_else_empty() {
    let two = json!([{"id": "a", "email_address": "first@example.com"},
                     {"id": "b", "email_address": "second@example.com"}]);
    for (primary, addresses, expected) in [
        (json!("b"), two.clone(), "second@example.com"),
        (json!("c"), two.clone(), "first@example.com"),
        (json!(null), two, "first@example.com"),
        (json!("b"), json!([]), ""),
        (json!(null), json!(null), ""),
        (
            json!(null),
            json!([{"email_address": "x@example.com"}]),
            "x@example.com",
        ),
        (json!("b"), json!([{"id": "b", "email_address": null}]), ""),
    ] {
        let user = json!({"primary_email_address_id": primary, "email_addresses": addresses});
        assert_eq!(
            field(user.clone(), &rules(), "email"),
            Some(json!(expected)),
            "{user}"
        );
    }
}

#[test]
fn the_name_is_first_and_last_joined_else_null() {
    for (first, last, expected) in [
        (json!("Ada"), json!("Lovelace"), json!("Ada Lovelace")),
        (json!("Ada"), json!(null), json!("Ada")),
        (json!(null), json!("Lovelace"), json!("Lovelace")),
        (json!(""), json!(""), json!(null)),
        (json!(" "), json!(null), json!(null)),
        (
            json!("Ada\u{0}"),
            json!("O\"Hara"),
            json!("Ada\u{0} O\"Hara"),
        ),
    ] {
        let user = json!({"first_name": first, "last_name": last});
        assert_eq!(
            field(user.clone(), &rules(), "name"),
            Some(expected),
            "{user}"
        );
    }
}

#[test]
fn a_role_is_an_allowed_one_of_the_public_metadata_and_never_a_guess_upwards() {
    let unknown = vec![Note::UnknownRole];
    for (metadata, role, notes) in [
        (json!({"role": "admin"}), "admin", vec![]),
        (json!({"role": "editor"}), "editor", vec![]),
        (json!({"role": "superadmin"}), "user", unknown.clone()),
        (json!({"role": "Admin"}), "user", unknown.clone()),
        (json!({"role": " admin"}), "user", unknown.clone()),
        (json!({"role": ["admin"]}), "user", unknown.clone()),
        (json!({"role": true}), "user", unknown.clone()),
        (json!({"role": {"role": "admin"}}), "user", unknown.clone()),
        (json!({"role": ""}), "user", unknown),
        (json!({"role": null}), "user", vec![]),
        (json!({"roles": ["admin"]}), "user", vec![]),
        (json!({}), "user", vec![]),
        (json!(null), "user", vec![]),
        (json!("admin"), "user", vec![Note::OddMetadata]),
        (json!([{"role": "admin"}]), "user", vec![Note::OddMetadata]),
    ] {
        let user = json!({"public_metadata": metadata, "unsafe_metadata": {"role": "admin"},
                          "private_metadata": {"role": "admin"}, "role": "admin"});
        let mapped = map(user.clone(), &rules());
        assert_eq!(mapped.upsert.fields["role"], role, "{user}");
        assert_eq!(mapped.notes, notes, "{user}");
    }
}

#[test]
fn the_app_is_the_metadata_s_else_the_configured_one_else_null() {
    let configured = UserRules {
        app_id: Some("app_a".into()),
        ..rules()
    };
    for (metadata, rules, expected) in [
        (json!({"appId": "app_b"}), &configured, json!("app_b")),
        (json!({"appId": ""}), &configured, json!("app_a")),
        (json!({"appId": 7}), &configured, json!("app_a")),
        (json!({}), &configured, json!("app_a")),
        (json!({}), &rules(), json!(null)),
    ] {
        let user = json!({"public_metadata": metadata});
        assert_eq!(field(user, rules, "appId"), Some(expected));
    }
}

#[test]
fn the_organization_is_left_out_unless_metadata_sets_it() {
    for (metadata, expected) in [
        (json!({"organizationId": "org_1"}), Some(json!("org_1"))),
        (json!({"organizationId": ""}), None),
        (json!({"organizationId": null}), None),
        (json!({"organizationId": 5}), None),
        (json!({}), None),
    ] {
        let user = json!({"public_metadata": metadata});
        assert_eq!(field(user, &rules(), "organizationId"), expected);
    }
    let odd = map(json!({"public_metadata": {"organizationId": 5}}), &rules());
    let member = "organizationId";
    assert_eq!(odd.notes, [Note::NotAString { member }]);
}

#[test]
fn only_a_verified_primary_address_links_a_row() {
    let linking = UserRules {
        link_by_email: true,
        ..rules()
    };
    let address = |id: &str, verification: Value| json!([{"id": id, "email_address": "a@example.com", "verification": verification}]);
    for (rules, addresses, expected) in [
        (
            &linking,
            address("p", json!({"status": "verified"})),
            Some("a@example.com"),
        ),
        (
            &linking,
            address("p", json!({"status": "unverified"})),
            None,
        ),
        (&linking, address("p", json!({"status": null})), None),
        (&linking, address("p", json!(null)), None),
        (
            &linking,
            address("other", json!({"status": "verified"})),
            None,
        ),
        (&rules(), address("p", json!({"status": "verified"})), None),
    ] {
        let user = json!({"primary_email_address_id": "p", "email_addresses": addresses});
        let mapped = map(user.clone(), rules);
        assert_eq!(mapped.upsert.link_email.as_deref(), expected, "{user}");
    }
}

#[test]
fn insert_defaults_travel_beside_the_fields_and_are_no_part_of_them() {
    let mut defaults = Fields::new();
    defaults.insert("creditsBalance".into(), json!(10000));
    let rules = UserRules {
        insert_defaults: defaults.clone().into(),
        ..rules()
    };
    let mapped = map(json!({}), &rules);
    assert_eq!(mapped.upsert.insert_defaults.as_deref(), Some(&defaults));
    assert!(!mapped.upsert.fields.contains_key("creditsBalance"));
}

#[test]
fn a_profile_has_the_primary_number_else_the_first_else_null() {
    let two = json!([{"id": "a", "phone_number": "+1"}, {"id": "b", "phone_number": "+2"}]);
    for (primary, numbers, expected) in [
        (json!("b"), two.clone(), json!("+2")),
        (json!("c"), two.clone(), json!("+1")),
        (json!(null), two, json!("+1")),
        (json!("b"), json!([]), json!(null)),
    ] {
        let text = user_json(
            json!({"first_name": "Ada", "primary_phone_number_id": primary, "phone_numbers": numbers}),
        );
        let mapped = profile(&User::parse(&text).unwrap()).unwrap();
        assert_eq!(mapped.upsert.table, Table::Profiles);
        assert_eq!(
            Value::Object(mapped.upsert.fields),
            json!({"firstName": "Ada", "lastName": null, "phoneNumber": expected})
        );
    }
}

#[test]
fn an_organization_without_a_slug_has_null() {
    for slug in ["", ",\"slug\":null", ",\"slug\":\"\""] {
        let text = format!(
            "{{\"id\":\"org_1\",\"created_at\":1,\"updated_at\":2,\"name\":\"Acme\"{slug}}}"
        );
        let mapped = record(Table::Organizations, &text, &rules())
            .unwrap()
            .remove(0);
        assert_eq!(
            serde_json::to_value(mapped.into_change()).unwrap(),
            json!({"kind": "upsert", "table": "organizations", "key": "org_1", "createdAt": 1, "version": 2,
                   "fields": {"name": "Acme", "slug": null, "imageUrl": null}})
        );
    }
}

#[test]
fn a_membership_needs_both_ends_and_its_role() {
    let whole = json!({"id": "orgmem_1", "created_at": 1, "updated_at": 2, "role": "org:admin",
        "organization": {"id": "org_1"}, "public_user_data": {"user_id": "user_1"}});
    let mapped = record(Table::Memberships, &whole.to_string(), &rules())
        .unwrap()
        .remove(0);
    assert_eq!(
        Value::Object(mapped.upsert.fields),
        json!({"clerkUserId": "user_1", "clerkOrganizationId": "org_1", "role": "org:admin"})
    );
    for member in ["role", "organization", "public_user_data"] {
        let mut broken = whole.clone();
        broken.as_object_mut().unwrap().remove(member);
        let error = record(Table::Memberships, &broken.to_string(), &rules()).unwrap_err();
        assert_eq!(error.code(), "incomplete", "{member}");
    }
}

#[test]
fn every_example_record_becomes_a_row_of_contract_columns() {
    let (_, events) = samples::events();
    let mut mapped_records = 0;
    for (name, body) in &events {
        let envelope = Envelope::parse(body.as_bytes()).unwrap();
        let Some(event) = crate::clerk::wire::EventType::parse(envelope.kind.as_str()) else {
            continue;
        };
        if event.deleted {
            continue;
        }
        let data = envelope.data().unwrap();
        let source: Value = serde_json::from_str(data).unwrap();
        for mapped in record(event.table, data, &rules()).unwrap_or_else(|e| panic!("{name}: {e}"))
        {
            let upsert = mapped.upsert;
            let columns: Vec<&str> = upsert.fields.keys().map(String::as_str).collect();
            let expected: &[&str] = match upsert.table {
                Table::Users => &["appId", "email", "imageUrl", "name", "role", "username"],
                Table::Profiles => &["firstName", "lastName", "phoneNumber"],
                Table::Organizations => &["imageUrl", "name", "slug"],
                Table::Memberships => &["clerkOrganizationId", "clerkUserId", "role"],
            };
            assert_eq!(columns, expected, "{name}");
            assert_eq!(upsert.key.as_str(), source["id"], "{name}");
            assert_eq!(upsert.created_at, source["created_at"], "{name}");
            assert_eq!(upsert.version.ms(), source["updated_at"], "{name}");
            mapped_records += 1;
        }
    }
    assert!(mapped_records > 4, "only {mapped_records} rows were mapped");
}

#[test]
fn a_record_of_a_listing_is_mapped_as_its_text_is() {
    let rules = UserRules {
        extra_fields: BTreeMap::from([(
            "crm".to_owned(),
            ExtraField {
                pointer: "/private_metadata/crm".into(),
                kind: ExtraKind::Any,
            },
        )]),
        link_by_email: true,
        ..rules()
    };
    let (_, events) = samples::events();
    let mut mapped_records = 0;
    for (name, body) in &events {
        let envelope = Envelope::parse(body.as_bytes()).unwrap();
        let Ok(data) = envelope.data() else { continue };
        for table in [Table::Users, Table::Organizations, Table::Memberships] {
            let Ok(listed) = RawRecord::read(table, data) else {
                continue;
            };
            let whole = record(table, data, &rules).map(|all| {
                let rows = all.into_iter().map(|mapped| mapped.upsert);
                rows.collect::<Vec<_>>()
            });
            assert_eq!(rows(&listed, &rules, &Table::ALL), whole, "{name}");
            if let Ok(whole) = whole {
                let own = rows(&listed, &rules, &[table]).unwrap();
                assert_eq!(own, whole[..1], "{name}");
                mapped_records += 1;
            }
        }
    }
    assert!(mapped_records > 2, "only {mapped_records} were mapped");
    let odd = user_json(json!({"email_addresses": "none", "zzz": [1]}));
    let listed = RawRecord::read(Table::Users, &odd).unwrap();
    let told = rows(&listed, &rules, &Table::ALL).unwrap_err().to_string();
    assert_eq!(
        told,
        record(Table::Users, &odd, &rules).unwrap_err().to_string()
    );
}

proptest! {
    #[test]
    fn no_metadata_gives_a_role_that_is_not_allowed(role in ".{0,12}", elsewhere in ".{0,12}") {
        let user = json!({"public_metadata": {"role": role, "x": elsewhere}, "unsafe_metadata": {"role": "admin"}});
        let given = field(user, &rules(), "role").unwrap();
        prop_assert!(given == "user" || given == json!(role));
        prop_assert!(rules().roles.iter().any(|allowed| given == json!(allowed)));
    }

    #[test]
    fn any_text_of_a_person_arrives_unchanged(first in "\\PC{1,20}", address in ".{1,20}") {
        let user = json!({"first_name": first, "username": address, "email_addresses": [{"email_address": address}]});
        let mapped = map(user, &rules());
        prop_assert_eq!(&mapped.upsert.fields["username"], &json!(address));
        prop_assert_eq!(&mapped.upsert.fields["email"], &json!(address));
        let name = first.trim();
        let expected = if name.is_empty() { json!(null) } else { json!(name) };
        prop_assert_eq!(&mapped.upsert.fields["name"], &expected);
    }

    #[test]
    fn the_order_and_presence_of_unmapped_members_change_nothing(a in any::<i64>(), b in ".{0,9}") {
        let plain = map(json!({"first_name": "Ada"}), &rules());
        let noisy = map(json!({"first_name": "Ada", "aaa": a, "zzz": {"id": b}, "last_active_at": a}), &rules());
        prop_assert_eq!(plain, noisy);
    }
}
