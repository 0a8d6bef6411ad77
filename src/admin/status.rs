//! `GET /status`: the daemon's figures as the contract spells them.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use chrono::DateTime;
use serde::Serialize;

use super::{Admin, ending};
use crate::{
    reconcile::{
        desk::View,
        memory::{LastRun, Slot},
        run::Progress,
    },
    report::alert::Alert,
};

/// The document.
#[derive(Debug, Serialize)]
struct Status {
    version: &'static str,
    started_at: String,
    enabled: bool,
    paused: bool,
    leader: bool,
    instance_id: Option<String>,
    queue: Queue,
    dead_letters: usize,
    last: Last,
    runs: Runs,
    latency_ms: Latency,
    convex: Convex,
    alerts: Vec<Raised>,
}

#[derive(Debug, Serialize)]
struct Queue {
    depth: usize,
    oldest_age_s: f64,
}

/// Of each sort of runs, the last that came to a report.
#[derive(Debug, Serialize)]
struct Last {
    sweep: Option<Run>,
    census: Option<Run>,
    full: Option<Run>,
}

#[derive(Debug, Serialize)]
struct Run {
    id: String,
    finished_at: String,
    outcome: &'static str,
}

/// How runs of each sort fare.
#[derive(Debug, Serialize)]
struct Runs {
    sweep: Faring,
    census: Faring,
    full: Faring,
}

#[derive(Debug, Serialize)]
struct Faring {
    /// Since the last run that saw everything.
    success_age_s: Option<f64>,
    failures_in_a_row: u32,
    running: Option<Running>,
}

#[derive(Debug, Serialize)]
struct Running {
    kind: &'static str,
    #[serde(flatten)]
    progress: Progress,
}

impl From<LastRun> for Run {
    fn from(run: LastRun) -> Self {
        Run {
            id: run.id,
            finished_at: rfc3339(run.finished_ms),
            outcome: run.outcome.name(),
        }
    }
}

impl Faring {
    fn of(view: View, now_ms: i64) -> Self {
        let age_s = |at: i64| (now_ms - at).max(0) as f64 / 1000.0;
        let running = view.running.map(|(kind, progress)| Running {
            kind: kind.name(),
            progress,
        });
        Faring {
            success_age_s: view.memory.success_ms.map(age_s),
            failures_in_a_row: view.memory.failures,
            running,
        }
    }
}

#[derive(Debug, Serialize)]
struct Latency {
    p50: Option<u32>,
    p99: Option<u32>,
}

#[derive(Debug, Serialize)]
struct Convex {
    circuit: &'static str,
}

#[derive(Debug, Serialize)]
struct Raised {
    code: &'static str,
    message: String,
    since: String,
    count: u64,
}

impl From<Alert> for Raised {
    fn from(alert: Alert) -> Self {
        let Alert {
            code,
            message,
            since_ms,
            count,
            ..
        } = alert;
        Raised {
            code,
            message,
            since: rfc3339(since_ms),
            count,
        }
    }
}

pub(super) async fn status(State(admin): State<Admin>) -> Response {
    let Some(figures) = admin.applier.status().await else {
        return ending();
    };
    let now_ms = admin.shared.clock.now_ms();
    let oldest_ms = figures
        .oldest_received_ms
        .map_or(0, |at| (now_ms - at).max(0));
    let [sweep, census, full] = Slot::ALL.map(|slot| admin.desk.view(slot));
    let status = Status {
        version: env!("CARGO_PKG_VERSION"),
        started_at: rfc3339(admin.started_ms),
        enabled: admin.shared.settings.load().enabled,
        paused: figures.paused,
        leader: true,
        instance_id: admin.shared.instance().0,
        queue: Queue {
            depth: figures.depth,
            oldest_age_s: oldest_ms as f64 / 1000.0,
        },
        dead_letters: figures.dead_letters,
        last: Last {
            sweep: sweep.memory.last.clone().map(Run::from),
            census: census.memory.last.clone().map(Run::from),
            full: full.memory.last.clone().map(Run::from),
        },
        runs: Runs {
            sweep: Faring::of(sweep, now_ms),
            census: Faring::of(census, now_ms),
            full: Faring::of(full, now_ms),
        },
        latency_ms: Latency {
            p50: figures.latency_ms.0,
            p99: figures.latency_ms.1,
        },
        convex: Convex {
            circuit: figures.circuit,
        },
        alerts: admin
            .alerts
            .raised()
            .into_iter()
            .map(Raised::from)
            .collect(),
    };
    Json(status).into_response()
}

/// A time as people and programs read it; out of range, the epoch.
pub(super) fn rfc3339(ms: i64) -> String {
    let time = DateTime::from_timestamp_millis(ms).unwrap_or_default();
    time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}
