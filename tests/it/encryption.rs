//! Encryption at rest, from outside: what lies in the state directory, which keys it needs, how they are changed.
//!
//! The built binary, killed and started with one key, another, or none. Words that occur nowhere else are planted
//! in what people are called, and the whole directory is searched for them.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::{
    hand::{created, new_id, updated},
    measure::locked,
    process::System,
};

/// The setting.
pub const KEY: &str = "CCS_STATE__ENCRYPTION_KEY";
/// What people are called here, and nothing else is.
pub const PLANTED: [&str; 4] = ["Qu1xada", "V4rgacanary", "qu1x.mail", "+15005550199"];

/// A key, each another.
pub fn key(number: u8) -> String {
    let bytes = (0..32u8).map(|at| at.wrapping_mul(7).wrapping_add(number));
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

fn personal(mut event: Value) -> Value {
    let data = &mut event["data"];
    data["first_name"] = PLANTED[0].into();
    data["last_name"] = PLANTED[1].into();
    let address = format!("{}@post.example", PLANTED[2]);
    data["email_addresses"][0]["email_address"] = address.into();
    data["phone_numbers"] = json!([{ "id": "idn_1", "phone_number": PLANTED[3] }]);
    event
}

/// The plain files of a directory, with mode and content.
pub fn contents(dir: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let (mut left, mut found) = (vec![dir.to_owned()], BTreeMap::new());
    while let Some(path) = left.pop() {
        let meta = fs::symlink_metadata(&path).expect("it is there");
        if meta.is_dir() {
            let entries = fs::read_dir(&path).expect("a directory");
            left.extend(entries.map(|entry| entry.expect("an entry").path()));
        } else if meta.is_file() {
            let bytes = fs::read(&path).expect("a file");
            found.insert(path, (meta.permissions().mode(), bytes));
        }
    }
    found
}

fn holds(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|part| part == word)
}

/// A daemon that has something of everything: rows, waiting deliveries, a dead letter, reports that show values, a
/// held plan. Killed, then searched: the files that hold a planted word.
pub async fn planted_on_disk(settings: &[(&str, &str)]) -> Vec<PathBuf> {
    let all: Vec<_> = settings
        .iter()
        .copied()
        .chain([("CCS_REPORT__SHOW_VALUES", "true")])
        .collect();
    let mut system = System::with(&all).await;
    let hand = system.hand();
    system.clerk.enable_endpoint(false);
    for number in 0..4 {
        let user = json!({
            "first_name": PLANTED[0], "last_name": PLANTED[1],
            "email_address": [format!("{}+{number}@post.example", PLANTED[2])],
        });
        let id = system.clerk.create_user(user).expect("created");
        if number < 2 {
            hand.say(&personal(created(&id, 1, "x"))).await;
        }
        let gone = format!("user_gone{number}");
        hand.say(&personal(created(&gone, 1, "x"))).await;
    }
    let mut odd = personal(created("user_odd", 1, "x"));
    odd["data"]["id"] = Value::Null;
    hand.say(&odd).await;
    system.door().idle().await;
    assert_eq!(system.door().failures().await.len(), 1);
    let held = system
        .run(&["reconcile", "--max-deletes", "1", "--json"])
        .await;
    let report = [held.stdout, held.stderr].concat();
    let report = String::from_utf8_lossy(&report).into_owned();
    assert!(
        report.contains(PLANTED[2]) && report.contains("held"),
        "{report}"
    );
    system.convex.down();
    for number in 0..6 {
        hand.say(&personal(updated(&format!("user_{number}"), 2, "x")))
            .await;
    }
    system.kill().await;
    let files = contents(system.state.path());
    let names = |part: &str| {
        files
            .keys()
            .any(|path| path.display().to_string().contains(part))
    };
    assert!(names("/plans/") && names("/reports/") && names(".seg") && names("/sled/"));
    for (path, (mode, _)) in &files {
        assert_eq!(mode & 0o077, 0, "{}", path.display());
    }
    let planted = files
        .iter()
        .filter(|(_, (_, bytes))| PLANTED.iter().any(|word| holds(bytes, word.as_bytes())));
    planted.map(|(path, _)| path.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_anybody_is_in_the_state_directory_with_a_key() {
    let found = planted_on_disk(&[(KEY, &key(1))]).await;
    assert_eq!(found, Vec::<PathBuf>::new());
    let found = planted_on_disk(&[]).await;
    let found = format!("{found:?}");
    assert!(
        found.contains(".seg") && found.contains("reports"),
        "what is searched is there: {found}"
    );
    assert!(!found.contains("oplog"), "{found}");
}

/// What the binary says when it refuses, which it does with exit code 2.
async fn refusal(system: &System, command: &[&str]) -> String {
    let output = system.run(command).await;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{command:?}: {text}");
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_or_missing_key_is_refused_and_nothing_is_touched() {
    let mut system = System::with(&[(KEY, &key(1))]).await;
    system.convex.down();
    system.hand().say(&created("user_1", 1, "Ada")).await;
    system.kill().await;
    let before = contents(system.state.path());
    let id = keys_in_state(&system)[0].clone();
    for wrong in [&key(2), ""] {
        system.set(KEY, wrong);
        for command in [
            &["run"][..],
            &["failures", "list"],
            &["audit"],
            &["state", "verify"],
            &["state", "rekey"],
            &["state", "migrate", "--from", "sled", "--to", "sled"],
        ] {
            let said = refusal(&system, command).await;
            assert!(
                said.contains("encryption_key") && !said.contains(&key(2)),
                "{said}"
            );
            if command != ["state", "rekey"] || !wrong.is_empty() {
                assert!(
                    said.contains(&id) && said.contains("put the key back"),
                    "{said}"
                );
            }
        }
        assert!(
            before == contents(system.state.path()),
            "something was touched"
        );
    }
    system.set(KEY, "tooshort");
    assert!(
        refusal(&system, &["run"])
            .await
            .contains("openssl rand -base64 32")
    );
    assert!(before == contents(system.state.path()));
    system.set(KEY, &key(1));
    system.convex.up();
    system.start_daemon().await;
    assert_eq!(system.recovered(), 1);
    system.door().idle().await;
    assert!(system.convex.row("users", "user_1").is_some());
}

/// The ids that `STATE` names.
fn keys_in_state(system: &System) -> Vec<String> {
    let text = fs::read(system.state.path().join("STATE")).expect("STATE");
    let state: Value = serde_json::from_slice(&text).expect("a document");
    let keys = state["keys"].as_array().cloned().unwrap_or_default();
    keys.iter()
        .filter_map(|key| Some(key.as_str()?.to_owned()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_without_a_key_goes_on_with_one_and_not_back() {
    let mut system = System::start().await;
    system.convex.down();
    system
        .hand()
        .say(&personal(created("user_1", 1, "x")))
        .await;
    system.kill().await;
    assert!(keys_in_state(&system).is_empty());
    system.set(KEY, &key(1));
    system.start_daemon().await;
    assert_eq!((system.recovered(), keys_in_state(&system).len()), (1, 1));
    let late = created("user_2", 1, "L4tercanary");
    system.hand().say(&late).await;
    system.convex.up();
    system.door().idle().await;
    assert_eq!(system.convex.rows("users").len(), 2);
    system.kill().await;
    let files = contents(system.state.path());
    assert!(
        !files
            .values()
            .any(|(_, bytes)| holds(bytes, b"L4tercanary"))
    );
    let survey = system.run_json(&["state", "verify", "--json"]).await;
    assert_eq!(survey["ok"], true, "{survey}");
    assert_eq!(
        survey["records"].as_array().map(Vec::len),
        Some(2),
        "{survey}"
    );
    system.set(KEY, "");
    refusal(&system, &["run"]).await;
    system.set(KEY, &key(1));
    system.run_json(&["state", "rekey", "--json"]).await;
    let files = contents(system.state.path());
    let plain: Vec<_> = files
        .iter()
        .filter(|(_, (_, bytes))| PLANTED.iter().any(|word| holds(bytes, word.as_bytes())))
        .map(|(path, _)| path)
        .collect();
    assert!(plain.is_empty(), "{plain:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_changed_under_load_and_kills_and_nothing_is_lost() {
    let mut system = System::with(&[(KEY, &key(1))]).await;
    let mut acknowledged = 0;
    for (round, keys) in [
        key(1),
        format!("{},{}", key(2), key(1)),
        format!("{},{}", key(2), key(1)),
    ]
    .iter()
    .enumerate()
    {
        if round > 0 {
            system.set(KEY, keys);
            system.start_daemon().await;
        }
        // Some wait when it is killed.
        if round == 1 {
            system.convex.down();
        }
        for number in 0..20 {
            let user = format!("user_{round}_{number}");
            let answer = system
                .hand()
                .deliver(&new_id(), &created(&user, 1, "Ada"))
                .await;
            assert_eq!(answer.status, 200);
            acknowledged += 1;
        }
        system.kill().await;
    }
    assert_eq!(keys_in_state(&system).len(), 2);
    // Killed somewhere in it; the state can be opened after each, and the last one comes to its end.
    for wait_ms in [0, 5, 20, 60] {
        let mut rekey = system.spawn(&["state", "rekey"]);
        tokio::time::sleep(std::time::Duration::from_millis(wait_ms)).await;
        let _ = rekey.kill().await;
        let survey = system.run_json(&["state", "verify", "--json"]).await;
        assert_eq!(survey["ok"], true, "{survey}");
    }
    let done = system.run_json(&["state", "rekey", "--json"]).await;
    system.set(KEY, &key(2));
    let survey = system.run_json(&["state", "verify", "--json"]).await;
    assert_eq!(survey["ok"], true, "{survey}");
    let under: Vec<&Value> = survey["records"].as_array().into_iter().flatten().collect();
    let others = under.iter().filter(|counts| counts["key"] != done["key"]);
    let left: u64 = others.filter_map(|counts| counts["journal"].as_u64()).sum();
    assert_eq!((left, &survey["findings"]), (0, &json!([])), "{survey}");
    system.convex.up();
    system.start_daemon().await;
    system.door().idle().await;
    assert_eq!(system.convex.rows("users").len(), acknowledged);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_commands_say_who_has_it_what_is_damaged_and_what_there_is_not() {
    let mut system = System::with(&[(KEY, &key(1))]).await;
    system.hand().say(&created("user_1", 1, "Ada")).await;
    system.hand().say(&created("user_2", 1, "Bea")).await;
    system.door().idle().await;
    let code = async |system: &System, command: &[&str]| {
        let output = system.run(command).await;
        let text = [output.stdout, output.stderr].concat();
        (
            output.status.code(),
            String::from_utf8_lossy(&text).into_owned(),
        )
    };
    for command in [&["state", "verify"][..], &["state", "rekey"]] {
        let (exit, said) = code(&system, command).await;
        assert_eq!(exit, Some(4), "{said}");
        assert!(said.contains("stop the daemon"), "{said}");
    }
    let nats = &["state", "migrate", "--from", "sled", "--to", "nats"];
    let (exit, said) = code(&system, nats).await;
    assert_eq!(exit, Some(2), "{said}");
    assert!(said.contains("no backend \"nats\""), "{said}");
    assert_eq!(system.terminate().await, 0);
    let (exit, said) = code(&system, &["state", "verify"]).await;
    assert_eq!(exit, Some(0), "{said}");
    assert!(
        said.contains("(writes)") && said.contains("Nothing is damaged."),
        "{said}"
    );
    let same = &["state", "migrate", "--from", "sled", "--to", "sled"];
    assert_eq!(code(&system, same).await.0, Some(0));
    damage_journal(&system);
    fs::set_permissions(
        system.state.path().join("STATE"),
        fs::Permissions::from_mode(0o644),
    )
    .expect("ours");
    let (exit, said) = code(&system, &["state", "verify"]).await;
    assert_eq!(exit, Some(1), "{said}");
    assert!(
        said.contains("STATE is open to others") && said.contains("There is damage."),
        "{said}"
    );
    assert!(said.contains("journal 1 place(s)"), "{said}");
}

/// Flips a bit in the middle of the journal's first entry.
fn damage_journal(system: &System) {
    let path = system.state.path().join("journal/0000000001.seg");
    let mut bytes = fs::read(&path).expect("a segment");
    bytes[200] ^= 1;
    fs::write(&path, bytes).expect("ours");
}

/// Swaps two values of the derived state; answers whether nobody sees it.
pub async fn swapped_is_believed(settings: &[(&str, &str)]) -> bool {
    let mut system = System::with(settings).await;
    for user in ["user_1", "user_2"] {
        system.hand().say(&created(user, 1, "Ada")).await;
        system.door().idle().await;
    }
    assert_eq!(system.terminate().await, 0);
    let db = sled::Config::new()
        .path(system.state.path().join("derived/sled"))
        .open();
    let db = db.expect("sled opens");
    let ledger = db.open_tree("ledger.log").expect("a tree");
    let mut two = ledger.iter().map(|run| run.expect("it reads"));
    let (one, first) = two.next().expect("a value");
    let (other, second) = two.next().expect("another value");
    ledger.insert(one, second).expect("it writes");
    ledger.insert(other, first).expect("it writes");
    db.flush().expect("it writes");
    drop((two, ledger, db));
    let survey = system.run(&["state", "verify", "--json"]).await;
    let survey: Value = serde_json::from_slice(&survey.stdout).expect("a survey");
    !survey.to_string().contains("not what was encrypted there")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_in_another_ones_place_is_seen() {
    assert!(!swapped_is_believed(&[(KEY, &key(1))]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_are_not_swapped_out_and_nothing_else_is_locked() {
    let without = System::start().await;
    let with = System::with(&[(KEY, &key(1))]).await;
    let (without, with) = (locked(without.pid()), locked(with.pid()));
    assert!(without == 0 && with > 0, "{without} and {with} bytes");
}
