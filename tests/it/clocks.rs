//! A clock that is wrong is told of before it makes deliveries fail.
//!
//! This machine's clock cannot be set by a test, so Convex's answers lie about the time instead, or a library tells
//! the daemon another one. `CCS_SOAK_CLOCK_STEPS` is how often that clock is set.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime},
};

use axum::{Router, body::Body, extract::Request, response::Response};

use serde_json::Value;

use crate::{
    durability::native::Clock,
    hand::{created, new_id},
    measure,
    process::System,
    runs::report,
    services::{say, seed},
    soak,
    world::{World, eventually},
};

/// How far the clock is off after each step, in seconds: a day and ten minutes, forth and back.
const STEPS: [i64; 8] = [86_400, 0, -86_400, 0, 600, 0, -600, 0];
/// Clerk's and Convex's differences beyond which deliveries are refused, in seconds.
const TOLERANCE: i64 = 300;

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

async fn sweeps(system: &System) -> f64 {
    let figures = system.door().figures().await;
    figures.sum("runs_total", &["kind=\"sweep\""])
}

/// Every number in a status whose name says that it is an age.
fn ages(status: &Value, found: &mut Vec<f64>) {
    for (name, value) in status.as_object().into_iter().flatten() {
        if name.ends_with("_age_s") {
            found.extend(value.as_f64());
        }
        ages(value, found);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn g28_a_clock_that_is_set_stops_no_scan_starts_few_and_loses_nothing() {
    let steps = measure::size("CLOCK_STEPS", 2);
    let dir = tempfile::tempdir().expect("a directory");
    let clock = match Clock::right(dir.path()) {
        Ok(clock) => clock,
        Err(why) => return soak::not_run("G28", &why),
    };
    let settings = [
        &clock.settings()[..],
        &[("CCS_SCHEDULE__SWEEP", "* * * * * *")],
    ]
    .concat();
    let mut system = System::prepared(&settings).await;
    system.clerk.seed_users(5);
    system.start_daemon().await;
    report(&system.door(), "reconcile").await;
    let skewed = async || {
        let alerts = system.door().alerts().await;
        alerts.contains(&"clock_skew".to_owned())
    };
    let mut late = Duration::ZERO;
    for (at, off) in STEPS.into_iter().cycle().take(steps).enumerate() {
        let (before, set) = (sweeps(&system).await, tokio::time::Instant::now());
        clock.set(off);
        eventually("sweeps go on", async || sweeps(&system).await > before).await;
        late = late.max(set.elapsed());
        let event = created(&format!("user_step_{at}"), 1, "Ada");
        let id = new_id();
        let status = system.hand().deliver(&id, &event).await.status;
        assert_eq!(
            status,
            if off.abs() > TOLERANCE { 401 } else { 200 },
            "{off} s"
        );
        eventually("the clock is told of", async || {
            skewed().await == (off != 0)
        })
        .await;
        let mut found = Vec::new();
        ages(&system.door().get("/status").await, &mut found);
        assert!(
            found.len() > 1 && found.iter().all(|age| *age >= 0.0),
            "{found:?}"
        );
        let more = sweeps(&system).await - before;
        // One a second, one that was missed, and one that was under way.
        assert!(
            more <= set.elapsed().as_secs_f64() + 2.0,
            "{off} s: {more} sweeps"
        );
        if status == 401 {
            clock.set(0);
            assert_eq!(system.hand().deliver(&id, &event).await.status, 200);
            clock.set(off);
        }
    }
    clock.set(0);
    system.door().idle().await;
    assert_eq!(system.convex.count("users"), 5 + steps);
    system.door().every_delivery_has_one_end(0).await;
    assert_eq!(system.log.count("panicked"), 0);
    say(
        "G28",
        seed(),
        format!("{steps} steps of the clock, the next sweep within {late:.1?}"),
    );
}
