//! Rate limits as Clerk documents them: per instance, and per record for writes.
//!
//! A request over the instance's limit is refused, and from then on every request to that endpoint
//! is, until `Retry-After` has passed. Requests made inside such a penalty are counted apart,
//! because a well-behaved client makes none. Off until a limit is set. It reads the runtime's
//! clock, so that a paused test clock counts.

use serde::{Deserialize, Serialize};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;
use tokio::time::Instant;

/// The window of every limit.
const WINDOW: Duration = Duration::from_secs(10);
/// Endpoints and records that are remembered; old ones are dropped first.
const MAX_REMEMBERED: usize = 10_000;

/// The limits in force; 0 switches one off.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitSettings {
    /// Requests of the instance in ten seconds (Clerk: 1000 in production, 100 in development).
    pub per_10s: u32,
    /// PATCH and PUT requests for one user, organization or membership in ten seconds.
    pub writes_per_record_per_10s: u32,
    /// Whether a 429 carries `Retry-After`.
    pub retry_after: bool,
    /// Whether the body of a 429 is Clerk's JSON envelope, or a page of HTML.
    pub json_body: bool,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            per_10s: 0,
            writes_per_record_per_10s: 10,
            retry_after: true,
            json_body: true,
        }
    }
}

/// Why a request was not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocked {
    /// Whole seconds until the block ends, at least 1.
    pub retry_after_secs: u64,
    /// True when the client had been told to wait and did not.
    pub inside_penalty: bool,
}

/// Counts requests and decides which are too many.
#[derive(Debug, Default)]
pub struct Limits {
    /// The limits in force.
    pub settings: LimitSettings,
    recent: VecDeque<Instant>,
    blocked: HashMap<String, Instant>,
    records: HashMap<String, VecDeque<Instant>>,
}

impl Limits {
    /// No request counted yet.
    pub fn new(settings: LimitSettings) -> Self {
        Self {
            settings,
            ..Self::default()
        }
    }

    /// Admits a request to `endpoint`, which writes `record` if that is given.
    pub fn admit(
        &mut self,
        endpoint: &str,
        record: Option<String>,
        now: Instant,
    ) -> Result<(), Blocked> {
        if let Some(until) = self.blocked.get(endpoint) {
            if *until > now {
                return Err(Blocked {
                    retry_after_secs: secs(*until - now),
                    inside_penalty: true,
                });
            }
            self.blocked.remove(endpoint);
        }
        let most = self.settings.writes_per_record_per_10s as usize;
        if let Some(record) = record.filter(|_| most > 0) {
            self.admit_write(record, most, now)?;
        }
        let most = self.settings.per_10s as usize;
        if most == 0 {
            return Ok(());
        }
        forget_old(&mut self.recent, now);
        if self.recent.len() >= most {
            let until = self.recent.front().map_or(now, |first| *first + WINDOW);
            // Told in whole seconds, so the block lasts for whole seconds.
            let wait = secs(until - now);
            if self.blocked.len() >= MAX_REMEMBERED {
                self.blocked.clear();
            }
            self.blocked
                .insert(endpoint.to_owned(), now + Duration::from_secs(wait));
            return Err(Blocked {
                retry_after_secs: wait,
                inside_penalty: false,
            });
        }
        self.recent.push_back(now);
        Ok(())
    }

    fn admit_write(&mut self, record: String, most: usize, now: Instant) -> Result<(), Blocked> {
        if self.records.len() >= MAX_REMEMBERED {
            self.records
                .retain(|_, times| times.back().is_some_and(|t| now - *t < WINDOW));
        }
        let times = self.records.entry(record).or_default();
        forget_old(times, now);
        if times.len() >= most {
            let until = times.front().map_or(now, |first| *first + WINDOW);
            return Err(Blocked {
                retry_after_secs: secs(until - now),
                inside_penalty: false,
            });
        }
        times.push_back(now);
        Ok(())
    }
}

fn forget_old(times: &mut VecDeque<Instant>, now: Instant) {
    while times
        .front()
        .is_some_and(|first| now.duration_since(*first) >= WINDOW)
    {
        times.pop_front();
    }
}

fn secs(wait: Duration) -> u64 {
    let whole = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    whole.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_endpoint_stays_blocked_and_others_do_not() {
        let settings = LimitSettings {
            per_10s: 3,
            ..LimitSettings::default()
        };
        let mut limits = Limits::new(settings);
        let start = Instant::now();
        for _ in 0..3 {
            assert_eq!(limits.admit("GET /users", None, start), Ok(()));
        }
        let later = start + Duration::from_secs(4);
        let first = limits.admit("GET /users", None, later).unwrap_err();
        assert_eq!(
            first,
            Blocked {
                retry_after_secs: 6,
                inside_penalty: false
            }
        );
        let soon = later + Duration::from_millis(5500);
        let second = limits.admit("GET /users", None, soon).unwrap_err();
        assert_eq!(
            second,
            Blocked {
                retry_after_secs: 1,
                inside_penalty: true
            }
        );
        let over = start + Duration::from_secs(10);
        assert_eq!(limits.admit("GET /users", None, over), Ok(()));
        assert_eq!(limits.admit("GET /users/count", None, over), Ok(()));
    }

    #[test]
    fn one_record_takes_ten_writes_in_ten_seconds() {
        let mut limits = Limits::default();
        let start = Instant::now();
        for _ in 0..10 {
            assert_eq!(
                limits.admit("PATCH /users", Some("a".into()), start),
                Ok(())
            );
        }
        let refused = limits
            .admit("PATCH /users", Some("a".into()), start)
            .unwrap_err();
        assert_eq!(refused.retry_after_secs, 10);
        assert_eq!(
            limits.admit("PATCH /users", Some("b".into()), start),
            Ok(())
        );
        let later = start + Duration::from_secs(10);
        assert_eq!(
            limits.admit("PATCH /users", Some("a".into()), later),
            Ok(())
        );
    }
}
