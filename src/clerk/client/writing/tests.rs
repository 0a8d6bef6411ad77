//! Changes sent to a scripted Clerk: what goes over the wire, and what is believed of what comes back.

use std::sync::Arc;

use secrecy::SecretString;
use serde_json::{Value, json};

use super::*;
use crate::{
    clerk::{Pace, client::Options},
    model::Fault,
    outbound::{
        Dialer,
        scripted::{Heard, answer, script},
    },
};

fn key(text: &str) -> Key {
    Key::parse(text).unwrap()
}

fn clerk(answers: &[(u16, Value)]) -> (ClerkClient, Heard) {
    let answers = answers.iter();
    let bytes = answers.map(|(status, body)| answer(*status, "", &body.to_string()));
    let (api_url, heard) = script(bytes.collect(), false);
    let client = ClerkClient::new(Options {
        api_url,
        secret_key: SecretString::from("sk_test_hush"),
        timeout: std::time::Duration::from_secs(5),
        dialer: Dialer::default(),
        on_request: Arc::new(|_, _, _| {}),
        pace: Pace::unlimited(),
    });
    (client.unwrap(), heard)
}

fn user(id: &str) -> Value {
    json!({"id": id, "object": "user", "created_at": 1, "updated_at": 2, "first_name": "Ada"})
}

fn not_found() -> Value {
    json!({"errors": [{"message": "not found", "long_message": "x", "code": "resource_not_found"}]})
}

#[tokio::test]
async fn a_change_sends_only_what_is_set_and_answers_with_the_user() {
    let (client, heard) = clerk(&[(200, user("user_1")), (200, user("user_1"))]);
    assert!(ClerkWriter::permitted(&client, Permit::default()).is_none());
    let permit = Permit {
        profiles: true,
        metadata: true,
    };
    let writer = ClerkWriter::permitted(&client, permit).unwrap();
    let patch = ProfilePatch {
        first_name: Some(Some("Augusta".into())),
        last_name: Some(None),
        username: None,
    };
    let shown = writer.update_user(&key("user_1"), &patch).await.unwrap();
    assert_eq!(shown.version().ms(), 2);
    let Value::Object(private) = json!({"convexUserId": "k17", "syncedAt": 5}) else {
        unreachable!()
    };
    let merged = writer.merge_user_metadata(&key("user_1"), &private).await;
    merged.unwrap();
    assert!(!format!("{patch:?} {writer:?}").contains("Augusta"));
    let heard = heard.lock().unwrap();
    let (first, second) = (heard[0].to_lowercase(), heard[1].to_lowercase());
    assert!(first.starts_with("patch /v1/users/user_1 "), "{first}");
    assert!(first.contains("content-type: application/json"), "{first}");
    assert!(
        first.ends_with(r#"{"first_name":"augusta","last_name":null}"#),
        "{first}"
    );
    assert!(
        second.starts_with("patch /v1/users/user_1/metadata "),
        "{second}"
    );
    let merged = r#"{"private_metadata":{"convexuserid":"k17","syncedat":5}}"#;
    assert!(second.ends_with(merged), "{second}");
}

#[tokio::test]
async fn a_change_that_clerk_refuses_or_answers_with_another_user_is_none() {
    let unfit = json!({"errors": [{"message": "x", "long_message": "Ada is too long", "code": "form_param_exceeds_allowed_size"}]});
    for (status, body, fault, code) in [
        (422, unfit, Fault::Record, "form_param_exceeds_allowed_size"),
        (404, not_found(), Fault::Refused, "resource_not_found"),
        (
            429,
            json!({}),
            Fault::Service { retry_after: None },
            "http_429",
        ),
        (
            200,
            user("user_2"),
            Fault::Service { retry_after: None },
            "nonsense",
        ),
    ] {
        let (client, _) = clerk(&[(status, body)]);
        let permit = Permit {
            profiles: true,
            metadata: false,
        };
        let writer = ClerkWriter::permitted(&client, permit).unwrap();
        let patch = ProfilePatch::default();
        let error = writer
            .update_user(&key("user_1"), &patch)
            .await
            .unwrap_err();
        assert_eq!((error.fault(), error.code()), (fault, code));
        assert!(!error.to_string().contains("Ada"));
    }
}
