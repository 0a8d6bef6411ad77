//! A clock that is wrong is told of before it makes deliveries fail.
//!
//! This machine's clock cannot be set by a test, so Convex's answers lie about the time instead.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime},
};

use axum::{Router, body::Body, extract::Request, response::Response};

use crate::{
    hand::created,
    services::{say, seed},
    world::{World, eventually},
};

/// Passes everything on to `behind` and moves the time in the answers by so many seconds.
async fn lying_about_time(behind: String, off_s: Arc<AtomicI64>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let client = reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("a client");
    let pass = async move |request: Request| {
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, 1 << 22).await.expect("a body");
        let url = format!("{behind}{}", parts.uri);
        let mut headers = parts.headers;
        headers.remove("host");
        let passed = client
            .request(parts.method, url)
            .headers(headers)
            .body(body);
        let answer = passed.send().await.expect("an answer");
        let off = Duration::from_secs(off_s.load(Ordering::Relaxed).unsigned_abs());
        let now = match off_s.load(Ordering::Relaxed) {
            ahead @ 0.. => SystemTime::now() + Duration::from_secs(ahead.unsigned_abs()),
            _ => SystemTime::now() - off,
        };
        let date = chrono::DateTime::<chrono::Utc>::from(now);
        let status = answer.status();
        let body = answer.bytes().await.expect("a whole answer");
        Response::builder()
            .status(status)
            .header("content-type", "application/json")
            .header("date", date.format("%a, %d %b %Y %H:%M:%S GMT").to_string())
            .body(Body::from(body))
            .expect("an answer")
    };
    let router = Router::new().fallback(pass);
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn g28_a_difference_of_more_than_half_a_minute_is_an_alert_until_it_is_gone() {
    let (seed, mut slowest) = (seed(), Duration::ZERO);
    let off = Arc::new(AtomicI64::new(0));
    let mut world = World::start().await;
    world.stop_daemon().await;
    let url = lying_about_time(world.convex.url(), Arc::clone(&off)).await;
    world.set("CONVEX_URL", &url);
    world.start_daemon().await;
    let raised = async || {
        let alerts = world.door().alerts().await;
        alerts.contains(&"clock_skew".to_owned())
    };
    let mut user = 0;
    for (off_s, wrong) in [
        (0, false),
        (20, false),
        (90, true),
        (0, false),
        (-90, true),
        (-10, false),
    ] {
        off.store(off_s, Ordering::Relaxed);
        let changed = tokio::time::Instant::now();
        user += 1;
        let key = format!("user_{user}");
        world.hand().say(&created(&key, 1, "Ada")).await;
        eventually("the row is there", async || world.user_row(&key).is_some()).await;
        eventually(&format!("{off_s} s is told of: {wrong}"), async || {
            raised().await == wrong
        })
        .await;
        slowest = slowest.max(changed.elapsed());
    }
    say(
        "G28",
        seed,
        format!("told within {slowest:.1?} of a change of the other clock"),
    );
    world.settled().await;
}
