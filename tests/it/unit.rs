//! G44: the unit is as closed as its description says, and the program works inside of it.
//!
//! `tools/check-unit.sh` does it, with systemd's own tools and a systemd of its own; where there is none, this
//! says so.

use std::{path::Path, process::Command};

#[test]
fn g44_the_unit_is_closed_and_without_a_mistake_and_boots() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/check-unit.sh");
    let program = env!("CARGO_BIN_EXE_clerk-convex-sync");
    let output = Command::new(script).args(["--boot", program]).output();
    let output = output.expect("a shell");
    let said = String::from_utf8_lossy(&output.stdout);
    for line in said.lines() {
        println!("G44: {line}");
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(0) => assert!(said.contains("ready again after kill -9"), "{said}"),
        // What can be done here was done before.
        Some(77) => assert!(said.contains("NOT RUN"), "{said}"),
        other => panic!("{other:?}: {said}{complaint}"),
    }
}
