//! Every way in which the simulated Clerk says no, with Clerk's own status, code and texts.
//!
//! Texts and statuses follow Clerk's published error catalogue. The envelope is
//! `{"errors":[{message, long_message, code, meta?}], "clerk_trace_id"}`. It decides nothing: the
//! world and the gate choose a variant, this file only words it.

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

/// Status, code, short message, long message, name of the parameter.
type Wording = (u16, &'static str, String, String, Option<String>);

impl Refusal {
    /// HTTP status.
    pub fn status(&self) -> u16 {
        self.wording().0
    }

    /// Clerk's machine-readable code.
    pub fn code(&self) -> &'static str {
        self.wording().1
    }

    /// The error envelope.
    pub fn envelope(&self) -> Value {
        let (_, code, message, long_message, param) = self.wording();
        let mut error = json!({ "message": message, "long_message": long_message, "code": code });
        if let Some(name) = param {
            error["meta"] = json!({ "param_name": name });
        }
        let trace = uuid::Uuid::new_v4().simple().to_string();
        json!({ "errors": [error], "clerk_trace_id": trace })
    }

    fn wording(&self) -> Wording {
        let plain = |status, code, short: &str, long: &str| {
            (status, code, short.to_owned(), long.to_owned(), None)
        };
        match self {
            Self::UserNotFound(id) => {
                let long = format!("No user was found with id {id}");
                (404, "resource_not_found", "not found".into(), long, None)
            }
            Self::OrganizationNotFound => plain(
                404,
                "resource_not_found",
                "not found",
                "Given organization not found.",
            ),
            Self::MembershipNotFound => plain(
                404,
                "resource_not_found",
                "not found",
                "Organization membership not found",
            ),
            Self::PathNotFound => plain(
                404,
                "resource_not_found",
                "not found",
                "The requested path does not exist.",
            ),
            Self::KeyInvalid => {
                let text = "The provided Clerk Secret Key is invalid. Make sure that your Clerk Secret Key is correct.";
                plain(401, "clerk_key_invalid", text, text)
            }
            Self::AuthenticationMissing => plain(
                401,
                "authentication_invalid",
                "Invalid authentication",
                "Unable to authenticate the request, you need to supply an active session",
            ),
            Self::AuthorizationFormat => plain(
                401,
                "authorization_header_format_invalid",
                "Invalid Authorization header format",
                "Invalid Authorization header format. Must be 'Bearer <YOUR_API_KEY>'",
            ),
            Self::OriginConflict => plain(
                400,
                "origin_authorization_headers_conflict",
                "Setting both the 'Origin' and 'Authorization' headers is forbidden",
                "Only one of the 'Origin' and 'Authorization' headers should be provided, but not both.",
            ),
            Self::ApiVersion(reason) => {
                let long = format!("Invalid Clerk API version: {reason}");
                (
                    400,
                    "api_version_invalid",
                    "invalid API version".into(),
                    long,
                    None,
                )
            }
            Self::OrganizationsDisabled => plain(
                403,
                "organization_not_enabled_in_instance",
                "access denied",
                "The organizations feature is not enabled for this instance. You can enable it at https://dashboard.clerk.com.",
            ),
            Self::BodyInvalid => plain(
                400,
                "request_body_invalid",
                "Request body invalid",
                "The request body is invalid. Please consult the API documentation for more information.",
            ),
            Self::ContentType(actual) => {
                let long = format!(
                    "Content-Type {actual} is unsupported. You should use application/json instead."
                );
                (
                    415,
                    "unsupported_content_type",
                    "Content-Type is unsupported".into(),
                    long,
                    None,
                )
            }
            Self::TooMany { .. } => plain(
                429,
                "too_many_requests",
                "Too many requests",
                "Too many requests, retry later",
            ),
            Self::Ordered { status, .. } => ordered(*status),
            other => other.about_a_parameter(),
        }
    }

    /// The refusals that name the parameter at fault.
    fn about_a_parameter(&self) -> Wording {
        let invalid = || "is invalid".to_owned();
        match self {
            Self::ParamUnknown(p) => {
                let long = format!("{p} is not a valid parameter for this request.");
                (
                    422,
                    "form_param_unknown",
                    "is unknown".into(),
                    long,
                    Some(p.clone()),
                )
            }
            Self::ParamValue(p, value) => {
                let long =
                    format!("{value} does not match one of the allowed values for parameter {p}");
                (
                    422,
                    "form_param_value_invalid",
                    invalid(),
                    long,
                    Some(p.clone()),
                )
            }
            Self::ParamFormat(p, what) => {
                let long = format!("{p} {what}");
                (
                    422,
                    "form_param_format_invalid",
                    invalid(),
                    long,
                    Some(p.clone()),
                )
            }
            Self::ParamMissing(p) => {
                let long = format!("{p} must be included.");
                (
                    422,
                    "form_param_missing",
                    "is missing".into(),
                    long,
                    Some(p.clone()),
                )
            }
            Self::ArraySize(p, max) => {
                let long = format!("{p} should not exceed {max} items.");
                let short = "exceeds maximum size".to_owned();
                (
                    422,
                    "form_param_array_size_exceeded",
                    short,
                    long,
                    Some(p.clone()),
                )
            }
            Self::TooBig(p, max) => {
                let long = format!("{p} exceeds the maximum allowed size of {max} bytes.");
                let short = "exceeds allowed size".to_owned();
                (
                    422,
                    "form_param_exceeds_allowed_size",
                    short,
                    long,
                    Some(p.clone()),
                )
            }
            Self::TooLong(p, max) => {
                let long = format!("{p} should not exceed {max} characters.");
                let short = "exceeds maximum length".to_owned();
                (
                    422,
                    "form_param_max_length_exceeded",
                    short,
                    long,
                    Some(p.clone()),
                )
            }
            Self::IdentifierExists(p) => {
                let long = format!("That {p} is taken. Please try another.");
                (
                    422,
                    "form_identifier_exists",
                    format!("That {p} is taken"),
                    long,
                    Some(p.clone()),
                )
            }
            Self::ResourceMissing(p) => {
                let long = format!("The resource associated with the supplied {p} was not found.");
                (
                    422,
                    "form_resource_not_found",
                    "is missing".into(),
                    long,
                    Some(p.clone()),
                )
            }
            Self::AlreadyMember(user) => {
                let long = format!("{user} is already a member of the organization.");
                let short = "already a member".to_owned();
                (400, "already_a_member_in_organization", short, long, None)
            }
            Self::MembershipQuota(max) => {
                let long =
                    format!("You have reached your limit of {max} organization memberships.");
                let short = "membership quota exceeded".to_owned();
                (
                    403,
                    "organization_membership_quota_exceeded",
                    short,
                    long,
                    None,
                )
            }
            _ => ordered(500),
        }
    }
}

/// The catalogue's wording of a status that a test ordered.
fn ordered(status: u16) -> Wording {
    let (code, short, long) = match status {
        400 => ("bad_request", "Bad request", "Bad request"),
        401 => (
            "could_not_authenticate_request",
            "Could not authenticate request.",
            "Could not authenticate request.",
        ),
        403 => (
            "authorization_invalid",
            "Unauthorized request",
            "You are not authorized.",
        ),
        404 => ("resource_not_found", "not found", "Resource not found"),
        409 => (
            "resource_locked",
            "resource busy",
            "This resource is currently being modified by another request. Please try again.",
        ),
        413 => (
            "request_body_too_large",
            "Request body too large",
            "Request body too large",
        ),
        429 => (
            "too_many_requests",
            "Too many requests",
            "Too many requests, retry later",
        ),
        503 => (
            "service_unavailable",
            "Service unavailable",
            "Service unavailable",
        ),
        504 => ("gateway_timeout", "Gateway timeout", "Gateway timeout"),
        _ => (
            "internal_clerk_error",
            "Oops, an unexpected error occurred",
            "There was an internal error on our servers. We've been notified and are working on fixing it.",
        ),
    };
    (status, code, short.to_owned(), long.to_owned(), None)
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
