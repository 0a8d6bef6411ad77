//! The Backend API under `/v1`: its paths, and what all handlers share.
//!
//! Handlers read the request, ask the world under its lock, and render the answer in Clerk's
//! shape; those about users and organizations stand in files of their own. A body must be a JSON
//! object of at most 1 MiB, sent as JSON.

use super::gate;
use super::refusal::Refusal;
use super::{Shared, orders, organization_routes, sessions, user_routes};
use axum::extract::{Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::{Router, middleware};
use serde::Serialize;
use serde_json::{Map, Value};
use std::sync::Arc;

/// Largest body that is read.
const MAX_BODY: usize = 1 << 20;

/// The state of every handler.
pub type Asked = State<Arc<Shared>>;
/// What every handler answers.
pub type Answer = Result<Json, Refusal>;

/// A rendered answer.
#[derive(Debug)]
pub struct Json(Vec<u8>);

impl Json {
    /// Renders a value.
    pub fn of<T: Serialize>(value: &T) -> Self {
        // Keys are strings and there are no floats that JSON cannot hold, so this cannot fail.
        Self(serde_json::to_vec(value).unwrap_or_default())
    }

    /// Renders a large value of about so many bytes without moving it while it grows.
    pub fn large<T: Serialize>(value: &T, bytes: usize) -> Self {
        let mut text = Vec::with_capacity(bytes);
        // As in `of`; memory only grows.
        let _ = serde_json::to_writer(&mut text, value);
        Self(text)
    }
}

impl IntoResponse for Json {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, "application/json")], self.0).into_response()
    }
}

/// All paths of the simulated Clerk, those of the control API included.
pub fn router(shared: Arc<Shared>) -> Router {
    let api = user_routes::router()
        .merge(organization_routes::router())
        .merge(sessions::router())
        .fallback(|| async { Refusal::PathNotFound })
        .method_not_allowed_fallback(|| async { Refusal::PathNotFound })
        .layer(middleware::from_fn_with_state(shared.clone(), gate::pass));
    api.merge(orders::router())
        .merge(sessions::orders())
        .with_state(shared)
}

/// Reads a body as a JSON object; no body at all is an empty object.
pub async fn body(request: Request) -> Result<Map<String, Value>, Refusal> {
    let kind = request.headers().get(header::CONTENT_TYPE);
    let kind = kind
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let bytes = axum::body::to_bytes(request.into_body(), MAX_BODY).await;
    let bytes = bytes.map_err(|_| Refusal::BodyInvalid)?;
    if bytes.is_empty() {
        return Ok(Map::new());
    }
    if !kind.starts_with("application/json") {
        return Err(Refusal::ContentType(kind));
    }
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(map)) => Ok(map),
        _ => Err(Refusal::BodyInvalid),
    }
}
