//! The simulated Svix: signs every event and delivers it, with retries, to one endpoint.
//!
//! It loses, repeats, delays and reorders on order, from a seed. Each message keeps its id on
//! every attempt and ends in exactly one fate, written in the [`book`]. Pending messages, the
//! requests under way and the book are bounded. It does not look into bodies.

pub mod book;
mod dispatch;
pub mod post;
pub mod schedule;

use super::state::Event;
use book::{Book, Fate, Fates, Message};
use bytes::Bytes;
use dispatch::Queue;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use svix::webhooks::Webhook;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How the sender is to behave.
#[derive(Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SenderOrders {
    /// Where to deliver; none withholds every message.
    pub url: Option<String>,
    /// Signing secrets, `whsec_…`. Each signs every message.
    #[serde(skip_serializing)]
    pub secrets: Vec<String>,
    /// False withholds every message and cancels the pending ones, as a disabled endpoint does.
    pub enabled: bool,
    /// Messages that are lost next, whatever the ratio.
    pub lose_next: u32,
    /// Share of messages that are lost, 0 to 1.
    pub lose_ratio: f64,
    /// Share of messages that are delivered a second time.
    pub repeat_ratio: f64,
    /// Messages that are collected and then sent in random order; 0 or 1 keeps the order.
    pub reorder_window: usize,
    /// Least wait before the first attempt, in milliseconds.
    pub delay_min_ms: u64,
    /// Most wait before the first attempt, in milliseconds.
    pub delay_max_ms: u64,
    /// Requests under way at one time.
    pub concurrency: usize,
    /// Waits of the retry ladder are divided by this: at 1000 five seconds are five milliseconds.
    pub time_factor: f64,
    /// Attempts at most; Svix makes 8.
    pub max_attempts: u32,
    /// How long an answer may take, in milliseconds (Svix: 15 s). Not divided.
    pub timeout_ms: u64,
    /// Added to the signed time, in seconds, to play a wrong clock.
    pub skew_secs: i64,
}

impl Default for SenderOrders {
    fn default() -> Self {
        Self {
            url: None,
            secrets: Vec::new(),
            enabled: true,
            lose_next: 0,
            lose_ratio: 0.0,
            repeat_ratio: 0.0,
            reorder_window: 0,
            delay_min_ms: 0,
            delay_max_ms: 0,
            concurrency: 64,
            time_factor: 1.0,
            max_attempts: 8,
            timeout_ms: 15_000,
            skew_secs: 0,
        }
    }
}

impl std::fmt::Debug for SenderOrders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The secrets stay out of logs.
        f.debug_struct("SenderOrders")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// A message could not be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SenderError {
    /// A signing secret is not `whsec_` and base64. Permanent.
    #[error("a webhook secret must be `whsec_` followed by base64")]
    Secret,
    /// The HTTP client could not be built, as when the given certificates cannot be read.
    /// Permanent.
    #[error("no HTTP client for the sender: {0}")]
    Client(String),
}

struct Inner {
    orders: SenderOrders,
    keys: Arc<Vec<Webhook>>,
    book: Book,
    queue: Queue,
    rng: StdRng,
    /// Counts resets, so that attempts from before a reset are not entered in the new book.
    era: u64,
    under_way: usize,
}

/// A handle to the sender; clones share it.
#[derive(Clone)]
pub struct Sender {
    inner: Arc<Mutex<Inner>>,
    client: reqwest::Client,
    wake: Arc<Notify>,
    settled: Arc<Notify>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Sender {
    /// Starts the sender's task.
    pub fn start(
        orders: SenderOrders,
        seed: u64,
        root_pem: Option<&[u8]>,
    ) -> Result<Self, SenderError> {
        let client = post::client(root_pem).map_err(|e| SenderError::Client(e.to_string()))?;
        let keys = Arc::new(keys(&orders.secrets)?);
        let inner = Inner {
            orders,
            keys,
            book: Book::default(),
            queue: Queue::default(),
            rng: StdRng::seed_from_u64(seed ^ 0x5e4d),
            era: 0,
            under_way: 0,
        };
        let sender = Self {
            inner: Arc::new(Mutex::new(inner)),
            client,
            wake: Arc::default(),
            settled: Arc::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        sender.tasks.spawn(sender.clone().run());
        Ok(sender)
    }

    /// Takes events over, in order; each may be lost, repeated, held back.
    pub fn take(&self, events: Vec<Event>) {
        if events.is_empty() {
            return;
        }
        let mut inner = self.lock();
        for event in events {
            inner.emit(event.kind, event.body.into());
        }
        drop(inner);
        self.wake.notify_one();
    }

    /// Delivers a body as it is, signed, under the given id or a new one; it is neither lost nor
    /// repeated. Answers the id.
    pub fn send_raw(&self, kind: &str, body: impl Into<Bytes>, id: Option<String>) -> String {
        let mut inner = self.lock();
        let id = id.unwrap_or_else(|| message_id(&mut inner.rng));
        let index = match inner.book.find(&id) {
            // The same id with another body: the receiver sees what a broken sender would do.
            Some(index) => {
                inner.book.rewrite(index, body.into());
                Some(index)
            }
            None => inner.book.enter(id.clone(), kind, body.into()),
        };
        if let Some(index) = index {
            inner.plan(index, false);
        }
        drop(inner);
        self.wake.notify_one();
        id
    }

    /// Sends a message again under its id; false when its body is not kept.
    pub fn replay(&self, id: &str) -> bool {
        let mut inner = self.lock();
        let index = inner
            .book
            .find(id)
            .filter(|i| inner.book.letter(*i).is_some());
        if let Some(index) = index {
            inner.plan(index, true);
        }
        drop(inner);
        self.wake.notify_one();
        index.is_some()
    }

    /// Sends all messages of one fate again; answers how many. `Withheld` is what Svix calls
    /// missing, `Failed` what it calls recovering.
    pub fn replay_all(&self, fate: Fate) -> usize {
        let mut inner = self.lock();
        let all = inner.book.messages().iter().zip(0_u32..);
        let wanted: Vec<u32> = all
            .filter(|(m, _)| m.fate == fate)
            .map(|(_, i)| i)
            .collect();
        let kept: Vec<u32> = wanted
            .into_iter()
            .filter(|i| inner.book.letter(*i).is_some())
            .collect();
        for index in &kept {
            inner.plan(*index, true);
        }
        drop(inner);
        self.wake.notify_one();
        kept.len()
    }

    /// The orders in force.
    pub fn orders(&self) -> SenderOrders {
        self.lock().orders.clone()
    }

    /// Changes the orders.
    pub fn order(&self, change: impl FnOnce(&mut SenderOrders)) -> Result<(), SenderError> {
        let mut inner = self.lock();
        let mut orders = inner.orders.clone();
        change(&mut orders);
        inner.keys = Arc::new(keys(&orders.secrets)?);
        if inner.orders.enabled && !orders.enabled {
            inner.cancel_pending();
        }
        inner.orders = orders;
        drop(inner);
        self.wake.notify_one();
        self.settled.notify_waiters();
        Ok(())
    }

    /// What became of the messages.
    pub fn fates(&self) -> Fates {
        self.lock().book.fates()
    }

    /// Every message, in the order of emission.
    pub fn messages(&self) -> Vec<Message> {
        self.lock().book.messages().to_vec()
    }

    /// The exact body of a message, while it is kept.
    pub fn body(&self, id: &str) -> Option<Bytes> {
        let inner = self.lock();
        let index = inner.book.find(id)?;
        inner.book.letter(index).map(|(_, body)| body)
    }

    /// Returns when no attempt is under way or planned.
    pub async fn quiet(&self) {
        loop {
            let settled = self.settled.notified();
            tokio::pin!(settled);
            // Asked to be woken before looking, so that no settlement in between is missed.
            settled.as_mut().enable();
            if self.lock().book.open() == 0 || self.stop.is_cancelled() {
                return;
            }
            settled.await;
        }
    }

    /// Forgets all messages; attempts under way end unnoticed.
    pub fn reset(&self) {
        let mut inner = self.lock();
        inner.era += 1;
        inner.book = Book::default();
        inner.queue = Queue::default();
        drop(inner);
        self.settled.notify_waiters();
    }

    /// Ends the task and breaks off every attempt.
    pub async fn stop(&self) {
        self.cancel();
        self.tasks.wait().await;
    }

    /// Orders the end without waiting for it.
    pub fn cancel(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.settled.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic while the lock was held is a failed test already; the book is still readable.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn keys(secrets: &[String]) -> Result<Vec<Webhook>, SenderError> {
    secrets
        .iter()
        .map(|s| Webhook::new(s).map_err(|_| SenderError::Secret))
        .collect()
}

/// `msg_` and 27 letters, as Svix makes them.
fn message_id(rng: &mut StdRng) -> String {
    let letters = (0..27).map(|_| char::from(rng.sample(rand::distr::Alphanumeric)));
    "msg_".chars().chain(letters).collect()
}
