//! What the book has decided, carried out: workers begin, entries end, wait or become dead letters.
//!
//! As `applier/endings.rs`, with the simulated disk in the journal's place.

use std::rc::Rc;

use clerk_convex_sync::{
    apply::{
        Lease,
        book::{Deed, Worker},
        ending::Ending,
    },
    queue::dead_letters::DeadLetter,
    store::journal::{Meta, Parked},
};

use super::{daemon::Daemon, faults::Breach, judging::refused};

impl Daemon {
    /// What a worker brings back; as `Applier::take_back`.
    pub fn take_back(self: &Rc<Self>, worker: Worker, mut endings: Vec<(Lease, Ending)>) {
        let costs = self.world.is_broken(Breach::OutageCosts);
        let mut seqs = Vec::new();
        for (lease, ending) in &mut endings {
            self.world.given_back(&lease.record);
            seqs.push(lease.ticket.seq);
            if costs && matches!(ending, Ending::Hold(_)) {
                *ending = refused("away");
            }
        }
        let (now, retry) = (self.tick(), self.rules().retry);
        let luck = || self.world.machine.luck();
        let deeds = self
            .book
            .borrow_mut()
            .take_back(worker, endings, now, retry, luck);
        self.follow(deeds);
        self.forget_ties(seqs);
        self.dispatch();
    }

    /// As `Applier::follow`.
    pub fn follow(self: &Rc<Self>, deeds: Vec<Deed>) {
        for deed in deeds {
            match deed {
                Deed::Start(worker, leases) => {
                    leases.iter().for_each(|lease| self.leased(lease));
                    match worker {
                        Worker::Writer => self.spawn_writer(leases),
                        Worker::Fetcher => self.spawn_fetcher(leases),
                    }
                }
                Deed::Look(records) => self.spawn(Rc::clone(self).look_for(records)),
                Deed::Settle { ticket, end, .. } => self.settle(ticket.seq, end),
                Deed::Again {
                    record, attempts, ..
                } => self.world.attempt(&record, attempts, true),
                Deed::Park { meta, attempts, .. } => {
                    if let Some(record) = &meta.record {
                        self.world.attempt(record, attempts, false);
                    }
                    self.park(meta.seq, attempts);
                }
            }
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
