//! `check` against small servers that answer as the services do, rightly and wrongly.
//!
//! The servers are made from the reference texts and know nothing of the code that asks them.

use axum::{
    Json, Router,
    http::{HeaderMap, StatusCode},
    routing::{get, post},
};
use serde_json::{Value, json};

use super::*;

const CLERK_KEY: &str = "sk_test_PLANTEDclerk";
const DEPLOY_KEY: &str = "dev:happy-otter-1|PLANTEDdeploy";

fn env(more: &[(&str, &str)]) -> Env {
    let required = [
        ("CLERK_SECRET_KEY", CLERK_KEY),
        (
            "CLERK_WEBHOOK_SECRET",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        ),
        ("CONVEX_URL", "https://happy-otter-1.convex.cloud"),
        ("CONVEX_DEPLOY_KEY", DEPLOY_KEY),
    ];
    Env::new(required.into_iter().chain(more.iter().copied()))
}

async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

fn sends(headers: &HeaderMap, authorization: &str) -> bool {
    headers
        .get("authorization")
        .is_some_and(|sent| sent == authorization)
}

/// Clerk, for one key, of one instance.
fn clerk(key: &'static str) -> Router {
    let allowed = move |headers: &HeaderMap| sends(headers, &format!("Bearer {key}"));
    let refused = (StatusCode::UNAUTHORIZED, Json(json!({"errors": []})));
    let other = refused.clone();
    Router::new()
        .route(
            "/v1/users/count",
            get(async move |headers: HeaderMap| match allowed(&headers) {
                true => (
                    StatusCode::OK,
                    Json(json!({"object": "total_count", "total_count": 42})),
                ),
                false => refused,
            }),
        )
        .route(
            "/v1/instance",
            get(async move |headers: HeaderMap| match allowed(&headers) {
                true => (
                    StatusCode::OK,
                    Json(json!({"object": "instance", "id": "ins_2abc"})),
                ),
                false => other,
            }),
        )
}

/// Convex, whose key may run internal functions only.
fn convex(status: u16, answer: Value) -> Router {
    let refused = "You do not have permission to perform this operation (ViewData)";
    let refused = json!({"status": "error", "errorMessage": refused});
    convex_that_shows(refused, status, answer)
}

/// Convex, with its answers to a look into a table and to `describe`.
fn convex_that_shows(table: Value, status: u16, answer: Value) -> Router {
    Router::new().route(
        "/api/query",
        post(async move |headers: HeaderMap, Json(body): Json<Value>| {
            assert!(sends(&headers, &format!("Convex {DEPLOY_KEY}")));
            if body["path"] == "_system/cli/tableData" {
                assert_eq!(body["args"]["paginationOpts"]["numItems"], 1);
                return (StatusCode::OK, Json(table));
            }
            assert_eq!(
                body,
                json!({"path": "clerkSync:describe", "args": {}, "format": "json"})
            );
            (StatusCode::from_u16(status).unwrap(), Json(answer))
        }),
    )
}

fn all_tables() -> Value {
    let tables = ["users", "profiles", "organizations", "memberships"];
    json!({"status": "success", "value": {"contract": 1.0, "tables": tables}})
}

async fn ask(clerk: Router, convex: Router, more: &[(&str, &str)]) -> Findings {
    let (clerk, convex) = (serve(clerk).await, serve(convex).await);
    let mut settings = vec![
        ("CLERK_API_URL", clerk.as_str()),
        ("CONVEX_URL", convex.as_str()),
    ];
    settings.extend_from_slice(more);
    let findings = find(None, &env(&settings), true).await;
    let shown = format!("{}{}{findings:?}", findings.text(), findings.json());
    assert!(!shown.contains("PLANTED"), "{shown}");
    findings
}

fn failed(findings: &Findings) -> Vec<&str> {
    let failed = findings.online.iter().filter(|probe| !probe.ok);
    failed.map(|probe| probe.name).collect()
}

#[tokio::test]
async fn a_sound_configuration_ends_with_0() {
    let findings = find(None, &env(&[("CCS_PROFILE_EDITS__ENABLED", "true")]), false).await;
    assert_eq!(findings.exit_code(), 0);
    let json: Value = serde_json::from_str(&findings.json()).unwrap();
    assert_eq!(json["ok"], true);
    assert_eq!(
        (&json["mistakes"], &json["online"]),
        (&json!([]), &json!([]))
    );
    assert_eq!(json["warnings"], json!([]));
    assert!(findings.text().starts_with("The configuration is sound"));
}

#[tokio::test]
async fn mistakes_end_with_2_and_the_services_are_not_asked() {
    let settings = [
        ("CCS_CONVEX__BATCH", "0"),
        ("CLERK_SECRET_KEY", "pk_PLANTED"),
    ];
    let findings = find(None, &env(&settings), true).await;
    assert_eq!(findings.exit_code(), 2);
    assert!(findings.online.is_empty());
    let json: Value = serde_json::from_str(&findings.json()).unwrap();
    assert_eq!(json["ok"], false);
    assert_eq!(json["mistakes"][0]["key"], "clerk.secret_key");
    assert_eq!(
        json["mistakes"][1]["source"],
        "environment CCS_CONVEX__BATCH"
    );
    assert_eq!(
        findings.text(),
        "The configuration has 2 mistakes:\n\
         \n  environment CLERK_SECRET_KEY\n    clerk.secret_key is a publishable key\n    \
         -> give the secret key, which begins with sk_\n\
         \n  environment CCS_CONVEX__BATCH\n    convex.batch is out of range\n    \
         -> give a number from 1 to 1000\n"
    );
}

#[tokio::test]
async fn both_services_are_asked_and_agree() {
    let findings = ask(clerk(CLERK_KEY), convex(200, all_tables()), &[]).await;
    assert_eq!(failed(&findings), Vec::<&str>::new(), "{}", findings.text());
    assert_eq!(findings.exit_code(), 0);
    let text = findings.text();
    assert!(
        text.contains("42 users") && text.contains("ins_2abc"),
        "{text}"
    );
}

#[tokio::test]
async fn a_key_that_clerk_refuses_ends_with_1() {
    let findings = ask(clerk("sk_test_other"), convex(200, all_tables()), &[]).await;
    assert_eq!(failed(&findings), ["Clerk secret key"]);
    assert_eq!(findings.exit_code(), 1);
}

#[tokio::test]
async fn the_key_of_another_instance_is_found_out() {
    let set = [("CCS_CLERK__INSTANCE_ID", "ins_other")];
    let findings = ask(clerk(CLERK_KEY), convex(200, all_tables()), &set).await;
    assert_eq!(failed(&findings), ["Clerk instance"]);
}

#[tokio::test]
async fn convex_answers_are_told_apart() {
    let redacted = json!({"status": "error", "errorMessage": "[Request ID: 1] Server Error"});
    let echo = json!({"code": "BadAdminKey", "message": DEPLOY_KEY});
    let old = json!({"status": "success", "value": {"contract": 2, "tables": []}});
    let few = json!({"status": "success", "value": {"contract": 1, "tables": ["users"]}});
    for (status, answer, detail) in [
        (200, redacted.clone(), "refuses `describe`"),
        (560, redacted, "refuses `describe`"),
        (401, echo, "deploy key is refused"),
        (404, json!("PLANTED"), "does not give (404)"),
        (200, old, "not for contract 1"),
        (
            200,
            few,
            "without the tables profiles, organizations, memberships",
        ),
    ] {
        let findings = ask(clerk(CLERK_KEY), convex(status, answer), &[]).await;
        assert_eq!(failed(&findings), ["Convex functions"], "{detail}");
        assert!(findings.text().contains(detail), "{}", findings.text());
    }
}

#[tokio::test]
async fn a_deploy_key_that_may_read_any_table_is_told_of_and_none_of_it_is_shown() {
    let page = json!({"status": "success", "value": {"page": [{"email": "PLANTED"}]}});
    for (answer, beyond) in [(page, true), (json!({"code": "Forbidden"}), false)] {
        let convex = convex_that_shows(answer, 200, all_tables());
        let findings = ask(clerk(CLERK_KEY), convex, &[]).await;
        assert_eq!(findings.exit_code(), 0, "it works all the same");
        let text = findings.text();
        assert_eq!(
            text.contains("may do more than it needs to"),
            beyond,
            "{text}"
        );
        assert_eq!(text.contains("is enough"), beyond, "{text}");
    }
}

#[tokio::test]
async fn services_that_cannot_be_reached_are_said_to_be_so() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let settings = [
        ("CLERK_API_URL", url.as_str()),
        ("CONVEX_URL", url.as_str()),
    ];
    let findings = find(None, &env(&settings), true).await;
    assert_eq!(failed(&findings), ["Clerk secret key", "Convex functions"]);
    assert!(findings.text().contains("no connection"));
}

#[tokio::test]
async fn a_clock_that_is_off_is_found_by_the_services_dates() {
    for (shift_s, name_of_direction) in [(120, "behind"), (-120, "ahead")] {
        let answer = async move || {
            let date = chrono::Utc::now() + chrono::TimeDelta::seconds(shift_s);
            let date = date.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
            ([("date", date)], Json(json!({"total_count": 0})))
        };
        let skewed = Router::new().route("/v1/users/count", get(answer));
        let findings = ask(skewed, convex(200, all_tables()), &[]).await;
        assert_eq!(failed(&findings), ["clock against Clerk"]);
        assert!(
            findings.text().contains(name_of_direction),
            "{}",
            findings.text()
        );
    }
}
