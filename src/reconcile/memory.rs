//! What is remembered of runs: the last of each sort, and since when nothing complete has been seen.
//!
//! Pure values and their bytes. "Last success" moves only by a run that saw everything it was to see; a run
//! that failed half way is no run. A mark that is set at the beginning and taken away at the end tells a run
//! that was cut off.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::run::RunRequest;
use crate::{
    model::Table,
    report::{RunKind, RunOutcome, TableFigures},
};

/// Sorts of runs of which one may run at a time: an audit and a reconcile walk the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// The newest changes.
    Sweep,
    /// Counts.
    Census,
    /// Everything.
    Full,
}

impl Slot {
    /// All of them.
    pub const ALL: [Slot; 3] = [Slot::Sweep, Slot::Census, Slot::Full];

    /// The name in the status, in metrics and in the state.
    pub const fn name(self) -> &'static str {
        match self {
            Slot::Sweep => "sweep",
            Slot::Census => "census",
            Slot::Full => "full",
        }
    }

    /// Where a run belongs.
    pub const fn of(kind: RunKind) -> Slot {
        match kind {
            RunKind::Audit | RunKind::Reconcile => Slot::Full,
            RunKind::Sweep => Slot::Sweep,
            RunKind::Census => Slot::Census,
        }
    }

    pub(super) const fn index(self) -> usize {
        match self {
            Slot::Sweep => 0,
            Slot::Census => 1,
            Slot::Full => 2,
        }
    }
}

/// A run that came to a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRun {
    /// Of its report.
    pub id: String,
    /// What it was for.
    pub kind: RunKind,
    /// Milliseconds since the epoch.
    pub finished_ms: i64,
    /// How it ended.
    pub outcome: RunOutcome,
}

/// What is remembered of one sort.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// The last run that came to a report.
    pub last: Option<LastRun>,
    /// When the last one ended that saw everything, milliseconds since the epoch.
    pub success_ms: Option<i64>,
    /// How many in a row did not.
    pub failures: u32,
    /// When the last of those ended, milliseconds since the epoch.
    pub failed_ms: Option<i64>,
    /// True while one runs, and after one was cut off by a kill.
    pub unfinished: bool,
    /// What was found when each table was last compared.
    #[serde(default)]
    pub found: BTreeMap<Table, TableFigures>,
}

/// How a run ended, as far as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It came to a report.
    Reported(LastRun),
    /// It did not.
    Broken,
    /// The process ends; the next one goes on with it.
    Stopped,
}

impl Memory {
    /// Reads what [`Memory::bytes`] wrote. What cannot be read is forgotten, which costs one run too many.
    pub fn read(bytes: &[u8]) -> Memory {
        serde_json::from_slice(bytes).unwrap_or_default()
    }

    /// For the state; a kilobyte at most.
    pub fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// A run begins. `counts` as for [`counts`].
    pub fn began(&mut self, counts: bool) {
        self.unfinished |= counts;
    }

    /// A run ended.
    pub fn ended(&mut self, end: End, counts: bool, now_ms: i64) {
        let complete = match &end {
            End::Reported(run) => run.outcome.is_complete(),
            End::Broken => false,
            // Nobody's failure: the mark stays, so that the next process begins with it.
            End::Stopped => return,
        };
        if counts {
            self.unfinished = false;
            if complete {
                self.success_ms = Some(now_ms);
                self.failures = 0;
                self.failed_ms = None;
            } else {
                self.failures = self.failures.saturating_add(1);
                self.failed_ms = Some(now_ms);
            }
        }
        if let End::Reported(run) = end {
            self.last = Some(run);
        }
    }
}

/// True if a run stands for its whole sort: all tables, no held plan, and no mere look where the clock would
/// repair.
pub fn counts(request: &RunRequest, full: RunKind) -> bool {
    let whole = request.tables.is_empty() && request.approve.is_none();
    let weaker = request.kind == RunKind::Audit && full == RunKind::Reconcile;
    whole && !weaker
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::Table, reconcile::run::AskedBy};

    fn run(outcome: RunOutcome) -> End {
        End::Reported(LastRun {
            id: "r".into(),
            kind: RunKind::Reconcile,
            finished_ms: 7,
            outcome,
        })
    }

    #[test]
    fn only_a_complete_run_moves_the_last_success() {
        for (end, success) in [
            (run(RunOutcome::InSync), true),
            (run(RunOutcome::Repaired), true),
            (run(RunOutcome::Differences), true),
            (run(RunOutcome::Held), true),
            (run(RunOutcome::Failed), false),
            (End::Broken, false),
        ] {
            let mut memory = Memory {
                success_ms: Some(1),
                failures: 2,
                failed_ms: Some(5),
                ..Memory::default()
            };
            memory.began(true);
            assert!(memory.unfinished);
            memory.ended(end.clone(), true, 9);
            assert!(!memory.unfinished);
            let expected = if success {
                (9, 0, None)
            } else {
                (1, 3, Some(9))
            };
            let found = (
                memory.success_ms.unwrap(),
                memory.failures,
                memory.failed_ms,
            );
            assert_eq!(found, expected, "{end:?}");
            assert_eq!(memory.last.is_some(), end != End::Broken, "{end:?}");
        }
    }

    #[test]
    fn a_run_that_the_end_of_the_process_stopped_is_unfinished_and_no_failure() {
        let mut memory = Memory::default();
        memory.began(true);
        memory.ended(End::Stopped, true, 9);
        let expected = Memory {
            unfinished: true,
            ..Memory::default()
        };
        assert_eq!(memory, expected);
    }

    #[test]
    fn a_part_is_shown_as_the_last_run_and_stands_for_nothing() {
        let mut memory = Memory::default();
        memory.began(false);
        assert!(!memory.unfinished);
        memory.ended(run(RunOutcome::InSync), false, 9);
        assert_eq!((memory.success_ms, memory.failures), (None, 0));
        assert!(memory.last.is_some());
    }

    #[test]
    fn parts_plans_and_mere_looks_do_not_count() {
        let request = |kind| RunRequest {
            kind,
            tables: Vec::new(),
            max_deletes: None,
            approve: None,
            mapping: None,
            asked_by: AskedBy::Operator,
        };
        let whole = request(RunKind::Reconcile);
        assert!(counts(&whole, RunKind::Reconcile));
        assert!(counts(&whole, RunKind::Audit));
        assert!(counts(&request(RunKind::Audit), RunKind::Audit));
        assert!(!counts(&request(RunKind::Audit), RunKind::Reconcile));
        assert!(counts(&request(RunKind::Sweep), RunKind::Reconcile));
        let part = RunRequest {
            tables: vec![Table::Users],
            ..whole.clone()
        };
        assert!(!counts(&part, RunKind::Reconcile));
        let plan = RunRequest {
            approve: Some("d".into()),
            ..whole
        };
        assert!(!counts(&plan, RunKind::Reconcile));
    }

    #[test]
    fn what_was_written_is_read_and_garbage_is_nothing() {
        let mut memory = Memory::default();
        memory.began(true);
        memory.ended(run(RunOutcome::Held), true, 9);
        assert_eq!(Memory::read(&memory.bytes()), memory);
        assert!(memory.bytes().len() < 1000);
        assert_eq!(Memory::read(b"garbage"), Memory::default());
    }
}
