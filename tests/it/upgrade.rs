//! A state directory of an older layout goes on in today's; one of a newer layout is refused and left alone.
//!
//! The older one is written here byte by byte, as its release wrote it, so that no change of today's code can
//! change it too.

use std::{fs, path::Path};

use serde_json::Value;

use crate::{
    encryption::{KEY, contents, key},
    hand::created,
    process::System,
};

/// A payload of a frame: length, checksum over length and payload, payload.
fn frame(payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_le_bytes();
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&length), payload);
    [&length[..], &checksum.to_le_bytes(), payload].concat()
}

/// A segment's head: magic, layout of the segment, its number, the first entry's number, nothing, checksum.
fn header(format: u32, segment: u32, first: u64) -> Vec<u8> {
    let mut head = b"ccsjrnl\0".to_vec();
    head.extend(format.to_le_bytes());
    head.extend(segment.to_le_bytes());
    head.extend(first.to_le_bytes());
    head.extend([0; 4]);
    let checksum = crc32c::crc32c(&head);
    head.extend(checksum.to_le_bytes());
    head
}

/// A delivery about a user, as layout 1 had it.
fn entry(number: u64, user: &str) -> Vec<u8> {
    let event = created(user, 1, "Ada");
    let version = event["data"]["updated_at"].as_i64().expect("a time");
    let mut payload = vec![1];
    payload.extend(number.to_le_bytes());
    payload.extend(version.to_le_bytes()); // when it came
    payload.extend([2, 0]); // names a record; a delivery
    payload.extend(version.to_le_bytes());
    payload.extend(number.to_le_bytes()); // a fingerprint
    payload.push(1); // users
    payload.push(u8::try_from(user.len()).expect("short"));
    payload.extend(user.as_bytes());
    let id = format!("msg_old{number}");
    payload.extend(u16::try_from(id.len()).expect("short").to_le_bytes());
    payload.extend(id.as_bytes());
    payload.push(12);
    payload.extend(b"user.created");
    payload.extend(event.to_string().into_bytes());
    frame(&payload)
}

/// Entries 1 to 3, of which the first has its verdict.
fn layout_1(dir: &Path) {
    let mut segment = header(1, 1, 1);
    for number in 1..=3 {
        segment.extend(entry(number, &format!("user_old{number}")));
    }
    let mut verdict = vec![2, 1, 0];
    verdict.extend(1u64.to_le_bytes());
    verdict.extend([1, 0]);
    segment.extend(frame(&verdict));
    fs::create_dir_all(dir.join("journal")).expect("ours");
    fs::write(dir.join("journal/0000000001.seg"), segment).expect("ours");
    let db = sled::Config::new().path(dir.join("derived/sled")).open();
    let db = db.expect("sled opens");
    let cells = db.open_tree("cells").expect("a tree");
    cells
        .insert("generation", &7u64.to_le_bytes()[..])
        .expect("it writes");
    db.flush().expect("it writes");
    let state = r#"{"layout":1,"generation":7,"highest_seq":3}"#;
    fs::write(dir.join("STATE"), state).expect("ours");
}

fn state(dir: &Path) -> Value {
    let text = fs::read(dir.join("STATE")).expect("STATE");
    serde_json::from_slice(&text).expect("a document")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_layout_1_goes_on_with_and_without_a_key() {
    for key in [String::new(), key(1)] {
        let mut system = System::prepared(&[(KEY, &key)]).await;
        layout_1(system.state.path());
        system.convex.down();
        system.start_daemon().await;
        assert_eq!(system.recovered(), 2, "{}", system.log.text());
        assert_eq!(
            system
                .door()
                .alerts()
                .await
                .iter()
                .filter(|alert| alert.contains("state"))
                .count(),
            0
        );
        system.hand().say(&created("user_new", 1, "Bea")).await;
        // Killed with everything still waiting, old and new.
        system.kill().await;
        let now = state(system.state.path());
        assert_eq!((&now["layout"], &now["generation"]), (&2.into(), &7.into()));
        let survey = system.run_json(&["state", "verify", "--json"]).await;
        assert_eq!(survey["ok"], true, "{survey}");
        assert_eq!(survey["journal"]["waiting"], 3, "{survey}");
        system
            .run_json(&[
                "state", "migrate", "--from", "sled", "--to", "sled", "--json",
            ])
            .await;
        system.convex.up();
        system.start_daemon().await;
        system.door().idle().await;
        let mut rows: Vec<String> = system
            .convex
            .rows("users")
            .iter()
            .filter_map(|row| Some(row["clerkId"].as_str()?.to_owned()))
            .collect();
        rows.sort();
        assert_eq!(rows, ["user_new", "user_old2", "user_old3"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_a_newer_layout_is_refused_and_left_alone() {
    let system = System::prepared(&[]).await;
    layout_1(system.state.path());
    let newer = r#"{"layout":3,"generation":"in a form that nobody knows yet"}"#;
    fs::write(system.state.path().join("STATE"), newer).expect("ours");
    let segment = system.state.path().join("journal/0000000001.seg");
    for in_state in [true, false] {
        if !in_state {
            // An older STATE beside a journal that a newer release has written in.
            let older = r#"{"layout":1,"generation":7,"highest_seq":3}"#;
            fs::write(system.state.path().join("STATE"), older).expect("ours");
            let mut bytes = fs::read(&segment).expect("a segment");
            bytes.splice(..32, header(3, 1, 1));
            fs::write(&segment, bytes).expect("ours");
            fs::write(system.state.path().join("journal/LOCK"), "").expect("ours");
        }
        let before = contents(system.state.path());
        for command in [
            &["run"][..],
            &["failures", "list"],
            &["state", "migrate", "--from", "sled", "--to", "sled"],
        ] {
            let output = system.run(command).await;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{command:?}: {said}");
            assert!(
                said.contains("newer release") && said.contains("othing was touched"),
                "{said}"
            );
        }
        let after = contents(system.state.path());
        let bytes = |all: &std::collections::BTreeMap<_, (u32, Vec<u8>)>| -> Vec<Vec<u8>> {
            all.values().map(|(_, bytes)| bytes.clone()).collect()
        };
        if in_state {
            assert!(before == after, "something was touched");
        } else {
            assert!(bytes(&before) == bytes(&after), "something was touched");
        }
    }
}
