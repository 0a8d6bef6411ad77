//! What a failed request to Clerk means.
//!
//! Decides by status and by the codes of Clerk's error envelope, never by messages, which are for people
//! and may repeat what was asked. "Does not exist" is believed only from an envelope that says so: a proxy
//! or a wrong URL answers 404 as well. Pure.

use std::time::Duration;

use super::{shape::Reason, wire::Errors};
use crate::{
    model::Fault,
    outbound::{ExchangeError, clean_code},
};

/// Why a request has no result. Shows no secret and no value of a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClerkError {
    /// There was no whole answer.
    #[error("Clerk could not be reached: {0}")]
    Exchange(#[from] ExchangeError),
    /// Rate limited, down, or changing the record at this moment. With the code `held_back` the request was
    /// not even sent, since the rate has no room for it or Clerk still wants the endpoint left alone.
    #[error("Clerk is not available ({code}, HTTP {status})")]
    Busy {
        /// Clerk's code or a word of ours.
        code: String,
        /// The HTTP status.
        status: u16,
        /// How long it asked to be left alone.
        retry_after: Option<Duration>,
    },
    /// The key is not accepted, or may not do this, or this URL is not Clerk's API.
    #[error("Clerk refused the request ({code}, HTTP {status}); {}", advice(.code))]
    Refused {
        /// Clerk's code or a word of ours.
        code: String,
        /// The HTTP status.
        status: u16,
    },
    /// Clerk says that what was asked for does not exist.
    #[error("Clerk says that it does not exist ({endpoint})")]
    NotFound {
        /// The request.
        endpoint: &'static str,
    },
    /// Clerk understood the request and does not want it like this.
    #[error("Clerk rejected the request ({code}, HTTP {status})")]
    Rejected {
        /// Clerk's code or a word of ours.
        code: String,
        /// The HTTP status.
        status: u16,
    },
    /// An answer of success that is not what was asked for.
    #[error("{endpoint} answered something else than Clerk documents: {reason}")]
    Nonsense {
        /// The request.
        endpoint: &'static str,
        /// What is wrong with it; holds no value of it.
        reason: Reason,
    },
    /// More was asked for at once than Clerk allows; a mistake of the caller's.
    #[error("{endpoint} was asked for more at once than Clerk allows")]
    TooMuch {
        /// The request.
        endpoint: &'static str,
    },
}

impl ClerkError {
    /// The request would have to wait so long for its turn that it was not sent.
    pub(super) fn held_back(wait: Duration) -> Self {
        ClerkError::Busy {
            code: "held_back".into(),
            status: 429,
            retry_after: Some(wait),
        }
    }

    /// A short name for metrics, logs and dead letters.
    pub fn code(&self) -> &str {
        match self {
            ClerkError::Exchange(error) => error.code(),
            ClerkError::Busy { code, .. }
            | ClerkError::Refused { code, .. }
            | ClerkError::Rejected { code, .. } => code,
            ClerkError::NotFound { .. } => "resource_not_found",
            ClerkError::Nonsense { .. } => "nonsense",
            ClerkError::TooMuch { .. } => "asked_too_much",
        }
    }

    /// Whose fault it is.
    pub const fn fault(&self) -> Fault {
        match self {
            ClerkError::Exchange(error) => error.fault(),
            ClerkError::Busy { retry_after, .. } => Fault::Service {
                retry_after: *retry_after,
            },
            ClerkError::Refused { .. } | ClerkError::NotFound { .. } => Fault::Refused,
            ClerkError::Rejected { .. } => Fault::Record,
            ClerkError::Nonsense { .. } => Fault::Service { retry_after: None },
            ClerkError::TooMuch { .. } => Fault::Ours,
        }
    }
}

fn advice(code: &str) -> &'static str {
    match code {
        "organization_not_enabled_in_instance" => {
            "organizations are switched off in this instance; nothing of them is synced"
        }
        "authorization_missing_scopes" => "use a secret key that may read users and organizations",
        "api_version_invalid" => "this version of the daemon is too old or too new for Clerk",
        _ => "check CLERK_SECRET_KEY and CLERK_API_URL",
    }
}

/// Names an answer that is no success.
pub(super) fn classify(
    endpoint: &'static str,
    status: u16,
    retry_after: Option<Duration>,
    body: &[u8],
) -> ClerkError {
    let envelope = serde_json::from_slice::<Errors>(body).ok();
    let first = envelope.and_then(|envelope| envelope.errors.into_iter().next());
    let code = first.map_or_else(|| format!("http_{status}"), |error| clean_code(&error.code));
    let busy = |code| ClerkError::Busy {
        code,
        status,
        retry_after,
    };
    match (status, code.as_str()) {
        (404, "resource_not_found") => ClerkError::NotFound { endpoint },
        (409, "resource_locked") => busy(code),
        (400, "api_version_invalid") => ClerkError::Refused { code, status },
        (400 | 409 | 413 | 415 | 422, _) => ClerkError::Rejected { code, status },
        // A redirect is a captive portal or a proxy in trouble; it is never followed.
        (300..400 | 408 | 425 | 429 | 500.., _) => busy(code),
        (400..500, _) => ClerkError::Refused { code, status },
        _ => busy(code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_each_answer_means() {
        let envelope = |code: &str| {
            format!(
                r#"{{"errors":[{{"message":"No user ada@example.com","long_message":"x","code":"{code}"}}]}}"#
            )
        };
        let service = "service";
        for (status, body, fault, code) in [
            (
                404,
                envelope("resource_not_found"),
                "refused",
                "resource_not_found",
            ),
            (
                404,
                envelope("organization_not_found_or_unauthorized"),
                "refused",
                "organization_not_found_or_unauthorized",
            ),
            (404, "<html>".into(), "refused", "http_404"),
            (404, r#"{"errors":[]}"#.into(), "refused", "http_404"),
            (
                401,
                envelope("clerk_key_invalid"),
                "refused",
                "clerk_key_invalid",
            ),
            (402, String::new(), "refused", "http_402"),
            (
                403,
                envelope("organization_not_enabled_in_instance"),
                "refused",
                "organization_not_enabled_in_instance",
            ),
            (405, String::new(), "refused", "http_405"),
            (
                400,
                envelope("api_version_invalid"),
                "refused",
                "api_version_invalid",
            ),
            (400, envelope("bad_request"), "record", "bad_request"),
            (
                422,
                envelope("form_param_value_invalid"),
                "record",
                "form_param_value_invalid",
            ),
            (
                409,
                envelope("user_managed_by_scim"),
                "record",
                "user_managed_by_scim",
            ),
            (409, envelope("resource_locked"), service, "resource_locked"),
            (429, "slow down".into(), service, "http_429"),
            (
                429,
                envelope("too_many_requests"),
                service,
                "too_many_requests",
            ),
            (
                500,
                envelope("internal_clerk_error"),
                service,
                "internal_clerk_error",
            ),
            (503, String::new(), service, "http_503"),
            (302, String::new(), service, "http_302"),
            (204, String::new(), service, "http_204"),
        ] {
            let error = classify("get_user", status, None, body.as_bytes());
            let named = match error.fault() {
                Fault::Record => "record",
                Fault::Service { .. } => "service",
                Fault::Refused => "refused",
                Fault::Ours => "ours",
            };
            assert_eq!((named, error.code()), (fault, code), "{status} {body}");
            assert_eq!(
                matches!(error, ClerkError::NotFound { .. }),
                code == "resource_not_found",
                "{status} {body}"
            );
            assert!(!format!("{error} {error:?}").contains("ada@"));
        }
    }

    #[test]
    fn the_wait_that_clerk_asks_for_is_handed_on() {
        let retry_after = Some(Duration::from_secs(3));
        let error = classify("get_user", 429, retry_after, b"");
        assert_eq!(error.fault(), Fault::Service { retry_after });
    }
}
