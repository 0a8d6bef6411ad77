//! Secrets and personal values are in no log, metric, status, list, process list or error body.
//!
//! Words that occur nowhere else are planted as keys, secrets, names, addresses and numbers; the daemon
//! logs all that it can (`trace`) while everything goes well and badly; then every output is searched.
//! Left out: the state directory, of which `encryption.rs` speaks, and `failures show`, which shows
//! the event as it was received because somebody asked for it.

use axum::{Router, body::Bytes, routing::post};
use clerk_convex_sync::sandbox::{
    clerk::{
        ClerkOptions, ClerkSim,
        faults::{Fault, Wrong},
    },
    convex::{FaultKind, FaultRule},
};
use serde_json::{Value, json};

use crate::{
    hand::{Answer, Hand, created, new_id, updated},
    process::System,
    world::eventually,
};

/// What must be found nowhere. Secrets first, then what is somebody's.
const SECRETS: [&str; 8] = [
    "sk_test_c4n4ryKey000000000000000000",
    "c4n4ryDeploy",
    "YzRuNHJ5LXNpZ25pbmcta2V5LTAwMDAx",
    "YzRuNHJ5LXNpZ25pbmcta2V5LTAwMDAy",
    "c4n4ryToken0000000000000",
    "c4n4ryOperates0000000000",
    "c4n4ryReads0000000000000",
    "c4a4a7ee00112233445566778899aabbccddeeff0102030405060708090a0b0c",
];
const PERSONAL: [&str; 5] = [
    "Qu1xada",
    "V4rgacanary",
    "qu1x.mail",
    "+15005550199",
    "qu1xmeta",
];

fn settings() -> [(&'static str, String); 9] {
    [
        ("CLERK_SECRET_KEY", SECRETS[0].to_owned()),
        (
            "CONVEX_DEPLOY_KEY",
            format!("dev:quiet-otter-1|{}", SECRETS[1]),
        ),
        (
            "CLERK_WEBHOOK_SECRET",
            format!("whsec_{},{}", SECRETS[2], SECRETS[3]),
        ),
        ("CCS_ADMIN__TOKEN", SECRETS[4].to_owned()),
        ("CCS_ADMIN__OPERATE_TOKEN", SECRETS[5].to_owned()),
        ("CCS_ADMIN__READ_TOKEN", SECRETS[6].to_owned()),
        ("CCS_STATE__ENCRYPTION_KEY", SECRETS[7].to_owned()),
        ("CCS_ADMIN__ADDRESS", "127.0.0.1:0".to_owned()),
        ("CCS_LOG__LEVEL", "trace".to_owned()),
    ]
}

async fn system(more: &[(&str, &str)]) -> System {
    let mut system = prepared(more).await;
    system.start_daemon().await;
    system
}

/// Convex knows the planted key; Clerk does not, and refuses it.
async fn prepared(more: &[(&str, &str)]) -> System {
    let settings = settings();
    let pairs = settings.iter().map(|(key, value)| (*key, value.as_str()));
    let all: Vec<(&str, &str)> = pairs.chain(more.iter().copied()).collect();
    let system = System::prepared(&all).await;
    system.convex.set_deploy_key(&settings[1].1);
    system
}

fn hand(system: &System) -> Hand {
    let secret = format!("whsec_{}", SECRETS[2]);
    system.hand().signing_with(&[&secret])
}

/// An event full of what must not be found.
fn personal(mut event: Value) -> Value {
    let data = &mut event["data"];
    data["first_name"] = PERSONAL[0].into();
    data["last_name"] = PERSONAL[1].into();
    data["username"] = format!("{}_user", PERSONAL[2]).into();
    data["email_addresses"][0]["email_address"] = format!("{}@post.example", PERSONAL[2]).into();
    data["phone_numbers"] = json!([{ "id": "idn_1", "phone_number": PERSONAL[3] }]);
    data["public_metadata"] = json!({ "role": PERSONAL[4], "bio": PERSONAL[4] });
    data["private_metadata"] = json!({ "note": PERSONAL[4] });
    event
}

fn search(what: &str, text: &str) {
    for planted in SECRETS.iter().chain(&PERSONAL) {
        let at = text.to_lowercase().find(&planted.to_lowercase());
        if let Some(at) = at {
            let line = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
            let rest = &text[line..];
            panic!(
                "{planted} is in {what}: {}",
                rest.lines().next().unwrap_or(rest)
            );
        }
    }
}

/// Looks everywhere.
async fn search_everything(system: &System, answers: &[Answer]) {
    let door = system.door();
    for path in [
        "/status",
        "/metrics",
        "/failures?limit=1000",
        "/log?limit=10000",
        "/nothing",
        "/failures/dl_999999",
    ] {
        search(path, &door.text("GET", path, None).await);
    }
    for command in [
        &["failures", "list"][..],
        &["failures", "list", "--json"],
        &["status"],
        &["status", "--json"],
        &["log", "-n", "10000"],
        &["check"],
        &["check", "--online"],
        &["reports", "list", "--json"],
        &["reports", "show"],
        &["reports", "show", "--format", "json"],
        &["reports", "show", "--format", "md"],
        &["reports", "show", "--format", "html"],
    ] {
        let output = system.run(command).await;
        search(&command.join(" "), &String::from_utf8_lossy(&output.stdout));
        search(&command.join(" "), &String::from_utf8_lossy(&output.stderr));
    }
    let process = format!("/proc/{}", system.pid().as_raw_nonzero());
    for file in ["cmdline", "comm", "status"] {
        let text = std::fs::read(format!("{process}/{file}")).expect("a running process");
        search(file, &String::from_utf8_lossy(&text));
    }
    for answer in answers {
        search("an answer", &answer.text);
    }
    search("the log", &system.log.text());
    // Of a report that is kept, others than the daemon may be shown a copy.
    let kept = std::fs::read_dir(system.state.path().join("reports"));
    for file in kept.into_iter().flatten() {
        let path = file.expect("an entry").path();
        let text = std::fs::read(&path).expect("a report");
        search(&path.display().to_string(), &String::from_utf8_lossy(&text));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_secret_or_personal_is_in_any_output_while_all_goes_well_and_badly() {
    let bio = r#"{"bio":{"pointer":"/public_metadata/bio"}}"#;
    let system = system(&[("CCS_USERS__EXTRA_FIELDS", bio), ("CCS_CONVEX__BATCH", "5")]).await;
    let hand = hand(&system);
    let mut answers = Vec::new();
    // Well; torn, so that Clerk is asked with the key (and refuses it); malformed; forged.
    for (user, version) in [("user_1", 1), ("user_2", 1), ("user_1", 2)] {
        let event = personal(updated(user, version, "x"));
        answers.push(hand.deliver(&new_id(), &event).await);
    }
    system.door().idle().await;
    let mut torn = personal(updated("user_2", 1, "x"));
    torn["data"]["first_name"] = "Other".into();
    let away = Wrong::Status {
        status: 500,
        retry_after_secs: None,
        json: false,
    };
    system
        .clerk
        .fault(Fault::next("GET /v1/users", away).times(2));
    answers.push(hand.deliver(&new_id(), &torn).await);
    let mut odd = personal(created("user_3", 1, "x"));
    odd["data"]["updated_at"] = PERSONAL[4].into();
    answers.push(hand.deliver(&new_id(), &odd).await);
    let mut named = personal(created("user_3", 1, "x"));
    named["data"]["id"] = PERSONAL[0].into();
    named["data"]["created_at"] = Value::Null;
    answers.push(hand.deliver(&new_id(), &named).await);
    let mut unsynced = personal(created("user_3", 1, "x"));
    unsynced["type"] = "session.created".into();
    answers.push(hand.deliver(&new_id(), &unsynced).await);
    let forger = hand.signing_with(&["whsec_Zm9yZ2VkLXNpZ25pbmcta2V5LTAwMDAwMDE="]);
    answers.push(
        forger
            .deliver(&new_id(), &personal(created("user_4", 1, "x")))
            .await,
    );
    assert_eq!(answers.last().map(|answer| answer.status), Some(401));
    // Refused by name, without a name, as a whole, and not at all let in.
    let mut rejects = FaultRule::new(FaultKind::RejectKey);
    rejects.key = Some("user_5".to_owned());
    system.convex.fault(rejects);
    answers.push(
        hand.deliver(&new_id(), &personal(created("user_5", 1, "x")))
            .await,
    );
    eventually("a record is refused for good", async || {
        system
            .door()
            .failures()
            .await
            .iter()
            .any(|letter| letter["key"] == "user_5")
    })
    .await;
    // What is searched for did travel: whoever asks for an event is shown it.
    let letters = system.door().failures().await;
    let refused = letters.iter().find(|letter| letter["key"] == "user_5");
    let id = refused
        .and_then(|letter| letter["id"].as_str())
        .expect("an id");
    let shown = system
        .door()
        .text("GET", &format!("/failures/{id}"), None)
        .await;
    assert!(
        PERSONAL.iter().all(|planted| shown.contains(planted)),
        "{shown}"
    );
    system.convex.clear_faults();
    let garbage = FaultRule {
        times: Some(4),
        ..FaultRule::new(FaultKind::Garbage)
    };
    system.convex.fault(garbage);
    answers.push(
        hand.deliver(&new_id(), &personal(created("user_6", 1, "x")))
            .await,
    );
    eventually("Convex talks nonsense", async || {
        system
            .convex
            .calls()
            .outcomes
            .get("garbage")
            .is_some_and(|n| *n > 0)
    })
    .await;
    system.convex.set_deploy_key("dev:other|another");
    answers.push(
        hand.deliver(&new_id(), &personal(created("user_7", 1, "x")))
            .await,
    );
    eventually("Convex lets nobody in", async || {
        let figures = system.door().figures().await;
        figures.sum("convex_requests_total", &["status=\"401\""]) > 0.0
    })
    .await;
    system.signal(rustix::process::Signal::HUP);
    eventually("the configuration is read again", async || {
        system.log.count("configuration reloaded") > 0
    })
    .await;
    assert!(system.log.count("DEBUG") > 0, "more is logged than usual");
    search_everything(&system, &answers).await;
}

/// A Convex whose functions throw, quoting what they were given, as an app's hooks may.
async fn quoting_convex() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let throw = async |body: Bytes| {
        let body = String::from_utf8_lossy(&body);
        let who = format!(
            "{} {} <{}@post.example>",
            PERSONAL[0], PERSONAL[1], PERSONAL[2]
        );
        let message = format!("Uncaught Error: no room for {who} {}, {body}", PERSONAL[3]);
        json!({ "status": "error", "errorMessage": message, "logLines": [body] }).to_string()
    };
    let answer = async || r#"{"status":"success","value":{"contract":1,"tables":["users"]}}"#;
    let router = Router::new()
        .route("/api/mutation", post(throw))
        .route("/api/query", post(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_error_of_convex_quotes_is_in_no_output() {
    let url = quoting_convex().await;
    let system = system(&[("CONVEX_URL", &url)]).await;
    let hand = hand(&system);
    let mut answers = Vec::new();
    for n in 0..3 {
        let event = personal(created(&format!("user_{n}"), 1, "x"));
        answers.push(hand.deliver(&new_id(), &event).await);
    }
    eventually("they are dead letters", async || {
        system.door().failures().await.len() == 3
    })
    .await;
    search_everything(&system, &answers).await;
}

/// Somebody full of what must not be found, as Clerk is asked to make them.
fn somebody(number: usize) -> Value {
    json!({
        "first_name": PERSONAL[0],
        "last_name": PERSONAL[1],
        "email_address": [format!("{}+{number}@post.example", PERSONAL[2])],
        "public_metadata": { "role": PERSONAL[4], "bio": PERSONAL[4] },
        "private_metadata": { "note": PERSONAL[4] },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_run_that_finds_and_repairs_differences_is_in_any_output() {
    let mut system = prepared(&[]).await;
    let knowing = ClerkOptions {
        secret_key: SECRETS[0].to_owned(),
        ..ClerkOptions::default()
    };
    system.clerk = ClerkSim::start(knowing).await.expect("simulated Clerk");
    system.start_daemon().await;
    let hand = hand(&system);
    system.clerk.enable_endpoint(false);
    let mut answers = Vec::new();
    // Missing, stale, and changed by hand; and one whom Clerk does not know.
    let mut ids = Vec::new();
    for number in 0..3 {
        ids.push(system.clerk.create_user(somebody(number)).expect("created"));
    }
    for id in &ids[..2] {
        let event = personal(created(id, 1, "x"));
        answers.push(hand.deliver(&new_id(), &event).await);
    }
    system.door().idle().await;
    let row = system.convex.row("users", &ids[0]).expect("a row");
    let patch = json!({ "name": format!("{} by hand", PERSONAL[1]) });
    let document = row["_id"].as_str().expect("an id");
    let patched = system.convex.patch_row("users", document, &patch);
    patched.expect("a row that is there");
    let orphan = personal(created("user_orphan", 1, "x"));
    answers.push(hand.deliver(&new_id(), &orphan).await);
    system.door().idle().await;
    let door = system.door();
    for kind in ["audit", "reconcile", "audit"] {
        let lines = door
            .text("POST", "/runs", Some(json!({ "kind": kind })))
            .await;
        assert!(
            lines.contains("\"progress\"") && lines.contains("\"report\""),
            "{lines}"
        );
        search(&format!("the lines of {kind}"), &lines);
        search("/status", &door.text("GET", "/status", None).await);
    }
    let synced = json!({ "table": "users", "key": ids[2] });
    search("/sync", &door.text("POST", "/sync", Some(synced)).await);
    for command in [
        &["audit"][..],
        &["audit", "--json"],
        &["reconcile"],
        &["sync", "user", &ids[2]],
    ] {
        let output = system.run(command).await;
        search(&command.join(" "), &String::from_utf8_lossy(&output.stdout));
        search(&command.join(" "), &String::from_utf8_lossy(&output.stderr));
    }
    // What is searched for did travel.
    let row = system
        .convex
        .row("users", &ids[2])
        .expect("it was repaired");
    assert!(row.to_string().contains(PERSONAL[0]), "{row}");
    let listed = system.run(&["reports", "list", "--json"]).await;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.matches("\"audit\"").count() >= 2, "{listed}");
    assert!(system.log.count("an operator asked for a change") >= 4);
    search_everything(&system, &answers).await;
}
