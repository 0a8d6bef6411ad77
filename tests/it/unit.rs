//! G44: the unit is as closed as its description says, and the program works inside of it.
//!
//! `tools/check-unit.sh` judges it, with systemd's own tools and a systemd of its own; where there is none, this
//! says so. The judge is tried on units with a mistake of each kind that it looks for.

use std::{fs, path::Path, process::Command};

const PROGRAM: &str = env!("CARGO_BIN_EXE_clerk-convex-sync");

/// What the judge says of the units in this directory of the project, or of another place: its verdict, and all that
/// it says.
fn judged(units: &Path, how: &[&str]) -> (Option<i32>, String) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut judge = Command::new(root.join("tools/check-unit.sh"));
    judge.args(how).arg(PROGRAM).env("UNITS", units);
    let output = judge.output().expect("a shell");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    (output.status.code(), said)
}

#[test]
fn g44_the_unit_is_closed_and_without_a_mistake_and_boots() {
    let (code, said) = judged(Path::new("systemd"), &["--boot"]);
    for line in said.lines() {
        println!("G44: {line}");
    }
    match code {
        Some(0) => assert!(said.contains("ready again after kill -9"), "{said}"),
        // What can be done here was done before.
        Some(77) => assert!(said.contains("NOT RUN"), "{said}"),
        other => panic!("{other:?}: {said}"),
    }
}

#[test]
fn g44_a_unit_that_is_open_or_misspelt_or_does_not_let_the_program_work_is_refused() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd");
    let name = "clerk-convex-sync.service";
    let unit = fs::read_to_string(shipped.join(name)).expect("the unit");
    for (line, broken, how, complaint) in [
        ("SystemCallFilter=@system-service\n", "", "", "too exposed"),
        ("WatchdogSec=30s", "WatchdogSec=often", "", "verify says"),
        // As closed as before, and without a mistake: only a boot shows that a reload may not run its command.
        ("ExecReload=+/", "ExecReload=/", "--boot", "FAILED: reload"),
    ] {
        assert!(unit.contains(line), "{line}");
        let units = tempfile::tempdir().expect("a directory");
        let socket = "clerk-convex-sync.socket";
        fs::copy(shipped.join(socket), units.path().join(socket)).expect("copied");
        fs::write(units.path().join(name), unit.replacen(line, broken, 1)).expect("written");
        let how: Vec<&str> = [how].into_iter().filter(|how| !how.is_empty()).collect();
        let (code, said) = judged(units.path(), &how);
        if code == Some(77) {
            println!("{said}");
            continue;
        }
        assert_eq!(code, Some(1), "{broken}: {said}");
        assert!(said.contains(complaint), "{broken}: {said}");
    }
}

/// What the judge gives no points for, or takes for granted: memory stays where it is, nobody else reads the state,
/// and secrets come as files of the service manager's.
#[test]
fn what_no_score_tells_stands_in_the_unit() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd");
    let unit = fs::read_to_string(shipped.join("clerk-convex-sync.service")).expect("the unit");
    for line in [
        "MemorySwapMax=0",
        "LimitCORE=0",
        "UMask=0077",
        "StateDirectoryMode=0700",
        "ProtectSystem=strict",
        "DynamicUser=yes",
    ] {
        assert!(unit.lines().any(|own| own == line), "{line}");
    }
    for secret in [
        "clerk-secret-key",
        "clerk-webhook-secrets",
        "convex-deploy-key",
    ] {
        let line = format!("LoadCredential={secret}:");
        assert!(unit.lines().any(|own| own.starts_with(&line)), "{line}");
    }
    // The environment of a process is read by more people than its files.
    let named = ["CLERK", "CONVEX", "SECRET", "TOKEN", "KEY"];
    let environment = unit.lines().filter(|line| line.starts_with("Environment"));
    for line in environment {
        assert!(!named.iter().any(|name| line.contains(name)), "{line}");
    }
}
