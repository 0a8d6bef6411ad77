//! Who may do what at the operators' door: tokens and their scopes, hosts, origins, and the audit trail.
//!
//! Over TCP by hand, since no client library would lie about its host; over the socket as this process.

use std::{
    fs::{self, Permissions},
    net::SocketAddr,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::{Command, Output},
};

use crate::{
    process::System,
    wire::{Reply, ask},
    world::World,
};

const ALL: &str = "token-that-opens-everything";
const OPERATE: &str = "token-that-opens-much";
const READ: &str = "token-that-opens-little";

async fn world() -> World {
    World::with(&[
        ("CCS_ADMIN__ADDRESS", "127.0.0.1:0"),
        ("CCS_ADMIN__TOKEN", ALL),
        ("CCS_ADMIN__OPERATE_TOKEN", OPERATE),
        ("CCS_ADMIN__READ_TOKEN", READ),
    ])
    .await
}

async fn asked(address: SocketAddr, what: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    let mut request = format!("{what} HTTP/1.1\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    let length = body.len();
    request.push_str(&format!(
        "content-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    ));
    ask(address, request.as_bytes()).await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_token_opens_what_is_its_own_and_nothing_more() {
    let world = world().await;
    let address = world.daemon().admin_addr().expect("a TCP address");
    let host = address.to_string();
    let look = r#"{"kind":"audit"}"#;
    let approve = r#"{"kind":"reconcile","approve":"no-such-plan"}"#;
    // What is asked, and what the tokens for everything, for operating and for looking get.
    for (what, body, expected) in [
        ("GET /status", "", [200, 200, 200]),
        ("GET /metrics", "", [200, 200, 200]),
        ("GET /failures", "", [200, 200, 200]),
        ("GET /failures/dl_7", "", [404, 404, 403]),
        ("DELETE /failures/dl_7", "", [404, 404, 403]),
        ("POST /failures/retry", r#"{"all":true}"#, [200, 200, 403]),
        ("POST /pause", "", [200, 200, 403]),
        ("POST /resume", "", [200, 200, 403]),
        ("POST /reload", "", [200, 200, 403]),
        (
            "POST /sync",
            r#"{"table":"users","key":"?"}"#,
            [422, 422, 403],
        ),
        ("POST /sync", "{", [400, 400, 403]),
        ("POST /sync", "{}", [422, 422, 403]),
        ("GET /failures?limit=many", "", [400, 400, 400]),
        ("POST /nothing", "", [404, 404, 403]),
    ] {
        for (token, status) in [ALL, OPERATE, READ].into_iter().zip(expected) {
            let bearer = format!("Bearer {token}");
            let headers = [("host", host.as_str()), ("authorization", &bearer)];
            let reply = asked(address, what, &headers, body).await;
            assert_eq!(reply.status, status, "{what} with {token}: {}", reply.body);
            assert_eq!(reply.header("cache-control"), Some("no-store"), "{what}");
            assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
            if status >= 400 {
                let refusal: serde_json::Value = serde_json::from_str(&reply.body).expect(what);
                assert!(refusal["error"].is_string(), "{what}: {refusal}");
            }
        }
    }
    for (token, looks, approves) in [(READ, 403, 403), (OPERATE, 202, 403)] {
        let bearer = format!("Bearer {token}");
        let headers = [("host", host.as_str()), ("authorization", &bearer)];
        let refused = asked(address, "POST /runs", &headers, approve).await;
        assert_eq!(refused.status, approves, "{token}: {}", refused.body);
        // The answer to a run is a stream of lines, of which the status is enough.
        let client = reqwest::Client::builder()
            .no_proxy()
            .build()
            .expect("a client");
        let run = client
            .post(format!("http://{host}/runs"))
            .header("authorization", &bearer)
            .header("content-type", "application/json");
        let run = run.body(look).send().await.expect("an answer");
        assert_eq!(run.status(), looks, "{token}");
    }
    let bearer = format!("Bearer {ALL}");
    let headers = [("host", host.as_str()), ("authorization", &bearer)];
    let allowed = asked(address, "POST /runs", &headers, approve).await;
    assert_ne!(allowed.status, 403, "{}", allowed.body);
    // What a link or a picture could ask for changes nothing.
    for path in ["/pause", "/resume", "/reload", "/runs", "/sync"] {
        let looked = asked(address, &format!("GET {path}"), &headers, "").await;
        assert_eq!(looked.status, 405, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_or_as_a_web_page_nobody_comes_in() {
    let world = world().await;
    let address = world.daemon().admin_addr().expect("a TCP address");
    let host = address.to_string();
    let bearer = format!("Bearer {ALL}");
    let nearly = format!("Bearer {}", &ALL[..ALL.len() - 1]);
    let rebound = format!("evil.example:{}", address.port());
    for (headers, status) in [
        (
            vec![("host", host.as_str()), ("authorization", &bearer)],
            200,
        ),
        (vec![("host", &host)], 401),
        (vec![("host", &host), ("authorization", "Bearer ")], 401),
        (vec![("host", &host), ("authorization", &nearly)], 401),
        (vec![("host", &host), ("authorization", ALL)], 401),
        // What a browser sends along by itself is no token.
        (vec![("host", &host), ("cookie", &bearer)], 401),
        (
            vec![("host", &host), ("cookie", &format!("token={ALL}"))],
            401,
        ),
        (vec![("host", &rebound), ("authorization", &bearer)], 403),
        (vec![("host", "127.0.0.1"), ("authorization", &bearer)], 403),
        (
            vec![
                ("host", &host),
                ("authorization", &bearer),
                ("origin", "http://localhost"),
            ],
            403,
        ),
    ] {
        for what in ["GET /status", "POST /pause"] {
            let reply = asked(address, what, &headers, "").await;
            assert_eq!(reply.status, status, "{what} {headers:?}");
            let challenge = (status == 401).then_some("Bearer");
            assert_eq!(reply.header("www-authenticate"), challenge, "{headers:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_that_an_operator_asks_for_is_in_the_log_at_any_level() {
    let system = System::with(&[("CCS_LOG__LEVEL", "warn,clerk_convex_sync::daemon=info")]).await;
    const LINE: &str = "an operator asked for a change";
    system.door().get("/status").await;
    assert_eq!(system.log.count(LINE), 0, "looking is no change");
    let uid = rustix::process::geteuid().as_raw();
    for (method, path, body, did) in [
        ("POST", "/pause", None, None),
        ("POST", "/resume", None, None),
        ("POST", "/reload", None, None),
        (
            "POST",
            "/runs",
            Some(serde_json::json!({ "kind": "audit" })),
            Some("audit"),
        ),
        // Which plan somebody has let go is told with who it was.
        (
            "POST",
            "/runs",
            Some(serde_json::json!({ "kind": "reconcile", "approve": "a0b1c2d3" })),
            Some("reconcile, approve a0b1c2d3"),
        ),
        (
            "POST",
            "/failures/retry",
            Some(serde_json::json!({ "all": true })),
            Some("0 dead letter(s) tried again"),
        ),
        ("DELETE", "/failures/dl_9", None, None),
        (
            "POST",
            "/sync",
            Some(serde_json::json!({ "table": "users", "key": "user_audited" })),
            Some("users user_audited"),
        ),
    ] {
        let before = system.log.count(LINE);
        system.door().text(method, path, body).await;
        crate::world::eventually("there is a line", async || system.log.count(LINE) > before).await;
        let field = |name: &str| system.log.field_since(0, LINE, name);
        assert_eq!(field("who"), Some(format!("uid {uid}")));
        assert_eq!(field("what"), Some(format!("{method} {path}")));
        assert_eq!(field("did").as_deref(), did, "{path}");
        assert!(field("status").is_some());
    }
}

/// What a command of another user of this machine is told; `None` where nobody can be that.
fn as_somebody_else(socket: &Path, words: &[&str]) -> Option<Output> {
    const SOMEBODY: u32 = 12_345;
    let mut command = Command::new(env!("CARGO_BIN_EXE_clerk-convex-sync"));
    command.args(words).env_clear().current_dir("/");
    command.env("CCS_ADMIN__SOCKET", socket);
    command.uid(SOMEBODY).gid(SOMEBODY).output().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn over_the_socket_the_kernel_says_who_asks() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("ours");
    for (readers, looks) in [("uid:54321", false), ("uid:12345", true)] {
        let socket = dir.path().join(readers);
        let world = World::with(&[
            ("CCS_ADMIN__READERS", readers),
            ("CCS_ADMIN__SOCKET", &socket.display().to_string()),
        ])
        .await;
        for (words, may) in [(["status"], looks), (["pause"], false)] {
            let Some(output) = as_somebody_else(&socket, &words) else {
                return println!("NOT RUN: nobody can be somebody else here");
            };
            let told = String::from_utf8_lossy(&output.stderr);
            // `status` may end with a code of its own for what it has to tell.
            let refused = told.contains("may ask here") || told.contains("not yours to do");
            assert_eq!(refused, !may, "{readers}: {words:?}: {output:?}");
        }
        assert_eq!(world.door().get("/status").await["paused"], false);
    }
}
