//! What Clerk's API wraps its records in, and the header by which it is told how.
//!
//! Listings, counts, errors. Which of them is believed is decided where they are used.

use http::HeaderName;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::clerk::lenient::{Millis, Text, lenient};

/// Chooses the version of the API.
pub(in crate::clerk) const CLERK_API_VERSION: HeaderName =
    HeaderName::from_static("clerk-api-version");
/// The version that the wire types were written from.
pub(in crate::clerk) const API_VERSION: &str = "2025-11-10";

lenient! {
    /// What identifies a record and its version.
    pub(in crate::clerk) struct Identity<'a> {
        "id" => req id: Text<'a>,
        "created_at" => req created_at: Millis,
        "updated_at" => req updated_at: Millis,
    }
}

/// The answer of `GET /users/count`.
#[derive(Deserialize)]
pub(in crate::clerk) struct TotalCount {
    pub(in crate::clerk) total_count: Millis,
}

lenient! {
    /// The answer of the listings of organizations and memberships.
    pub(in crate::clerk) struct Listed<'a> {
        "data" => req data: Vec<&'a RawValue>,
        "total_count" => req total_count: Millis,
    }
}

/// The envelope of every error that is Clerk's own.
#[derive(Deserialize)]
pub(in crate::clerk) struct Errors {
    pub(in crate::clerk) errors: Vec<OneError>,
}

/// One error. Its messages are for people and may repeat what was asked, so they are not read.
#[derive(Deserialize)]
pub(in crate::clerk) struct OneError {
    pub(in crate::clerk) code: String,
}
