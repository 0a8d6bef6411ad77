//! Who may call Convex now: so many calls at once, deliveries before repairs.
//!
//! Repairs share the permits but never hold or wait for the last one, so that a delivery finds one free,
//! or waits for one call at most and not behind a bulk migration. With one call at a time they take
//! turns. The number can be changed while calls are made: what is taken away goes as it is given back.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

/// See the module's words.
pub struct Permits {
    all: Pool,
    repairs: Pool,
}

/// The right to make one call, given back when dropped.
pub struct Permit<'a> {
    // In this order: a repair that ends makes room for a delivery first.
    _call: Held<'a>,
    _repair: Option<Held<'a>>,
}

impl Permits {
    /// So many calls at once; none at all would be for ever, so it is one at least.
    pub fn new(calls: usize) -> Permits {
        Permits {
            all: Pool::new(calls.max(1)),
            repairs: Pool::new(for_repairs(calls)),
        }
    }

    /// Waits for the turn of a call; `urgent` is a delivery's.
    pub async fn acquire(&self, urgent: bool) -> Permit<'_> {
        let repair = match urgent {
            true => None,
            false => Some(self.repairs.acquire().await),
        };
        Permit {
            _call: self.all.acquire().await,
            _repair: repair,
        }
    }

    /// Lets another number of calls run at once from now on.
    pub fn resize(&self, calls: usize) {
        self.all.resize(calls.max(1));
        self.repairs.resize(for_repairs(calls));
    }
}

/// How many of the calls may be repairs.
pub fn for_repairs(calls: usize) -> usize {
    calls.saturating_sub(1).max(1)
}

/// A semaphore whose size can go down while its permits are out.
struct Pool {
    free: Semaphore,
    size: Mutex<Sizes>,
}

struct Sizes {
    wanted: usize,
    /// Permits that are out and will not come back.
    owed: usize,
}

impl Pool {
    fn new(size: usize) -> Pool {
        Pool {
            free: Semaphore::new(size),
            size: Mutex::new(Sizes {
                wanted: size,
                owed: 0,
            }),
        }
    }

    async fn acquire(&self) -> Held<'_> {
        Held {
            pool: self,
            // The semaphore is never closed; if it were, calls would go unbounded rather than not at all.
            permit: self.free.acquire().await.ok(),
        }
    }

    fn resize(&self, wanted: usize) {
        let mut sizes = self.sizes();
        if wanted >= sizes.wanted {
            let more = wanted - sizes.wanted;
            let forgiven = more.min(sizes.owed);
            sizes.owed -= forgiven;
            self.free.add_permits(more - forgiven);
        } else {
            let fewer = sizes.wanted - wanted;
            sizes.owed += fewer - self.free.forget_permits(fewer);
        }
        sizes.wanted = wanted;
    }

    fn sizes(&self) -> MutexGuard<'_, Sizes> {
        self.size.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Held<'a> {
    pool: &'a Pool,
    permit: Option<SemaphorePermit<'a>>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // Under the lock to the end, or a change of size in between would count this permit as out.
        let mut sizes = self.pool.sizes();
        if let Some(permit) = self.permit.take()
            && sizes.owed > 0
        {
            sizes.owed -= 1;
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn repairs_leave_a_permit_to_deliveries_and_take_turns_where_there_is_one() {
        let permits = Permits::new(3);
        let first = permits.acquire(false).await;
        let second = permits.acquire(false).await;
        assert!(permits.acquire(false).now_or_never().is_none());
        let delivery = permits.acquire(true).now_or_never();
        assert!(delivery.is_some());
        assert!(
            permits.acquire(true).now_or_never().is_none(),
            "three calls"
        );
        drop((first, second, delivery));

        let permits = Permits::new(1);
        let repair = permits.acquire(false).now_or_never();
        assert!(repair.is_some());
        assert!(permits.acquire(true).now_or_never().is_none());
        drop(repair);
        assert!(permits.acquire(true).now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_delivery_that_waits_goes_before_the_repair_that_waits_behind_it() {
        let permits = Permits::new(2);
        let repair = permits.acquire(false).await;
        let delivery = permits.acquire(true).await;
        let mut next_repair = Box::pin(permits.acquire(false));
        let mut next_delivery = Box::pin(permits.acquire(true));
        assert!((&mut next_repair).now_or_never().is_none());
        assert!((&mut next_delivery).now_or_never().is_none());
        drop(repair);
        assert!((&mut next_repair).now_or_never().is_none());
        assert!((&mut next_delivery).now_or_never().is_some());
        drop(delivery);
        assert!((&mut next_repair).now_or_never().is_some());
    }

    #[tokio::test]
    async fn fewer_calls_at_once_is_exact_even_while_all_permits_are_out() {
        let permits = Permits::new(4);
        let mut out = Vec::new();
        for _ in 0..4 {
            out.push(permits.acquire(true).await);
        }
        permits.resize(2);
        drop(out.split_off(2));
        assert!(
            permits.acquire(true).now_or_never().is_none(),
            "two are out"
        );
        drop(out);
        let two = (
            permits.acquire(true).now_or_never(),
            permits.acquire(true).now_or_never(),
        );
        assert!(two.0.is_some() && two.1.is_some());
        assert!(permits.acquire(true).now_or_never().is_none());
        permits.resize(1);
        permits.resize(3);
        let third = permits.acquire(true).now_or_never();
        assert!(third.is_some());
        assert!(permits.acquire(true).now_or_never().is_none());
    }
}
