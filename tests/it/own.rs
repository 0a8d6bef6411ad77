//! What the daemon keeps to itself: its state directory and its memory.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use crate::{hand::created, process::System};

/// Everything below a directory that others than its owner could get at.
fn open_to_others(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut looked_at = 0;
    let mut left = vec![dir.to_owned()];
    while let Some(path) = left.pop() {
        let kind = fs::symlink_metadata(&path).expect("it is there");
        looked_at += 1;
        if kind.is_dir() {
            let entries = fs::read_dir(&path).expect("a directory");
            left.extend(entries.map(|entry| entry.expect("an entry").path()));
        }
        // At the socket the kernel says who connects, and the daemon decides; its directory is closed anyway.
        let others = match kind.file_type().is_socket() {
            true => 0o007,
            false => 0o077,
        };
        if kind.permissions().mode() & others != 0 {
            found.push(path);
        }
    }
    assert!(
        looked_at > 3,
        "only {looked_at} entries in {}",
        dir.display()
    );
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_directory_is_the_daemons_alone_even_if_it_was_not() {
    let mut system = System::start().await;
    system.hand().say(&created("user_1", 1, "Ada")).await;
    system.door().idle().await;
    assert_eq!(open_to_others(system.state.path()), Vec::<PathBuf>::new());
    assert_eq!(system.terminate().await, 0);
    let state = system.state.path().to_owned();
    for (path, mode) in [
        ("STATE", 0o644),
        ("journal", 0o755),
        ("derived", 0o777),
        ("", 0o755),
    ] {
        fs::set_permissions(state.join(path), Permissions::from_mode(mode)).expect("ours");
    }
    system.start_daemon().await;
    assert_eq!(open_to_others(&state), Vec::<PathBuf>::new());
    let told = system.log.count("was open to other users");
    assert_eq!(told, 4, "{}", system.log.text());
    system.door().every_delivery_has_one_end(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_in_the_state_directory_stops_the_start() {
    let mut system = System::start().await;
    assert_eq!(system.terminate().await, 0);
    let elsewhere = tempfile::NamedTempFile::new().expect("a file");
    symlink(elsewhere.path(), system.state.path().join("journal/9.seg")).expect("a link");
    let ended = system.run(&["run"]).await;
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let complaint = String::from_utf8_lossy(&ended.stderr);
    assert!(complaint.contains("9.seg is a link"), "{complaint}");
    assert_eq!(fs::metadata(elsewhere.path()).expect("there").len(), 0);
}

/// A command under which the daemon is another user, to whom the state then belongs; none where nobody can be that.
fn as_somebody_else(system: &System) -> Option<[&'static str; 4]> {
    const SOMEBODY: u32 = 12_345;
    const BECOMES: [&str; 4] = [
        "setpriv",
        "--reuid=12345",
        "--regid=12345",
        "--clear-groups",
    ];
    let tried = Command::new(BECOMES[0])
        .args(&BECOMES[1..])
        .args([env!("CARGO_BIN_EXE_clerk-convex-sync"), "--version"])
        .output();
    let works = tried.is_ok_and(|output| output.status.success());
    let ids = Some(SOMEBODY);
    (works && chown(system.state.path(), ids, ids).is_ok()).then_some(BECOMES)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_leaves_no_memory_behind() {
    let mut system = System::prepared(&[]).await;
    // What is root's belongs to root whether it may be dumped or not.
    match as_somebody_else(&system) {
        Some(command) => system.start_by(&command),
        None => println!("NOT RUN as another user: nobody can be that here"),
    }
    system.start_daemon().await;
    let process = format!("/proc/{}", system.pid().as_raw_nonzero());
    let limits = fs::read_to_string(format!("{process}/limits")).expect("a running process");
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let words: Vec<&str> = core.expect("a limit").split_whitespace().collect();
    assert_eq!(words[4..6], ["0", "0"], "{limits}");
    // The kernel gives the files of a process that may not be dumped to root.
    let owner = fs::metadata(format!("{process}/environ")).expect("a running process");
    assert_eq!(owner.uid(), 0);
}
