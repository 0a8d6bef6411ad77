//! Reports on a real disk: kept, found again, aged, damaged, cut off in the middle.

mod encrypted;

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
};

use super::*;
use crate::{
    model::Difference,
    report::{Report, samples},
};

const DAY_MS: i64 = 86_400_000;

/// A state directory, which lives as long as the first, and its reports.
fn place() -> (tempfile::TempDir, History) {
    let state = tempfile::tempdir().unwrap();
    let history = History::open(state.path(), false, &Keyring::default()).unwrap();
    (state, history)
}

/// A report of a day, counted from the first.
fn of_day(day: i64, kind: RunKind) -> Report {
    let mut report = samples::three();
    report.id = format!("{day:08}-{kind}");
    report.kind = kind;
    report.started_ms += day * DAY_MS;
    report.finished_ms += day * DAY_MS;
    report
}

fn ids(history: &History) -> Vec<String> {
    let listing = history.list().unwrap();
    assert!(listing.damaged.is_empty(), "{:?}", listing.damaged);
    listing.summaries.into_iter().map(|run| run.id).collect()
}

fn differences(report: &Report) -> impl Iterator<Item = &Difference> {
    report.differences.iter()
}

#[test]
fn what_was_kept_is_found_masked_and_for_its_owner_only() {
    let (state, history) = place();
    let report = samples::three();
    let mut log = history.log(&report.id).unwrap();
    for one in differences(&report) {
        log.append(one).unwrap();
    }
    assert_eq!(history.keep(&report, Some(log)).unwrap(), Kept::Stored);
    // Another process looks.
    let found = History::look(state.path(), false, &Keyring::default());
    let loaded = found.load("latest").unwrap();
    assert_eq!(
        (loaded.id, loaded.tables),
        (report.id.clone(), report.tables.clone())
    );
    assert_eq!(
        found.last(RunKind::Reconcile).unwrap(),
        Some(Summary::of(&report))
    );
    assert_eq!(found.last(RunKind::Sweep).unwrap(), None);
    for ending in ["json", "ndjson"] {
        let path = found.dir().join(format!("{}.{ending}", report.id));
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains(samples::PERSONAL), "{text}");
        assert!(text.contains("a…@l….com"), "{text}");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
    let mode = fs::metadata(found.dir()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    assert_eq!(ids(&found).len(), 1);
}

#[test]
fn values_are_kept_where_that_was_decided() {
    let state = tempfile::tempdir().unwrap();
    let history = History::open(state.path(), true, &Keyring::default()).unwrap();
    history.keep(&samples::three(), None).unwrap();
    assert_eq!(history.load("latest").unwrap(), samples::three());
}

#[test]
fn a_report_is_found_by_the_beginning_of_its_id() {
    let (_state, history) = place();
    assert!(matches!(history.load("latest"), Err(HistoryError::Empty)));
    for report in [samples::none(), samples::three()] {
        history.keep(&report, None).unwrap();
    }
    assert_eq!(
        history.load("019ca76c-0002").unwrap().id,
        samples::three().id
    );
    assert!(matches!(
        history.load("019ca76c"),
        Err(HistoryError::Ambiguous { count: 2, .. })
    ));
    for unknown in [
        "019",
        "",
        "../STATE",
        "019ca76c-0009",
        "quiet",
        "/etc/passwd",
    ] {
        let refused = history.load(unknown);
        assert!(
            matches!(refused, Err(HistoryError::Unknown { .. })),
            "{unknown}"
        );
    }
}

#[test]
fn a_quiet_sweep_is_counted_and_leaves_no_file() {
    let (state, history) = place();
    let mut sweep = samples::none();
    sweep.kind = RunKind::Sweep;
    for at in 0..100 {
        sweep.finished_ms = samples::none().finished_ms + at * 30_000;
        let mut log = history.log(&sweep.id).unwrap();
        if at == 7 {
            // Found, and taken back when somebody looked again.
            log.append(&samples::three().differences[0]).unwrap();
            log.flush().unwrap();
        }
        assert_eq!(history.keep(&sweep, Some(log)).unwrap(), Kept::Counted);
    }
    assert!(ids(&history).is_empty());
    assert_eq!(
        fs::read_dir(history.dir()).unwrap().count(),
        1,
        "only the counts"
    );
    history.flush().unwrap();
    let found = History::look(state.path(), false, &Keyring::default());
    let counted = found.quiet().since(0)[&RunKind::Sweep];
    assert_eq!(
        (counted.runs, counted.calls.clerk),
        (100, 100 * sweep.calls.clerk)
    );
    assert_eq!(
        found.last(RunKind::Sweep).unwrap(),
        Some(Summary::of(&sweep))
    );
    // One that failed, or found something, or compared everything, leaves a report.
    for (day, outcome) in [(1, RunOutcome::Failed), (2, RunOutcome::Repaired)] {
        let mut report = of_day(day, RunKind::Sweep);
        report.outcome = outcome;
        assert_eq!(history.keep(&report, None).unwrap(), Kept::Stored);
    }
    assert_eq!(history.keep(&samples::none(), None).unwrap(), Kept::Stored);
}

#[test]
fn the_old_and_the_many_go_and_full_runs_are_not_driven_out_by_sweeps() {
    let (_state, history) = place();
    for day in [0, 1, 95] {
        let report = of_day(day, RunKind::Reconcile);
        let mut log = history.log(&report.id).unwrap();
        log.append(&report.differences[0]).unwrap();
        history.keep(&report, Some(log)).unwrap();
    }
    assert_eq!(ids(&history), ["00000095-reconcile"]);
    assert!(!history.dir().join("00000000-reconcile.ndjson").exists());
    assert!(history.dir().join("00000095-reconcile.ndjson").exists());
    let text = json::render(&of_day(95, RunKind::Sweep), false);
    for at in 0..2 * retention::KEPT_EACH {
        let id = format!("sweep-{at:04}");
        let text = text.replace("00000095-sweep", &id);
        fs::write(history.dir().join(format!("{id}.json")), text).unwrap();
    }
    history.keep(&of_day(96, RunKind::Sweep), None).unwrap();
    let left = ids(&history);
    assert_eq!(left.len(), retention::KEPT_EACH + 1);
    assert!(left.contains(&"00000095-reconcile".to_owned()));
    assert_eq!(left[0], "00000096-sweep");
    const { assert!(KEPT_DAYS * DAY_MS == retention::KEPT_MS) };
}

/// As the guide says.
const KEPT_DAYS: i64 = 90;

#[test]
fn what_was_never_finished_goes_after_a_while_and_foreign_files_stay() {
    let (_state, history) = place();
    let now_ms = samples::three().finished_ms;
    let age = |name: &str, days: i64| {
        let file = fs::File::create(history.dir().join(name)).unwrap();
        let ms = u64::try_from(now_ms - days * DAY_MS).unwrap();
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_millis(ms);
        file.set_modified(time).unwrap();
    };
    for (name, days) in [
        ("cut-off-long-ago.ndjson", 8),
        ("cut-off-today.ndjson", 0),
        (".report-left-over", 8),
        ("notes of mine.txt", 800),
    ] {
        age(name, days);
    }
    history.keep(&samples::three(), None).unwrap();
    let there = |name: &str| history.dir().join(name).exists();
    assert!(!there("cut-off-long-ago.ndjson") && !there(".report-left-over"));
    assert!(there("cut-off-today.ndjson") && there("notes of mine.txt"));
}

#[test]
fn a_damaged_report_is_named_and_the_others_are_listed() {
    let (_state, history) = place();
    history.keep(&samples::three(), None).unwrap();
    let whole = json::render(&samples::none(), false);
    for (name, text) in [
        ("empty.json", ""),
        ("torn.json", &whole[..whole.len() / 2]),
        ("binary.json", "\0\0\0"),
        ("foreign.json", "{\"a\":1}"),
    ] {
        fs::write(history.dir().join(name), text).unwrap();
    }
    let listing = history.list().unwrap();
    assert_eq!((listing.summaries.len(), listing.damaged.len()), (1, 4));
    for error in listing.damaged {
        assert!(matches!(error, HistoryError::Damaged { .. }), "{error}");
    }
    assert!(history.load("torn").is_err());
    assert_eq!(history.load("latest").unwrap().id, samples::three().id);
    // The counts are worth less than a start.
    fs::write(history.dir().join("quiet.json"), "{").unwrap();
    let state = history.dir().parent().unwrap();
    assert!(
        History::look(state, false, &Keyring::default())
            .quiet()
            .since(0)
            .is_empty()
    );
}

#[test]
fn a_link_is_not_followed() {
    let (state, history) = place();
    let outside = state.path().join("secret.json");
    fs::write(&outside, json::render(&samples::none(), false)).unwrap();
    symlink(&outside, history.dir().join("link.json")).unwrap();
    symlink(&outside, history.dir().join("link.ndjson")).unwrap();
    assert!(matches!(
        history.load("link"),
        Err(HistoryError::NotPlain { .. })
    ));
    assert_eq!(history.list().unwrap().damaged.len(), 1);
    let mut log = history.log("link").unwrap();
    log.append(&samples::three().differences[0]).unwrap();
    assert!(matches!(log.flush(), Err(HistoryError::NotPlain { .. })));
    assert!(fs::read_to_string(&outside).unwrap().starts_with("{\n"));
    let other = tempfile::tempdir().unwrap();
    symlink(history.dir(), other.path().join("reports")).unwrap();
    assert!(matches!(
        History::open(other.path(), false, &Keyring::default()),
        Err(HistoryError::NotPlain { .. })
    ));
    assert!(
        History::look(other.path(), false, &Keyring::default())
            .list()
            .is_err()
    );
}

#[test]
fn a_list_has_all_differences_in_their_order_whatever_an_earlier_attempt_left() {
    let (_state, history) = place();
    let report = samples::many(300);
    let mut cut_off = history.log(&report.id).unwrap();
    for one in report.differences.iter().rev() {
        cut_off.append(one).unwrap();
    }
    cut_off.flush().unwrap();
    drop(cut_off);
    let mut log = history.log(&report.id).unwrap();
    let (mut by_value, mut by_line) = (0, 0);
    for one in differences(&report) {
        let line = serde_json::to_vec(one).unwrap();
        if json::holds_no_values(&line) {
            log.append_line(&line).unwrap();
            by_line += 1;
        } else {
            log.append(one).unwrap();
            by_value += 1;
        }
    }
    assert!(by_line > 0 && by_value > 0);
    assert!(!json::holds_no_values(b"{\"fields\":[") && !json::holds_no_values(b"{}"));
    assert_eq!(log.left_out(), 0);
    history.keep(&report, Some(log)).unwrap();
    let path = history.dir().join(format!("{}.ndjson", report.id));
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<_> = text
        .lines()
        .map(|line| json::read_difference(line.as_bytes()).unwrap())
        .collect();
    let masked = differences(&report).map(|one| json::difference(one, false));
    assert_eq!(lines, masked.collect::<Vec<_>>());
}

#[test]
fn keeping_the_same_report_twice_changes_nothing() {
    let (_state, history) = place();
    for _ in 0..2 {
        history.keep(&samples::three(), None).unwrap();
    }
    assert_eq!(ids(&history), [samples::three().id]);
}
