//! An entry that waits, and which of two stays.

use super::{Millis, Says, Ticket};
use crate::model::{Origin, Standing, Version};

/// An entry that waits, packed: there may be a million of them.
#[derive(Debug)]
pub struct Waiter<P> {
    pub seq: u64,
    pub received_ms: i64,
    version: Version,
    pub not_before: Millis,
    pub position: P,
    /// Folded: it only has to differ where contents of one version differ.
    fingerprint: u32,
    pub attempts: u16,
    pub says: bool,
    deleted: bool,
    pub fetch: bool,
    origin: Origin,
}

impl<P: Copy> Waiter<P> {
    /// A ticket that waits until then.
    pub fn new(ticket: Ticket<P>, fetch: bool, attempts: u32, not_before: Millis) -> Self {
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

    /// Unpacked.
    pub fn ticket(&self) -> Ticket<P> {
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

/// Which of two waiting entries of one record stays, and how; and which one is given up.
pub fn newest<P: Copy>(waiting: Waiter<P>, incoming: Waiter<P>) -> (Waiter<P>, Ticket<P>) {
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
