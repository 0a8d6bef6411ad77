//! The desk with runs that a test ends when it likes.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
};

use futures_util::future::BoxFuture;
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::*;
use crate::{
    model::{Action, Key, Table},
    reconcile::run::{AskedBy, Watch},
    report::{RunOutcome, TableFigures},
    store::state::{self},
};

/// How a run is to end.
enum Order {
    Report(Box<Report>),
    Fail(RunError),
    Panic,
}

/// Runs that end by order; without one, they wait for their token, or for ever.
struct ByOrder {
    orders: tokio::sync::Mutex<mpsc::UnboundedReceiver<Order>>,
    deaf: bool,
}

impl Runs for ByOrder {
    fn run(
        &self,
        request: RunRequest,
        progress: Watch,
        stop: CancellationToken,
    ) -> BoxFuture<'_, Result<Report, RunError>> {
        let deaf = self.deaf;
        Box::pin(async move {
            progress.send_modify(|now| now.phase = format!("{} walks", request.kind));
            let mut orders = self.orders.lock().await;
            tokio::select! {
                Some(order) = orders.recv() => match order {
                    Order::Report(report) => Ok(*report),
                    Order::Fail(error) => Err(error),
                    Order::Panic => panic!("by order"),
                },
                () = stop.cancelled(), if !deaf => Err(RunError::Interrupted("stopped".into())),
            }
        })
    }

    fn sync_one(
        &self,
        record: RecordKey,
        _: bool,
        _: Arc<str>,
    ) -> BoxFuture<'_, Result<SyncedOne, RunError>> {
        Box::pin(async move {
            Ok(SyncedOne {
                record,
                clerk: "found",
                action: Action::Updated,
                reason: None,
            })
        })
    }
}

struct World {
    desk: Desk,
    orders: mpsc::UnboundedSender<Order>,
    paused: Arc<AtomicBool>,
    metrics: Metrics,
    alerts: Alerts,
    dir: TempDir,
}

fn world() -> World {
    world_in(tempfile::tempdir().unwrap(), false)
}

fn world_in(dir: TempDir, deaf: bool) -> World {
    let options = state::Options::at(chrono::DateTime::default(), None);
    let state = State::open(dir.path(), &options).unwrap().state;
    let (orders, receiver) = mpsc::unbounded_channel();
    let paused = Arc::new(AtomicBool::new(false));
    let metrics = Metrics::default();
    let alerts = Alerts::default();
    let asked = Arc::clone(&paused);
    let desk = Desk::new(Options {
        runs: Arc::new(ByOrder {
            orders: tokio::sync::Mutex::new(receiver),
            deaf,
        }),
        state,
        metrics: metrics.clone(),
        alerts: alerts.clone(),
        now_ms: || 1_700_000_000_000,
        holding: Arc::new(move || asked.load(Ordering::Relaxed).then_some(Hold::Paused)),
        full: RunKind::Reconcile,
        show_values: false,
    });
    World {
        desk,
        orders,
        paused,
        metrics,
        alerts,
        dir,
    }
}

fn request(kind: RunKind) -> RunRequest {
    RunRequest {
        kind,
        tables: Vec::new(),
        max_deletes: None,
        approve: None,
        mapping: None,
        asked_by: AskedBy::Operator,
    }
}

fn report(kind: RunKind, outcome: RunOutcome) -> Report {
    let figures = TableFigures {
        clerk: 5,
        missing: 2,
        ..TableFigures::default()
    };
    Report {
        id: "run-1".into(),
        kind,
        started_ms: 1,
        finished_ms: 2,
        plan_digest: None,
        outcome,
        resumed: false,
        tables: BTreeMap::from([(Table::Users, figures)]),
        files: None,
        differences: Vec::new(),
        calls: Default::default(),
        bytes: Default::default(),
        notes: Vec::new(),
    }
}

fn reported(kind: RunKind, outcome: RunOutcome) -> Order {
    Order::Report(Box::new(report(kind, outcome)))
}

#[tokio::test]
async fn one_of_a_sort_runs_at_a_time_and_others_run_beside_it() {
    let world = world();
    let mut first = world.desk.start(request(RunKind::Reconcile)).unwrap();
    let second = world.desk.start(request(RunKind::Audit)).unwrap_err();
    assert_eq!(second, RunError::Busy(RunKind::Reconcile));
    let sweep = world.desk.start(request(RunKind::Sweep));
    assert!(sweep.is_ok());
    let order = reported(RunKind::Reconcile, RunOutcome::Repaired);
    world.orders.send(order).unwrap();
    assert_eq!(first.ended.wait().await.unwrap().id, "run-1");
    // Its place is free before the answer is given.
    world.desk.start(request(RunKind::Audit)).unwrap();
}

#[tokio::test]
async fn a_run_goes_on_when_whoever_asked_has_left_and_is_remembered_over_a_restart() {
    let world = world();
    let mut progress = {
        let running = world.desk.start(request(RunKind::Reconcile)).unwrap();
        running.progress.clone()
    };
    progress
        .wait_for(|now| !now.phase.is_empty())
        .await
        .unwrap();
    let view = world.desk.view(Slot::Full);
    let (kind, now) = view.running.unwrap();
    assert_eq!(
        (kind, now.phase.as_str()),
        (RunKind::Reconcile, "reconcile walks")
    );
    let order = reported(RunKind::Reconcile, RunOutcome::Repaired);
    world.orders.send(order).unwrap();
    while progress.changed().await.is_ok() {}
    world.desk.close(Duration::from_secs(5)).await;
    let before = world.desk.view(Slot::Full).memory;
    assert_eq!(before.success_ms, Some(1_700_000_000_000));
    let text = world.metrics.render();
    for line in [
        "runs_total{kind=\"reconcile\",outcome=\"repaired\"} 1",
        "differences{table=\"users\",kind=\"missing\"} 2",
        "differences{table=\"users\",kind=\"orphaned\"} 0",
        "run_last_success_timestamp_seconds{kind=\"full\"} 1700000000",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    let World { desk, dir, .. } = world;
    drop(desk);
    let next = world_in(dir, false);
    assert_eq!(next.desk.view(Slot::Full).memory, before);
    assert_eq!(next.desk.view(Slot::Sweep).memory, Memory::default());
    let missing = "differences{table=\"users\",kind=\"missing\"} 2";
    assert!(
        next.metrics.render().contains(missing),
        "as before the restart"
    );
}

#[tokio::test]
async fn what_a_full_diff_found_stays_until_the_next_one_whatever_else_runs() {
    let world = world();
    let found = async |request: RunRequest, missing| {
        let mut report = report(request.kind, RunOutcome::Repaired);
        let figures = report.tables.get_mut(&Table::Users).unwrap();
        figures.missing = missing;
        let mut running = world.desk.start(request).unwrap();
        let order = Order::Report(Box::new(report));
        world.orders.send(order).unwrap();
        running.ended.wait().await.unwrap();
        let text = world.metrics.render();
        let series = "differences{table=\"users\",kind=\"missing\"} ";
        let (_, after) = text.split_once(series).unwrap();
        after.lines().next().unwrap().parse::<u64>().unwrap()
    };
    let reconcile = || request(RunKind::Reconcile);
    assert_eq!(found(reconcile(), 7).await, 7);
    let plan = RunRequest {
        approve: Some("d".into()),
        ..reconcile()
    };
    assert_eq!(found(plan, 0).await, 7, "a plan compares nothing");
    assert_eq!(found(request(RunKind::Sweep), 1).await, 7);
    assert_eq!(found(request(RunKind::Audit), 3).await, 3);
}

#[tokio::test]
async fn a_run_that_fails_or_panics_frees_its_place_and_counts_as_a_failure() {
    let world = world();
    for (order, outcome) in [
        (
            Order::Fail(RunError::Interrupted("away".into())),
            "interrupted",
        ),
        (Order::Fail(RunError::Refused("no".into())), "refused"),
        (Order::Panic, "panicked"),
        (reported(RunKind::Sweep, RunOutcome::Failed), "failed"),
    ] {
        let mut running = world.desk.start(request(RunKind::Sweep)).unwrap();
        world.orders.send(order).unwrap();
        let _ = running.ended.wait().await;
        let line = format!("runs_total{{kind=\"sweep\",outcome=\"{outcome}\"}} 1");
        assert!(world.metrics.render().contains(&line), "{line}");
    }
    let memory = world.desk.view(Slot::Sweep).memory;
    assert_eq!((memory.failures, memory.success_ms), (4, None));
    assert!(!memory.unfinished);
}

#[tokio::test]
async fn nothing_that_writes_starts_while_it_is_held_but_a_look_does() {
    let world = world();
    world.paused.store(true, Ordering::Relaxed);
    for kind in [RunKind::Reconcile, RunKind::Sweep, RunKind::Census] {
        let refused = world.desk.start(request(kind)).unwrap_err();
        assert!(matches!(refused, RunError::Refused(_)), "{refused}");
    }
    let user = RecordKey::new(Table::Users, Key::parse("user_1").unwrap());
    let by = || "a test".into();
    let refused = world.desk.sync_one(user.clone(), false, by()).await;
    let refused = refused.unwrap_err();
    assert!(matches!(refused, RunError::Refused(_)), "{refused}");
    assert!(world.desk.start(request(RunKind::Audit)).is_ok());
    world.paused.store(false, Ordering::Relaxed);
    let synced = world.desk.sync_one(user, false, by()).await.unwrap();
    assert_eq!(synced.action, Action::Updated);
}

#[tokio::test]
async fn an_end_stops_runs_and_leaves_them_to_the_next_process() {
    let world = world();
    let mut running = world.desk.start(request(RunKind::Reconcile)).unwrap();
    world.desk.close(Duration::from_secs(5)).await;
    assert!(matches!(
        running.ended.wait().await,
        Err(RunError::Interrupted(_))
    ));
    let late = world.desk.start(request(RunKind::Audit));
    assert!(matches!(late, Err(RunError::Interrupted(_))));
    let World { desk, dir, .. } = world;
    drop(desk);
    let memory = world_in(dir, false).desk.view(Slot::Full).memory;
    assert!(memory.unfinished);
    assert_eq!(memory.failures, 0);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_does_not_listen_is_left_where_it_stands() {
    let world = world_in(tempfile::tempdir().unwrap(), true);
    let mut running = world.desk.start(request(RunKind::Census)).unwrap();
    world.desk.close(Duration::from_secs(2)).await;
    assert!(matches!(
        running.ended.wait().await,
        Err(RunError::Interrupted(_))
    ));
    assert!(world.desk.view(Slot::Census).running.is_none());
}

#[tokio::test]
async fn a_run_that_fails_is_an_alert_until_one_of_its_sort_has_seen_everything() {
    use RunKind::{Reconcile, Sweep};
    let world = world();
    let told = async |kind, order| {
        let mut running = world.desk.start(request(kind)).unwrap();
        world.orders.send(order).unwrap();
        let _ = running.ended.wait().await;
        let raised = world.alerts.raised();
        raised.iter().any(|alert| alert.code == "run_failed")
    };
    assert!(told(Reconcile, reported(Reconcile, RunOutcome::Failed)).await);
    assert!(!told(Reconcile, reported(Reconcile, RunOutcome::Repaired)).await);
    let away = || Order::Fail(RunError::Interrupted("Clerk is away".into()));
    for news in [false, false, true] {
        assert_eq!(told(Sweep, away()).await, news, "once is no news");
    }
    assert!(told(Reconcile, reported(Reconcile, RunOutcome::InSync)).await);
    assert!(!told(Sweep, reported(Sweep, RunOutcome::InSync)).await);
    let early = Order::Fail(RunError::Early("nobody has counted yet".into()));
    assert!(!told(RunKind::Census, early).await, "it needs nobody");
    let refused = Order::Fail(RunError::Refused("check the key".into()));
    assert!(told(Sweep, refused).await, "nobody but a person can help");
}
