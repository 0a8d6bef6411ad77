//! The operations log: every write is in it, with whose doing it was, and nothing of anybody's values.
//!
//! In the process where entries are looked at, by the built binary where the daemon is killed or not there, and the
//! commands are what is tried.

use serde_json::{Value, json};

use crate::{
    encryption::{KEY, PLANTED, contents, key},
    hand::{created, deleted, updated},
    process::System,
    runs::run,
    world::{World, eventually},
};

/// The entries that the daemon shows, oldest first.
async fn entries(world: &World, of: &str) -> Vec<Value> {
    let path = match of {
        "" => "/log?limit=10000".to_owned(),
        key => format!("/log?limit=10000&key={key}"),
    };
    let answer = world.door().get(&path).await;
    answer["entries"].as_array().cloned().unwrap_or_default()
}

async fn holds(world: &World) {
    let verified = world.door().get("/log/verify").await;
    assert_eq!(verified["ok"], true, "{verified}");
    let all = entries(world, "").await;
    assert_eq!(verified["entries"], all.len(), "{verified}");
}

pub fn words(entry: &Value) -> (&str, &str, &str) {
    let word = |name: &str| entry[name].as_str().unwrap_or_default();
    (word("to"), word("what"), word("outcome"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_is_an_entry_with_its_id_and_its_columns_by_name() {
    let world = World::start().await;
    let hand = world.hand();
    let id = "msg_of_this_very_delivery";
    assert_eq!(
        hand.deliver(id, &created("user_1", 5, "Qu1xada"))
            .await
            .status,
        200
    );
    world.door().idle().await;
    hand.say(&deleted("user_1", 6)).await;
    world.door().idle().await;
    let told = entries(&world, "user_1").await;
    let all: Vec<_> = told.iter().map(words).collect();
    assert_eq!(
        all,
        [
            ("convex", "upsert", "created"),
            ("convex", "delete", "deleted")
        ],
        "{told:?}"
    );
    assert_eq!(told[0]["by"], json!({"kind": "delivery", "id": id}));
    assert_eq!(told[0]["table"], "users");
    assert!(told[0]["version"].is_i64(), "{told:?}");
    let fields = told[0]["fields"].to_string();
    for name in ["\"email\"", "\"name\"", "\"profiles.firstName\""] {
        assert!(fields.contains(name), "{fields}");
    }
    assert!(!format!("{told:?}").contains("Qu1xada"));
    assert_eq!(told[1]["prev"].as_str().map(str::len), Some(64));
    holds(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repairs_are_entries_with_their_run_and_operators_wishes_are_entries_too() {
    let world = World::start().await;
    world.clerk.set_webhook_url(None);
    for n in 0..150 {
        let user = json!({"email_address": [format!("u{n}@post.example")]});
        world.clerk.create_user(user).expect("a user");
    }
    let moved = run(&world.door(), json!({"kind": "reconcile"}))
        .await
        .expect("a report");
    let told = entries(&world, "").await;
    let written = |one: &&Value| one["to"] == "convex";
    let written: Vec<&Value> = told.iter().filter(written).collect();
    let rows: u64 = written
        .iter()
        .map(|one| one["count"].as_u64().unwrap_or(1))
        .sum();
    assert_eq!(rows, 150, "each row once");
    for one in &written {
        assert_eq!(
            one["by"],
            json!({"kind": "run", "run": "reconcile", "id": moved["id"], "by": "operator"})
        );
    }
    // What an operator has asked for is there too, and by whom.
    let asked = told
        .iter()
        .find(|one| one["to"] == "daemon")
        .expect("an entry");
    assert_eq!(asked["what"], "POST /runs");
    assert!(
        asked["by"]["who"]
            .as_str()
            .is_some_and(|who| who.starts_with("uid "))
    );

    // One row that somebody has spoiled.
    let spoiled = world.clerk.users()[0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let row = world.user_row(&spoiled).expect("a row");
    let mallory = json!({"email": "mallory@attack.example"});
    let patched =
        world
            .convex
            .patch_row("users", row["_id"].as_str().unwrap_or_default(), &mallory);
    patched.expect("patched");
    let report = run(&world.door(), json!({"kind": "reconcile"}))
        .await
        .expect("a report");
    let told = entries(&world, &spoiled).await;
    let last = told.last().expect("an entry");
    assert_eq!(
        (words(last), &last["why"]),
        (("convex", "upsert", "updated"), &json!("stale"))
    );
    assert_eq!(last["by"]["id"], report["id"]);
    holds(&world).await;
}

/// A conflict about the first name that ended so; Clerk's word and the user's, as they are shown.
fn the_later_word_stays(one: &Value, winner: &str, [clerk, convex]: [&str; 2]) {
    let (field, won) = (&one["field"], &one["winner"]);
    assert_eq!((field, won), (&json!("firstName"), &json!(winner)), "{one}");
    let values = [&one["clerk"]["value"], &one["convex"]["value"]];
    assert_eq!(values, [&json!(clerk), &json!(convex)], "{one}");
    let at = |side: &str| one[side]["at"].as_str().unwrap_or_default().to_owned();
    let loser = if winner == "clerk" { "convex" } else { "clerk" };
    assert!(at(winner) > at(loser), "{one}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_both_sides_changed_is_told_with_both_words_masked() {
    let world = World::with(&[("CCS_PROFILE_EDITS__ENABLED", "true")]).await;
    let user = |name: &str| {
        let address = format!("{}@post.example", name.to_lowercase());
        let user = json!({"first_name": name, "last_name": "Varga", "email_address": [address]});
        world.clerk.create_user(user).expect("a user")
    };
    let (first, second) = (user("Ada"), user("Grace"));
    let awake = user("Edsger");
    world.quiet().await;
    let wait = std::time::Duration::from_secs(6);
    world.clerk.delay(wait, wait);
    let edit = |id: &str, name: &str| {
        let edited = world.convex.edit_profile(id, &json!({"firstName": name}));
        edited.expect("an edit");
    };
    let change = |id: &str| {
        let change = json!({"first_name": "Zuse, by the administrator"});
        world.clerk.update_user(id, change).expect("changed");
    };
    // Who has just carried something looks again within two seconds.
    edit(&awake, "Edsger W.");
    eventually("the first edit is carried", async || {
        world.clerk.user(&awake).expect("a user")["first_name"] == "Edsger W."
    })
    .await;
    let later = async || tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    edit(&first, "Augusta");
    later().await;
    change(&first);
    change(&second);
    later().await;
    edit(&second, "Hopper");
    eventually("both conflicts are told", async || {
        conflicts(&world, &first).await.len() + conflicts(&world, &second).await.len() == 2
    })
    .await;
    world.quiet().await;
    the_later_word_stays(&conflicts(&world, &first).await[0], "clerk", ["Z…", "A…"]);
    the_later_word_stays(&conflicts(&world, &second).await[0], "convex", ["Z…", "H…"]);
    let told = entries(&world, &second).await;
    let carried = told
        .iter()
        .find(|one| one["to"] == "clerk")
        .expect("a write to Clerk");
    assert_eq!(
        (words(carried), &carried["fields"]),
        (("clerk", "profile", "updated"), &json!(["firstName"]))
    );
    assert_eq!(carried["by"]["kind"], "edit");
    assert!(
        told.iter()
            .any(|one| words(one) == ("convex", "outbox", "done")),
        "{told:?}"
    );
    let all = format!("{:?}", entries(&world, "").await);
    for word in ["Augusta", "Hopper", "Zuse", "Varga"] {
        assert!(!all.contains(word), "{word}");
    }
    holds(&world).await;
}

/// What the log tells of conflicts about one user.
async fn conflicts(world: &World, id: &str) -> Vec<Value> {
    let told = entries(world, id).await;
    let of = |one: Value| one["conflict"].as_array().cloned().unwrap_or_default();
    told.into_iter().flat_map(of).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_that_is_over_before_anybody_has_seen_the_edit_is_told_too() {
    // Edits do not travel here, so nobody ever looks into the outbox: only Convex can tell.
    let world = World::start().await;
    let user = |name: &str| {
        let user = json!({"first_name": name, "last_name": "Varga",
                          "email_address": [format!("{}@post.example", name.to_lowercase())]});
        world.clerk.create_user(user).expect("a user")
    };
    let (first, second) = (user("Ada"), user("Grace"));
    let apart = user("Edsger");
    world.quiet().await;
    let wait = std::time::Duration::from_millis(500);
    world.clerk.delay(wait, wait);
    let edit = |id: &str, name: &str| {
        let edited = world.convex.edit_profile(id, &json!({"firstName": name}));
        edited.expect("an edit");
    };
    let change = |id: &str, field: &str| {
        let change = json!({field: "Zuse, by the administrator"});
        world.clerk.update_user(id, change).expect("changed");
    };
    edit(&first, "Augusta");
    edit(&apart, "Edsger W.");
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    change(&first, "first_name");
    change(&second, "first_name");
    change(&apart, "last_name");
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    edit(&second, "Hopper");
    world.quiet().await;
    for (id, winner, words, outcome) in [
        (&first, "clerk", ["Z…", "A…"], "overruled"),
        (&second, "convex", ["Z…", "H…"], "kept"),
    ] {
        let told = conflicts(&world, id).await;
        assert_eq!(told.len(), 1, "{told:?}");
        the_later_word_stays(&told[0], winner, words);
        let told = entries(&world, id).await;
        let one = told.last().expect("an entry");
        assert_eq!(self::words(one), ("convex", "edit", outcome), "{one}");
        assert_eq!(one["by"]["kind"], "delivery", "{one}");
    }
    let told = conflicts(&world, &apart).await;
    assert_eq!(
        told,
        Vec::<Value>::new(),
        "two fields, nobody's word was lost"
    );
    holds(&world).await;
}

/// The lines of `log`, and its exit code.
async fn lines(system: &System, arguments: &[&str]) -> (Option<i32>, String) {
    let output = system.run(arguments).await;
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_the_chain_holds_with_a_daemon_and_without() {
    let mut system = System::with(&[(KEY, &key(1))]).await;
    for round in 0..3_i64 {
        let hand = system.hand();
        for n in 0..20 {
            hand.say(&updated(&format!("user_{n}"), 10 + round, PLANTED[0]))
                .await;
        }
        if round == 1 {
            // In the middle of it, too.
            system.door().idle().await;
        }
        system.kill().await;
        let (code, told) = lines(&system, &["log", "verify"]).await;
        assert_eq!(code, Some(0), "{told}");
        system.start_daemon().await;
        system.door().idle().await;
    }
    let verified = system.run_json(&["log", "verify", "--json"]).await;
    assert_eq!(verified["ok"], true, "{verified}");
    assert!(verified["entries"].as_u64() >= Some(20), "{verified}");
    let (_, running) = lines(&system, &["log", "--key", "user_7"]).await;
    assert!(
        running.contains("upsert users/user_7") && running.contains("by delivery"),
        "{running}"
    );
    assert_eq!(system.terminate().await, 0);
    let (_, stopped) = lines(&system, &["log", "--key", "user_7"]).await;
    assert_eq!(stopped, running, "it says the same without a daemon");
    let (code, none) = lines(
        &system,
        &["log", "--key", "user_7", "--since", "2999-01-01"],
    )
    .await;
    assert_eq!((code, none.as_str()), (Some(0), ""));
    let one = system.run_json(&["log", "-n", "1", "--json"]).await;
    assert_eq!(one["entries"].as_array().map(Vec::len), Some(1), "{one}");
    // Under another key, and looked through.
    system.set(KEY, &format!("{},{}", key(2), key(1)));
    system.run_json(&["state", "rekey", "--json"]).await;
    system.set(KEY, &key(2));
    let survey = system.run_json(&["state", "verify", "--json"]).await;
    assert_eq!(survey["ok"], true, "{survey}");
    let again = system.run_json(&["log", "verify", "--json"]).await;
    assert_eq!(
        (&again["ok"], &again["last"]),
        (&json!(true), &verified["last"])
    );
    system.start_daemon().await;
    system.door().idle().await;
    assert_eq!(
        system.run_json(&["log", "verify", "--json"]).await["ok"],
        true
    );
    system.set(KEY, "");
    assert_eq!(system.terminate().await, 0);
    assert_eq!(lines(&system, &["log"]).await.0, Some(2), "without the key");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_changes_in_it_is_found_and_nothing_of_anybody_is_in_it() {
    let mut system = System::start().await;
    for n in 0..10 {
        let mut event = created(&format!("user_{n}"), 1, PLANTED[0]);
        event["data"]["last_name"] = PLANTED[1].into();
        event["data"]["email_addresses"][0]["email_address"] =
            format!("{}{n}@post.example", PLANTED[2]).into();
        system.hand().say(&event).await;
    }
    system.door().idle().await;
    assert_eq!(system.terminate().await, 0);
    let files = contents(&system.state.path().join("oplog"));
    assert_eq!(files.len(), 2, "a segment and the marks");
    let segment = files
        .iter()
        .find(|(path, _)| path.extension().is_some_and(|one| one == "ndjson"));
    let (path, (mode, bytes)) = segment.expect("a segment");
    assert_eq!(mode & 0o777, 0o600);
    let text = String::from_utf8(bytes.clone()).expect("lines");
    for word in PLANTED {
        assert!(!text.contains(word), "{word} is in the log");
    }
    let line = text
        .lines()
        .position(|line| line.contains("\"user_4\""))
        .expect("an entry")
        + 1;
    let tampered = text.replace("\"user_4\"", "\"user_x\"");
    std::fs::write(path, tampered).expect("written");
    let (code, told) = lines(&system, &["log", "verify"]).await;
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains(&format!("breaks at entry {line}:")), "{told}");
    system.start_daemon().await;
    system.hand().say(&created("user_11", 1, "x")).await;
    system.door().idle().await;
    let (code, told) = lines(&system, &["log", "verify"]).await;
    assert!(
        code == Some(1) && told.contains(&format!("entry {line}:")),
        "still there: {told}"
    );
    let alerts = system.door().alerts().await;
    assert!(alerts.contains(&"oplog_damaged".to_owned()), "{alerts:?}");
}
