//! The gate before a service: its circuit, and who is told when it closes.
//!
//! One for Convex and one for Clerk. Knows when a call may go and how long work waits when it may not;
//! what a failure means is the caller's to say. Nothing holds its lock across a call.

use std::{
    fmt::Display,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{Clock, circuit_policy};
use crate::{
    convex::circuit::{Admission, Circuit, Ticket},
    report::alert::Alerts,
    telemetry::{Metrics, RetryLabels},
};

/// What one gate is called, and its shortest wait.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// `cause` in the metrics.
    pub cause: &'static str,
    /// The alert while nothing goes through.
    pub alert: &'static str,
    /// What that means, before the error itself.
    pub words: &'static str,
    /// How long work waits after a first failure, and when somebody else is probing: a look at the
    /// gate costs nothing, so it is short.
    pub hold: Duration,
}

/// See the module's words.
pub struct Gate {
    service: Service,
    circuit: Mutex<Circuit>,
    metrics: Metrics,
    alerts: Alerts,
}

impl Gate {
    /// An open gate.
    pub fn new(service: Service, metrics: Metrics, alerts: Alerts) -> Self {
        Gate {
            service,
            circuit: Mutex::new(Circuit::new(circuit_policy())),
            metrics,
            alerts,
        }
    }

    /// The alert while nothing goes through.
    pub fn alert(&self) -> &'static str {
        self.service.alert
    }

    /// May a call be made now? If not, how long its work should wait before it asks again.
    pub fn admit(&self) -> Result<Ticket, Duration> {
        match self.circuit().admit(Instant::now().into_std()) {
            Admission::Go(ticket) => Ok(ticket),
            Admission::Wait(wait) => Err(wait.min(self.service.hold)),
        }
    }

    /// The service answered, be it with a refusal of one record.
    pub fn answered(&self, ticket: Ticket) {
        let closed = {
            let mut circuit = self.circuit();
            circuit.succeeded(ticket);
            circuit.name() == "closed"
        };
        if closed {
            self.alerts.clear(self.service.alert);
        }
    }

    /// The service failed; `asked` is how long it wants to be left alone. Answers how long the work
    /// waits.
    pub fn failed(&self, ticket: Ticket, error: &dyn Display, asked: Option<Duration>) -> Duration {
        let cause = self.service.cause;
        self.metrics
            .retries
            .get_or_create(&RetryLabels { cause })
            .inc();
        let (wait, name) = self.shut(ticket, asked);
        if name != "closed" {
            let message = format!("{}: {error}", self.service.words);
            self.alerts
                .raise(self.service.alert, message, Clock.now_ms());
        }
        wait.max(self.service.hold)
    }

    /// Lets nothing through for a while, for a reason that the caller tells.
    pub fn shut(&self, ticket: Ticket, asked: Option<Duration>) -> (Duration, &'static str) {
        let now = Instant::now().into_std();
        let mut circuit = self.circuit();
        circuit.failed(ticket, now, asked, rand::random());
        (circuit.wait(now), circuit.name())
    }

    /// How long nothing would be admitted, and the name of the state.
    pub fn state(&self) -> (Duration, &'static str) {
        let circuit = self.circuit();
        (circuit.wait(Instant::now().into_std()), circuit.name())
    }

    /// Forgets what was: the service is another one now, or has another key.
    pub fn reset(&self) {
        *self.circuit() = Circuit::new(circuit_policy());
    }

    fn circuit(&self) -> MutexGuard<'_, Circuit> {
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
