//! What a delivery can come to, and what its sender is told.
//!
//! One list for answers, metrics and the connection. An answer never says more than its status does: which
//! secret, how far off or what was expected is nobody's business who has to ask.

use axum::http::StatusCode;

use super::{RATE_RETRY_S, Refusal, STORE_RETRY_S};
use crate::inbound::body::Unread;

/// Every way a request can end, with its name in the metrics and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
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
    /// Other bodies take all the room that there is for bodies.
    Crowded,
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

impl From<Unread> for Verdict {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::TooLarge(_) => Verdict::TooLarge,
            Unread::TooSlow => Verdict::TooSlow,
            Unread::Broken => Verdict::Unreadable,
            Unread::Crowded => Verdict::Crowded,
        }
    }
}

impl Verdict {
    pub(super) const fn name(self) -> &'static str {
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
            Verdict::Crowded => "crowded",
            Verdict::CannotStore => "cannot_store",
        }
    }

    /// True if the rest of the body is not read, so that nothing can follow on this connection.
    pub(super) const fn is_last(self) -> bool {
        matches!(
            self,
            Verdict::TooLarge | Verdict::TooSlow | Verdict::Crowded
        )
    }

    /// Status, words, and the seconds of `Retry-After`. A forgery learns nothing but that it is one.
    pub(super) const fn answer(self) -> (StatusCode, &'static str, Option<u32>) {
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
            Verdict::Crowded => (
                StatusCode::SERVICE_UNAVAILABLE,
                "too much at once\n",
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
