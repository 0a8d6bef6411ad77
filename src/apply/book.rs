//! The applier's book: what waits, who works on what, and what becomes of what comes back.
//!
//! Pure: time, luck and the state of Convex's circuit are arguments, and what is to be done is answered as
//! [`Deed`]s. The applier carries them out, and the simulated worlds of `tests/it/simulation` carry them out in
//! their own way, so that what is decided here is decided once. Does not know what a change contains. Promises: a
//! record is given to one worker at a time; what comes back is final, waits again or is a dead letter; nobody is
//! given anything while Convex is not to be called.

mod deed;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, time::Duration};

use super::{
    Lease,
    ending::{Ending, Final},
};
use crate::{
    model::{Origin, RecordKey, Standing},
    queue::{
        backoff::RetryRule,
        dead_letters::DeadLetters,
        mentioned::Mentioned,
        order::{self, Collapsed, Millis, Says, Waiting},
        ties::Ties,
    },
    store::journal::{CauseKind, Meta, Position, RequestOrigin},
};

pub use self::deed::{Deed, Road, Rules, Worker};

/// An entry of the journal that waits to be applied.
pub type Ticket = order::Ticket<Position>;

/// The longest that nobody looks at the queue, in milliseconds.
pub const IDLE_MS: Millis = 5_000;
/// Workers that ask Clerk, at once.
const FETCHERS: usize = 2;
/// When those come back for whom there was no room among the doubtful.
const LATER: Duration = Duration::from_millis(500);
/// Mentioned records that are looked for at once; each is an index range in Convex.
const LOOKED_FOR: usize = 200;

/// See the module's words.
#[derive(Debug)]
pub struct Book {
    /// Entries that wait, and leases.
    pub waiting: Waiting<Position>,
    /// Entries that wait for another one's end.
    pub ties: Ties<Position>,
    /// Entries that wait for a person.
    pub dead_letters: DeadLetters,
    mentioned: Mentioned,
    /// True while somebody is looking for those who were mentioned.
    looking: bool,
    writers: usize,
    fetchers: usize,
    /// Leases that wait for a fetcher.
    in_doubt: Vec<Lease>,
    /// Entries that workers have in hand, by number.
    in_hand: HashMap<u64, InHand>,
}

#[derive(Debug)]
struct InHand {
    received_ms: i64,
    /// Its place, if the journal has moved it since.
    moved: Option<Position>,
}

impl Book {
    /// An empty one, with room for so many dead letters.
    pub fn new(max_dead_letters: usize) -> Book {
        Book {
            waiting: Waiting::default(),
            ties: Ties::default(),
            dead_letters: DeadLetters::new(max_dead_letters),
            mentioned: Mentioned::default(),
            looking: false,
            writers: 0,
            fetchers: 0,
            in_doubt: Vec::new(),
            in_hand: HashMap::new(),
        }
    }

    /// Lets a stored entry wait for its turn.
    pub fn take_in(&mut self, record: RecordKey, ticket: Ticket) -> Vec<Deed> {
        let mut deeds = Vec::new();
        if let Some(collapsed) = self.waiting.push(record.clone(), ticket) {
            self.collapsed(&record, collapsed, &mut deeds);
        }
        deeds
    }

    /// Hands out what is ready while there is room. Answers also after how many milliseconds to come again
    /// at the latest: at most [`IDLE_MS`].
    pub fn hand_out(&mut self, now: Millis, road: Road, rules: Rules) -> (Vec<Deed>, Millis) {
        // Whoever comes first after an outage probes; everybody else stays where they are until it is
        // known what came of that.
        let writers = if road.closed { rules.writers } else { 1 };
        if !road.blocked.is_zero() && (road.closed || self.writers == 0) {
            return (Vec::new(), whole_ms(road.blocked).min(IDLE_MS));
        }
        let mut deeds = Vec::new();
        self.look(now, &mut deeds);
        self.doubt(Vec::new(), now, rules.fetched, &mut deeds);
        while self.writers < writers && self.waiting.has_ready(now) {
            let leases = self.waiting.lease(now, rules.written);
            let (doubtful, sure): (Vec<_>, Vec<_>) = leases.into_iter().partition(|l| l.fetch);
            if !sure.is_empty() {
                self.writers += 1;
                deeds.push(self.start(Worker::Writer, sure));
            }
            self.doubt(doubtful, now, rules.fetched, &mut deeds);
        }
        // Where all writers are busy, the first that comes back looks again.
        let room = self.writers < writers;
        let due = self.waiting.next_due().filter(|_| room);
        let look = self.mentioned.next_due().filter(|_| !self.looking);
        let next = due.into_iter().chain(look).min();
        let wait = next.map_or(IDLE_MS, |at| at.saturating_sub(now).max(1));
        (deeds, wait.min(IDLE_MS))
    }

    /// A worker has ended, with what became of each lease that it was given. `luck` gives numbers in 0..1.
    pub fn take_back(
        &mut self,
        worker: Worker,
        endings: Vec<(Lease, Ending)>,
        now: Millis,
        retry: RetryRule,
        mut luck: impl FnMut() -> f64,
    ) -> Vec<Deed> {
        match worker {
            Worker::Writer => self.writers -= 1,
            Worker::Fetcher => self.fetchers -= 1,
        }
        let mut deeds = Vec::with_capacity(endings.len());
        for (mut lease, ending) in endings {
            let in_hand = self.in_hand.remove(&lease.ticket.seq);
            let moved = in_hand.and_then(|in_hand| in_hand.moved);
            // Whoever has met the move has asked the journal, which may have moved it once more.
            if let (Some(position), false) = (moved, matches!(ending, Ending::Moved)) {
                lease.ticket.position = position;
            }
            let (attempts, fetch, at_once) = (lease.attempts, lease.fetch, Millis::MIN);
            match ending {
                Ending::Final(end) => self.done(lease, end, &mut deeds),
                Ending::Ask => self.put_back(lease, attempts, true, at_once, &mut deeds),
                Ending::Moved => self.put_back(lease, attempts, fetch, at_once, &mut deeds),
                Ending::Hold(wait) => {
                    self.put_back(lease, attempts, fetch, after(now, wait), &mut deeds);
                }
                Ending::Refused { code, reason } => match retry.wait_before(attempts + 1, luck()) {
                    Some(wait) => {
                        let (record, attempts) = (lease.record.clone(), attempts + 1);
                        deeds.push(Deed::Again {
                            record,
                            attempts,
                            wait,
                            code,
                        });
                        self.put_back(lease, attempts, fetch, after(now, wait), &mut deeds);
                    }
                    None => self.give_up(lease, &code, &reason, &mut deeds),
                },
            }
        }
        deeds
    }

    /// Remembers records that were mentioned and have not been heard of.
    pub fn hear_of(&mut self, mentioned: Vec<RecordKey>, now: Millis) {
        for record in mentioned {
            self.mentioned.add(record, now);
        }
    }

    /// A look is over; these are still to be looked for.
    pub fn looked(&mut self, unknown: Vec<RecordKey>, now: Millis) {
        self.looking = false;
        self.hear_of(unknown, now);
    }

    /// The journal moved entries.
    pub fn moved(&mut self, moves: &HashMap<u64, Position>) {
        self.waiting.moved(|seq| moves.get(&seq).copied());
        self.ties.moved(|seq| moves.get(&seq).copied());
        for (seq, position) in moves {
            self.dead_letters.moved(*seq, *position);
        }
        for lease in &mut self.in_doubt {
            if let Some(position) = moves.get(&lease.ticket.seq) {
                lease.ticket.position = *position;
            }
        }
        for (seq, in_hand) in &mut self.in_hand {
            in_hand.moved = moves.get(seq).copied().or(in_hand.moved);
        }
    }

    /// When the oldest entry was stored that has not come to its end, whoever has it.
    pub fn oldest_received_ms(&self) -> Option<i64> {
        let waiting = self.waiting.oldest_received_ms();
        let in_doubt = self.in_doubt.iter().map(|lease| lease.ticket.received_ms);
        let in_hand = self.in_hand.values().map(|in_hand| in_hand.received_ms);
        waiting.into_iter().chain(in_doubt).chain(in_hand).min()
    }

    /// Workers that have not come back.
    pub fn workers(&self) -> usize {
        self.writers + self.fetchers
    }

    fn start(&mut self, worker: Worker, leases: Vec<Lease>) -> Deed {
        self.in_hand.extend(leases.iter().map(|lease| {
            let in_hand = InHand {
                received_ms: lease.ticket.received_ms,
                moved: None,
            };
            (lease.ticket.seq, in_hand)
        }));
        Deed::Start(worker, leases)
    }

    /// Looks for those who had time enough to arrive, one look at a time.
    fn look(&mut self, now: Millis, deeds: &mut Vec<Deed>) {
        if self.looking {
            return;
        }
        let due = self.mentioned.take_due(now, LOOKED_FOR);
        if !due.is_empty() {
            self.looking = true;
            deeds.push(Deed::Look(due));
        }
    }

    /// Lets fetchers ask about these. When too many wait already, they come back later, so that a slow
    /// Clerk holds up nobody whose event is enough.
    fn doubt(&mut self, leases: Vec<Lease>, now: Millis, fetched: usize, deeds: &mut Vec<Deed>) {
        for lease in leases {
            if self.in_doubt.len() < FETCHERS * fetched {
                self.in_doubt.push(lease);
            } else {
                let attempts = lease.attempts;
                self.put_back(lease, attempts, true, after(now, LATER), deeds);
            }
        }
        while self.fetchers < FETCHERS && !self.in_doubt.is_empty() {
            let first = self.in_doubt.len().min(fetched);
            let leases = self.in_doubt.drain(..first).collect();
            self.fetchers += 1;
            deeds.push(self.start(Worker::Fetcher, leases));
        }
    }

    fn done(&mut self, lease: Lease, end: Final, deeds: &mut Vec<Deed>) {
        if matches!(end, Final::Applied(_) | Final::Known) && !self.dead_letters.is_empty() {
            self.overcome(&lease, deeds);
        }
        for tied in self.ties.ended(lease.ticket.seq) {
            deeds.push(superseded(&lease.record, tied));
        }
        deeds.push(Deed::Settle {
            record: lease.record.clone(),
            ticket: lease.ticket,
            end,
        });
        self.waiting.finish(lease);
    }

    /// The record was written: what was a dead letter about it is none any more, unless it is newer than
    /// what was written.
    fn overcome(&mut self, lease: &Lease, deeds: &mut Vec<Deed>) {
        let written = lease.ticket.says.filter(|_| !lease.fetch);
        let covered = |meta: &Meta| {
            let letter = ticket_of(meta).says;
            // What Clerk says now is newer than everything that it has ever said.
            written.is_none_or(|written| letter.is_some_and(|letter| written.covers(letter)))
        };
        for letter in self.dead_letters.settled(&lease.record, covered) {
            deeds.push(superseded(&lease.record, ticket_of(&letter.meta)));
        }
    }

    /// Nobody tries this again by itself. Those that tie with it stay with it, so that it is a tie again when it
    /// is tried again.
    fn give_up(&mut self, lease: Lease, code: &str, reason: &str, deeds: &mut Vec<Deed>) {
        let mut tickets = self.ties.ended(lease.ticket.seq);
        tickets.push(lease.ticket);
        deeds.extend(tickets.iter().map(|ticket| Deed::Park {
            meta: meta_of(&lease.record, ticket),
            attempts: lease.attempts + 1,
            code: code.to_owned(),
            reason: reason.to_owned(),
        }));
        self.waiting.finish(lease);
    }

    fn put_back(
        &mut self,
        lease: Lease,
        attempts: u32,
        fetch: bool,
        at: Millis,
        deeds: &mut Vec<Deed>,
    ) {
        let record = lease.record.clone();
        if let Some(collapsed) = self.waiting.put_back(lease, attempts, fetch, at) {
            self.collapsed(&record, collapsed, deeds);
        }
    }

    /// The queue gave up an entry for another one.
    fn collapsed(
        &mut self,
        record: &RecordKey,
        collapsed: Collapsed<Position>,
        deeds: &mut Vec<Deed>,
    ) {
        let lost = self.ties.collapsed(collapsed);
        deeds.extend(lost.into_iter().map(|lost| superseded(record, lost)));
    }
}

fn superseded(record: &RecordKey, ticket: Ticket) -> Deed {
    Deed::Settle {
        record: record.clone(),
        ticket,
        end: Final::Superseded,
    }
}

fn after(now: Millis, wait: Duration) -> Millis {
    now.saturating_add(whole_ms(wait))
}

/// A part of a millisecond is one: what is due in half of one is not due now.
pub fn whole_ms(wait: Duration) -> Millis {
    i64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX / 2)
}

/// What the queue knows of a stored entry.
pub fn ticket_of(meta: &Meta) -> Ticket {
    let standing = Standing {
        version: meta.version,
        deleted: meta.deleted,
    };
    let says = Says {
        standing,
        fingerprint: meta.fingerprint,
    };
    Ticket {
        seq: meta.seq,
        position: meta.position,
        received_ms: meta.received_ms,
        says: matches!(meta.cause, CauseKind::Delivery).then_some(says),
        origin: match meta.cause {
            CauseKind::Delivery => Origin::Webhook,
            CauseKind::Request(RequestOrigin::Repair) => Origin::Repair,
            CauseKind::Request(RequestOrigin::Operator | RequestOrigin::Malformed) => {
                Origin::Operator
            }
        },
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
