//! What a reply of Convex means: a table from status and body to one of five endings.
//!
//! Convex answers a function that threw with HTTP 200 (or 560) and `status: "error"`, redacts the message in
//! production, and answers overload in half a dozen ways. Success is `status == "success"` and nothing else.
//! An error message may quote the arguments, hence personal data: only its request id survives, and of a
//! structured error only its code and key. Pure.

use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    model::{Fault, Key},
    outbound::clean_code,
};

/// Why a call did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The function named a record (or at least a code) by a structured `ConvexError`: the rest of the
    /// batch is innocent.
    #[error("the functions refused {} ({code})", .key.as_ref().map_or("the call", |key| key.as_str()))]
    RecordRefused {
        /// The function's code, cleaned.
        code: String,
        /// The record that it names.
        key: Option<Key>,
    },
    /// The listing's cursor is not valid any more: start the range anew.
    #[error("the cursor is not valid any more; start the range anew")]
    CursorInvalid,
    /// The function failed without saying for which record: a poisonous record, or an outage of what it
    /// uses. [`Hint`] tells as far as the message does; else ask `describe`, then split the batch.
    #[error("the function failed ({}); its words are in the log of the Convex deployment", .hint.name())]
    Unstructured {
        /// What the message gives away.
        hint: Hint,
        /// Where the message is found; for a system error its code.
        message: String,
    },
    /// Down, busy, or not talking sense. The call may nevertheless have been carried out.
    #[error("Convex is not available ({code}, HTTP {status})")]
    Service {
        /// Convex's code or a word of ours.
        code: String,
        /// The HTTP status.
        status: u16,
        /// How long it asked to be left alone.
        retry_after: Option<Duration>,
    },
    /// Convex does not let us in, or this URL is not a deployment with the functions.
    #[error("Convex refused the call ({code}, HTTP {status}); {}", advice(.code))]
    Refused {
        /// Convex's code or a word of ours.
        code: String,
        /// The HTTP status.
        status: u16,
    },
}

/// What a message that names no record gives away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// Nothing: a plain exception.
    Unknown,
    /// Not even that there was a function: a production deployment takes the words out of every message.
    Wordless,
    /// The arguments do not fit the function's validator, or hold what Convex cannot.
    Arguments,
    /// The batch is too large for one call or one transaction.
    TooMuch,
}

impl Hint {
    /// A short name for metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Hint::Unknown | Hint::Wordless => "function_failed",
            Hint::Arguments => "bad_arguments",
            Hint::TooMuch => "too_much",
        }
    }
}

impl Failure {
    /// A short name for metrics, logs and dead letters.
    pub fn code(&self) -> &str {
        match self {
            Failure::RecordRefused { code, .. }
            | Failure::Service { code, .. }
            | Failure::Refused { code, .. } => code,
            Failure::CursorInvalid => "invalid_cursor",
            Failure::Unstructured { hint, .. } => hint.name(),
        }
    }

    /// Whose fault it is. An [`Failure::Unstructured`] one is taken for the record's: ask `describe`
    /// before believing it, unless the hint says more than [`Hint::Unknown`] or [`Hint::Wordless`].
    pub const fn fault(&self) -> Fault {
        match self {
            Failure::RecordRefused { .. } | Failure::Unstructured { .. } => Fault::Record,
            Failure::CursorInvalid => Fault::Service { retry_after: None },
            Failure::Service { retry_after, .. } => Fault::Service {
                retry_after: *retry_after,
            },
            Failure::Refused { .. } => Fault::Refused,
        }
    }
}

/// The code of a function that is not there.
pub const FUNCTION_MISSING: &str = "function_missing";

/// What a person can do about a refusal.
fn advice(code: &str) -> &'static str {
    match code {
        FUNCTION_MISSING | "wrong_kind" | "BadConvexFunctionIdentifier" => {
            "run `clerk-convex-sync init`, deploy the functions, and check convex.module"
        }
        "not_permitted" => "make a deploy key that may run internal queries and internal mutations",
        "BadAdminKey" | "BadDeployKey" | "InvalidHeaderFailure" => {
            "check CONVEX_DEPLOY_KEY: it must belong to the deployment of CONVEX_URL"
        }
        _ => "check CONVEX_URL and CONVEX_DEPLOY_KEY",
    }
}

#[derive(Deserialize)]
struct FunctionReply<'a> {
    status: String,
    #[serde(borrow, default)]
    value: Option<&'a RawValue>,
    #[serde(rename = "errorMessage", default)]
    message: Option<String>,
    #[serde(rename = "errorData", borrow, default)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct SystemReply {
    code: String,
}

/// The value of a function that succeeded, read together with what it is wrapped in; `None` for everything
/// else, which [`read`] gives its name.
pub fn success<'r, T: Deserialize<'r>>(status: u16, body: &'r [u8]) -> Option<T> {
    #[derive(Deserialize)]
    struct Success<T> {
        status: String,
        value: T,
    }
    if status != 200 {
        return None;
    }
    let body = std::str::from_utf8(body).ok()?;
    let reply: Success<T> = serde_json::from_str(body).ok()?;
    (reply.status == "success").then_some(reply.value)
}

/// Reads the reply to a function call: the function's value, as it came, or why there is none.
pub fn read(status: u16, retry_after: Option<Duration>, body: &[u8]) -> Result<&RawValue, Failure> {
    if !matches!(status, 200 | 560) {
        return Err(system_failure(status, retry_after, body));
    }
    let garbage = || Failure::Service {
        code: "garbage".into(),
        status,
        retry_after,
    };
    let reply: FunctionReply = serde_json::from_slice(body).map_err(|_| garbage())?;
    match reply.status.as_str() {
        // A function that returns nothing has the value null; a reply without a value is not ours.
        "success" => reply.value.ok_or_else(garbage),
        "error" => Err(function_failure(status, &reply)),
        _ => Err(garbage()),
    }
}

fn system_failure(status: u16, retry_after: Option<Duration>, body: &[u8]) -> Failure {
    let named = serde_json::from_slice::<SystemReply>(body).ok();
    let code = named.map_or_else(|| format!("http_{status}"), |reply| clean_code(&reply.code));
    match status {
        400 | 413 if code == "BadJsonBody" || status == 413 => Failure::Unstructured {
            hint: Hint::TooMuch,
            message: code,
        },
        // A redirect is a captive portal or a proxy in trouble; it is never followed.
        300..400 | 408 | 409 | 421 | 425 | 429 | 500.. => Failure::Service {
            code,
            status,
            retry_after,
        },
        400..500 => Failure::Refused { code, status },
        _ => Failure::Service {
            code,
            status,
            retry_after,
        },
    }
}

fn function_failure(status: u16, reply: &FunctionReply<'_>) -> Failure {
    if let Some(failure) = reply.data.and_then(structured) {
        return failure;
    }
    let message = reply.message.as_deref().unwrap_or_default();
    let refused = |code: &str| Failure::Refused {
        code: code.into(),
        status,
    };
    let service = |code: &str| Failure::Service {
        code: code.into(),
        status,
        retry_after: None,
    };
    let unstructured = |hint| Failure::Unstructured {
        hint,
        message: whereabouts(message),
    };
    match recognise(message) {
        Some(Known::Missing) => refused(FUNCTION_MISSING),
        Some(Known::WrongKind) => refused("wrong_kind"),
        Some(Known::NotPermitted) => refused("not_permitted"),
        Some(Known::Paused) => service("paused"),
        Some(Known::OverPlan) => service("over_plan"),
        Some(Known::Arguments) => unstructured(Hint::Arguments),
        Some(Known::TooMuch) => unstructured(Hint::TooMuch),
        None if is_wordless(message) => unstructured(Hint::Wordless),
        None => unstructured(Hint::Unknown),
    }
}

/// True of what production makes of any message: the request id and the same two words.
fn is_wordless(message: &str) -> bool {
    let said = message
        .strip_prefix("[Request ID: ")
        .and_then(|rest| rest.split_once(']'))
        .map_or(message, |(_, said)| said);
    matches!(said.trim(), "" | "Server Error")
}

/// The data of a `ConvexError`: `{ code, key }` by the contract, or Convex's own for a bad cursor.
fn structured(data: &RawValue) -> Option<Failure> {
    let data: serde_json::Value = serde_json::from_str(data.get()).ok()?;
    if data.get("paginationError").and_then(|e| e.as_str()) == Some("InvalidCursor") {
        return Some(Failure::CursorInvalid);
    }
    Some(Failure::RecordRefused {
        code: clean_code(data.get("code")?.as_str()?),
        key: data
            .get("key")
            .and_then(|key| key.as_str())
            .and_then(Key::parse),
    })
}

#[derive(Clone, Copy)]
enum Known {
    Missing,
    WrongKind,
    NotPermitted,
    Paused,
    OverPlan,
    Arguments,
    TooMuch,
}

/// Convex's own messages, each as far as it is fixed. Only the start of the first two lines counts (the
/// first is the request id): what comes later may quote a record, and a record must not be able to pass
/// itself off as an outage.
fn recognise(message: &str) -> Option<Known> {
    const OPENINGS: [(&str, Known); 9] = [
        ("Could not find public function for", Known::Missing),
        ("Could not find function for", Known::Missing),
        ("Trying to execute", Known::WrongKind),
        ("You do not have permission to perform", Known::NotPermitted),
        (
            "Cannot run functions while this deployment is",
            Known::Paused,
        ),
        ("You have exceeded the", Known::OverPlan),
        ("ArgumentValidationError", Known::Arguments),
        ("Invalid arguments for", Known::Arguments),
        ("Arguments for", Known::TooMuch),
    ];
    /// Of a transaction's limits. Taking a poisonous record for one of these only splits the batch.
    const LIMITS: [&str; 5] = [
        "TooManyWrites",
        "TooManyReads",
        "Too many reads",
        "Too many writes",
        "Too many bytes",
    ];
    message.lines().take(2).find_map(|line| {
        let line = line.strip_prefix("Uncaught ").unwrap_or(line);
        let opening = OPENINGS.iter().find(|(words, _)| line.starts_with(words));
        let limit = || {
            let found = LIMITS.iter().any(|words| line.contains(words));
            found.then_some(Known::TooMuch)
        };
        opening.map(|(_, known)| *known).or_else(limit)
    })
}

/// Where a person finds the message: the request id that it opens with. The message itself may quote the
/// arguments, hence somebody's name and address, and is left where it is.
fn whereabouts(message: &str) -> String {
    /// Longer than any request id.
    const MAX_CHARS: usize = 64;
    let id = message
        .strip_prefix("[Request ID: ")
        .and_then(|rest| rest.split_once(']'))
        .map(|(id, _)| id)
        .filter(|id| id.len() <= MAX_CHARS && id.bytes().all(|b| b.is_ascii_alphanumeric()));
    match id {
        Some(id) => format!("the deployment's log has the message, request id {id}"),
        None => "the deployment's log has the message".to_owned(),
    }
}

#[cfg(test)]
mod tests;
