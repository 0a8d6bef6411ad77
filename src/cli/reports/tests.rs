//! `reports` on a state directory: none, some, damaged ones; every format, on stdout and into a file.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use super::*;
use crate::{config::Env, store::crypt::Keyring};

const REPORT: &str = r#"{"schema":"clerk-convex-sync/report/1","id":"ID","kind":"KIND",
 "started_at":"2026-03-01T03:00:00.000Z","finished_at":"2026-03-01T03:00:03.240Z","plan_digest":null,
 "outcome":"repaired","resumed":false,"tables":{"users":{"clerk":10,"convex":9,"missing":1,"repaired":1}},
 "differences":[{"table":"users","key":"user_1","kind":"stale","action":"updated","reason":null,
 "fields":[{"field":"email","clerk":"ada@lovelace.com","convex":null}]}],
 "calls":{"clerk":1,"convex_queries":1,"convex_mutations":1},"bytes":{"clerk":1,"convex":1}}"#;

fn put(state: &Path, id: &str, kind: &str) {
    let dir = state.join("reports");
    fs::create_dir_all(&dir).unwrap();
    let text = REPORT.replace("ID", id).replace("KIND", kind);
    fs::write(dir.join(format!("{id}.json")), text).unwrap();
}

/// How a command ends on this state directory.
fn ends(state: &Path, arguments: &[&str]) -> Result<Exit, Failure> {
    #[derive(clap::Parser)]
    struct Line {
        #[command(subcommand)]
        command: ReportsCommand,
    }
    let line = std::iter::once("reports").chain(arguments.iter().copied());
    let line = <Line as clap::Parser>::try_parse_from(line).expect("a command");
    let env = Env::new([("CCS_STATE__DIR", state.to_str().unwrap())]);
    let context = Context {
        config: None,
        output: output::Output::new(&env),
        env,
    };
    reports(&line.command, &context)
}

#[test]
fn without_reports_there_is_nothing_to_list_and_nothing_to_show() {
    let state = tempfile::tempdir().unwrap();
    assert_eq!(ends(state.path(), &["list"]), Ok(Exit::Done));
    assert_eq!(ends(state.path(), &["list", "--json"]), Ok(Exit::Done));
    let failure = ends(state.path(), &["show"]).unwrap_err();
    assert_eq!(failure.exit, Exit::Failed);
    assert!(
        failure.complaints[0].message.contains("audit"),
        "{failure:?}"
    );
    assert!(listing(&[], 0, Paint::PLAIN).contains("No reports yet"));
    assert_eq!(
        fs::read_dir(state.path()).unwrap().count(),
        0,
        "looking made something"
    );
}

#[test]
fn what_was_not_put_right_is_open() {
    let text = REPORT.replace("KIND", "audit");
    let text = text.replace(r#""missing":1,"repaired":1"#, r#""missing":3,"repaired":1"#);
    let summary = report::json::read_summary(text.as_bytes()).unwrap();
    let text = listing(&[summary], 1, Paint::PLAIN);
    assert!(text.contains(" 3      1         2"), "{text}");
}

#[test]
fn a_report_is_shown_in_every_format() {
    let state = tempfile::tempdir().unwrap();
    put(
        state.path(),
        "019ca76c-0001-7000-8000-000000000001",
        "reconcile",
    );
    put(
        state.path(),
        "019ca76d-0001-7000-8000-000000000001",
        "audit",
    );
    for arguments in [
        &["list", "--kind", "audit", "--limit", "1"][..],
        &["show"],
        &["show", "019ca76c", "--json"],
        &["show", "--json", "--format", "json"],
        &["show", "latest", "--format", "md"],
        &["show", "--format", "html"],
    ] {
        assert_eq!(
            ends(state.path(), arguments),
            Ok(Exit::Done),
            "{arguments:?}"
        );
    }
    let failure = ends(state.path(), &["show", "--json", "--format", "md"]).unwrap_err();
    assert_eq!(failure.exit, Exit::Usage, "{failure:?}");
    for (arguments, says) in [
        (&["show", "019ca7"][..], "2 reports"),
        (&["show", "nonsense"], "no report"),
        (&["show", "../../etc/passwd"], "no report"),
    ] {
        let failure = ends(state.path(), arguments).unwrap_err();
        assert_eq!(failure.exit, Exit::Failed);
        assert!(failure.complaints[0].message.contains(says), "{failure:?}");
    }
}

#[test]
fn a_file_gets_the_format_of_its_name_and_is_for_its_owner() {
    let state = tempfile::tempdir().unwrap();
    put(
        state.path(),
        "019ca76c-0001-7000-8000-000000000001",
        "reconcile",
    );
    for (name, begins) in [
        ("r.html", "<!doctype html>"),
        ("r.md", "### Reconcile"),
        ("r.json", "{\n  \"schema\""),
        ("r.txt", "Reconcile · repaired"),
    ] {
        let path = state.path().join(name);
        let arguments = ["show", "--output", path.to_str().unwrap()];
        assert_eq!(ends(state.path(), &arguments), Ok(Exit::Done));
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(begins), "{text}");
        // What was written with its values is masked by whoever may not show them.
        assert!(!text.contains("lovelace"), "{text}");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let failure = ends(state.path(), &["show", "--output", "/nowhere/r.md"]).unwrap_err();
    assert_eq!(failure.exit, Exit::Failed);
}

#[test]
fn a_damaged_report_does_not_hide_the_others() {
    let state = tempfile::tempdir().unwrap();
    put(
        state.path(),
        "019ca76c-0001-7000-8000-000000000001",
        "reconcile",
    );
    fs::write(state.path().join("reports/019ca76e.json"), "{").unwrap();
    assert_eq!(ends(state.path(), &["list"]), Ok(Exit::Done));
    assert_eq!(ends(state.path(), &["show"]), Ok(Exit::Done));
    let failure = ends(state.path(), &["show", "019ca76e"]).unwrap_err();
    assert!(
        failure.complaints[0].message.contains("damaged"),
        "{failure:?}"
    );
}

#[test]
fn the_list_fits_in_a_terminal() {
    let state = tempfile::tempdir().unwrap();
    for at in 0..3 {
        put(
            state.path(),
            &format!("019ca76c-000{at}-7000-8000-000000000001"),
            "reconcile",
        );
    }
    let all = History::look(state.path(), false, &Keyring::default())
        .list()
        .unwrap()
        .summaries;
    let text = listing(&all[..2], 3, Paint::PLAIN);
    insta::assert_snapshot!(text);
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
}
