//! Orders to misbehave: what the API does wrong, for which requests, how often.
//!
//! An order waits for requests that match it, lets `after` of them through, then applies to the
//! next `times`. Several orders may apply to one request. It decides only; the gate and the
//! handlers carry out what it says.

use serde::{Deserialize, Serialize};

/// Orders that wait at one time.
const MAX_ORDERS: usize = 1_000;

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Wrong {
    /// The answer comes `ms` milliseconds later.
    Latency {
        /// Milliseconds.
        ms: u64,
    },
    /// Another status, without touching anything.
    Status {
        /// The status to answer.
        status: u16,
        /// `Retry-After` in seconds; none leaves the header out.
        #[serde(default)]
        retry_after_secs: Option<u64>,
        /// Clerk's envelope, or a page of HTML as a proxy in between would send.
        #[serde(default = "yes")]
        json: bool,
    },
    /// The connection ends without an answer; nothing was done.
    Cut,
    /// The request is carried out, then the connection ends in the middle of the answer.
    CutAnswer,
    /// Status 200 and bytes that are no JSON; nothing was done.
    Garbage,
    /// `starting_after` is ignored: page one again and again.
    IgnoreCursor,
    /// A listing of users, organizations or memberships is empty, its total 0.
    EmptyListing,
    /// A page ends after `rows` rows, though more were asked for and exist.
    ShortPage {
        /// Rows that are left.
        rows: usize,
    },
    /// The first row of the page is missing and its last comes twice.
    RepeatLast,
    /// After the page is read the world moves: users are created, changed and deleted, with
    /// their events.
    MovingPages {
        /// Users created.
        #[serde(default)]
        create: u32,
        /// Users of this page changed, so that they move in the order by `updated_at`.
        #[serde(default)]
        touch: u32,
        /// Users of this page deleted.
        #[serde(default)]
        delete: u32,
    },
}

fn yes() -> bool {
    true
}

fn once() -> u32 {
    1
}

/// One order to misbehave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Matches requests whose method and path contain this text, as in `GET /v1/users`; empty
    /// matches all. The path is the template (`/v1/users/{user_id}`) or the real one, so that one
    /// record can be meant. A `$` at the end anchors it: `GET /v1/users$` is not
    /// `GET /v1/users/count`.
    #[serde(default)]
    pub endpoint: String,
    /// Matching requests that still go well before it begins.
    #[serde(default)]
    pub after: u32,
    /// Requests it applies to.
    #[serde(default = "once")]
    pub times: u32,
    /// What goes wrong.
    #[serde(flatten)]
    pub wrong: Wrong,
}

impl Fault {
    /// An order for the next request to an endpoint.
    pub fn next(endpoint: &str, wrong: Wrong) -> Self {
        Self {
            endpoint: endpoint.to_owned(),
            after: 0,
            times: 1,
            wrong,
        }
    }

    /// The same for the next `times` requests.
    pub fn times(mut self, times: u32) -> Self {
        self.times = times;
        self
    }

    /// The same, after `after` more requests went well.
    pub fn after(mut self, after: u32) -> Self {
        self.after = after;
        self
    }

    fn matches(&self, endpoint: &str, path: &str) -> bool {
        match self.endpoint.strip_suffix('$') {
            Some(end) => endpoint.ends_with(end) || path.ends_with(end),
            None => endpoint.contains(&self.endpoint) || path.contains(&self.endpoint),
        }
    }
}

/// The orders that wait.
#[derive(Debug, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// Adds an order; false when too many wait already.
    pub fn add(&mut self, fault: Fault) -> bool {
        if self.0.len() >= MAX_ORDERS {
            return false;
        }
        self.0.push(fault);
        true
    }

    /// Forgets all orders.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The orders that wait.
    pub fn waiting(&self) -> &[Fault] {
        &self.0
    }

    /// What goes wrong with a request, given with its template and with its real path; uses the
    /// orders up.
    pub fn strike(&mut self, endpoint: &str, path: &str) -> Vec<Wrong> {
        let mut wrongs = Vec::new();
        for fault in &mut self.0 {
            if !fault.matches(endpoint, path) {
                continue;
            }
            if fault.after > 0 {
                fault.after -= 1;
            } else if fault.times > 0 {
                fault.times -= 1;
                wrongs.push(fault.wrong.clone());
            }
        }
        self.0.retain(|fault| fault.times > 0);
        wrongs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strike(faults: &mut Faults, path: &str) -> Vec<Wrong> {
        faults.strike(&path.replace("user_1", "{user_id}"), path)
    }

    #[test]
    fn an_order_waits_then_applies_then_is_gone() {
        let mut faults = Faults::default();
        faults.add(Fault::next("GET /v1/users$", Wrong::Cut).after(2).times(2));
        let hits: Vec<bool> = (0..6)
            .map(|_| !strike(&mut faults, "GET /v1/users").is_empty())
            .collect();
        assert_eq!(hits, [false, false, true, true, false, false]);
        assert!(faults.waiting().is_empty());
    }

    #[test]
    fn only_the_endpoint_that_was_named_is_struck() {
        let mut faults = Faults::default();
        faults.add(Fault::next("GET /v1/users$", Wrong::EmptyListing));
        assert!(strike(&mut faults, "GET /v1/users/count").is_empty());
        assert!(strike(&mut faults, "POST /v1/users").is_empty());
        assert_eq!(strike(&mut faults, "GET /v1/users"), [Wrong::EmptyListing]);
    }

    #[test]
    fn one_record_can_be_meant() {
        let mut faults = Faults::default();
        faults.add(Fault::next("/v1/users/user_1", Wrong::Cut).times(2));
        faults.add(Fault::next("{user_id}", Wrong::Garbage));
        assert!(strike(&mut faults, "GET /v1/users/user_2").is_empty());
        assert_eq!(
            strike(&mut faults, "GET /v1/users/user_1"),
            [Wrong::Cut, Wrong::Garbage]
        );
        assert_eq!(
            strike(&mut faults, "PATCH /v1/users/user_1/metadata"),
            [Wrong::Cut]
        );
    }

    #[test]
    fn orders_are_read_from_json() {
        let text = r#"{"endpoint":"/v1/users","times":3,"kind":"status","status":429}"#;
        let fault: Fault = serde_json::from_str(text).unwrap();
        let wrong = Wrong::Status {
            status: 429,
            retry_after_secs: None,
            json: true,
        };
        assert_eq!(fault, Fault::next("/v1/users", wrong).times(3));
    }
}
