//! `GET /status`: the daemon's figures as the contract spells them.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use chrono::DateTime;
use serde::Serialize;

use super::{Admin, ending};
use crate::report::alert::Alert;

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
    latency_ms: Latency,
    convex: Convex,
    alerts: Vec<Raised>,
}

#[derive(Debug, Serialize)]
struct Queue {
    depth: usize,
    oldest_age_s: f64,
}

/// The last scans. There are none in this version.
#[derive(Debug, Default, Serialize)]
struct Last {
    sweep: Option<()>,
    census: Option<()>,
    full: Option<()>,
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
        last: Last::default(),
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
