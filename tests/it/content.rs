//! What deliveries and rows may hold: S26 (bytes as they were signed), S27 (records that are refused),
//! S30 (what belongs to the app).
//!
//! Bodies go over a raw socket, so that nobody on the way can tidy them up.

use chrono::DateTime;
use clerk_convex_sync::sandbox::{
    clerk::DEFAULT_WEBHOOK_SECRET,
    convex::{ConvexOptions, FaultKind, FaultRule},
};
use serde_json::json;

use crate::{
    hand::{Hand, SIGNED_UP, created, deleted, new_id, now_s, signature, updated},
    process::System,
    wire::{ask, post, signed_headers},
    world::{World, eventually},
};

/// A second secret, of 24 bytes.
const OTHER: &str = "whsec_c2Vjb25kLXNpZ25pbmcta2V5LTAwMDAwMQ==";
/// The largest body that is taken, in bytes.
const MIB: usize = 1 << 20;

/// A user's event in a spelling that no serialiser would choose.
fn odd_spelling(id: &str) -> Vec<u8> {
    let (created, updated) = (SIGNED_UP, SIGNED_UP + 1);
    format!(
        "\r\n\t {{ \"type\" :\t\"us\\u0065r.created\",\n\n\"timestamp\": {updated}, \"d\\u0061ta\":{{\
         \"id\":\"{id}\",\"first_name\":\"Wrong\",\"f\\u0069rst_name\":\"\\u00c9l\\ud83d\\ude80a\",\
         \"last_name\" : \"V\\/arga\",   \"updated_at\":1,\"updated_at\":{updated},\
         \"created_at\": {created}, \"email_addresses\":[ ],\"__proto__\":{{\"a\":[[[[]]]]}},\
         \"public_metadata\":{{\"role\":\"user\",\"role\":\"admin\"}} }}  ,\"object\":\"event\"}}\n \r\n"
    )
    .into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn s26_odd_whitespace_escapes_and_repeated_keys_are_verified_and_read_as_they_were_signed() {
    let world = World::start().await;
    let address = world.daemon().public_addr();
    let body = odd_spelling("user_odd");
    let headers = signed_headers(&[DEFAULT_WEBHOOK_SECRET], &body);
    let reply = ask(address, &post(&headers, &body))
        .await
        .expect("an answer");
    assert_eq!(reply.status, 200, "{reply:?}");
    world.door().idle().await;
    let row = world.user_row("user_odd").expect("a row");
    // Of a key that is there twice the last counts, as in JavaScript.
    assert_eq!(row["name"], "Él🚀a V/arga");
    assert_eq!(row["role"], "admin");
    assert_eq!(row["email"], "");
    assert_eq!(row["clerkUpdatedAt"], SIGNED_UP + 1);
    world.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s26_a_body_of_one_mebibyte_is_taken_and_one_byte_more_is_not() {
    let world = World::start().await;
    let address = world.daemon().public_addr();
    let mut event = created("user_large", 1, "Ada");
    event["data"]["private_metadata"] = json!({ "filling": "" });
    let room = MIB - event.to_string().len();
    event["data"]["private_metadata"]["filling"] = "x".repeat(room).into();
    let body = event.to_string().into_bytes();
    assert_eq!(body.len(), MIB);
    let headers = signed_headers(&[DEFAULT_WEBHOOK_SECRET], &body);
    let reply = ask(address, &post(&headers, &body))
        .await
        .expect("an answer");
    assert_eq!(reply.status, 200, "{reply:?}");
    world.door().idle().await;
    assert_eq!(
        world.user_row("user_large").expect("a row")["name"],
        "Ada Varga"
    );

    let mut longer = body;
    longer.push(b' ');
    let headers = signed_headers(&[DEFAULT_WEBHOOK_SECRET], &longer);
    let reply = ask(address, &post(&headers, &longer))
        .await
        .expect("an answer");
    assert_eq!(reply.status, 413, "{reply:?}");
    world.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s26_secrets_with_and_without_prefix_old_and_new_and_two_signatures_are_accepted() {
    let bare = DEFAULT_WEBHOOK_SECRET
        .strip_prefix("whsec_")
        .expect("a prefix");
    let both = format!("{bare},{OTHER}");
    let world = World::with(&[("CLERK_WEBHOOK_SECRET", &both)]).await;
    let hand = Hand::new(world.daemon().public_addr(), &[]);
    let stranger = "whsec_c3RyYW5nZXItc2lnbmluZy1rZXktMDAwMDAwMQ==";
    let signers: [&[&str]; 6] = [
        &[DEFAULT_WEBHOOK_SECRET],
        &[bare],
        &[OTHER],
        &[DEFAULT_WEBHOOK_SECRET, OTHER],
        &[stranger, OTHER],
        &[stranger, stranger, DEFAULT_WEBHOOK_SECRET],
    ];
    for (n, secrets) in signers.iter().enumerate() {
        let event = created(&format!("user_{n}"), 1, "Ada");
        let answer = hand.signing_with(secrets).deliver(&new_id(), &event).await;
        assert_eq!(answer.status, 200, "{n}: {answer:?}");
    }
    let event = created("user_forged", 1, "Ada");
    let forged = hand
        .signing_with(&[stranger])
        .deliver(&new_id(), &event)
        .await;
    assert_eq!(forged.status, 401, "{forged:?}");
    world.door().idle().await;
    assert_eq!(world.convex.rows("users").len(), signers.len());
    world.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s26_one_flipped_bit_anywhere_is_refused_without_detail() {
    let world = World::start().await;
    let address = world.daemon().public_addr();
    let body = odd_spelling("user_flipped");
    let (id, now) = (new_id(), now_s());
    let signature = signature(&[DEFAULT_WEBHOOK_SECRET], &id, now, &body);
    let headers = |id: &str, now: i64, signature: &str| {
        [
            ("id", id),
            ("timestamp", &now.to_string()),
            ("signature", signature),
        ]
        .map(|(name, value)| (format!("svix-{name}"), value.to_owned()))
    };
    let mut refusals = Vec::new();
    for at in (0..body.len()).step_by(7) {
        let mut flipped = body.clone();
        // The lowest bit leaves ASCII what it is: text, so that only the signature can object.
        flipped[at] ^= 1;
        let request = post(&headers(&id, now, &signature), &flipped);
        refusals.push(ask(address, &request).await.expect("an answer"));
    }
    for at in 3..signature.len() - 1 {
        let mut other = signature.clone().into_bytes();
        other[at] = if other[at] == b'A' { b'B' } else { b'A' };
        let other = String::from_utf8(other).expect("ASCII");
        let request = post(&headers(&id, now, &other), &body);
        refusals.push(ask(address, &request).await.expect("an answer"));
    }
    let other_id = post(&headers(&new_id(), now, &signature), &body);
    refusals.push(ask(address, &other_id).await.expect("an answer"));
    let other_time = post(&headers(&id, now + 1, &signature), &body);
    refusals.push(ask(address, &other_time).await.expect("an answer"));
    for refusal in &refusals {
        assert_eq!(
            (refusal.status, refusal.body.as_str()),
            (401, "unauthorized\n")
        );
        let names = |reply: &crate::wire::Reply| -> Vec<String> {
            reply.headers.iter().map(|(name, _)| name.clone()).collect()
        };
        assert_eq!(names(refusal), names(&refusals[0]), "one answer for all");
    }
    let figures = world.door().figures().await;
    assert_eq!(figures.webhooks("bad_signature"), refusals.len() as f64);
    assert_eq!(figures.webhooks("stored"), 0.0);
    assert_eq!(world.convex.calls().mutations, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn s27_only_the_record_that_convex_refuses_waits_and_a_retry_succeeds_without_the_cause() {
    let system = System::start().await;
    let began_s = now_s();
    let mut refuses = FaultRule::new(FaultKind::RejectKey);
    refuses.key = Some("user_7".to_owned());
    system.convex.fault(refuses);
    // All of them meet in one batch.
    system.door().pause(true).await;
    for n in 0..20 {
        let event = created(&format!("user_{n}"), 1, "Ada");
        system.hand().say(&event).await;
    }
    system.door().pause(false).await;
    system.door().idle().await;
    assert_eq!(system.convex.count("users"), 19);
    assert_eq!(system.convex.row("users", "user_7"), None);
    let failures = system.door().failures().await;
    assert_eq!(failures.len(), 1, "{failures:?}");
    assert_eq!(failures[0]["key"], "user_7");
    assert_eq!(failures[0]["code"], "rejected");
    assert_eq!(failures[0]["attempts"], 4, "the first try and three more");
    let came = failures[0]["received_at"].as_str().expect("a time");
    let came = DateTime::parse_from_rfc3339(came).expect(came);
    assert!(came.timestamp() >= began_s, "{came}");
    assert!(
        system
            .door()
            .alerts()
            .await
            .contains(&"dead_letters".to_owned())
    );
    system.door().every_delivery_has_one_end(0).await;

    system.convex.clear_faults();
    let retried = system
        .run_json(&["failures", "retry", "--all", "--json"])
        .await;
    assert_eq!(retried["retried"], 1, "{retried}");
    system.door().idle().await;
    assert_eq!(
        system.convex.row("users", "user_7").expect("a row")["name"],
        "Ada Varga"
    );
    assert_eq!(system.door().failures().await.len(), 0);
    assert!(
        !system
            .door()
            .alerts()
            .await
            .contains(&"dead_letters".to_owned())
    );
    system.door().every_delivery_has_one_end(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s27_a_row_that_is_too_large_is_applied_by_a_retry_after_a_change_of_the_mapping() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let mapping = "[users]\nextra_fields = { bio = \"/public_metadata/bio\" }\n";
    std::fs::write(file.path(), mapping).expect("written");
    let convex = ConvexOptions {
        extra_fields: vec!["bio".to_owned()],
        ..ConvexOptions::default()
    };
    let mut system = System::beside(convex, &[]).await;
    system.configured_by(file.path());
    system.start_daemon().await;
    let mut event = created("user_wordy", 1, "Ada");
    event["data"]["public_metadata"]["bio"] = "x".repeat(900_000).into();
    system.hand().say(&event).await;
    system.hand().say(&created("user_terse", 1, "Bea")).await;
    system.door().idle().await;
    let failures = system.door().failures().await;
    assert_eq!(failures.len(), 1, "{failures:?}");
    assert_eq!(failures[0]["key"], "user_wordy");
    assert_eq!(system.convex.count("users"), 1, "the other one is through");

    std::fs::write(file.path(), "").expect("written");
    system.signal(rustix::process::Signal::HUP);
    eventually("the configuration is read again", async || {
        system.log.count("configuration reloaded") == 1
    })
    .await;
    let id = failures[0]["id"].as_str().expect("an id");
    let retried = system.run_json(&["failures", "retry", id, "--json"]).await;
    assert_eq!(retried["retried"], 1, "{retried}");
    system.door().idle().await;
    assert_eq!(
        system.convex.row("users", "user_wordy").expect("a row")["name"],
        "Ada Varga"
    );
    system.door().every_delivery_has_one_end(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s30_what_the_app_keeps_on_its_rows_and_rows_of_its_own_are_never_touched() {
    let defaults = r#"{"creditsBalance":10000,"subscriptionTier":"free"}"#;
    let world = World::with(&[("CCS_USERS__INSERT_DEFAULTS", defaults)]).await;
    let own = json!({ "email": "user_s30@post.example", "name": "The app's own" });
    let own_id = world.convex.insert_row("users", &own).expect("inserted");
    let own_row = || {
        let rows = world.convex.rows("users");
        rows.into_iter().find(|row| row["_id"] == own_id.as_str())
    };
    let before = own_row();
    assert!(before.is_some());

    world.hand().say(&created("user_s30", 1, "Ada")).await;
    world.door().idle().await;
    let row = world.user_row("user_s30").expect("a row");
    assert_eq!(row["creditsBalance"], 10_000);
    assert_eq!(row["subscriptionTier"], "free");
    let id = row["_id"].as_str().expect("an id");
    let spent = json!({ "creditsBalance": 7, "notes": "VIP" });
    world
        .convex
        .patch_row("users", id, &spent)
        .expect("patched");

    for version in 2..5 {
        let event = updated("user_s30", version, &format!("Ada {version}"));
        world.hand().say(&event).await;
        world.door().idle().await;
        let row = world.user_row("user_s30").expect("a row");
        assert_eq!(row["name"], format!("Ada {version} Varga"));
        assert_eq!(row["creditsBalance"], 7);
        assert_eq!(row["notes"], "VIP");
        assert_eq!(own_row(), before);
    }
    world.hand().say(&deleted("user_s30", 9)).await;
    world.door().idle().await;
    assert_eq!(world.user_row("user_s30"), None);
    assert_eq!(own_row(), before, "not even by the same address");
    world.settled().await;
}
