//! Censuses: S15 (an empty count), S17 and S20 (deletions nobody told), and their price.

use clerk_convex_sync::{
    model::{Action, DriftKind},
    reconcile::{
        repair::brake::Limits,
        scan::{
            MissedDeliveries,
            census::{Census, Counted, Leave},
        },
    },
    report::{Report, RunOutcome, TableFigures},
    sandbox::clerk::faults::{Fault, Wrong},
    telemetry::Metrics,
};
use serde_json::json;

use super::scene::Scene;

const LEAVE: Leave = Leave {
    repair: true,
    limits: Limits {
        max_deletes: 100,
        max_delete_ratio: 0.05,
    },
    lately: 0,
};
/// Long enough that a change counts as missed, in milliseconds.
const LONG: i64 = 42_000;

fn new(scene: &Scene) -> Census {
    let missed = MissedDeliveries::new(Metrics::default());
    Census::new(missed, scene.beliefs.clone())
}

async fn census(scene: &Scene, leave: Leave) -> Counted {
    let ends = scene.metered();
    let counted = new(scene).run(&ends, &(), leave, &scene.watch).await;
    counted.expect("a census")
}

fn report(counted: &Counted) -> &Report {
    counted.report.as_ref().expect("a report")
}

fn users(counted: &Counted) -> TableFigures {
    *report(counted).tables.values().next().expect("the users")
}

async fn agrees(scene: &Scene) {
    let (clerk, convex) = scene.traffic();
    let counted = census(scene, LEAVE).await;
    assert_eq!(report(&counted).outcome, RunOutcome::InSync, "{counted:?}");
    assert_eq!(scene.traffic(), (clerk + 1, convex));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_census_in_agreement_costs_one_request_and_no_call() {
    let scene = Scene::start().await;
    scene.populate(300).await;
    agrees(&scene).await;
    let id = scene.sign_up("Ada");
    scene.deliver(&id).await;
    let created_at = scene.clerk.user(&id).expect("a user")["created_at"].as_i64();
    scene.beliefs.created(created_at.expect("a time"));
    agrees(&scene).await;
    scene.clerk.delete_user(&id).expect("deleted");
    scene.deliver(&id).await;
    scene.beliefs.deleted(None);
    agrees(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn before_anybody_has_counted_there_is_no_census_and_nobody_is_asked() {
    let scene = Scene::start().await;
    scene.sign_up("Ada");
    let before = scene.traffic();
    let counted = census(&scene, LEAVE).await;
    assert!(counted.report.is_none(), "{counted:?}");
    let why = counted.wants_full.expect("what it needs");
    assert!(why.contains("full diff"), "{why}");
    assert_eq!(scene.traffic(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn s20_deletions_that_nobody_told_are_found_confirmed_and_done() {
    let scene = Scene::start().await;
    scene.populate(600).await;
    let gone: Vec<String> = scene.clerk.user_ids().into_iter().step_by(200).collect();
    for id in &gone {
        scene.clerk.delete_user(id).expect("deleted");
    }
    let counted = census(&scene, LEAVE).await;
    assert_eq!(
        report(&counted).outcome,
        RunOutcome::Repaired,
        "{counted:?}"
    );
    let figures = users(&counted);
    assert_eq!(
        (figures.orphaned, figures.repaired, counted.missed),
        (3, 3, 3)
    );
    for difference in &report(&counted).differences {
        assert_eq!(difference.kind, DriftKind::Orphaned);
        assert_eq!(difference.action, Action::Deleted);
        let reason = difference.reason.as_deref().expect("a reason");
        assert_eq!(
            reason,
            "Clerk says that it does not exist; no delivery told of it"
        );
    }
    assert!(gone.iter().all(|id| scene.row(id).is_none()));
    assert_eq!(scene.convex.count("users"), 597);
    assert_eq!(
        scene.clerk.requests().to("GET /v1/users/{user_id}"),
        3,
        "each was asked for"
    );
    agrees(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_deletions_among_thousands_of_ranges_take_few_requests() {
    let scene = Scene::start().await;
    scene.populate(12_000).await;
    let ids = scene.clerk.user_ids();
    for id in ids.iter().step_by(1_200) {
        scene.clerk.delete_user(id).expect("deleted");
    }
    let (before, _) = scene.traffic();
    let counted = census(&scene, LEAVE).await;
    assert_eq!(users(&counted).repaired, 10, "{counted:?}");
    let requests = scene.traffic().0 - before;
    println!(
        "{requests} requests for 10 deletions in {} ranges; a full diff takes one for 500 users",
        scene.beliefs.now().expect("a belief").len()
    );
    assert!(requests <= 250, "{requests}");
    agrees(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_row_is_written_and_an_overwritten_one_is_called_so() {
    let scene = Scene::start().await;
    scene.populate(300).await;
    let new = scene.sign_up("Ada");
    scene.pass(LONG);
    let counted = census(&scene, LEAVE).await;
    assert_eq!(
        (users(&counted).missing, users(&counted).repaired),
        (1, 1),
        "{counted:?}"
    );
    assert_eq!(report(&counted).differences[0].key.as_str(), new);
    assert!(scene.row(&new).is_some());
    agrees(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_without_created_at_is_not_missing() {
    let scene = Scene::start().await;
    scene.populate(50).await;
    let new = scene.sign_up("Ada");
    let row = json!({"clerkId": new, "email": "ada@example.com", "role": "user"});
    scene.convex.insert_row("users", &row).expect("inserted");
    let counted = census(&scene, LEAVE).await;
    assert_eq!(users(&counted).differences(), 0, "{counted:?}");
    assert_eq!(scene.convex.count("users"), 51);
    agrees(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s15_a_count_of_zero_changes_nothing_and_is_critical() {
    let scene = Scene::start().await;
    scene.populate(60).await;
    for id in scene.clerk.user_ids() {
        scene.clerk.delete_user(&id).expect("deleted");
    }
    let census = new(&scene);
    let ends = scene.metered();
    let counted = census
        .run(&ends, &(), LEAVE, &scene.watch)
        .await
        .expect("a census");
    assert_eq!(report(&counted).outcome, RunOutcome::Failed);
    assert_eq!(scene.alerts(), ["empty_listing"]);
    assert_eq!(scene.convex.count("users"), 60);
    assert_eq!(scene.beliefs.total(), Some(60));
    // More than are gone from the newest range, for which they would make up.
    for name in ["Ada", "Grace", "Frances"] {
        scene.sign_up(name);
    }
    let counted = census
        .run(&ends, &(), LEAVE, &scene.watch)
        .await
        .expect("a census");
    assert_eq!(report(&counted).outcome, RunOutcome::Held);
    assert!(scene.alerts().is_empty());
    assert_eq!(
        scene.convex.count("users"),
        63,
        "the 60 are held, the new ones came"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn s15_an_empty_list_beside_a_count_is_no_evidence() {
    let scene = Scene::start().await;
    scene.populate(60).await;
    let id = scene.clerk.user_ids().remove(7);
    scene.clerk.delete_user(&id).expect("deleted");
    let empty = Fault::next("GET /v1/users$", Wrong::EmptyListing);
    assert!(scene.clerk.fault(empty.times(100)));
    let counted = census(&scene, LEAVE).await;
    assert_eq!(report(&counted).outcome, RunOutcome::Failed, "{counted:?}");
    assert_eq!(scene.convex.count("users"), 60);
    scene.clerk.clear_faults();
    let counted = census(&scene, LEAVE).await;
    assert_eq!(
        report(&counted).outcome,
        RunOutcome::Repaired,
        "{counted:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn s17_more_deletions_than_allowed_are_held_before_the_first() {
    let scene = Scene::start().await;
    scene.populate(200).await;
    for id in scene.clerk.user_ids().iter().take(120) {
        scene.clerk.delete_user(id).expect("deleted");
    }
    let new = scene.sign_up("Ada");
    let counted = census(&scene, LEAVE).await;
    assert_eq!(report(&counted).outcome, RunOutcome::Held, "{counted:?}");
    assert_eq!((counted.held.len(), users(&counted).held), (120, 120));
    assert!(counted.wants_full.is_some());
    assert_eq!(scene.convex.count("users"), 201);
    assert!(scene.row(&new).is_some(), "creations go on");
}

#[tokio::test(flavor = "multi_thread")]
async fn s16_under_a_key_that_shows_no_user_of_ours_nothing_is_taken_for_gone() {
    let scene = Scene::start().await;
    scene.populate(1).await;
    let own = scene.clerk.user_ids().remove(0);
    scene.clerk.delete_user(&own).expect("deleted");
    // Another instance, whose users Convex may not get either; two, so that the counts differ.
    for name in ["Ada", "Grace"] {
        scene.sign_up(name);
    }
    let leave = Leave {
        repair: false,
        ..LEAVE
    };
    let counted = census(&scene, leave).await;
    assert_eq!(report(&counted).outcome, RunOutcome::Failed, "{counted:?}");
    assert!(scene.row(&own).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_belief_there_is_no_census_and_no_success() {
    let scene = Scene::start().await;
    scene.clerk.seed_users(10);
    let counted = census(&scene, LEAVE).await;
    assert!(counted.report.is_none() && counted.wants_full.is_some());
    assert_eq!(scene.traffic(), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_census_that_may_only_report_says_it_each_time() {
    let scene = Scene::start().await;
    scene.populate(100).await;
    let gone = scene.clerk.user_ids().remove(0);
    scene.clerk.delete_user(&gone).expect("deleted");
    let leave = Leave {
        repair: false,
        ..LEAVE
    };
    for _ in 0..2 {
        let counted = census(&scene, leave).await;
        assert_eq!(
            report(&counted).outcome,
            RunOutcome::Differences,
            "{counted:?}"
        );
        assert_eq!(users(&counted).orphaned, 1);
        assert!(scene.row(&gone).is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_was_counted_already_does_not_hide_the_next_one() {
    let scene = Scene::start().await;
    scene.populate(300).await;
    // The full diff did not list the user any more; the delivery that removed the row came after it.
    scene.beliefs.deleted(None);
    let counted = census(&scene, LEAVE).await;
    assert_eq!(report(&counted).outcome, RunOutcome::InSync, "{counted:?}");
    assert_eq!(scene.beliefs.total(), Some(300));
    let gone = scene.clerk.user_ids().remove(150);
    scene.clerk.delete_user(&gone).expect("deleted");
    let counted = census(&scene, LEAVE).await;
    assert_eq!(users(&counted).orphaned, 1, "{counted:?}");
    assert!(scene.row(&gone).is_none());
    agrees(&scene).await;
}
