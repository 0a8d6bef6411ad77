//! The shared rate, with the time given by hand.
//!
//! Endpoints have invented names: nothing here knows Clerk's.

use proptest::prelude::*;

use super::*;

const RATE: Rate = Rate {
    shared: 50,
    instance: 100,
};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// How many of `n` requests may go at this moment; each ends at once.
fn burst(budget: &mut Budget, priority: Priority, n: usize, now: Duration) -> usize {
    (0..n)
        .filter(|_| {
            let go = budget.ask(priority, "GET /a", now) == Answer::Go;
            if go {
                budget.ended("GET /a", End::Answered, now);
            }
            go
        })
        .count()
}

#[test]
fn a_scan_takes_its_share_at_once_and_leaves_the_rest_to_others() {
    let mut budget = Budget::new(Some(RATE));
    assert_eq!(burst(&mut budget, Priority::Scan, 200, ms(0)), 40);
    assert_eq!(burst(&mut budget, Priority::Confirm, 200, ms(1)), 10);
    assert_eq!(burst(&mut budget, Priority::Live, 200, ms(2)), 50);
    assert_eq!(burst(&mut budget, Priority::Live, 1, ms(9_999)), 0);
    // The first forty are forgotten, sixty still count: there is room for live requests only.
    assert_eq!(burst(&mut budget, Priority::Scan, 200, ms(10_000)), 0);
    assert_eq!(burst(&mut budget, Priority::Confirm, 200, ms(10_000)), 0);
    assert_eq!(burst(&mut budget, Priority::Live, 200, ms(10_000)), 40);
    assert_eq!(burst(&mut budget, Priority::Scan, 200, ms(20_000)), 40);
}

#[test]
fn two_thousand_pages_take_no_longer_than_the_windows_they_need() {
    let rate = Rate {
        shared: 1000,
        instance: 1000,
    };
    let mut budget = Budget::new(Some(rate));
    let (mut now, mut left) = (ms(0), 2000);
    while left > 0 {
        match budget.ask(Priority::Scan, "GET /a", now) {
            Answer::Go => {
                left -= 1;
                budget.ended("GET /a", End::Answered, now);
            }
            Answer::Wait(wait) => now += wait.time,
        }
    }
    assert_eq!(now, 2 * WINDOW, "800 at once, 800, 400");
}

#[test]
fn the_wait_that_is_told_is_the_wait_that_is_needed() {
    let mut budget = Budget::new(Some(RATE));
    for n in 0..40 {
        assert_eq!(burst(&mut budget, Priority::Scan, 1, ms(n * 100)), 1);
    }
    let wait = Wait {
        time: ms(5_000),
        penalty: false,
    };
    let answer = budget.ask(Priority::Scan, "GET /a", ms(5_000));
    assert_eq!(answer, Answer::Wait(wait));
    assert_eq!(burst(&mut budget, Priority::Scan, 9, ms(9_999)), 0);
    assert_eq!(burst(&mut budget, Priority::Scan, 9, ms(10_000)), 1);
}

#[test]
fn a_request_counts_until_ten_seconds_after_its_end() {
    let mut budget = Budget::new(Some(Rate {
        shared: 1,
        instance: 1,
    }));
    assert_eq!(budget.ask(Priority::Scan, "GET /a", ms(0)), Answer::Go);
    let Answer::Wait(wait) = budget.ask(Priority::Live, "GET /a", ms(11_000)) else {
        panic!("it may still reach Clerk");
    };
    assert_eq!((wait.time, wait.penalty), (WINDOW, false));
    budget.ended("GET /a", End::Unclear, ms(12_000));
    assert_eq!(burst(&mut budget, Priority::Live, 1, ms(21_999)), 0);
    assert_eq!(burst(&mut budget, Priority::Live, 1, ms(22_000)), 1);
}

#[test]
fn a_scan_yields_to_those_who_wait() {
    let mut budget = Budget::new(Some(RATE));
    assert_eq!(burst(&mut budget, Priority::Confirm, 50, ms(0)), 50);
    for _ in 0..30 {
        budget.queue(Priority::Confirm);
    }
    assert_eq!(burst(&mut budget, Priority::Scan, 50, ms(10_000)), 10);
    for _ in 0..30 {
        assert_eq!(burst(&mut budget, Priority::Confirm, 1, ms(10_000)), 1);
        budget.leave(Priority::Confirm);
    }
    let most = RATE.shared as usize;
    for _ in 0..most {
        budget.queue(Priority::Live);
    }
    let Answer::Wait(wait) = budget.ask(Priority::Scan, "GET /a", ms(40_000)) else {
        panic!("others wait for all of it");
    };
    assert_eq!(wait.time, LOOK_AGAIN);
}

#[test]
fn a_penalty_blocks_its_endpoint_for_everybody_and_no_other() {
    let mut budget = Budget::new(None);
    let live = |budget: &mut Budget, at| budget.ask(Priority::Live, "GET /a", at);
    assert_eq!(live(&mut budget, ms(0)), Answer::Go);
    budget.ended("GET /a", End::Limited(Some(ms(3_000))), ms(100));
    let wait = Wait {
        time: ms(1),
        penalty: true,
    };
    assert_eq!(live(&mut budget, ms(3_099)), Answer::Wait(wait));
    let other = budget.ask(Priority::Scan, "GET /b", ms(3_099));
    assert_eq!(other, Answer::Go);
    assert_eq!(live(&mut budget, ms(3_100)), Answer::Go);
}

#[test]
fn without_a_time_the_penalties_double_until_an_answer() {
    let mut budget = Budget::new(None);
    let mut now = ms(0);
    let mut waits = Vec::new();
    for _ in 0..8 {
        assert_eq!(budget.ask(Priority::Scan, "GET /a", now), Answer::Go);
        // Another one that was under way is refused with it and does not count twice.
        budget.ended("GET /a", End::Limited(Some(ms(0))), now);
        budget.ended("GET /a", End::Limited(None), now);
        let Answer::Wait(wait) = budget.ask(Priority::Scan, "GET /a", now) else {
            panic!("it is blocked");
        };
        waits.push(wait.time.as_millis());
        now += wait.time;
    }
    assert_eq!(
        waits,
        [500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000, 10_000]
    );
    assert_eq!(budget.ask(Priority::Scan, "GET /a", now), Answer::Go);
    assert!(budget.ended("GET /a", End::Answered, now));
    budget.ended("GET /a", End::Limited(None), now);
    let Answer::Wait(wait) = budget.ask(Priority::Live, "GET /a", now) else {
        panic!("it is blocked");
    };
    assert_eq!(wait.time, FIRST_PENALTY);
}

#[test]
fn after_a_penalty_one_request_tries_before_the_others_go() {
    let mut budget = Budget::new(None);
    let scan = |budget: &mut Budget, at| budget.ask(Priority::Scan, "GET /a", at) == Answer::Go;
    budget.ended("GET /a", End::Limited(Some(ms(1_000))), ms(0));
    assert!(scan(&mut budget, ms(1_000)));
    assert!(!scan(&mut budget, ms(1_001)), "one is trying");
    assert!(budget.ended("GET /a", End::Unclear, ms(1_002)));
    assert!(scan(&mut budget, ms(1_003)), "it came to nothing");
    assert!(budget.ended("GET /a", End::Answered, ms(1_010)));
    assert!((0..20).all(|_| scan(&mut budget, ms(1_011))));
    assert!(!budget.ended("GET /a", End::Answered, ms(1_012)));
}

#[test]
fn an_answer_to_an_earlier_request_does_not_end_a_penalty() {
    let mut budget = Budget::new(None);
    budget.ended("GET /a", End::Limited(Some(ms(1_000))), ms(0));
    assert!(!budget.ended("GET /a", End::Answered, ms(500)));
    let answer = budget.ask(Priority::Live, "GET /a", ms(501));
    assert!(matches!(answer, Answer::Wait(_)));
}

#[test]
fn another_rate_forgets_neither_what_was_used_nor_what_is_blocked() {
    let mut budget = Budget::new(Some(RATE));
    assert_eq!(burst(&mut budget, Priority::Scan, 99, ms(0)), 40);
    budget.ended("GET /b", End::Limited(Some(ms(5_000))), ms(0));
    budget.set_rate(Some(Rate {
        shared: 100,
        instance: 1_000,
    }));
    let blocked = budget.ask(Priority::Live, "GET /b", ms(1));
    assert!(matches!(blocked, Answer::Wait(Wait { penalty: true, .. })));
    assert_eq!(burst(&mut budget, Priority::Scan, 99, ms(1)), 80 - 41);
}

#[test]
fn the_smallest_rates_still_let_everybody_through() {
    for shared in 0..4 {
        let rate = Rate {
            shared,
            instance: 0,
        };
        let mut budget = Budget::new(Some(rate));
        assert!(
            burst(&mut budget, Priority::Scan, 9, ms(0)) >= 1,
            "{shared}"
        );
        assert!(
            burst(&mut budget, Priority::Live, 9, ms(10_000)) >= 1,
            "{shared}"
        );
    }
}

/// One request as a far end would see it.
#[derive(Debug)]
struct Arrival {
    at: Duration,
    priority: Priority,
}

const ENDPOINTS: [&str; 3] = ["GET /a", "GET /b", "GET /c"];

proptest! {
    /// Whatever is asked, whenever, however long it takes and however it ends: the far end never counts
    /// more than the rate within ten seconds and is never asked inside a penalty that we know of.
    #[test]
    fn no_window_and_no_penalty_is_ever_broken(
        shared in 1_u32..30,
        beyond in 0_u32..20,
        steps in prop::collection::vec(
            (0_u64..900, 0_usize..3, 0_usize..3, 0_u64..2_000, 0_u64..=100, 0_u64..12, 0_u64..4_000),
            1..300,
        ),
    ) {
        let rate = Rate { shared, instance: shared + beyond };
        let mut budget = Budget::new(Some(rate));
        let mut now = Duration::ZERO;
        // (ends, endpoint, how), by the time of its end.
        let mut under_way: Vec<(Duration, &'static str, End)> = Vec::new();
        let mut blocked: HashMap<&'static str, Duration> = HashMap::new();
        let mut arrivals: Vec<Arrival> = Vec::new();
        for (pause, who, which, takes, share, how, penalty) in steps {
            now += ms(pause);
            under_way.sort_by_key(|(ends, ..)| *ends);
            while under_way.first().is_some_and(|(ends, ..)| *ends <= now) {
                let (ends, endpoint, end) = under_way.remove(0);
                if let End::Limited(Some(asked)) = end {
                    let until = blocked.entry(endpoint).or_default();
                    *until = (*until).max(ends + asked);
                }
                budget.ended(endpoint, end, ends);
            }
            let priority = [Priority::Scan, Priority::Confirm, Priority::Live][who];
            let endpoint = ENDPOINTS[which];
            if budget.ask(priority, endpoint, now) != Answer::Go {
                continue;
            }
            prop_assert!(blocked.get(endpoint).is_none_or(|until| *until <= now));
            let ends = now + ms(takes);
            // It reaches the far end at any moment between its start and its end.
            arrivals.push(Arrival { at: now + ms(takes * share / 100), priority });
            let end = match how {
                0 => End::Limited(Some(ms(penalty + 1))),
                1 => End::Limited(None),
                2 => End::Unclear,
                _ => End::Answered,
            };
            under_way.push((ends, endpoint, end));
        }
        arrivals.sort_by_key(|arrival| arrival.at);
        for (index, first) in arrivals.iter().enumerate() {
            let window: Vec<&Arrival> = arrivals[index..]
                .iter()
                .take_while(|arrival| arrival.at < first.at + WINDOW)
                .collect();
            let up_to = |most: Priority| window.iter().filter(|a| a.priority <= most).count();
            for priority in [Priority::Scan, Priority::Confirm, Priority::Live] {
                prop_assert!(up_to(priority) <= rate.of(priority) as usize);
            }
        }
    }
}
