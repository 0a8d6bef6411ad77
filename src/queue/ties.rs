//! Entries that claim one version with two contents: none of them is final before Clerk has settled it.
//!
//! Pure. The queue keeps one of two such entries and asks Clerk; the other one waits here, so that after a crash,
//! or when the first has become a dead letter, the doubt is found again and not decided by whichever was kept.
//! Promises: what was handed in is handed out once. Bounded by the journal, since all of it is unsettled there.

use std::collections::HashMap;

use super::order::{Collapsed, Says, Ticket};

impl Says {
    /// True if both claim the same version with different contents.
    pub fn ties(self, other: Says) -> bool {
        self.standing == other.standing && fold(self.fingerprint) != fold(other.fingerprint)
    }

    /// True if this says as much as the other, or more.
    pub fn covers(self, other: Says) -> bool {
        self.standing >= other.standing && !self.ties(other)
    }
}

/// As the queue keeps it; folded twice is folded once.
fn fold(fingerprint: u64) -> u32 {
    ((fingerprint ^ (fingerprint >> 32)) & u64::from(u32::MAX)) as u32
}

/// See the module's words.
#[derive(Debug)]
pub struct Ties<P> {
    /// By the number of the entry that was kept.
    others: HashMap<u64, Vec<Ticket<P>>>,
}

impl<P> Default for Ties<P> {
    fn default() -> Self {
        Ties {
            others: HashMap::new(),
        }
    }
}

impl<P: Copy> Ties<P> {
    /// The queue gave up an entry for another. Answers the entries that are superseded by that: none if the two
    /// tie, since then Clerk is asked; that one alone if both say the same, since what ties with one of them ties
    /// with the other.
    pub fn collapsed(&mut self, Collapsed { kept, lost }: Collapsed<P>) -> Vec<Ticket<P>> {
        let tied = self.ended(lost.seq);
        let both = kept.says.zip(lost.says);
        let (stay, superseded) = match both {
            Some((kept, lost_says)) if kept.ties(lost_says) => {
                ([&[lost][..], &tied].concat(), Vec::new())
            }
            Some((kept, lost_says)) if kept.standing == lost_says.standing => (tied, vec![lost]),
            _ => (Vec::new(), [&[lost][..], &tied].concat()),
        };
        if !stay.is_empty() {
            self.others.entry(kept.seq).or_default().extend(stay);
        }
        superseded
    }

    /// An entry has come to its end, or is set aside: takes out those that tied with it.
    pub fn ended(&mut self, seq: u64) -> Vec<Ticket<P>> {
        self.others.remove(&seq).unwrap_or_default()
    }

    /// The journal moved entries; as [`super::order::Waiting::moved`].
    pub fn moved(&mut self, to: impl Fn(u64) -> Option<P>) {
        for ticket in self.others.values_mut().flatten() {
            if let Some(position) = to(ticket.seq) {
                ticket.position = position;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Origin, Standing, Version};

    fn ticket(seq: u64, version: i64, fingerprint: u64) -> Ticket<u8> {
        let standing = Standing::alive(Version(version));
        Ticket {
            seq,
            position: 0,
            received_ms: 0,
            says: Some(Says {
                standing,
                fingerprint,
            }),
            origin: Origin::Webhook,
        }
    }

    fn kept(kept: Ticket<u8>, lost: Ticket<u8>) -> Collapsed<u8> {
        Collapsed { kept, lost }
    }

    fn seqs(tickets: Vec<Ticket<u8>>) -> Vec<u64> {
        tickets.iter().map(|ticket| ticket.seq).collect()
    }

    #[test]
    fn what_ties_ends_with_the_entry_that_was_kept() {
        let mut ties = Ties::default();
        let (first, second, third) = (ticket(1, 5, 10), ticket(2, 5, 20), ticket(3, 5, 30));
        assert!(ties.collapsed(kept(second, first)).is_empty());
        assert!(ties.collapsed(kept(third, second)).is_empty());
        assert_eq!(seqs(ties.ended(2)), [0; 0], "the third has taken them over");
        assert_eq!(seqs(ties.ended(3)), [2, 1]);
        assert_eq!(seqs(ties.ended(3)), [0; 0]);
    }

    #[test]
    fn newer_content_supersedes_all_of_a_tie() {
        let mut ties = Ties::default();
        let (second, newer) = (ticket(2, 5, 20), ticket(3, 6, 30));
        assert!(ties.collapsed(kept(second, ticket(1, 5, 10))).is_empty());
        assert_eq!(seqs(ties.collapsed(kept(newer, second))), [2, 1]);
        let older = ticket(6, 4, 1);
        assert_eq!(seqs(ties.collapsed(kept(newer, older))), [6]);
        let wish = Ticket {
            says: None,
            ..older
        };
        assert_eq!(seqs(ties.collapsed(kept(ticket(7, 4, 2), wish))), [6]);
        assert!(ties.others.is_empty());
    }

    #[test]
    fn the_same_once_more_takes_over_what_ties() {
        let mut ties = Ties::default();
        let (first, second) = (ticket(1, 5, 10), ticket(2, 5, 20));
        assert!(ties.collapsed(kept(second, first)).is_empty());
        let again = ticket(3, 5, 20);
        assert_eq!(seqs(ties.collapsed(kept(again, second))), [2]);
        assert_eq!(seqs(ties.collapsed(kept(again, ticket(4, 5, 20)))), [4]);
        assert_eq!(seqs(ties.ended(3)), [1]);
    }

    #[test]
    fn places_follow_the_journal() {
        let mut ties = Ties::default();
        ties.collapsed(kept(ticket(2, 5, 20), ticket(1, 5, 10)));
        ties.moved(|seq| (seq == 1).then_some(9));
        assert_eq!(ties.ended(2)[0].position, 9);
    }

    #[test]
    fn fingerprints_are_compared_as_the_queue_keeps_them() {
        let says = |version, fingerprint| ticket(1, version, fingerprint).says.unwrap();
        let long = 0x1234_5678_9abc_def0;
        assert!(!says(1, long).ties(says(1, u64::from(fold(long)))));
        assert!(says(1, long).ties(says(1, 7)) && !says(1, long).ties(says(2, 7)));
        assert!(says(2, 1).covers(says(1, 9)) && says(1, 9).covers(says(1, 9)));
        assert!(!says(1, 1).covers(says(1, 9)) && !says(1, 1).covers(says(2, 1)));
    }
}
