//! `POST /ensure`: the row of who signs in is there when the answer comes.
//!
//! The real daemon on real sockets, with tokens that the simulated Clerk signs. What single tokens and
//! single outcomes mean is tested beside the code; here it is the way from the browser to the row and back.

use std::time::{Duration, Instant};

use clerk_convex_sync::sandbox::clerk::faults::{Fault, Wrong};
use reqwest::{Method, RequestBuilder, header::HeaderMap};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    hand::created,
    world::{World, eventually},
};

const APP: &str = "https://app.example.com";
const SETTINGS: &[(&str, &str)] = &[
    ("CCS_ENSURE__ENABLED", "true"),
    (
        "CCS_ENSURE__ORIGINS",
        "https://app.example.com,http://localhost:3000",
    ),
];
const LOOKUP: &str = "GET /v1/users/{user_id}";

/// An answer.
#[derive(Debug)]
struct Reply {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("{self:?}"))
    }
}

fn asking(world: &World, method: Method, query: &str) -> RequestBuilder {
    let client = reqwest::Client::builder().no_proxy().build();
    let address = world.daemon().public_addr();
    let url = format!("http://{address}/ensure{query}");
    client.expect("a client").request(method, url)
}

async fn sent(request: RequestBuilder) -> Reply {
    let response = request.send().await.expect("an answer");
    Reply {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        text: response.text().await.expect("a body"),
    }
}

async fn ensure(world: &World, token: &str) -> Reply {
    sent(asking(world, Method::POST, "").bearer_auth(token)).await
}

fn user(world: &World) -> String {
    let ada = json!({ "first_name": "Ada", "email_address": ["ada@example.com"] });
    world.clerk.create_user(ada).expect("created")
}

fn token(world: &World, user: &str) -> String {
    world.clerk.session_token(user).expect("a token")
}

/// A world whose webhooks go nowhere, so that only who signs in makes rows.
async fn without_webhooks(settings: &[(&str, &str)]) -> World {
    let world = World::with(settings).await;
    world.clerk.set_webhook_url(None);
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn the_row_is_there_when_the_answer_comes() {
    let world = without_webhooks(SETTINGS).await;
    let id = user(&world);
    let token = token(&world, &id);
    for (nth, outcome) in ["created", "unchanged"].into_iter().enumerate() {
        let reply = ensure(&world, &token).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let row = world.user_row(&id).expect("a row");
        let expected = json!({ "key": id, "convexId": row["_id"], "outcome": outcome });
        assert_eq!(reply.json(), expected, "time {nth}");
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        assert_eq!(row["email"], "ada@example.com");
    }
    assert_eq!(world.clerk.requests().to(LOOKUP), 1);
    assert_eq!(world.clerk.requests().to("GET /v1/jwks"), 1);
    let figures = world.door().figures().await;
    assert_eq!(figures.sum("ensure_total", &["result=\"created\""]), 1.0);
    assert_eq!(figures.sum("ensure_total", &["result=\"unchanged\""]), 1.0);
    let by_sign_in = ["source=\"sign_in\"", "table=\"users\""];
    assert_eq!(figures.sum("changes_total", &by_sign_in), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_sign_ins_while_the_webhook_arrives_are_one_lookup_and_one_row() {
    let world = World::with(SETTINGS).await;
    // As long as a look at Convex and the delivery take together, so that they meet.
    world.convex.set_latency(Duration::from_millis(20));
    for _ in 0..5 {
        let before = world.clerk.requests().to(LOOKUP);
        let id = user(&world);
        let token = token(&world, &id);
        let mut calls = JoinSet::new();
        for _ in 0..50 {
            let request = asking(&world, Method::POST, "?wait=10s").bearer_auth(&token);
            calls.spawn(sent(request));
        }
        let replies = calls.join_all().await;
        let row = world.user_row(&id).expect("a row");
        for reply in &replies {
            assert_eq!(reply.status, 200, "{reply:?}");
            assert_eq!(reply.json()["convexId"], row["_id"]);
        }
        world.quiet().await;
        let of_her = |row: &&Value| row["clerkId"] == *id;
        assert_eq!(world.convex.rows("users").iter().filter(of_her).count(), 1);
        let lookups = world.clerk.requests().to(LOOKUP) - before;
        assert!(lookups <= 1, "{lookups} lookups");
        world.clerk.delete_user(&id).expect("deleted");
        world.quiet().await;
        assert_eq!(world.user_row(&id), None);
    }
    world.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_are_none_are_401_and_all_alike() {
    let world = without_webhooks(SETTINGS).await;
    let other = World::with(SETTINGS).await;
    let id = user(&world);
    let good = token(&world, &id);
    let with = |claims: Value| world.clerk.session_token_with(&id, claims).unwrap();
    let (unsigned, _) = good.rsplit_once('.').unwrap();
    let bad = [
        with(json!({ "exp": 1 })),
        with(json!({ "iss": "http://clerk.example.com" })),
        with(json!({ "azp": "https://evil.example" })),
        with(json!({ "sid": null })),
        token(&other, &id),
        format!("{unsigned}."),
        // {"alg":"none"}
        format!(
            "eyJhbGciOiJub25lIn0.{}.",
            unsigned.split('.').nth(1).unwrap()
        ),
        "garbage".into(),
        "Zyx0marker".repeat(1000),
    ];
    let mut replies = Vec::new();
    for token in &bad {
        replies.push(ensure(&world, token).await);
    }
    replies.push(sent(asking(&world, Method::POST, "")).await);
    let basic = asking(&world, Method::POST, "").basic_auth(&id, Some(&good));
    replies.push(sent(basic).await);
    for reply in replies {
        assert_eq!((reply.status, reply.text.as_str()), (401, "unauthorized\n"));
        assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
    }
    assert_eq!(world.clerk.requests().to(LOOKUP), 0);
    assert_eq!(world.convex.count("users"), 0);
    assert_eq!(ensure(&world, &good).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_replaced_in_clerk_is_found() {
    let world = without_webhooks(SETTINGS).await;
    let id = user(&world);
    let old = token(&world, &id);
    assert_eq!(ensure(&world, &old).await.status, 200);
    world.clerk.rotate_session_key(true);
    assert_eq!(ensure(&world, &token(&world, &id)).await.status, 200);
    assert_eq!(ensure(&world, &old).await.status, 200, "still shown");
    world.clerk.rotate_session_key(false);
    // So soon Clerk is not asked again because of a key that nobody knows.
    for _ in 0..20 {
        assert_eq!(ensure(&world, &token(&world, &id)).await.status, 401);
    }
    assert_eq!(world.clerk.requests().to("GET /v1/jwks"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_whom_clerk_does_not_know_is_404() {
    let world = without_webhooks(SETTINGS).await;
    let id = user(&world);
    let token = token(&world, &id);
    world.clerk.delete_user(&id).expect("deleted");
    for _ in 0..20 {
        let reply = ensure(&world, &token).await;
        assert_eq!((reply.status, reply.text.as_str()), (404, "no such user\n"));
    }
    assert_eq!(world.clerk.requests().to(LOOKUP), 1);
    assert_eq!(world.convex.count("users"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn services_that_are_away_are_503_and_slow_ones_504() {
    let world = without_webhooks(SETTINGS).await;
    let id = user(&world);
    let token = token(&world, &id);
    // Clerk names no keys: whose the token is, is not known.
    let down = || Wrong::Status {
        status: 503,
        retry_after_secs: None,
        json: true,
    };
    world.clerk.fault(Fault::next("GET /v1/jwks", down()));
    let reply = ensure(&world, &token).await;
    assert_eq!(
        (reply.status, reply.header("retry-after")),
        (503, Some("5"))
    );
    eventually("Clerk names its keys", async || {
        ensure(&world, "x.y.z").await.status == 401 && ensure(&world, &token).await.status != 503
    })
    .await;
    assert_eq!(ensure(&world, &token).await.status, 200);

    let grace = user_named(&world, "grace@example.com");
    let token = world.clerk.session_token(&grace).expect("a token");
    world
        .clerk
        .fault(Fault::next(LOOKUP, Wrong::Latency { ms: 1500 }));
    let begun = Instant::now();
    let request = asking(&world, Method::POST, "?wait=200ms").bearer_auth(&token);
    assert_eq!(sent(request).await.status, 504);
    assert!(begun.elapsed() < Duration::from_millis(1400));
    // It goes on without us, and who asks again joins.
    let request = asking(&world, Method::POST, "?wait=10s").bearer_auth(&token);
    assert_eq!(sent(request).await.status, 200);
    assert_eq!(world.clerk.requests().to(LOOKUP), 2);

    world.convex.down();
    let reply = ensure(&world, &token).await;
    assert_eq!(
        (reply.status, reply.header("retry-after")),
        (503, Some("5"))
    );
    world.convex.up();
    eventually("Convex is back", async || {
        ensure(&world, &token).await.status == 200
    })
    .await;
}

fn user_named(world: &World, address: &str) -> String {
    let user = json!({ "email_address": [address] });
    world.clerk.create_user(user).expect("created")
}

#[tokio::test(flavor = "multi_thread")]
async fn paused_the_row_is_not_made_but_one_that_is_there_is_found() {
    let world = without_webhooks(SETTINGS).await;
    let (ada, grace) = (user(&world), user_named(&world, "grace@example.com"));
    assert_eq!(ensure(&world, &token(&world, &ada)).await.status, 200);
    world.door().pause(true).await;
    assert_eq!(ensure(&world, &token(&world, &ada)).await.status, 200);
    let asked = world.clerk.requests().to(LOOKUP);
    assert_eq!(ensure(&world, &token(&world, &grace)).await.status, 503);
    assert_eq!(world.clerk.requests().to(LOOKUP), asked);
    assert_eq!(world.user_row(&grace), None);
    world.door().pause(false).await;
    eventually("it goes on", async || {
        ensure(&world, &token(&world, &grace)).await.status == 200
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_our_origins_may_read_an_answer() {
    let world = without_webhooks(SETTINGS).await;
    let token = token(&world, &user(&world));
    for (origin, ours) in [
        (APP, true),
        ("http://localhost:3000", true),
        ("https://app.example.com.evil.example", false),
        ("https://APP.example.com", false),
        ("http://app.example.com", false),
        ("null", false),
    ] {
        let preflight = asking(&world, Method::OPTIONS, "")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization");
        let asked = asking(&world, Method::POST, "")
            .header("origin", origin)
            .bearer_auth(&token);
        let refused = asking(&world, Method::POST, "").header("origin", origin);
        let wrong = asking(&world, Method::GET, "").header("origin", origin);
        for (request, status) in [(preflight, 204), (asked, 200), (refused, 401), (wrong, 405)] {
            let reply = sent(request).await;
            assert_eq!(reply.status, status, "{origin}: {reply:?}");
            let allowed = reply.header("access-control-allow-origin");
            assert_eq!(allowed, ours.then_some(origin), "{reply:?}");
            assert_eq!(reply.header("vary"), Some("origin"));
            assert_eq!(reply.header("access-control-allow-credentials"), None);
            let methods = reply.header("access-control-allow-methods");
            assert_eq!(methods.is_some(), ours && status == 204);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_methods_are_405_nonsense_400_and_where_it_is_off_404() {
    let world = without_webhooks(SETTINGS).await;
    let token = token(&world, &user(&world));
    for method in [Method::GET, Method::PUT, Method::DELETE, Method::PATCH] {
        let reply = sent(asking(&world, method, "").bearer_auth(&token)).await;
        assert_eq!(reply.status, 405, "{reply:?}");
        assert_eq!(reply.header("allow"), Some("POST, OPTIONS"));
    }
    let reply = sent(asking(&world, Method::POST, "?wait=Zyx0marker").bearer_auth(&token)).await;
    assert_eq!((reply.status, reply.text.as_str()), (400, "bad request\n"));

    let off = World::start().await;
    for method in [Method::POST, Method::GET, Method::OPTIONS] {
        let reply = sent(asking(&off, method, "").bearer_auth(&token)).await;
        assert_eq!(reply.status, 404, "{reply:?}");
    }
    assert_eq!(off.clerk.requests().total, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rate_of_the_listener_holds_here_too() {
    let settings = [SETTINGS, &[("CCS_LISTEN__RATE_PER_SECOND", "5")]].concat();
    let world = without_webhooks(&settings).await;
    let token = token(&world, &user(&world));
    let mut limited = 0;
    for _ in 0..20 {
        let reply = ensure(&world, &token).await;
        if reply.status == 429 {
            assert_eq!(reply.header("retry-after"), Some("1"));
            limited += 1;
        } else {
            assert_eq!(reply.status, 200);
        }
    }
    assert!(limited > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_ins_that_wait_hold_up_no_delivery() {
    let world = without_webhooks(SETTINGS).await;
    let ready = user(&world);
    assert_eq!(ensure(&world, &token(&world, &ready)).await.status, 200);
    world.clerk.set_latency(Duration::from_secs(5));
    let mut waiting = JoinSet::new();
    for n in 0..200 {
        let id = user_named(&world, &format!("user{n}@example.com"));
        let request = asking(&world, Method::POST, "?wait=3s").bearer_auth(token(&world, &id));
        waiting.spawn(sent(request));
    }
    eventually("they wait for Clerk", async || {
        world
            .convex
            .calls()
            .counts
            .get("get")
            .is_some_and(|n| *n >= 200)
    })
    .await;
    let hand = world.hand();
    for n in 0..50 {
        let begun = Instant::now();
        hand.say(&created(&format!("user_delivered{n}"), 1, "Ada"))
            .await;
        assert!(begun.elapsed() < Duration::from_secs(1));
    }
    assert!(!waiting.is_empty());
    for reply in waiting.join_all().await {
        assert!(matches!(reply.status, 503 | 504), "{reply:?}");
    }
}
