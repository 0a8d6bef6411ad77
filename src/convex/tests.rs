//! Calls against a scripted deployment: what goes over the wire, and what is believed of what comes back.
//!
//! Requests are compared with the contract as text and JSON of their own, not through the wire types.

use std::{sync::Arc, time::Duration};

use secrecy::SecretString;
use serde_json::{Value, json};

use super::{
    Deployment, Options,
    deployment::CallError,
    reader::{Range, Reader},
    wire::{EditResult, Encoded, Row, Settlement},
    writer::Writer,
};
use crate::{
    model::{
        Change, ConfirmedDelete, DeleteMode, Fault, Fields, Key, Outcome, Table, Upsert, Version,
    },
    outbound::{
        Dialer,
        scripted::{Heard, answer, serve},
    },
};

fn key(text: &str) -> Key {
    Key::parse(text).unwrap()
}

fn deployment(reply: &Value) -> (Deployment, Heard) {
    deployment_answering(answer(200, "", &reply.to_string()))
}

fn deployment_answering(bytes: Vec<u8>) -> (Deployment, Heard) {
    let (url, heard) = serve(bytes, false);
    let deployment = Deployment::new(Options {
        url,
        deploy_key: SecretString::from("prod:quiet-otter-1|hush"),
        module: "clerkSync".into(),
        timeout: Duration::from_secs(5),
        dialer: Dialer::default(),
        on_request: Arc::new(|_, _, _| {}),
    });
    (deployment.unwrap(), heard)
}

/// The head and the JSON body of the only request.
fn request(heard: &Heard) -> (String, Value) {
    let heard = heard.lock().unwrap();
    assert_eq!(heard.len(), 1, "{heard:?}");
    let (head, body) = heard[0].split_once("\r\n\r\n").unwrap();
    (head.to_owned(), serde_json::from_str(body).unwrap())
}

fn success(value: Value) -> Value {
    json!({"status": "success", "value": value})
}

fn two_changes() -> Vec<Change> {
    let mut fields = Fields::new();
    fields.insert("name".into(), json!("Ada \u{1f468} \"x\""));
    let upsert = Upsert {
        table: Table::Users,
        key: key("user_1"),
        created_at: 1,
        version: Version(2),
        fields,
        insert_defaults: None,
        link_email: None,
        revive: None,
        merge: None,
    };
    let gone = ConfirmedDelete::by_event(Table::Memberships, key("orgmem_1"));
    vec![
        Change::Upsert(upsert),
        Change::delete(&gone, DeleteMode::Hard, None),
    ]
}

#[tokio::test]
async fn apply_sends_what_the_contract_says_and_pairs_the_outcomes() {
    let outcomes = json!({"outcomes": [{"key": "user_1", "outcome": "created", "id": "k17"},
                                       {"key": "orgmem_1", "outcome": "absent"}]});
    let (deployment, heard) = deployment(&success(outcomes));
    let applied = Writer::new(deployment).apply(&two_changes()).await.unwrap();
    let told: Vec<_> = applied
        .iter()
        .map(|a| (a.key.as_str(), a.outcome, a.id.as_deref()))
        .collect();
    assert_eq!(
        told,
        [
            ("user_1", Outcome::Created, Some("k17")),
            ("orgmem_1", Outcome::Absent, None)
        ]
    );
    let (head, body) = request(&heard);
    let head = head.to_lowercase();
    for line in [
        "post /api/mutation http/1.1",
        "authorization: convex prod:quiet-otter-1|hush",
        "content-type: application/json",
        concat!(
            "convex-client: clerk-convex-sync-",
            env!("CARGO_PKG_VERSION")
        ),
    ] {
        assert!(head.contains(line), "{line} is not in {head}");
    }
    assert_eq!(
        body,
        json!({"path": "clerkSync:apply", "format": "json", "args": {"changes": [
            {"kind": "upsert", "table": "users", "key": "user_1", "createdAt": 1, "version": 2,
             "fields": {"name": "Ada \u{1f468} \"x\""}},
            {"kind": "delete", "table": "memberships", "key": "orgmem_1", "mode": "hard"}]}})
    );
}

#[tokio::test]
async fn outcomes_that_do_not_match_the_changes_are_not_believed() {
    let one = json!({"key": "user_1", "outcome": "created"});
    let other = json!({"key": "orgmem_1", "outcome": "deleted"});
    for outcomes in [
        json!([]),
        json!([one]),
        json!([one, other, other]),
        json!([other, one]),
        json!([one, {"key": "orgmem_1", "outcome": "exploded"}]),
        json!([one, {"key": "orgmem_1"}]),
        json!({}),
    ] {
        let (deployment, _) = deployment(&success(json!({"outcomes": outcomes})));
        let error = Writer::new(deployment)
            .apply(&two_changes())
            .await
            .unwrap_err();
        assert_eq!(error.code(), "off_contract", "{outcomes}");
        assert_eq!(error.fault(), Fault::Service { retry_after: None });
    }
}

#[tokio::test]
async fn a_refused_record_and_a_wait_arrive_as_such() {
    let data = json!({"status": "error", "errorMessage": "x", "errorData": {"code": "too_large", "key": "user_1"}});
    let (refusing, _) = deployment(&data);
    let error = Writer::new(refusing)
        .apply(&two_changes())
        .await
        .unwrap_err();
    assert_eq!((error.code(), error.fault()), ("too_large", Fault::Record));

    let (busy, _) = deployment_answering(answer(429, "retry-after: 4\r\n", "{}"));
    let error = Writer::new(busy).apply(&two_changes()).await.unwrap_err();
    let retry_after = Some(Duration::from_secs(4));
    assert_eq!(error.fault(), Fault::Service { retry_after });
}

#[tokio::test]
async fn nothing_to_write_or_to_ask_is_no_call() {
    let (deployment, heard) = deployment(&success(json!({})));
    assert_eq!(
        Writer::new(deployment.clone()).apply(&[]).await.unwrap(),
        []
    );
    let page = Reader::new(deployment)
        .get(Table::Users, &[])
        .await
        .unwrap();
    assert!(page.rows.is_empty() && heard.lock().unwrap().is_empty());
}

#[tokio::test]
async fn describe_reads_a_contract_that_is_printed_as_a_double() {
    let reply = success(json!({"contract": 1.0, "tables": ["users"]}));
    let (deployment, heard) = deployment(&reply);
    let said = Reader::new(deployment).describe().await.unwrap();
    assert_eq!(
        (said.contract, said.tables),
        (super::wire::CONTRACT, vec!["users".into()])
    );
    let (head, body) = request(&heard);
    assert!(head.starts_with("POST /api/query "), "{head}");
    assert_eq!(
        body,
        json!({"path": "clerkSync:describe", "args": {}, "format": "json"})
    );
}

#[tokio::test]
async fn a_page_is_read_as_convex_prints_it() {
    let row = |id: &str, key: &str, times: Value| json!({"id": id, "key": key, "createdAt": times[0], "version": times[1], "deletedAt": times[2], "fields": {"name": "Ada"}});
    let records = json!([
        row(
            "a",
            "user_1",
            json!([1762939021608.0, 1762939021626.75, null])
        ),
        row("b", "user_1", json!([null, "NaN", "Infinity"])),
        row("c", "not a key", json!([null, null, null])),
        row("d", "user_2", json!([1, 2, 3.0])),
    ]);
    let reply = success(json!({"records": records, "cursor": "c2"}));
    let (deployment, heard) = deployment(&reply);
    let range = Range {
        from: Some(5),
        before: None,
    };
    let page = Reader::new(deployment)
        .list(Table::Users, range, Some("c1"), 9_999_999)
        .await
        .unwrap();
    let times: Vec<_> = page
        .rows
        .iter()
        .map(|r: &Row| {
            (
                r.id.as_str(),
                r.created_at,
                r.version.map(Version::ms),
                r.deleted_at,
            )
        })
        .collect();
    assert_eq!(
        times,
        [
            ("a", Some(1762939021608), Some(1762939021626), None),
            ("b", None, None, None),
            ("d", Some(1), Some(2), Some(3)),
        ]
    );
    assert_eq!(
        (page.odd, page.cursor.as_deref()),
        (vec!["c".to_owned()], Some("c2"))
    );
    assert_eq!(
        request(&heard).1["args"],
        json!({"table": "users", "from": 5, "before": null, "cursor": "c1", "limit": 4000})
    );
}

#[tokio::test]
async fn a_listing_that_stands_still_or_overflows_is_not_believed() {
    let row = json!({"id": "a", "key": "user_1", "createdAt": null, "version": null, "deletedAt": null, "fields": {}});
    for (value, limit) in [
        (json!({"records": [], "cursor": "c1"}), 10),
        (json!({"records": [row, row], "cursor": null}), 1),
        (
            json!({"records": [{"id": "a", "key": "user_1"}], "cursor": null}),
            10,
        ),
        (json!({"cursor": null}), 10),
        (
            json!({"records": [{"id": "a", "key": "user_1", "createdAt": "1", "fields": {}}]}),
            10,
        ),
    ] {
        let (deployment, _) = deployment(&success(value.clone()));
        let listing = Reader::new(deployment);
        let error = listing
            .list(Table::Users, Range::default(), Some("c1"), limit)
            .await;
        assert_eq!(error.unwrap_err().code(), "off_contract", "{value}");
    }
}

#[tokio::test]
async fn get_returns_only_what_was_asked_for() {
    let row = json!({"id": "a", "key": "user_1", "createdAt": 1.0, "version": 2.0, "deletedAt": null, "fields": {}});
    let reply = success(json!({"records": [row, row]}));
    let (deployment, heard) = deployment(&reply);
    let reader = Reader::new(deployment);
    let page = reader
        .get(Table::Users, &[key("user_1"), key("user_2")])
        .await
        .unwrap();
    assert_eq!(page.rows.len(), 2);
    assert_eq!(
        request(&heard).1["args"],
        json!({"table": "users", "keys": ["user_1", "user_2"]})
    );
    let error = reader
        .get(Table::Users, &[key("user_3")])
        .await
        .unwrap_err();
    assert_eq!(error.code(), "off_contract");
}

#[tokio::test]
async fn edits_are_read_and_settled_as_the_contract_says() {
    let one = json!({"id": "e1", "key": "user_1", "fields": {"firstName": "Ada", "lastName": null}, "editedAt": 1762939021608.5});
    let odd = json!({"id": "e2", "key": "not a key", "fields": {}, "editedAt": 2});
    let (asked, heard) = deployment(&success(json!({"edits": [one, odd]})));
    let edits = Reader::new(asked).edits(9_999_999).await.unwrap();
    assert_eq!(request(&heard).1["args"], json!({"limit": 1000}));
    assert_eq!(
        (edits[0].key.clone(), edits[0].edited_at),
        (Some(key("user_1")), 1762939021608)
    );
    assert_eq!(edits[0].fields["firstName"].as_deref(), Some("Ada"));
    assert_eq!(
        (edits[0].fields["lastName"].clone(), edits[1].key.clone()),
        (None, None)
    );
    assert!(!format!("{edits:?}").contains("Ada"));

    let settled = [
        Settlement {
            id: "e1".into(),
            result: EditResult::Done,
        },
        Settlement {
            id: "e2".into(),
            result: EditResult::Refused {
                reason: "no_user".into(),
            },
        },
    ];
    let (told, heard) = deployment(&success(json!({"settled": 1.0})));
    assert_eq!(Writer::new(told).settle(&settled).await.unwrap(), 1);
    let (head, body) = request(&heard);
    assert!(head.starts_with("POST /api/mutation "), "{head}");
    assert_eq!(
        body["args"],
        json!({"settled": [{"id": "e1", "result": "done"}, {"id": "e2", "result": "refused", "reason": "no_user"}]})
    );
    let (odd, _) = deployment(&success(json!({"settled": 3})));
    let error = Writer::new(odd).settle(&settled).await.unwrap_err();
    assert_eq!(error.code(), "off_contract");
    let (none, heard) = deployment(&success(json!({})));
    assert_eq!(Writer::new(none).settle(&[]).await.unwrap(), 0);
    assert!(heard.lock().unwrap().is_empty());
}

#[test]
fn an_encoded_change_knows_its_exact_size_and_shows_nothing() {
    for change in two_changes() {
        let encoded = Encoded::of(&change);
        assert_eq!(
            encoded.bytes(),
            serde_json::to_string(&change).unwrap().len()
        );
        assert_eq!(
            (encoded.table(), encoded.key()),
            (change.table(), change.key())
        );
        assert!(!format!("{encoded:?}").contains("Ada"));
    }
}

#[test]
fn a_key_that_no_header_can_carry_is_our_own_fault() {
    let made = Deployment::new(Options {
        url: "http://localhost:1".parse().unwrap(),
        deploy_key: SecretString::from("with\nline break"),
        module: "clerkSync".into(),
        timeout: Duration::from_secs(1),
        dialer: Dialer::default(),
        on_request: Arc::new(|_, _, _| {}),
    });
    let error = made.unwrap_err();
    assert_eq!(error.fault(), Fault::Ours);
    assert!(!error.to_string().contains("line break"));
    assert!(matches!(error, CallError::Exchange(_)));
}
