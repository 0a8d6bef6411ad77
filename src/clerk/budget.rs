//! The rate that all requests to Clerk share: how many may go now, and which endpoints are to be left alone.
//!
//! Clerk counts requests of the whole instance, the app's own among them, in windows of ten seconds, and
//! blocks "that specific endpoint" after a 429 until `Retry-After` is over (its page on system limits).
//! Knows no clock and no runtime: the time comes in as a duration since some fixed moment and must not go
//! backwards. Promises: in no ten seconds do more requests reach Clerk than the rate allows, since a request
//! counts from when it may go until ten seconds after its end; none goes to an endpoint inside its penalty;
//! a scan leaves a fifth free for everybody else and yields to whoever waits. Pure.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

/// The window in which Clerk counts.
pub const WINDOW: Duration = Duration::from_secs(10);
/// The share that a scan leaves free, as a divisor: so that a live request finds room while a scan runs at
/// its full speed.
const RESERVE: u32 = 5;
/// The first wait after a 429 without `Retry-After`; doubled with each further one.
const FIRST_PENALTY: Duration = Duration::from_millis(500);
/// The longest wait without `Retry-After`: after one whole window a limit has room again.
const LONGEST_PENALTY: Duration = WINDOW;
/// After a penalty one request tries first. It is longer away than any exchange may take, then it is
/// forgotten.
const LONGEST_TRIAL: Duration = Duration::from_secs(60);
/// When those who wait fill the whole rate, a lower priority looks again after this.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Who asks. The later ones go first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Pages of a scan.
    Scan,
    /// A second look at what a scan suspects, and small regular questions.
    Confirm,
    /// Something is waiting: a delivery, a person at sign-in.
    #[default]
    Live,
}

/// Requests in ten seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// What scans and confirmations keep to, so that the app's own backend has the rest.
    pub shared: u32,
    /// What live requests may go up to: all that the instance allows.
    pub instance: u32,
}

impl Rate {
    /// The most requests in ten seconds that a priority may make the sum of all.
    pub fn of(self, priority: Priority) -> u32 {
        let shared = self.shared.max(1);
        match priority {
            Priority::Scan => (shared - shared.div_ceil(RESERVE)).max(1),
            Priority::Confirm => shared,
            Priority::Live => shared.max(self.instance),
        }
    }
}

/// May a request go?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Now. It counts until [`Budget::ended`] is told of it, and ten seconds longer.
    Go,
    /// Not before this; then ask again.
    Wait(Wait),
}

/// How long, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// At least this.
    pub time: Duration,
    /// True if the endpoint is blocked; false if the rate is used up.
    pub penalty: bool,
}

/// How a request ended, as far as the rate is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Clerk answered it.
    Answered,
    /// Clerk wants the endpoint left alone, for this long if it said so.
    Limited(Option<Duration>),
    /// Nothing was heard, or nobody waited for it.
    Unclear,
}

/// An endpoint that was limited and has not answered since.
#[derive(Clone, Copy, Debug, Default)]
struct Blocked {
    until: Duration,
    penalties: u32,
    /// When the request went that tries whether the block is over.
    trial: Option<Duration>,
}

/// See the module's words.
#[derive(Debug)]
pub struct Budget {
    rate: Option<Rate>,
    under_way: usize,
    /// When requests ended, within the last window. At most as many as the rate lets go.
    ended: VecDeque<Duration>,
    /// By endpoint; these are names in the source, a dozen.
    blocked: HashMap<&'static str, Blocked>,
    waiting: [usize; 3],
}

impl Budget {
    /// Nothing asked yet. Without a rate only penalties count.
    pub fn new(rate: Option<Rate>) -> Self {
        Budget {
            rate,
            under_way: 0,
            ended: VecDeque::new(),
            blocked: HashMap::new(),
            waiting: [0; 3],
        }
    }

    /// Another rate from now on. What was used and blocked stays so.
    pub fn set_rate(&mut self, rate: Option<Rate>) {
        self.rate = rate;
    }

    /// May a request to `endpoint` go now? After [`Answer::Go`] it must be told when it ended.
    pub fn ask(&mut self, priority: Priority, endpoint: &'static str, now: Duration) -> Answer {
        let wait = self
            .penalty(priority, endpoint, now)
            .map(|time| Wait {
                time,
                penalty: true,
            })
            .or_else(|| {
                self.shortage(priority, now).map(|time| Wait {
                    time,
                    penalty: false,
                })
            });
        if let Some(wait) = wait {
            return Answer::Wait(wait);
        }
        self.under_way += 1;
        if let Some(blocked) = self.blocked.get_mut(endpoint) {
            blocked.trial = Some(now);
        }
        Answer::Go
    }

    /// A request that was let go has ended. True if others may go earlier than they were told.
    pub fn ended(&mut self, endpoint: &'static str, end: End, now: Duration) -> bool {
        self.under_way = self.under_way.saturating_sub(1);
        if self.rate.is_some() {
            self.ended.push_back(now);
        }
        match end {
            End::Limited(asked) => {
                self.limited(endpoint, asked, now);
                false
            }
            End::Answered => {
                // An answer to what was asked before the block says nothing about it.
                let over = |blocked: &Blocked| blocked.until <= now;
                let freed = self.blocked.get(endpoint).is_some_and(over);
                if freed {
                    self.blocked.remove(endpoint);
                }
                freed
            }
            End::Unclear => match self.blocked.get_mut(endpoint) {
                Some(blocked) => blocked.trial.take().is_some(),
                None => false,
            },
        }
    }

    /// Somebody of this priority waits for room; those below take none of it.
    pub fn queue(&mut self, priority: Priority) {
        self.waiting[priority as usize] += 1;
    }

    /// Somebody of this priority waits no longer.
    pub fn leave(&mut self, priority: Priority) {
        let waiting = &mut self.waiting[priority as usize];
        *waiting = waiting.saturating_sub(1);
    }

    fn penalty(
        &self,
        priority: Priority,
        endpoint: &'static str,
        now: Duration,
    ) -> Option<Duration> {
        let blocked = self.blocked.get(endpoint)?;
        if now < blocked.until {
            return Some(blocked.until - now);
        }
        if priority == Priority::Live {
            return None;
        }
        let until = blocked.trial? + LONGEST_TRIAL;
        (now < until).then(|| until - now)
    }

    fn shortage(&mut self, priority: Priority, now: Duration) -> Option<Duration> {
        let rate = self.rate?;
        while self.ended.front().is_some_and(|end| *end + WINDOW <= now) {
            self.ended.pop_front();
        }
        let before: usize = self.waiting[priority as usize + 1..].iter().sum();
        let most = (rate.of(priority) as usize).saturating_sub(before);
        let used = self.under_way + self.ended.len();
        if used < most {
            return None;
        }
        if used == 0 || most == 0 {
            return Some(LOOK_AGAIN);
        }
        // So many have to be forgotten first. What is still under way is forgotten after a whole window
        // at the earliest.
        let free = self.ended.get(used - most);
        Some(free.map_or(WINDOW, |end| *end + WINDOW - now))
    }

    fn limited(&mut self, endpoint: &'static str, asked: Option<Duration>, now: Duration) {
        let blocked = self.blocked.entry(endpoint).or_default();
        // Several that were under way together are one penalty.
        if blocked.penalties == 0 || blocked.until <= now {
            blocked.penalties = blocked.penalties.saturating_add(1);
        }
        let doubled = 1 << (blocked.penalties - 1).min(10);
        let own = (FIRST_PENALTY * doubled).min(LONGEST_PENALTY);
        let wait = asked.filter(|asked| !asked.is_zero()).unwrap_or(own);
        blocked.until = blocked.until.max(now + wait);
        blocked.trial = None;
    }
}

#[cfg(test)]
mod tests;
