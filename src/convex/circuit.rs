//! When to leave the deployment alone: closed, open, half open.
//!
//! After a run of failures that were the service's, nothing is sent for a while; then one call probes. A
//! probe that fails doubles the wait, up to a cap; one that succeeds closes the circuit. Pure: the time
//! and the jitter are arguments. An answer to a call that was admitted in an earlier state changes
//! nothing, so that a burst of late failures counts once.

use std::time::{Duration, Instant};

/// How patient the circuit is.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Failures in a row that open it.
    pub failures_to_open: u32,
    /// The first wait.
    pub first_hold: Duration,
    /// The longest wait of its own accord; a service may ask for more.
    pub max_hold: Duration,
    /// After this long a probe without an answer is given up and another one is admitted. Longer than
    /// any call takes.
    pub probe_timeout: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            failures_to_open: 3,
            first_hold: Duration::from_secs(1),
            max_hold: Duration::from_secs(60),
            probe_timeout: Duration::from_secs(90),
        }
    }
}

/// What the circuit knows.
#[derive(Debug)]
pub struct Circuit {
    policy: Policy,
    state: State,
    /// Counts the changes of state; what was admitted before the last one has no say any more.
    generation: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Closed {
        failures: u32,
    },
    Open {
        until: Instant,
        hold: Duration,
    },
    HalfOpen {
        probe_until: Instant,
        hold: Duration,
    },
}

/// Whether a call may go now.
#[derive(Debug, PartialEq)]
pub enum Admission {
    /// It may; tell the circuit what came of it.
    Go(Ticket),
    /// Not for this long.
    Wait(Duration),
}

/// A call that was admitted. Handed back once with its ending; dropped if it had none.
#[derive(Debug, PartialEq)]
#[must_use]
pub struct Ticket {
    generation: u64,
}

impl Circuit {
    /// A closed circuit.
    pub fn new(policy: Policy) -> Self {
        Circuit {
            policy,
            state: State::Closed { failures: 0 },
            generation: 0,
        }
    }

    /// May a call be made at `now`?
    pub fn admit(&mut self, now: Instant) -> Admission {
        match self.state {
            State::Closed { .. } => {}
            State::Open { until, .. } if now < until => return Admission::Wait(until - now),
            State::HalfOpen { probe_until, .. } if now < probe_until => {
                return Admission::Wait(probe_until - now);
            }
            State::Open { hold, .. } | State::HalfOpen { hold, .. } => {
                let probe_until = now + self.policy.probe_timeout;
                self.enter(State::HalfOpen { probe_until, hold });
            }
        }
        Admission::Go(Ticket {
            generation: self.generation,
        })
    }

    /// The service answered, be it with a refusal of one record.
    pub fn succeeded(&mut self, ticket: Ticket) {
        if ticket.generation != self.generation {
            return;
        }
        match &mut self.state {
            State::Closed { failures } => *failures = 0,
            _ => self.enter(State::Closed { failures: 0 }),
        }
    }

    /// The service failed. `jitter` in 0..1 spreads the wait over its upper half, so that several
    /// processes do not come back at once; `retry_after` is what the service asked for and is kept to.
    pub fn failed(
        &mut self,
        ticket: Ticket,
        now: Instant,
        retry_after: Option<Duration>,
        jitter: f64,
    ) {
        if ticket.generation != self.generation {
            return;
        }
        let hold = match self.state {
            State::Closed { failures } => {
                let failures = failures.saturating_add(1);
                // A service that says how long is believed at once.
                if failures < self.policy.failures_to_open && retry_after.is_none() {
                    self.state = State::Closed { failures };
                    return;
                }
                self.policy.first_hold
            }
            State::Open { hold, .. } | State::HalfOpen { hold, .. } => {
                hold.saturating_mul(2).min(self.policy.max_hold)
            }
        };
        let spread = hold.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0));
        let until = now + spread.max(retry_after.unwrap_or_default());
        self.enter(State::Open { until, hold });
    }

    /// How long nothing would be admitted from `now` on; zero if a call may go.
    pub fn wait(&self, now: Instant) -> Duration {
        let until = match self.state {
            State::Closed { .. } => return Duration::ZERO,
            State::Open { until, .. } => until,
            State::HalfOpen { probe_until, .. } => probe_until,
        };
        until.saturating_duration_since(now)
    }

    /// The name in the status: `closed`, `open`, `half_open`.
    pub fn name(&self) -> &'static str {
        match self.state {
            State::Closed { .. } => "closed",
            State::Open { .. } => "open",
            State::HalfOpen { .. } => "half_open",
        }
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.generation += 1;
    }
}

#[cfg(test)]
mod tests;
