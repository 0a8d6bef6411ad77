//! Why a text from Clerk is not of the expected shape, said without repeating any of it.
//!
//! serde's own messages quote the offending value, which may be a person's name or address. A
//! [`Reason`] names the member (only members that this crate declares can appear in it) or the
//! position, and what was wrong with it. Pure.

use std::fmt;

use serde::Deserialize;

use crate::model::RecordKey;

/// What was wrong, and where. Holds no value from the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason(String);

impl Reason {
    /// A reason in words of our own.
    pub(crate) fn of(words: impl Into<String>) -> Self {
        Reason(words.into())
    }

    /// The words.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a body is not an event that can be applied as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// An event of a type that this daemon does not sync; fine, and to be counted. The name is short
    /// and harmless: anything unusual is called `other`.
    #[error("events of type {0} are not synced")]
    NotSynced(Box<str>),
    /// A text that should have been readable and is not.
    #[error("{reason}")]
    Malformed {
        /// What was wrong.
        reason: Reason,
        /// The record it is about, as far as that can be told: to be fetched from Clerk instead.
        names: Option<RecordKey>,
    },
}

impl ShapeError {
    /// A malformed text about nobody in particular.
    pub(crate) fn malformed(reason: Reason) -> Self {
        ShapeError::Malformed {
            reason,
            names: None,
        }
    }

    /// The same, with the record that it is about.
    pub(crate) fn about(self, record: Option<RecordKey>) -> Self {
        match self {
            ShapeError::Malformed { reason, names } => ShapeError::Malformed {
                reason,
                names: names.or(record),
            },
            other => other,
        }
    }
}

/// Reads one JSON text. `root` is what the text is called in reasons (`data`, `page`).
pub(crate) fn read<'a, T: Deserialize<'a>>(root: &str, text: &'a [u8]) -> Result<T, Reason> {
    serde_json::from_slice(text).map_err(|_| explain::<T>(root, text))
}

/// Reads the text a second time, slowly, to find where it goes wrong. Only on the way to an error.
fn explain<'a, T: Deserialize<'a>>(root: &str, text: &'a [u8]) -> Reason {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let Err(found) = serde_path_to_error::deserialize::<_, T>(&mut deserializer) else {
        return Reason(format!("{root} is followed by something else"));
    };
    let error = found.inner();
    let message = error.to_string();
    let place = format!("line {}, column {}", error.line(), error.column());
    if !error.is_data() {
        // The path could name a member that is not ours, and a member's name may be personal.
        let what = if error.is_eof() {
            "ends too early"
        } else {
            "cannot be read as JSON"
        };
        return Reason(format!("{root} {what} at {place}"));
    }
    let path = match found.path().to_string() {
        path if path == "." => root.to_owned(),
        path => format!("{root}.{path}"),
    };
    if let Some(member) = message
        .strip_prefix("missing field `")
        .and_then(|rest| rest.split('`').next())
    {
        Reason(format!("{path}.{member} is missing"))
    } else if message.starts_with("invalid value") {
        Reason(format!("{path} is out of range, at {place}"))
    } else {
        Reason(format!("{path} has the wrong type, at {place}"))
    }
}
