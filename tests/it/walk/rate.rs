//! How fast Clerk is asked: S25, S23, and what reads ahead.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use clerk_convex_sync::{
    clerk::{
        Pace, Priority, Rate,
        walk::{Ahead, Room, Walk, WalkError},
    },
    model::Key,
    sandbox::clerk::{
        faults::{Fault, Wrong},
        limits::LimitSettings,
    },
};

use super::{USERS, all, client, ids, start, truth};
use crate::{
    hand::updated,
    world::{World, eventually},
};

#[tokio::test]
async fn s25_the_fast_path_does_not_wait_behind_the_scan() {
    let (sim, _) = start(600).await;
    sim.set_limits(LimitSettings {
        per_10s: 100,
        ..LimitSettings::default()
    });
    let clerk = client(
        &sim,
        Pace::new(Rate {
            shared: 50,
            instance: 100,
        }),
    );
    let began = Instant::now();
    let mut scan = Ahead::of(all(&clerk, 10));
    for _ in 0..40 {
        scan.next().await.expect("a page").expect("users");
    }
    let key = Key::parse(&truth(&sim)[7]).expect("an id");
    let live = clerk.at(Priority::Live);
    for _ in 0..30 {
        let asked = Instant::now();
        live.get_user(&key).await.expect("an answer");
        assert!(asked.elapsed() < Duration::from_secs(1));
    }
    assert!(began.elapsed() < Duration::from_secs(9), "too slow to tell");
    assert_eq!(sim.requests().to("GET /v1/users"), 40, "the scan waits");
    assert_eq!(ids(&mut scan).await, truth(&sim)[400..]);
    let requests = sim.requests();
    assert_eq!((requests.inside_penalty, requests.answered(429)), (0, 0));
}

#[tokio::test]
async fn s25_no_request_is_made_inside_a_penalty() {
    let (sim, clerk) = start(300).await;
    sim.set_limits(LimitSettings {
        per_10s: 20,
        ..LimitSettings::default()
    });
    // What Clerk has answered the client may not have read yet.
    let limited = Arc::new(AtomicBool::new(false));
    let clerk = clerk.also_heard_by(Arc::new({
        let limited = Arc::clone(&limited);
        move |_, status, _| {
            limited.fetch_or(status == 429, Ordering::Relaxed);
        }
    }));
    let began = Instant::now();
    let scan = tokio::spawn({
        let mut walk = all(&clerk, 10);
        async move { ids(&mut walk).await }
    });
    eventually("the limit is reached", async || {
        limited.load(Ordering::Relaxed)
    })
    .await;
    // The same endpoint, asked by somebody in a hurry: not sent, and told at once.
    let key = Key::parse(&truth(&sim)[7]).expect("an id");
    let live = clerk.at(Priority::Live);
    let error = live.users_by_id(&[key]).await.expect_err("held back");
    assert_eq!(error.code(), "held_back");
    assert_eq!(scan.await.expect("no panic"), truth(&sim));
    assert!(began.elapsed() >= Duration::from_secs(9));
    let requests = sim.requests();
    assert_eq!((requests.inside_penalty, requests.answered(429)), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn s25_a_penalty_outlives_a_reload_of_the_settings() {
    let world = World::start().await;
    let wrong = Wrong::Status {
        status: 429,
        retry_after_secs: Some(3),
        json: true,
    };
    let endpoint = "GET /v1/users/{user_id}";
    world.clerk.fault(Fault::next(endpoint, wrong));
    let asked = || world.clerk.requests().to(endpoint);
    // Two contents of one version: only Clerk can say which one holds.
    let doubt = async |user: &str| {
        for name in ["Ada", "Grace"] {
            world.hand().say(&updated(user, 1, name)).await;
        }
    };
    doubt("user_0").await;
    eventually("Clerk is asked", async || asked() == 1).await;
    let began = Instant::now();
    for n in 1.. {
        // Among what a reload forgets is that Clerk was away; new records would ask at once.
        world.daemon().reload().expect("the same settings");
        doubt(&format!("user_{n}")).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        if began.elapsed() > Duration::from_millis(2_500) {
            break;
        }
        assert_eq!(asked(), 1, "after {:?}", began.elapsed());
    }
    eventually("Clerk is asked again", async || asked() > 1).await;
}

#[tokio::test]
async fn s23_refusals_that_do_not_stop_end_the_walk_as_an_outage() {
    let (sim, clerk) = start(60).await;
    let wrong = Wrong::Status {
        status: 429,
        retry_after_secs: Some(1),
        json: false,
    };
    sim.fault(Fault::next(USERS, wrong).after(1).times(1_000));
    let mut walk = all(&clerk, 20);
    walk.next().await.expect("a page").expect("users");
    let began = Instant::now();
    let error = walk.next().await.expect_err("nothing but refusals");
    assert!(
        matches!(error, WalkError::Outage { number: 2, .. }),
        "{error}"
    );
    assert_eq!(sim.requests().answered(429), 10);
    assert!(
        began.elapsed() >= Duration::from_secs(9),
        "each was waited out"
    );
}

#[tokio::test]
async fn one_page_is_read_ahead_and_no_more_and_dropping_ends_it() {
    let (sim, clerk) = start(200).await;
    let mut walk = Ahead::of(all(&clerk, 20));
    let asked = || sim.requests().to("GET /v1/users");
    walk.next().await.expect("a page").expect("users");
    eventually("the next page is there", async || asked() == 2).await;
    // Time enough for a third, were it asked for.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(asked(), 2);
    walk.next().await.expect("a page").expect("users");
    eventually("another one is there", async || asked() == 3).await;
    assert_eq!((walk.walked().pages, walk.walked().rows), (2, 40));
    drop(walk);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(asked(), 3);
    let mut walk = Ahead::of(all(&clerk, 20));
    assert_eq!(ids(&mut walk).await, truth(&sim));
    assert!(walk.next().await.expect("the end").is_none());
    assert_eq!(walk.walked().rows, 200);
}

#[tokio::test]
async fn what_lies_ahead_is_bounded_over_all_who_share_room() {
    let (sim, clerk) = start(100).await;
    let room = Room::of(1);
    let mut walks = [(); 3].map(|()| Ahead::within(all(&clerk, 20), &room));
    let asked = || sim.requests().to("GET /v1/users");
    eventually("a page lies ahead", async || asked() == 1).await;
    // Time enough for others, were they asked for.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(asked(), 1);
    // Who has no room reads when it is wanted, and no further.
    walks[2].next().await.expect("a page").expect("users");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!((asked(), walks[2].walked().pages), (2, 1));
    // Room is free again once its page is taken: for the next page of whoever comes first.
    walks[0].next().await.expect("a page").expect("users");
    eventually("another lies ahead", async || asked() == 3).await;
    assert_eq!(walks[0].walked().pages, 1);
    for (walk, read) in walks.iter_mut().zip([20, 0, 20]) {
        assert_eq!(ids(walk).await, truth(&sim)[read..]);
    }
}
