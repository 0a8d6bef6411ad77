//! What a signed delivery may hold that nobody has asked for.
//!
//! Words that would be a line of their own, a colour, or the end of a document, in every place from which the daemon
//! takes something: none of them gets into a log, a list, a figure or a small file. And members that would be columns:
//! only those that are mapped get into a row.

use std::fs;

use clerk_convex_sync::sandbox::convex::{FaultKind, FaultRule};
use serde_json::{Value, json};

use crate::{
    hand::{created, new_id},
    process::System,
    world::{World, eventually},
};

/// A line that claims to be ours.
const EVIL: &str = "\u{1b}[31m\r\n{\"level\":\"ERROR\",\"message\":\"pl4nted\"}\n";
/// The longest value of a field, in bytes.
const LONGEST: usize = 256;

/// Events with those words somewhere, each about a user of its own.
fn events(round: &str) -> Vec<Value> {
    let event = |at: usize| created(&format!("user_{round}_{at}"), 1, "Ada");
    let places: [fn(&mut Value); 9] = [
        |event| event["type"] = EVIL.into(),
        |event| event["data"]["id"] = EVIL.into(),
        |event| event["instance_id"] = EVIL.into(),
        |event| event["instance_id"] = "i".repeat(100_000).into(),
        |event| event["data"]["first_name"] = EVIL.into(),
        |event| event["data"]["updated_at"] = EVIL.into(),
        |event| event["data"]["public_metadata"] = json!({ "role": EVIL, EVIL: EVIL }),
        |event| event["data"][EVIL] = EVIL.into(),
        |event| event["data"]["email_addresses"][0]["email_address"] = EVIL.into(),
    ];
    let mut all = Vec::new();
    for (at, place) in places.iter().enumerate() {
        let mut event = event(at);
        place(&mut event);
        all.push(event);
    }
    all.push(event(all.len()));
    all
}

async fn deliver(system: &System, round: &str) {
    let events = events(round);
    // The app's own code refuses the last one.
    let mut refuse = FaultRule::new(FaultKind::RejectKey);
    refuse.key = Some(format!("user_{round}_{}", events.len() - 1));
    refuse.code = Some(EVIL.to_owned());
    system.convex.fault(refuse);
    for event in &events {
        assert_eq!(system.hand().deliver(&new_id(), event).await.status, 200);
    }
    system.door().idle().await;
    assert!(system.door().failures().await.len() >= 5);
}

fn clean(place: &str, text: &str) {
    // The letters of a code that the app's functions answer with are shown; what could make a line of them is not.
    assert!(!text.contains("\"pl4nted"), "{place}: {text}");
    assert!(!text.contains('\u{1b}'), "{place}: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_looks_like_a_line_of_ours_is_in_no_log_and_no_list() {
    let mut system = System::with(&[
        ("CCS_LOG__LEVEL", "trace"),
        ("CCS_USERS__ROLES", "user,admin"),
    ])
    .await;
    deliver(&system, "json").await;
    for path in ["/status", "/metrics", "/failures", "/log"] {
        clean(path, &system.door().text("GET", path, None).await);
    }
    for command in [
        &["status"][..],
        &["failures", "list"],
        &["log"],
        &["audit"],
        &["reports", "show"],
    ] {
        let output = system.run(command).await;
        clean(&command.join(" "), &String::from_utf8_lossy(&output.stdout));
        clean(&command.join(" "), &String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(system.terminate().await, 0);
    let text = system.log.text();
    clean("the log", &text);
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        for (name, value) in line.as_object().expect("an object") {
            let length = value.as_str().map_or(0, str::len);
            assert!(name == "message" || length <= LONGEST, "{name}: {value}");
        }
    }
    // Not even there, where it is small and read first.
    let state = fs::read(system.state.path().join("STATE")).expect("a file");
    assert!(state.len() < 1_000, "{}", String::from_utf8_lossy(&state));

    // For people: each line begins with its time.
    system.set("CCS_LOG__FORMAT", "text");
    let before = text.lines().count();
    system.launch();
    let url = format!("http://{}/readyz", system.address());
    eventually("it is ready", async || {
        reqwest::get(&url)
            .await
            .is_ok_and(|answer| answer.status() == 200)
    })
    .await;
    deliver(&system, "text").await;
    assert!(
        !system
            .door()
            .alerts()
            .await
            .contains(&"state_damaged".to_owned())
    );
    assert_eq!(system.terminate().await, 0);
    let text = system.log.text();
    clean("the log", &text);
    let lines: Vec<&str> = text.lines().skip(before).collect();
    assert!(lines.len() > 10, "{lines:?}");
    for line in lines {
        assert!(line.starts_with("20") && line.contains('Z'), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_fifty_members_that_would_be_columns_none_gets_into_a_row() {
    const COLUMNS: [&str; 17] = [
        "_id",
        "_creationTime",
        "clerkId",
        "clerkCreatedAt",
        "clerkUpdatedAt",
        "email",
        "name",
        "username",
        "imageUrl",
        "role",
        "organizationId",
        "appId",
        "createdAt",
        "updatedAt",
        "lastSyncAt",
        "creditsBalance",
        "subscriptionTier",
    ];
    let world = World::start().await;
    let mut event = created("user_odd", 1, "Ada");
    let data = &mut event["data"];
    // That is a member of Clerk's, too.
    for column in COLUMNS.into_iter().filter(|column| *column != "username") {
        data[column] = "pl4nted".into();
    }
    for odd in [
        "$set",
        "__proto__",
        "isAdmin",
        "deletedAt",
        "passwordHash",
        "kind",
        "table",
        "revive",
        "linkEmail",
    ] {
        data[odd] = json!({ "role": "admin" });
    }
    for n in 0..30 {
        data[format!("column{n}")] = n.into();
    }
    // Only a server writes public metadata, and only a word of users.roles is a role.
    let claims = json!({ "role": "admin", "appId": "pl4nted", "organizationId": "org_pl4nted" });
    data["unsafe_metadata"] = claims.clone();
    data["private_metadata"] = claims;
    data["public_metadata"] = json!({ "role": "owner", "_id": "pl4nted", "creditsBalance": 1e9 });
    world.hand().say(&event).await;
    world.door().idle().await;
    let row = world.user_row("user_odd").expect("a row");
    for (column, value) in row.as_object().expect("a row") {
        assert!(COLUMNS.contains(&column.as_str()), "{column} is in the row");
        assert!(!value.to_string().contains("pl4nted"), "{column}: {value}");
    }
    assert_eq!(row["role"], "user");
    assert_eq!(row["creditsBalance"].as_f64(), Some(10_000.0));
    let profile = world.convex.row("profiles", "user_odd").expect("a row");
    assert!(!profile.to_string().contains("pl4nted"), "{profile}");
    world.settled().await;
}
