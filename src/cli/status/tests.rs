//! The text of a status, from documents as the contract shapes them.
//!
//! One daemon that is well, one with everything wrong that there is a word for, and one of another
//! version; the time is part of the input.

use serde_json::json;

use super::*;

fn now() -> DateTime<Utc> {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn render(document: Value, paint: Paint) -> String {
    Status::deserialize(&document).unwrap().text(now(), paint)
}

fn well() -> Value {
    json!({
        "version": "0.1.0", "started_at": "2026-03-01T09:58:00Z", "enabled": true, "paused": false,
        "leader": true, "instance_id": "ins_1", "queue": { "depth": 0, "oldest_age_s": 0 },
        "dead_letters": 0,
        "last": {
            "sweep": { "id": "r3", "finished_at": "2026-03-01T11:59:48Z", "outcome": "in_sync" },
            "census": null, "full": null,
        },
        "latency_ms": { "p50": 4.21, "p99": 38.0 }, "convex": { "circuit": "closed" }, "alerts": [],
    })
}

#[test]
fn all_is_well() {
    insta::assert_snapshot!(render(well(), Paint::PLAIN), @r"
    clerk-convex-sync 0.1.0, running for 2 h 2 min
    applying      yes
    queue         empty
    dead letters  none
    latency       half of the changes within 4.2 ms, 99 of 100 within 38 ms
    convex        reachable
    instance      ins_1
    last sweep    in sync, 12 s ago (run r3)
    alerts        none
    ");
}

#[test]
fn everything_that_can_be_wrong() {
    let document = json!({
        "version": "0.1.0", "started_at": "2026-02-26T09:58:00Z", "enabled": true, "paused": true,
        "leader": false, "instance_id": null, "queue": { "depth": 17, "oldest_age_s": 94.4 },
        "dead_letters": 3,
        "last": {
            "sweep": { "id": "r1", "finished_at": "2026-03-01T11:00:00Z", "outcome": "failed" },
            "census": { "id": 7, "finished_at": "2026-03-01T11:55:00Z", "outcome": "repaired" },
            "full": { "id": "r2", "finished_at": "2026-02-28T03:00:00Z", "outcome": "held" },
        },
        "runs": {
            "sweep": { "success_age_s": 4000.5, "failures_in_a_row": 7, "running": null },
            "census": { "success_age_s": null, "failures_in_a_row": 1, "running": null },
            "full": { "success_age_s": 118_800, "failures_in_a_row": 0, "running": {
                "kind": "reconcile", "phase": "comparing users", "done": 5000, "total": 20000,
                "differences": 3, "repaired": 2,
            } },
        },
        "latency_ms": { "p50": null, "p99": null }, "convex": { "circuit": "open" },
        "alerts": ["Convex has not answered for 94 s.", { "name": "delay", "message": "Changes wait." },
                   { "odd": 1 }],
    });
    insta::assert_snapshot!(render(document, Paint::PLAIN), @r#"
    clerk-convex-sync 0.1.0, running for 3 d 2 h, not the leader
    applying      paused: events are kept, nothing is applied until `resume`
    queue         17 events waiting, the oldest for 1 min 34 s
    dead letters  3; see `clerk-convex-sync failures list`
    latency       nothing measured yet
    convex        not reachable: calls are held back for a while
    last sweep    failed, 1 h 0 min ago (run r1)
                  7 runs failed since; the last complete one was 1 h 6 min ago
    last census   repaired, 5 min 0 s ago (run 7)
                  1 run failed since; none was complete yet
    last full     held, 1 d 9 h ago (run r2)
    running       reconcile, comparing users: 5000 of 20000
    alert         Convex has not answered for 94 s.
    alert         Changes wait.
    alert         {"odd":1}
    "#);
}

#[test]
fn a_daemon_of_another_version_is_shown_as_far_as_it_is_understood() {
    insta::assert_snapshot!(render(json!({ "version": "9" }), Paint::PLAIN), @r"
    clerk-convex-sync 9
    applying      yes
    alerts        none
    ");
    assert!(text_of(&json!([1]), Paint::PLAIN).is_err());
}

#[test]
fn colour_changes_no_word() {
    let coloured = render(well(), Paint::COLOURED);
    let mut plain = String::new();
    let mut rest = coloured.as_str();
    while let Some((before, after)) = rest.split_once("\x1b[") {
        plain += before;
        rest = after.split_once('m').unwrap().1;
    }
    plain += rest;
    assert_ne!(coloured, plain);
    assert_eq!(plain, render(well(), Paint::PLAIN));
}

#[test]
fn spans_are_told_in_their_largest_units() {
    let cases = [
        (0.04, "0.0 s"),
        (9.44, "9.4 s"),
        (59.9, "59 s"),
        (60.0, "1 min 0 s"),
        (3_661.0, "1 h 1 min"),
        (90_000.0, "1 d 1 h"),
        (-5.0, "0.0 s"),
    ];
    for (seconds, text) in cases {
        assert_eq!(span(seconds), text);
    }
    let cases = [
        (0.44, "0.4 ms"),
        (12.3, "12 ms"),
        (1_234.0, "1.23 s"),
        (65_000.0, "1 min 5 s"),
    ];
    for (ms, text) in cases {
        assert_eq!(millis(ms), text);
    }
}
