//! What was asked of the simulated API: counts by endpoint and status, and the last requests.
//!
//! Tests read here how many pages a walk took and whether a client came back inside a penalty.
//! Query strings are kept for the last `KEPT` requests only; headers and bodies never.

use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};

/// Requests whose path and query are kept.
const KEPT: usize = 10_000;

/// One request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Request {
    /// Method and path template, as in `GET /v1/users/{user_id}`.
    pub endpoint: String,
    /// The path as it was asked for.
    pub path: String,
    /// The raw query string.
    pub query: String,
    /// The status answered; 0 when the connection was cut.
    pub status: u16,
}

/// Counts since the start or the last reset.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Requests {
    /// All requests.
    pub total: u64,
    /// Requests by endpoint, then by status; status 0 is a connection that was cut.
    pub by_endpoint: BTreeMap<String, BTreeMap<u16, u64>>,
    /// Requests that came before the time that an earlier 429 had named.
    pub inside_penalty: u64,
    /// Bytes of all answers' bodies.
    pub bytes_sent: u64,
    #[serde(skip)]
    last: VecDeque<Request>,
}

impl Requests {
    /// Notes a request and its answer.
    pub fn note(&mut self, request: Request, bytes: u64) {
        self.total += 1;
        self.bytes_sent += bytes;
        let by_status = self
            .by_endpoint
            .entry(request.endpoint.clone())
            .or_default();
        *by_status.entry(request.status).or_default() += 1;
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back(request);
    }

    /// Requests to an endpoint, whatever the status.
    pub fn to(&self, endpoint: &str) -> u64 {
        self.by_endpoint
            .get(endpoint)
            .map_or(0, |by_status| by_status.values().sum())
    }

    /// Requests answered with a status, whatever the endpoint.
    pub fn answered(&self, status: u16) -> u64 {
        self.by_endpoint
            .values()
            .filter_map(|by_status| by_status.get(&status))
            .sum()
    }

    /// The last requests, oldest first.
    pub fn last(&self) -> impl Iterator<Item = &Request> {
        self.last.iter()
    }
}
