//! Status, code and texts of every refusal, after Clerk's published error catalogue.
//!
//! Clients should match on status and code; the texts are there because people read them in logs.
//! It decides nothing and reads no state.

use super::refusal::Refusal;

/// How one refusal is worded.
#[derive(Debug)]
pub struct Wording {
    /// HTTP status.
    pub status: u16,
    /// Clerk's machine-readable code.
    pub code: &'static str,
    /// `message`.
    pub short: String,
    /// `long_message`.
    pub long: String,
    /// The parameter at fault.
    pub param: Option<String>,
}

fn plain(status: u16, code: &'static str, short: &str, long: &str) -> Wording {
    Wording {
        status,
        code,
        short: short.to_owned(),
        long: long.to_owned(),
        param: None,
    }
}

/// A refusal of one parameter; `long` follows the parameter's name.
fn about(param: &str, code: &'static str, short: &str, long: String) -> Wording {
    let param = Some(param.to_owned());
    Wording {
        status: 422,
        code,
        short: short.to_owned(),
        long,
        param,
    }
}

impl Refusal {
    /// The wording of this refusal.
    pub(super) fn wording(&self) -> Wording {
        match self {
            Self::UserNotFound(_)
            | Self::OrganizationNotFound
            | Self::MembershipNotFound
            | Self::PathNotFound => self.not_found(),
            Self::AlreadyMember(_) | Self::MembershipQuota(_) | Self::OrganizationsDisabled => {
                self.about_organizations()
            }
            Self::KeyInvalid
            | Self::AuthenticationMissing
            | Self::AuthorizationFormat
            | Self::OriginConflict
            | Self::ApiVersion(_)
            | Self::BodyInvalid
            | Self::ContentType(_) => self.about_the_request(),
            Self::TooMany { .. } => ordered(429),
            Self::Ordered { status, .. } => ordered(*status),
            _ => self.about_a_parameter(),
        }
    }

    fn not_found(&self) -> Wording {
        let long = match self {
            Self::UserNotFound(id) => format!("No user was found with id {id}"),
            Self::OrganizationNotFound => "Given organization not found.".to_owned(),
            Self::MembershipNotFound => "Organization membership not found".to_owned(),
            _ => "The requested path does not exist.".to_owned(),
        };
        plain(404, "resource_not_found", "not found", &long)
    }

    fn about_organizations(&self) -> Wording {
        match self {
            Self::AlreadyMember(user) => plain(
                400,
                "already_a_member_in_organization",
                "already a member",
                &format!("{user} is already a member of the organization."),
            ),
            Self::MembershipQuota(max) => plain(
                403,
                "organization_membership_quota_exceeded",
                "membership quota exceeded",
                &format!("You have reached your limit of {max} organization memberships."),
            ),
            _ => plain(
                403,
                "organization_not_enabled_in_instance",
                "access denied",
                "The organizations feature is not enabled for this instance. You can enable it at https://dashboard.clerk.com.",
            ),
        }
    }

    fn about_the_request(&self) -> Wording {
        match self {
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
            Self::ApiVersion(reason) => plain(
                400,
                "api_version_invalid",
                "invalid API version",
                &format!("Invalid Clerk API version: {reason}"),
            ),
            Self::ContentType(actual) => plain(
                415,
                "unsupported_content_type",
                "Content-Type is unsupported",
                &format!(
                    "Content-Type {actual} is unsupported. You should use application/json instead."
                ),
            ),
            _ => plain(
                400,
                "request_body_invalid",
                "Request body invalid",
                "The request body is invalid. Please consult the API documentation for more information.",
            ),
        }
    }

    fn about_a_parameter(&self) -> Wording {
        match self {
            Self::ParamUnknown(p) => {
                let long = format!("{p} is not a valid parameter for this request.");
                about(p, "form_param_unknown", "is unknown", long)
            }
            Self::ParamValue(p, value) => {
                let long =
                    format!("{value} does not match one of the allowed values for parameter {p}");
                about(p, "form_param_value_invalid", "is invalid", long)
            }
            Self::ParamFormat(p, what) => about(
                p,
                "form_param_format_invalid",
                "is invalid",
                format!("{p} {what}"),
            ),
            Self::ParamMissing(p) => about(
                p,
                "form_param_missing",
                "is missing",
                format!("{p} must be included."),
            ),
            Self::ArraySize(p, max) => {
                let long = format!("{p} should not exceed {max} items.");
                about(
                    p,
                    "form_param_array_size_exceeded",
                    "exceeds maximum size",
                    long,
                )
            }
            Self::TooBig(p, max) => {
                let long = format!("{p} exceeds the maximum allowed size of {max} bytes.");
                about(
                    p,
                    "form_param_exceeds_allowed_size",
                    "exceeds allowed size",
                    long,
                )
            }
            Self::TooLong(p, max) => {
                let long = format!("{p} should not exceed {max} characters.");
                about(
                    p,
                    "form_param_max_length_exceeded",
                    "exceeds maximum length",
                    long,
                )
            }
            Self::IdentifierExists(p) => {
                let long = format!("That {p} is taken. Please try another.");
                about(
                    p,
                    "form_identifier_exists",
                    &format!("That {p} is taken"),
                    long,
                )
            }
            Self::ResourceMissing(p) => {
                let long = format!("The resource associated with the supplied {p} was not found.");
                about(p, "form_resource_not_found", "is missing", long)
            }
            _ => ordered(500),
        }
    }
}

/// The catalogue's wording of a status alone.
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
    plain(status, code, short, long)
}
