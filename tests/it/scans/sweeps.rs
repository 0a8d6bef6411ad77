//! Sweeps: S09 (late visibility), S10 (a damaged position), S15 (an empty list), and their price.

use std::{collections::BTreeSet, time::Duration};

use clerk_convex_sync::{
    model::{Action, DriftKind},
    reconcile::scan::{
        MissedDeliveries,
        sweep::{Cursor, Found, MAX_PAGES, OVERLAP_MS, Sweeper, Swept, Why, close_gap, gap},
    },
    report::{RunOutcome, TableFigures},
    sandbox::clerk::faults::{Fault, Wrong},
    telemetry::Metrics,
};
use serde_json::json;

use super::scene::{Scene, broken_lane};

/// Long enough that a change counts as missed, in milliseconds.
const LONG: i64 = 42_000;

pub fn sweeper(scene: &Scene) -> Sweeper {
    let missed = MissedDeliveries::new(Metrics::default());
    Sweeper::new(missed, scene.beliefs.clone())
}

async fn sweep(scene: &Scene, sweeper: &Sweeper) -> Swept {
    let ends = scene.metered();
    let swept = sweeper.run(&ends, &(), true, &scene.watch).await;
    swept.expect("a sweep")
}

fn users(swept: &Swept) -> TableFigures {
    *swept.report.tables.values().next().expect("the users")
}

pub fn reasons(swept: &Swept) -> Vec<&str> {
    let all = swept.report.differences.iter();
    all.filter_map(|difference| difference.reason.as_deref())
        .collect()
}

fn position(scene: &Scene) -> Cursor {
    match Cursor::load(&scene.ends.state).expect("a cell") {
        Found::Cursor(cursor) => cursor,
        other => panic!("{other:?}"),
    }
}

/// A hundred users whose deliveries have all arrived, one of them lately, and a first sweep behind them.
pub async fn settled() -> (Scene, Sweeper) {
    let scene = Scene::start().await;
    scene.clerk.seed_users(99);
    scene.pass(2 * OVERLAP_MS);
    scene.sign_up("Anchor");
    for id in scene.clerk.user_ids() {
        scene.deliver(&id).await;
    }
    let sweeper = sweeper(&scene);
    let first = sweep(&scene, &sweeper).await;
    assert_eq!(first.report.outcome, RunOutcome::InSync, "{first:?}");
    assert!(close_gap(&scene.ends.state, i64::MAX, None).expect("a cell"));
    (scene, sweeper)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_minute_costs_one_request_and_no_call() {
    let (scene, sweeper) = settled().await;
    for _ in 0..2 {
        let (clerk, convex) = scene.traffic();
        let swept = sweep(&scene, &sweeper).await;
        assert_eq!(scene.traffic(), (clerk + 1, convex));
        assert_eq!(swept.report.outcome, RunOutcome::InSync);
        assert_eq!(swept.report.calls.clerk, 1);
        assert_eq!((swept.wants_full, swept.missed), (None, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn quiet_after_a_busy_minute_costs_one_request_too() {
    let (scene, sweeper) = settled().await;
    for id in scene.clerk.user_ids() {
        scene.clerk.update_user(&id, json!({})).expect("updated");
        scene.deliver(&id).await;
    }
    sweep(&scene, &sweeper).await;
    let (clerk, convex) = scene.traffic();
    let swept = sweep(&scene, &sweeper).await;
    assert_eq!(scene.traffic(), (clerk + 1, convex));
    assert_eq!(users(&swept).clerk, 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missed_creation_and_a_missed_update_are_found_by_the_next_sweep() {
    let (scene, sweeper) = settled().await;
    let old = scene.clerk.user_ids().remove(0);
    let new = scene.sign_up("Ada");
    scene.rename(&old, "Augusta");
    scene.later(LONG);
    let (clerk, convex) = scene.traffic();
    let swept = sweep(&scene, &sweeper).await;
    assert_eq!(
        scene.traffic(),
        (clerk + 1, convex + 1),
        "one request, one call"
    );
    assert_eq!(swept.report.outcome, RunOutcome::Repaired);
    let figures = users(&swept);
    assert_eq!(
        (figures.missing, figures.stale, figures.repaired),
        (1, 1, 2)
    );
    assert_eq!(scene.row(&new).expect("a row")["name"], "Ada");
    let name = scene.row(&old).expect("a row")["name"].to_string();
    assert!(name.contains("Augusta"), "{name}");
    for reason in reasons(&swept) {
        assert!(
            reason.starts_with("no delivery told of it; found 4"),
            "{reason}"
        );
    }
    assert_eq!(swept.missed, 2);
    let again = sweep(&scene, &sweeper).await;
    assert_eq!(
        (again.report.outcome, again.missed),
        (RunOutcome::InSync, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_only_seconds_old_is_written_and_not_called_missed() {
    let (scene, sweeper) = settled().await;
    let new = scene.sign_up("Ada");
    let swept = sweep(&scene, &sweeper).await;
    assert!(scene.row(&new).is_some());
    assert_eq!((swept.missed, users(&swept).repaired), (0, 1));
    assert_eq!(reasons(&swept), ["found before its delivery"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn s09_a_change_that_shows_up_after_a_newer_one_is_found() {
    let (scene, sweeper) = settled().await;
    scene.clerk.lag_next(1, Duration::from_secs(5));
    let late = scene.sign_up("Late");
    scene.clerk.advance_ms(3_000);
    let newer = scene.sign_up("Newer");
    sweep(&scene, &sweeper).await;
    assert!(scene.row(&newer).is_some());
    assert!(scene.row(&late).is_none(), "it is not in the list yet");
    scene.clerk.advance_ms(3_000);
    let swept = sweep(&scene, &sweeper).await;
    assert!(scene.row(&late).is_some(), "{swept:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn s10_a_damaged_position_is_said_and_leaves_a_gap_until_a_full_diff_has_passed() {
    let (scene, sweeper) = settled().await;
    let before = position(&scene);
    let mut bytes = scene
        .ends
        .state
        .get_cell("sweep/cursor")
        .expect("a cell")
        .expect("written");
    bytes[3] ^= 0x40;
    let state = &scene.ends.state;
    state.put_cell("sweep/cursor", Some(&bytes)).expect("put");
    for _ in 0..2 {
        let swept = sweep(&scene, &sweeper).await;
        assert_eq!(swept.wants_full, Some(Why::Damaged.words()));
        assert!(
            swept
                .report
                .notes
                .iter()
                .any(|note| note == Why::Damaged.words())
        );
        assert_eq!(users(&swept).clerk, 1, "not from the beginning of time");
    }
    let gap = gap(state).expect("a cell").expect("a gap");
    assert_eq!((gap.from, gap.to), (None, before.at));
    assert!(
        !close_gap(state, gap.noticed_ms - 1, None).expect("a cell"),
        "began too early"
    );
    assert!(close_gap(state, gap.noticed_ms, None).expect("a cell"));
    assert_eq!(sweep(&scene, &sweeper).await.wants_full, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_sweep_begins_with_the_newest_and_asks_for_a_full_diff() {
    let scene = Scene::start().await;
    scene.clerk.seed_users(1_000);
    scene.pass(2 * OVERLAP_MS);
    let new = scene.sign_up("Ada");
    scene.later(LONG);
    let sweeper = sweeper(&scene);
    let swept = sweep(&scene, &sweeper).await;
    assert_eq!(swept.report.calls.clerk, 1);
    assert_eq!(swept.wants_full, Some(Why::First.words()));
    assert_eq!(swept.missed, 0, "nobody listened before");
    assert!(scene.row(&new).is_some());
    assert_eq!(scene.convex.count("users"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn s15_an_empty_list_changes_nothing_and_is_critical() {
    let (scene, sweeper) = settled().await;
    let before = position(&scene);
    let empty = Fault::next("GET /v1/users$", Wrong::EmptyListing);
    assert!(scene.clerk.fault(empty));
    let (_, convex) = scene.traffic();
    let swept = sweep(&scene, &sweeper).await;
    assert_eq!(swept.report.outcome, RunOutcome::Failed);
    assert_eq!(scene.alerts(), ["empty_listing"]);
    assert_eq!(
        (scene.traffic().1, scene.convex.count("users")),
        (convex, 100)
    );
    assert_eq!(position(&scene), before);
    sweep(&scene, &sweeper).await;
    assert!(scene.alerts().is_empty(), "over with the next list");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_a_page_is_read_while_the_order_moves() {
    let (scene, sweeper) = settled().await;
    let born = scene.clerk.seed_users(1_200);
    assert_eq!(born, 1_200);
    // Everybody is changed, oldest first, and nobody says so.
    for id in scene.clerk.user_ids() {
        scene.clerk.update_user(&id, json!({})).expect("updated");
    }
    scene.later(LONG);
    for after in [1, 2] {
        let drift = Wrong::MovingPages {
            create: 5,
            touch: 5,
            delete: 10,
        };
        assert!(
            scene
                .clerk
                .fault(Fault::next("GET /v1/users$", drift).after(after))
        );
    }
    let swept = sweep(&scene, &sweeper).await;
    assert_eq!(swept.wants_full, None, "{:?}", swept.report.notes);
    let next = sweep(&scene, &sweeper).await;
    assert_ne!(next.report.outcome, RunOutcome::Failed);
    let rows = scene.convex.rows("users");
    let there: BTreeSet<&str> = rows
        .iter()
        .filter_map(|row| row["clerkId"].as_str())
        .collect();
    for id in scene.clerk.user_ids() {
        assert!(there.contains(&*id), "{id} was skipped");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_changes_than_a_sweep_looks_at_become_a_gap_and_no_lie() {
    let (scene, sweeper) = settled().await;
    let before = position(&scene);
    // Pages of ten rows make a list of 500 longer than 40 pages.
    scene.clerk.seed_users(500);
    for id in scene.clerk.user_ids() {
        scene.clerk.update_user(&id, json!({})).expect("updated");
    }
    let short = Fault::next("GET /v1/users$", Wrong::ShortPage { rows: 10 });
    assert!(scene.clerk.fault(short.times(MAX_PAGES)));
    let (clerk, _) = scene.traffic();
    let swept = sweep(&scene, &sweeper).await;
    assert_eq!(scene.traffic().0, clerk + u64::from(MAX_PAGES));
    assert_eq!(swept.wants_full, Some(Why::TooFar.words()));
    let gap = gap(&scene.ends.state).expect("a cell").expect("a gap");
    assert_eq!(gap.from, Some(before.at));
    assert_eq!(gap.to, position(&scene).at);
    let next = sweep(&scene, &sweeper).await;
    assert_eq!(
        next.wants_full,
        Some(Why::TooFar.words()),
        "asked for until it was done"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_from_the_future_is_written_and_does_not_hide_the_others() {
    let (scene, sweeper) = settled().await;
    let odd = scene.sign_up("Future");
    let day_ms = 24 * 3_600_000;
    let future = (scene.ends.now)() + day_ms;
    scene
        .clerk
        .update_user(&odd, json!({"updated_at": future}))
        .expect("updated");
    sweep(&scene, &sweeper).await;
    assert!(scene.row(&odd).is_some());
    assert!(position(&scene).at < future - day_ms / 2);
    scene.clerk.advance_ms(2 * OVERLAP_MS);
    let new = scene.sign_up("Ada");
    sweep(&scene, &sweeper).await;
    assert!(scene.row(&new).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_moves_only_over_what_was_dealt_with() {
    let (scene, sweeper) = settled().await;
    let before = position(&scene);
    let new = scene.sign_up("Ada");
    let away = clerk_convex_sync::reconcile::ends::Ends {
        lane: broken_lane(),
        ..scene.metered()
    };
    let failed = sweeper
        .run(&away, &(), true, &scene.watch)
        .await
        .expect("a report");
    assert_eq!(failed.report.outcome, RunOutcome::Failed);
    assert_eq!(position(&scene), before);
    scene.convex.down();
    let failed = sweep(&scene, &sweeper).await;
    assert_eq!(failed.report.outcome, RunOutcome::Failed);
    assert_eq!(position(&scene), before);
    scene.convex.up();
    assert_eq!(
        sweep(&scene, &sweeper).await.report.outcome,
        RunOutcome::Repaired
    );
    assert!(scene.row(&new).is_some());
    scene
        .clerk
        .fault(Fault::next("GET /v1/users$", Wrong::Garbage));
    let error = sweeper.run(&scene.metered(), &(), true, &scene.watch).await;
    assert!(error.is_err(), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_that_may_only_report_writes_nothing_and_says_it_once() {
    let (scene, sweeper) = settled().await;
    let new = scene.sign_up("Ada");
    scene.later(LONG);
    let ends = scene.metered();
    let swept = sweeper
        .run(&ends, &(), false, &scene.watch)
        .await
        .expect("a sweep");
    assert_eq!(swept.report.outcome, RunOutcome::Differences);
    let difference = &swept.report.differences[0];
    assert_eq!(
        (difference.kind, difference.action),
        (DriftKind::Missing, Action::None)
    );
    assert!(scene.row(&new).is_none());
    let again = sweeper
        .run(&ends, &(), false, &scene.watch)
        .await
        .expect("a sweep");
    assert_eq!(again.report.outcome, RunOutcome::InSync);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_content_of_a_known_version_is_looked_up_before_it_is_written() {
    let (scene, sweeper) = settled().await;
    let id = scene.sign_up("Ada");
    scene.deliver(&id).await;
    let version = scene.clerk.user(&id).expect("a user")["updated_at"].clone();
    let tie = json!({"first_name": "Augusta", "updated_at": version});
    scene.clerk.update_user(&id, tie).expect("updated");
    let (clerk, convex) = scene.traffic();
    sweep(&scene, &sweeper).await;
    assert_eq!(scene.traffic(), (clerk + 2, convex + 1));
    assert_eq!(scene.row(&id).expect("a row")["name"], "Augusta");
    sweep(&scene, &sweeper).await;
    assert_eq!(scene.traffic(), (clerk + 3, convex + 1), "once");
}
