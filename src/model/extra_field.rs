//! A further column of `users` that the configuration names (`users.extra_fields`).
//!
//! Where it comes from, and its type. How a value becomes one of that type is the mapping's to say.

use serde::{Deserialize, Serialize};

/// Where a column's value lies in Clerk's user, and what it must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtraField {
    /// A JSON pointer (RFC 6901) into the user as Clerk sends it, such as `/public_metadata/plan`.
    pub pointer: String,
    /// The type of the column.
    pub kind: ExtraKind,
}

/// The type of a further column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExtraKind {
    /// A string, number or boolean as it is; an array or object as JSON text. For columns whose type was
    /// not configured.
    #[default]
    Any,
    /// A string.
    String,
    /// A number; Convex keeps it as a double.
    Number,
    /// True or false.
    Boolean,
    /// Anything, as JSON text with sorted keys.
    Json,
}
