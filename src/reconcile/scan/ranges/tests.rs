//! Counting, moving, bisecting and keeping, against users that are simply held in a list.

use proptest::prelude::*;

use super::*;

fn build(cap: usize, users: &[i64]) -> Builder {
    let mut builder = Builder::new(cap);
    for at in users {
        builder.add(*at).unwrap();
    }
    builder
}

/// How many of these users lie in each range of the belief.
fn spread(belief: &Belief, users: &[i64]) -> Vec<u64> {
    let inside = |from: Option<i64>, before: Option<i64>| {
        let inside = |at: &&i64| {
            from.is_none_or(|from| **at >= from) && before.is_none_or(|before| **at < before)
        };
        users.iter().filter(inside).count() as u64
    };
    belief
        .ranges()
        .map(|(from, before, _)| inside(from, before))
        .collect()
}

/// Asks all questions. Clerk counts these users, with `created_at_before` inclusive or not.
fn census(
    belief: &Belief,
    users: &[i64],
    inclusive: bool,
    max_questions: u32,
) -> (Vec<Differing>, u32) {
    let mut bisect = Bisect::new(belief, users.len() as u64, max_questions);
    while let Some(before) = bisect.ask() {
        let counted = users
            .iter()
            .filter(|at| **at < before || (inclusive && **at == before));
        bisect.answer(counted.count() as u64);
    }
    let questions = bisect.questions();
    (bisect.finish(), questions)
}

fn assert_sound(belief: &Belief, cap: usize) {
    assert!(belief.len() <= cap, "{} ranges", belief.len());
    assert_eq!(belief.bounds.len() + 1, belief.counts.len());
    assert!(belief.bounds.is_sorted_by(|one, next| one < next));
}

#[test]
fn few_users_have_a_range_each_and_many_share() {
    let users: Vec<i64> = (0..10).map(|n| n * 100).collect();
    let belief = build(MAX_RANGES, &users).finish();
    assert_eq!(belief.counts, [1; 10]);
    assert_eq!(belief.bounds, [50, 150, 250, 350, 450, 550, 650, 750, 850]);
    let users: Vec<i64> = (0..100_000).map(|n| n * 100).collect();
    let belief = build(64, &users).finish();
    assert_sound(&belief, 64);
    assert!(belief.len() > 32);
    assert_eq!(belief.total(), 100_000);
    assert!(belief.counts.iter().max() <= Some(&4096));
}

#[test]
fn no_bound_lies_where_there_is_no_room_for_it() {
    let belief = build(MAX_RANGES, &[5, 5, 6, 7, 9, i64::MAX]).finish();
    assert_eq!(belief.counts[..2], [4, 1]);
    assert_eq!(belief.bounds[0], 8);
    assert_eq!(build(MAX_RANGES, &[i64::MIN, i64::MAX]).finish().len(), 2);
    assert_eq!(Builder::new(8).add(3), Ok(()));
    assert_eq!(build(8, &[3, 4]).add(3), Err(NotAscending));
    assert_eq!(build(8, &[3]).join(build(8, &[2])), Err(NotAscending));
}

#[test]
fn the_newest_range_is_split_as_it_grows() {
    let mut belief = Belief::default();
    let users: Vec<i64> = (0..20_000).map(|n| n * 10).collect();
    users.iter().for_each(|at| belief.created(*at));
    assert_sound(&belief, MAX_RANGES);
    assert!(belief.len() > MAX_RANGES / 2, "{}", belief.len());
    assert_eq!(spread(&belief, &users), belief.counts);
    assert_eq!((belief.total(), belief.is_empty()), (20_000, false));
}

#[test]
fn deletions_that_have_no_place_are_given_one_by_a_census() {
    let mut users = vec![10, 20, 30, 40];
    let mut belief = build(MAX_RANGES, &users).finish();
    belief.deleted(None);
    users.remove(1);
    assert_eq!((belief.total(), belief.unplaced()), (3, -1));
    assert!(census(&belief, &users, false, 99).0.is_empty());
    users.remove(2);
    let (found, _) = census(&belief, &users, false, 99);
    for differing in found {
        let (from, before) = (differing.from, differing.before);
        assert_eq!((differing.believed, differing.counted), (1, 0));
        assert!(belief.recount(from, before, differing.counted));
    }
    assert_eq!((belief.total(), belief.unplaced()), (2, 0));
    assert_eq!(belief.counts, spread(&belief, &users));
    belief.deleted(Some(20));
    assert_eq!((belief.total(), belief.unplaced()), (1, -1));
    // A user too many in another range explains no deletion.
    assert!(belief.recount(Some(35), None, belief.counts[3] + 1));
    assert_eq!((belief.total(), belief.unplaced()), (2, -1));
    assert!(!belief.recount(Some(7), None, 5));
    assert!(!belief.recount(Some(25), Some(15), 5));
}

#[test]
fn three_differences_in_a_million_users_cost_few_questions() {
    let users: Vec<i64> = (0..1_000_000).map(|n| n * 1000).collect();
    let belief = build(MAX_RANGES, &users).finish();
    assert_sound(&belief, MAX_RANGES);
    let gone = [7_000, 500_000_000, 999_999_000];
    let now: Vec<i64> = users.into_iter().filter(|at| !gone.contains(at)).collect();
    let mut bisect = Bisect::new(&belief, now.len() as u64, 1000);
    while let Some(before) = bisect.ask() {
        bisect.answer(now.partition_point(|at| *at < before) as u64);
    }
    assert!(
        bisect.questions() <= 3 * 12,
        "{} questions",
        bisect.questions()
    );
    let found = bisect.finish();
    assert_eq!(found.len(), 3);
    for (differing, gone) in found.iter().zip(gone) {
        assert!(differing.from.is_none_or(|from| from < gone));
        assert!(differing.before.is_none_or(|before| gone < before));
        assert_eq!(differing.believed, differing.counted + 1);
    }
}

#[test]
fn when_questions_run_out_the_pieces_are_larger_and_none_is_lost() {
    let users: Vec<i64> = (0..64).map(|n| n * 10).collect();
    let belief = build(MAX_RANGES, &users).finish();
    for max_questions in 0..12 {
        let now: Vec<i64> = users
            .iter()
            .copied()
            .filter(|at| ![0, 330, 630].contains(at))
            .collect();
        let (found, questions) = census(&belief, &now, false, max_questions);
        assert!(questions <= max_questions);
        let missing: u64 = found.iter().map(|d| d.believed - d.counted).sum();
        assert_eq!(missing, 3, "{found:?}");
        let mut mended = belief.clone();
        for differing in found {
            assert!(mended.recount(differing.from, differing.before, differing.counted));
        }
        assert_sound(&mended, MAX_RANGES);
        assert_eq!(mended.counts, spread(&mended, &now));
    }
}

#[test]
fn cells_of_different_writes_are_not_put_together() {
    let users: Vec<i64> = (0..4000)
        .map(|n| 1_700_000_000_000 + n * 1_234_567)
        .collect();
    let belief = build(MAX_RANGES, &users).finish();
    let cells = belief.to_cells();
    assert!((2..=8).contains(&cells.len()), "{} cells", cells.len());
    assert!(cells.iter().all(|cell| cell.len() <= MAX_CELL_BYTES));
    let mut later = belief.clone();
    later.created(1_700_000_000_001);
    let mut mixed = later.to_cells();
    mixed[1].clone_from(&cells[1]);
    assert_eq!(Belief::from_cells(&mixed), Err(CellError::Incomplete));
    assert_eq!(Belief::from_cells(&cells[1..]), Err(CellError::Incomplete));
    assert_eq!(Belief::from_cells(&cells[..1]), Err(CellError::Incomplete));
    assert_eq!(
        Belief::from_cells::<Vec<u8>>(&[]),
        Err(CellError::Incomplete)
    );
    assert_eq!(Builder::from_cells(&cells), Err(CellError::Damaged));
    let mut newer = cells.clone();
    newer[0][0] = 2;
    assert_eq!(Belief::from_cells(&newer), Err(CellError::Newer));
    for at in 0..cells[0].len() {
        let mut damaged = cells.clone();
        damaged[0][at] ^= 1;
        assert!(Belief::from_cells(&damaged).is_err(), "byte {at}");
    }
}

#[test]
fn the_largest_belief_fits_into_its_cells() {
    let bounds: Vec<i64> = (0..MAX_RANGES as i64 - 1)
        .map(|n| i64::MIN + n * (i64::MAX / MAX_RANGES as i64))
        .collect();
    let belief = Belief {
        bounds,
        counts: vec![u64::MAX >> 13; MAX_RANGES],
        unplaced: i64::MIN,
        width: u64::MAX,
        newest: Some(i64::MIN),
    };
    let cells = belief.to_cells();
    assert!(cells.len() <= 32, "{} cells", cells.len());
    assert_eq!(Belief::from_cells(&cells), Ok(belief));
}

/// Users by `created_at`, crowded enough for ties and neighbours.
fn users() -> impl Strategy<Value = Vec<i64>> {
    proptest::collection::vec(0_i64..400, 0..200).prop_map(|mut users| {
        users.sort_unstable();
        users
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn ranges_hold_the_users_that_lie_in_them(users in users(), cap in 4_usize..40) {
        let belief = build(cap, &users).finish();
        assert_sound(&belief, cap);
        prop_assert_eq!(spread(&belief, &users), belief.counts.clone());
        prop_assert!(belief.bounds.iter().all(|bound| !users.contains(bound)));
    }

    #[test]
    fn parts_that_are_joined_count_as_the_whole(users in users(), cuts in proptest::collection::vec(0_usize..200, 0..5), cap in 4_usize..40) {
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(users.len())).collect();
        cuts.sort_unstable();
        let mut joined = Builder::new(cap);
        let mut begin = 0;
        for end in cuts.into_iter().chain([users.len()]) {
            let part = build(8, &users[begin..end]);
            joined.join(Builder::from_cells(&part.to_cells()).unwrap()).unwrap();
            begin = end;
        }
        prop_assert_eq!(joined.total(), users.len() as u64);
        let belief = joined.finish();
        assert_sound(&belief, cap);
        prop_assert_eq!(spread(&belief, &users), belief.counts.clone());
        prop_assert!(belief.bounds.iter().all(|bound| !users.contains(bound)));
    }

    #[test]
    fn a_belief_that_hears_of_everything_stays_true(
        start in users(), happened in proptest::collection::vec((any::<bool>(), 0_i64..600), 0..200),
    ) {
        let mut belief = build(MAX_RANGES, &start).finish();
        let mut users = start;
        for (created, at) in happened {
            if created || users.is_empty() {
                users.push(at);
                belief.created(at);
            } else {
                let gone = users.swap_remove(at as usize % users.len());
                belief.deleted(Some(gone));
            }
        }
        assert_sound(&belief, MAX_RANGES);
        prop_assert_eq!(spread(&belief, &users), belief.counts.clone());
        prop_assert_eq!(belief.total(), users.len() as u64);
        prop_assert_eq!(Belief::from_cells(&belief.to_cells()), Ok(belief));
    }

    // Errors of one sign cannot cancel each other out.
    #[test]
    fn a_census_finds_exactly_the_ranges_that_differ(
        all in users(), gone in proptest::collection::vec(any::<prop::sample::Index>(), 0..6), cap in 4_usize..60,
        swapped in any::<bool>(), inclusive in any::<bool>(),
    ) {
        let mut some = all.clone();
        for index in gone {
            if !some.is_empty() {
                some.remove(index.index(some.len()));
            }
        }
        let (before, now) = if swapped { (some, all) } else { (all, some) };
        let belief = build(cap, &before).finish();
        // Users that the daemon has not heard of may lie on a bound; the answers then depend on Clerk.
        let safe = !inclusive || belief.bounds.iter().all(|bound| !now.contains(bound));
        let (found, questions) = census(&belief, &now, inclusive, u32::MAX);
        let real = spread(&belief, &now);
        let differing: Vec<_> = belief
            .ranges()
            .zip(&real)
            .filter(|((_, _, believed), real)| believed != *real)
            .map(|((from, before, believed), real)| Differing { from, before, believed, counted: *real })
            .collect();
        let depth = belief.len().next_power_of_two().ilog2();
        if safe {
            prop_assert!(questions <= differing.len() as u32 * depth);
            prop_assert_eq!(&found, &differing);
        }
        let mut mended = belief.clone();
        for differing in &differing {
            prop_assert!(mended.recount(differing.from, differing.before, differing.counted));
        }
        prop_assert_eq!(mended.total(), now.len() as u64);
        prop_assert!(census(&mended, &now, inclusive, u32::MAX).0.is_empty());
    }
}
