//! Every request waits here for its turn: the shared rate with a clock and with waiting.
//!
//! `ClerkClient` sends nothing without a `Pass`, and all of its clones share one [`Pace`], so no request
//! can go around it. Decides nothing itself: [`budget`](super::budget) does. Promises: higher priorities go
//! first; a request that is given up, waiting or under way, gives back what it held; a live request waits
//! `LIVE_PATIENCE` at most and is refused otherwise, so that its caller can hold its work instead of a
//! worker.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

use super::budget::{Answer, Budget, End, Priority, Rate};

/// The longest that a live request waits here: a worker that sleeps through a long penalty helps nobody,
/// and its caller knows better what else to do.
const LIVE_PATIENCE: Duration = Duration::from_secs(1);
/// The longest penalty that a scan sits through. After a longer one its run ends and is tried again later.
const LONGEST_PENALTY: Duration = Duration::from_secs(120);

/// The shared rate of one Clerk instance. Clones share it.
#[derive(Clone)]
pub struct Pace(Arc<Shared>);

struct Shared {
    budget: Mutex<Budget>,
    /// Somebody may go earlier than was thought.
    moved: Notify,
    started: Instant,
}

impl fmt::Debug for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pace")
    }
}

impl Pace {
    /// Requests at this rate.
    pub fn new(rate: Rate) -> Self {
        Pace::of(Some(rate))
    }

    /// As many requests as one likes; penalties are kept all the same.
    pub fn unlimited() -> Self {
        Pace::of(None)
    }

    /// Another rate from now on; what was used and blocked stays so.
    pub fn set_rate(&self, rate: Rate) {
        self.0.budget().set_rate(Some(rate));
        self.0.moved.notify_waiters();
    }

    /// Waits for the turn of a request to `endpoint`. Answers, when it would take too long, how long it
    /// would. Giving up the future leaves nothing behind.
    pub(super) async fn pass(
        &self,
        priority: Priority,
        endpoint: &'static str,
    ) -> Result<Pass, Duration> {
        let deadline = Instant::now() + LIVE_PATIENCE;
        let mut place: Option<Place> = None;
        loop {
            // Listens before it looks, so that nothing moves unheard in between.
            let moved = self.0.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            let wait = match self.0.ask(priority, endpoint) {
                Answer::Go => {
                    return Ok(Pass {
                        shared: self.0.clone(),
                        endpoint,
                        end: End::Unclear,
                    });
                }
                Answer::Wait(wait) => wait,
            };
            let too_long = match priority {
                Priority::Live => Instant::now() + wait.time > deadline,
                Priority::Scan | Priority::Confirm => wait.penalty && wait.time > LONGEST_PENALTY,
            };
            if too_long {
                return Err(wait.time);
            }
            // Who waits for a penalty to pass keeps nobody from other endpoints.
            if wait.penalty {
                place = None;
            } else if place.is_none() {
                place = Some(Place::take(self.0.clone(), priority));
            }
            tokio::select! {
                () = sleep(wait.time) => {}
                () = moved => {}
            }
        }
    }

    fn of(rate: Option<Rate>) -> Self {
        Pace(Arc::new(Shared {
            budget: Mutex::new(Budget::new(rate)),
            moved: Notify::new(),
            started: Instant::now(),
        }))
    }
}

impl Shared {
    fn budget(&self) -> MutexGuard<'_, Budget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, priority: Priority, endpoint: &'static str) -> Answer {
        let mut budget = self.budget();
        // Read under the lock, so that time never goes backwards for the budget.
        let now = self.started.elapsed();
        budget.ask(priority, endpoint, now)
    }
}

/// Leave for one request. What became of it is told, or it counts as unclear.
pub(super) struct Pass {
    shared: Arc<Shared>,
    endpoint: &'static str,
    end: End,
}

impl Pass {
    /// The request is over, like this.
    pub(super) fn over(mut self, end: End) {
        self.end = end;
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let freed = {
            let mut budget = self.shared.budget();
            let now = self.shared.started.elapsed();
            budget.ended(self.endpoint, self.end, now)
        };
        if freed {
            self.shared.moved.notify_waiters();
        }
    }
}

/// A place in the queue for room.
struct Place {
    shared: Arc<Shared>,
    priority: Priority,
}

impl Place {
    fn take(shared: Arc<Shared>, priority: Priority) -> Self {
        shared.budget().queue(priority);
        Place { shared, priority }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.budget().leave(self.priority);
        self.shared.moved.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const RATE: Rate = Rate {
        shared: 10,
        instance: 12,
    };

    async fn spend(pace: &Pace, priority: Priority, n: usize) {
        for _ in 0..n {
            pace.pass(priority, "GET /a")
                .await
                .unwrap()
                .over(End::Answered);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_live_request_goes_at_once_while_a_scan_waits() {
        let pace = Pace::new(RATE);
        let began = Instant::now();
        spend(&pace, Priority::Scan, 8).await;
        let scan = tokio::spawn({
            let pace = pace.clone();
            async move {
                spend(&pace, Priority::Scan, 1).await;
                Instant::now()
            }
        });
        tokio::task::yield_now().await;
        spend(&pace, Priority::Live, 4).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
        let late = pace.pass(Priority::Live, "GET /a").await;
        assert_eq!(late.err(), Some(Duration::from_secs(10)));
        assert!(scan.await.unwrap() - began >= Duration::from_secs(10));
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_confirm_go_before_a_scan_that_waited_longer() {
        let pace = Pace::new(RATE);
        spend(&pace, Priority::Confirm, 10).await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = tokio::task::JoinSet::new();
        for priority in [Priority::Scan, Priority::Confirm] {
            for _ in 0..8 {
                let (pace, order) = (pace.clone(), order.clone());
                tasks.spawn(async move {
                    spend(&pace, priority, 1).await;
                    order.lock().unwrap().push(priority);
                });
            }
            tokio::task::yield_now().await;
        }
        tasks.join_all().await;
        let order = order.lock().unwrap();
        let first = order.iter().take(8).filter(|p| **p == Priority::Confirm);
        assert_eq!(first.count(), 8, "{order:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_scan_sits_a_penalty_out_and_a_live_request_only_a_short_one() {
        let pace = Pace::unlimited();
        let limit = async |seconds| {
            let pass = pace.pass(Priority::Live, "GET /a").await.unwrap();
            pass.over(End::Limited(Some(Duration::from_secs(seconds))));
        };
        limit(30).await;
        let began = Instant::now();
        let live = pace.pass(Priority::Live, "GET /a").await;
        assert_eq!(live.err(), Some(Duration::from_secs(30)));
        assert!(pace.pass(Priority::Live, "GET /b").await.is_ok());
        assert_eq!(began.elapsed(), Duration::ZERO);
        spend(&pace, Priority::Scan, 1).await;
        assert!(began.elapsed() >= Duration::from_secs(30));
        limit(1).await;
        spend(&pace, Priority::Live, 1).await;
        limit(600).await;
        let scan = pace.pass(Priority::Scan, "GET /a").await;
        assert_eq!(scan.err(), Some(Duration::from_secs(600)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_leaves_nothing_behind() {
        let pace = Pace::new(RATE);
        spend(&pace, Priority::Confirm, 10).await;
        for _ in 0..20 {
            let waiting = pace.pass(Priority::Confirm, "GET /a");
            let given_up = tokio::time::timeout(Duration::from_millis(1), waiting).await;
            assert!(given_up.is_err());
        }
        // Under way when it is given up: it may have reached Clerk, so it counts, but it ends.
        tokio::time::advance(Duration::from_secs(10)).await;
        drop(pace.pass(Priority::Scan, "GET /a").await.unwrap());
        spend(&pace, Priority::Scan, 7).await;
        let began = Instant::now();
        spend(&pace, Priority::Scan, 1).await;
        assert_eq!(began.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn one_request_tries_after_a_penalty_and_its_answer_wakes_the_others() {
        let pace = Pace::unlimited();
        let pass = pace.pass(Priority::Scan, "GET /a").await.unwrap();
        pass.over(End::Limited(Some(Duration::from_secs(2))));
        let (at_once, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let began = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..5 {
            let (pace, at_once, most) = (pace.clone(), at_once.clone(), most.clone());
            tasks.spawn(async move {
                let pass = pace.pass(Priority::Scan, "GET /a").await.unwrap();
                let now = at_once.fetch_add(1, Ordering::SeqCst) + 1;
                if began.elapsed() < Duration::from_millis(2_050) {
                    most.fetch_max(now, Ordering::SeqCst);
                }
                sleep(Duration::from_millis(100)).await;
                at_once.fetch_sub(1, Ordering::SeqCst);
                pass.over(End::Answered);
            });
        }
        tasks.join_all().await;
        assert_eq!(most.load(Ordering::SeqCst), 1);
        assert!(began.elapsed() < Duration::from_millis(2_500));
    }
}
