//! The join against a naive one over random tables, and the ways in which a stream can be wrong.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::*;

/// Random pairs of tables in the seeded loop.
const PAIRS: u32 = 2_000_000;

#[derive(Clone, Debug, PartialEq, Eq)]
struct User {
    at: i64,
    key: Key,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Held {
    at: Option<i64>,
    key: Key,
    id: u32,
}

impl Listed for User {
    fn created_at(&self) -> i64 {
        self.at
    }

    fn key(&self) -> &Key {
        &self.key
    }
}

impl Stored for Held {
    fn created_at(&self) -> Option<i64> {
        self.at
    }

    fn key(&self) -> &Key {
        &self.key
    }
}

type Found = Finding<User, Held>;

fn key(n: u32) -> Key {
    Key::parse(&format!("user_{n:05}")).unwrap()
}

fn user(at: i64, n: u32) -> User {
    User { at, key: key(n) }
}

fn held(at: Option<i64>, n: u32) -> Held {
    let (key, id) = (key(n), 0);
    Held { at, key, id }
}

/// Runs a join to its end. `cut` says how long the next page is.
fn join(
    max_tie: usize,
    left: &[User],
    right: &[Held],
    mut cut: impl FnMut() -> usize,
) -> Result<Vec<Found>, OutOfOrder> {
    let mut merge = Merge::with_tie(max_tie);
    let (mut left, mut right) = (left, right);
    let mut found = Vec::new();
    let mut settled = None;
    loop {
        match merge.step()? {
            Step::Found(finding) => {
                let late = matches!(finding, Finding::Late(_));
                let at = place(&finding).0;
                assert!(late || at >= settled, "{finding:?} below what was settled");
                found.push(finding);
            }
            Step::Done => {
                assert_eq!(merge.settled(), Some(i64::MAX));
                return Ok(found);
            }
            Step::Need(need) => {
                if need != Need::Right {
                    match next_page(&mut left, cut()) {
                        Some(page) => merge.feed_left(page),
                        None => merge.end_left(),
                    }
                }
                if need != Need::Left {
                    match next_page(&mut right, cut()) {
                        Some(page) => merge.feed_right(page),
                        None => merge.end_right(),
                    }
                }
            }
        }
        assert!(merge.settled() >= settled, "settled went back");
        settled = merge.settled();
    }
}

fn next_page<T: Clone>(rest: &mut &[T], length: usize) -> Option<Vec<T>> {
    if rest.is_empty() {
        return None;
    }
    let (page, after) = rest.split_at(length.min(rest.len()));
    *rest = after;
    Some(page.to_vec())
}

fn place(finding: &Found) -> (Option<i64>, &Key) {
    match finding {
        Finding::Both(user, _)
        | Finding::OnlyLeft(user)
        | Finding::Repeated(user)
        | Finding::Late(user) => (Some(user.at), &user.key),
        Finding::OnlyRight(row) | Finding::Again(row) => (row.at, &row.key),
    }
}

/// What a join of whole tables finds.
fn naive(left: &[User], right: &[Held]) -> Vec<Found> {
    let mut places = BTreeMap::<_, (Vec<User>, Vec<Held>)>::new();
    for user in left {
        let place = places.entry((Some(user.at), user.key.clone())).or_default();
        place.0.push(user.clone());
    }
    for row in right {
        let place = places.entry((row.at, row.key.clone())).or_default();
        place.1.push(row.clone());
    }
    let mut found = Vec::new();
    for (users, rows) in places.into_values() {
        let (mut users, mut rows) = (users.into_iter(), rows.into_iter());
        found.extend(match (users.next(), rows.next()) {
            (Some(user), Some(row)) => Some(Finding::Both(user, row)),
            (Some(user), None) => Some(Finding::OnlyLeft(user)),
            (None, Some(row)) => Some(Finding::OnlyRight(row)),
            (None, None) => None,
        });
        found.extend(rows.map(Finding::Again));
        found.extend(users.map(Finding::Repeated));
    }
    found
}

/// The same findings in one order: duplicates and repetitions of one place may come in any.
fn in_order(mut found: Vec<Found>) -> Vec<Found> {
    let rank = |finding: &Found| match finding {
        Finding::Again(row) => row.id + 2,
        Finding::Repeated(_) => 1,
        _ => 0,
    };
    found.sort_by(|a, b| (place(a), rank(a)).cmp(&(place(b), rank(b))));
    found
}

/// Both sides of a small world: ties, rows without `createdAt`, duplicates, a repeated record now and then,
/// a tie of Clerk's in any order.
fn tables(random: &mut StdRng) -> (Vec<User>, Vec<Held>) {
    let (moments, keys) = (random.random_range(1..6), random.random_range(1..12));
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for n in 0..keys {
        let at = random.random_range(0..moments);
        if random.random_bool(0.8) {
            left.push((at, random.random::<u32>(), user(at, n)));
            if random.random_bool(0.03) {
                left.push((at, random.random::<u32>(), user(at, n)));
            }
        }
        if random.random_bool(0.8) {
            let at = match random.random_range(0..8) {
                0 => None,
                1 => Some(random.random_range(0..moments)),
                _ => Some(at),
            };
            let rows = if random.random_bool(0.1) { 3 } else { 1 };
            right.extend((0..rows).map(|id| Held { id, ..held(at, n) }));
        }
    }
    left.sort_by_key(|(at, luck, _)| (*at, *luck));
    right.sort_by(|a, b| (a.at, &a.key, a.id).cmp(&(b.at, &b.key, b.id)));
    (left.into_iter().map(|(_, _, user)| user).collect(), right)
}

#[test]
fn the_join_finds_what_a_naive_one_finds_for_any_tables_and_pages() {
    let mut random = StdRng::seed_from_u64(0x5eed);
    for pair in 0..PAIRS {
        let (left, right) = tables(&mut random);
        let longest = random.random_range(1..8);
        let found = join(MAX_TIE, &left, &right, || random.random_range(0..=longest));
        let found = in_order(found.unwrap());
        let expected = in_order(naive(&left, &right));
        assert_eq!(found, expected, "pair {pair}: {left:?} {right:?}");
    }
}

/// The records and rows that went in, each once.
fn all_of(found: Vec<Found>) -> (Vec<User>, Vec<Held>) {
    let (mut users, mut rows) = (Vec::new(), Vec::new());
    for finding in found {
        match finding {
            Finding::Both(user, row) => {
                users.push(user);
                rows.push(row);
            }
            Finding::OnlyLeft(user) | Finding::Repeated(user) | Finding::Late(user) => {
                users.push(user)
            }
            Finding::OnlyRight(row) | Finding::Again(row) => rows.push(row),
        }
    }
    (users, rows)
}

fn sorted((mut users, mut rows): (Vec<User>, Vec<Held>)) -> (Vec<User>, Vec<Held>) {
    users.sort_by(|a, b| (a.at, &a.key).cmp(&(b.at, &b.key)));
    rows.sort_by(|a, b| (a.at, &a.key, a.id).cmp(&(b.at, &b.key, b.id)));
    (users, rows)
}

#[test]
fn a_tie_beyond_the_bound_loses_nothing_and_matches_only_equals() {
    let mut random = StdRng::seed_from_u64(7);
    for _ in 0..PAIRS / 100 {
        let (left, right) = tables(&mut random);
        let max_tie = random.random_range(2..5);
        let found = join(max_tie, &left, &right, || random.random_range(1..6)).unwrap();
        for finding in &found {
            if let Finding::Both(user, row) = finding {
                assert_eq!((Some(user.at), &user.key), (row.at, &row.key));
            }
        }
        assert_eq!(sorted(all_of(found)), sorted((left, right)));
    }
}

#[test]
fn a_tie_beyond_the_bound_is_exact_when_it_is_nearly_in_order() {
    let rows: Vec<_> = (0..1000).map(|n| held(Some(5), n)).collect();
    let mut users: Vec<_> = (0..1000).map(|n| user(5, n)).collect();
    // Each stands up to 15 places from where it belongs.
    users.chunks_mut(16).for_each(<[User]>::reverse);
    for cut in [1, 7, 100, 5000] {
        let found = join(64, &users, &rows, || cut).unwrap();
        assert!(found.iter().all(|f| matches!(f, Finding::Both(..))));
        assert_eq!(found.len(), 1000);
    }
}

#[test]
fn rows_without_created_at_come_first_and_need_nothing_of_clerks() {
    let mut merge = Merge::<User, Held>::new();
    assert_eq!(merge.step(), Ok(Step::Need(Need::Both)));
    merge.feed_right(vec![
        held(None, 1),
        held(None, 1),
        held(None, 2),
        held(Some(3), 1),
    ]);
    let only = |n| Ok(Step::Found(Finding::OnlyRight(held(None, n))));
    assert_eq!(merge.step(), only(1));
    assert_eq!(merge.step(), Ok(Step::Found(Finding::Again(held(None, 1)))));
    assert_eq!(merge.settled(), None);
    assert_eq!(merge.step(), only(2));
    assert_eq!(merge.step(), Ok(Step::Need(Need::Left)));
    merge.feed_left(vec![user(3, 1)]);
    // Another record of the same millisecond may follow.
    assert_eq!(merge.step(), Ok(Step::Need(Need::Left)));
    assert_eq!(merge.settled(), Some(3));
    merge.end_left();
    let both = Finding::Both(user(3, 1), held(Some(3), 1));
    assert_eq!(merge.step(), Ok(Step::Found(both)));
    assert_eq!(merge.step(), Ok(Step::Need(Need::Right)));
    merge.end_right();
    assert_eq!(merge.step(), Ok(Step::Done));
    assert_eq!(merge.step(), Ok(Step::Done));
}

#[test]
fn a_record_whose_created_at_moved_while_it_was_listed_is_not_taken_for_a_repetition() {
    let users = [user(1, 1), user(2, 1), user(2, 1)];
    let found = join(MAX_TIE, &users, &[held(Some(2), 1)], || 1).unwrap();
    let both = Finding::Both(user(2, 1), held(Some(2), 1));
    let expected = [
        Finding::OnlyLeft(user(1, 1)),
        both,
        Finding::Repeated(user(2, 1)),
    ];
    assert_eq!(found, expected);
}

#[test]
fn rows_that_go_back_end_the_join_for_good() {
    let ends = |rows: &[Held], n| {
        for cut in 1..4 {
            let users = [user(1, 1), user(2, 2), user(3, 3)];
            let broken = join(MAX_TIE, &users, rows, || cut).unwrap_err();
            assert_eq!(broken, OutOfOrder { key: key(n) });
        }
    };
    ends(&[held(Some(1), 1), held(Some(1), 3), held(Some(1), 2)], 2);
    ends(&[held(Some(2), 2), held(Some(1), 1)], 1);
    ends(&[held(None, 1), held(Some(1), 1), held(None, 2)], 2);

    let mut merge = Merge::<User, Held>::new();
    merge.feed_right(vec![held(None, 2), held(None, 1), held(None, 3)]);
    let first = merge.step();
    assert!(matches!(first, Ok(Step::Found(Finding::OnlyRight(_)))));
    let broken = merge.step().unwrap_err();
    merge.end_left();
    merge.end_right();
    assert_eq!(merge.step(), Err(broken));
}

#[test]
fn records_that_come_too_late_are_said_to_be_late_and_disturb_nothing_else() {
    let mut random = StdRng::seed_from_u64(11);
    for pair in 0..PAIRS / 10 {
        let (left, right) = tables(&mut random);
        // Swaps any two: the record that moves forward makes all that it overtakes late.
        let mut moved = left.clone();
        if moved.len() > 1 {
            let (one, other) = (
                random.random_range(0..left.len()),
                random.random_range(0..left.len()),
            );
            moved.swap(one, other);
        }
        let mut newest = i64::MIN;
        let (late, in_time): (Vec<User>, Vec<User>) = moved.iter().cloned().partition(|user| {
            newest = newest.max(user.at);
            user.at < newest
        });
        let found = join(MAX_TIE, &moved, &right, || random.random_range(0..5)).unwrap();
        let (said, rest): (Vec<Found>, Vec<Found>) = found
            .into_iter()
            .partition(|finding| matches!(finding, Finding::Late(_)));
        assert_eq!(
            said,
            late.into_iter().map(Finding::Late).collect::<Vec<_>>(),
            "pair {pair}"
        );
        assert_eq!(
            in_order(rest),
            in_order(naive(&in_time, &right)),
            "pair {pair}"
        );
    }
}

/// Writes what a join found, as `apply` would: `createdAt` and all rows of a key follow Clerk.
fn repair(found: Vec<Found>, left: &[User], right: &[Held]) -> Vec<Held> {
    let wanted: BTreeMap<&Key, &User> = left.iter().map(|user| (&user.key, user)).collect();
    let mut rows = right.to_vec();
    for finding in found {
        match finding {
            Finding::Both(..) | Finding::Repeated(_) | Finding::Late(_) => {}
            Finding::OnlyLeft(user) => match rows.iter_mut().find(|row| row.key == user.key) {
                Some(row) => row.at = Some(user.at),
                None => rows.push(Held {
                    key: user.key,
                    ..held(Some(user.at), 0)
                }),
            },
            // Looked up by id: it is deleted only if Clerk does not know it.
            Finding::OnlyRight(row) => match wanted.get(&row.key) {
                None => rows.retain(|other| other.key != row.key),
                Some(user) => {
                    let same = rows.iter_mut().filter(|other| other.key == row.key);
                    same.for_each(|row| row.at = Some(user.at));
                }
            },
            Finding::Again(row) => rows.retain(|other| other.key != row.key || other.id == 0),
        }
    }
    rows.sort_by(|a, b| (a.at, &a.key, a.id).cmp(&(b.at, &b.key, b.id)));
    rows
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn after_a_repair_there_is_nothing_to_find(seed in any::<u64>(), max_tie in 2_usize..20, cut in 1_usize..9) {
        let mut random = StdRng::seed_from_u64(seed);
        let (mut left, right) = tables(&mut random);
        left.dedup();
        left.sort_by(|a, b| (a.at, &a.key).cmp(&(b.at, &b.key)));
        left.dedup();
        let found = join(max_tie, &left, &right, || cut).unwrap();
        let rows = repair(found, &left, &right);
        let again = join(MAX_TIE, &left, &rows, || cut).unwrap();
        prop_assert!(again.iter().all(|finding| matches!(finding, Finding::Both(..))), "{again:?}");
        prop_assert_eq!(again.len(), left.len());
    }
}
