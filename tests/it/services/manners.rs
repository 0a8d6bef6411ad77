//! G32: how much is asked of the two services, and how it is waited when they say so.

use std::{collections::VecDeque, time::Duration};

use serde_json::json;

use super::{Deed, Heard, Play, say, seed, size};
use crate::{
    runs::run,
    world::{World, eventually},
};

/// Half of what Clerk lets a development instance ask in ten seconds.
const SHARE: usize = 50;
const WINDOW: Duration = Duration::from_secs(10);
/// For an answer to arrive.
const UNDER_WAY: Duration = Duration::from_millis(500);
/// The most calls to Convex at once.
const MOST: usize = 8;

/// The most requests that came within any ten seconds.
fn most_in_a_window(heard: &[Heard]) -> usize {
    let mut window = VecDeque::new();
    let mut most = 0;
    for one in heard {
        window.push_back(one.at);
        while window.front().is_some_and(|first| one.at - *first > WINDOW) {
            window.pop_front();
        }
        most = most.max(window.len());
    }
    most
}

#[tokio::test(flavor = "multi_thread")]
async fn g32_a_full_diff_takes_half_of_the_rate_and_never_two_run_at_once() {
    let (seed, users) = (seed(), size("G32_USERS", 4_000));
    // What the key's kind allows, as people have it.
    let settings = [("CCS_CLERK__REQUESTS_PER_10S", "0")];
    let (world, clerk, convex) = World::wired(&settings).await;
    world.unheard(|clerk| clerk.seed_users(users));
    let running = world.begin("reconcile");
    eventually("it asks", async || clerk.count() > 0).await;
    let second = run(&world.door(), json!({"kind": "audit"})).await;
    assert!(
        second.is_err() || running.is_finished(),
        "a second one of its kind"
    );
    let report = running.await.expect("no panic").expect("a report");
    assert_eq!(report["outcome"], "repaired", "{report:#}");
    let (asked, most) = (clerk.heard(), convex.most());
    let window = most_in_a_window(&asked);
    say(
        "G32",
        seed,
        format!(
            "{users} users: {} requests to Clerk, {window} in the busiest 10 s, {most} calls to Convex at once",
            asked.len()
        ),
    );
    assert!(window <= SHARE, "{window} requests in ten seconds");
    assert!(most <= MOST, "{most} calls at once");
    assert_eq!(world.clerk.requests().answered(429), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn g32_after_a_429_nothing_is_asked_before_the_time_that_it_named() {
    let seed = seed();
    let wait = Duration::from_secs(size("G32_RETRY_AFTER_S", 3));
    let (world, clerk, _) = World::wired(&[]).await;
    world.unheard(|clerk| clerk.seed_users(1_200));
    let head = format!("retry-after: {}\r\n", wait.as_secs());
    let mut busy = Some(Play::answer("429 X", &head, b"{}"));
    let mut pages = 0;
    clerk.rule(move |heard| {
        let page = heard.what == "/v1/users" && heard.query.contains("limit=500");
        pages += usize::from(page);
        match busy.take_if(|_| page && pages == 2) {
            Some(busy) => Deed::Say(busy),
            None => Deed::Pass,
        }
    });
    let report = world.report("reconcile").await;
    assert_eq!(report["outcome"], "repaired", "{report:#}");
    let listed = clerk
        .heard()
        .into_iter()
        .filter(|one| one.what == "/v1/users");
    let listed: Vec<Heard> = listed.collect();
    let told = listed
        .iter()
        .filter(|one| one.query.contains("limit=500"))
        .nth(1);
    let told = told.expect("a second page").at;
    // Ranges are walked side by side: what was under way when the answer came cannot be called back.
    let next = listed.iter().find(|one| one.at > told + UNDER_WAY);
    let gap = next.expect("a third").at - told;
    say(
        "G32",
        seed,
        format!("told to wait {wait:?}, asked again after {gap:.2?}"),
    );
    assert!(gap >= wait, "{gap:?}");
    world.clerk.clear_faults();
    world.agrees().await;
}
