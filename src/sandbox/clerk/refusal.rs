//! Every way in which the simulated Clerk says no, with Clerk's own status, code and texts.
//!
//! The envelope is `{"errors":[{message, long_message, code, meta?}], "clerk_trace_id"}`; codes and
//! texts stand in `wording`. It decides nothing: the world and the gate choose a variant.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// Why a request was not served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No user has this id. Permanent.
    #[error("no user was found with id {0}")]
    UserNotFound(String),
    /// No organization has this id or slug. Permanent.
    #[error("no such organization")]
    OrganizationNotFound,
    /// The user is no member of the organization. Permanent.
    #[error("no such membership")]
    MembershipNotFound,
    /// Nothing is served at this path. Permanent.
    #[error("no such path")]
    PathNotFound,
    /// The bearer key is not this instance's. Permanent.
    #[error("the secret key is invalid")]
    KeyInvalid,
    /// No `Authorization` header. Permanent.
    #[error("no authorization header")]
    AuthenticationMissing,
    /// An `Authorization` header that is not `Bearer <key>`. Permanent.
    #[error("malformed authorization header")]
    AuthorizationFormat,
    /// `Origin` and `Authorization` together. Permanent.
    #[error("origin and authorization together")]
    OriginConflict,
    /// Unknown `Clerk-API-Version`, or the header and the query parameter together. Permanent.
    #[error("invalid API version: {0}")]
    ApiVersion(String),
    /// Organizations are switched off in this instance. Permanent until they are switched on.
    #[error("organizations are not enabled")]
    OrganizationsDisabled,
    /// The body is not JSON, or not an object. Permanent.
    #[error("the request body is invalid")]
    BodyInvalid,
    /// A body that is not sent as JSON. Permanent.
    #[error("unsupported content type {0}")]
    ContentType(String),
    /// A body key this call does not take. Permanent.
    #[error("{0} is not a valid parameter")]
    ParamUnknown(String),
    /// A value outside what the parameter allows. Permanent.
    #[error("{1} is not an allowed value of {0}")]
    ParamValue(String, String),
    /// A value of the wrong form. Permanent.
    #[error("{0} {1}")]
    ParamFormat(String, String),
    /// A required parameter is absent. Permanent.
    #[error("{0} must be included")]
    ParamMissing(String),
    /// More than the allowed number of values. Permanent.
    #[error("{0} should not exceed {1} items")]
    ArraySize(String, usize),
    /// More than the allowed number of bytes. Permanent.
    #[error("{0} exceeds the maximum allowed size of {1} bytes")]
    TooBig(String, usize),
    /// A longer text than allowed. Permanent.
    #[error("{0} should not exceed {1} characters")]
    TooLong(String, usize),
    /// An email address, phone number, username or external id of another user. Permanent.
    #[error("that {0} is taken")]
    IdentifierExists(String),
    /// A referenced resource is not the user's own. Permanent.
    #[error("the resource behind {0} was not found")]
    ResourceMissing(String),
    /// The user is already in the organization. Permanent.
    #[error("{0} is already a member")]
    AlreadyMember(String),
    /// The organization is full. Permanent until its limit is raised.
    #[error("the organization has reached its limit of {0} members")]
    MembershipQuota(u32),
    /// The rate limit. Transient: ask again after so many seconds.
    #[error("too many requests")]
    TooMany {
        /// Value of `Retry-After`, left out when `None`.
        retry_after_secs: Option<u64>,
        /// Whether the body is Clerk's JSON envelope or plain text.
        json: bool,
    },
    /// A status that a test ordered; what it means is that status's business.
    #[error("ordered to answer {status}")]
    Ordered {
        /// Status to answer.
        status: u16,
        /// Value of `Retry-After`, left out when `None`.
        retry_after_secs: Option<u64>,
        /// Whether the body is Clerk's JSON envelope or plain text.
        json: bool,
    },
}

impl Refusal {
    /// HTTP status.
    pub fn status(&self) -> u16 {
        self.wording().status
    }

    /// Clerk's machine-readable code.
    pub fn code(&self) -> &'static str {
        self.wording().code
    }

    /// The error envelope.
    pub fn envelope(&self) -> Value {
        let said = self.wording();
        let mut error =
            json!({ "message": said.short, "long_message": said.long, "code": said.code });
        if let Some(name) = said.param {
            error["meta"] = json!({ "param_name": name });
        }
        let trace = uuid::Uuid::new_v4().simple().to_string();
        json!({ "errors": [error], "clerk_trace_id": trace })
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status()).unwrap_or(StatusCode::IM_A_TEAPOT);
        let (retry_after, as_json) = match &self {
            Self::TooMany {
                retry_after_secs,
                json,
            } => (*retry_after_secs, *json),
            Self::Ordered {
                retry_after_secs,
                json,
                ..
            } => (*retry_after_secs, *json),
            _ => (None, true),
        };
        let (kind, body) = if as_json {
            ("application/json", self.envelope().to_string())
        } else {
            (
                "text/html",
                format!("<html><body>error {}</body></html>", self.status()),
            )
        };
        let mut response = (status, [(header::CONTENT_TYPE, kind)], body).into_response();
        if let Some(secs) = retry_after {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(secs));
        }
        response
    }
}
