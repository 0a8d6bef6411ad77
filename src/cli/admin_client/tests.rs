//! The client against a real socket: what the daemon answers, and what is there when it does not.
//!
//! A few routes stand in for the daemon, since only the way there and back is looked at. Each reason not
//! to get an answer must be told apart, because commands go on differently after each.

use std::os::unix::fs::PermissionsExt;

use axum::{
    Json, Router,
    http::{HeaderMap, StatusCode},
    routing::get,
};
use serde_json::json;
use tokio::net::{TcpListener, UnixListener};

use super::*;
use crate::cli::exit::Exit;

fn app() -> Router {
    Router::new()
        .route("/status", get(|| async { Json(json!({ "version": "1" })) }))
        .route(
            "/refuse",
            get(|| async { (StatusCode::CONFLICT, Json(json!({ "error": "not now" }))) }),
        )
        .route(
            "/odd",
            get(|| async { (StatusCode::BAD_GATEWAY, "<html>") }),
        )
        .route(
            "/token",
            get(|headers: HeaderMap| async move {
                Json(json!({ "got": headers["authorization"].to_str().unwrap() }))
            }),
        )
}

fn admin(socket: PathBuf) -> Admin {
    Admin {
        socket,
        address: None,
        token: None,
        operate_token: None,
        read_token: None,
        readers: Vec::new(),
    }
}

#[tokio::test]
async fn the_daemon_is_asked_over_its_socket() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("admin.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move { axum::serve(listener, app()).await });
    let client = AdminClient::new(&admin(socket)).unwrap();
    assert_eq!(client.get("/status").await.unwrap()["version"], "1");

    let refused = client.get("/refuse").await.unwrap_err();
    assert!(matches!(
        &refused,
        AdminError::Refused { status: StatusCode::CONFLICT, message } if message == "not now"
    ));
    assert_eq!(Failure::from(refused).exit, Exit::Failed);

    let odd = client.get("/odd").await.unwrap_err();
    assert!(matches!(&odd, AdminError::Foreign { .. }), "{odd:?}");
}

#[tokio::test]
async fn the_address_is_asked_with_the_token_when_there_is_no_socket() {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app()).await });
    let client = AdminClient::new(&Admin {
        address: Some(address),
        token: Some(Secret::from("a token of the test")),
        ..admin(dir.path().join("admin.sock"))
    })
    .unwrap();
    let answer = client.get("/token").await.unwrap();
    assert_eq!(answer["got"], "Bearer a token of the test");
    assert!(!format!("{client:?}").contains("of the test"));
}

#[tokio::test]
async fn a_missing_socket_is_an_absent_daemon() {
    let error = AdminClient::new(&admin("/nonexistent/admin.sock".into())).unwrap_err();
    assert!(error.is_absence());
    let failure = Failure::from(error);
    assert_eq!(failure.exit, Exit::Unreachable);
    let told = &failure.complaints[0];
    assert!(told.message.contains("/nonexistent/admin.sock"), "{told:?}");
    assert!(
        told.help
            .as_deref()
            .unwrap()
            .contains("clerk-convex-sync run")
    );
}

#[tokio::test]
async fn a_socket_left_behind_is_an_absent_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("admin.sock");
    drop(UnixListener::bind(&socket).unwrap());
    let client = AdminClient::new(&admin(socket)).unwrap();
    let error = client.get("/status").await.unwrap_err();
    assert!(error.is_absence(), "{error:?}");
}

#[tokio::test]
async fn a_socket_of_another_user_is_not_an_absent_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("admin.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    std::fs::set_permissions(&socket, PermissionsExt::from_mode(0o000)).unwrap();
    if rustix::process::geteuid().is_root() {
        // Root may open everything: the kernel cannot be made to refuse, so only the mapping of its
        // refusal is looked at.
        let failure = Failure::from(AdminError::Forbidden {
            place: "x".to_owned(),
        });
        assert_eq!(failure.exit, Exit::Unreachable);
        return;
    }
    let client = AdminClient::new(&admin(socket)).unwrap();
    let error = client.get("/status").await.unwrap_err();
    assert!(matches!(&error, AdminError::Forbidden { .. }), "{error:?}");
    assert!(!error.is_absence());
}

#[tokio::test]
async fn a_daemon_that_hangs_up_did_not_answer() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("admin.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move {
        loop {
            drop(listener.accept().await);
        }
    });
    let client = AdminClient::new(&admin(socket)).unwrap();
    let error = client.get("/status").await.unwrap_err();
    assert!(matches!(&error, AdminError::Broken { .. }), "{error:?}");
    assert_eq!(Failure::from(error).exit, Exit::Unreachable);
}
