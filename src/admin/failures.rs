//! Dead letters for operators: list, look at one, try again, drop.
//!
//! A list shows no personal value; one dead letter shows the event as it came, because a person asked
//! for exactly that.

use axum::{
    Json,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use super::{Admin, access::Did, ending, problem, status::rfc3339};
use crate::{
    queue::dead_letters::{DeadLetter, name_of, seq_of},
    store::journal::{Cause, CauseKind, Entry},
};

/// The most on one page.
const MAX_PAGE: usize = 1000;

#[derive(Debug, Deserialize)]
pub(super) struct Page {
    after: Option<String>,
    limit: Option<usize>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Which {
    #[serde(default)]
    ids: Vec<String>,
    #[serde(default)]
    all: bool,
}

#[derive(Debug, Serialize)]
struct Failure {
    id: String,
    delivery: Option<String>,
    r#type: String,
    table: Option<&'static str>,
    key: Option<String>,
    version: Option<i64>,
    attempts: u32,
    code: String,
    reason: String,
    received_at: String,
    failed_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Value>,
}

pub(super) async fn list(State(admin): State<Admin>, Query(page): Query<Page>) -> Response {
    let after = match page.after.as_deref().map(seq_of) {
        Some(None) => return problem(StatusCode::BAD_REQUEST, "`after` is an id such as dl_42"),
        after => after.flatten(),
    };
    let limit = page.limit.unwrap_or(100).clamp(1, MAX_PAGE);
    let Some((letters, total)) = admin.applier.failures(after, limit).await else {
        return ending();
    };
    let next = (letters.len() == limit).then(|| letters.last().map(|l| name_of(l.meta.seq)));
    match admin.describe(letters, false).await {
        Some(failures) => {
            let page = json!({ "failures": failures, "total": total, "next": next.flatten() });
            Json(page).into_response()
        }
        None => ending(),
    }
}

pub(super) async fn show(State(admin): State<Admin>, Path(id): Path<String>) -> Response {
    let Some(seq) = seq_of(&id) else {
        return unknown();
    };
    let Some(letter) = admin.applier.failure(seq).await else {
        return unknown();
    };
    match admin.describe(vec![letter], true).await.as_deref() {
        Some([failure]) => Json(failure).into_response(),
        _ => ending(),
    }
}

pub(super) async fn retry(State(admin): State<Admin>, Json(which): Json<Which>) -> Response {
    if which.all != which.ids.is_empty() {
        return problem(StatusCode::BAD_REQUEST, "give either `ids` or `all`");
    }
    let seqs = (!which.all).then(|| which.ids.iter().filter_map(|id| seq_of(id)).collect());
    let Some(retried) = admin.applier.retry(seqs).await else {
        return ending();
    };
    let names: Vec<String> = retried.iter().map(|seq| name_of(*seq)).collect();
    let unknown: Vec<&String> = which.ids.iter().filter(|id| !names.contains(id)).collect();
    let did = Did(format!("{} dead letter(s) tried again", names.len()));
    let said = Json(json!({ "retried": names.len(), "unknown": unknown }));
    let mut response = said.into_response();
    response.extensions_mut().insert(did);
    response
}

pub(super) async fn drop_one(State(admin): State<Admin>, Path(id): Path<String>) -> Response {
    let Some(seq) = seq_of(&id) else {
        return unknown();
    };
    match admin.applier.drop_failure(seq).await {
        Some(true) => Json(json!({ "dropped": true })).into_response(),
        Some(false) => unknown(),
        None => ending(),
    }
}

fn unknown() -> Response {
    problem(
        StatusCode::NOT_FOUND,
        "there is no dead letter of this id; see `failures list`",
    )
}

impl Admin {
    /// `None` once the daemon ends. Reads each event from the disk, which nobody else is to wait for.
    async fn describe(&self, letters: Vec<DeadLetter>, with_body: bool) -> Option<Vec<Failure>> {
        let journal = self.journal.clone();
        let described = spawn_blocking(move || {
            let described = letters.into_iter().map(|letter| {
                let entry = journal.read(letter.meta.position).ok();
                describe(letter, entry, with_body)
            });
            described.collect()
        });
        described.await.ok()
    }
}

fn describe(letter: DeadLetter, entry: Option<Entry>, with_body: bool) -> Failure {
    let DeadLetter { meta, parked } = letter;
    let (delivery, kind) = match entry.as_ref().map(|entry| &entry.content.cause) {
        Some(Cause::Delivery { id, event_type }) => (Some(id.to_string()), event_type.to_string()),
        _ => (None, "request".to_owned()),
    };
    let version = meta.record.is_some() && meta.cause == CauseKind::Delivery;
    let body = entry.filter(|_| with_body).map(|entry| {
        let body = &entry.content.body;
        serde_json::from_slice(body)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(body).into_owned()))
    });
    Failure {
        id: name_of(meta.seq),
        delivery,
        r#type: kind,
        table: meta.record.as_ref().map(|record| record.table.name()),
        key: meta.record.as_ref().map(|record| record.key.to_string()),
        version: version.then(|| meta.version.ms()),
        attempts: parked.attempts,
        code: parked.code.into(),
        reason: parked.reason.into(),
        received_at: rfc3339(meta.received_ms),
        failed_at: rfc3339(parked.at_ms),
        body,
    }
}
