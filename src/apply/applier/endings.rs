//! Carries out what the book has decided: starts workers, and notes in the journal, counts and logs what became
//! of a lease, here and nowhere else.

use std::time::Duration;

use super::{Applier, workers::Message};
use crate::{
    apply::{
        Lease,
        book::{Deed, Worker, ticket_of},
        ending::{Ending, Final},
    },
    model::RecordKey,
    queue::dead_letters::DeadLetter,
    store::journal::{Meta, Parked, Settled},
    telemetry::RetryLabels,
};

impl Applier {
    pub(super) fn take_back(&mut self, message: Message) {
        let (worker, report) = match message {
            Message::Worked(worker, report) => (worker, report),
            Message::Looked(looked) => return self.looked(looked),
            Message::Read(all) => return self.heard(all),
            Message::HandedOver => return self.verdicts.handed_over(),
        };
        let (tick, now_ms) = (self.tick(), self.shared.clock.now_ms());
        self.book.hear_of(report.mentioned, tick);
        let mut endings = Vec::with_capacity(report.endings.len());
        for (lease, ending, happened_ms) in report.endings {
            if let Ending::Final(end) = ending {
                self.count(&lease, end, happened_ms, now_ms);
            }
            endings.push((lease, ending));
        }
        let had_letters = !self.book.dead_letters.is_empty();
        let retry = self.shared.settings.load().retry;
        let deeds = self
            .book
            .take_back(worker, endings, tick, retry, rand::random);
        self.follow(deeds);
        if had_letters {
            self.clear_if_none();
        }
    }

    /// What the book has decided.
    pub(super) fn follow(&mut self, deeds: Vec<Deed>) {
        let mut settled = Vec::new();
        for deed in deeds {
            match deed {
                Deed::Start(Worker::Writer, leases) => self.spawn_writer(leases),
                Deed::Start(Worker::Fetcher, leases) => self.spawn_fetcher(leases),
                Deed::Look(records) => self.look_for(records),
                Deed::Settle {
                    record,
                    ticket,
                    end,
                } => {
                    let (table, origin) = (record.table.name(), ticket.origin.name());
                    self.shared.metrics.change(table, end.name(), origin);
                    settled.push(settle(ticket.seq, end));
                }
                Deed::Again {
                    record,
                    attempts,
                    wait,
                    code,
                } => self.tell_of_retry(&record, attempts, wait, &code),
                Deed::Park {
                    meta,
                    attempts,
                    code,
                    reason,
                } => {
                    let now_ms = self.shared.clock.now_ms();
                    self.park(meta, attempts, &code, reason, now_ms);
                }
            }
        }
        self.verdicts.add(settled);
    }

    /// How long it took, and whose it was.
    fn count(&mut self, lease: &Lease, end: Final, happened_ms: Option<i64>, now_ms: i64) {
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
            table = lease.record.table.name(),
            key = lease.record.key.as_str(),
            origin = lease.ticket.origin.name(),
            outcome = end.name(),
            reason = end.reason(),
            entry = lease.ticket.seq,
            "settled"
        );
    }

    fn tell_of_retry(&self, record: &RecordKey, attempts: u32, wait: Duration, code: &str) {
        tracing::warn!(
            table = record.table.name(),
            key = record.key.as_str(),
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
        for out in self.book.dead_letters.add(DeadLetter { meta, parked }) {
            self.dropped(&out.meta);
        }
        self.tell_of_dead_letters(now_ms);
    }

    /// Raises the alert about those that there are.
    pub(super) fn tell_of_dead_letters(&self, now_ms: i64) {
        let message = format!(
            "{} dead letter(s): look at them with `failures list`, then `failures retry`",
            self.book.dead_letters.len()
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

    /// Counts a delivery of another instance, and says so.
    pub(super) fn foreign(&self, now_ms: i64) {
        self.shared.metrics.webhook("any", "foreign_instance");
        let message = "deliveries of another Clerk instance were dropped; check which instance's \
                       endpoint points here";
        self.shared
            .alerts
            .raise("foreign_instance", message, now_ms);
    }
}

pub(super) fn settle(seq: u64, end: Final) -> Settled {
    Settled {
        seq,
        state: end.code(),
        reason: end.reason().map(Into::into),
    }
}
