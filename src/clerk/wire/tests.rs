//! Tests of what is read from Clerk, on the published examples and on damaged ones.
//!
//! What must hold: nothing panics, nothing is guessed, and no reason repeats what it was about.

use proptest::prelude::*;

use super::*;
use crate::{
    clerk::samples::{self, MEMBERSHIP_CREATED, USER_CREATED, USER_DELETED},
    model::Standing,
};

fn malformed(body: &str) -> (String, Option<RecordKey>) {
    match Head::parse(body.as_bytes()) {
        Err(ShapeError::Malformed { reason, names }) => (reason.to_string(), names),
        other => panic!("not malformed: {other:?}"),
    }
}

#[test]
fn every_example_event_has_a_head_or_is_of_a_type_that_is_not_synced() {
    let (_, events) = samples::events();
    for (name, body) in &events {
        let value: serde_json::Value = serde_json::from_str(body).unwrap();
        match Head::parse(body.as_bytes()) {
            Ok(head) => {
                assert_eq!(head.event.name(), value["type"], "{name}");
                assert_eq!(head.record.key.as_str(), value["data"]["id"], "{name}");
                assert_eq!(head.standing.deleted, name.contains(".deleted"), "{name}");
                let expected = if head.standing.deleted {
                    Version::from_timestamp(value["timestamp"].as_i64().unwrap())
                } else {
                    Version(value["data"]["updated_at"].as_i64().unwrap())
                };
                assert_eq!(head.standing.version, expected, "{name}");
                assert_eq!(
                    head.instance_id.as_deref(),
                    value["instance_id"].as_str(),
                    "{name}"
                );
                if head.record.table == Table::Memberships {
                    let parents = head.parents.unwrap();
                    let user = &value["data"]["public_user_data"]["user_id"];
                    assert_eq!(parents.user.unwrap().as_str(), user, "{name}");
                    let organization = &value["data"]["organization"]["id"];
                    assert_eq!(
                        parents.organization.unwrap().as_str(),
                        organization,
                        "{name}"
                    );
                }
            }
            Err(ShapeError::NotSynced(kind)) => assert_eq!(&*kind, "session.created", "{name}"),
            Err(other) => panic!("{name}: {other}"),
        }
    }
}

#[test]
fn whitespace_escapes_and_order_of_members_make_no_difference() {
    let plain = Head::parse(USER_CREATED.as_bytes()).unwrap();
    let odd = USER_CREATED
        .replace("\"id\":\"user_", "\n\t\"\\u0069d\" :\r\n \"\\u0075ser_")
        .replace("\"updated_at\"", "\"\\u0075pdated_at\"");
    let head = Head::parse(odd.as_bytes()).unwrap();
    assert_eq!(head.record, plain.record);
    assert_eq!(head.standing, plain.standing);
    assert_ne!(head.fingerprint, plain.fingerprint);
}

#[test]
fn the_last_of_a_repeated_member_wins() {
    let body = r#"{"type":"session.created","type":"user.deleted","timestamp":1,"timestamp":1762948024900,
        "data":{"id":"user_1","deleted":false,"id":"user_2","deleted":true}}"#;
    let head = Head::parse(body.as_bytes()).unwrap();
    assert_eq!(head.record.key.as_str(), "user_2");
    assert_eq!(head.standing, Standing::gone(Version(1_762_948_024_900)));
}

#[test]
fn a_deletion_takes_its_version_from_the_envelope_in_either_unit() {
    let head = Head::parse(USER_DELETED.as_bytes()).unwrap();
    assert_eq!(head.standing, Standing::gone(Version(1_762_948_024_000)));
    assert_eq!(head.deletion().unwrap().key(), &head.record.key);
    let alive = Head::parse(USER_CREATED.as_bytes()).unwrap();
    assert_eq!(alive.deletion(), None);
}

#[test]
fn a_deletion_that_does_not_say_so_everywhere_is_not_believed_but_names_its_record() {
    for (from, to, reason) in [
        (
            "\"deleted\":true",
            "\"deleted\":false",
            "data.deleted is not true in a deletion",
        ),
        (
            ",\"deleted\":true",
            "",
            "data.deleted is not true in a deletion",
        ),
        (
            "\"timestamp\":1762948024,",
            "",
            "event.timestamp is missing in a deletion",
        ),
        (
            "\"object\":\"user\"",
            "\"object\":\"organization\"",
            "data.object is not what the event's type says",
        ),
    ] {
        let (said, names) = malformed(&USER_DELETED.replace(from, to));
        assert_eq!(said, reason);
        assert_eq!(
            names.unwrap().to_string(),
            "users/user_3aaaaaaaaaaaaaaaaaaaaaaaaaa"
        );
    }
}

#[test]
fn what_order_rests_on_is_insisted_on_and_the_reason_repeats_nothing() {
    let user = USER_CREATED;
    for (from, to, reason) in [
        (
            ",\"updated_at\":1762939021626",
            "",
            "data.updated_at is missing",
        ),
        (
            ",\"updated_at\":1762939021626",
            ",\"updated_at\":\"Mary\"",
            "data.updated_at has the wrong type",
        ),
        (
            ",\"updated_at\":1762939021626",
            ",\"updated_at\":null",
            "data.updated_at has the wrong type",
        ),
        ("1762939021626", "1.5", "data.updated_at is out of range"),
        (
            "1762939021626",
            "9007199254740993",
            "data.updated_at is out of range",
        ),
        (
            "\"created_at\":1762939021608,",
            "",
            "data.created_at is missing",
        ),
    ] {
        let (said, names) = malformed(&user.replace(from, to));
        assert!(said.starts_with(reason), "{said}");
        assert!(!said.contains("Mary"), "{said}");
        assert_eq!(names.unwrap().table, Table::Users);
    }
    let float = user.replace("1762939021626", "1762939021626.0");
    assert_eq!(
        Head::parse(float.as_bytes()).unwrap().standing,
        Standing::alive(Version(1_762_939_021_626))
    );
}

#[test]
fn a_broken_outside_hides_neither_the_record_nor_whose_it_is() {
    let (time, kind) = ("\"timestamp\":1762948024", "\"type\":\"user.deleted\"");
    for (from, to) in [
        (time, "\"timestamp\":\"now\""),
        (time, "\"timestamp\":1762948024000.5"),
        (kind, "\"type\":7"),
        (kind, "\"kind\":\"user.deleted\""),
    ] {
        let body = USER_DELETED.replace(from, to);
        let (_, names) = malformed(&body);
        let key = "users/user_3aaaaaaaaaaaaaaaaaaaaaaaaaa";
        assert_eq!(names.unwrap().to_string(), key, "{to}");
        let rough = Rough::parse(body.as_bytes());
        assert_eq!(rough.instance(), Some("ins_a"), "{to}");
        let known = (from == time).then_some("user.deleted");
        assert_eq!(rough.event().map(EventType::name), known, "{to}");
    }
    let other = USER_DELETED.replace("user.deleted", "session.ended");
    let other = other.replace(time, "\"timestamp\":[]");
    assert!(matches!(
        Head::parse(other.as_bytes()),
        Err(ShapeError::NotSynced(_))
    ));
}

#[test]
fn an_empty_name_is_no_instance() {
    let nobodys = USER_CREATED.replace("ins_a", "");
    assert_eq!(Head::parse(nobodys.as_bytes()).unwrap().instance_id, None);
    let envelope = Envelope::parse(nobodys.as_bytes()).unwrap();
    assert_eq!(envelope.instance(), None);
}

#[test]
fn what_is_not_an_event_is_refused_without_a_name() {
    for body in [
        "",
        "null",
        "[]",
        "{}",
        "{",
        "\u{feff}{}",
        "{\"type\":7}",
        "{\"type\":\"user.created\"}",
        "{\"type\":\"user.created\",\"data\":null}",
        "{\"type\":\"user.created\",\"data\":[]}",
        "{\"type\":\"user.created\",\"data\":{}} x",
        "{\"type\":\"user.created\",\"data\":{\"id\":\"ü\"}}",
    ] {
        let (_, names) = malformed(body);
        assert_eq!(names, None, "{body}");
    }
    assert!(matches!(
        Head::parse(b"{\"type\":\"user.created\",\"data\":{\"id\":\"\xff\"}}"),
        Err(ShapeError::Malformed { .. })
    ));
}

#[test]
fn a_membership_must_name_both_ends_unless_it_is_gone() {
    let without = MEMBERSHIP_CREATED.replace("\"user_id\"", "\"userId\"");
    let (reason, names) = malformed(&without);
    assert_eq!(reason, "data.public_user_data.user_id is missing");
    assert_eq!(names.unwrap().table, Table::Memberships);
    let gone = without.replace("Membership.created", "Membership.deleted");
    let head = Head::parse(gone.as_bytes()).unwrap();
    assert_eq!(head.parents.unwrap().user, None);
}

#[test]
fn an_instance_that_could_do_harm_where_it_is_shown_is_none() {
    for id in ["ins_a\\n{}", "ins_\\u001b[31m", &"i".repeat(97)] {
        let (said, names) = malformed(&USER_CREATED.replace("\"ins_a\"", &format!("\"{id}\"")));
        assert_eq!(said, "event.instance_id is not an id of Clerk's");
        let key = "users/user_3aaaaaaaaaaaaaaaaaaaaaaaaaa";
        assert_eq!(names.unwrap().to_string(), key);
    }
}

#[test]
fn unknown_types_are_named_only_if_harmless() {
    for (kind, name) in [
        ("session.ended", "session.ended"),
        ("a\\nb", "other"),
        ("", "other"),
    ] {
        let body = format!("{{\"type\":\"{kind}\",\"data\":{{}}}}");
        assert_eq!(
            Head::parse(body.as_bytes()),
            Err(ShapeError::NotSynced(name.into()))
        );
    }
}

#[test]
fn nesting_that_would_exhaust_a_stack_is_skipped_or_refused() {
    let deep = "[".repeat(200_000) + &"]".repeat(200_000);
    let body = USER_CREATED.replace("{\"crm\":7}", &deep);
    assert!(Head::parse(body.as_bytes()).is_ok());
    let body = USER_CREATED.replace("\"editor\"", &deep);
    let text = Envelope::parse(body.as_bytes())
        .unwrap()
        .data()
        .unwrap()
        .to_owned();
    // A role this deep is no role; reading it must end, either way.
    let _ = User::parse(&text);
}

#[test]
fn an_unreadable_member_of_a_user_is_named_by_its_path() {
    let body = USER_CREATED.replace("\"mary@example.com\"", "[\"mary@example.com\"]");
    let text = Envelope::parse(body.as_bytes())
        .unwrap()
        .data()
        .unwrap()
        .to_owned();
    let error = User::parse(&text).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("data.email_addresses[1].email_address has the wrong type"),
        "{error}"
    );
    assert!(!format!("{error:?}").contains("mary"));
}

#[test]
fn debug_shows_nothing_personal() {
    let envelope = Envelope::parse(USER_CREATED.as_bytes()).unwrap();
    let user = User::parse(envelope.data().unwrap()).unwrap();
    let shown = format!(
        "{envelope:?} {user:?} {:?} {:?}",
        user.email_addresses, user.first_name
    );
    for personal in ["Mary", "mary@", "+1555", "editor"] {
        assert!(!shown.contains(personal), "{shown}");
    }
}

/// Not an assertion on speed, which would fail on a busy machine: prints what a head costs.
#[test]
fn the_cost_of_a_head_is_measured() {
    let (_, events) = samples::events();
    let bytes: usize = events.iter().map(|(_, body)| body.len()).sum();
    let began = std::time::Instant::now();
    let rounds = 200;
    let mut read = 0;
    for _ in 0..rounds {
        read += events
            .iter()
            .filter(|(_, body)| Head::parse(body.as_bytes()).is_ok())
            .count();
    }
    assert!(read >= rounds);
    let each = began.elapsed() / (rounds * events.len()) as u32;
    println!("{each:?} a head, {} bytes on average", bytes / events.len());
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Head::parse(&body);
    }

    #[test]
    fn a_damaged_event_is_read_or_refused_and_never_panics(at in 0usize..USER_CREATED.len(), byte in any::<u8>()) {
        let mut body = USER_CREATED.as_bytes().to_vec();
        body[at] = byte;
        if let Ok(head) = Head::parse(&body) {
            prop_assert_eq!(head.record.table, Table::Users);
        }
    }

    #[test]
    fn any_whole_number_below_2_to_53_is_a_version(version in -Millis::MAX..=Millis::MAX) {
        let body = USER_CREATED.replace("1762939021626", &version.to_string());
        prop_assert_eq!(Head::parse(body.as_bytes()).unwrap().standing, Standing::alive(Version(version)));
    }
}
