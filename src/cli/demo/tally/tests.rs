//! The closing words of a demo, when all went well and when not.

use super::*;
use crate::{
    cli::demo::{compare::TableTally, mend::Step},
    report::TableFigures,
    sandbox::clerk::sender::book::AckLatency,
};

fn comparison(equal: u64) -> Comparison {
    let mut comparison = Comparison::default();
    let users = TableTally {
        clerk: 95,
        convex: 95,
        equal,
        stale: 95 - equal,
        ..TableTally::default()
    };
    comparison.tables.insert("users", users);
    comparison
}

fn step(name: &'static str, stale: u64, repaired: u64) -> Step {
    Step {
        name,
        figures: TableFigures {
            stale,
            repaired,
            ..TableFigures::default()
        },
        records: 190,
        took_ms: 1_234,
        outcome: "repaired",
    }
}

fn tally() -> Tally {
    Tally {
        seconds: 20.02,
        acts: Acts {
            signed_up: 100,
            changed: 60,
            deleted: 5,
            founded: 3,
            memberships: 32,
        },
        fates: Fates {
            sent: 200,
            delivered: 197,
            lost: 3,
            repeated: 11,
            ack_latency_ms: AckLatency {
                p50: 1.8,
                p99: 6.1,
                max: 9.0,
            },
            ..Fates::default()
        },
        visible: Spread::of((1..=100).map(f64::from).collect()),
        drained: true,
        before: Comparison {
            explained: 3,
            ..comparison(92)
        },
        drift: Drift {
            changed: 2,
            removed: 2,
            members_removed: 1,
            strangers: 2,
            deleted: 2,
            own: 1,
        },
        mended: Mended {
            steps: vec![step("sweeps", 2, 2), step("reconcile", 7, 7)],
            approved: 0,
            in_sync: true,
            page: "/tmp/report.html".into(),
        },
        after: comparison(95),
        own_rows: 1,
        status: json!({}),
    }
}

#[test]
fn the_closing_words() {
    insta::assert_snapshot!(tally().text(Paint::PLAIN));
}

#[test]
fn what_is_not_well_is_said() {
    type Spoil = fn(&mut Tally);
    let spoilt: [(Spoil, &str); 6] = [
        (|tally| tally.drained = false, "still waiting"),
        (
            |tally| tally.before.unexplained = 2,
            "2 rows differed after",
        ),
        (
            |tally| tally.fates.failed = 1,
            "1 events, after every attempt",
        ),
        (
            |tally| tally.mended.in_sync = false,
            "still found differences",
        ),
        (
            |tally| tally.after.unexplained = 4,
            "4 rows differ at the end",
        ),
        (|tally| tally.own_rows = 0, "app's own, without"),
    ];
    assert!(tally().is_well());
    for (spoil, words) in spoilt {
        let mut tally = tally();
        spoil(&mut tally);
        assert!(!tally.is_well(), "{words}");
        assert_eq!(tally.document()["ok"], false);
        let text = tally.text(Paint::PLAIN);
        assert!(text.contains(words), "{text}");
        assert!(!text.contains("Both sides agree"), "{text}");
    }
}

#[test]
fn an_approval_is_told() {
    let mut tally = tally();
    assert!(!tally.text(Paint::PLAIN).contains("person's word"));
    tally.mended.approved = 7;
    let text = tally.text(Paint::PLAIN);
    assert!(text.contains("7 were carried out"), "{text}");
}

#[test]
fn percentiles_are_values_that_were_measured() {
    let spread = Spread::of((1..=200).rev().map(f64::from).collect());
    assert_eq!((spread.p50, spread.p99, spread.max), (100.0, 198.0, 200.0));
    assert_eq!(Spread::of(vec![7.0]).p99, 7.0);
    assert_eq!(Spread::of(vec![]), Spread::default());
}
