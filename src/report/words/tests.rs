//! The words of reports: figures as they are said, sentences for every way a run can end.

use serde_json::json;

use super::*;
use crate::report::samples;

#[test]
fn figures_as_a_person_says_them() {
    for (n, said) in [
        (0, "0"),
        (999, "999"),
        (1_000, "1,000"),
        (12_345_678, "12,345,678"),
    ] {
        assert_eq!(number(n), said);
    }
    for (ms, said) in [
        (0, "0 ms"),
        (999, "999 ms"),
        (3_240, "3.2 s"),
        (59_999, "59.9 s"),
        (61_000, "1 min 1 s"),
        (7_260_000, "2 h 1 min"),
    ] {
        assert_eq!(duration(ms), said);
    }
    for (n, said) in [
        (999, "999 B"),
        (1_000, "1.0 kB"),
        (21_450_000, "21.4 MB"),
        (3_000_000_000, "3.0 GB"),
    ] {
        assert_eq!(bytes(n), said);
    }
    assert_eq!(time(samples::none().started_ms), "2026-03-01 03:00:00 UTC");
}

#[test]
fn what_cannot_be_seen_is_shown() {
    for (text, said) in [
        ("", "\"\""),
        ("  ", "\"  \""),
        ("a\u{61c}b\u{ad}c", "a\u{fffd}b\u{fffd}c"),
    ] {
        assert_eq!(value(&json!(text)), said);
    }
}

#[test]
fn every_run_is_told_in_a_sentence() {
    let mut one = samples::sweep();
    assert_eq!(
        sentence(&one),
        "1 of 10 users differed; it was repaired in 3.2 s."
    );
    one.kind = RunKind::Audit;
    one.outcome = RunOutcome::Differences;
    if let Some(users) = one.tables.get_mut(&Table::Users) {
        users.repaired = 0;
    }
    for (report, said) in [
        (
            samples::none(),
            "Clerk and Convex agree about 10,000 users, 10,000 profiles, 40 organizations and \
             12,000 memberships. It took 3.2 s.",
        ),
        (
            samples::three(),
            "3 of 32,041 records differed (2 users, 1 membership); all were repaired in 3.2 s.",
        ),
        (
            samples::held(),
            "6 of 10,006 users differed; all wait for approval. It took 3.2 s.",
        ),
        (
            samples::many(1200),
            "1,200 of 10,000 users differed; 778 were repaired, 313 wait for approval and 109 could \
             not be put right. It took 1 h 12 min.",
        ),
        (
            samples::failed(),
            "The run ended after 3.2 s without having seen everything.",
        ),
        (
            one,
            "1 of 10 users differed; an audit changes nothing. It took 3.2 s.",
        ),
    ] {
        assert_eq!(sentence(&report), said);
    }
}

#[test]
fn the_cost_is_scaled_to_a_million_users_where_all_were_listed() {
    assert_eq!(cost_per_million(&samples::none()), Some([4_600, 1_700, 0]));
    assert_eq!(cost_per_million(&samples::sweep()), None);
    assert_eq!(cost_per_million(&samples::failed()), None);
    let mut small = samples::none();
    for (clerk, told) in [(4_999, false), (5_000, true)] {
        let users = small.tables.get_mut(&Table::Users).unwrap();
        users.clerk = clerk;
        assert_eq!(cost_per_million(&small).is_some(), told, "{clerk}");
    }
}

#[test]
fn a_text_does_nothing_but_be_read() {
    for (text, plain) in [
        ("=1+1", "'=1+1"),
        ("-1", "'-1"),
        ("@x", "'@x"),
        ("+1+1", "'+1+1"),
        ("+49 151", "+49 151"),
        ("+…", "+…"),
        ("\u{1b}[2J", "\u{fffd}[2J"),
        ("a\u{202e}b", "a\u{fffd}b"),
        ("plain = text", "plain = text"),
    ] {
        assert_eq!(inert(text), plain);
    }
    assert_eq!(value(&json!(null)), "–");
    assert_eq!(value(&json!("")), "\"\"");
    assert_eq!(value(&json!({ "a": 1 })), "{\"a\":1}");
}

#[test]
fn a_reason_that_several_differences_share_has_one_number() {
    let mut differences = samples::held().differences;
    differences[1].reason = Some("its own".into());
    differences[4].reason = None;
    for late in [2, 5] {
        differences[late].reason = Some("another that two share".into());
    }
    let shared = SharedReasons::of(&differences);
    let numbers: Vec<Option<usize>> = differences
        .iter()
        .map(|one| shared.number(one.reason.as_deref()?))
        .collect();
    assert_eq!(numbers, [Some(1), None, Some(2), Some(1), None, Some(2)]);
    let all: Vec<usize> = shared.all().map(|(number, _)| number).collect();
    assert_eq!(all, [1, 2]);
}
