//! Runs for operators: start one and watch it to its end, put one record right.
//!
//! `POST /runs` answers at once with 202 and a line of JSON for each step (NDJSON): how far it is, at most
//! four times a second, and at the end the report or why there is none. The run is the daemon's: it goes on
//! when whoever asked hangs up.

use std::{convert::Infallible, time::Duration};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{Extension, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use futures_util::{Stream, stream};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until, timeout};

use super::{
    Caller, Scope,
    access::{Did, plain},
    problem,
};
use crate::{
    mapping::UserRules,
    model::{Key, RecordKey, Table},
    reconcile::{
        desk::{Desk, Running},
        run::{AskedBy, RunError, RunRequest},
    },
    report::RunKind,
};

/// The shortest time between two lines about progress.
const PACE: Duration = Duration::from_millis(250);
/// A line comes at least so often, so that whoever listens can tell a long step from a dead daemon.
const HEARTBEAT: Duration = Duration::from_secs(5);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    kind: RunKind,
    #[serde(default)]
    tables: Vec<Table>,
    max_deletes: Option<u64>,
    approve: Option<String>,
    /// Of an audit: the rules to compare by.
    mapping: Option<UserRules>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    table: Table,
    key: String,
    /// Bring back what was deleted in Convex.
    #[serde(default)]
    revive: bool,
}

/// The routes about runs.
pub(super) fn router<S: Clone + Send + Sync + 'static>(desk: Desk) -> Router<S> {
    Router::new()
        .route("/runs", post(start))
        .route("/sync", post(sync))
        .with_state(desk)
}

async fn start(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    Json(wish): Json<Wish>,
) -> Response {
    if wish.approve.is_some() && !caller.may(Scope::Approve) {
        return problem(StatusCode::FORBIDDEN, "this token may not approve a plan");
    }
    let mut did = wish.kind.name().to_owned();
    if let Some(digest) = &wish.approve {
        did = format!("{did}, approve {}", plain(digest));
    }
    let request = RunRequest {
        kind: wish.kind,
        tables: wish.tables,
        max_deletes: wish.max_deletes,
        approve: wish.approve,
        mapping: wish.mapping,
        asked_by: AskedBy::Operator,
    };
    match desk.start(request) {
        Err(error) => refusal(&error),
        Ok(running) => {
            let lines = Body::from_stream(lines(desk, running));
            let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
            let mut response = (StatusCode::ACCEPTED, kind, lines).into_response();
            response.extensions_mut().insert(Did(did));
            response
        }
    }
}

async fn sync(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    Json(which): Json<Which>,
) -> Response {
    let Some(key) = Key::parse(&which.key) else {
        return problem(StatusCode::UNPROCESSABLE_ENTITY, "this is no id of Clerk's");
    };
    let did = format!("{} {}", which.table.name(), key.as_str());
    let record = RecordKey::new(which.table, key);
    let mut response = match desk.sync_one(record, which.revive, caller.name).await {
        Err(error) => refusal(&error),
        Ok(synced) => Json(json!({
            "table": synced.record.table.name(),
            "key": synced.record.key.as_str(),
            "clerk": synced.clerk,
            "action": synced.action.name(),
            "reason": synced.reason,
        }))
        .into_response(),
    };
    response.extensions_mut().insert(Did(did));
    response
}

fn refusal(error: &RunError) -> Response {
    let status = match error {
        RunError::Busy(_) => StatusCode::CONFLICT,
        RunError::Refused(_) => StatusCode::UNPROCESSABLE_ENTITY,
        RunError::Interrupted(_) | RunError::Early(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    problem(status, &error.to_string())
}

/// What is being listened to.
struct Listening {
    desk: Desk,
    running: Running,
    /// When the next line about progress may come; none once the last line was sent.
    next: Option<Instant>,
}

fn lines(desk: Desk, running: Running) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    let listening = Listening {
        desk,
        running,
        next: Some(Instant::now()),
    };
    stream::unfold(listening, |mut listening| async move {
        let line = listening.line().await?;
        let mut bytes = line.to_string().into_bytes();
        bytes.push(b'\n');
        Some((Ok(Bytes::from(bytes)), listening))
    })
}

impl Listening {
    /// The next line; none after the last.
    async fn line(&mut self) -> Option<Value> {
        let not_before = self.next?;
        let progress = &mut self.running.progress;
        let news = async {
            sleep_until(not_before).await;
            // Whoever carries the run out may be silent for long; then the last word is said again. Once it
            // has ended nothing changes any more, and the end itself is waited for beside this.
            if let Ok(Err(_)) = timeout(HEARTBEAT, progress.changed()).await {
                std::future::pending::<()>().await;
            }
            progress.borrow_and_update().clone()
        };
        tokio::select! {
            biased;
            ended = self.running.ended.wait() => {
                self.next = None;
                Some(match ended {
                    Ok(report) => json!({ "report": self.desk.document(&report) }),
                    Err(error) => json!({ "error": {
                        "message": error.to_string(),
                        "busy": matches!(error, RunError::Busy(_)),
                    } }),
                })
            }
            now = news => {
                self.next = Some(Instant::now() + PACE);
                Some(json!({ "progress": now }))
            }
        }
    }
}
