//! Of when missed deliveries are told: what is a trickle, and what a silence.
//!
//! Times are made up; nothing here waits.

use super::*;

fn counted(total: u64, last_ms: Option<i64>) -> Option<Deliveries> {
    Some(Deliveries {
        total,
        last_ms,
        since_ms: 0,
    })
}

#[test]
fn a_few_missed_deliveries_among_many_are_a_trickle() {
    let mut trickle = Trickle::default();
    for (minute, missed) in [(0, 2), (1, 0), (2, 3), (3, 5)] {
        let total = minute as u64 * 10_000;
        let concern = trickle.swept(
            minute * 60_000,
            &vec![0; missed],
            &[],
            counted(total, Some(0)),
        );
        assert_eq!(concern.missed, None, "{minute}");
    }
    let many = trickle.swept(240_000, &[0], &[], counted(40_000, Some(0)));
    let words = many.missed.expect("eleven are more than a trickle");
    assert!(
        words.contains("11 change(s)") && words.contains("40000"),
        "{words}"
    );
    let over = trickle.swept(240_000 + WINDOW_MS, &[], &[], counted(50_000, Some(0)));
    assert_eq!(over.missed, None, "ten minutes later it is over");
}

#[test]
fn what_was_missed_by_a_clock_that_is_put_back_does_not_count_for_ever() {
    let mut trickle = Trickle::default();
    let day = 24 * 60 * 60_000;
    let many = trickle.swept(day, &[0; 11], &[], counted(0, Some(0)));
    assert!(many.missed.is_some());
    let over = trickle.swept(60_000, &[], &[], counted(0, Some(0)));
    assert_eq!(over.missed, None);
}

#[test]
fn more_than_one_in_a_hundred_is_more_than_a_trickle() {
    for (arrived, alarming) in [(299, true), (300, false)] {
        let mut trickle = Trickle::default();
        trickle.swept(0, &[], &[], counted(1_000, Some(0)));
        let concern = trickle.swept(
            30_000,
            &[1, 2, 3],
            &[],
            counted(1_000 + arrived, Some(30_000)),
        );
        assert_eq!(concern.missed.is_some(), alarming, "{arrived}");
    }
    let mut trickle = Trickle::default();
    let two = trickle.swept(0, &[1, 2], &[], counted(0, Some(0)));
    assert_eq!(two.missed, None, "two may happen to anybody");
    let unknown = Trickle::default().swept(0, &[1; 10], &[], None);
    assert_eq!(
        unknown.missed, None,
        "without a count of deliveries there is no share"
    );
}

#[test]
fn changes_without_any_delivery_are_a_silence_once_they_go_on() {
    let mut trickle = Trickle::default();
    let heard = counted(7, Some(1_000));
    assert_eq!(
        trickle.swept(10_000, &[5_000, 6_000], &[], heard).silent,
        None
    );
    assert_eq!(trickle.swept(40_000, &[30_000], &[], heard).silent, None);
    let words = trickle
        .swept(70_000, &[60_000], &[], heard)
        .silent
        .expect("a silence");
    assert!(
        words.contains("4 change(s)") && words.contains("for 69 s"),
        "{words}"
    );
    assert!(
        trickle.swept(100_000, &[], &[], heard).silent.is_some(),
        "it lasts"
    );
    let again = counted(8, Some(110_000));
    assert_eq!(
        trickle.swept(130_000, &[], &[], again).silent,
        None,
        "a delivery ends it"
    );
}

#[test]
fn one_change_is_a_silence_only_after_the_senders_retries() {
    let mut trickle = Trickle::default();
    let heard = counted(0, None);
    assert_eq!(trickle.swept(10_000, &[5_000], &[], heard).silent, None);
    assert_eq!(trickle.swept(300_000, &[], &[], heard).silent, None);
    let words = trickle
        .swept(610_000, &[], &[], heard)
        .silent
        .expect("a silence");
    assert!(words.contains("since the daemon was started"), "{words}");
}

#[test]
fn what_was_changed_before_anybody_listened_is_no_silence() {
    let mut trickle = Trickle::default();
    let started = Some(Deliveries {
        total: 0,
        last_ms: None,
        since_ms: 500_000,
    });
    assert_eq!(
        trickle
            .swept(510_000, &[1, 2, 3, 400_000], &[], started)
            .silent,
        None
    );
    assert_eq!(trickle.swept(9_510_000, &[], &[], started).silent, None);
}

#[test]
fn how_late_is_said_in_a_unit_that_fits() {
    for (ms, words) in [
        (-5, "0 s"),
        (42_999, "42 s"),
        (300_000, "5 min"),
        (3 * 3_600_000, "3 h"),
        (4 * 86_400_000, "4 days"),
    ] {
        assert_eq!(late(ms), words);
    }
}

#[test]
fn sweeps_that_are_faster_than_deliveries_notice_a_silence_too() {
    let mut trickle = Trickle::default();
    let heard = counted(7, Some(1_000));
    for second in [2, 3, 4] {
        let young = [second * 1_000];
        let concern = trickle.swept(second * 1_000, &[], &young, heard);
        assert_eq!(concern, Concern::default());
    }
    let later = trickle.swept(62_000, &[], &[], heard);
    assert!(later.silent.is_some() && later.missed.is_none());
    let over = trickle.swept(63_000, &[], &[], counted(8, Some(62_500)));
    assert_eq!(over.silent, None);
}

#[test]
fn a_missed_delivery_counts_once_however_often_it_is_found() {
    let mut all = Counted::default();
    let missed = [
        (Cause::NeverArrived, 5),
        (Cause::NeverArrived, 5),
        (Cause::Overwritten, 7),
    ];
    assert_eq!(all.fresh(&missed), missed, "two may have changed at once");
    let again = [
        (Cause::NeverArrived, 5),
        (Cause::Unknown, 6),
        (Cause::Overwritten, 7),
    ];
    assert_eq!(
        all.fresh(&again),
        again[1..],
        "who overwrites may do so again"
    );
    for at_ms in 0..2 * Counted::MOST as i64 {
        all.fresh(&[(Cause::Unknown, at_ms)]);
    }
    assert_eq!(all.0.len(), Counted::MOST);
}
