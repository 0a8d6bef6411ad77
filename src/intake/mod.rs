//! Intake: verify, store, acknowledge. Nothing else happens before the answer.
//!
//! Runs on its own threads and shares no lock with appliers or operators. It stores what was said and
//! judges nothing: whether an event is stale, foreign or impossible to map is found out later. Promises:
//! a 2xx for a synced event leaves only when it is on stable storage; nothing is written before the
//! signature holds; answers never echo the input.

mod ensure;
mod peer;
mod serve;
mod verify;

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arc_swap::{ArcSwap, ArcSwapOption};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::{
    clerk::{shape::ShapeError, wire::Head},
    model::Version,
    report::alert::Alerts,
    store::journal::{AppendError, Appended, Cause, Health, Journal, NewEntry, Related, Stats},
    telemetry::Metrics,
};

pub use ensure::{Ensure, MakeSure};
pub use peer::{Peers, Rules};
pub use serve::{Bounds, Certificate, Listener, TlsFiles, serve};
pub use verify::{Claim, Refusal, Secrets, VerifiedEvent};

/// What intake needs. Secrets are swapped when the configuration is read again.
pub struct Intake {
    /// Where deliveries are stored.
    pub journal: Journal,
    /// Which signatures are accepted.
    pub secrets: ArcSwap<Secrets>,
    /// What is counted.
    pub metrics: Metrics,
    /// What is wrong.
    pub alerts: Alerts,
    /// The most entries that wait or are dead letters, and the most bytes they take: beyond, nothing
    /// is stored.
    pub room: Room,
    /// The largest body, in bytes.
    pub max_body_bytes: usize,
    /// The longest that reading a body may take.
    pub body_timeout: Duration,
    /// Requests a second over all senders; `None`: no bound.
    pub limiter: ArcSwapOption<DefaultDirectRateLimiter>,
}

/// The bounds of the journal, as far as readiness depends on them.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// `state.max_queue_events`
    pub entries: u64,
    /// `state.max_journal_bytes`
    pub bytes: u64,
}

impl Room {
    /// True if nothing more is taken in until something is done with.
    pub fn is_full(&self, stats: &Stats) -> bool {
        stats.pending + stats.parked >= self.entries || stats.bytes >= self.bytes
    }
}

/// How long a sender should wait when nothing can be stored, in seconds.
const STORE_RETRY_S: u32 = 5;
/// How long a sender should wait when it is too fast, in seconds.
const RATE_RETRY_S: u32 = 1;

impl Intake {
    /// A limiter of so many requests a second, `None` for zero.
    pub fn limiter(per_second: u32) -> Option<Arc<DefaultDirectRateLimiter>> {
        std::num::NonZeroU32::new(per_second)
            .map(|n| Arc::new(RateLimiter::direct(Quota::per_second(n))))
    }

    /// The routes of the public listener.
    pub fn router(self: Arc<Self>, webhook_paths: &[String]) -> Router {
        let mut router = Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(ready));
        for path in webhook_paths {
            router = router.route(path, post(deliver));
        }
        router.with_state(self)
    }

    async fn take_in(&self, headers: &HeaderMap, body: Body) -> Answer {
        if self
            .limiter
            .load()
            .as_ref()
            .is_some_and(|limiter| limiter.check().is_err())
        {
            return Answer::new("none", Verdict::RateLimited);
        }
        let now_ms = now_ms();
        let claim = match Claim::read(headers, now_ms / 1000) {
            Ok(claim) => claim,
            Err(refusal) => return Answer::new("none", refusal.into()),
        };
        let body = match self.read(headers, body).await {
            Ok(body) => body,
            Err(verdict) => return Answer::new("none", verdict),
        };
        let secrets = self.secrets.load();
        match claim.verify(&body, &secrets) {
            Ok(event) => self.store(&event, body.clone(), now_ms).await,
            Err(refusal) => Answer::new("none", refusal.into()),
        }
    }

    async fn read(&self, headers: &HeaderMap, body: Body) -> Result<Bytes, Verdict> {
        // What was signed are the bytes that came; a bomb is not unpacked to find that out.
        let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
        if encodings.any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity")) {
            return Err(Verdict::Encoded);
        }
        let announced = headers
            .get(header::CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok());
        if announced
            .and_then(|text| text.parse().ok())
            .is_some_and(|n: u64| n > self.max_body_bytes as u64)
        {
            return Err(Verdict::TooLarge);
        }
        let limited = Limited::new(body, self.max_body_bytes);
        match tokio::time::timeout(self.body_timeout, limited.collect()).await {
            Ok(Ok(whole)) => Ok(whole.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Verdict::TooLarge),
            Ok(Err(_)) => Err(Verdict::Unreadable),
            Err(_) => Err(Verdict::TooSlow),
        }
    }

    async fn store(&self, event: &VerifiedEvent<'_>, body: Bytes, now_ms: i64) -> Answer {
        let (kind, entry) = match Head::parse(event.body()) {
            Ok(head) => {
                let parents = head.parents.clone();
                let related = parents.map_or_else(Related::default, |parents| Related {
                    organization: parents.organization,
                    user: parents.user,
                });
                let entry = NewEntry {
                    received_ms: now_ms,
                    cause: delivery(event, head.event.name()),
                    version: head.standing.version,
                    deleted: head.standing.deleted,
                    fingerprint: head.fingerprint,
                    record: Some(head.record),
                    related,
                    body,
                };
                (head.event.name().to_owned(), entry)
            }
            Err(ShapeError::NotSynced(kind)) => return Answer::new(&kind, Verdict::NotSynced),
            Err(ShapeError::Malformed { .. }) => {
                let entry = NewEntry {
                    received_ms: now_ms,
                    cause: delivery(event, "malformed"),
                    record: None,
                    version: Version(0),
                    deleted: false,
                    fingerprint: 0,
                    related: Related::default(),
                    body,
                };
                ("malformed".to_owned(), entry)
            }
        };
        let malformed = entry.record.is_none();
        let verdict = match self.journal.append(entry).await {
            Ok(Appended::Stored { .. }) if malformed => Verdict::Malformed,
            Ok(Appended::Stored { .. }) => Verdict::Stored,
            Ok(Appended::Known { settled: true }) => Verdict::Duplicate,
            Ok(Appended::Known { settled: false }) => Verdict::Waiting,
            Err(AppendError::TooLarge) => Verdict::TooLarge,
            Err(error) => {
                self.alerts.raise(
                    "cannot_store",
                    format!("deliveries are answered 503: {error}"),
                    now_ms,
                );
                Verdict::CannotStore
            }
        };
        if matches!(verdict, Verdict::Stored | Verdict::Malformed) {
            self.alerts.clear("cannot_store");
        }
        Answer { kind, verdict }
    }
}

fn delivery(event: &VerifiedEvent<'_>, kind: &str) -> Cause {
    Cause::Delivery {
        id: event.id().clone(),
        event_type: kind.into(),
    }
}

/// What a request came to.
struct Answer {
    kind: String,
    verdict: Verdict,
}

impl Answer {
    fn new(kind: &str, verdict: Verdict) -> Self {
        Answer {
            kind: kind.to_owned(),
            verdict,
        }
    }
}

/// Every way a request can end, with its name in the metrics and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Stored,
    /// Known and done with.
    Duplicate,
    /// Known and still to be applied: the first copy will be.
    Waiting,
    NotSynced,
    Malformed,
    BadHeaders,
    Unreadable,
    Encoded,
    TooFarOff,
    Forged,
    TooLarge,
    TooSlow,
    RateLimited,
    CannotStore,
}

impl From<Refusal> for Verdict {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Malformed => Verdict::BadHeaders,
            Refusal::Unreadable => Verdict::Unreadable,
            Refusal::TooFarOff => Verdict::TooFarOff,
            Refusal::Forged => Verdict::Forged,
        }
    }
}

impl Verdict {
    const fn name(self) -> &'static str {
        match self {
            Verdict::Stored => "stored",
            Verdict::Duplicate => "duplicate",
            Verdict::Waiting => "waiting",
            Verdict::NotSynced => "not_synced",
            Verdict::Malformed => "malformed",
            Verdict::BadHeaders => "bad_headers",
            Verdict::Unreadable => "unreadable",
            Verdict::Encoded => "encoded",
            Verdict::TooFarOff => "too_far_off",
            Verdict::Forged => "bad_signature",
            Verdict::TooLarge => "too_large",
            Verdict::TooSlow => "too_slow",
            Verdict::RateLimited => "rate_limited",
            Verdict::CannotStore => "cannot_store",
        }
    }

    /// Status, words, and the seconds of `Retry-After`. A forgery learns nothing but that it is one.
    const fn answer(self) -> (StatusCode, &'static str, Option<u32>) {
        match self {
            Verdict::Stored | Verdict::Malformed => (StatusCode::OK, "stored\n", None),
            Verdict::Duplicate | Verdict::Waiting => (StatusCode::OK, "seen before\n", None),
            Verdict::NotSynced => (StatusCode::OK, "not synced\n", None),
            Verdict::BadHeaders | Verdict::Unreadable => {
                (StatusCode::BAD_REQUEST, "bad request\n", None)
            }
            Verdict::Encoded => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "send it as it was signed\n",
                None,
            ),
            Verdict::TooFarOff | Verdict::Forged => {
                (StatusCode::UNAUTHORIZED, "unauthorized\n", None)
            }
            Verdict::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too large\n", None),
            Verdict::TooSlow => (StatusCode::REQUEST_TIMEOUT, "too slow\n", None),
            Verdict::RateLimited => (
                StatusCode::TOO_MANY_REQUESTS,
                "too many requests\n",
                Some(RATE_RETRY_S),
            ),
            Verdict::CannotStore => (
                StatusCode::SERVICE_UNAVAILABLE,
                "cannot store\n",
                Some(STORE_RETRY_S),
            ),
        }
    }
}

async fn deliver(State(intake): State<Arc<Intake>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Answer { kind, verdict } = intake.take_in(&parts.headers, body).await;
    intake.metrics.webhook(&kind, verdict.name());
    let (status, words, retry_after) = verdict.answer();
    let mut response = (status, words).into_response();
    if let Some(seconds) = retry_after {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, seconds.into());
    }
    if matches!(verdict, Verdict::TooLarge | Verdict::TooSlow) {
        // The rest of the body is not read.
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn ready(State(intake): State<Arc<Intake>>) -> Response {
    let health = intake.journal.health().borrow().clone();
    let stats = intake.journal.stats();
    let full = intake.room.is_full(&stats);
    match health {
        Health::Writing if full => (
            StatusCode::SERVICE_UNAVAILABLE,
            "cannot store: the queue is full\n",
        )
            .into_response(),
        Health::Writing => "ready\n".into_response(),
        Health::Unwritable(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "cannot store: no room on the disk, or it is read-only\n",
        )
            .into_response(),
        Health::Poisoned(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "cannot store: the disk failed\n",
        )
            .into_response(),
        Health::Closed => (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n").into_response(),
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the clock of intake")]
fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
