//! The operations log for operators: its newest entries, and whether its chain holds.
//!
//! Reads the files as a command without a daemon would, after all that was handed in is written, so that whoever
//! has just done something sees it. Entries hold no personal value.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::Semaphore;

use super::problem;
use crate::{
    model::Key,
    report::oplog::{OperationsLog, OplogError, Reader, Wanted},
};

/// Entries in an answer if nobody says how many.
const USUAL: usize = 100;

/// The log, and the turn to read it: a segment is in memory meanwhile.
#[derive(Clone)]
struct Log {
    log: OperationsLog,
    turn: Arc<Semaphore>,
}

#[derive(Serialize)]
struct Entries {
    entries: Vec<Box<RawValue>>,
}

#[derive(Debug, Deserialize)]
struct Which {
    key: Option<String>,
    since_ms: Option<i64>,
    limit: Option<usize>,
}

/// The routes about the log.
pub(super) fn router<S: Clone + Send + Sync + 'static>(log: OperationsLog) -> Router<S> {
    Router::new()
        .route("/log", get(newest))
        .route("/log/verify", get(verify))
        .with_state(Log {
            log,
            turn: Arc::new(Semaphore::new(1)),
        })
}

async fn newest(State(log): State<Log>, Query(which): Query<Which>) -> Response {
    let key = match which.key.as_deref().map(Key::parse) {
        Some(None) => return problem(StatusCode::BAD_REQUEST, "this is no id of Clerk's"),
        key => key.flatten(),
    };
    let wanted = Wanted {
        key,
        since_ms: which.since_ms,
        limit: which.limit.unwrap_or(USUAL),
    };
    let entries = read(&log, move |reader| reader.newest(&wanted)).await;
    answer(entries.map(|entries| Entries { entries }))
}

async fn verify(State(log): State<Log>) -> Response {
    let verified = read(&log, Reader::verify).await;
    answer(verified)
}

async fn read<T: Send + 'static>(
    log: &Log,
    read: impl FnOnce(&Reader) -> Result<T, OplogError> + Send + 'static,
) -> Result<T, String> {
    // The turns end only with the process.
    let _turn = log.turn.acquire().await;
    log.log.written().await;
    let reader = log.log.reader().clone();
    match tokio::task::spawn_blocking(move || read(&reader)).await {
        Ok(read) => read.map_err(|error| error.to_string()),
        Err(_) => Err("reading the operations log failed; see the log".to_owned()),
    }
}

fn answer(read: Result<impl Serialize, String>) -> Response {
    match read {
        Ok(document) => Json(document).into_response(),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error),
    }
}
