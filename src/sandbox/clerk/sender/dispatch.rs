//! When each message goes out: the queue of planned attempts and the task that works it off.
//!
//! The queue is ordered by time, then by the order of planning. Messages held back for reordering
//! are released in random order when the window is full or after `HOLD`. Only the number of
//! requests that the orders allow is under way at one time. It does not judge what is sent.

use super::book::Fate;
use super::post::{self, Control, Outcome};
use super::schedule::{self, Failure};
use super::{Inner, Sender, message_id};
use crate::sandbox::clerk::clock::Clock;
use bytes::Bytes;
use rand::Rng;
use rand::seq::SliceRandom;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;
use tokio::time::Instant;

/// Longest that a message waits for its reordering window to fill.
const HOLD: Duration = Duration::from_millis(100);
/// A copy follows its original within this many milliseconds.
const COPY_WITHIN_MS: u64 = 200;
/// How long the task sleeps when nothing is planned; it is woken before by whatever comes.
const IDLE: Duration = Duration::from_secs(3600);

/// A planned attempt. The order of the fields is the order of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Job {
    due: Instant,
    serial: u64,
    index: u32,
    /// Attempts made before on this ladder.
    made: u32,
    era: u64,
}

/// Planned attempts.
#[derive(Debug, Default)]
pub struct Queue {
    jobs: BinaryHeap<Reverse<Job>>,
    held: Vec<u32>,
    held_since: Option<Instant>,
    serial: u64,
}

/// What the task does next.
enum Step {
    Send(Box<Letter>),
    Sleep(Instant),
}

struct Letter {
    job: Job,
    url: String,
    headers: [(&'static str, String); 3],
    body: Bytes,
    timeout: Duration,
}

impl Sender {
    /// Works the queue off until the sender is stopped.
    pub(super) async fn run(self) {
        loop {
            match self.next() {
                Step::Send(letter) => {
                    let sender = self.clone();
                    self.tasks
                        .spawn(async move { sender.attempt(*letter).await });
                }
                Step::Sleep(until) => tokio::select! {
                    () = self.stop.cancelled() => return,
                    () = self.wake.notified() => {}
                    () = tokio::time::sleep_until(until) => {}
                },
            }
            if self.stop.is_cancelled() {
                return;
            }
        }
    }

    fn next(&self) -> Step {
        self.lock().next(Instant::now())
    }

    async fn attempt(self, letter: Letter) {
        let Letter {
            job,
            url,
            headers,
            body,
            timeout,
        } = letter;
        let began = Instant::now();
        let outcome = tokio::select! {
            () = self.stop.cancelled() => return,
            outcome = post::deliver(&self.client, &url, headers, body, timeout) => outcome,
        };
        let mut inner = self.lock();
        inner.under_way -= 1;
        if inner.era == job.era {
            inner.settle(job, outcome, began.elapsed());
        }
        drop(inner);
        self.wake.notify_one();
        self.settled.notify_waiters();
    }
}

impl Inner {
    /// Enters an event and decides, by the orders and the seed, what is done to it.
    pub(super) fn emit(&mut self, kind: &str, body: Bytes) {
        let id = message_id(&mut self.rng);
        let Some(index) = self.book.enter(id, kind, body) else {
            return;
        };
        if self.orders.url.is_none() || !self.orders.enabled {
            self.book.set_aside(index, Fate::Withheld);
            return;
        }
        let unlucky = self.rng.random_bool(share(self.orders.lose_ratio));
        if self.orders.lose_next > 0 || unlucky {
            self.orders.lose_next = self.orders.lose_next.saturating_sub(1);
            self.book.set_aside(index, Fate::Lost);
            return;
        }
        self.book.plan(index, false);
        if self.orders.reorder_window > 1 {
            self.queue.held.push(index);
            self.queue.held_since.get_or_insert_with(Instant::now);
            if self.queue.held.len() >= self.orders.reorder_window {
                self.release();
            }
        } else {
            let wait = self.first_wait();
            self.push(index, 0, wait);
        }
        if self.rng.random_bool(share(self.orders.repeat_ratio)) {
            self.book.plan(index, true);
            let after = Duration::from_millis(self.rng.random_range(1..=COPY_WITHIN_MS));
            let wait = self.first_wait() + after;
            self.push(index, 0, wait);
        }
    }

    /// Plans an attempt of a message of the book, at once.
    pub(super) fn plan(&mut self, index: u32, again: bool) {
        self.book.plan(index, again);
        self.push(index, 0, Duration::ZERO);
    }

    /// Ends all planned attempts.
    pub(super) fn cancel_pending(&mut self) {
        self.release();
        for Reverse(job) in std::mem::take(&mut self.queue.jobs) {
            self.book.close(job.index);
        }
    }

    fn next(&mut self, now: Instant) -> Step {
        if self
            .queue
            .held_since
            .is_some_and(|since| since + HOLD <= now)
        {
            self.release();
        }
        while self.under_way < self.orders.concurrency.max(1) {
            let Some(Reverse(job)) = self.queue.jobs.peek().copied() else {
                break;
            };
            if job.due > now {
                break;
            }
            self.queue.jobs.pop();
            if let Some(letter) = self.letter(job) {
                self.under_way += 1;
                return Step::Send(Box::new(letter));
            }
            self.book.close(job.index);
        }
        let full = self.under_way >= self.orders.concurrency.max(1);
        let job = self
            .queue
            .jobs
            .peek()
            .filter(|_| !full)
            .map(|Reverse(job)| job.due);
        let held = self.queue.held_since.map(|since| since + HOLD);
        let until = [job, held].into_iter().flatten().min();
        Step::Sleep(until.unwrap_or(now + IDLE))
    }

    fn letter(&self, job: Job) -> Option<Letter> {
        let (id, body) = self.book.letter(job.index)?;
        let secs = Clock::wall_secs() + self.orders.skew_secs;
        let signature = post::signatures(&self.keys, &id, secs, &body);
        Some(Letter {
            job,
            url: self.orders.url.clone()?,
            headers: [
                ("svix-id", id.into()),
                ("svix-timestamp", secs.to_string()),
                ("svix-signature", signature),
            ],
            body,
            timeout: Duration::from_millis(self.orders.timeout_ms),
        })
    }

    fn settle(&mut self, job: Job, outcome: Outcome, took: Duration) {
        let (status, failure) = match outcome.result {
            Ok(status) => (Some(status), None),
            Err(failure @ Failure::Status(status, _)) => (Some(status), Some(failure)),
            Err(failure) => (None, Some(failure)),
        };
        let made = job.made + 1;
        let goes_on = self.orders.enabled
            && made < self.orders.max_attempts
            && outcome.control == Control::None;
        let chance = self.rng.random();
        let wait = failure
            .filter(|_| goes_on)
            .and_then(|f| schedule::wait(made, f, chance));
        self.book
            .attempted(job.index, job.made == 0, status, took, wait.is_some());
        if let Some(wait) = wait {
            self.push(
                job.index,
                made,
                wait.div_f64(factor(self.orders.time_factor)),
            );
        }
        if outcome.control == Control::Disable {
            self.orders.enabled = false;
            self.cancel_pending();
        }
    }

    fn release(&mut self) {
        self.queue.held_since = None;
        let mut held = std::mem::take(&mut self.queue.held);
        held.shuffle(&mut self.rng);
        for index in held {
            let wait = self.first_wait();
            self.push(index, 0, wait);
        }
    }

    fn first_wait(&mut self) -> Duration {
        let (least, most) = (self.orders.delay_min_ms, self.orders.delay_max_ms);
        let ms = if most > least {
            self.rng.random_range(least..=most)
        } else {
            least
        };
        Duration::from_millis(ms)
    }

    fn push(&mut self, index: u32, made: u32, wait: Duration) {
        self.queue.serial += 1;
        let (serial, era) = (self.queue.serial, self.era);
        let due = Instant::now() + wait;
        self.queue.jobs.push(Reverse(Job {
            due,
            serial,
            index,
            made,
            era,
        }));
    }
}

/// A share between 0 and 1; what is no number is 0.
fn share(ratio: f64) -> f64 {
    if ratio > 0.0 { ratio.min(1.0) } else { 0.0 }
}

/// A divisor of waits that cannot overflow them; what makes no sense is 1.
fn factor(asked: f64) -> f64 {
    if asked >= 0.01 { asked.min(1e9) } else { 1.0 }
}
