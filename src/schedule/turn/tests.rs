//! Turns as tables: what is remembered and what happens, and when the job is due.

use super::*;

/// Noon of some day, milliseconds since the epoch.
const NOON: i64 = 1_772_366_400_000;
const SECOND: i64 = 1_000;
const HOUR: i64 = 3_600 * SECOND;
const DAY: i64 = 24 * HOUR;

fn daily() -> Rhythm {
    Rhythm::parse("0 17 3 * * *").unwrap()
}

fn half_minutes() -> Rhythm {
    Rhythm::parse("*/30 * * * * *").unwrap()
}

fn success(ms: i64) -> Standing {
    Standing::settled(ms)
}

fn failed(failures: u32, at_ms: i64) -> Standing {
    Standing {
        success_ms: Some(NOON - HOUR),
        failures,
        failed_ms: Some(at_ms),
        unfinished: false,
    }
}

fn due(turn: &Turn) -> Option<i64> {
    turn.due.map(|(at, _)| at)
}

/// A turn that owes nothing, before its first strike.
fn rested(rhythm: &Rhythm) -> Turn {
    let turn = Turn::at_start(&success(NOON), rhythm, NOON);
    assert_eq!(due(&turn), None);
    turn
}

#[test]
fn noon_is_noon() {
    assert_eq!(NOON % DAY, 12 * HOUR);
}

#[test]
fn what_is_owed_at_a_start_is_due_soon_and_calmly() {
    let unfinished = Standing {
        unfinished: true,
        ..success(NOON - SECOND)
    };
    for (what, standing, expected) in [
        ("it has never run", Standing::default(), Some(10 * SECOND)),
        ("it ran since the last strike", success(NOON - HOUR), None),
        (
            "it ran at the last strike",
            success(NOON - 8 * HOUR - 43 * 60 * SECOND),
            None,
        ),
        (
            "it missed a strike",
            success(NOON - 9 * HOUR),
            Some(10 * SECOND),
        ),
        ("it missed many", success(NOON - 9 * DAY), Some(10 * SECOND)),
        ("it was cut off", unfinished, Some(10 * SECOND)),
        (
            "it failed long ago",
            failed(1, NOON - HOUR),
            Some(10 * SECOND),
        ),
        ("it failed just now", failed(1, NOON), Some(30 * SECOND)),
        (
            "it failed often",
            failed(4, NOON - 60 * SECOND),
            Some(180 * SECOND),
        ),
        (
            "it failed for ever",
            failed(u32::MAX, NOON),
            Some(900 * SECOND),
        ),
        // The time of day was set back meanwhile.
        (
            "it failed in the future",
            failed(1, NOON + DAY),
            Some(30 * SECOND),
        ),
        ("it succeeded in the future", success(NOON + DAY), None),
    ] {
        let turn = Turn::at_start(&standing, &daily(), NOON);
        assert_eq!(due(&turn), expected, "{what}");
        assert!(!turn.is_due(0), "{what}");
        if let Some(at) = expected {
            assert!(turn.is_due(at) && !turn.is_due(at - 1), "{what}");
        }
    }
}

#[test]
fn waits_after_failures_double_up_to_a_bound_within_their_jitter() {
    let seconds: Vec<u64> = (1..=8).map(|n| wait_after(n, 0.5).as_secs()).collect();
    assert_eq!(seconds, [30, 60, 120, 240, 480, 900, 900, 900]);
    assert_eq!(wait_after(1, 0.0), Duration::from_secs(27));
    assert_eq!(wait_after(1, 1.0), Duration::from_secs(33));
    assert_eq!(wait_after(1, 7.0), wait_after(1, 1.0));
    assert!(wait_after(u32::MAX, 1.0) <= LONGEST_WAIT.mul_f64(1.1));
}

#[test]
fn a_strike_is_due_after_a_tenth_of_its_interval_at_most() {
    for (rhythm, luck, expected) in [
        (half_minutes(), 0.0, 0),
        (half_minutes(), 1.0, 3 * SECOND),
        (half_minutes(), 0.5, 1_500),
        (daily(), 1.0, 60 * SECOND),
        (Rhythm::parse("0 0 0 1 1 * 2030").unwrap(), 1.0, 0),
    ] {
        let mut turn = rested(&rhythm);
        assert_eq!(turn.strike(&rhythm, 5, NOON, luck), Strike::Taken);
        assert_eq!(due(&turn), Some(5 + expected), "{rhythm:?} {luck}");
    }
}

#[test]
fn a_strike_while_it_runs_is_skipped_and_one_while_it_is_due_changes_nothing() {
    let rhythm = half_minutes();
    let mut turn = rested(&rhythm);
    turn.strike(&rhythm, 0, NOON, 1.0);
    assert_eq!(turn.strike(&rhythm, 1_000, NOON, 1.0), Strike::Taken);
    assert_eq!(due(&turn), Some(3_000), "the earlier one counts");
    assert!(turn.begin(&success(NOON), &rhythm, NOON));
    assert!(!turn.is_due(DAY));
    assert_eq!(turn.strike(&rhythm, 30_000, NOON, 0.0), Strike::Skipped);
    turn.ended(Ending::Done, 0, 31_000, 0.5);
    assert_eq!(due(&turn), None, "a skipped strike is not made up for");
}

#[test]
fn how_it_ended_says_when_it_is_due_again() {
    for (why, ending, failures, expected) in [
        (Why::Struck, Ending::Done, 0, None),
        (Why::Owed, Ending::Done, 0, None),
        (Why::Struck, Ending::Failed, 1, Some(30 * SECOND)),
        (Why::Owed, Ending::Failed, 3, Some(120 * SECOND)),
        // A failure that is not remembered waits as the first one.
        (Why::Struck, Ending::Failed, 0, Some(30 * SECOND)),
        (Why::Struck, Ending::Busy, 0, None),
        (Why::Owed, Ending::Busy, 0, Some(60 * SECOND)),
        (Why::Struck, Ending::Held, 0, Some(SECOND)),
        (Why::Owed, Ending::Held, 0, Some(SECOND)),
    ] {
        let mut turn = rested(&daily());
        turn.running = Some(why);
        turn.ended(ending, failures, 100, 0.5);
        let expected = expected.map(|wait| wait + 100);
        assert_eq!(due(&turn), expected, "{why:?} {ending:?} {failures}");
        assert!(turn.running.is_none());
    }
}

#[test]
fn what_is_owed_is_dropped_when_a_person_has_done_it_and_a_strike_is_not() {
    let rhythm = daily();
    let fine = success(NOON);
    let mut owed = Turn::at_start(&Standing::default(), &rhythm, NOON);
    assert!(!owed.begin(&fine, &rhythm, NOON));
    assert_eq!(due(&owed), None);
    let mut owed = Turn::at_start(&Standing::default(), &rhythm, NOON);
    assert!(owed.begin(&failed(1, NOON), &rhythm, NOON));
    let mut struck = rested(&rhythm);
    struck.strike(&rhythm, 0, NOON, 0.0);
    assert!(struck.begin(&fine, &rhythm, NOON));
    assert!(!struck.begin(&fine, &rhythm, NOON), "once");
}

#[test]
fn what_is_held_back_stays_due_and_is_counted_once_a_strike() {
    let rhythm = half_minutes();
    let mut turn = rested(&rhythm);
    turn.strike(&rhythm, 0, NOON, 0.0);
    assert!(turn.hold(0));
    assert!(!turn.is_due(0) && turn.is_due(1_000));
    assert!(!turn.hold(1_000));
    assert_eq!(turn.strike(&rhythm, 30_000, NOON, 0.0), Strike::Taken);
    assert!(turn.hold(30_000));
    assert!(
        turn.begin(&success(NOON), &rhythm, NOON),
        "as soon as it may"
    );
}

#[test]
fn a_strike_that_does_not_come_is_missed_after_some_seconds() {
    let rhythm = half_minutes();
    let mut turn = Turn::at_start(&success(NOON), &rhythm, NOON + 20 * SECOND);
    assert_eq!(turn.wake(), Some(20 * SECOND));
    assert!(!turn.is_overdue_for_strike(20 * SECOND - 1));
    assert!(turn.is_overdue_for_strike(20 * SECOND));
    turn.strike(&rhythm, 20 * SECOND, NOON + 40 * SECOND, 0.0);
    assert!(!turn.is_overdue_for_strike(50 * SECOND - 1));
    let never = Rhythm::parse("0 0 0 1 1 * 1999").unwrap();
    let turn = rested(&never);
    assert_eq!(turn.wake(), None);
    assert!(!turn.is_overdue_for_strike(i64::MAX));
}

#[test]
fn it_wakes_for_whatever_comes_first() {
    let rhythm = daily();
    let mut turn = Turn::at_start(&Standing::default(), &rhythm, NOON);
    assert_eq!(turn.wake(), Some(10 * SECOND));
    assert!(turn.begin(&Standing::default(), &rhythm, NOON));
    let strike = 15 * HOUR + 17 * 60 * SECOND + 10 * SECOND;
    assert_eq!(turn.wake(), Some(strike));
}

#[test]
fn two_strikes_without_a_success_are_overdue() {
    let daily = daily();
    let strike = NOON - 12 * HOUR + 3 * HOUR + 17 * 60 * SECOND;
    let grace = 10 * 60 * SECOND;
    for (what, standing, since, now, expected) in [
        (
            "one was missed",
            success(strike - 1),
            0,
            strike + DAY - 1,
            false,
        ),
        (
            "two, within the grace",
            success(strike - 1),
            0,
            strike + DAY + grace,
            false,
        ),
        (
            "two were missed",
            success(strike - 1),
            0,
            strike + DAY + grace + 1,
            true,
        ),
        (
            "the daemon was down",
            success(strike - 9 * DAY),
            NOON,
            NOON + HOUR,
            false,
        ),
        (
            "and then it failed",
            success(strike - 9 * DAY),
            NOON,
            NOON + 2 * DAY,
            true,
        ),
        (
            "it never ran, yet",
            Standing::default(),
            NOON,
            NOON + HOUR,
            false,
        ),
        (
            "it never ran",
            Standing::default(),
            NOON,
            NOON + 2 * DAY,
            true,
        ),
    ] {
        assert_eq!(standing.is_overdue(&daily, since, now), expected, "{what}");
    }
    let never = Rhythm::parse("0 0 0 1 1 * 1999").unwrap();
    assert!(!Standing::default().is_overdue(&never, 0, i64::MAX));
}
