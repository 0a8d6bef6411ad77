//! One call to one function of a deployment.
//!
//! Knows the HTTP side (paths, headers, bounds) and hands the reply to [`super::answer`]. Repeats nothing
//! and waits for nothing: when to call again is the caller's decision. A call without an answer may have
//! been carried out, which the contract's functions allow for.

use std::{fmt, time::Duration};

use bytes::Bytes;
use reqwest::{
    Method,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use url::Url;

use super::{
    answer::{self, FUNCTION_MISSING, Failure, Hint},
    wire::{Call, Function},
};
use crate::{
    model::Fault,
    outbound::{Dialer, ExchangeError, OnRequest, Reply, Request, below, secret_header},
};

/// Of the functions that answer with rows: they return at most 16 MiB, the rest is for JSON's escapes and log lines.
const MAX_ROWS_BYTES: usize = 24 << 20;
/// Of the others, log lines included.
const MAX_WORDS_BYTES: usize = 4 << 20;
/// Names this client in Convex's logs. A name of our own, since some names are held to minimum versions.
const CLIENT: &str = concat!("clerk-convex-sync-", env!("CARGO_PKG_VERSION"));
const CONVEX_CLIENT: HeaderName = HeaderName::from_static("convex-client");

/// What a deployment is reached by.
#[derive(Clone)]
pub struct Options {
    /// The deployment's origin.
    pub url: Url,
    /// Its deploy key.
    pub deploy_key: SecretString,
    /// The module that exports the functions.
    pub module: String,
    /// The longest a call may take.
    pub timeout: Duration,
    /// Shared with other edges, so that root certificates are loaded once.
    pub dialer: Dialer,
    /// Hears of every call by its function's name.
    pub on_request: OnRequest,
}

/// A deployment that can be called. Cheap to clone.
#[derive(Clone)]
pub struct Deployment {
    query: Url,
    mutation: Url,
    headers: HeaderMap,
    module: String,
    timeout: Duration,
    dialer: Dialer,
    on_request: OnRequest,
}

impl fmt::Debug for Deployment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Deployment({})", self.query.host_str().unwrap_or("?"))
    }
}

/// Why a call has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// There was no whole answer.
    #[error("Convex could not be reached: {0}")]
    Exchange(#[from] ExchangeError),
    /// There was one, and it was no success.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// The function succeeded with something that the contract does not allow.
    #[error(
        "{function} answered something else than the contract says ({what}); deploy the functions that belong to this version"
    )]
    OffContract {
        /// The function.
        function: &'static str,
        /// What is wrong, in words of our own.
        what: &'static str,
    },
}

impl CallError {
    /// A short name for metrics, logs and dead letters.
    pub fn code(&self) -> &str {
        match self {
            CallError::Exchange(error) => error.code(),
            CallError::Failed(failure) => failure.code(),
            CallError::OffContract { .. } => "off_contract",
        }
    }

    /// Whose fault it is; see [`Failure::fault`] for the one case that has to be checked first.
    pub const fn fault(&self) -> Fault {
        match self {
            CallError::Exchange(error) => error.fault(),
            CallError::Failed(failure) => failure.fault(),
            CallError::OffContract { .. } => Fault::Service { retry_after: None },
        }
    }

    /// True if the deployed module does not export the function: an older one, or one of another making.
    pub fn is_missing_function(&self) -> bool {
        matches!(self, CallError::Failed(Failure::Refused { code, .. })
            if code == FUNCTION_MISSING || code == "FunctionPathNotFound")
    }

    /// True if that may be so: a production deployment says of a function that is not there what it says of
    /// every function that failed, which is nothing.
    pub fn may_be_missing_function(&self) -> bool {
        let wordless = |failure: &Failure| {
            matches!(
                failure,
                Failure::Unstructured {
                    hint: Hint::Wordless,
                    ..
                }
            )
        };
        self.is_missing_function() || self.failure().is_some_and(wordless)
    }

    /// What the answer was, if it was one that [`Failure`] has a name for.
    pub const fn failure(&self) -> Option<&Failure> {
        match self {
            CallError::Failed(failure) => Some(failure),
            _ => None,
        }
    }
}

impl Deployment {
    /// Prepares the calls; connects to nothing. Fails only for a key that no header can carry.
    pub fn new(options: Options) -> Result<Deployment, CallError> {
        let key = format!("Convex {}", options.deploy_key.expose_secret());
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, secret_header(&key)?);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CONVEX_CLIENT, HeaderValue::from_static(CLIENT));
        Ok(Deployment {
            query: below(&options.url, &["api", "query"])?,
            mutation: below(&options.url, &["api", "mutation"])?,
            headers,
            module: options.module,
            timeout: options.timeout,
            dialer: options.dialer,
            on_request: options.on_request,
        })
    }

    /// The same deployment, with somebody else listening as well: for what one run costs.
    pub fn also_heard_by(&self, other: OnRequest) -> Deployment {
        let own = self.on_request.clone();
        Deployment {
            on_request: std::sync::Arc::new(move |name, status, bytes| {
                own(name, status, bytes);
                other(name, status, bytes);
            }),
            ..self.clone()
        }
    }

    /// The same deployment, for a run that reads one page after another.
    pub fn keeping_buffers(&self) -> Deployment {
        Deployment {
            dialer: self.dialer.keeping_buffers(),
            ..self.clone()
        }
    }

    /// Calls a function and reads its value.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        function: Function,
        args: impl Serialize,
    ) -> Result<T, CallError> {
        value(function, &self.ask(function, args).await?)
    }

    /// Calls a function; whatever was answered, [`value`] reads it.
    pub(super) async fn ask(
        &self,
        function: Function,
        args: impl Serialize,
    ) -> Result<Reply, CallError> {
        let path = format!("{}:{}", self.module, function.name);
        let call = Call {
            path: &path,
            args,
            format: "json",
        };
        let body = serde_json::to_vec(&call).map_err(|_| ExchangeError::Unbuildable)?;
        let url = if function.mutation {
            &self.mutation
        } else {
            &self.query
        };
        let request = Request {
            name: function.name,
            method: Method::POST,
            url: url.clone(),
            headers: self.headers.clone(),
            body: Some(Bytes::from(body)),
            timeout: self.timeout,
            max_bytes: max_answer_bytes(function),
        };
        Ok(self.dialer.exchange(request, &self.on_request).await?)
    }
}

/// The value that a function answered with, or why there is none.
pub(super) fn value<'r, T: Deserialize<'r>>(
    function: Function,
    reply: &'r Reply,
) -> Result<T, CallError> {
    // Nearly every answer is a success, and large ones are read in one pass.
    if let Some(value) = answer::success(reply.status, &reply.body) {
        return Ok(value);
    }
    let value = answer::read(reply.status, reply.retry_after, &reply.body)?;
    serde_json::from_str(value.get()).map_err(|_| CallError::OffContract {
        function: function.name,
        what: "another shape",
    })
}

fn max_answer_bytes(function: Function) -> usize {
    match function {
        Function::LIST | Function::GET | Function::EDITS => MAX_ROWS_BYTES,
        _ => MAX_WORDS_BYTES,
    }
}
