//! What the public listener answers: one test for each row of the contract's table, on a real socket.
//! Rows about size, time and rate are in `bounds.rs`.
//!
//! Bodies of answers never echo the input; every test that sends something recognisable looks for it.

use clerk_convex_sync::sandbox::clerk::DEFAULT_WEBHOOK_SECRET;
use serde_json::{Value, json};

use crate::{
    hand::{created, deleted, new_id, now_s, updated},
    wire::{Reply, ask, head, post, signed_headers},
    world::{World, eventually},
};

/// A word that is in every body here and must be in no answer.
pub const MARK: &str = "Zyx0marker";

pub type Headers = Vec<(String, String)>;

pub fn body() -> Vec<u8> {
    created("user_answers", 1, MARK).to_string().into_bytes()
}

pub fn signed(body: &[u8]) -> Headers {
    signed_headers(&[DEFAULT_WEBHOOK_SECRET], body)
}

pub async fn sent(world: &World, request: &[u8]) -> Reply {
    let reply = ask(world.daemon().public_addr(), request).await;
    let reply = reply.expect("an answer");
    let all = format!("{reply:?}");
    assert!(
        !all.contains(MARK) && !all.contains("user_answers"),
        "{all}"
    );
    assert!(!all.contains("msg_"), "{all}");
    assert_eq!(
        reply.header("server"),
        None,
        "who answers is nobody's business"
    );
    // Clerk's sender would never send this message again, whatever the status says.
    assert_eq!(reply.header("abort-message"), None);
    reply
}

async fn sent_signed(world: &World, body: &[u8]) -> u16 {
    sent(world, &post(&signed(body), body)).await.status
}

pub async fn counted(world: &World, result: &str) -> f64 {
    world.door().figures().await.webhooks(result)
}

pub fn with(mut headers: Headers, name: &str, value: &str) -> Headers {
    match headers.iter_mut().find(|(other, _)| other == name) {
        Some((_, old)) => *old = value.to_owned(),
        None => headers.push((name.to_owned(), value.to_owned())),
    }
    headers
}

pub fn without(mut headers: Headers, name: &str) -> Headers {
    headers.retain(|(other, _)| other != name);
    headers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_event_is_200_on_both_paths_and_in_both_spellings_of_the_headers() {
    let world = World::start().await;
    let mut users = 0;
    for path in ["/api/webhooks/clerk", "/api/clerk-webhook"] {
        for prefix in ["svix-", "webhook-", "SVIX-", "Webhook-"] {
            users += 1;
            let body = created(&format!("user_{users}"), 1, MARK)
                .to_string()
                .into_bytes();
            let spelled = signed(&body)
                .into_iter()
                .map(|(name, value)| (name.replace("svix-", prefix), value));
            let request = post(&spelled.collect::<Headers>(), &body);
            let request =
                String::from_utf8(request)
                    .expect("text")
                    .replacen(crate::world::PATH, path, 1);
            assert_eq!(
                sent(&world, request.as_bytes()).await.status,
                200,
                "{path} {prefix}"
            );
        }
    }
    world.door().idle().await;
    assert_eq!(world.convex.rows("users").len(), users);
    assert_eq!(counted(&world, "stored").await, users as f64);
    world.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_seen_before_is_200_without_a_second_effect() {
    let world = World::start().await;
    let id = new_id();
    let event = created("user_answers", 1, MARK);
    for _ in 0..5 {
        assert_eq!(world.hand().deliver(&id, &event).await.status, 200);
    }
    // Not even with other content: the id is the delivery.
    let other = updated("user_answers", 2, "Other");
    assert_eq!(world.hand().deliver(&id, &other).await.status, 200);
    world.door().idle().await;
    assert_eq!(world.convex.calls().mutations, 1);
    let row = world.user_row("user_answers").expect("a row");
    assert_eq!(row["name"], format!("{MARK} Varga"));
    let seen = counted(&world, "duplicate").await + counted(&world, "waiting").await;
    assert_eq!((counted(&world, "stored").await, seen), (1.0, 5.0));
    world.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_that_is_not_synced_is_200_and_counted() {
    let world = World::start().await;
    for kind in ["session.created", "email.created", "user.something_new"] {
        let mut event = created("user_answers", 1, MARK);
        event["type"] = kind.into();
        let body = event.to_string().into_bytes();
        assert_eq!(sent_signed(&world, &body).await, 200, "{kind}");
    }
    assert_eq!(counted(&world, "not_synced").await, 3.0);
    world.door().idle().await;
    assert_eq!(world.convex.calls().mutations, 0);
    assert_eq!(world.door().failures().await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_event_of_another_shape_is_200_a_dead_letter_and_its_record_is_fetched() {
    let world = World::start().await;
    world.clerk.enable_endpoint(false);
    let id = world
        .clerk
        .create_user(json!({ "first_name": "Ada" }))
        .expect("created");
    let mut event = created(&id, 1, MARK);
    event["data"]["updated_at"] = "yesterday".into();
    let nameless = b"{\"type\":\"user.updated\",\"data\":[]}".as_slice();
    let shapes = [
        event.to_string().into_bytes(),
        nameless.to_vec(),
        b"no JSON".to_vec(),
        b"".to_vec(),
    ];
    for shape in &shapes {
        assert_eq!(sent_signed(&world, shape).await, 200);
    }
    eventually("the record that was named is fetched", async || {
        world.user_row(&id).is_some()
    })
    .await;
    assert_eq!(world.user_row(&id).expect("a row")["name"], "Ada");
    let failures = world.door().failures().await;
    assert_eq!(failures.len(), shapes.len());
    assert!(
        failures
            .iter()
            .all(|failure| failure["code"] == "malformed"),
        "{failures:?}"
    );
    assert!(!Value::from(failures).to_string().contains(MARK));
    world.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_another_instance_is_200_dropped_counted_and_alerted() {
    let world = World::with(&[("CCS_CLERK__INSTANCE_ID", "ins_ours")]).await;
    for (instance, user) in [("ins_theirs", "user_theirs"), ("ins_ours", "user_ours")] {
        let mut event = created(user, 1, MARK);
        event["instance_id"] = instance.into();
        assert_eq!(sent_signed(&world, event.to_string().as_bytes()).await, 200);
    }
    let mut deletion = deleted("user_ours", 5);
    deletion["instance_id"] = "ins_theirs".into();
    world.door().idle().await;
    assert_eq!(
        sent_signed(&world, deletion.to_string().as_bytes()).await,
        200
    );
    world.door().idle().await;
    assert_eq!(world.user_row("user_theirs"), None);
    assert!(world.user_row("user_ours").is_some());
    assert_eq!(world.convex.tombstones("users").len(), 0);
    assert_eq!(counted(&world, "foreign_instance").await, 2.0);
    assert!(
        world
            .door()
            .alerts()
            .await
            .contains(&"foreign_instance".to_owned())
    );
    world.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_is_missing_or_malformed_is_400() {
    let world = World::start().await;
    let body = body();
    let good = signed(&body);
    let long = "x".repeat(300);
    let cases = [
        ("no id", without(good.clone(), "svix-id")),
        ("no timestamp", without(good.clone(), "svix-timestamp")),
        ("no signature", without(good.clone(), "svix-signature")),
        ("nothing", Vec::new()),
        ("a mixture", {
            let name = |name: &str| name.replace("svix-id", "webhook-id");
            good.iter().map(|(n, v)| (name(n), v.clone())).collect()
        }),
        ("an empty id", with(good.clone(), "svix-id", "")),
        ("a long id", with(good.clone(), "svix-id", &long)),
        (
            "a word as time",
            with(good.clone(), "svix-timestamp", "now"),
        ),
        ("a signed time", with(good.clone(), "svix-timestamp", "+1")),
        (
            "a huge time",
            with(good.clone(), "svix-timestamp", "99999999999999999999"),
        ),
        ("no version", with(good.clone(), "svix-signature", "abc")),
        ("only a comma", with(good.clone(), "svix-signature", ",")),
        ("both spellings that disagree", {
            let other = ("webhook-id".to_owned(), new_id());
            [good.clone(), vec![other]].concat()
        }),
        ("both spellings, one of them twice", {
            let twice = |name: &str| (name.replace("svix-", "webhook-"), good[0].1.clone());
            [good.clone(), vec![twice("svix-id"), twice("svix-id")]].concat()
        }),
        (
            "two ids",
            [good.clone(), vec![("svix-id".to_owned(), new_id())]].concat(),
        ),
    ];
    for (case, headers) in &cases {
        let reply = sent(&world, &post(headers, &body)).await;
        assert_eq!(
            (reply.status, reply.body.as_str()),
            (400, "bad request\n"),
            "{case}"
        );
    }
    assert_eq!(counted(&world, "bad_headers").await, cases.len() as f64);
    // A sender may well write both, as long as they say the same.
    let both = good
        .iter()
        .map(|(name, value)| (name.replace("svix-", "webhook-"), value.clone()));
    let both: Headers = both.chain(good.clone()).collect();
    assert_eq!(sent(&world, &post(&both, &body)).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_cannot_be_read_is_400() {
    let world = World::start().await;
    let body = body();
    let no_text = b"\xff\xfe{}";
    let headers = with(signed(b"{}"), "svix-signature", "v1,AAAA");
    assert_eq!(sent(&world, &post(&headers, no_text)).await.status, 400);
    let mut broken = head(&signed(&body));
    broken.extend_from_slice(b"transfer-encoding: chunked\r\n\r\nzz\r\n");
    assert_eq!(sent(&world, &broken).await.status, 400);
    assert_eq!(counted(&world, "unreadable").await, 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_compressed_is_415_and_one_that_is_not_may_say_so() {
    let world = World::start().await;
    let body = body();
    for encoding in ["gzip", "br", "deflate", "identity, gzip", "x"] {
        let zipped = with(signed(&body), "content-encoding", encoding);
        let reply = sent(&world, &post(&zipped, &body)).await;
        assert_eq!(reply.status, 415, "{encoding}");
    }
    assert_eq!(counted(&world, "encoded").await, 5.0);
    let plain = with(signed(&body), "content-encoding", "Identity");
    assert_eq!(sent(&world, &post(&plain, &body)).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_signature_or_a_time_too_far_off_is_401() {
    let world = World::start().await;
    let body = body();
    let forged = with(signed(&body), "svix-signature", "v1,Zm9yZ2Vk");
    let asymmetric = with(signed(&body), "svix-signature", "v1a,Zm9yZ2Vk");
    let sign_at = |off: i64| {
        let (id, now) = (new_id(), now_s() + off);
        let signature = crate::hand::signature(&[DEFAULT_WEBHOOK_SECRET], &id, now, &body);
        let headers = with(Vec::new(), "svix-id", &id);
        let headers = with(headers, "svix-timestamp", &now.to_string());
        with(headers, "svix-signature", &signature)
    };
    for headers in [
        forged,
        asymmetric,
        sign_at(-320),
        sign_at(320),
        sign_at(-86_400),
    ] {
        let reply = sent(&world, &post(&headers, &body)).await;
        assert_eq!((reply.status, reply.body.as_str()), (401, "unauthorized\n"));
    }
    assert_eq!(counted(&world, "bad_signature").await, 2.0);
    assert_eq!(counted(&world, "too_far_off").await, 3.0);
    for off in [-280, 280] {
        assert_eq!(sent(&world, &post(&sign_at(off), &body)).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_method_is_405_and_another_path_404() {
    let world = World::start().await;
    for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let request = format!(
            "{method} /api/webhooks/clerk HTTP/1.1\r\nhost: l\r\ncontent-length: 0\r\n\r\n"
        );
        assert_eq!(
            sent(&world, request.as_bytes()).await.status,
            405,
            "{method}"
        );
    }
    for path in [
        "/",
        "/api/webhooks",
        "/api/webhooks/clerk/",
        "/metrics",
        "/status",
        "/failures",
        "/failures/retry",
        "/pause",
        "/reload",
        "/runs",
        "/sync",
    ] {
        for method in ["GET", "POST"] {
            let request =
                format!("{method} {path} HTTP/1.1\r\nhost: l\r\ncontent-length: 0\r\n\r\n");
            assert_eq!(
                sent(&world, request.as_bytes()).await.status,
                404,
                "{method} {path}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn healthz_and_readyz_are_200_while_all_is_well() {
    let world = World::start().await;
    for path in ["/healthz", "/readyz"] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: l\r\n\r\n");
        assert_eq!(sent(&world, request.as_bytes()).await.status, 200, "{path}");
    }
    // An outage of Convex does not keep anybody from storing.
    world.convex.down();
    let ready = sent(&world, b"GET /readyz HTTP/1.1\r\nhost: l\r\n\r\n").await;
    assert_eq!(ready.status, 200);
}
