//! What a report means for the exit code, and what the daemon's lines mean.

use std::collections::BTreeMap;

use super::{
    watch::{Heard, heard},
    *,
};
use crate::report::TableFigures;

fn report(outcome: RunOutcome, failed: u64) -> Report {
    let figures = TableFigures {
        failed,
        ..TableFigures::default()
    };
    Report {
        id: "0190a1b2-0000-7000-8000-000000000001".into(),
        kind: RunKind::Reconcile,
        started_ms: 1_772_366_400_000,
        finished_ms: 1_772_366_401_000,
        plan_digest: None,
        outcome,
        resumed: false,
        tables: BTreeMap::from([(Table::Users, figures)]),
        files: None,
        differences: Vec::new(),
        calls: Default::default(),
        bytes: Default::default(),
        notes: Vec::new(),
    }
}

#[test]
fn the_exit_code_says_whether_differences_remain() {
    for (outcome, failed, exit) in [
        (RunOutcome::InSync, 0, Exit::Done),
        (RunOutcome::Repaired, 0, Exit::Done),
        (RunOutcome::Differences, 0, Exit::Differences),
        (RunOutcome::Held, 0, Exit::Differences),
        (RunOutcome::Failed, 2, Exit::Differences),
        (RunOutcome::Failed, 0, Exit::Failed),
    ] {
        let code = exit_of(&report(outcome, failed)).unwrap_or_else(|failure| failure.exit);
        assert_eq!(code, exit, "{outcome:?} {failed}");
    }
}

#[test]
fn the_daemons_lines_are_understood() {
    let progress = json!({ "progress": {
        "phase": "comparing", "done": 5, "total": null, "differences": 1, "repaired": 0,
    }});
    match heard(&progress).unwrap() {
        Heard::Progress(now) => assert_eq!((now.done, now.total, now.differences), (5, None, 1)),
        other => panic!("{other:?}"),
    }
    let error = json!({ "error": { "message": "Clerk is away", "busy": false } });
    assert_eq!(heard(&error).unwrap(), Heard::Error("Clerk is away".into()));
    let sent = report(RunOutcome::Held, 0);
    let document: serde_json::Value = serde_json::from_str(&json::render(&sent, true)).unwrap();
    let line = json!({ "report": document });
    assert_eq!(heard(&line).unwrap(), Heard::Report(Box::new(sent)));
    assert_eq!(heard(&json!({ "later": 1 })).unwrap(), Heard::Unknown);
    let broken = heard(&json!({ "report": { "schema": "other" } })).unwrap_err();
    assert_eq!(broken.exit, Exit::Failed);
}
