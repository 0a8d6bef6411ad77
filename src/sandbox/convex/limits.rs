//! A model of what a deployment can take: permits, bytes a second, the price of a look-up.
//!
//! All of it is off unless asked for. Knows nothing of functions but their kind. A refusal here means
//! that the function surely did not run.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::clock;
use super::functions::Kind;

/// The limits of a deployment; see "Numbers" of Convex's limits page for real ones.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Queries that run at once (16 on the free plan).
    pub concurrent_queries: Option<usize>,
    /// Mutations that run at once (16 on the free plan).
    pub concurrent_mutations: Option<usize>,
    /// How long a call waits for its turn before it is refused with 429; Convex waits 5 s.
    pub permit_wait: Duration,
    /// Bytes that mutations may write in a window of one second (4 MiB on the free plan).
    pub write_bytes_per_second: Option<u64>,
    /// Added to a call for each index range that it reads.
    pub per_lookup: Duration,
    /// Whether a mutation that would read over 4,096 index ranges fails.
    pub enforce_lookups: bool,
    /// Bytes of documents that one page of `list` reads before it ends early.
    pub page_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            concurrent_queries: None,
            concurrent_mutations: None,
            permit_wait: Duration::from_secs(5),
            write_bytes_per_second: None,
            per_lookup: Duration::ZERO,
            enforce_lookups: false,
            page_bytes: 16 * 1024 * 1024,
        }
    }
}

/// Why a call did not get in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Concurrency(Kind, usize),
    Throughput,
}

/// The gate before the functions.
#[derive(Debug)]
pub(super) struct Gate {
    limits: Limits,
    queries: Option<Semaphore>,
    mutations: Option<Semaphore>,
    window: Mutex<Window>,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    bytes: u64,
}

impl Gate {
    pub(super) fn new(limits: Limits) -> Self {
        Gate {
            queries: limits.concurrent_queries.map(Semaphore::new),
            mutations: limits.concurrent_mutations.map(Semaphore::new),
            window: Mutex::new(Window {
                began: clock::instant(),
                bytes: 0,
            }),
            limits,
        }
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Waits for a permit of the kind; none where the kind is not limited.
    pub(super) async fn enter(&self, kind: Kind) -> Result<Option<SemaphorePermit<'_>>, Refused> {
        let (semaphore, limit) = match kind {
            Kind::Query => (&self.queries, self.limits.concurrent_queries),
            Kind::Mutation => (&self.mutations, self.limits.concurrent_mutations),
        };
        let Some(semaphore) = semaphore else {
            return Ok(None);
        };
        match tokio::time::timeout(self.limits.permit_wait, semaphore.acquire()).await {
            Ok(Ok(permit)) => Ok(Some(permit)),
            _ => Err(Refused::Concurrency(kind, limit.unwrap_or(0))),
        }
    }

    /// Books bytes to be written; refused when this second's are used up.
    pub(super) fn write(&self, bytes: u64) -> Result<(), Refused> {
        let Some(limit) = self.limits.write_bytes_per_second else {
            return Ok(());
        };
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock::instant();
        if now.duration_since(window.began) >= Duration::from_secs(1) {
            *window = Window {
                began: now,
                bytes: 0,
            };
        }
        // A single call over the limit goes through alone: it could never run otherwise.
        if window.bytes > 0 && window.bytes + bytes > limit {
            return Err(Refused::Throughput);
        }
        window.bytes += bytes;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_second_mutation_of_one_is_refused_after_the_wait() {
        let gate = Gate::new(Limits {
            concurrent_mutations: Some(1),
            ..Limits::default()
        });
        let first = gate.enter(Kind::Mutation).await;
        assert!(matches!(first, Ok(Some(_))));
        let second = gate.enter(Kind::Mutation).await;
        assert_eq!(second.err(), Some(Refused::Concurrency(Kind::Mutation, 1)));
        assert!(matches!(gate.enter(Kind::Query).await, Ok(None)));
        drop(first);
        assert!(gate.enter(Kind::Mutation).await.is_ok());
    }

    #[test]
    fn bytes_over_the_windows_are_refused() {
        let gate = Gate::new(Limits {
            write_bytes_per_second: Some(100),
            ..Limits::default()
        });
        assert_eq!(gate.write(90), Ok(()));
        assert_eq!(gate.write(20), Err(Refused::Throughput));
        assert_eq!(gate.write(10), Ok(()));
    }
}
