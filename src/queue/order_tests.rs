//! Order, collapse and leases, by tables and by random histories.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::model::{Key, Table, Version};

fn record(n: u32) -> RecordKey {
    RecordKey::new(Table::Users, Key::parse(&format!("user_{n}")).unwrap())
}

fn event(seq: u64, version: i64, fingerprint: u64) -> Ticket<()> {
    let says = Says {
        standing: Standing::alive(Version(version)),
        fingerprint,
    };
    Ticket {
        seq,
        position: (),
        received_ms: seq as i64,
        says: Some(says),
        origin: Origin::Webhook,
    }
}

fn deletion(seq: u64, version: i64) -> Ticket<()> {
    let says = Says {
        standing: Standing::gone(Version(version)),
        fingerprint: 0,
    };
    Ticket {
        says: Some(says),
        ..event(seq, version, 0)
    }
}

fn wish(seq: u64) -> Ticket<()> {
    Ticket {
        says: None,
        ..event(seq, 0, 0)
    }
}

fn only(waiting: &mut Waiting<()>, now: Millis) -> Lease<()> {
    let mut leases = waiting.lease(now, 100);
    assert_eq!(leases.len(), 1);
    leases.remove(0)
}

#[test]
fn waiting_events_of_one_record_collapse_into_the_newest() {
    let mut waiting = Waiting::default();
    assert_eq!(waiting.push(record(1), event(1, 10, 1)), None);
    assert_eq!(
        waiting.push(record(1), event(2, 30, 3)).unwrap().lost.seq,
        1
    );
    assert_eq!(
        waiting.push(record(1), event(3, 20, 2)).unwrap().lost.seq,
        3
    );
    let lease = only(&mut waiting, 0);
    assert_eq!((lease.ticket.seq, lease.fetch), (2, false));
    waiting.finish(lease);
    assert_eq!(waiting.depth(), 0);
}

#[test]
fn a_deletion_wins_over_updates_whatever_its_time() {
    let mut waiting = Waiting::default();
    waiting.push(record(1), event(1, 500, 1));
    assert_eq!(
        waiting.push(record(1), deletion(2, 200)).unwrap().lost.seq,
        1
    );
    assert_eq!(
        waiting.push(record(1), event(3, 900, 1)).unwrap().lost.seq,
        3
    );
    assert_eq!(only(&mut waiting, 0).ticket.seq, 2);
}

#[test]
fn two_contents_with_one_version_ask_clerk_until_something_newer_comes() {
    let mut waiting = Waiting::default();
    waiting.push(record(1), event(1, 10, 1));
    waiting.push(record(1), event(2, 10, 1));
    assert!(
        !only(&mut waiting, 0).fetch,
        "the same content twice is no doubt"
    );

    let mut waiting = Waiting::default();
    waiting.push(record(1), event(1, 10, 1));
    waiting.push(record(1), event(2, 10, 2));
    waiting.push(record(1), event(3, 10, 1));
    waiting.push(record(1), event(4, 9, 1));
    assert!(only(&mut waiting, 0).fetch);

    let mut waiting = Waiting::default();
    waiting.push(record(1), event(1, 10, 1));
    waiting.push(record(1), event(2, 10, 2));
    waiting.push(record(1), event(3, 11, 3));
    let lease = only(&mut waiting, 0);
    assert_eq!((lease.ticket.seq, lease.fetch), (3, false));
}

#[test]
fn a_wish_to_fetch_makes_the_event_beside_it_ask_clerk_in_either_order() {
    let mut waiting = Waiting::default();
    waiting.push(record(1), event(1, 10, 1));
    assert_eq!(waiting.push(record(1), wish(2)).unwrap().lost.seq, 2);
    let lease = only(&mut waiting, 0);
    assert_eq!((lease.ticket.seq, lease.fetch), (1, true));

    let mut waiting = Waiting::default();
    waiting.push(record(1), wish(1));
    assert_eq!(
        waiting.push(record(1), deletion(2, 10)).unwrap().lost.seq,
        1
    );
    let lease = only(&mut waiting, 0);
    assert_eq!((lease.ticket.seq, lease.fetch), (2, true));
}

#[test]
fn what_arrives_for_a_leased_record_waits_for_the_lease_to_end() {
    let mut waiting = Waiting::default();
    waiting.push(record(1), event(1, 10, 1));
    let lease = only(&mut waiting, 0);
    assert_eq!(waiting.push(record(1), event(2, 20, 2)), None);
    assert!(waiting.lease(0, 100).is_empty());
    assert_eq!(waiting.depth(), 2);
    waiting.finish(lease);
    assert_eq!(only(&mut waiting, 0).ticket.seq, 2);
}

#[test]
fn a_retry_waits_its_time_and_what_arrives_meanwhile_neither_skips_nor_prolongs_it() {
    let mut waiting = Waiting::default();
    waiting.push(record(1), event(1, 10, 1));
    let lease = only(&mut waiting, 0);
    assert_eq!(waiting.put_back(lease, 1, false, 1_000), None);
    assert!(!waiting.has_ready(999));
    assert_eq!(waiting.next_due(), Some(1_000));
    assert_eq!(
        waiting.push(record(1), event(2, 20, 2)).unwrap().lost.seq,
        1
    );
    assert!(waiting.lease(999, 100).is_empty());
    let lease = only(&mut waiting, 1_000);
    assert_eq!(
        (lease.ticket.seq, lease.attempts),
        (2, 0),
        "new content starts anew"
    );
}

#[test]
fn a_retry_that_was_overtaken_while_leased_is_superseded() {
    let mut waiting = Waiting::default();
    waiting.push(record(1), event(1, 10, 1));
    let lease = only(&mut waiting, 0);
    waiting.push(record(1), event(2, 20, 2));
    assert_eq!(waiting.put_back(lease, 1, false, 50).unwrap().lost.seq, 1);
    assert_eq!(only(&mut waiting, 50).ticket.seq, 2);
}

#[test]
fn a_record_that_failed_before_is_leased_alone() {
    let mut waiting = Waiting::default();
    for n in 1..=3 {
        waiting.push(record(n), event(u64::from(n), 10, 1));
    }
    let mut leases = waiting.lease(0, 100);
    assert_eq!(leases.len(), 3);
    let last = leases.pop().unwrap();
    leases.into_iter().for_each(|lease| waiting.finish(lease));
    waiting.put_back(last, 1, false, 5);
    waiting.push(record(7), event(7, 10, 1));
    assert_eq!(waiting.lease(10, 100).len(), 1);
    assert_eq!(waiting.lease(10, 100).len(), 1);
}

#[derive(Clone, Debug)]
enum Step {
    Push {
        record: u32,
        version: i64,
        fingerprint: u64,
        deleted: bool,
        wish: bool,
    },
    Lease {
        max: usize,
    },
    Finish,
    PutBack {
        fetch: bool,
        wait: i64,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let push = (
        0..6u32,
        0..5i64,
        0..3u64,
        prop::bool::weighted(0.15),
        prop::bool::weighted(0.1),
    )
        .prop_map(|(record, version, fingerprint, deleted, wish)| Step::Push {
            record,
            version,
            fingerprint,
            deleted,
            wish,
        });
    let step = prop_oneof![
        5 => push,
        3 => (1..4usize).prop_map(|max| Step::Lease { max }),
        2 => Just(Step::Finish),
        1 => (any::<bool>(), 0..20i64).prop_map(|(fetch, wait)| Step::PutBack { fetch, wait }),
    ];
    prop::collection::vec(step, 0..120)
}

proptest! {
    /// No entry is lost or settled twice, no record is leased twice, and the last thing done with a
    /// record is its newest state or a fetch.
    #[test]
    fn every_entry_ends_once_and_the_newest_is_seen_last(steps in steps()) {
        let mut waiting = Waiting::default();
        let mut held: Vec<Lease<()>> = Vec::new();
        let mut ended = BTreeSet::new();
        let mut pushed = BTreeMap::new();
        let mut done: BTreeMap<RecordKey, Vec<Lease<()>>> = BTreeMap::new();
        let mut now = 0;
        let mut seq = 0;
        let mut end = |seq: u64| assert!(ended.insert(seq), "ended twice");
        for step in steps {
            now += 1;
            match step {
                Step::Push { record: n, version, fingerprint, deleted, wish: w } => {
                    seq += 1;
                    let ticket = if w { wish(seq) } else if deleted { deletion(seq, version) } else { event(seq, version, fingerprint) };
                    pushed.insert(seq, (record(n), ticket));
                    if let Some(one) = waiting.push(record(n), ticket) { end(one.lost.seq) }
                }
                Step::Lease { max } => {
                    for lease in waiting.lease(now, max) {
                        prop_assert!(held.iter().all(|other| other.record != lease.record));
                        held.push(lease);
                    }
                }
                Step::Finish => if let Some(lease) = held.pop() {
                    end(lease.ticket.seq);
                    let seen = Lease { record: lease.record.clone(), ..lease };
                    waiting.finish(Lease { record: seen.record.clone(), ..seen });
                    done.entry(seen.record.clone()).or_default().push(seen);
                },
                Step::PutBack { fetch, wait } => if let Some(lease) = held.pop() {
                    let attempts = lease.attempts + 1;
                    let fetch = fetch || lease.fetch;
                    if let Some(one) = waiting.put_back(lease, attempts, fetch, now + wait) { end(one.lost.seq) }
                },
            }
            prop_assert_eq!(waiting.leased(), held.len());
        }
        for lease in held.drain(..) {
            end(lease.ticket.seq);
            done.entry(lease.record.clone()).or_default().push(Lease { record: lease.record.clone(), ..lease });
            waiting.finish(lease);
        }
        loop {
            let leases = waiting.lease(Millis::MAX, 10);
            if leases.is_empty() { break }
            for lease in leases {
                end(lease.ticket.seq);
                done.entry(lease.record.clone()).or_default().push(Lease { record: lease.record.clone(), ..lease });
                waiting.finish(lease);
            }
        }
        prop_assert_eq!(waiting.depth(), 0);
        prop_assert_eq!(ended.len(), pushed.len());
        for (record, leases) in done {
            let newest = pushed.values().filter(|(r, _)| *r == record).filter_map(|(_, t)| t.says).map(|s| s.standing).max();
            let seen = leases.iter().filter_map(|l| l.ticket.says).map(|s| s.standing).max();
            let fetched = leases.iter().any(|l| l.fetch);
            prop_assert!(fetched || seen == newest, "{record}: {seen:?} of {newest:?}");
        }
    }
}

#[test]
fn whoever_waits_for_a_service_need_not_when_it_has_another_key() {
    let mut waiting = Waiting::default();
    for (seq, attempts) in [(1, 0), (2, 1)] {
        waiting.push(record(seq as u32), event(seq, 10, 1));
        let lease = only(&mut waiting, 0);
        waiting.put_back(lease, attempts, false, 60_000);
    }
    assert!(!waiting.has_ready(0));
    waiting.hurry();
    let lease = only(&mut waiting, 0);
    assert_eq!(lease.ticket.seq, 1, "the other wait was earned");
    assert!(waiting.lease(0, 10).is_empty());
    assert_eq!(waiting.next_due(), Some(60_000));
}

#[test]
fn an_event_is_held_until_its_end_and_a_mere_wish_is_none() {
    let mut waiting = Waiting::default();
    waiting.push(record(1), event(1, 10, 1));
    waiting.push(record(2), wish(2));
    assert!(waiting.holds(&record(1)) && !waiting.holds(&record(2)));
    assert!(!waiting.holds(&record(3)));
    for lease in waiting.lease(0, 100) {
        assert!(waiting.holds(&lease.record), "it is being worked on");
        waiting.finish(lease);
    }
    assert!(!waiting.holds(&record(1)));
}
