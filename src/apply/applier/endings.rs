//! What becomes of a lease: final, tried again, held, or a dead letter. Each is noted in the journal,
//! counted and logged here and nowhere else.

use std::time::Duration;

use super::{
    Applier, Ticket, ticket_of,
    workers::{Message, Worker},
};
use crate::{
    apply::{
        Lease,
        ending::{Ending, Final},
    },
    model::{Origin, RecordKey},
    queue::{dead_letters::DeadLetter, order},
    store::journal::{CauseKind, Meta, Parked, RequestOrigin, Settled},
    telemetry::RetryLabels,
};

impl Applier {
    pub(super) fn take_back(&mut self, message: Message) {
        let (worker, report) = match message {
            Message::Worked(worker, report) => (worker, report),
            Message::Looked(looked) => return self.looked(looked),
            Message::HandedOver => return self.verdicts.handed_over(),
        };
        match worker {
            Worker::Writer => self.writers -= 1,
            Worker::Fetcher => self.fetchers -= 1,
        }
        self.hear_of(report.mentioned);
        let now_ms = self.shared.clock.now_ms();
        let mut settled = Vec::new();
        for (lease, ending, happened_ms) in report.endings {
            match ending {
                Ending::Final(end) => settled.push(self.done(lease, end, happened_ms, now_ms)),
                Ending::Ask => self.put_back(lease, None, true, None),
                Ending::Moved => {
                    let fetch = lease.fetch;
                    self.put_back(lease, None, fetch, None);
                }
                Ending::Hold(wait) => {
                    let fetch = lease.fetch;
                    self.put_back(lease, None, fetch, Some(wait));
                }
                Ending::Refused { code, reason } => self.refused(lease, &code, reason, now_ms),
            }
        }
        self.verdicts.add(settled);
    }

    fn done(&mut self, lease: Lease, end: Final, happened_ms: Option<i64>, now_ms: i64) -> Settled {
        let table = lease.record.table.name();
        let origin = lease.ticket.origin.name();
        self.shared.metrics.change(table, end.name(), origin);
        if let Final::Applied(_) = end {
            let since = happened_ms.unwrap_or(lease.ticket.received_ms);
            let seconds = (now_ms - since).max(0) as f64 / 1000.0;
            self.shared.metrics.latency.observe(seconds);
            self.latencies.add(now_ms - lease.ticket.received_ms);
        }
        if end == Final::Foreign {
            self.foreign(now_ms);
        }
        tracing::debug!(
            table,
            key = lease.record.key.as_str(),
            origin,
            outcome = end.name(),
            reason = end.reason(),
            entry = lease.ticket.seq,
            "settled"
        );
        if matches!(end, Final::Applied(_) | Final::Known) && !self.dead_letters.is_empty() {
            self.overcome(&lease);
        }
        let settled = settle(lease.ticket.seq, end);
        for tied in self.ties.ended(lease.ticket.seq) {
            self.superseded(&lease.record, &tied);
        }
        self.waiting.finish(lease);
        settled
    }

    /// The record was written: what was a dead letter about it is none any more, unless it is newer than
    /// what was written.
    fn overcome(&mut self, lease: &Lease) {
        let written = lease.ticket.says.filter(|_| !lease.fetch);
        let covered = |meta: &Meta| {
            let letter = ticket_of(meta).says;
            // What Clerk says now is newer than everything that it has ever said.
            written.is_none_or(|written| letter.is_some_and(|letter| written.covers(letter)))
        };
        for letter in self.dead_letters.settled(&lease.record, covered) {
            self.superseded(&lease.record, &ticket_of(&letter.meta));
        }
        self.clear_if_none();
    }

    fn refused(&mut self, lease: Lease, code: &str, reason: String, now_ms: i64) {
        let attempts = lease.attempts + 1;
        let rule = self.shared.settings.load().retry;
        if let Some(wait) = rule.wait_before(attempts, rand::random()) {
            tracing::warn!(
                table = lease.record.table.name(),
                key = lease.record.key.as_str(),
                attempt = attempts,
                code,
                "refused; tried again in {} ms",
                wait.as_millis()
            );
            self.shared
                .metrics
                .retries
                .get_or_create(&RetryLabels { cause: "record" })
                .inc();
            let fetch = lease.fetch;
            return self.put_back(lease, Some(attempts), fetch, Some(wait));
        }
        // Those that tie with it stay with it, so that it is a tie again when it is tried again.
        for tied in self.ties.ended(lease.ticket.seq) {
            let meta = meta_of(&lease.record, &tied);
            self.park(meta, attempts, code, reason.clone(), now_ms);
        }
        let meta = meta_of(&lease.record, &lease.ticket);
        self.waiting.finish(lease);
        self.park(meta, attempts, code, reason, now_ms);
    }

    pub(super) fn park(
        &mut self,
        meta: Meta,
        attempts: u32,
        code: &str,
        reason: String,
        now_ms: i64,
    ) {
        tracing::error!(
            table = meta.record.as_ref().map(|record| record.table.name()),
            key = meta.record.as_ref().map(|record| record.key.as_str()),
            attempt = attempts,
            code,
            "became dead letter dl_{}: {reason}",
            meta.seq
        );
        let parked = Parked {
            seq: meta.seq,
            attempts,
            code: code.into(),
            reason: reason.into(),
            at_ms: now_ms,
        };
        self.shared.journal.park(parked.clone());
        for out in self.dead_letters.add(DeadLetter { meta, parked }) {
            self.dropped(&out.meta);
        }
        self.tell_of_dead_letters(now_ms);
    }

    /// Raises the alert about those that there are.
    pub(super) fn tell_of_dead_letters(&self, now_ms: i64) {
        let message = format!(
            "{} dead letter(s): look at them with `failures list`, then `failures retry`",
            self.dead_letters.len()
        );
        self.shared.alerts.raise("dead_letters", message, now_ms);
    }

    /// A dead letter was given up, by a person or to make way.
    pub(super) fn dropped(&mut self, meta: &Meta) {
        let table = meta.record.as_ref().map_or("none", |r| r.table.name());
        let origin = ticket_of(meta).origin.name();
        let end = Final::Dropped;
        self.shared.metrics.change(table, end.name(), origin);
        self.shared.journal.settle([settle(meta.seq, end)]);
    }

    pub(super) fn put_back(
        &mut self,
        lease: Lease,
        attempts: Option<u32>,
        fetch: bool,
        wait: Option<Duration>,
    ) {
        let at = wait.map_or(order::Millis::MIN, |wait| {
            let ms = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX / 2);
            self.tick().saturating_add(ms)
        });
        let (record, ticket) = (lease.record.clone(), lease.ticket);
        let attempts = attempts.unwrap_or(lease.attempts);
        if let Some(lost) = self.waiting.put_back(lease, attempts, fetch, at) {
            self.lost(&record, &ticket, lost);
        }
    }

    /// Counts a delivery of another instance, and says so.
    pub(super) fn foreign(&self, now_ms: i64) {
        self.shared.metrics.webhook("any", "foreign_instance");
        let message = "deliveries of another Clerk instance were dropped; check which instance's \
                       endpoint points here";
        self.shared
            .alerts
            .raise("foreign_instance", message, now_ms);
    }

    /// The queue gave up an entry when another one was handed in.
    pub(super) fn lost(&mut self, record: &RecordKey, handed_in: &Ticket, lost: Ticket) {
        for lost in self.ties.lost(handed_in, lost) {
            self.superseded(record, &lost);
        }
    }

    fn superseded(&self, record: &RecordKey, lost: &Ticket) {
        let table = record.table.name();
        self.shared
            .metrics
            .change(table, Final::Superseded.name(), lost.origin.name());
        self.shared
            .journal
            .settle([settle(lost.seq, Final::Superseded)]);
    }
}

/// What the journal knows of a ticket.
fn meta_of(record: &RecordKey, ticket: &Ticket) -> Meta {
    let says = ticket.says;
    Meta {
        seq: ticket.seq,
        position: ticket.position,
        received_ms: ticket.received_ms,
        record: Some(record.clone()),
        version: says.map_or_else(Default::default, |says| says.standing.version),
        deleted: says.is_some_and(|says| says.standing.deleted),
        fingerprint: says.map_or(0, |says| says.fingerprint),
        cause: match ticket.origin {
            Origin::Webhook => CauseKind::Delivery,
            Origin::Operator => CauseKind::Request(RequestOrigin::Operator),
            Origin::Repair | Origin::SignIn => CauseKind::Request(RequestOrigin::Repair),
        },
    }
}

pub(super) fn settle(seq: u64, end: Final) -> Settled {
    Settled {
        seq,
        state: end.code(),
        reason: end.reason().map(Into::into),
    }
}
