//! An answer that comes line by line while something is done: one JSON document a line (NDJSON).
//!
//! Has no bound on the whole, which may take hours, but on the silence between two pieces and on the length
//! of a line.

use std::time::Duration;

use reqwest::{Method, Response};
use serde::Serialize;
use serde_json::Value;
use tokio::time::timeout;

use super::{AdminClient, AdminError, LARGEST_ANSWER};

/// The longest silence. The daemon says something every few seconds.
const SILENCE: Duration = Duration::from_secs(30);
/// The whole of an answer; far more than the first copy of the largest instance takes.
const WHOLE: Duration = Duration::from_secs(30 * 24 * 3600);

/// How long one record may take: the services are asked several times each.
const PATIENCE: Duration = Duration::from_secs(120);

/// See the module's words.
pub struct Lines {
    client: AdminClient,
    response: Response,
    /// What was read and is no whole line yet.
    rest: Vec<u8>,
}

impl AdminClient {
    /// `POST path`, answered line by line.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn post_for_lines(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Lines, AdminError> {
        let request = self.request(Method::POST, path).json(body).timeout(WHOLE);
        let sent = timeout(SILENCE, request.send()).await;
        let response = sent
            .map_err(|_| self.silent())?
            .map_err(|error| self.no_answer(&error))?;
        if !response.status().is_success() {
            let status = response.status();
            let bytes = timeout(SILENCE, self.read(response)).await;
            let bytes = bytes.map_err(|_| self.silent())??;
            return Err(match self.judge(status, &bytes) {
                Err(error) => error,
                Ok(_) => self.foreign(format!("status {status}")),
            });
        }
        Ok(Lines {
            client: self.clone(),
            response,
            rest: Vec::new(),
        })
    }

    /// `POST path`, answered with one document after something was done that may take a while.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn post_patiently(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Value, AdminError> {
        let request = self
            .request(Method::POST, path)
            .json(body)
            .timeout(PATIENCE);
        let sent = request.send().await;
        let response = sent.map_err(|error| self.no_answer(&error))?;
        let status = response.status();
        let bytes = self.read(response).await?;
        self.judge(status, &bytes)
    }

    fn silent(&self) -> AdminError {
        AdminError::Broken {
            place: self.place.clone(),
            reason: format!("nothing came for {} s", SILENCE.as_secs()),
        }
    }
}

impl Lines {
    /// The next line; `None` at the end. Loses nothing when dropped and called again.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn next(&mut self) -> Result<Option<Value>, AdminError> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                let line = serde_json::from_slice(&line);
                let line = line.map_err(|error| self.client.foreign(format!("not JSON: {error}")));
                return line.map(Some);
            }
            if self.rest.len() > LARGEST_ANSWER {
                let reason = format!("a line is over {LARGEST_ANSWER} bytes");
                return Err(self.client.foreign(reason));
            }
            let chunk = timeout(SILENCE, self.response.chunk()).await;
            let chunk = chunk
                .map_err(|_| self.client.silent())?
                .map_err(|error| self.client.no_answer(&error))?;
            match chunk {
                Some(chunk) => self.rest.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }
}
