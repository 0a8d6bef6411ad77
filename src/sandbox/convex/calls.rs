//! One call of one function from its arguments to its ending, with whatever is to go wrong.
//!
//! The order is Convex's: a permit, the function, the commit, the answer. The latency passes before
//! the commit, so a row is visible when its answer leaves. Knows nothing of HTTP framing. Every
//! ending is tallied, refused ones too.

use std::collections::{BTreeMap, VecDeque};
use std::sync::PoisonError;
use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;

use super::Shared;
use super::clock;
use super::faults::{FaultKind, FaultRule};
use super::functions::{Bounds, Call, Function, FunctionError, Kind, mutate, query};
use super::limits::Refused;
use super::value::Encoding;

/// Calls kept by [`Calls::recent`].
const RECENT: usize = 1000;
/// Index ranges a change reads, about, for the price of look-ups.
const LOOKUPS_PER_CHANGE: u32 = 4;

/// How a call ended.
pub(super) enum Ended {
    /// The function's value, as JSON.
    Value(Vec<u8>),
    /// It threw; whether the message is redacted.
    Threw(FunctionError, bool),
    /// It did not run.
    Refused {
        status: u16,
        code: String,
        message: String,
        retry_after: Option<u64>,
    },
    /// It did not run, and the answer is nonsense.
    Garbage,
    /// The connection is to be cut; whether the function ran.
    Cut { applied: bool },
}

/// One call, as the tally keeps it.
#[derive(Clone, Debug, Serialize)]
pub struct CallRecord {
    /// The function's name.
    pub function: &'static str,
    /// How many changes it carried.
    pub changes: usize,
    /// HTTP status of the answer; 0 where the connection was cut.
    pub status: u16,
    /// `success`, `error` (it threw), `refused`, `garbage`, `cut` (it did not run) or
    /// `applied_then_cut`.
    pub outcome: &'static str,
}

/// What was called since the start or the last reset.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Calls {
    /// Calls of queries, however they ended.
    pub queries: u64,
    /// Calls of mutations, however they ended.
    pub mutations: u64,
    /// Changes carried by calls of `apply`, however they ended.
    pub changes: u64,
    /// Bytes of the arguments of calls of `apply` that got in, as the limit of bytes a second counts them.
    pub written_bytes: u64,
    /// Calls by function.
    pub counts: BTreeMap<&'static str, u64>,
    /// Calls by outcome; see [`CallRecord::outcome`].
    pub outcomes: BTreeMap<&'static str, u64>,
    /// The last 1,000, oldest first.
    #[serde(rename = "calls")]
    pub recent: VecDeque<CallRecord>,
}

impl Calls {
    fn note(&mut self, function: Function, changes: usize, status: u16, outcome: &'static str) {
        match function.kind() {
            Kind::Query => self.queries += 1,
            Kind::Mutation => self.mutations += 1,
        }
        self.changes += changes as u64;
        *self.counts.entry(function.name()).or_default() += 1;
        *self.outcomes.entry(outcome).or_default() += 1;
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        let function = function.name();
        self.recent.push_back(CallRecord {
            function,
            changes,
            status,
            outcome,
        });
    }
}

/// Makes the call.
pub(super) async fn run(
    shared: &Shared,
    function: Function,
    args: &RawValue,
    encoding: Encoding,
) -> Ended {
    let call = Call::read(function, args);
    let changes = call.as_ref().map_or(0, Call::changes);
    let ended = run_read(shared, function, call, args.get().len(), encoding).await;
    let (status, outcome) = match &ended {
        Ended::Value(_) => (200, "success"),
        Ended::Threw(..) => (shared.options.error_status, "error"),
        Ended::Refused { status, .. } => (*status, "refused"),
        Ended::Garbage => (200, "garbage"),
        Ended::Cut { applied: false } => (0, "cut"),
        Ended::Cut { applied: true } => (0, "applied_then_cut"),
    };
    let mut calls = shared.calls.lock().unwrap_or_else(PoisonError::into_inner);
    calls.note(function, changes, status, outcome);
    ended
}

async fn run_read(
    shared: &Shared,
    function: Function,
    call: Result<Call<'_>, FunctionError>,
    bytes: usize,
    encoding: Encoding,
) -> Ended {
    let verdict = {
        let mut faults = shared.faults.lock().unwrap_or_else(PoisonError::into_inner);
        faults.judge(function.name(), |key| {
            call.as_ref().is_ok_and(|call| call.has_key(key))
        })
    };
    let lookups = match &call {
        Ok(call) => call.changes() as u32 * LOOKUPS_PER_CHANGE + 1,
        Err(_) => 0,
    };
    let gate = shared.gate();
    let latency = verdict.latency + shared.latency() + gate.limits().per_lookup * lookups;
    let applied_then_cut = verdict
        .fault
        .as_ref()
        .is_some_and(|rule| rule.kind == FaultKind::AppliedThenCut);
    if let Some(rule) = verdict.fault.filter(|_| !applied_then_cut) {
        pause(latency).await;
        return struck(shared, rule);
    }
    let _permit = match gate.enter(function.kind()).await {
        Ok(permit) => permit,
        Err(refused) => return refuse(refused),
    };
    pause(latency).await;
    let call = match call {
        Ok(call) => call,
        Err(error) => return Ended::Threw(error, shared.options.redact),
    };
    if function == Function::Apply {
        if let Err(refused) = gate.write(bytes as u64) {
            return refuse(refused);
        }
        let mut calls = shared.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.written_bytes += bytes as u64;
    }
    let value = execute(shared, function, call, encoding);
    match value {
        _ if applied_then_cut => Ended::Cut { applied: true },
        Ok(value) => Ended::Value(value),
        Err(error) => Ended::Threw(error, shared.options.redact),
    }
}

/// Runs the function under the lock of the world, which makes it one transaction.
fn execute(
    shared: &Shared,
    function: Function,
    call: Call<'_>,
    encoding: Encoding,
) -> Result<Vec<u8>, FunctionError> {
    let gate = shared.gate();
    let limits = gate.limits();
    let bounds = Bounds {
        page_bytes: limits.page_bytes,
        enforce_lookups: limits.enforce_lookups,
        contract: shared.options.contract,
    };
    match function.kind() {
        Kind::Query => {
            let world = shared.world.read().unwrap_or_else(PoisonError::into_inner);
            query(&world, &call, &bounds, encoding)
        }
        Kind::Mutation => {
            let mut world = shared.world.write().unwrap_or_else(PoisonError::into_inner);
            mutate(&mut world, call, &bounds, clock::now_ms())
        }
    }
}

async fn pause(latency: Duration) {
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
}

/// The ending a rule asks for, where the function does not run.
fn struck(shared: &Shared, rule: FaultRule) -> Ended {
    let redacted = rule.redacted.unwrap_or(shared.options.redact);
    match rule.kind {
        FaultKind::Status => Ended::Refused {
            status: rule.status.unwrap_or(503),
            code: rule
                .code
                .unwrap_or_else(|| "InternalServerError".to_owned()),
            message: "Refused by a fault rule".to_owned(),
            retry_after: rule.retry_after,
        },
        // In production nothing is left of a message, not even which record it was.
        FaultKind::RejectKey if rule.redacted == Some(true) => {
            let words = "Uncaught Error: thrown by a fault rule";
            Ended::Threw(FunctionError::Bare(words.to_owned()), true)
        }
        FaultKind::RejectKey => {
            let code = rule.code.unwrap_or_else(|| "rejected".to_owned()).into();
            Ended::Threw(
                FunctionError::Structured {
                    code,
                    key: rule.key,
                },
                redacted,
            )
        }
        FaultKind::Error => {
            let error = match rule.code {
                Some(code) => FunctionError::Structured {
                    code: code.into(),
                    key: rule.key,
                },
                None => FunctionError::Bare("Uncaught Error: thrown by a fault rule".to_owned()),
            };
            Ended::Threw(error, redacted)
        }
        FaultKind::Garbage => Ended::Garbage,
        FaultKind::Cut | FaultKind::AppliedThenCut | FaultKind::Latency => {
            Ended::Cut { applied: false }
        }
    }
}

fn refuse(refused: Refused) -> Ended {
    let (code, message) = match refused {
        Refused::Concurrency(kind, limit) => {
            let kind = if kind == Kind::Query {
                "queries"
            } else {
                "mutations"
            };
            let message = format!("Your backend is limited to {limit} concurrent {kind}");
            ("TooManyConcurrentRequests", message)
        }
        Refused::Throughput => ("TooManyWrites", "Too many writes per second".to_owned()),
    };
    Ended::Refused {
        status: 429,
        code: code.to_owned(),
        message,
        retry_after: None,
    }
}
