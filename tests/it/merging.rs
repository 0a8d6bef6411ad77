//! Several rows of one key: reported, and merged only where a person has allowed it, within the brake.

use clerk_convex_sync::sandbox::convex::ConvexSim;
use serde_json::{Value, json};

use crate::{
    runs::{found, notes, run, text},
    world::World,
};

/// Puts a copy of a row beside it; the copy's id.
fn copy(convex: &ConvexSim, table: &str, key: &str) -> String {
    let mut row = convex.row(table, key).expect("a row");
    let fields = row.as_object_mut().expect("an object");
    fields.retain(|name, _| !name.starts_with('_'));
    fields.insert("creditsBalance".into(), json!(5));
    convex.insert_row(table, &row).expect("inserted")
}

/// Users of whom the first have two rows, and the ids of both, the older first.
async fn doubled(
    settings: &[(&str, &str)],
    twice: usize,
) -> (World, Vec<(String, String, String)>) {
    let world = World::filled(settings, 40).await;
    let mut ids = world.clerk.user_ids();
    ids.sort();
    ids.truncate(twice);
    let double = |key: String| {
        let older = text(&world.user_row(&key).expect("a row")["_id"]);
        let younger = copy(&world.convex, "users", &key);
        (key, older, younger)
    };
    let doubles = ids.into_iter().map(double).collect();
    (world, doubles)
}

fn of(report: &Value, kind: &str) -> Vec<(String, String)> {
    let all = report["differences"].as_array().expect("a list");
    let these = all.iter().filter(|one| one["kind"] == kind);
    these
        .map(|one| (text(&one["action"]), text(&one["reason"])))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicates_are_reported_and_none_is_removed_unless_it_is_allowed() {
    let (world, doubles) = doubled(&[], 2).await;
    for kind in ["audit", "reconcile", "reconcile"] {
        let report = world.report(kind).await;
        assert_eq!(report["outcome"], "differences", "{}", notes(&report));
        let duplicates = of(&report, "duplicate");
        assert_eq!(duplicates.len(), 2, "{report:#}");
        for (action, reason) in duplicates {
            assert_eq!(action, "none");
            assert!(
                reason.contains("2 rows have this key; none was removed"),
                "{reason}"
            );
        }
    }
    assert_eq!(world.convex.count("users"), 40 + doubles.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn where_it_is_allowed_the_oldest_row_stays_and_what_pointed_at_the_others_points_at_it() {
    let allowed = [("CCS_REPAIR__MERGE_DUPLICATES", "true")];
    let (world, doubles) = doubled(&allowed, 2).await;
    let (key, older, younger) = &doubles[0];
    let profile = world.convex.row("profiles", key).expect("a row");
    copy(&world.convex, "profiles", key);
    let points = json!({"userId": younger});
    let patched = world
        .convex
        .patch_row("profiles", &text(&profile["_id"]), &points);
    patched.expect("patched");
    let file = json!({"userId": younger, "name": "a file"});
    world.convex.insert_row("files", &file).expect("inserted");
    // The kept row differs as well, and is brought up to date beside.
    let drifted = json!({"name": "By the app", "creditsBalance": 77});
    let patched = world.convex.patch_row("users", older, &drifted);
    patched.expect("patched");

    let audit = world.report("audit").await;
    assert_eq!(found(&audit, "duplicate").len(), 3, "{audit:#}");
    let report = world.report("reconcile").await;
    assert_eq!(report["outcome"], "repaired", "{report:#}");
    let merged = of(&report, "duplicate");
    assert_eq!(merged.len(), 3, "{report:#}");
    for (action, reason) in merged {
        assert_eq!(action, "updated");
        assert!(reason.contains("1 younger row was removed"), "{reason}");
    }
    let row = world.user_row(key).expect("a row");
    assert_eq!(
        (text(&row["_id"]), &row["creditsBalance"]),
        (older.clone(), &json!(77))
    );
    assert_ne!(row["name"], "By the app");
    let profile = world.convex.row("profiles", key).expect("a row");
    assert_eq!(text(&profile["userId"]), *older);
    let files = world.convex.rows("files");
    assert_eq!(text(&files[0]["userId"]), *older);
    assert!(world.convex.tombstones("users").is_empty());
    world.agrees().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_would_be_merged_count_as_deletions_and_wait_for_a_person_together_with_them() {
    let settings = [
        ("CCS_REPAIR__MERGE_DUPLICATES", "true"),
        ("CCS_REPAIR__MAX_DELETES", "2"),
    ];
    let (mut world, doubles) = doubled(&settings, 2).await;
    let lost = world.clerk.user_ids().into_iter().max().expect("somebody");
    world.unheard(|clerk| clerk.delete_user(&lost).expect("deleted"));
    let held = world.report("reconcile").await;
    assert_eq!(held["outcome"], "held", "{}", notes(&held));
    assert_eq!(held["tables"]["users"]["held"], 3);
    assert_eq!(world.convex.count("users"), 40 + doubles.len(), "all stay");
    let duplicates = of(&held, "duplicate");
    assert!(
        duplicates.iter().all(|(action, _)| action == "held"),
        "{held:#}"
    );
    let digest = text(&held["plan_digest"]);

    // A plan that waits is told of by the next process too.
    let is_held = async |world: &World| {
        let alerts = world.door().alerts().await;
        alerts.contains(&"plan_held".to_owned())
    };
    world.stop_daemon().await;
    world.start_daemon().await;
    assert!(is_held(&world).await);
    let done = run(
        &world.door(),
        json!({"kind": "reconcile", "approve": digest}),
    )
    .await;
    let done = done.expect("a report");
    assert_eq!(done["outcome"], "repaired", "{done:#}");
    assert_eq!(of(&done, "duplicate").len(), 2);
    assert_eq!(world.convex.count("users"), 39);
    assert!(!is_held(&world).await);
    world.agrees().await;
}
