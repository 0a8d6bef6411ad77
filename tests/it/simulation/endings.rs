//! What becomes of a lease: final, tried again, held, or a dead letter.
//!
//! As `applier/endings.rs`; the waits, the order, the ties and the dead letters are the program's own.

use std::{rc::Rc, time::Duration};

use clerk_convex_sync::{
    apply::{
        Lease,
        ending::{Ending, Final},
    },
    queue::{backoff::RetryRule, dead_letters::DeadLetter, order},
    store::journal::{Meta, Parked},
};

use super::{
    daemon::{Daemon, Worker, ticket_of, whole_ms},
    faults::Breach,
};

impl Daemon {
    /// What a worker brings back; as `Applier::take_back`.
    pub fn take_back(self: &Rc<Self>, worker: Worker, endings: Vec<(Lease, Ending)>) {
        match worker {
            Worker::Writer => self.book.borrow_mut().writers -= 1,
            Worker::Fetcher => self.book.borrow_mut().fetchers -= 1,
        }
        for (lease, ending) in endings {
            self.world.given_back(&lease.record);
            let fetch = lease.fetch;
            match ending {
                Ending::Final(end) => self.done(lease, end),
                Ending::Ask => self.put_back(lease, None, true, None),
                Ending::Moved => self.put_back(lease, None, fetch, None),
                Ending::Hold(_) if self.world.is_broken(Breach::OutageCosts) => {
                    self.refused(lease);
                }
                Ending::Hold(wait) => self.put_back(lease, None, fetch, Some(wait)),
                Ending::Refused { .. } => self.refused(lease),
            }
        }
        self.dispatch();
    }

    fn done(self: &Rc<Self>, lease: Lease, end: Final) {
        if matches!(end, Final::Applied(_) | Final::Known) {
            let written = lease.ticket.says.filter(|_| !lease.fetch);
            let covered = |meta: &Meta| {
                let letter = ticket_of(meta).says;
                written.is_none_or(|written| letter.is_some_and(|letter| written.covers(letter)))
            };
            let mut book = self.book.borrow_mut();
            let overcome = book.dead_letters.settled(&lease.record, covered);
            drop(book);
            for letter in overcome {
                self.settle(letter.meta.seq, Final::Superseded);
            }
        }
        let seq = lease.ticket.seq;
        let tied = self.book.borrow_mut().ties.ended(seq);
        for tied in tied {
            self.settle(tied.seq, Final::Superseded);
        }
        self.book.borrow_mut().waiting.finish(lease);
        self.settle(seq, end);
    }

    fn refused(self: &Rc<Self>, lease: Lease) {
        let attempts = lease.attempts + 1;
        let rule = RetryRule {
            max_attempts: self.world.max_attempts,
            delay: Duration::from_millis(self.world.delay_ms as u64),
        };
        let wait = rule.wait_before(attempts, self.world.machine.luck());
        self.world.attempt(&lease.record, attempts, wait.is_some());
        if let Some(wait) = wait {
            let fetch = lease.fetch;
            let wait = match self.world.is_broken(Breach::NoBackoff) {
                true => Duration::ZERO,
                false => wait,
            };
            return self.put_back(lease, Some(attempts), fetch, Some(wait));
        }
        let seq = lease.ticket.seq;
        let tied = self.book.borrow_mut().ties.ended(seq);
        self.book.borrow_mut().waiting.finish(lease);
        for seq in tied.iter().map(|tied| tied.seq).chain([seq]) {
            self.park(seq, attempts);
        }
    }

    fn park(self: &Rc<Self>, seq: u64, attempts: u32) {
        let machine = &self.world.machine;
        machine.say(|| format!("entry {seq} is a dead letter"));
        let meta = self.world.disk.borrow().journal.read(seq).meta.clone();
        self.world.disk.borrow_mut().journal.park(seq, attempts);
        let letter = letter(meta, attempts);
        self.book.borrow_mut().dead_letters.add(letter);
        self.sync_journal();
    }

    pub fn put_back(
        self: &Rc<Self>,
        lease: Lease,
        attempts: Option<u32>,
        fetch: bool,
        wait: Option<Duration>,
    ) {
        self.world.given_back(&lease.record);
        let at = wait.map_or(order::Millis::MIN, |wait| self.tick() + whole_ms(wait));
        let attempts = attempts.unwrap_or(lease.attempts);
        let ticket = lease.ticket;
        let mut book = self.book.borrow_mut();
        let lost = book.waiting.put_back(lease, attempts, fetch, at);
        drop(book);
        self.lost(&ticket, lost);
    }

    /// A person lets all dead letters be tried again; true if there were any.
    pub fn retry_all(self: &Rc<Self>) -> bool {
        let seqs = self.book.borrow().dead_letters.seqs();
        for seq in &seqs {
            let letter = self.book.borrow_mut().dead_letters.remove(*seq);
            if letter.is_some() {
                self.world.disk.borrow_mut().journal.unpark(*seq);
                let stored = self.world.disk.borrow().journal.read(*seq);
                self.take_in(&stored);
            }
        }
        self.dispatch();
        !seqs.is_empty()
    }
}

pub fn letter(meta: Meta, attempts: u32) -> DeadLetter {
    let parked = Parked {
        seq: meta.seq,
        attempts,
        code: "refused".into(),
        reason: "refused".into(),
        at_ms: 0,
    };
    DeadLetter { meta, parked }
}
