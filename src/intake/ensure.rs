//! `POST /ensure`: a browser or an app asks, at sign-in, for the user's row to be there.
//!
//! The HTTP side only: methods, origins, the bearer token, how long somebody waits, statuses. Whose a token
//! is says [`SessionTokens`]; what is done about a row is done elsewhere, on other threads, and goes on when
//! nobody waits for it any more. Nothing of a request comes back in an answer but its own origin, if that is
//! one of those that were configured.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
    routing::any,
};
use humantime_serde::re::humantime;
use serde_json::json;
use tokio::time::timeout;

use super::{Intake, RATE_RETRY_S};
use crate::{
    clerk::jwks::{SessionTokens, TokenError},
    model::{Ensured, Key},
};

/// Where it is asked.
const PATH: &str = "/ensure";
/// How long is waited unless the request says so.
const WAIT: Duration = Duration::from_secs(2);
/// The longest that is waited. A browser would rather ask again.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// How long to wait before asking again when a service is away, in seconds.
const AWAY_RETRY_S: u32 = 5;
/// How long a browser may remember what is allowed, in seconds; Chromium remembers no longer than this.
const PREFLIGHT_S: &str = "7200";

/// Makes sure of a user's row, on threads of its own; see [`Ensured`].
pub type MakeSure = Arc<dyn Fn(Key) -> Pin<Box<dyn Future<Output = Ensured> + Send>> + Send + Sync>;

/// What the path needs.
pub struct Ensure {
    /// Its limiter and metrics.
    pub intake: Arc<Intake>,
    /// Whose a token is.
    pub tokens: SessionTokens,
    /// Web origins that may read the answers.
    pub origins: Vec<String>,
    /// Does it.
    pub make_sure: MakeSure,
}

impl Ensure {
    /// The route.
    pub fn router(self) -> Router {
        // All methods, so that a browser may also read a refusal.
        Router::new()
            .route(PATH, any(handle))
            .with_state(Arc::new(self))
    }

    /// The request's origin, if it is one of ours.
    fn origin<'h>(&self, headers: &'h HeaderMap) -> Option<&'h HeaderValue> {
        let origin = headers.get(header::ORIGIN)?;
        self.origins
            .iter()
            .any(|ours| ours.as_bytes() == origin.as_bytes())
            .then_some(origin)
    }

    async fn answer(&self, parts: &Parts) -> Result<(Key, Ensured), No> {
        if self.intake.is_too_fast(&parts.extensions) {
            return Err(No::RateLimited);
        }
        let query = parts.uri.query().unwrap_or_default();
        let wait = wait(query).ok_or(No::BadRequest)?;
        let token = bearer(&parts.headers).ok_or(No::BadToken)?;
        let all = async {
            let key = self.tokens.whose(token).await?;
            let ensured = (self.make_sure)(key.clone()).await;
            Ok((key, ensured))
        };
        timeout(wait, all).await.unwrap_or(Err(No::TooSlow))
    }
}

/// Every way to end without a row, with its name in the metrics and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum No {
    BadRequest,
    BadToken,
    UnknownUser,
    WrongMethod,
    RateLimited,
    Refused,
    Away,
    Busy,
    TooSlow,
}

impl From<TokenError> for No {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Untrusted => No::BadToken,
            TokenError::Away => No::Away,
        }
    }
}

impl No {
    const fn name(self) -> &'static str {
        match self {
            No::BadRequest => "bad_request",
            No::BadToken => "bad_token",
            No::UnknownUser => "unknown_user",
            No::WrongMethod => "wrong_method",
            No::RateLimited => "rate_limited",
            No::Refused => "refused",
            No::Away => "away",
            No::Busy => "busy",
            No::TooSlow => "timeout",
        }
    }

    /// Status, words, and the seconds of `Retry-After`. A bad token learns nothing but that it is one.
    const fn answer(self) -> (StatusCode, &'static str, Option<u32>) {
        const UNAVAILABLE: StatusCode = StatusCode::SERVICE_UNAVAILABLE;
        match self {
            No::BadRequest => (StatusCode::BAD_REQUEST, "bad request\n", None),
            No::BadToken => (StatusCode::UNAUTHORIZED, "unauthorized\n", None),
            No::UnknownUser => (StatusCode::NOT_FOUND, "no such user\n", None),
            No::WrongMethod => (StatusCode::METHOD_NOT_ALLOWED, "POST only\n", None),
            No::RateLimited => (
                StatusCode::TOO_MANY_REQUESTS,
                "too many requests\n",
                Some(RATE_RETRY_S),
            ),
            No::Refused => (UNAVAILABLE, "cannot be written\n", Some(AWAY_RETRY_S)),
            No::Away => (UNAVAILABLE, "not available\n", Some(AWAY_RETRY_S)),
            No::Busy => (UNAVAILABLE, "too many at once\n", Some(RATE_RETRY_S)),
            No::TooSlow => (StatusCode::GATEWAY_TIMEOUT, "not yet\n", None),
        }
    }
}

async fn handle(State(ensure): State<Arc<Ensure>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let origin = ensure.origin(&parts.headers);
    if parts.method == Method::OPTIONS {
        return preflight(origin);
    }
    let answer = match parts.method {
        Method::POST => ensure.answer(&parts).await,
        _ => Err(No::WrongMethod),
    };
    let answer = answer.and_then(|(key, ensured)| match ensured {
        Ensured::Present { id, outcome } => Ok((key, id, outcome)),
        Ensured::Gone => Err(No::UnknownUser),
        Ensured::Refused => Err(No::Refused),
        Ensured::Away => Err(No::Away),
        Ensured::Busy => Err(No::Busy),
    });
    let result = match &answer {
        Ok((_, _, outcome)) => outcome.name(),
        Err(no) => no.name(),
    };
    ensure.intake.metrics.ensured(result);
    let mut response = match answer {
        Ok((key, id, outcome)) => {
            let body = json!({ "key": key, "convexId": id, "outcome": outcome });
            Json(body).into_response()
        }
        Err(no) => refuse(no),
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    allow(headers, origin);
    response
}

fn refuse(no: No) -> Response {
    let (status, words, retry_after) = no.answer();
    let mut response = (status, words).into_response();
    let headers = response.headers_mut();
    if let Some(seconds) = retry_after {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    match no {
        No::BadToken => {
            let scheme = HeaderValue::from_static("Bearer");
            headers.insert(header::WWW_AUTHENTICATE, scheme);
        }
        No::WrongMethod => {
            let methods = HeaderValue::from_static("POST, OPTIONS");
            headers.insert(header::ALLOW, methods);
        }
        _ => {}
    }
    response
}

/// What a browser asks before it sends a token. Origins that are not ours learn nothing.
fn preflight(origin: Option<&HeaderValue>) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    if origin.is_some() {
        for (name, value) in [
            (header::ACCESS_CONTROL_ALLOW_METHODS, "POST"),
            (
                header::ACCESS_CONTROL_ALLOW_HEADERS,
                "authorization, content-type",
            ),
            (header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_S),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    allow(headers, origin);
    response
}

/// Lets a page of this origin read the answer. Never "any": the answer is about one user.
fn allow(headers: &mut HeaderMap, origin: Option<&HeaderValue>) {
    headers.insert(header::VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        let readable = HeaderValue::from_static("retry-after");
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, readable);
    }
}

/// The token of the one `Authorization` header.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else {
        return None;
    };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// `wait` of the query, at most [`LONGEST_WAIT`]; `None` if it is no duration.
fn wait(query: &str) -> Option<Duration> {
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    let Some((_, text)) = pairs.find(|(name, _)| name == "wait") else {
        return Some(WAIT);
    };
    let wait = humantime::parse_duration(&text).ok()?;
    Some(wait.min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_is_waited() {
        for (query, expected) in [
            ("", Some(WAIT)),
            ("x=1", Some(WAIT)),
            ("wait=500ms", Some(Duration::from_millis(500))),
            ("a=b&wait=2s", Some(Duration::from_secs(2))),
            ("wait=1h", Some(LONGEST_WAIT)),
            ("wait=0s", Some(Duration::ZERO)),
            ("wait=", None),
            ("wait=2", None),
            ("wait=-1s", None),
            ("wait=soon", None),
        ] {
            assert_eq!(wait(query), expected, "{query}");
        }
    }

    #[test]
    fn one_bearer_token_and_no_other_scheme() {
        let read = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            }
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(read(&["Bearer a.b.c"]).as_deref(), Some("a.b.c"));
        assert_eq!(read(&["bearer  a.b.c "]).as_deref(), Some("a.b.c"));
        for bad in [&[][..], &["a.b.c"], &["Basic a"], &["Bearer a", "Bearer b"]] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }
}
