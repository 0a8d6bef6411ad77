//! The operators' door: status, metrics, runs, dead letters, pause, reload.
//!
//! HTTP over a Unix socket in the state directory, which only the daemon's user and root may open, and
//! whom they list; over TCP only with a token. Knows handles, never the store or a secret. Nothing here can delay an
//! acknowledgement: it runs with the appliers, not with intake.

mod access;
mod bound;
mod failures;
mod listen;
mod log;
mod runs;
mod status;

use std::sync::Arc;

use axum::{
    Json, Router, body,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::json;
use tokio_util::task::TaskTracker;

use crate::{
    apply,
    reconcile::desk::Desk,
    report::{alert::Alerts, oplog::OperationsLog},
    store::journal::Journal,
    telemetry::Metrics,
};

pub use access::{Caller, Readers, Scope, Tokens};
pub use listen::{bind_socket, serve_socket, serve_tcp};

/// The words of a refusal, in bytes: they name a field and a place.
const LONGEST_REFUSAL: usize = 4096;

/// Re-reads the configuration. Answers with what needs a restart, or with what is wrong.
pub type Reload = Arc<dyn Fn() -> Result<Vec<String>, String> + Send + Sync>;

/// What the operators' door leads to.
#[derive(Clone)]
pub struct Admin {
    /// The queue and its workers.
    pub applier: apply::Handle,
    /// The services, settings and the instance.
    pub shared: Arc<apply::Shared>,
    /// For reading a dead letter's body.
    pub journal: Journal,
    /// What is counted.
    pub metrics: Metrics,
    /// What is wrong.
    pub alerts: Alerts,
    /// Where runs are asked for.
    pub desk: Desk,
    /// What was written to both services; what operators change is noted there.
    pub oplog: OperationsLog,
    /// Changes that are being carried out, also those of which nobody waits for the answer: the log is closed after
    /// them.
    pub tasks: TaskTracker,
    /// When the daemon started, milliseconds since the epoch.
    pub started_ms: i64,
    /// Reads the configuration again.
    pub reload: Reload,
}

impl Admin {
    /// All routes, for a [`Caller`] that the way here has put into the request.
    pub fn router(self) -> Router {
        let runs = runs::router(self.desk.clone());
        let log = log::router(self.oplog.clone());
        let audit = access::Audit {
            log: self.oplog.clone(),
            clock: self.shared.clock,
            tasks: self.tasks.clone(),
        };
        Router::new()
            .route("/status", get(status::status))
            .route("/metrics", get(metrics))
            .route("/pause", post(|state| pause(state, true)))
            .route("/resume", post(|state| pause(state, false)))
            .route("/reload", post(reload))
            .route("/failures", get(failures::list))
            .route("/failures/retry", post(failures::retry))
            .route(
                "/failures/{id}",
                get(failures::show).delete(failures::drop_one),
            )
            .merge(runs)
            .merge(log)
            .layer(middleware::map_response(worded))
            .fallback(|| async { problem(StatusCode::NOT_FOUND, "there is nothing of this name") })
            .with_state(self)
            .layer(middleware::from_fn_with_state(
                bound::Bound::default(),
                bound::bound,
            ))
            .layer(middleware::from_fn_with_state(audit, access::authorise))
    }
}

async fn metrics(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    if let Some(status) = admin.applier.status().await {
        let now_ms = admin.shared.clock.now_ms();
        let age = status
            .oldest_received_ms
            .map_or(0, |at| (now_ms - at).max(0) / 1000);
        admin.metrics.queue_oldest_age.set(age);
    }
    let accept = headers.get(header::ACCEPT);
    let accept = accept.and_then(|value| value.to_str().ok());
    let (content_type, text) = admin.metrics.rendered_for(accept);
    ([(header::CONTENT_TYPE, content_type)], text).into_response()
}

async fn pause(State(admin): State<Admin>, paused: bool) -> Response {
    match admin.applier.pause(paused).await {
        Some(()) => Json(json!({ "paused": paused })).into_response(),
        None => ending(),
    }
}

async fn reload(State(admin): State<Admin>) -> Response {
    let read = tokio::task::spawn_blocking(move || (admin.reload)()).await;
    match read {
        Ok(Ok(restart)) => {
            Json(json!({ "reloaded": true, "needs_restart": restart })).into_response()
        }
        Ok(Err(mistakes)) => problem(StatusCode::UNPROCESSABLE_ENTITY, &mistakes),
        Err(_) => problem(
            StatusCode::INTERNAL_SERVER_ERROR,
            "reading the configuration failed; see the log",
        ),
    }
}

/// What a request was refused for before a handler saw it, in the shape of every other refusal.
async fn worded(response: Response) -> Response {
    let kind = response.headers().get(header::CONTENT_TYPE);
    let plain = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/plain"));
    if !plain || !response.status().is_client_error() {
        return response;
    }
    let status = response.status();
    match body::to_bytes(response.into_body(), LONGEST_REFUSAL).await {
        Ok(words) => problem(status, &String::from_utf8_lossy(&words)),
        Err(_) => problem(status, "this cannot be read"),
    }
}

/// An answer that says what went wrong.
fn problem(status: StatusCode, words: &str) -> Response {
    (status, Json(json!({ "error": words }))).into_response()
}

/// The answer when the applier has ended.
fn ending() -> Response {
    problem(
        StatusCode::SERVICE_UNAVAILABLE,
        "the daemon is shutting down; try again when it is back",
    )
}
