//! That the simulated Clerk misbehaves exactly as ordered.
//!
//! Each fault is shown to happen, and to be over when it was used up.

use super::{Api, ids, start};
use clerk_convex_sync::sandbox::clerk::faults::{Fault, Wrong};
use clerk_convex_sync::sandbox::clerk::limits::LimitSettings;
use clerk_convex_sync::sandbox::clerk::{ClerkOptions, ClerkSim, DEFAULT_SECRET_KEY};
use reqwest::Method;
use serde_json::json;
use std::time::{Duration, Instant};

const USERS: &str = "GET /v1/users$";

#[tokio::test]
async fn listings_lie_when_they_are_told_to() {
    let (sim, api) = start().await;
    sim.seed_users(60);
    let honest = api.rows("/users?limit=20").await;
    sim.fault(Fault::next(USERS, Wrong::EmptyListing));
    assert!(api.rows("/users?limit=20").await.is_empty());
    sim.fault(Fault::next(USERS, Wrong::ShortPage { rows: 10 }));
    assert_eq!(api.rows("/users?limit=20").await, honest[..10]);
    let cursor = honest[19]["id"].as_str().expect("an id");
    sim.fault(Fault::next(USERS, Wrong::IgnoreCursor));
    let query = format!("/users?limit=20&starting_after={cursor}");
    assert_eq!(api.rows(&query).await, honest);
    assert_ne!(api.rows(&query).await, honest);
    sim.fault(Fault::next(USERS, Wrong::RepeatLast));
    let repeated = api.rows("/users?limit=20").await;
    assert_eq!(repeated.len(), 20);
    assert_eq!(repeated[18], repeated[19]);
    assert_eq!(api.rows("/users?limit=20").await, honest);
    sim.fault(Fault::next("GET /v1/users/count", Wrong::EmptyListing));
    assert_eq!(api.count("").await, 0);
}

#[tokio::test]
async fn pages_move_between_two_reads() {
    let (sim, api) = start().await;
    sim.seed_users(30);
    let wrong = Wrong::MovingPages {
        create: 2,
        touch: 1,
        delete: 1,
    };
    sim.fault(Fault::next(USERS, wrong).after(1));
    let before = api.rows("/users?limit=10").await;
    let moved = api.rows("/users?limit=10").await;
    assert_eq!(before, moved, "the page was read before the world moved");
    let after = api.rows("/users?limit=500").await;
    assert_eq!(after.len(), 31);
    assert!(!ids(&after).contains(&ids(&before)[0]));
    let touched = after
        .iter()
        .find(|u| u["id"] == before[9]["id"])
        .expect("still there");
    assert!(touched["updated_at"].as_i64() > before[9]["updated_at"].as_i64());
    let kinds: Vec<String> = sim.messages().iter().map(|m| m.kind.to_string()).collect();
    assert_eq!(
        kinds,
        [
            "user.created",
            "user.created",
            "user.deleted",
            "user.updated"
        ]
    );
}

#[tokio::test]
async fn statuses_garbage_and_cut_connections_come_as_ordered() {
    let (sim, api) = start().await;
    let id = sim
        .create_user(json!({"email_address": "a@example.com"}))
        .expect("a user");
    let path = format!("/users/{id}");
    let wrong = Wrong::Status {
        status: 503,
        retry_after_secs: None,
        json: true,
    };
    sim.fault(Fault::next("/v1/users", wrong).times(2));
    for _ in 0..2 {
        let (status, body) = api.get(&path).await;
        assert_eq!(
            (status.as_u16(), &body["errors"][0]["code"]),
            (503, &json!("service_unavailable"))
        );
    }
    let wrong = Wrong::Status {
        status: 429,
        retry_after_secs: Some(3),
        json: false,
    };
    sim.fault(Fault::next("/v1/users", wrong));
    let raw = api
        .request(Method::GET, &path)
        .send()
        .await
        .expect("an answer");
    assert_eq!(raw.status(), 429);
    assert_eq!(raw.headers()["retry-after"], "3");
    assert_eq!(raw.headers()["content-type"], "text/html");
    sim.fault(Fault::next("/v1/users", Wrong::Garbage));
    let raw = api
        .request(Method::GET, &path)
        .send()
        .await
        .expect("an answer");
    assert_eq!(raw.status(), 200);
    assert!(raw.json::<serde_json::Value>().await.is_err());
    sim.fault(Fault::next("/v1/users", Wrong::Cut));
    assert!(api.request(Method::DELETE, &path).send().await.is_err());
    assert_eq!(sim.user_count(), 1, "a cut request was not carried out");
    sim.fault(Fault::next("/v1/users", Wrong::CutAnswer));
    let cut = api.request(Method::DELETE, &path).send().await;
    let body = match cut {
        Ok(response) => response.bytes().await,
        Err(error) => Err(error),
    };
    assert!(body.is_err());
    assert_eq!(sim.user_count(), 0, "the answer was cut, not the request");
    let counts = sim.requests();
    assert_eq!(counts.answered(0), 1);
    assert_eq!(counts.answered(503), 2);
    sim.fault(Fault::next("/v1/users", Wrong::Latency { ms: 120 }));
    let began = Instant::now();
    api.get("/users").await;
    assert!(began.elapsed() >= Duration::from_millis(120));
}

#[tokio::test]
async fn the_rate_limit_blocks_an_endpoint_until_its_time_has_come() {
    let options = ClerkOptions {
        rate_per_10s: 5,
        ..ClerkOptions::default()
    };
    let sim = ClerkSim::start(options).await.expect("a free port");
    let api = Api::new(&sim);
    for _ in 0..5 {
        assert_eq!(api.get("/users").await.0, 200);
    }
    let raw = api
        .request(Method::GET, "/users")
        .send()
        .await
        .expect("an answer");
    assert_eq!(raw.status(), 429);
    let wait: u64 = raw.headers()["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((9..=10).contains(&wait));
    assert_eq!(sim.requests().inside_penalty, 0);
    assert_eq!(api.get("/users").await.0, 429);
    assert_eq!(sim.requests().inside_penalty, 1);
    sim.set_limits(LimitSettings {
        retry_after: false,
        json_body: false,
        ..Default::default()
    });
    let raw = api
        .request(Method::GET, "/users")
        .send()
        .await
        .expect("an answer");
    assert_eq!(
        raw.status(),
        429,
        "a penalty outlives the limit that set it"
    );
    assert!(raw.headers().get("retry-after").is_none());
    assert!(raw.json::<serde_json::Value>().await.is_err());
}

#[tokio::test]
async fn the_members_of_one_organization_cannot_be_listed() {
    let (sim, api) = start().await;
    let [a, b] = ["A", "B"].map(|name| sim.create_organization(json!({"name": name})));
    let (a, b) = (a.expect("one"), b.expect("two"));
    let wrong = Wrong::Status {
        status: 500,
        retry_after_secs: None,
        json: true,
    };
    sim.fault(Fault::next(&format!("/v1/organizations/{a}/memberships"), wrong).times(100));
    for (id, status) in [(&a, 500), (&b, 200), (&a, 500)] {
        assert_eq!(
            api.get(&format!("/organizations/{id}/memberships")).await.0,
            status
        );
    }
    sim.clear_faults();
    assert_eq!(
        api.get(&format!("/organizations/{a}/memberships")).await.0,
        200
    );
}

#[tokio::test]
async fn orders_can_be_given_over_http() {
    let (sim, api) = start().await;
    let order = async |method: Method, path: &str, body: serde_json::Value| {
        let url = format!("{}/_sim/{path}", sim.url());
        super::answer(api.client.request(method, url).json(&body)).await
    };
    let (_, made) = order(Method::POST, "users", json!({"first_name": "Ada"})).await;
    let user = format!("users/{}", made["id"].as_str().expect("an id"));
    order(Method::POST, &user, json!({"banned": true})).await;
    assert_eq!(order(Method::GET, &user, json!({})).await.1["banned"], true);
    assert_eq!(
        order(Method::POST, "seed", json!({"users": 5})).await.1["added"],
        5
    );
    let (_, now) = order(Method::POST, "webhooks", json!({"lose_ratio": 0.5})).await;
    let (status, _) = order(Method::POST, "webhooks", json!({"lose_rato": 0.5})).await;
    assert_eq!((status.as_u16(), &now["lose_ratio"]), (422, &json!(0.5)));
    assert!(!now.to_string().contains("whsec_") && !sim.sender().orders().secrets.is_empty());
    let fault = json!({"endpoint": "GET /v1/users$", "kind": "empty_listing", "times": 2});
    order(Method::POST, "faults", fault).await;
    assert!(api.rows("/users").await.is_empty());
    let limits = json!({"per_10s": 1});
    order(Method::POST, "limits", limits).await;
    api.get("/users").await;
    assert_eq!(api.get("/users").await.0, 429);
    assert_eq!(
        order(Method::GET, "fates", json!({})).await.1["withheld"],
        2
    );
    let (_, requests) = order(Method::GET, "requests", json!({})).await;
    assert_eq!(
        requests["by_endpoint"]["GET /v1/users"],
        json!({"200": 2, "429": 1})
    );
    assert_eq!(requests["last"][0]["path"], "/v1/users");
    assert_eq!(
        order(Method::POST, "quiet", json!({})).await.1["quiet"],
        true
    );
    order(Method::POST, "reset", json!({})).await;
    assert_eq!(
        (sim.user_count(), sim.fates().sent, sim.requests().total),
        (0, 0, 0)
    );
}

#[tokio::test]
async fn one_user_is_patched_ten_times_in_ten_seconds() {
    let (sim, api) = start().await;
    let id = sim
        .create_user(json!({"email_address": "a@example.com"}))
        .expect("a user");
    for n in 0..10 {
        let (path, body) = match n % 2 {
            0 => (
                format!("/users/{id}"),
                json!({"first_name": format!("A{n}")}),
            ),
            _ => (
                format!("/users/{id}/metadata"),
                json!({"public_metadata": {"n": n}}),
            ),
        };
        assert_eq!(api.send(Method::PATCH, &path, body).await.0, 200);
    }
    let (status, _) = api
        .send(Method::PATCH, &format!("/users/{id}"), json!({}))
        .await;
    assert_eq!(status, 429);
    assert_eq!(api.get(&format!("/users/{id}")).await.0, 200);
}

async fn refused(cases: Vec<(reqwest::RequestBuilder, u16, &str)>) {
    for (request, status, code) in cases {
        let (got, body) = super::answer(request).await;
        assert_eq!(
            (got.as_u16(), body["errors"][0]["code"].as_str()),
            (status, Some(code))
        );
        let told = body["clerk_trace_id"].is_string() && body["errors"][0]["message"].is_string();
        assert!(told, "{body}");
    }
}

#[tokio::test]
async fn keys_and_versions_are_refused_as_clerk_refuses_them() {
    let (sim, api) = start().await;
    let users = format!("{}/v1/users", sim.url());
    let get = || api.client.get(&users);
    let with_key = || get().bearer_auth(DEFAULT_SECRET_KEY);
    let version = "clerk-api-version";
    let twice = api.request(Method::GET, "/users?__clerk_api_version=2025-11-10");
    let bare = get().header("authorization", DEFAULT_SECRET_KEY);
    let origin = with_key().header("origin", "http://x");
    refused(vec![
        (get(), 401, "authentication_invalid"),
        (get().bearer_auth("sk_test_x"), 401, "clerk_key_invalid"),
        (bare, 401, "authorization_header_format_invalid"),
        (origin, 400, "origin_authorization_headers_conflict"),
        (
            with_key().header(version, "2020-01-01"),
            400,
            "api_version_invalid",
        ),
        (
            twice.header(version, "2025-11-10"),
            400,
            "api_version_invalid",
        ),
    ])
    .await;
    for known in ["2021-02-05", "2026-05-12"] {
        assert_eq!(
            super::answer(with_key().header(version, known)).await.0,
            200
        );
    }
}

#[tokio::test]
async fn bodies_and_paths_are_refused_as_clerk_refuses_them() {
    let (sim, api) = start().await;
    let post = || api.request(Method::POST, "/users");
    let get = |path: &str| api.request(Method::GET, path);
    let kind = "content-type";
    let broken = post().header(kind, "application/json").body("[");
    let unknown = post().json(&json!({"shoe_size": 43}));
    let address = post().json(&json!({"email_address": ["nobody"]}));
    let nameless = api.request(Method::POST, "/organizations").json(&json!({}));
    refused(vec![
        (
            post().header(kind, "text/plain").body("{}"),
            415,
            "unsupported_content_type",
        ),
        (broken, 400, "request_body_invalid"),
        (unknown, 422, "form_param_unknown"),
        (address, 422, "form_param_format_invalid"),
        (post().json(&json!({})), 422, "form_param_missing"),
        (nameless, 422, "form_param_missing"),
        (get("/users?limit=0"), 422, "form_param_value_invalid"),
        (
            get("/users?created_at_after=now"),
            422,
            "form_param_format_invalid",
        ),
        (get("/users/a/b/c"), 404, "resource_not_found"),
        (
            api.request(Method::PUT, "/users"),
            404,
            "resource_not_found",
        ),
    ])
    .await;
    assert_eq!(sim.user_count(), 0);
}

#[tokio::test]
async fn metadata_in_a_patch_depends_on_the_version() {
    let (sim, api) = start().await;
    let id = sim
        .create_user(json!({"email_address": "a@example.com"}))
        .expect("a user");
    let patch = |version: &'static str| {
        let request = api.request(Method::PATCH, &format!("/users/{id}"));
        request
            .header("clerk-api-version", version)
            .json(&json!({"public_metadata": {"a": 1}}))
    };
    let (status, body) = super::answer(patch("2026-05-12")).await;
    assert_eq!(
        (status.as_u16(), &body["errors"][0]["code"]),
        (422, &json!("form_param_unknown"))
    );
    let (status, body) = super::answer(patch("2025-11-10")).await;
    assert_eq!(
        (status.as_u16(), &body["public_metadata"]),
        (200, &json!({"a": 1}))
    );
    let big = json!({"public_metadata": {"a": "x".repeat(9000)}});
    let (status, body) = api
        .send(Method::PUT, &format!("/users/{id}/metadata"), big)
        .await;
    assert_eq!(status, 422);
    assert_eq!(body["errors"][0]["code"], "form_param_exceeds_allowed_size");
    let null = json!({"public_metadata": null});
    let (status, body) = api
        .send(Method::PUT, &format!("/users/{id}/metadata"), null)
        .await;
    assert_eq!(
        (status.as_u16(), &body["public_metadata"]),
        (200, &json!(null))
    );
}
