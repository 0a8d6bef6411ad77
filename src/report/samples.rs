//! Reports to test renderings with: nothing found, three of everything, very many, and hostile ones.
//!
//! Made up, always the same. Every personal value holds [`PERSONAL`], so that a search finds what leaked.

use serde_json::{Value, json};

use super::{Bytes, Calls, FileFigures, Report, RunKind, RunOutcome, Summary, TableFigures};
use crate::model::{Action, Difference, DriftKind, FieldDrift, Key, Table};

/// Stands in every personal value.
pub const PERSONAL: &str = "lovelace";

/// 2026-03-01 03:00:00 UTC.
const START_MS: i64 = 1_772_334_000_000;

/// True if it has a personal value to show.
pub fn is_personal(report: &Report) -> bool {
    let texts = report.differences.iter().flat_map(|one| &one.fields);
    texts
        .flat_map(|drift| [&drift.clerk, &drift.convex])
        .any(|value| value.to_string().contains(PERSONAL))
}

/// One of each.
pub fn all() -> Vec<Report> {
    vec![
        none(),
        three(),
        many(1200),
        held(),
        failed(),
        hostile(),
        sweep(),
        ownerless(),
    ]
}

fn id(n: u32) -> String {
    format!("019ca76c-{n:04x}-7000-8000-00000000002a")
}

/// Two tables alike.
pub fn none() -> Report {
    let counted = |n| TableFigures {
        clerk: n,
        convex: n,
        ..TableFigures::default()
    };
    Report {
        id: id(1),
        kind: RunKind::Audit,
        started_ms: START_MS,
        finished_ms: START_MS + 3_240,
        plan_digest: None,
        outcome: RunOutcome::InSync,
        resumed: false,
        tables: [
            (Table::Users, counted(10_000)),
            (Table::Profiles, counted(10_000)),
            (Table::Organizations, counted(40)),
            (Table::Memberships, counted(12_000)),
        ]
        .into(),
        files: None,
        differences: Vec::new(),
        calls: Calls {
            clerk: 46,
            convex_queries: 17,
            convex_mutations: 0,
        },
        bytes: Bytes {
            clerk: 21_400_000,
            convex: 6_120_000,
        },
        notes: Vec::new(),
    }
}

/// Three that were put right.
pub fn three() -> Report {
    let mut report = none();
    report.id = id(2);
    report.kind = RunKind::Reconcile;
    report.outcome = RunOutcome::Repaired;
    report.calls.convex_mutations = 1;
    report.calls.clerk = 47;
    report.notes = vec!["3 changes came by this run and not by a delivery.".to_owned()];
    add(
        &mut report,
        Table::Users,
        "user_2NNEqL2nrIRdJ194ndJqAHwEfxC",
        DriftKind::Missing,
        vec![],
        Action::Created,
    );
    let fields = vec![
        drift(
            "email",
            json!("ada@lovelace.com"),
            json!("a.lovelace@example.org"),
        ),
        drift("name", json!("Ada lovelace"), Value::Null),
        drift("role", json!("admin"), json!("member")),
    ];
    add(
        &mut report,
        Table::Users,
        "user_2NNEqL2nrIRdJ194ndJqAHwEfxD",
        DriftKind::Stale,
        fields,
        Action::Updated,
    );
    add(
        &mut report,
        Table::Memberships,
        "orgmem_2NNEqL2nrIRdJ194ndJqAHwEfx",
        DriftKind::Orphaned,
        vec![],
        Action::Deleted,
    );
    report
}

/// Very many, of which a report lists a thousand.
pub fn many(n: u64) -> Report {
    let mut report = none();
    report.id = id(3);
    report.kind = RunKind::Reconcile;
    report.outcome = RunOutcome::Failed;
    report.resumed = true;
    report.finished_ms = START_MS + 4_325_000;
    report.notes =
        vec!["Page 7 of memberships ended early twice; its range was not compared.".to_owned()];
    for at in 0..n {
        let kind = DriftKind::ALL[(at % 7 % 4) as usize];
        let fields = if kind == DriftKind::Stale {
            vec![
                drift(
                    "email",
                    json!(format!("lovelace{at}@example.com")),
                    json!(format!("lovelace{at}@example.org")),
                ),
                drift(
                    "imageUrl",
                    json!(format!("https://img.clerk.com/lovelace/{at}")),
                    Value::Null,
                ),
            ]
        } else {
            Vec::new()
        };
        let action = match (kind, at % 11) {
            (_, 10) => Action::Failed,
            (DriftKind::Missing, _) => Action::Created,
            (DriftKind::Stale | DriftKind::Duplicate, _) => Action::Updated,
            (DriftKind::Orphaned, _) => Action::Held,
        };
        add(
            &mut report,
            Table::Users,
            &format!("user_{at:027}"),
            kind,
            fields,
            action,
        );
    }
    report.differences.truncate(Report::MAX_DIFFERENCES);
    report
}

/// Deletions that wait.
pub fn held() -> Report {
    let mut report = none();
    report.id = id(4);
    report.kind = RunKind::Reconcile;
    report.outcome = RunOutcome::Held;
    report.plan_digest =
        Some("b3:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".to_owned());
    for at in 0..6 {
        add(
            &mut report,
            Table::Users,
            &format!("user_{at:027}"),
            DriftKind::Orphaned,
            vec![],
            Action::Held,
        );
    }
    for one in &mut report.differences {
        let reason = "6 of 10006 rows would be deleted; without approval at most 5 are (repair.max_deletes = 5, \
                      repair.max_delete_ratio = 0.05)";
        one.reason = Some(reason.to_owned());
    }
    report
}

/// A run that did not get far.
pub fn failed() -> Report {
    Report {
        id: id(5),
        outcome: RunOutcome::Failed,
        tables: [(Table::Users, TableFigures::default())].into(),
        notes: vec!["Clerk did not answer for 5 minutes.".to_owned()],
        ..none()
    }
}

/// Tables alike, and files of users who are gone.
pub fn ownerless() -> Report {
    Report {
        id: id(8),
        files: Some(FileFigures { ownerless: 1_234 }),
        ..none()
    }
}

/// A sweep that found something.
pub fn sweep() -> Report {
    let mut report = none();
    report.id = id(6);
    report.kind = RunKind::Sweep;
    report.outcome = RunOutcome::Repaired;
    report.tables = [(
        Table::Users,
        TableFigures {
            clerk: 10,
            ..TableFigures::default()
        },
    )]
    .into();
    add(
        &mut report,
        Table::Users,
        "user_2NNEqL2nrIRdJ194ndJqAHwEfxC",
        DriftKind::Missing,
        vec![],
        Action::Created,
    );
    report
}

/// What somebody would write to do harm.
pub fn hostile() -> Report {
    let mut report = none();
    report.id = id(7);
    report.outcome = RunOutcome::Differences;
    let fields = vec![
        drift(
            "name",
            json!("\"><img src=x onerror=alert(1)>lovelace"),
            json!("</td></tr><script>alert(1)</script>"),
        ),
        drift(
            "username",
            json!("=HYPERLINK(\"http://x\")"),
            json!("@lovelace|`x`| **b**"),
        ),
        drift(
            "phoneNumber",
            json!("+1|`'"),
            json!("\u{1b}[31mred\u{202e}\u{7}\r\nnext"),
        ),
        drift("a<b>|c", json!({ "x": "</script>" }), json!(["`", "|"])),
    ];
    add(
        &mut report,
        Table::Users,
        "user_2NNEqL2nrIRdJ194ndJqAHwEfxC",
        DriftKind::Stale,
        fields,
        Action::Failed,
    );
    report.differences[0].reason =
        Some("=cmd|' /C calc'!A0 <script>alert(1)</script> @everyone".to_owned());
    report.notes = vec!["<img src=x onerror=alert(1)> | `note` @everyone".to_owned()];
    report
}

/// Earlier runs of a month, newest first.
pub fn past(n: u32) -> Vec<Summary> {
    let runs = (1..=n).map(|day| {
        let mut report = none();
        let busy = u64::from(day * 7919 % 23);
        report.id = id(0x8000 - day);
        report.kind = RunKind::Reconcile;
        report.started_ms -= i64::from(day) * 86_400_000;
        report.finished_ms = report.started_ms + 2_800 + i64::from(day * 104_729 % 1_900);
        report.calls.clerk += busy;
        report.calls.convex_mutations = busy / 9;
        if let Some(users) = report.tables.get_mut(&Table::Users) {
            users.missing = busy / 2;
            users.stale = busy / 3;
            users.repaired = users.missing + users.stale;
        }
        if let Some(memberships) = report.tables.get_mut(&Table::Memberships) {
            memberships.orphaned = busy / 5;
            memberships.repaired = memberships.orphaned;
        }
        report.outcome = if busy == 0 {
            RunOutcome::InSync
        } else {
            RunOutcome::Repaired
        };
        Summary::of(&report)
    });
    runs.collect()
}

fn drift(field: &str, clerk: Value, convex: Value) -> FieldDrift {
    FieldDrift {
        field: field.to_owned(),
        clerk,
        convex,
    }
}

fn add(
    report: &mut Report,
    table: Table,
    key: &str,
    kind: DriftKind,
    fields: Vec<FieldDrift>,
    action: Action,
) {
    let figures = report.tables.entry(table).or_default();
    *figures.of_mut(kind) += 1;
    match action {
        Action::None => {}
        Action::Created | Action::Updated | Action::Deleted => figures.repaired += 1,
        Action::Held => figures.held += 1,
        Action::Failed => figures.failed += 1,
    }
    match kind {
        DriftKind::Missing => figures.convex = figures.convex.saturating_sub(1),
        DriftKind::Orphaned => figures.convex += 1,
        DriftKind::Stale | DriftKind::Duplicate => {}
    }
    let reason =
        (action == Action::Failed).then(|| "Convex refused the row (invalid_field)".to_owned());
    report.differences.push(Difference {
        table,
        key: Key::parse(key).expect("a key"),
        kind,
        fields,
        action,
        reason,
    });
}
