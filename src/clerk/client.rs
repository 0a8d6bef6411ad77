//! Questions to Clerk's Backend API, one request each.
//!
//! Read-only: changes have a type of their own, [`ClerkWriter`]. Repeats nothing: to try again is the caller's.
//! Each request waits for its turn in the [`Pace`] that all clones share; a live one that would wait long is
//! refused as [`ClerkError::Busy`] instead of being sent. Believes an answer only if it is about what was
//! asked: another id, more rows than asked for, or an ignored filter is an error. Only [`Lookup::Gone`] says
//! that a record does not exist; being missing from a list does not.

use std::{collections::HashSet, fmt, time::Duration};

use reqwest::{
    Method,
    header::{AUTHORIZATION, HeaderMap, HeaderValue},
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::value::RawValue;
use url::Url;

use super::{
    budget::{End, Priority},
    error::{ClerkError, classify},
    pace::Pace,
    record::{Lookup, RawRecord},
    wire::{API_VERSION, CLERK_API_VERSION, Membership},
};
use crate::{
    model::{ConfirmedDelete, Key, Table},
    outbound::{Dialer, OnRequest, Reply, Request, below, secret_header},
};

mod keys;
mod listing;
mod page;
mod reading;
mod writing;

pub use page::{CreatedBetween, Listing, Order, UserPage};
use reading::{nonsense, read_json, read_listing, read_users, unreadable};
pub use writing::{ClerkWriter, Permit, ProfilePatch};

/// The most records a page. Clerk silently answers with 10 when asked for more.
pub const MAX_PAGE: u32 = 500;
/// The most ids in one question.
pub const MAX_IDS: usize = 100;
/// One record: metadata is at most 8 KB a field, so this is a hundred times what is needed.
const MAX_RECORD_BYTES: usize = 4 << 20;
/// 500 records of 48 KiB each, several times the largest seen.
const MAX_PAGE_BYTES: usize = 24 << 20;

/// What Clerk is reached by.
#[derive(Clone)]
pub struct Options {
    /// The API's origin, without `/v1`.
    pub api_url: Url,
    /// The instance's secret key.
    pub secret_key: SecretString,
    /// The longest a request may take.
    pub timeout: Duration,
    /// Shared with other edges, so that root certificates are loaded once.
    pub dialer: Dialer,
    /// Hears of every request by its endpoint's name.
    pub on_request: OnRequest,
    /// The rate that is kept to; outlives this client where keys are changed while running.
    pub pace: Pace,
}

/// Asks Clerk. Cheap to clone.
#[derive(Clone)]
pub struct ClerkClient {
    api: Url,
    headers: HeaderMap,
    timeout: Duration,
    dialer: Dialer,
    on_request: OnRequest,
    pace: Pace,
    priority: Priority,
}

impl fmt::Debug for ClerkClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClerkClient({})", self.api.host_str().unwrap_or("?"))
    }
}

impl ClerkClient {
    /// Prepares the requests; connects to nothing. Fails only for a key that no header can carry.
    pub fn new(options: Options) -> Result<ClerkClient, ClerkError> {
        let key = format!("Bearer {}", options.secret_key.expose_secret());
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, secret_header(&key)?);
        headers.insert(CLERK_API_VERSION, HeaderValue::from_static(API_VERSION));
        Ok(ClerkClient {
            api: below(&options.api_url, &["v1"])?,
            headers,
            timeout: options.timeout,
            dialer: options.dialer,
            on_request: options.on_request,
            pace: options.pace,
            priority: Priority::default(),
        })
    }

    /// The same client for requests of this priority. A new client's are live.
    pub fn at(&self, priority: Priority) -> ClerkClient {
        ClerkClient {
            priority,
            ..self.clone()
        }
    }

    /// The rate that this client and its clones share.
    pub fn pace(&self) -> &Pace {
        &self.pace
    }

    /// The same client, with somebody else listening as well: for what one run costs.
    pub fn also_heard_by(&self, other: OnRequest) -> ClerkClient {
        let own = self.on_request.clone();
        ClerkClient {
            on_request: std::sync::Arc::new(move |name, status, bytes| {
                own(name, status, bytes);
                other(name, status, bytes);
            }),
            ..self.clone()
        }
    }

    /// The same client, for a run that reads one page after another.
    pub fn keeping_buffers(&self) -> ClerkClient {
        ClerkClient {
            dialer: self.dialer.keeping_buffers(),
            ..self.clone()
        }
    }

    /// One user as it is now.
    pub async fn get_user(&self, key: &Key) -> Result<Lookup<RawRecord>, ClerkError> {
        let path = ["users", key.as_str()];
        self.look_up("get_user", Table::Users, key, &path).await
    }

    /// One organization as it is now.
    pub async fn get_organization(&self, key: &Key) -> Result<Lookup<RawRecord>, ClerkError> {
        let path = ["organizations", key.as_str()];
        self.look_up("get_organization", Table::Organizations, key, &path)
            .await
    }

    /// A user's membership of an organization, if there is one. No request of Clerk's takes a
    /// membership's own id.
    pub async fn find_membership(
        &self,
        organization: &Key,
        user: &Key,
    ) -> Result<Option<RawRecord>, ClerkError> {
        const ENDPOINT: &str = "find_membership";
        // One is all there can be; the room above it shows whether the filter was honoured.
        let query = [("user_id", user.to_string()), ("limit", "10".to_owned())];
        let path = ["organizations", organization.as_str(), "memberships"];
        let reply = match self.send(ENDPOINT, &path, &query, MAX_PAGE_BYTES).await {
            // Which of its two codes Clerk uses for the members of an organization that is gone is not
            // documented; the organization itself settles it.
            Err(
                error @ (ClerkError::NotFound { .. } | ClerkError::Refused { status: 404, .. }),
            ) => {
                return match self.get_organization(organization).await? {
                    Lookup::Gone(_) => Ok(None),
                    Lookup::Found(_) => Err(error),
                };
            }
            other => other?,
        };
        let mut listing = read_listing(ENDPOINT, Table::Memberships, &reply)?;
        if listing.total != listing.records.len() as u64 || listing.records.len() > 1 {
            return Err(nonsense(ENDPOINT, "more than one membership of one user"));
        }
        let Some(record) = listing.records.pop() else {
            return Ok(None);
        };
        let member = Membership::parse(record.text()).map_err(|e| unreadable(ENDPOINT, e))?;
        let (organization_id, user_id) = member.ends();
        if organization_id != Some(organization.as_str()) || user_id != Some(user.as_str()) {
            return Err(nonsense(ENDPOINT, "a membership that was not asked for"));
        }
        Ok(Some(record))
    }

    /// The membership `key` as it is now. A user who left and came back has another one by then; this
    /// one is gone.
    pub async fn get_membership(
        &self,
        key: &Key,
        organization: &Key,
        user: &Key,
    ) -> Result<Lookup<RawRecord>, ClerkError> {
        let found = self.find_membership(organization, user).await?;
        Ok(match found.filter(|record| record.key() == key) {
            Some(record) => Lookup::Found(record),
            None => Lookup::Gone(ConfirmedDelete::by_lookup(Table::Memberships, key.clone())),
        })
    }

    /// Those of these users that exist, in no promised order. At most [`MAX_IDS`]; none is no request.
    /// That one is missing here is no proof that it does not exist.
    pub async fn users_by_id(&self, keys: &[Key]) -> Result<Vec<RawRecord>, ClerkError> {
        const ENDPOINT: &str = "users_by_id";
        if keys.len() > MAX_IDS {
            return Err(ClerkError::TooMuch { endpoint: ENDPOINT });
        }
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        // The default limit is 10, which would look like missing users.
        let mut query = vec![("limit", MAX_IDS.to_string())];
        query.extend(keys.iter().map(|key| ("user_id", key.to_string())));
        let reply = self
            .send(ENDPOINT, &["users"], &query, MAX_PAGE_BYTES)
            .await?;
        let records = read_users(ENDPOINT, &reply)?;
        let mut awaited: HashSet<&Key> = keys.iter().collect();
        if !records.iter().all(|record| awaited.remove(record.key())) {
            return Err(nonsense(ENDPOINT, "a user twice or not asked for"));
        }
        Ok(records)
    }

    async fn look_up(
        &self,
        endpoint: &'static str,
        table: Table,
        key: &Key,
        path: &[&str],
    ) -> Result<Lookup<RawRecord>, ClerkError> {
        let reply = match self.send(endpoint, path, &[], MAX_RECORD_BYTES).await {
            Ok(reply) => reply,
            Err(ClerkError::NotFound { .. }) => {
                let gone = ConfirmedDelete::by_lookup(table, key.clone());
                return Ok(Lookup::Gone(gone));
            }
            Err(other) => return Err(other),
        };
        let text: &RawValue = read_json(endpoint, &reply)?;
        let record = RawRecord::read(table, text.get()).map_err(|e| unreadable(endpoint, e))?;
        // An organization can be asked for by its slug as well, which another one may carry.
        if record.key() != key {
            return Err(nonsense(endpoint, "another record than asked for"));
        }
        Ok(Lookup::Found(record))
    }

    async fn send(
        &self,
        endpoint: &'static str,
        path: &[&str],
        query: &[(&str, String)],
        max_bytes: usize,
    ) -> Result<Reply, ClerkError> {
        let mut url = below(&self.api, path)?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = Request {
            name: endpoint,
            method: Method::GET,
            url,
            headers: self.headers.clone(),
            body: None,
            timeout: self.timeout,
            max_bytes,
        };
        self.exchange(request).await
    }

    /// Waits for the turn of a request and sends it; a status other than 200 is an error.
    async fn exchange(&self, request: Request) -> Result<Reply, ClerkError> {
        let endpoint = request.name;
        let turn = self.pace.pass(self.priority, route(endpoint)).await;
        let pass = turn.map_err(ClerkError::held_back)?;
        let reply = self.dialer.exchange(request, &self.on_request).await?;
        pass.over(match (reply.status, reply.retry_after) {
            (429, asked) | (503, asked @ Some(_)) => End::Limited(asked),
            (500.., _) => End::Unclear,
            _ => End::Answered,
        });
        if reply.status == 200 {
            return Ok(reply);
        }
        let (status, asked) = (reply.status, reply.retry_after);
        Err(classify(endpoint, status, asked, &reply.body))
    }
}

/// What Clerk counts and blocks a request as: "that specific endpoint", which several questions share.
fn route(endpoint: &'static str) -> &'static str {
    match endpoint {
        "list_users" | "users_by_id" => "GET /users",
        "list_memberships" | "find_membership" => "GET /organizations/{id}/memberships",
        other => other,
    }
}

#[cfg(test)]
mod tests;
