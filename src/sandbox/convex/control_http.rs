//! The control interface under `/_sim/`: the orders of the handle, over HTTP.
//!
//! The Node host that runs the real functions answers the same requests, so one set of conformance
//! cases drives both. It needs no key: it is bound to loopback and plays no part of Convex.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::control::{ControlError, reset};
use super::edits::edit_profile;
use super::faults::FaultRule;
use super::value::{Entries, write_text};
use super::{Limits, Shared, answers, clock, documents, micros};

/// Bytes of a control request: enough for a few hundred thousand documents.
const MAX_BODY: usize = 256 * 1024 * 1024;
/// Commits in one answer.
const MAX_COMMITS: usize = 1_000_000;

#[derive(Deserialize)]
struct Insert {
    table: String,
    #[serde(default)]
    doc: Option<Json>,
    #[serde(default)]
    docs: Vec<Json>,
}

#[derive(Deserialize)]
struct Patch {
    table: String,
    id: String,
    doc: Json,
}

#[derive(Deserialize)]
struct Remove {
    table: String,
    id: String,
}

#[derive(Deserialize)]
struct EditProfile<'a> {
    key: String,
    #[serde(borrow)]
    fields: Entries<'a>,
}

#[derive(Deserialize)]
struct SetFaults {
    rules: Vec<FaultRule>,
}

#[derive(Deserialize)]
struct SetLatency {
    ms: u64,
}

/// What the deployment can take from now on; what is not named is as it was at the start.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetLimits {
    concurrent_queries: Option<usize>,
    concurrent_mutations: Option<usize>,
    write_bytes_per_second: Option<u64>,
    per_lookup_us: Option<u64>,
    enforce_lookups: Option<bool>,
}

impl SetLimits {
    fn over(self, start: &Limits) -> Limits {
        let per_lookup = self.per_lookup_us.map(Duration::from_micros);
        Limits {
            concurrent_queries: self.concurrent_queries.or(start.concurrent_queries),
            concurrent_mutations: self.concurrent_mutations.or(start.concurrent_mutations),
            write_bytes_per_second: self.write_bytes_per_second.or(start.write_bytes_per_second),
            per_lookup: per_lookup.unwrap_or(start.per_lookup),
            enforce_lookups: self.enforce_lookups.unwrap_or(start.enforce_lookups),
            ..start.clone()
        }
    }
}

enum Failed {
    Malformed(String),
    Refused(ControlError),
    NoRoute,
}

impl From<ControlError> for Failed {
    fn from(error: ControlError) -> Self {
        Failed::Refused(error)
    }
}

/// Answers one control request.
pub(super) async fn answer(shared: &Shared, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let body = match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => {
            return error(
                StatusCode::BAD_REQUEST,
                "the body is too large or broke off",
            );
        }
    };
    let route = head.uri.path().trim_start_matches("/_sim/");
    let query = head.uri.query().unwrap_or_default();
    match handle(shared, &head.method, route, query, &body) {
        Ok(body) => answers::json(StatusCode::OK, body),
        Err(Failed::Malformed(message)) => error(StatusCode::BAD_REQUEST, &message),
        Err(Failed::Refused(refused)) => error(StatusCode::BAD_REQUEST, &refused.to_string()),
        Err(Failed::NoRoute) => error(StatusCode::NOT_FOUND, "no such control route"),
    }
}

fn handle(
    shared: &Shared,
    method: &Method,
    route: &str,
    query: &str,
    body: &[u8],
) -> Result<Vec<u8>, Failed> {
    if method == Method::GET {
        return read(shared, route, query);
    }
    if method != Method::POST {
        return Err(Failed::NoRoute);
    }
    let world = || shared.world.write().unwrap_or_else(PoisonError::into_inner);
    let done = match route {
        "reset" => {
            reset(shared);
            json!({})
        }
        "insert" => {
            let order: Insert = parse(body)?;
            let mut world = world();
            let mut ids = Vec::with_capacity(order.docs.len());
            for document in &order.docs {
                ids.push(documents::insert(&mut world, &order.table, document)?);
            }
            match &order.doc {
                Some(document) => {
                    json!({ "id": documents::insert(&mut world, &order.table, document)? })
                }
                None => json!({ "ids": ids }),
            }
        }
        "patch" => {
            let order: Patch = parse(body)?;
            documents::patch(&mut world(), &order.table, &order.id, &order.doc)?;
            json!({})
        }
        "remove" => {
            let order: Remove = parse(body)?;
            documents::remove(&mut world(), &order.table, &order.id)?;
            json!({})
        }
        "edit" => {
            let order: EditProfile<'_> = parse(body)?;
            let edited = edit_profile(&mut world(), &order.key, order.fields, clock::now_ms());
            json!({ "id": edited.map_err(|_| ControlError::NoSuchRow)? })
        }
        "faults" => {
            let order: SetFaults = parse(body)?;
            let mut faults = shared.faults.lock().unwrap_or_else(PoisonError::into_inner);
            faults.replace(order.rules);
            json!({})
        }
        "latency" => {
            let order: SetLatency = parse(body)?;
            let latency = micros(Duration::from_millis(order.ms));
            shared.latency_us.store(latency, Ordering::Relaxed);
            json!({})
        }
        "limits" => {
            let order: SetLimits = parse(body)?;
            shared.set_limits(order.over(&shared.options.limits));
            json!({})
        }
        "down" | "up" => {
            shared.down.store(route == "down", Ordering::Relaxed);
            json!({})
        }
        _ => return Err(Failed::NoRoute),
    };
    Ok(done.to_string().into_bytes())
}

fn read(shared: &Shared, route: &str, query: &str) -> Result<Vec<u8>, Failed> {
    let parameter = |name: &str| {
        let mut pairs = url::form_urlencoded::parse(query.as_bytes());
        pairs
            .find(|(other, _)| other == name)
            .map(|(_, value)| value.into_owned())
    };
    let number = |name: &str| parameter(name).and_then(|text| text.parse::<u64>().ok());
    let world = || shared.world.read().unwrap_or_else(PoisonError::into_inner);
    Ok(match route {
        "health" => json!({ "ok": true }).to_string().into_bytes(),
        "rows" => {
            let rows = documents::rows(&world(), &parameter("table").unwrap_or_default())?;
            json!({ "rows": rows }).to_string().into_bytes()
        }
        "calls" => {
            let calls = shared
                .calls
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            // Plain counters and names: it always serialises.
            serde_json::to_vec(&calls).unwrap_or_default()
        }
        "commits" => {
            let limit = number("limit").map_or(MAX_COMMITS, |limit| limit as usize);
            let mut out = b"{\"commits\":[".to_vec();
            for (index, commit) in world()
                .commits
                .since(number("from").unwrap_or(0), limit)
                .enumerate()
            {
                if index > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(
                    format!(
                        "{{\"seq\":{},\"table\":\"{}\",\"key\":",
                        commit.seq, commit.table
                    )
                    .as_bytes(),
                );
                write_text(&mut out, &commit.key);
                out.extend_from_slice(
                    format!(
                        ",\"version\":{},\"at_us\":{}}}",
                        commit.version, commit.at_us
                    )
                    .as_bytes(),
                );
            }
            out.extend_from_slice(b"]}");
            out
        }
        _ => return Err(Failed::NoRoute),
    })
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Failed> {
    serde_json::from_slice(body).map_err(|error| Failed::Malformed(error.to_string()))
}

fn error(status: StatusCode, message: &str) -> Response<Full<Bytes>> {
    answers::json(status, json!({ "error": message }).to_string().into_bytes())
}
