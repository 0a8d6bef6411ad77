//! Walks of Clerk's listings against the simulated Clerk, honest and not.
//!
//! What must hold whatever Clerk answers: a walk ends, gives each record once and in order, and knows when
//! it may not be believed (S13, S14, S15, S21). How fast it may ask is in `walk/rate.rs`, what can be
//! listed by offset only in `walk/offsets.rs`.

mod offsets;
mod rate;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use clerk_convex_sync::{
    clerk::{
        ClerkClient, Options, Pace, Priority,
        client::CreatedBetween,
        proof::{CompleteWalk, Evidence, Incomplete, prove},
        walk::{Page, UserRange, UserWalk, Walk, WalkError, Walked},
    },
    model::Key,
    outbound::Dialer,
    sandbox::clerk::{
        ClerkOptions, ClerkSim, DEFAULT_SECRET_KEY,
        faults::{Fault, Wrong},
    },
};
use serde_json::json;

const USERS: &str = "GET /v1/users$";

async fn start(users: usize) -> (ClerkSim, ClerkClient) {
    let sim = ClerkSim::start(ClerkOptions::default())
        .await
        .expect("a free port");
    sim.seed_users(users);
    let clerk = client(&sim, Pace::unlimited());
    (sim, clerk)
}

fn client(sim: &ClerkSim, pace: Pace) -> ClerkClient {
    let options = Options {
        api_url: sim.url().parse().expect("a URL"),
        secret_key: DEFAULT_SECRET_KEY.into(),
        timeout: Duration::from_secs(15),
        dialer: Dialer::default(),
        on_request: Arc::new(|_, _, _| {}),
        pace,
    };
    let clerk = ClerkClient::new(options).expect("a key that fits a header");
    clerk.at(Priority::Scan)
}

fn all(clerk: &ClerkClient, page_size: u32) -> UserWalk {
    UserWalk::new(clerk.clone(), UserRange::ALL, None, page_size)
}

/// The ids that a walk gives, in its order, and its pages.
async fn ids(walk: &mut impl Walk) -> Vec<String> {
    let mut ids = Vec::new();
    while let Some(page) = walk.next().await.expect("a page") {
        ids.extend(keys(&page));
    }
    ids
}

fn keys(page: &Page) -> Vec<String> {
    let key = |record: &clerk_convex_sync::clerk::RawRecord| record.key().to_string();
    page.records.iter().map(key).collect()
}

/// The ids that there truly are, oldest first.
fn truth(sim: &ClerkSim) -> Vec<String> {
    let id = |user: &serde_json::Value| user["id"].as_str().expect("an id").to_owned();
    sim.users().iter().map(id).collect()
}

fn judged(walked: &Walked, counted: (u64, u64)) -> Result<CompleteWalk, Incomplete> {
    prove(&Evidence {
        counted_before: counted.0,
        counted_after: counted.1,
        rows: walked.rows,
        flaws: walked.flaw_count,
        ..Evidence::default()
    })
}

#[tokio::test]
async fn every_user_comes_once_and_oldest_first_in_as_many_requests_as_there_are_pages() {
    let (sim, clerk) = start(1_234).await;
    let mut walk = all(&clerk, 100);
    assert_eq!(ids(&mut walk).await, truth(&sim));
    assert_eq!(sim.requests().to("GET /v1/users"), 13);
    let walked = walk.walked();
    assert_eq!(
        (walked.pages, walked.rows, walked.flaw_count),
        (13, 1_234, 0)
    );
    assert!(walked.notes.is_empty());
    let whole = judged(walked, (1_234, 1_234)).expect("a whole walk");
    assert_eq!(whole.rows(), 1_234);
    assert!(walk.next().await.expect("the end").is_none());
}

#[tokio::test]
async fn ranges_make_up_the_whole_whether_clerk_includes_their_bounds_or_not() {
    let (sim, clerk) = start(200).await;
    let users = sim.users();
    let at = |n: usize| users[n]["created_at"].as_i64();
    // Bounds at users, two of which share the millisecond.
    let bounds = [None, at(50), at(51), at(120), None];
    for inclusive in [false, true] {
        sim.set(|settings| settings.window_inclusive = inclusive);
        let mut walked = Vec::new();
        for pair in bounds.windows(2) {
            let range = UserRange {
                from: pair[0],
                before: pair[1],
            };
            let mut walk = UserWalk::new(clerk.clone(), range, None, 20);
            walked.extend(ids(&mut walk).await);
            assert_eq!(walk.walked().flaw_count, 0);
        }
        assert_eq!(walked, truth(&sim), "inclusive: {inclusive}");
    }
}

#[tokio::test]
async fn a_walk_that_was_cut_off_goes_on_where_it_was() {
    let (sim, clerk) = start(100).await;
    let mut first = all(&clerk, 30);
    let mut given = keys(&first.next().await.expect("a page").expect("users"));
    let page = first.next().await.expect("a page").expect("users");
    given.extend(keys(&page));
    let last = page.records.last().expect("never none");
    let cursor = (last.created_at(), last.key().clone());
    let mut second = UserWalk::new(clerk, UserRange::ALL, Some(cursor), 30);
    given.extend(ids(&mut second).await);
    assert_eq!(given, truth(&sim));
    assert_eq!(sim.requests().to("GET /v1/users"), 4, "no page twice");
}

#[tokio::test]
async fn a_server_that_does_not_know_the_cursor_is_walked_by_windows() {
    let (sim, clerk) = start(333).await;
    sim.fault(Fault::next(USERS, Wrong::IgnoreCursor).times(1_000));
    let mut walk = all(&clerk, 50);
    assert_eq!(ids(&mut walk).await, truth(&sim));
    let walked = walk.walked();
    assert_eq!(walked.flaw_count, 0, "{walked:?}");
    let note = "page 2: Clerk ignored the cursor; the walk went on by time windows";
    assert_eq!(walked.notes[0].to_string(), note);
    assert!(sim.requests().total <= 10);
}

#[tokio::test]
async fn more_users_of_one_millisecond_than_a_page_holds_are_all_walked() {
    let (sim, clerk) = start(40).await;
    let moment = sim.users()[20]["created_at"].as_i64().expect("a time");
    for n in 0..95 {
        let user = json!({"email_address": format!("t{n}@example.com"), "created_at": moment});
        sim.create_user(user).expect("a user");
    }
    for cursors in [true, false] {
        if !cursors {
            sim.fault(Fault::next(USERS, Wrong::IgnoreCursor).times(1_000));
        }
        let mut walk = all(&clerk, 30);
        let walked = ids(&mut walk).await;
        assert_eq!(walked.len(), 135);
        assert_eq!(
            walked.iter().collect::<BTreeSet<_>>(),
            truth(&sim).iter().collect()
        );
        assert_eq!(walk.walked().flaw_count, 0, "{:?}", walk.walked());
    }
}

#[tokio::test]
async fn a_cursor_whose_user_is_deleted_loses_nobody() {
    for goes_on in [false, true] {
        let (sim, clerk) = start(60).await;
        sim.set(|settings| settings.deleted_cursor_goes_on = goes_on);
        let mut walk = all(&clerk, 20);
        let mut given = keys(&walk.next().await.expect("a page").expect("users"));
        let last = given.pop().expect("never none");
        sim.delete_user(&last).expect("deleted");
        given.extend(ids(&mut walk).await);
        assert_eq!(given, truth(&sim), "goes on: {goes_on}");
        assert_eq!(walk.walked().flaw_count, 0);
    }
}

#[tokio::test]
async fn an_empty_page_behind_a_whole_one_is_not_taken_for_the_end() {
    let (sim, clerk) = start(60).await;
    sim.fault(Fault::next(USERS, Wrong::EmptyListing).after(1));
    let mut walk = all(&clerk, 20);
    assert_eq!(ids(&mut walk).await, truth(&sim));
    assert_eq!(walk.walked().rows, 60);
}

#[tokio::test]
async fn s13_a_short_page_ends_the_walk_and_the_counts_show_it() {
    let (sim, clerk) = start(2_000).await;
    let before = clerk.count_users(CreatedBetween::default()).await;
    sim.fault(Fault::next(USERS, Wrong::ShortPage { rows: 10 }).after(1));
    let mut walk = all(&clerk, 500);
    assert_eq!(ids(&mut walk).await.len(), 510);
    let after = clerk.count_users(CreatedBetween::default()).await;
    let counted = (before.expect("a count"), after.expect("a count"));
    let said = judged(walk.walked(), counted).unwrap_err().to_string();
    assert!(
        said.contains("510 record(s), but Clerk counts 2000"),
        "{said}"
    );
}

#[tokio::test]
async fn s13_a_repeated_id_is_a_flaw_that_names_its_page_and_the_walk_ends() {
    for cursors in [true, false] {
        let (sim, clerk) = start(100).await;
        sim.fault(Fault::next(USERS, Wrong::RepeatLast).after(2));
        if !cursors {
            sim.fault(Fault::next(USERS, Wrong::IgnoreCursor).times(1_000));
        }
        let mut walk = all(&clerk, 20);
        let given = ids(&mut walk).await;
        let distinct: BTreeSet<&String> = given.iter().collect();
        assert_eq!(distinct.len(), given.len());
        let walked = walk.walked();
        assert!(walked.flaw_count >= 1, "{walked:?}");
        let page = if cursors { 3 } else { 2 };
        let flaw = format!("page {page}: the same user came twice");
        assert_eq!(walked.flaws[0].to_string(), flaw);
        assert!(judged(walked, (100, 100)).is_err());
    }
}

#[tokio::test]
async fn s14_a_page_that_fails_five_times_is_given_up_by_its_number() {
    let (sim, clerk) = start(100).await;
    let wrong = Wrong::Status {
        status: 500,
        retry_after_secs: None,
        json: true,
    };
    sim.fault(Fault::next(USERS, wrong).after(2).times(5));
    let mut walk = all(&clerk, 20);
    for number in 1..=2 {
        let page = walk.next().await.expect("a page").expect("users");
        assert_eq!(page.number, number);
    }
    let error = walk.next().await.expect_err("five failures");
    assert!(
        matches!(error, WalkError::Page { number: 3, .. }),
        "{error}"
    );
    assert_eq!(sim.requests().answered(500), 5);
    let rest = ids(&mut walk).await;
    assert_eq!(rest, truth(&sim)[40..], "whoever asks again may go on");
}

#[tokio::test]
async fn one_failure_of_each_kind_is_nothing() {
    let (sim, clerk) = start(100).await;
    for (after, wrong) in [Wrong::Cut, Wrong::CutAnswer, Wrong::Garbage]
        .into_iter()
        .enumerate()
    {
        sim.fault(Fault::next(USERS, wrong).after(after as u32));
    }
    let mut walk = all(&clerk, 20);
    assert_eq!(ids(&mut walk).await, truth(&sim));
    assert_eq!(walk.walked().flaw_count, 0);
}

#[tokio::test]
async fn s15_an_empty_listing_proves_nothing() {
    let (sim, clerk) = start(50).await;
    sim.fault(Fault::next("GET /v1/users", Wrong::EmptyListing).times(10));
    let mut walk = all(&clerk, 20);
    assert!(ids(&mut walk).await.is_empty());
    assert!(judged(walk.walked(), (50, 0)).is_err());
    // Clerk's count tells the same lie; Convex does not.
    let evidence = Evidence {
        rows_elsewhere: 50,
        ..Evidence::default()
    };
    assert!(prove(&evidence).is_err());
}

#[tokio::test]
async fn s21_banned_locked_and_unverified_users_are_listed() {
    let (sim, clerk) = start(0).await;
    for (name, state) in [("a", "banned"), ("b", "locked"), ("c", "deprovisioned")] {
        let user = json!({"email_address": format!("{name}@example.com"), state: true});
        sim.create_user(user).expect("a user");
    }
    let user = json!({"email_address": "d@example.com", "unverified": true});
    sim.create_user(user).expect("a user");
    assert_eq!(ids(&mut all(&clerk, 20)).await, truth(&sim));
    assert_eq!(sim.user_count(), 4);
}

#[tokio::test]
async fn people_who_come_and_go_meanwhile_do_not_spoil_a_walk() {
    let (sim, clerk) = start(500).await;
    let wrong = Wrong::MovingPages {
        create: 1,
        touch: 2,
        delete: 1,
    };
    sim.fault(Fault::next(USERS, wrong).times(9));
    let before = clerk.count_users(CreatedBetween::default()).await;
    let mut walk = all(&clerk, 50);
    let given = ids(&mut walk).await;
    let after = clerk.count_users(CreatedBetween::default()).await;
    let counted = (before.expect("a count"), after.expect("a count"));
    assert!(
        judged(walk.walked(), counted).is_ok(),
        "{:?}",
        walk.walked()
    );
    let given: BTreeSet<String> = given.into_iter().collect();
    let missed: Vec<String> = truth(&sim)
        .into_iter()
        .filter(|id| !given.contains(id))
        .collect();
    assert!(missed.is_empty(), "{missed:?}");
}

#[tokio::test]
async fn a_wrong_key_refuses_the_walk_at_once() {
    let (sim, _) = start(10).await;
    let clerk = ClerkClient::new(Options {
        api_url: sim.url().parse().expect("a URL"),
        secret_key: "sk_test_another".into(),
        timeout: Duration::from_secs(15),
        dialer: Dialer::default(),
        on_request: Arc::new(|_, _, _| {}),
        pace: Pace::unlimited(),
    });
    let mut walk = all(&clerk.expect("a client"), 20);
    let error = walk.next().await.expect_err("refused");
    assert!(matches!(error, WalkError::Refused(_)), "{error}");
    assert_eq!(sim.requests().total, 1);
    let cursor = Key::parse("user_1").expect("an id");
    assert!(!format!("{walk:?} {cursor}").contains("sk_test"));
}
