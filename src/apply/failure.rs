//! What a failed call to Convex means for the records in it, and for how long Convex is left alone.
//!
//! Pure. Promises: only what an answer says about a record, or what nobody else can be blamed for, counts
//! against one; everything else is an outage and costs no attempt.

use std::time::Duration;

use crate::{
    convex::{
        answer::{Failure, Hint},
        deployment::CallError,
    },
    model::{Fault, Key},
    twin::{self, Twin},
};

/// The functions' code for a call that is larger than a transaction may be.
pub const BATCH_TOO_LARGE: &str = "batch_too_large";
/// How long to leave Convex alone when the functions are not there or not callable.
pub const MISSING_HOLD: Duration = Duration::from_secs(10);
/// How long to leave Convex alone when it does not accept the key.
const KEY_HOLD: Duration = Duration::from_secs(60);

/// Convex's code for more bytes written in a second than the deployment's class allows, with status 429
/// (`snapshot_manager.rs` of its backend). Inside a transaction the same word means that one is too large.
const OVER_THROUGHPUT: &str = "TooManyWrites";

/// See the module's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning<'e> {
    /// A record is at fault: the one that is named, or who knows which.
    Refused(Option<&'e Key>),
    /// The functions failed and production has taken the words away: a record is at fault if the functions are
    /// there at all, which `describe` tells.
    Redacted,
    /// The deployment has written as many bytes in this second as it may: it is well, and takes this call in the next.
    Throttled,
    /// Convex is away. How long it is to be left alone, if there is a reason to say so.
    Away(Option<Duration>),
}

/// What this failure means.
pub fn meaning(error: &CallError) -> Meaning<'_> {
    match (error, error.fault()) {
        // The whole call is too large, whichever record the function was at.
        (CallError::Failed(Failure::RecordRefused { code, key }), _) => {
            let deaf = code == BATCH_TOO_LARGE || twin::broken(Twin::DeafToNames);
            Meaning::Refused(key.as_ref().filter(|_| !deaf))
        }
        (
            CallError::Failed(Failure::Unstructured {
                hint: Hint::Unknown | Hint::Wordless,
                ..
            }),
            _,
        ) => Meaning::Redacted,
        (
            CallError::Failed(Failure::Service {
                code,
                status: 429,
                retry_after: None,
            }),
            _,
        ) if code == OVER_THROUGHPUT => Meaning::Throttled,
        (_, Fault::Refused) => {
            let key = matches!(
                error,
                CallError::Failed(Failure::Refused {
                    status: 401 | 403,
                    ..
                })
            );
            Meaning::Away(Some(if key { KEY_HOLD } else { MISSING_HOLD }))
        }
        (_, Fault::Service { retry_after }) => Meaning::Away(retry_after),
        (_, Fault::Ours) => Meaning::Away(Some(MISSING_HOLD)),
        (_, Fault::Record) => Meaning::Refused(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbound::ExchangeError;

    fn failed(failure: Failure) -> CallError {
        CallError::Failed(failure)
    }

    fn of_record(code: &str) -> CallError {
        let (code, key) = (code.into(), Key::parse("user_1"));
        failed(Failure::RecordRefused { code, key })
    }

    fn refused(status: u16) -> CallError {
        let code = "x".into();
        failed(Failure::Refused { code, status })
    }

    fn redacted(hint: Hint) -> CallError {
        let message = String::new();
        failed(Failure::Unstructured { hint, message })
    }

    #[test]
    fn only_a_record_s_own_fault_counts_against_it() {
        let named = Key::parse("user_1");
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let service = |retry_after| Failure::Service {
            code: "x".into(),
            status: 503,
            retry_after,
        };
        let fast = |retry_after| Failure::Service {
            code: OVER_THROUGHPUT.into(),
            status: 429,
            retry_after,
        };
        for (error, means) in [
            (failed(fast(None)), Meaning::Throttled),
            (failed(fast(seconds(7))), Meaning::Away(seconds(7))),
            (of_record("invalid_field"), Meaning::Refused(named.as_ref())),
            (of_record(BATCH_TOO_LARGE), Meaning::Refused(None)),
            (redacted(Hint::Unknown), Meaning::Redacted),
            (redacted(Hint::Wordless), Meaning::Redacted),
            (redacted(Hint::TooMuch), Meaning::Refused(None)),
            (failed(service(None)), Meaning::Away(None)),
            (failed(service(seconds(7))), Meaning::Away(seconds(7))),
            (refused(403), Meaning::Away(seconds(60))),
            (refused(404), Meaning::Away(seconds(10))),
            (ExchangeError::Interrupted.into(), Meaning::Away(None)),
            (
                ExchangeError::Unbuildable.into(),
                Meaning::Away(seconds(10)),
            ),
        ] {
            assert_eq!(meaning(&error), means, "{error}");
        }
    }
}
