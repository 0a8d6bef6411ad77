//! Intake: verify, store, acknowledge. Nothing else happens before the answer.
//!
//! Runs on its own threads and shares no lock with appliers or operators. It stores what was said and
//! judges nothing: whether an event is stale, foreign or impossible to map is found out later. Promises:
//! a 2xx for a synced event leaves only when it is on stable storage; nothing is written before the
//! signature holds; answers never echo the input.

mod ensure;
mod oversized;
mod peer;
mod verdict;
mod verify;

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arc_swap::{ArcSwap, ArcSwapOption};
use axum::{
    Router,
    extract::{Request, State},
    http::{Extensions, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use self::{peer::TooFast, verdict::Verdict};
use crate::{
    clerk::{
        shape::ShapeError,
        wire::{EventType, Head, Rough},
    },
    inbound::body::{self, Limits, Unread, Whole},
    model::Version,
    report::alert::Alerts,
    store::journal::{AppendError, Appended, Cause, Health, Journal, NewEntry, Related, Stats},
    telemetry::Metrics,
    twin::{self, Twin},
};

pub use ensure::{Ensure, MakeSure};
pub use oversized::Oversized;
pub use peer::{Peers, Rules};
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
    /// Of bodies: size, time, and what all of them take at once.
    pub bodies: Limits,
    /// Whether a body that was too large was signed.
    pub oversized: Oversized,
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
/// How long the disk may hold the journal up before that is not ready, far more than any sync takes.
const DISK_PATIENCE: Duration = Duration::from_secs(3);
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

    /// True if this request is one too many, of its client or of all.
    fn is_too_fast(&self, request: &Extensions) -> bool {
        let limiter = self.limiter.load();
        request.get::<TooFast>().is_some()
            || limiter
                .as_ref()
                .is_some_and(|limiter| limiter.check().is_err())
    }

    /// What can be said before the body comes.
    fn welcome(&self, request: &Parts, now_ms: i64) -> Result<Welcome, Verdict> {
        if self.is_too_fast(&request.extensions) {
            return Err(Verdict::RateLimited);
        }
        let headers = &request.headers;
        let claim = Claim::read(headers, now_ms / 1000)?;
        // What was signed are the bytes that came; a bomb is not unpacked to find that out.
        let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
        if encodings.any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity")) {
            return Err(Verdict::Encoded);
        }
        Ok(Welcome {
            claim,
            announced: body::announced(headers),
            asks_first: headers.contains_key(header::EXPECT),
        })
    }

    async fn take_in(self: &Arc<Self>, request: Request) -> Answer {
        let now_ms = now_ms();
        let (parts, body) = request.into_parts();
        let welcome = self.welcome(&parts, now_ms);
        // What a head takes, with the buffer that it lies in, is not kept while the body comes: thousands may be slow.
        drop(parts);
        let Welcome {
            claim,
            announced,
            asks_first,
        } = match welcome {
            Ok(welcome) => welcome,
            Err(verdict) => return Answer::new("none", verdict),
        };
        let whole = match body::read(announced, body, &self.bodies).await {
            Ok(whole) => whole,
            Err(Unread::TooLarge(begun)) => {
                // Who asks first whether to send it has had the answer.
                if !asks_first {
                    self.oversized.look(self, claim, begun);
                }
                return Answer::new("none", Verdict::TooLarge);
            }
            Err(unread) => return Answer::new("none", unread.into()),
        };
        let secrets = self.secrets.load();
        match claim.verify(&whole.bytes, &secrets) {
            Ok(event) => self.store(&event, &whole, now_ms).await,
            Err(refusal) => Answer::new("none", refusal.into()),
        }
    }

    async fn store(&self, event: &VerifiedEvent<'_>, whole: &Whole, now_ms: i64) -> Answer {
        let body = whole.bytes.clone();
        if twin::broken(Twin::Talkative) {
            tracing::debug!("came: {}", String::from_utf8_lossy(&body));
        }
        self.note_rotation(event, now_ms);
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
                let kind = Rough::parse(event.body())
                    .event()
                    .map_or("none", EventType::name);
                (kind.to_owned(), entry)
            }
        };
        let malformed = entry.record.is_none();
        let verdict = match self.journal.append(entry).await {
            Ok(Appended::Stored { .. }) if malformed => Verdict::Malformed,
            Ok(Appended::Stored { .. }) => Verdict::Stored,
            Ok(Appended::Known { settled: true }) => Verdict::Duplicate,
            Ok(Appended::Known { settled: false }) => Verdict::Waiting,
            Err(AppendError::TooLarge) => {
                self.too_large(event.body().len(), now_ms);
                Verdict::TooLarge
            }
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

    /// The sender signs with the endpoint's secret first, then with those that it still honours for a day.
    fn note_rotation(&self, event: &VerifiedEvent<'_>, now_ms: i64) {
        if event.has_a_newer_signature() {
            let message = "deliveries are signed with a secret newer than those configured, and the old one will \
                           stop working within a day of the rotation: add the endpoint's new signing secret to \
                           CLERK_WEBHOOK_SECRET and reload";
            self.alerts.raise("secret_rotated", message, now_ms);
        } else {
            self.alerts.clear("secret_rotated");
        }
    }

    /// A delivery of the sender's was refused for its size, and will be again.
    fn too_large(&self, bytes: usize, now_ms: i64) {
        let message = format!(
            "a signed delivery of {bytes} bytes was refused: it is larger than listen.max_body_bytes ({}); \
             allow more, then replay it",
            self.bodies.most
        );
        self.alerts.raise("delivery_too_large", message, now_ms);
    }
}

fn delivery(event: &VerifiedEvent<'_>, kind: &str) -> Cause {
    Cause::Delivery {
        id: event.id().clone(),
        event_type: kind.into(),
    }
}

/// What is known of a request that is worth reading on.
struct Welcome {
    claim: Claim,
    announced: Option<u64>,
    asks_first: bool,
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

async fn deliver(State(intake): State<Arc<Intake>>, request: Request) -> Response {
    let Answer { kind, verdict } = intake.take_in(request).await;
    intake.metrics.webhook(&kind, verdict.name());
    let (status, words, retry_after) = verdict.answer();
    let mut response = (status, words).into_response();
    if let Some(seconds) = retry_after {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, seconds.into());
    }
    if verdict.is_last() {
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
        Health::Writing if !moves(&intake.journal).await => (
            StatusCode::SERVICE_UNAVAILABLE,
            "cannot store: the disk does not answer\n",
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

/// True unless the disk holds the journal up.
async fn moves(journal: &Journal) -> bool {
    tokio::time::timeout(DISK_PATIENCE, journal.pulse())
        .await
        .is_ok()
}

#[expect(clippy::disallowed_methods, reason = "this is the clock of intake")]
fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
