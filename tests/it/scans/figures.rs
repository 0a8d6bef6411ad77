//! Figures of full diffs where rows are odd, where one table is looked at alone, and where nothing may be done.

use clerk_convex_sync::{
    model::{Action, DriftKind, Table},
    report::{Report, RunKind, RunOutcome},
};
use serde_json::{Value, json};

use super::whole::Stage;

/// Twenty users, of whom five are members of one organization, on both sides.
async fn filled() -> Stage {
    let stage = Stage::start().await;
    let clerk = &stage.scene.clerk;
    clerk.seed_users(20);
    let organization = json!({"name": "Engines", "max_allowed_memberships": 100});
    let id = clerk.create_organization(organization).expect("created");
    for user in &clerk.user_ids()[..5] {
        clerk.add_member(&id, user, "org:member").expect("added");
    }
    let report = stage.run(RunKind::Reconcile).await;
    assert_eq!(report.outcome, RunOutcome::Repaired, "{report:?}");
    stage
}

fn patch(stage: &Stage, table: &str, key: &str, fields: Value) {
    let convex = &stage.scene.convex;
    let patched = convex.patch_row(table, &id(stage, table, key), &fields);
    patched.expect("patched");
}

fn remove(stage: &Stage, table: &str, key: &str) {
    let convex = &stage.scene.convex;
    convex
        .remove_row(table, &id(stage, table, key))
        .expect("removed");
}

fn id(stage: &Stage, table: &str, key: &str) -> String {
    let row = stage.scene.convex.row(table, key).expect("a row");
    row["_id"].as_str().expect("an id").to_owned()
}

fn said(report: &Report) -> Vec<(Table, String, DriftKind, Action)> {
    let all = report.differences.iter();
    all.map(|one| (one.table, one.key.to_string(), one.kind, one.action))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_table_can_be_compared_and_put_right_alone() {
    let stage = filled().await;
    for table in Table::ALL {
        let report = stage.run_of(RunKind::Audit, table).await;
        assert_eq!(report.outcome, RunOutcome::InSync, "{report:?}");
        assert_eq!(report.tables.len(), 1);
        assert!(report.tables[&table].clerk > 0);
    }
    let gone = stage.scene.clerk.user_ids()[7].clone();
    stage.scene.clerk.delete_user(&gone).expect("deleted");
    let report = stage.run_of(RunKind::Reconcile, Table::Profiles).await;
    assert_eq!(report.outcome, RunOutcome::Repaired, "{report:?}");
    let profile = (
        Table::Profiles,
        gone.clone(),
        DriftKind::Orphaned,
        Action::Deleted,
    );
    assert_eq!(said(&report), [profile]);
    let there = |table: &str| stage.scene.convex.row(table, &gone).is_some();
    assert_eq!(
        (there("users"), there("profiles")),
        (true, false),
        "the other table is not this run's"
    );
    let report = stage.run(RunKind::Reconcile).await;
    assert_eq!(report.outcome, RunOutcome::Repaired, "{report:?}");
    assert!(!there("users"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_membership_that_differs_is_no_drift_of_its_user() {
    let stage = filled().await;
    let users = stage.scene.clerk.user_ids();
    let rows = stage.scene.convex.rows("memberships");
    let of = |user: &str| {
        let own = rows.iter().find(|row| row["clerkUserId"] == user);
        own.expect("a membership").clone()
    };
    let missing = of(&users[1])["clerkId"].as_str().expect("a key").to_owned();
    remove(&stage, "memberships", &missing);
    // Older than the one that counts, and Clerk knows nothing of it.
    let ghost = json!({
        "clerkId": "orgmem_ghost", "clerkUserId": users[2], "clerkOrganizationId": "org_ghost",
        "role": "org:member", "clerkCreatedAt": 1, "clerkUpdatedAt": 1,
    });
    let convex = &stage.scene.convex;
    convex.insert_row("memberships", &ghost).expect("inserted");
    let organization =
        |user: &str| convex.row("users", user).expect("a row")["organizationId"].clone();
    let before: Vec<Value> = users.iter().map(|user| organization(user)).collect();
    for (kind, actions) in [
        (RunKind::Audit, [Action::None, Action::None]),
        (RunKind::Reconcile, [Action::Created, Action::Deleted]),
    ] {
        let report = stage.run(kind).await;
        let mut found = said(&report);
        found.sort_by_key(|one| one.2.name());
        let wanted = [
            (
                Table::Memberships,
                missing.clone(),
                DriftKind::Missing,
                actions[0],
            ),
            (
                Table::Memberships,
                "orgmem_ghost".to_owned(),
                DriftKind::Orphaned,
                actions[1],
            ),
        ];
        assert_eq!(found, wanted, "{report:?}");
    }
    let after: Vec<Value> = users.iter().map(|user| organization(user)).collect();
    assert_eq!(after, before);
    let report = stage.run(RunKind::Audit).await;
    assert_eq!(report.outcome, RunOutcome::InSync, "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_membership_of_nobody_keeps_no_other_row_from_being_put_right() {
    let stage = filled().await;
    let nobody = json!({"clerkId": "orgmem_nobody", "role": "org:member", "clerkCreatedAt": 1});
    let convex = &stage.scene.convex;
    convex.insert_row("memberships", &nobody).expect("inserted");
    let users = stage.scene.clerk.user_ids();
    for name in ["Mallory", "Mallory again"] {
        patch(&stage, "users", &users[3], json!({"name": name}));
        let report = stage.run(RunKind::Reconcile).await;
        assert_eq!(report.outcome, RunOutcome::Differences, "{report:?}");
        assert!(!report.resumed);
        let (users, members) = (
            report.tables[&Table::Users],
            report.tables[&Table::Memberships],
        );
        assert_eq!((users.stale, users.repaired), (1, 1));
        assert_eq!((members.clerk, members.convex), (5, 6));
        assert_eq!((members.orphaned, members.failed), (1, 1));
        let one = report
            .differences
            .iter()
            .find(|one| one.action == Action::Failed);
        let reason = one
            .and_then(|one| one.reason.as_deref())
            .unwrap_or_default();
        assert!(
            reason.contains("names no organization or no user"),
            "{reason}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_tries_nothing_so_nothing_in_it_failed_or_waits() {
    let stage = filled().await;
    let users = stage.scene.clerk.user_ids();
    let ahead = json!({"name": "Mallory", "clerkUpdatedAt": 99_999_999_999_999_i64});
    patch(&stage, "users", &users[3], ahead);
    patch(&stage, "users", &users[4], json!({"deletedAt": 5}));
    let report = stage.run(RunKind::Audit).await;
    let figures = report.tables[&Table::Users];
    assert_eq!(report.outcome, RunOutcome::Differences, "{report:?}");
    assert_eq!((figures.stale, figures.held, figures.failed), (2, 0, 0));
    assert!(said(&report).iter().all(|one| one.3 == Action::None));
    let report = stage.run(RunKind::Reconcile).await;
    let figures = report.tables[&Table::Users];
    assert_eq!((figures.stale, figures.held, figures.failed), (2, 1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_audit_only_looked_at_is_still_found_by_the_census() {
    let stage = filled().await;
    let gone = stage.scene.clerk.user_ids()[9].clone();
    stage.scene.clerk.delete_user(&gone).expect("deleted");
    let report = stage.run(RunKind::Audit).await;
    assert_eq!(report.tables[&Table::Users].orphaned, 1, "{report:?}");
    let report = stage.run(RunKind::Census).await;
    assert_eq!(report.tables[&Table::Users].repaired, 1, "{report:?}");
    assert!(stage.scene.convex.row("users", &gone).is_none());
}
