//! Full diffs between the simulated ends: what they find, what they repair, what they leave alone.

use std::{sync::Arc, time::Duration};

use clerk_convex_sync::{
    model::{Action, DriftKind, Table},
    reconcile::{
        ends::Ends,
        reconciler::{Identity, Options, Reconciler, Rules},
        run::{AskedBy, Progress, RunError, RunRequest, Runs},
        scan::{MissedDeliveries, census::Census, sweep::Sweeper},
    },
    report::{Report, RunKind, RunOutcome, history::History},
    store::crypt::Keyring,
    telemetry::Metrics,
};
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::scene::Scene;

/// A pair that was never seen before; whether Clerk's key has shown one of our records.
struct Pair {
    proved: bool,
}

impl Identity for Pair {
    fn deployment(&self) -> String {
        "simulated".into()
    }

    fn key_kind(&self) -> &'static str {
        "test"
    }

    fn is_proved(&self) -> bool {
        self.proved
    }

    fn prove(&self) {}
}

/// A scene with somebody who carries runs out.
pub struct Stage {
    pub scene: Scene,
    pub runner: Arc<Reconciler>,
    _dir: TempDir,
}

impl Stage {
    pub async fn start() -> Stage {
        Stage::of(Pair { proved: true }, None).await
    }

    async fn of(pair: Pair, purge_after: Option<Duration>) -> Stage {
        let scene = Scene::start().await;
        let dir = tempfile::tempdir().expect("a directory");
        let ends: Ends = scene.ends.clone();
        let missed = MissedDeliveries::new(Metrics::default());
        let beliefs = scene.beliefs.clone();
        let runner = Reconciler::new(Options {
            ends: Box::new(move || ends.clone()),
            rules: Box::new(move || Rules {
                repair: true,
                max_deletes: 100,
                max_delete_ratio: 0.05,
                merge_duplicates: false,
                purge_after,
                show_values: false,
                page_rows: 2000,
                calls: 4,
            }),
            identity: Arc::new(pair),
            dir: dir.path().to_owned(),
            keys: Keyring::default(),
            history: History::open(dir.path(), false, &Keyring::default()).expect("a history"),
            sweeper: Sweeper::new(missed.clone(), beliefs.clone()),
            census: Census::new(missed, beliefs.clone()),
            beliefs,
            known: Box::new(()),
            want_full: Box::new(|_| {}),
        });
        Stage {
            scene,
            runner,
            _dir: dir,
        }
    }

    pub async fn try_run(
        &self,
        kind: RunKind,
        approve: Option<String>,
    ) -> Result<Report, RunError> {
        self.carry_out(kind, Vec::new(), approve).await
    }

    async fn carry_out(
        &self,
        kind: RunKind,
        tables: Vec<Table>,
        approve: Option<String>,
    ) -> Result<Report, RunError> {
        let request = RunRequest {
            kind,
            tables,
            max_deletes: None,
            approve,
            mapping: None,
            asked_by: AskedBy::Operator,
        };
        let watch = watch::Sender::new(Progress::default());
        self.runner
            .run(request, watch, CancellationToken::new())
            .await
    }

    /// A run of one table.
    pub async fn run_of(&self, kind: RunKind, table: Table) -> Report {
        let run = self.carry_out(kind, vec![table], None);
        run.await.expect("a report")
    }

    pub async fn run(&self, kind: RunKind) -> Report {
        self.try_run(kind, None).await.expect("a report")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_table_is_filled_and_then_agrees() {
    let stage = Stage::start().await;
    stage.scene.clerk.seed_users(1_200);
    let report = stage.run(RunKind::Reconcile).await;
    assert_eq!(report.outcome, RunOutcome::Repaired, "{:?}", report.notes);
    let twice = "users and profiles: empty at first";
    let told = report.notes.iter().filter(|note| note.starts_with(twice));
    assert_eq!(told.count(), 1, "{:?}", report.notes);
    assert_eq!(stage.scene.convex.count("users"), 1_200);
    assert_eq!(stage.scene.convex.count("profiles"), 1_200);
    let mutations = stage.scene.convex.calls().mutations;
    let report = stage.run(RunKind::Audit).await;
    assert_eq!(report.outcome, RunOutcome::InSync, "{report:?}");
    assert!(!report.notes.iter().any(|note| note.starts_with(twice)));
    assert_eq!(stage.scene.convex.calls().mutations, mutations);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_is_not_allowed_is_told_of_whether_its_row_is_there_or_not() {
    let stage = Stage::start().await;
    stage.scene.sign_up("Bob");
    let claims =
        json!({"email_address": ["ada@example.com"], "public_metadata": {"role": "emperor"}});
    stage.scene.clerk.create_user(claims).expect("created");
    for kind in [RunKind::Reconcile, RunKind::Audit] {
        let notes = stage.run(kind).await.notes;
        let told = |note: &&String| note.starts_with("1 user(s) have a role in their metadata");
        assert_eq!(notes.iter().filter(told).count(), 1, "{notes:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_names_exactly_what_differs_and_a_reconcile_puts_it_right() {
    let stage = Stage::start().await;
    stage.scene.clerk.seed_users(60);
    let users = stage.scene.clerk.user_ids();
    stage.run(RunKind::Reconcile).await;
    let convex = &stage.scene.convex;
    let id = |key: &str| {
        convex.row("users", key).expect("a row")["_id"]
            .as_str()
            .map(str::to_owned)
            .expect("an id")
    };
    convex.remove_row("users", &id(&users[3])).expect("removed");
    let other = json!({"name": "Somebody Else"});
    convex
        .patch_row("users", &id(&users[7]), &other)
        .expect("patched");
    stage.scene.clerk.delete_user(&users[9]).expect("deleted");
    let report = stage.run(RunKind::Audit).await;
    let mut found: Vec<_> = report
        .differences
        .iter()
        .map(|one| (one.table.name(), one.key.to_string(), one.kind, one.action))
        .collect();
    found.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    let mut wanted = vec![
        ("users", users[3].clone(), DriftKind::Missing, Action::None),
        ("users", users[7].clone(), DriftKind::Stale, Action::None),
        ("users", users[9].clone(), DriftKind::Orphaned, Action::None),
        (
            "profiles",
            users[9].clone(),
            DriftKind::Orphaned,
            Action::None,
        ),
    ];
    wanted.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    assert_eq!(found, wanted);
    assert_eq!(report.outcome, RunOutcome::Differences);
    let report = stage.run(RunKind::Reconcile).await;
    assert_eq!(report.outcome, RunOutcome::Repaired, "{report:?}");
    let mutations = convex.calls().mutations;
    let report = stage.run(RunKind::Audit).await;
    assert_eq!(report.outcome, RunOutcome::InSync, "{report:?}");
    assert_eq!(convex.calls().mutations, mutations);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s17_a_mass_deletion_is_held_before_its_first_row() {
    let stage = Stage::start().await;
    stage.scene.clerk.seed_users(1_000);
    let users = stage.scene.clerk.user_ids();
    stage.run(RunKind::Reconcile).await;
    for user in &users[..600] {
        stage.scene.clerk.delete_user(user).expect("deleted");
    }
    stage.scene.sign_up("Newcomer");
    let report = stage.run(RunKind::Reconcile).await;
    assert_eq!(report.outcome, RunOutcome::Held, "{:?}", report.notes);
    assert_eq!(
        stage.scene.convex.count("users"),
        1_001,
        "the newcomer is there, nobody is gone"
    );
    let digest = report.plan_digest.expect("a digest");
    let again = stage.run(RunKind::Reconcile).await;
    assert_eq!(again.plan_digest.as_ref(), Some(&digest));
    for user in &users[..5] {
        stage.scene.clerk.restore_user(user).expect("restored");
    }
    let report = stage
        .try_run(RunKind::Reconcile, Some(digest))
        .await
        .expect("a report");
    assert_eq!(report.outcome, RunOutcome::Repaired, "{:?}", report.notes);
    assert_eq!(stage.scene.convex.count("users"), 406);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_sees_what_was_in_doubt_ends_the_alert_about_it() {
    let stage = Stage::of(Pair { proved: false }, None).await;
    stage.scene.clerk.seed_users(10);
    stage.run(RunKind::Reconcile).await;
    let codes = [
        "empty_listing",
        "foreign_instance",
        "journal_damaged",
        "state_rebuilt",
    ];
    for code in codes {
        stage.scene.ends.alerts.raise(code, "as if", 1);
    }
    // The key knows our rows, and there are users.
    stage.run(RunKind::Audit).await;
    assert_eq!(stage.scene.alerts(), ["journal_damaged", "state_rebuilt"]);
    // What was lost is put right by what repairs, and by nothing less.
    stage.run(RunKind::Reconcile).await;
    assert_eq!(stage.scene.alerts(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_were_held_for_long_go_for_good_unless_a_clock_is_wrong() {
    let hold = Duration::from_secs(60);
    let stage = Stage::of(Pair { proved: true }, Some(hold)).await;
    stage.scene.clerk.seed_users(20);
    stage.run(RunKind::Reconcile).await;
    let (convex, user) = (&stage.scene.convex, &stage.scene.clerk.user_ids()[3]);
    let id = |table: &str| convex.row(table, user).expect("a row")["_id"].clone();
    let text = |id: serde_json::Value| id.as_str().map(str::to_owned).expect("an id");
    let deleted = json!({"deletedAt": 1});
    convex
        .patch_row("users", &text(id("users")), &deleted)
        .expect("patched");
    convex
        .remove_row("profiles", &text(id("profiles")))
        .expect("removed");
    stage.scene.clerk.delete_user(user).expect("deleted");
    let alerts = &stage.scene.ends.alerts;
    alerts.raise("clock_skew", "as if", 1);
    let report = stage.run(RunKind::Reconcile).await;
    assert!(convex.row("users", user).is_some(), "{:?}", report.notes);
    alerts.clear("clock_skew");
    let report = stage.run(RunKind::Reconcile).await;
    assert!(convex.row("users", user).is_none(), "{:?}", report.notes);
}
