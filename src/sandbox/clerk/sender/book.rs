//! The book of messages: what was sent, how often, and what became of it.
//!
//! Every message ends in exactly one fate. Bodies of finished messages are kept for the last
//! `BODIES_KEPT` so that they can be replayed; the rest of the entry is kept for all. It sends
//! nothing and reads no clock.

use bytes::Bytes;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

/// Finished messages whose bodies are kept, about 2 KB each.
const BODIES_KEPT: usize = 100_000;
/// Messages the book takes, about 150 bytes each without the body.
const MAX_MESSAGES: usize = 4_000_000;
/// Answer times kept for percentiles; later ones overwrite the oldest.
const MAX_SAMPLES: usize = 1_000_000;

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// Still being tried, or waiting for its next attempt.
    Pending,
    /// Answered with 2xx at least once.
    Delivered,
    /// Dropped on purpose before the first attempt.
    Lost,
    /// Not sent, as there was no endpoint or it was disabled; can be replayed as missing.
    Withheld,
    /// Every attempt failed, or the receiver or a disabled endpoint ended them.
    Failed,
}

/// One message of the book.
#[derive(Debug, Clone, Serialize)]
pub struct Message {
    /// The `svix-id`, the same on every attempt and replay.
    pub id: Box<str>,
    /// The event's type.
    pub kind: Box<str>,
    /// What became of it.
    pub fate: Fate,
    /// Attempts made, copies and replays included.
    pub attempts: u32,
    /// Status of the last answer; none when there was no answer.
    pub last_status: Option<u16>,
    /// Attempts under way or planned.
    #[serde(skip)]
    pub open: u32,
    #[serde(skip)]
    body: Option<Bytes>,
}

/// Answer times of successful attempts, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct AckLatency {
    /// Half of them were faster.
    pub p50: f64,
    /// 99 of 100 were faster.
    pub p99: f64,
    /// The slowest.
    pub max: f64,
}

/// The book in figures.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Fates {
    /// Messages emitted or given to be sent; the sum of the five fates.
    pub sent: u64,
    /// Messages answered with 2xx.
    pub delivered: u64,
    /// Messages lost on purpose.
    pub lost: u64,
    /// Messages not sent for want of an endpoint.
    pub withheld: u64,
    /// Messages given up.
    pub failed: u64,
    /// Messages not finished.
    pub pending: u64,
    /// Deliveries made again on purpose, under the same id: copies and replays.
    pub repeated: u64,
    /// Attempts after a failed one.
    pub retried: u64,
    /// All attempts.
    pub attempts: u64,
    /// Attempts by the status of the answer; 0 is no answer.
    pub answers: BTreeMap<u16, u64>,
    /// From sending the request to its 2xx.
    pub ack_latency_ms: AckLatency,
}

/// All messages.
#[derive(Debug, Default)]
pub struct Book {
    messages: Vec<Message>,
    by_id: HashMap<Box<str>, u32>,
    with_body: VecDeque<u32>,
    open: usize,
    counts: Fates,
    samples_us: Vec<u32>,
    next_sample: usize,
}

impl Book {
    /// Enters a message; `None` when the book is full or the id is in it.
    pub fn enter(&mut self, id: String, kind: &str, body: Bytes) -> Option<u32> {
        let id: Box<str> = id.into();
        if self.messages.len() >= MAX_MESSAGES || self.by_id.contains_key(&id) {
            return None;
        }
        let index = self.messages.len() as u32;
        self.by_id.insert(id.clone(), index);
        self.messages.push(Message {
            id,
            kind: kind.into(),
            fate: Fate::Pending,
            attempts: 0,
            last_status: None,
            open: 0,
            body: Some(body),
        });
        self.counts.sent += 1;
        self.counts.pending += 1;
        Some(index)
    }

    /// The entry of a message.
    pub fn find(&self, id: &str) -> Option<u32> {
        self.by_id.get(id).copied()
    }

    /// All messages, in the order in which they were emitted.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// The id and body of a message, while the body is kept.
    pub fn letter(&self, index: u32) -> Option<(Box<str>, Bytes)> {
        let message = self.messages.get(index as usize)?;
        Some((message.id.clone(), message.body.clone()?))
    }

    /// Gives a message another body under the same id.
    pub fn rewrite(&mut self, index: u32, body: Bytes) {
        if let Some(message) = self.messages.get_mut(index as usize) {
            message.body = Some(body);
        }
    }

    /// Messages with attempts under way or planned.
    pub fn open(&self) -> usize {
        self.open
    }

    /// Notes that one more attempt is planned; `again` when it repeats on purpose.
    pub fn plan(&mut self, index: u32, again: bool) {
        let Some(message) = self.messages.get_mut(index as usize) else {
            return;
        };
        if message.open == 0 {
            self.open += 1;
        }
        message.open += 1;
        self.counts.repeated += u64::from(again);
    }

    /// Notes the end of an attempt. `retry` says that another is planned in its place.
    pub fn attempted(
        &mut self,
        index: u32,
        first: bool,
        status: Option<u16>,
        took: Duration,
        retry: bool,
    ) {
        self.counts.attempts += 1;
        self.counts.retried += u64::from(!first);
        *self.counts.answers.entry(status.unwrap_or(0)).or_default() += 1;
        let success = status.is_some_and(|s| (200..300).contains(&s));
        if success {
            self.sample(took);
        }
        let Some(message) = self.messages.get_mut(index as usize) else {
            return;
        };
        message.attempts += 1;
        message.last_status = status;
        if success {
            self.decide(index, Fate::Delivered);
        }
        if !retry {
            self.close(index);
        }
    }

    /// Ends one planned attempt without making it.
    pub fn close(&mut self, index: u32) {
        let Some(message) = self.messages.get_mut(index as usize) else {
            return;
        };
        message.open = message.open.saturating_sub(1);
        if message.open > 0 {
            return;
        }
        self.open -= 1;
        if message.fate == Fate::Pending {
            self.decide(index, Fate::Failed);
        }
        self.keep_body(index);
    }

    /// Settles the fate of a message that is not going to be attempted.
    pub fn set_aside(&mut self, index: u32, fate: Fate) {
        self.decide(index, fate);
        self.keep_body(index);
    }

    /// The figures.
    pub fn fates(&self) -> Fates {
        let mut sorted = self.samples_us.clone();
        sorted.sort_unstable();
        let at = |share: f64| {
            let last = sorted.len().saturating_sub(1);
            let index = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, last + 1) - 1;
            sorted.get(index).map_or(0.0, |us| f64::from(*us) / 1000.0)
        };
        let ack_latency_ms = AckLatency {
            p50: at(0.5),
            p99: at(0.99),
            max: at(1.0),
        };
        Fates {
            ack_latency_ms,
            ..self.counts.clone()
        }
    }

    /// A delivered message stays delivered, whatever later copies meet.
    fn decide(&mut self, index: u32, fate: Fate) {
        let Some(message) = self.messages.get_mut(index as usize) else {
            return;
        };
        if message.fate == Fate::Delivered || message.fate == fate {
            return;
        }
        *count_of(&mut self.counts, message.fate) -= 1;
        *count_of(&mut self.counts, fate) += 1;
        message.fate = fate;
    }

    fn keep_body(&mut self, index: u32) {
        self.with_body.push_back(index);
        if self.with_body.len() <= BODIES_KEPT {
            return;
        }
        let Some(oldest) = self.with_body.pop_front() else {
            return;
        };
        if let Some(message) = self.messages.get_mut(oldest as usize)
            && message.open == 0
        {
            message.body = None;
        }
    }

    fn sample(&mut self, took: Duration) {
        let us = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        if self.samples_us.len() < MAX_SAMPLES {
            self.samples_us.push(us);
        } else {
            self.samples_us[self.next_sample] = us;
            self.next_sample = (self.next_sample + 1) % MAX_SAMPLES;
        }
    }
}

fn count_of(counts: &mut Fates, fate: Fate) -> &mut u64 {
    match fate {
        Fate::Pending => &mut counts.pending,
        Fate::Delivered => &mut counts.delivered,
        Fate::Lost => &mut counts.lost,
        Fate::Withheld => &mut counts.withheld,
        Fate::Failed => &mut counts.failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_message_that_was_delivered_stays_delivered() {
        let mut book = Book::default();
        let index = book
            .enter("msg_1".into(), "user.created", Bytes::new())
            .unwrap();
        book.plan(index, false);
        book.plan(index, true);
        book.attempted(index, true, Some(200), MS, false);
        assert_eq!((book.fates().delivered, book.open()), (1, 1));
        book.attempted(index, true, Some(500), MS, false);
        let fates = book.fates();
        assert_eq!((fates.delivered, fates.failed, fates.pending), (1, 0, 0));
        assert_eq!((fates.repeated, fates.attempts, book.open()), (1, 2, 0));
    }

    #[test]
    fn a_message_fails_when_no_attempt_is_left() {
        let mut book = Book::default();
        let index = book
            .enter("msg_1".into(), "user.created", Bytes::new())
            .unwrap();
        book.plan(index, false);
        book.attempted(index, true, None, MS, true);
        assert_eq!(book.fates().pending, 1);
        book.attempted(index, false, Some(503), MS, false);
        let fates = book.fates();
        assert_eq!((fates.failed, fates.retried, fates.pending), (1, 1, 0));
        assert_eq!(fates.answers, BTreeMap::from([(0, 1), (503, 1)]));
        assert!(
            book.enter("msg_1".into(), "user.created", Bytes::new())
                .is_none()
        );
    }

    #[test]
    fn percentiles_are_taken_from_successes() {
        let mut book = Book::default();
        for n in 1..=100_u32 {
            let index = book
                .enter(format!("msg_{n}"), "user.created", Bytes::new())
                .unwrap();
            book.plan(index, false);
            book.attempted(index, true, Some(200), MS * n, false);
        }
        let want = AckLatency {
            p50: 50.0,
            p99: 99.0,
            max: 100.0,
        };
        assert_eq!(book.fates().ack_latency_ms, want);
    }
}
