//! The book's decisions, one by one.

use super::*;
use crate::model::{Key, Outcome, Table, Version};

const ROAD: Road = Road {
    blocked: Duration::ZERO,
    closed: true,
};
const RULES: Rules = Rules {
    writers: 2,
    written: 2,
    fetched: 2,
    retry: RetryRule {
        max_attempts: 1,
        delay: Duration::from_millis(100),
    },
};
const APPLIED: Ending = Ending::Final(Final::Applied(Outcome::Created));

fn user(number: usize) -> RecordKey {
    let key = Key::parse(&format!("user_{number}")).unwrap();
    RecordKey::new(Table::Users, key)
}

fn ticket(seq: u64, version: i64, fingerprint: u64) -> Ticket {
    Ticket {
        seq,
        position: Position {
            segment: 1,
            offset: u32::try_from(seq).unwrap(),
            len: 1,
        },
        received_ms: 0,
        says: Some(Says {
            standing: Standing::alive(Version(version)),
            fingerprint,
        }),
        origin: Origin::Webhook,
    }
}

fn wish(seq: u64) -> Ticket {
    Ticket {
        says: None,
        ..ticket(seq, 0, 0)
    }
}

/// A book with so many events of so many users.
fn book(users: u64) -> Book {
    let mut book = Book::new(10);
    for seq in 1..=users {
        let number = usize::try_from(seq).unwrap();
        assert!(book.take_in(user(number), ticket(seq, 1, 0)).is_empty());
    }
    book
}

fn given(deeds: Vec<Deed>, to: Worker) -> Vec<Vec<Lease>> {
    let given = deeds.into_iter().filter_map(|deed| match deed {
        Deed::Start(worker, leases) if worker == to => Some(leases),
        _ => None,
    });
    given.collect()
}

fn first(book: &mut Book, now: Millis) -> Lease {
    let mut given = given(book.hand_out(now, ROAD, RULES).0, Worker::Writer);
    given.remove(0).remove(0)
}

fn back(book: &mut Book, lease: Lease, ending: Ending, now: Millis) -> Vec<Deed> {
    back_from(Worker::Writer, book, lease, ending, now)
}

fn back_from(
    worker: Worker,
    book: &mut Book,
    lease: Lease,
    ending: Ending,
    now: Millis,
) -> Vec<Deed> {
    let endings = vec![(lease, ending)];
    book.take_back(worker, endings, now, RULES.retry, || 0.5)
}

fn refused() -> Ending {
    Ending::Refused {
        code: "poison".into(),
        reason: "it is".into(),
    }
}

/// What is settled or parked, in order.
fn ends(deeds: &[Deed]) -> Vec<(u64, &'static str)> {
    let ends = deeds.iter().filter_map(|deed| match deed {
        Deed::Settle { ticket, end, .. } => Some((ticket.seq, end.name())),
        Deed::Park { meta, .. } => Some((meta.seq, "parked")),
        _ => None,
    });
    ends.collect()
}

#[test]
fn no_more_begin_than_there_is_room_for_and_who_comes_back_makes_room() {
    let mut book = book(5);
    let (deeds, wait) = book.hand_out(0, ROAD, RULES);
    let mut given = given(deeds, Worker::Writer);
    assert_eq!(given.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2]);
    assert_eq!((book.workers(), wait), (2, IDLE_MS));
    assert!(book.hand_out(0, ROAD, RULES).0.is_empty());
    let endings = given.remove(0).into_iter().map(|lease| (lease, APPLIED));
    let deeds = book.take_back(Worker::Writer, endings.collect(), 0, RULES.retry, || 0.5);
    assert_eq!(ends(&deeds), [(1, "created"), (2, "created")]);
    assert_eq!(first(&mut book, 0).ticket.seq, 5);
}

#[test]
fn what_somebody_has_in_hand_or_doubts_still_grows_older() {
    let mut book = Book::new(10);
    for seq in 1..=6 {
        let received_ms = i64::try_from(seq).unwrap();
        let wish = Ticket {
            received_ms,
            ..wish(seq)
        };
        book.take_in(user(usize::try_from(seq).unwrap()), wish);
    }
    // Two fetchers have two each, and the others wait for one of them.
    let given = given(book.hand_out(0, ROAD, RULES).0, Worker::Fetcher);
    assert_eq!(given.iter().map(Vec::len).sum::<usize>(), 4);
    assert_eq!(
        (book.waiting.depth(), book.oldest_received_ms()),
        (6, Some(1))
    );
    for leases in given {
        let endings = leases.into_iter().map(|lease| (lease, APPLIED)).collect();
        book.take_back(Worker::Fetcher, endings, 0, RULES.retry, || 0.5);
    }
    assert_eq!(
        (book.waiting.depth(), book.oldest_received_ms()),
        (2, Some(5))
    );
}

#[test]
fn while_convex_is_not_to_be_called_nobody_is_given_anything_and_then_one_probes() {
    let mut book = book(5);
    let away = Road {
        blocked: Duration::from_micros(700_500),
        closed: false,
    };
    let (deeds, wait) = book.hand_out(0, away, RULES);
    assert!(deeds.is_empty());
    assert_eq!(wait, 701, "not before it may be called");
    let probing = Road {
        blocked: Duration::ZERO,
        ..away
    };
    let deeds = book.hand_out(0, probing, RULES).0;
    assert_eq!(given(deeds, Worker::Writer).len(), 1);
    assert!(book.hand_out(0, probing, RULES).0.is_empty());
}

#[test]
fn a_slow_clerk_holds_up_nobody_whose_event_is_enough() {
    let mut book = Book::new(10);
    for seq in 1..=9 {
        let number = usize::try_from(seq).unwrap();
        let asked = if seq < 9 {
            wish(seq)
        } else {
            ticket(seq, 1, 0)
        };
        book.take_in(user(number), asked);
    }
    let (deeds, wait) = book.hand_out(0, ROAD, RULES);
    // Two that ask about two each, four who wait for them, and the rest comes back later.
    assert_eq!(given(deeds, Worker::Fetcher).len(), 2);
    assert_eq!(book.in_doubt.len(), 4);
    assert_eq!((book.waiting.leased(), wait), (9, IDLE_MS));
    book.take_in(user(10), wish(10));
    let wait = book.hand_out(0, ROAD, RULES).1;
    assert_eq!(wait, whole_ms(LATER));
    assert_eq!(book.workers(), 3);
}

#[test]
fn an_outage_costs_nothing_and_a_refusal_costs_an_attempt_until_there_are_none() {
    let mut book = book(1);
    let lease = first(&mut book, 0);
    let hold = Ending::Hold(Duration::from_millis(50));
    assert!(back(&mut book, lease, hold, 0).is_empty());
    assert!(book.hand_out(49, ROAD, RULES).0.is_empty());
    let lease = first(&mut book, 50);
    let deeds = back(&mut book, lease, refused(), 50);
    assert!(
        matches!(deeds[..], [Deed::Again { attempts: 1, wait, .. }] if wait.as_millis() == 100)
    );
    assert!(book.hand_out(149, ROAD, RULES).0.is_empty());
    let lease = first(&mut book, 150);
    let deeds = back(&mut book, lease, refused(), 150);
    assert!(matches!(deeds[..], [Deed::Park { attempts: 2, .. }]));
    assert_eq!(book.waiting.depth(), 0);
}

#[test]
fn an_entry_that_the_journal_moves_while_somebody_works_on_it_is_found_where_it_is_now() {
    let mut book = book(1);
    let lease = first(&mut book, 0);
    let there = Position {
        segment: 7,
        ..lease.ticket.position
    };
    book.moved(&HashMap::from([(1, there)]));
    book.moved(&HashMap::from([(2, lease.ticket.position)]));
    back(&mut book, lease, refused(), 0);
    let lease = first(&mut book, 1_000);
    assert_eq!(lease.ticket.position, there);
    let further = Position {
        segment: 8,
        ..there
    };
    book.moved(&HashMap::from([(1, further)]));
    let deeds = back(&mut book, lease, refused(), 1_000);
    let [Deed::Park { meta, .. }] = &deeds[..] else {
        panic!("{deeds:?}");
    };
    assert_eq!(meta.position, further, "a dead letter can be shown");
    assert!(book.in_hand.is_empty());
}

#[test]
fn what_ties_with_a_record_shares_its_end() {
    for (ending, last) in [(APPLIED, "created"), (refused(), "parked")] {
        let mut book = book(1);
        assert!(book.take_in(user(1), ticket(2, 1, 7)).is_empty(), "a tie");
        let asked = given(book.hand_out(0, ROAD, RULES).0, Worker::Fetcher);
        let lease = asked.into_iter().flatten().next().unwrap();
        assert!(lease.fetch);
        let retry = RetryRule {
            max_attempts: 0,
            ..RULES.retry
        };
        let deeds = book.take_back(Worker::Fetcher, vec![(lease, ending)], 0, retry, || 0.5);
        let (other, end) = ends(&deeds)[0];
        assert_eq!(end == "parked", last == "parked");
        assert_eq!(ends(&deeds)[1], (3 - other, last));
    }
}

#[test]
fn what_ties_stays_beside_a_copy_that_comes_while_the_entry_is_worked_on() {
    let mut book = book(1);
    assert!(book.take_in(user(1), ticket(2, 1, 7)).is_empty(), "a tie");
    let asked = given(book.hand_out(0, ROAD, RULES).0, Worker::Fetcher);
    let lease = asked.into_iter().flatten().next().unwrap();
    let copy = ticket(3, 1, 7);
    assert!(book.take_in(user(1), copy).is_empty());
    // Convex refuses the record: the copy is tried in its place, and the other content is not forgotten.
    let deeds = back_from(Worker::Fetcher, &mut book, lease, refused(), 0);
    assert_eq!(ends(&deeds), [(2, "superseded")]);
    let parked = (1..).find_map(|turn| {
        let now = turn * 1_000;
        let asked = given(book.hand_out(now, ROAD, RULES).0, Worker::Fetcher);
        let lease = asked.into_iter().flatten().next().unwrap();
        let deeds = back_from(Worker::Fetcher, &mut book, lease, refused(), now);
        Some(ends(&deeds)).filter(|ends| !ends.is_empty())
    });
    assert_eq!(parked.unwrap(), [(1, "parked"), (3, "parked")]);
    // Both are tried again, and so Clerk is asked once more.
    book.take_in(user(1), ticket(1, 1, 0));
    book.take_in(user(1), copy);
    let deeds = book.hand_out(60_000, ROAD, RULES).0;
    assert_eq!(given(deeds, Worker::Fetcher).len(), 1);
}

#[test]
fn mentioned_records_are_looked_for_once_they_had_time_to_arrive() {
    let mut book = Book::new(10);
    book.hear_of(vec![user(1)], 0);
    let (deeds, wait) = book.hand_out(0, ROAD, RULES);
    assert!(deeds.is_empty() && wait <= IDLE_MS);
    let deeds = book.hand_out(IDLE_MS, ROAD, RULES).0;
    assert!(matches!(&deeds[..], [Deed::Look(who)] if *who == [user(1)]));
    book.hear_of(vec![user(2)], IDLE_MS);
    let (deeds, wait) = book.hand_out(20_000, ROAD, RULES);
    assert!(deeds.is_empty(), "one look at a time");
    assert_eq!(wait, IDLE_MS);
    book.looked(vec![user(1)], 20_000);
    let deeds = book.hand_out(30_000, ROAD, RULES).0;
    assert!(matches!(&deeds[..], [Deed::Look(who)] if *who == [user(2), user(1)]));
}
