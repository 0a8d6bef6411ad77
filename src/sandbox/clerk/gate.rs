//! What happens to a request before and after its handler: version, key, limits, faults, counts.
//!
//! In this order: a fault that replaces the answer, the API version, the key, the rate limit, the
//! handler, a fault that spoils the answer. Every request is counted with the status it got. It
//! does not know what the handlers do.

use super::faults::Wrong;
use super::refusal::Refusal;
use super::requests::Request as Noted;
use super::server::CutConnection;
use super::{Shared, held};
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::BodyExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use url::form_urlencoded;

/// The dated versions of the Backend API.
const VERSIONS: [&str; 5] = [
    "2021-02-05",
    "2024-10-01",
    "2025-04-10",
    "2025-11-10",
    "2026-05-12",
];
/// The version that refuses metadata in PATCH calls; the one assumed when none is asked for.
const NEWEST: &str = VERSIONS[VERSIONS.len() - 1];
/// Longest order to wait, in milliseconds, so that a mistyped one does not hang a test.
const MAX_LATENCY_MS: u64 = 120_000;
/// Largest answer that can be cut in the middle: a page of 500 users is about 2 MB.
const MAX_ANSWER: usize = 64 << 20;

/// What the handlers of listings are to do wrong.
#[derive(Debug, Clone, Default)]
pub struct Mischief(pub Vec<Wrong>);

/// The API version of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version(&'static str);

impl Version {
    /// Whether `PATCH /users/{id}` still takes metadata.
    pub fn patch_takes_metadata(self) -> bool {
        self.0 != NEWEST
    }
}

/// Wraps every API request.
pub async fn pass(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let template = request
        .extensions()
        .get::<MatchedPath>()
        .map(|p| p.as_str().to_owned());
    let path = request.uri().path().to_owned();
    let template = template.unwrap_or_else(|| path.clone());
    let endpoint = format!("{} {template}", request.method());
    let query = request.uri().query().unwrap_or_default().to_owned();
    let real = format!("{} {path}", request.method());
    let wrongs = held(&shared.faults).strike(&endpoint, &real);
    wait(&shared, &wrongs).await;
    let response = match instead(&wrongs) {
        Some(response) => response,
        None => {
            spoil(
                admitted(&shared, &endpoint, request, next, &wrongs).await,
                &wrongs,
            )
            .await
        }
    };
    let cut = response.extensions().get::<CutConnection>().is_some();
    let status = if cut { 0 } else { response.status().as_u16() };
    let length = axum::body::HttpBody::size_hint(response.body()).lower();
    held(&shared.requests).note(
        Noted {
            endpoint,
            path,
            query,
            status,
        },
        length,
    );
    response
}

async fn wait(shared: &Shared, wrongs: &[Wrong]) {
    let mut latency = *held(&shared.latency);
    for wrong in wrongs {
        if let Wrong::Latency { ms } = wrong {
            latency += Duration::from_millis(*ms.min(&MAX_LATENCY_MS));
        }
    }
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
}

/// The answer that a fault gives in place of the handler.
fn instead(wrongs: &[Wrong]) -> Option<Response> {
    wrongs.iter().find_map(|wrong| match wrong {
        Wrong::Status {
            status,
            retry_after_secs,
            json,
        } => {
            let (status, json) = (*status, *json);
            let refusal = Refusal::Ordered {
                status,
                retry_after_secs: *retry_after_secs,
                json,
            };
            Some(refusal.into_response())
        }
        Wrong::Cut => Some(cut()),
        Wrong::Garbage => {
            let json = [(header::CONTENT_TYPE, "application/json")];
            Some((json, "{\"data\": [\u{0}<garbage>").into_response())
        }
        _ => None,
    })
}

fn cut() -> Response {
    let mut response = StatusCode::BAD_GATEWAY.into_response();
    response.extensions_mut().insert(CutConnection);
    response
}

async fn admitted(
    shared: &Shared,
    endpoint: &str,
    mut request: Request,
    next: Next,
    wrongs: &[Wrong],
) -> Response {
    let version = match check(shared, request.headers(), request.uri()) {
        Ok(version) => version,
        Err(refusal) => return refusal.into_response(),
    };
    let record = written_record(request.method(), request.uri());
    let admitted = held(&shared.limits).admit(endpoint, record, Instant::now());
    if let Err(blocked) = admitted {
        let settings = held(&shared.limits).settings;
        held(&shared.requests).inside_penalty += u64::from(blocked.inside_penalty);
        let retry_after_secs = settings.retry_after.then_some(blocked.retry_after_secs);
        return Refusal::TooMany {
            retry_after_secs,
            json: settings.json_body,
        }
        .into_response();
    }
    request.extensions_mut().insert(Mischief(wrongs.to_vec()));
    request.extensions_mut().insert(version);
    next.run(request).await
}

/// The record that a write is about, as limits per record count it.
fn written_record(method: &Method, uri: &Uri) -> Option<String> {
    let writes = method == Method::PATCH || method == Method::PUT;
    // The metadata call and the plain one share the limit of their record.
    writes.then(|| uri.path().trim_end_matches("/metadata").to_owned())
}

fn check(shared: &Shared, headers: &HeaderMap, uri: &Uri) -> Result<Version, Refusal> {
    let query = uri.query().unwrap_or_default();
    let in_query = form_urlencoded::parse(query.as_bytes())
        .find(|(key, _)| key == "__clerk_api_version")
        .map(|(_, value)| value.into_owned());
    let in_header = headers
        .get("clerk-api-version")
        .map(|v| v.to_str().unwrap_or_default());
    let asked = match (in_header, in_query) {
        (Some(_), Some(_)) => {
            let both = "must choose only one of the header and the query parameter";
            return Err(Refusal::ApiVersion(both.to_owned()));
        }
        (Some(header), None) => header.to_owned(),
        (None, Some(query)) => query,
        (None, None) => NEWEST.to_owned(),
    };
    let Some(version) = VERSIONS.iter().find(|known| **known == asked) else {
        return Err(Refusal::ApiVersion(format!("{asked} is not supported")));
    };
    let Some(authorization) = headers.get(header::AUTHORIZATION) else {
        return Err(Refusal::AuthenticationMissing);
    };
    if headers.contains_key(header::ORIGIN) {
        return Err(Refusal::OriginConflict);
    }
    let key = authorization
        .to_str()
        .ok()
        .and_then(|value| value.strip_prefix("Bearer "));
    match key {
        None => Err(Refusal::AuthorizationFormat),
        Some(key) if key != shared.secret_key => Err(Refusal::KeyInvalid),
        Some(_) => Ok(Version(version)),
    }
}

/// Breaks off an answer in the middle of its body, where a fault orders that.
async fn spoil(response: Response, wrongs: &[Wrong]) -> Response {
    if !wrongs.contains(&Wrong::CutAnswer) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(whole) = http_body_util::Limited::new(body, MAX_ANSWER)
        .collect()
        .await
    else {
        return cut();
    };
    let whole = whole.to_bytes();
    let half = whole.slice(..whole.len() / 2);
    parts
        .headers
        .insert(header::CONTENT_LENGTH, HeaderValue::from(whole.len()));
    let pieces: [Result<Bytes, std::io::Error>; 2] =
        [Ok(half), Err(std::io::Error::other("cut on purpose"))];
    Response::from_parts(parts, Body::from_stream(stream::iter(pieces)))
}
