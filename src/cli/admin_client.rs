//! Asks the running daemon, over its Unix socket or its TCP listener for operators.
//!
//! Knows how a request travels and how the daemon says no; knows nothing of what the answers mean.
//! That no daemon answers is an error of its own, since a command may have another way to its end.

mod lines;

use std::{
    io,
    path::PathBuf,
    time::{Duration, Instant},
};

use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde::Serialize;
use serde_json::Value;

use super::exit::Failure;
use crate::config::{Admin, Secret};

pub use lines::Lines;

/// How long an answer may take. The daemon answers operators from memory and a few reads of its
/// state; ten seconds without one is a daemon that hangs.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// The largest answer that is read, in bytes: a page of a thousand dead letters of the largest
/// size that the listener takes would be far above it, a usual page is far below.
const LARGEST_ANSWER: usize = 64 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Nobody listens. Permanent until somebody starts the daemon.
    #[error("no daemon answers at {place}: {reason}")]
    Unreachable {
        /// Where it was expected.
        place: String,
        /// What the system said.
        reason: String,
    },
    /// The socket is there, but not for this user. Permanent.
    #[error("this user may not open {place}")]
    Forbidden {
        /// The socket.
        place: String,
    },
    /// The connection broke or the answer did not come in time. Transient.
    #[error("the daemon at {place} did not answer: {reason}")]
    Broken {
        /// Who was asked.
        place: String,
        /// What the system said.
        reason: String,
    },
    /// The daemon understood and refused.
    #[error("{message}")]
    Refused {
        /// Its status.
        status: StatusCode,
        /// Its sentence.
        message: String,
    },
    /// Something answered, but not in the way the daemon does. Permanent.
    #[error("{place} answers, but not as the daemon does: {reason}")]
    Foreign {
        /// Who was asked.
        place: String,
        /// What was odd.
        reason: String,
    },
}

impl AdminError {
    /// Whether no daemon runs, so that its state may be opened instead.
    pub fn is_absence(&self) -> bool {
        matches!(self, AdminError::Unreachable { .. })
    }
}

impl From<AdminError> for Failure {
    fn from(error: AdminError) -> Self {
        let message = error.to_string();
        match error {
            AdminError::Unreachable { .. } => Failure::unreachable(message).help(
                "start it with `clerk-convex-sync run`; if it runs, give the same --config, or \
                 the same CCS_STATE__DIR or CCS_ADMIN__SOCKET that it was started with",
            ),
            AdminError::Forbidden { .. } => {
                Failure::unreachable(message).help("run this as the daemon's user, or with sudo")
            }
            AdminError::Broken { .. } => {
                Failure::unreachable(message).help("see the daemon's log, and try again")
            }
            AdminError::Refused {
                status: StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN,
                ..
            } => Failure::failed(message)
                .help("set admin.token to the token that the daemon was started with"),
            AdminError::Refused { .. } => Failure::failed(message),
            AdminError::Foreign { .. } => Failure::failed(message).help(
                "set admin.socket or admin.address to where the daemon listens for operators",
            ),
        }
    }
}

/// A way to the daemon.
#[derive(Clone, Debug)]
pub struct AdminClient {
    http: Client,
    origin: String,
    token: Option<Secret>,
    place: String,
}

impl AdminClient {
    /// Chooses the way: the socket where it is there, else the address where one is set. Nothing is
    /// sent yet.
    ///
    /// # Errors
    /// [`AdminError::Unreachable`] when there is neither.
    pub fn new(admin: &Admin) -> Result<Self, AdminError> {
        match admin.address {
            Some(address) if !admin.socket.exists() => {
                let place = format!("http://{address}");
                let tokens = [&admin.token, &admin.operate_token, &admin.read_token];
                let token = tokens.into_iter().flatten().next().cloned();
                Self::build(Client::builder(), place.clone(), place, token)
            }
            _ => Self::by_socket(admin.socket.clone()),
        }
    }

    /// By this socket.
    ///
    /// # Errors
    /// [`AdminError::Unreachable`] when it is not there.
    pub fn by_socket(socket: PathBuf) -> Result<Self, AdminError> {
        let place = socket.display().to_string();
        if let Err(error) = socket.symlink_metadata() {
            return Err(match error.kind() {
                io::ErrorKind::PermissionDenied => AdminError::Forbidden { place },
                _ => AdminError::Unreachable {
                    place,
                    reason: "the socket is not there".to_owned(),
                },
            });
        }
        // The host is a name for the request's sake: what is connected to is the socket.
        let origin = "http://localhost".to_owned();
        Self::build(Client::builder().unix_socket(socket), origin, place, None)
    }

    fn build(
        builder: reqwest::ClientBuilder,
        origin: String,
        place: String,
        token: Option<Secret>,
    ) -> Result<Self, AdminError> {
        let http = builder
            .timeout(ANSWER_WITHIN)
            .no_proxy()
            .build()
            .map_err(|error| AdminError::Foreign {
                place: place.clone(),
                reason: error.to_string(),
            })?;
        Ok(AdminClient {
            http,
            origin,
            token,
            place,
        })
    }

    /// `GET path`; the path with its query, ready for the wire.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn get(&self, path: &str) -> Result<Value, AdminError> {
        self.ask(Method::GET, path, None::<&()>).await
    }

    /// `POST path` with a JSON body.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn post(&self, path: &str, body: &impl Serialize) -> Result<Value, AdminError> {
        self.ask(Method::POST, path, Some(body)).await
    }

    /// `DELETE path`.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn delete(&self, path: &str) -> Result<Value, AdminError> {
        self.ask(Method::DELETE, path, None::<&()>).await
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Value, AdminError> {
        let started = Instant::now();
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.json(body);
        }
        let sent = request.send().await;
        let response = sent.map_err(|error| self.no_answer(&error))?;
        let status = response.status();
        let bytes = self.read(response).await?;
        tracing::debug!(
            path,
            status = status.as_u16(),
            elapsed_ms = started.elapsed().as_millis() as u64,
            "the daemon answered"
        );
        self.judge(status, &bytes)
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.origin));
        match &self.token {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        }
    }

    async fn read(&self, mut response: Response) -> Result<Vec<u8>, AdminError> {
        let mut bytes = Vec::new();
        loop {
            let chunk = response.chunk().await;
            let Some(chunk) = chunk.map_err(|error| self.no_answer(&error))? else {
                return Ok(bytes);
            };
            if bytes.len() + chunk.len() > LARGEST_ANSWER {
                return Err(self.foreign(format!("the answer is over {LARGEST_ANSWER} bytes")));
            }
            bytes.extend_from_slice(&chunk);
        }
    }

    fn judge(&self, status: StatusCode, bytes: &[u8]) -> Result<Value, AdminError> {
        let document = serde_json::from_slice::<Value>(bytes);
        if status.is_success() {
            return document.map_err(|error| self.foreign(format!("not JSON: {error}")));
        }
        let message = document.ok().and_then(|document| {
            let message = document.get("error")?.as_str()?;
            Some(message.to_owned())
        });
        match message {
            Some(message) => Err(AdminError::Refused { status, message }),
            None => Err(self.foreign(format!("status {status}"))),
        }
    }

    fn foreign(&self, reason: String) -> AdminError {
        AdminError::Foreign {
            place: self.place.clone(),
            reason,
        }
    }

    fn no_answer(&self, error: &reqwest::Error) -> AdminError {
        let place = self.place.clone();
        let cause = io_cause(error);
        let reason = cause.map_or_else(|| plain(error), ToString::to_string);
        match cause.map(io::Error::kind) {
            Some(io::ErrorKind::PermissionDenied) => AdminError::Forbidden { place },
            _ if error.is_connect() => AdminError::Unreachable { place, reason },
            _ => AdminError::Broken { place, reason },
        }
    }
}

/// The innermost error of the operating system, if one is the cause.
fn io_cause(error: &reqwest::Error) -> Option<&io::Error> {
    let mut cause = std::error::Error::source(error);
    let mut found = None;
    while let Some(error) = cause {
        found = error.downcast_ref::<io::Error>().or(found);
        cause = error.source();
    }
    found
}

fn plain(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        format!("no answer within {} s", ANSWER_WITHIN.as_secs())
    } else {
        let mut cause: &dyn std::error::Error = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        cause.to_string()
    }
}

#[cfg(test)]
mod tests;
