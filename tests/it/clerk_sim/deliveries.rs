//! The simulated Svix: what it signs, retries, loses, repeats and reorders.
//!
//! Waits of the retry ladder are divided, never slept through; every wait for quiet is bounded.

use super::receiver::Receiver;
use clerk_convex_sync::sandbox::clerk::sender::book::Fate;
use clerk_convex_sync::sandbox::clerk::{ClerkOptions, ClerkSim, DEFAULT_WEBHOOK_SECRET};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

const OTHER_SECRET: &str = "whsec_b3RoZXItc2lnbmluZy1rZXktZm9yLXJvdGF0aW9u";
/// Longest that any of these tests waits for the last delivery.
const SOON: Duration = Duration::from_secs(20);

async fn world() -> (ClerkSim, Receiver) {
    let receiver = Receiver::start().await;
    let options = ClerkOptions {
        webhook_url: Some(receiver.url.clone()),
        ..ClerkOptions::default()
    };
    (
        ClerkSim::start(options).await.expect("a free port"),
        receiver,
    )
}

async fn quiet(sim: &ClerkSim) {
    tokio::time::timeout(SOON, sim.quiet())
        .await
        .expect("every message has its fate");
}

fn user(n: usize) -> serde_json::Value {
    json!({ "email_address": format!("user{n}@example.com") })
}

#[tokio::test]
async fn every_change_is_signed_and_delivered_once() {
    let (sim, receiver) = world().await;
    let id = sim.create_user(user(1)).expect("a user");
    sim.update_user(&id, json!({"first_name": "Ada"}))
        .expect("a change");
    let organization = json!({"name": "Engines", "created_by": id});
    let organization = sim
        .create_organization(organization)
        .expect("an organization");
    sim.update_organization(&organization, json!({"name": "Machines"}))
        .expect("a change");
    sim.change_role(&organization, &id, "org:member")
        .expect("a change");
    sim.remove_member(&organization, &id).expect("a member");
    sim.delete_organization(&organization).expect("there");
    sim.delete_user(&id).expect("there");
    quiet(&sim).await;
    let arrivals = receiver.arrivals();
    let mut kinds = BTreeMap::new();
    for arrival in &arrivals {
        assert!(arrival.verifies(DEFAULT_WEBHOOK_SECRET));
        assert!(!arrival.verifies(OTHER_SECRET));
        assert_eq!(arrival.headers["content-type"], "application/json");
        assert!(
            arrival.headers["user-agent"]
                .to_str()
                .unwrap()
                .starts_with("Svix-Webhooks/")
        );
        *kinds.entry(arrival.kind()).or_insert(0) += 1;
    }
    assert_eq!(kinds.len(), 9, "{kinds:?}");
    assert!(kinds.values().all(|n| *n == 1), "{kinds:?}");
    let fates = sim.fates();
    assert_eq!((fates.sent, fates.delivered, fates.attempts), (9, 9, 9));
    assert!(fates.ack_latency_ms.max >= fates.ack_latency_ms.p50);
    sim.stop().await;
}

#[tokio::test]
async fn a_failed_delivery_is_tried_again_with_the_same_id_and_body() {
    let (sim, receiver) = world().await;
    sim.time_factor(200.0);
    receiver.answer(503, 1);
    receiver.answer(302, 1);
    sim.create_user(user(1)).expect("a user");
    quiet(&sim).await;
    let arrivals = receiver.arrivals();
    assert_eq!(arrivals.len(), 3);
    assert!(
        arrivals
            .iter()
            .all(|a| a.id() == arrivals[0].id() && a.body == arrivals[0].body)
    );
    assert!(arrivals.iter().all(|a| a.verifies(DEFAULT_WEBHOOK_SECRET)));
    let fates = sim.fates();
    assert_eq!((fates.delivered, fates.retried, fates.failed), (1, 2, 0));
    assert_eq!(
        fates.answers,
        BTreeMap::from([(200, 1), (302, 1), (503, 1)])
    );
    assert_eq!(sim.messages()[0].attempts, 3);
}

#[tokio::test]
async fn the_ladder_ends_after_eight_attempts_and_a_replay_delivers() {
    let (sim, receiver) = world().await;
    sim.time_factor(1e6);
    receiver.answer(500, 8);
    sim.create_user(user(1)).expect("a user");
    quiet(&sim).await;
    assert_eq!((sim.fates().failed, receiver.arrivals().len()), (1, 8));
    assert_eq!(sim.replay_all(Fate::Failed), 1);
    quiet(&sim).await;
    let fates = sim.fates();
    assert_eq!((fates.failed, fates.delivered, fates.repeated), (0, 1, 1));
    let id = sim.messages()[0].id.to_string();
    assert!(sim.replay(&id) && !sim.replay("msg_unknown"));
    quiet(&sim).await;
    assert_eq!(receiver.arrivals().len(), 10);
    assert!(receiver.arrivals().iter().all(|a| a.id() == id));
}

#[tokio::test]
async fn the_receiver_can_end_a_message_and_disable_the_endpoint() {
    let (sim, receiver) = world().await;
    sim.time_factor(1e6);
    let header = |value: &str| vec![("webhook-delivery", value.to_owned())];
    receiver.answer_with(500, header("abort-message"), 1);
    sim.create_user(user(1)).expect("a user");
    quiet(&sim).await;
    assert_eq!((sim.fates().failed, receiver.arrivals().len()), (1, 1));
    receiver.answer_with(500, header("disable"), 1);
    sim.create_user(user(2)).expect("a user");
    quiet(&sim).await;
    sim.create_user(user(3)).expect("a user");
    let fates = sim.fates();
    assert_eq!(
        (fates.failed, fates.withheld, receiver.arrivals().len()),
        (2, 1, 2)
    );
    sim.enable_endpoint(true);
    assert_eq!(sim.replay_all(Fate::Withheld), 1);
    quiet(&sim).await;
    assert_eq!(sim.fates().delivered, 1);
}

#[tokio::test]
async fn messages_are_lost_and_repeated_in_the_ordered_share() {
    let (sim, receiver) = world().await;
    sim.lose_next(3);
    for n in 0..10 {
        sim.create_user(user(n)).expect("a user");
    }
    quiet(&sim).await;
    assert_eq!((sim.fates().lost, sim.fates().delivered), (3, 7));
    sim.lose_ratio(0.2);
    sim.repeat_ratio(0.5);
    for n in 10..310 {
        sim.create_user(user(n)).expect("a user");
    }
    quiet(&sim).await;
    let fates = sim.fates();
    assert_eq!(fates.sent, 310);
    assert_eq!(fates.lost + fates.delivered, 310);
    assert!((30..=100).contains(&fates.lost), "{fates:?}");
    assert!((80..=170).contains(&fates.repeated), "{fates:?}");
    assert_eq!(
        receiver.arrivals().len() as u64,
        fates.delivered + fates.repeated
    );
}

#[tokio::test]
async fn a_window_reorders_and_the_seed_decides_how() {
    let mut orders = Vec::new();
    for _ in 0..2 {
        let (sim, receiver) = world().await;
        sim.order(|orders| orders.concurrency = 1);
        sim.reorder_window(10);
        for n in 0..25 {
            sim.create_user(user(n)).expect("a user");
        }
        quiet(&sim).await;
        let order: Vec<String> = receiver
            .arrivals()
            .iter()
            .map(|a| a.json()["data"]["email_addresses"][0]["email_address"].to_string())
            .collect();
        assert_eq!(order.len(), 25, "the last five are not held for ever");
        orders.push(order);
    }
    let sent: Vec<String> = (0..25)
        .map(|n| format!("\"user{n}@example.com\""))
        .collect();
    assert_ne!(orders[0], sent);
    assert_eq!(orders[0], orders[1]);
}

#[tokio::test]
async fn both_secrets_sign_during_a_rotation() {
    let (sim, receiver) = world().await;
    let both = vec![OTHER_SECRET.to_owned(), DEFAULT_WEBHOOK_SECRET.to_owned()];
    sim.set_webhook_secrets(both).expect("secrets");
    sim.create_user(user(1)).expect("a user");
    quiet(&sim).await;
    let arrival = &receiver.arrivals()[0];
    assert!(arrival.verifies(DEFAULT_WEBHOOK_SECRET) && arrival.verifies(OTHER_SECRET));
    sim.order(|orders| orders.skew_secs = -400);
    sim.create_user(user(2)).expect("a user");
    quiet(&sim).await;
    assert!(!receiver.arrivals()[1].verifies(OTHER_SECRET), "too old");
    assert!(
        sim.set_webhook_secrets(vec!["whsec_***".to_owned()])
            .is_err()
    );
}

#[tokio::test]
async fn any_body_can_be_sent_under_any_id() {
    let (sim, receiver) = world().await;
    sim.lose_ratio(1.0);
    let odd = r#"{"type": "user.updated",  "data":{"id":"user_29w83sxmDNGwOuEthce5gg56FcC"}}"#;
    let id = sim.send_raw("user.updated", odd, Some("msg_chosen".to_owned()));
    quiet(&sim).await;
    assert_eq!(id, "msg_chosen");
    assert_eq!(receiver.arrivals()[0].body, odd.as_bytes());
    assert!(receiver.arrivals()[0].verifies(DEFAULT_WEBHOOK_SECRET));
    sim.send_raw("user.updated", "not json", None);
    quiet(&sim).await;
    assert_eq!(receiver.arrivals()[1].body, b"not json");
}

#[tokio::test]
async fn a_slow_answer_is_a_failure() {
    let (sim, receiver) = world().await;
    sim.order(|orders| {
        orders.timeout_ms = 50;
        orders.max_attempts = 1;
    });
    receiver.take_as_long(Duration::from_millis(500));
    sim.create_user(user(1)).expect("a user");
    quiet(&sim).await;
    let fates = sim.fates();
    assert_eq!((fates.failed, fates.answers.get(&0)), (1, Some(&1)));
}

#[tokio::test]
async fn without_an_endpoint_messages_wait_to_be_replayed() {
    let sim = ClerkSim::start(ClerkOptions::default())
        .await
        .expect("a free port");
    sim.create_user(user(1)).expect("a user");
    quiet(&sim).await;
    assert_eq!(sim.fates().withheld, 1);
    let receiver = Receiver::start().await;
    sim.set_webhook_url(Some(receiver.url.clone()));
    assert_eq!(sim.replay_all(Fate::Withheld), 1);
    quiet(&sim).await;
    assert_eq!(receiver.arrivals()[0].kind(), "user.created");
}

#[tokio::test]
async fn a_deletion_is_later_than_every_update_of_its_user() {
    let (sim, receiver) = world().await;
    let ahead = chrono::Utc::now().timestamp_millis() + 60_000;
    let id = sim.create_user(user(1)).expect("a user");
    sim.update_user(&id, json!({"updated_at": ahead}))
        .expect("a change");
    sim.update_user(&id, json!({})).expect("a change");
    sim.delete_user(&id).expect("there");
    sim.restore_user(&id).expect("remembered");
    quiet(&sim).await;
    let mut events: Vec<_> = receiver
        .arrivals()
        .iter()
        .map(super::receiver::Arrival::json)
        .collect();
    events.sort_by_key(|e| e["timestamp"].as_i64());
    let stamps: Vec<i64> = events
        .iter()
        .filter_map(|e| e["data"]["updated_at"].as_i64())
        .collect();
    assert_eq!(stamps[1..3], [ahead, ahead + 1]);
    let gone = events
        .iter()
        .find(|e| e["type"] == "user.deleted")
        .expect("deleted");
    assert_eq!(gone["timestamp"].as_i64(), Some(ahead + 2));
    assert_eq!(
        gone["data"],
        json!({"object": "user", "id": id, "deleted": true})
    );
    assert!(
        stamps[3] > ahead + 2,
        "what came back is newer than its deletion"
    );
}
