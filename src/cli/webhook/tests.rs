//! `webhook send` against a listener that checks signatures with the sender's own library.
//!
//! The listener answers as the contract says and keeps what it took, so that signature, id and body are
//! looked at as they arrive.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};

use super::*;
use crate::{cli::output::Output, config::Env};

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

type Seen = Arc<Mutex<Vec<(String, serde_json::Value)>>>;

async fn take(State(seen): State<Seen>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let verified = Webhook::new(SECRET).unwrap().verify(&body, &headers);
    if verified.is_err() {
        return StatusCode::UNAUTHORIZED;
    }
    let id = headers["svix-id"].to_str().unwrap().to_owned();
    let event = serde_json::from_slice(&body).unwrap();
    seen.lock().unwrap().push((id, event));
    StatusCode::OK
}

async fn listener() -> (String, Seen) {
    let seen = Seen::default();
    let app = Router::new()
        .route("/api/webhooks/clerk", post(take))
        .with_state(seen.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, app).await });
    (address, seen)
}

fn context(address: &str, secret: &str) -> Context {
    let env = Env::new([
        ("CLERK_WEBHOOK_SECRET", secret),
        ("CCS_LISTEN__ADDRESS", address),
    ]);
    Context {
        config: None,
        output: Output::new(&env),
        env,
    }
}

fn args(event_type: EventType) -> SendArgs {
    SendArgs {
        event_type,
        user: None,
        url: None,
        id: None,
        data: None,
        json: JsonArg { json: false },
    }
}

#[tokio::test]
async fn the_event_is_signed_and_posted_to_the_configured_listener() {
    let (address, seen) = listener().await;
    let context = context(&address, SECRET);
    let args = SendArgs {
        user: Some("user_1".to_owned()),
        id: Some("msg_own".to_owned()),
        ..args(EventType::UserUpdated)
    };
    assert_eq!(send(&args, &context).await, Ok(Exit::Done));
    let seen = seen.lock().unwrap();
    assert_eq!(seen[0].0, "msg_own");
    assert_eq!(seen[0].1["type"], "user.updated");
    assert_eq!(seen[0].1["data"]["id"], "user_1");
}

#[tokio::test]
async fn a_refused_event_is_a_failure() {
    let (address, seen) = listener().await;
    let other = context(&address, "whsec_b3RoZXIgc2VjcmV0IG9mIHRoZSB0ZXN0");
    let sent = send(&args(EventType::UserCreated), &other).await;
    assert_eq!(sent, Ok(Exit::Failed));
    assert!(seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_own_body_is_sent_byte_for_byte() {
    let (address, seen) = listener().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "{ \"type\" : \"own\" }").unwrap();
    let args = SendArgs {
        data: Some(file.path().to_owned()),
        ..args(EventType::UserCreated)
    };
    let sent = send(&args, &context(&address, SECRET)).await;
    assert_eq!(sent, Ok(Exit::Done));
    assert_eq!(seen.lock().unwrap()[0].1["type"], "own");
}

#[tokio::test]
async fn nobody_there_is_told_with_what_to_do() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let failure = send(&args(EventType::UserCreated), &context(&address, SECRET))
        .await
        .unwrap_err();
    assert_eq!(failure.exit, Exit::Unreachable);
    assert!(failure.complaints[0].help.is_some());
}

#[test]
fn the_listener_is_reached_from_this_machine() {
    let url = |pairs: &[(&str, &str)]| {
        let mut pairs = pairs.to_vec();
        pairs.push(("CLERK_WEBHOOK_SECRET", SECRET));
        let sending = Sending::load(None, &Env::new(pairs)).unwrap();
        default_url(&sending.listen).map(|url| url.to_string())
    };
    assert_eq!(
        url(&[]).unwrap(),
        "http://127.0.0.1:8787/api/webhooks/clerk"
    );
    let behind = [
        ("CCS_LISTEN__ADDRESS", "[::]:9000"),
        ("CCS_LISTEN__BEHIND_PROXY", "true"),
        ("CCS_LISTEN__WEBHOOK_PATHS", "/hook"),
    ];
    assert_eq!(url(&behind).unwrap(), "http://[::1]:9000/hook");
    assert!(url(&[("CCS_LISTEN__ADDRESS", "127.0.0.1:0")]).is_err());
}

#[test]
fn the_answer_is_told_in_lines() {
    let sent = Sent {
        id: "msg_1".to_owned(),
        event_type: "user.created",
        url: "http://127.0.0.1:8787/x".to_owned(),
        status: 429,
        elapsed_ms: 3.21,
        accepted: false,
        retry_after: Some("7".to_owned()),
        hint: answers::hint(429).map(str::to_owned),
    };
    insta::assert_snapshot!(sent.text(Paint::PLAIN), @r"
    429 user.created as msg_1 in 3.2 ms
    posted to http://127.0.0.1:8787/x
    to be tried again after: 7
    hint: over the rate limit (`listen.rate_per_second`); the sender tries again by itself
    ");
}
