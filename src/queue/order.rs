//! Who is next: one at a time per record, many records at once, the newest of many.
//!
//! Pure: time is an argument, nothing is read or written. Knows keys, standings and fingerprints,
//! never what a change contains. Promises: a record has at most one lease; what is pushed for a
//! leased record waits; waiting events of one record collapse into the newest; every ticket that
//! is not leased again is handed back exactly once as given up.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque, hash_map::Entry},
};

use crate::model::{Origin, RecordKey, Standing, Version};

/// Milliseconds on the monotonic-enough clock that the caller passes in everywhere.
pub type Millis = i64;

/// One stored entry of the journal that waits to be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket<P> {
    /// The entry's number in the journal.
    pub seq: u64,
    /// Where its body stands in the journal.
    pub position: P,
    /// When it was stored, milliseconds since the epoch.
    pub received_ms: i64,
    /// What it says, and of when. `None`: nothing, it asks for the record to be fetched.
    pub says: Option<Says>,
    /// Who asked. For logs and metrics.
    pub origin: Origin,
}

/// What an event says about its record, as far as order needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Says {
    /// Version and whether the record is gone.
    pub standing: Standing,
    /// Stands for the content: equal content has an equal fingerprint.
    pub fingerprint: u64,
}

/// Of two entries of one record that waited, only one waits any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collapsed<P> {
    /// The one that waits.
    pub kept: Ticket<P>,
    /// The one that was given up: superseded, unless it ties with the other; see [`super::ties`].
    pub lost: Ticket<P>,
}

/// The right to work on one record. Used up by [`Waiting::finish`] or [`Waiting::put_back`].
#[derive(Debug)]
pub struct Lease<P> {
    /// Which record.
    pub record: RecordKey,
    /// The newest entry about it.
    pub ticket: Ticket<P>,
    /// True if what the events say is not enough: ask Clerk.
    pub fetch: bool,
    /// How many tries this content has cost so far.
    pub attempts: u32,
}

impl<P: Copy> Lease<P> {
    /// A second one of the same right, for whoever must give it back if the holder cannot. Only one
    /// of the two may be used up.
    pub(crate) fn duplicate(&self) -> Lease<P> {
        Lease {
            record: self.record.clone(),
            ..*self
        }
    }
}

/// All entries that wait, by record.
#[derive(Debug)]
pub struct Waiting<P> {
    slots: HashMap<RecordKey, Slot<P>>,
    ready: VecDeque<RecordKey>,
    later: BinaryHeap<Reverse<(Millis, RecordKey)>>,
    leased: usize,
    /// Slots that hold an entry.
    waiters: usize,
}

#[derive(Debug)]
struct Slot<P> {
    next: Option<Waiter<P>>,
    leased: bool,
    /// True while the record stands in `ready` or `later`.
    listed: bool,
}

/// An entry that waits, packed: there may be a million of them.
#[derive(Debug)]
struct Waiter<P> {
    seq: u64,
    received_ms: i64,
    version: Version,
    not_before: Millis,
    position: P,
    /// Folded: it only has to differ where contents of one version differ.
    fingerprint: u32,
    attempts: u16,
    says: bool,
    deleted: bool,
    fetch: bool,
    origin: Origin,
}

impl<P: Copy> Waiter<P> {
    fn new(ticket: Ticket<P>, fetch: bool, attempts: u32, not_before: Millis) -> Self {
        let says = ticket.says.unwrap_or(Says {
            standing: Standing::alive(Version(0)),
            fingerprint: 0,
        });
        let fingerprint = says.fingerprint ^ (says.fingerprint >> 32);
        Waiter {
            seq: ticket.seq,
            received_ms: ticket.received_ms,
            version: says.standing.version,
            not_before,
            position: ticket.position,
            fingerprint: (fingerprint & u64::from(u32::MAX)) as u32,
            attempts: u16::try_from(attempts).unwrap_or(u16::MAX),
            says: ticket.says.is_some(),
            deleted: says.standing.deleted,
            fetch,
            origin: ticket.origin,
        }
    }

    fn ticket(&self) -> Ticket<P> {
        Ticket {
            seq: self.seq,
            position: self.position,
            received_ms: self.received_ms,
            says: self.says(),
            origin: self.origin,
        }
    }

    fn says(&self) -> Option<Says> {
        let standing = Standing {
            version: self.version,
            deleted: self.deleted,
        };
        let fingerprint = u64::from(self.fingerprint);
        self.says.then_some(Says {
            standing,
            fingerprint,
        })
    }
}

impl<P> Default for Waiting<P> {
    fn default() -> Self {
        Waiting {
            slots: HashMap::new(),
            ready: VecDeque::new(),
            later: BinaryHeap::new(),
            leased: 0,
            waiters: 0,
        }
    }
}

impl<P: Copy> Waiting<P> {
    /// Lets an entry wait for its record. Says which one is given up, if another one waited: that one, or this.
    pub fn push(&mut self, record: RecordKey, ticket: Ticket<P>) -> Option<Collapsed<P>> {
        let fetch = ticket.says.is_none();
        self.merge(record, Waiter::new(ticket, fetch, 0, Millis::MIN))
    }

    /// Takes up to `max` records whose turn it is. Records that have failed before come alone, so
    /// that they hold up nobody: a call that finds one first returns only that one.
    pub fn lease(&mut self, now: Millis, max: usize) -> Vec<Lease<P>> {
        self.wake(now);
        let mut leases = Vec::new();
        while leases.len() < max {
            let Some(record) = self.ready.pop_front() else {
                break;
            };
            let Some(slot) = self.slots.get_mut(&record) else {
                continue;
            };
            let tried = slot.next.as_ref().is_some_and(|waiter| waiter.attempts > 0);
            if tried && !leases.is_empty() {
                self.ready.push_front(record);
                break;
            }
            slot.listed = false;
            let Some(waiter) = slot.next.take() else {
                continue;
            };
            slot.leased = true;
            self.waiters -= 1;
            self.leased += 1;
            leases.push(Lease {
                record,
                ticket: waiter.ticket(),
                fetch: waiter.fetch,
                attempts: u32::from(waiter.attempts),
            });
            if tried {
                break;
            }
        }
        leases
    }

    /// Ends a lease whose entry has reached a final state or became a dead letter.
    pub fn finish(&mut self, lease: Lease<P>) {
        self.release(&lease.record);
    }

    /// Gives a lease back to be tried again from `not_before` on. `attempts` is the new count; `fetch`
    /// asks for the record's present state. Says what is given up, as [`Waiting::push`] does.
    pub fn put_back(
        &mut self,
        lease: Lease<P>,
        attempts: u32,
        fetch: bool,
        not_before: Millis,
    ) -> Option<Collapsed<P>> {
        let waiter = Waiter::new(lease.ticket, fetch, attempts, not_before);
        let collapsed = self.merge(lease.record.clone(), waiter);
        self.release(&lease.record);
        collapsed
    }

    /// Nobody waits for a service any more: it has another key now. A wait that a record's own failure has earned
    /// stays.
    pub fn hurry(&mut self) {
        for Reverse((at, record)) in std::mem::take(&mut self.later) {
            let slot = self.slots.get(&record);
            let waiter = slot.and_then(|slot| slot.next.as_ref());
            if waiter.is_some_and(|waiter| waiter.attempts > 0) {
                self.later.push(Reverse((at, record)));
            } else {
                self.ready.push_back(record);
            }
        }
    }

    /// The journal moved entries: `to` says where an entry's body stands now, if it moved. Leased ones
    /// are the caller's.
    pub fn moved(&mut self, to: impl Fn(u64) -> Option<P>) {
        for waiter in self
            .slots
            .values_mut()
            .filter_map(|slot| slot.next.as_mut())
        {
            if let Some(position) = to(waiter.seq) {
                waiter.position = position;
            }
        }
    }

    /// True if an event about the record waits or is being worked on. A mere wish to fetch it does not count.
    pub fn holds(&self, record: &RecordKey) -> bool {
        let slot = self.slots.get(record);
        slot.is_some_and(|slot| slot.leased || slot.next.as_ref().is_some_and(|next| next.says))
    }

    /// Entries that wait or are being worked on.
    pub fn depth(&self) -> usize {
        self.waiters + self.leased
    }

    /// Records being worked on.
    pub fn leased(&self) -> usize {
        self.leased
    }

    /// When the entry was stored that waits longest (leased ones aside). Looks at every record.
    pub fn oldest_received_ms(&self) -> Option<i64> {
        self.slots
            .values()
            .filter_map(|slot| slot.next.as_ref())
            .map(|w| w.received_ms)
            .min()
    }

    /// True if a record's turn has come.
    pub fn has_ready(&mut self, now: Millis) -> bool {
        self.wake(now);
        !self.ready.is_empty()
    }

    /// When the next record's turn comes, if none is ready now.
    pub fn next_due(&self) -> Option<Millis> {
        self.later.peek().map(|Reverse((at, _))| *at)
    }

    fn merge(&mut self, record: RecordKey, incoming: Waiter<P>) -> Option<Collapsed<P>> {
        let slot = match self.slots.entry(record.clone()) {
            Entry::Occupied(occupied) => occupied.into_mut(),
            Entry::Vacant(vacant) => vacant.insert(Slot {
                next: None,
                leased: false,
                listed: false,
            }),
        };
        let collapsed = match slot.next.take() {
            None => {
                slot.next = Some(incoming);
                self.waiters += 1;
                None
            }
            Some(waiting) => {
                let (kept, lost) = newest(waiting, incoming);
                let kept_ticket = kept.ticket();
                slot.next = Some(kept);
                Some(Collapsed {
                    kept: kept_ticket,
                    lost,
                })
            }
        };
        if !slot.leased {
            self.list(record);
        }
        collapsed
    }

    fn release(&mut self, record: &RecordKey) {
        let Some(slot) = self.slots.get_mut(record) else {
            return;
        };
        if slot.leased {
            slot.leased = false;
            self.leased -= 1;
        }
        if slot.next.is_some() {
            self.list(record.clone());
        } else {
            self.slots.remove(record);
        }
    }

    fn list(&mut self, record: RecordKey) {
        let Some(slot) = self.slots.get_mut(&record) else {
            return;
        };
        let Some(waiter) = slot.next.as_ref().filter(|_| !slot.listed) else {
            return;
        };
        slot.listed = true;
        if waiter.not_before == Millis::MIN {
            self.ready.push_back(record);
        } else {
            self.later.push(Reverse((waiter.not_before, record)));
        }
    }

    fn wake(&mut self, now: Millis) {
        while self.later.peek().is_some_and(|Reverse((at, _))| *at <= now) {
            if let Some(Reverse((_, record))) = self.later.pop() {
                self.ready.push_back(record);
            }
        }
    }
}

/// Which of two waiting entries of one record stays, and how; and which one is given up.
fn newest<P: Copy>(waiting: Waiter<P>, incoming: Waiter<P>) -> (Waiter<P>, Ticket<P>) {
    // A wait that a failure has earned is neither skipped nor prolonged by what arrives meanwhile.
    let not_before = waiting.not_before.max(incoming.not_before);
    let (mut kept, lost, tie) = match (waiting.says(), incoming.says()) {
        // A wish to fetch and an event: the event stays, since it knows more (of a membership, whose it
        // is), and Clerk is asked.
        (None, Some(_)) => (incoming, waiting, true),
        (Some(_), None) => (waiting, incoming, true),
        (None, None) => (waiting, incoming, true),
        (Some(old), Some(new)) if new.standing > old.standing => (incoming, waiting, false),
        (Some(old), Some(new)) if new.standing < old.standing => (waiting, incoming, false),
        // Of two contents of one version the later one, until Clerk has said which it is; see `ties`.
        (Some(old), Some(new)) if old.fingerprint != new.fingerprint => (incoming, waiting, true),
        (Some(_), Some(_)) => (waiting, incoming, false),
    };
    kept.not_before = not_before;
    // Doubt survives unless strictly newer content has settled it.
    kept.fetch |= tie || (lost.fetch && kept.says() == lost.says());
    (kept, lost.ticket())
}

#[cfg(test)]
#[path = "order_tests.rs"]
mod tests;
