//! What guests may not do (G06, G08, G09, G12, G28, G39), and what nobody may read (G36, G37), against builds that let
//! them.

use std::{net::TcpListener, time::Duration};

use clerk_convex_sync::{sandbox::clerk::DEFAULT_WEBHOOK_SECRET, twin::Twin};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::system;
use crate::{
    encryption::PLANTED,
    hand::{created, new_id, now_s},
    payloads::is_still_there,
    wire::{ask, post},
};

const OTHER_SECRET: &str = "whsec_Zm9yZ2VkLXNpZ25pbmcta2V5LTAwMDAwMDE=";

/// How many of five forgeries are taken in.
async fn forged(twin: Option<Twin>) -> usize {
    let system = system(twin, &[]).await;
    let forger = system.hand().signing_with(&[OTHER_SECRET]);
    for n in 0..5 {
        let event = created(&format!("user_{n}"), 1, "Eve");
        forger.deliver(&new_id(), &event).await;
    }
    system.door().idle().await;
    system.convex.count("users")
}

#[tokio::test(flavor = "multi_thread")]
async fn g06_a_forgery_is_noticed() {
    assert_eq!(forged(None).await, 0);
    assert_eq!(forged(Some(Twin::AnySignature)).await, 5);
}

/// How many deliveries are taken in whose signature holds, and whose time is too far off.
async fn ill_timed(twin: Option<Twin>) -> usize {
    let system = system(twin, &[]).await;
    let mut taken = 0;
    for (n, off) in [-400, 400, -86_400].into_iter().enumerate() {
        let (id, at) = (new_id(), now_s() + off);
        let body = created(&format!("user_{n}"), 1, "Ada")
            .to_string()
            .into_bytes();
        let headers = [
            (
                "svix-signature".to_owned(),
                system.hand().signature(&id, at, &body),
            ),
            ("svix-timestamp".to_owned(), at.to_string()),
            ("svix-id".to_owned(), id),
        ];
        let reply = ask(system.address(), &post(&headers, &body)).await;
        taken += usize::from(reply.expect("an answer").status == 200);
    }
    taken
}

#[tokio::test(flavor = "multi_thread")]
async fn g28_a_delivery_of_another_time_is_noticed() {
    assert_eq!(ill_timed(None).await, 0);
    assert_eq!(ill_timed(Some(Twin::AnyTime)).await, 3);
}

/// How many valid deliveries are refused while two secrets are in use.
async fn refused_in_a_rotation(twin: Option<Twin>) -> usize {
    let both = format!("{OTHER_SECRET},{DEFAULT_WEBHOOK_SECRET}");
    let system = system(twin, &[("CLERK_WEBHOOK_SECRET", &both)]).await;
    let mut refused = 0;
    for (n, secret) in [DEFAULT_WEBHOOK_SECRET, OTHER_SECRET]
        .into_iter()
        .enumerate()
    {
        let hand = system.hand().signing_with(&[secret]);
        let event = created(&format!("user_{n}"), 1, "Ada");
        refused += usize::from(hand.deliver(&new_id(), &event).await.status != 200);
    }
    refused
}

#[tokio::test(flavor = "multi_thread")]
async fn g12_a_secret_that_is_not_accepted_is_noticed() {
    assert_eq!(refused_in_a_rotation(None).await, 0);
    assert_eq!(refused_in_a_rotation(Some(Twin::FirstSecret)).await, 1);
}

/// What a signed body over the bound is answered.
async fn over_the_bound(twin: Option<Twin>) -> u16 {
    let system = system(twin, &[("CCS_LISTEN__MAX_BODY_BYTES", "20000")]).await;
    let mut event = created("user_large", 1, "Ada");
    event["data"]["padding"] = "x".repeat(30_000).into();
    system.hand().deliver(&new_id(), &event).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn g09_a_body_over_the_bound_is_noticed() {
    assert_eq!(over_the_bound(None).await, 413);
    assert_eq!(over_the_bound(Some(Twin::AnySize)).await, 200);
}

/// Whether somebody who stops in the middle of a head is hung up on in this time.
async fn hung_up(twin: Option<Twin>, within: Duration) -> bool {
    let system = system(twin, &[("CCS_LISTEN__HEADER_TIMEOUT", "1s")]).await;
    let mut socket = TcpStream::connect(system.address())
        .await
        .expect("a connection");
    let half = b"POST /api/webhooks/clerk HTTP/1.1\r\nhost: l\r\nsvix-i";
    socket.write_all(half).await.expect("written");
    let mut rest = Vec::new();
    timeout(within, socket.read_to_end(&mut rest)).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn g08_a_guest_who_may_take_any_time_is_noticed() {
    assert!(hung_up(None, Duration::from_secs(60)).await);
    assert!(!hung_up(Some(Twin::NoDeadlines), Duration::from_secs(5)).await);
}

/// What a wrong token is answered.
async fn wrong_token(twin: Option<Twin>) -> u16 {
    let port = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = port.local_addr().expect("an address").to_string();
    drop(port);
    let _system = system(
        twin,
        &[
            ("CCS_ADMIN__ADDRESS", &address),
            ("CCS_ADMIN__TOKEN", "a-token-that-opens-everything-here"),
        ],
    )
    .await;
    let client = reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("a client");
    let asked = client.post(format!("http://{address}/pause"));
    let asked = asked.bearer_auth("a-token-that-opens-everything-herf");
    asked.send().await.expect("an answer").status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn g39_a_door_that_any_token_opens_is_noticed() {
    assert_eq!(wrong_token(None).await, 401);
    assert_eq!(wrong_token(Some(Twin::OpenDoor)).await, 200);
}

/// Whether a secret, and whether somebody's name, is in the log.
async fn told(twin: Option<Twin>) -> (bool, bool) {
    let system = system(twin, &[("CCS_LOG__LEVEL", "trace")]).await;
    system.hand().say(&created("user_1", 1, PLANTED[0])).await;
    system.door().idle().await;
    let text = system.log.text();
    let secret = DEFAULT_WEBHOOK_SECRET.trim_start_matches("whsec_");
    (text.contains(secret), text.contains(PLANTED[0]))
}

#[tokio::test(flavor = "multi_thread")]
async fn g36_g37_a_daemon_that_talks_is_noticed() {
    assert_eq!(told(None).await, (false, false));
    assert_eq!(told(Some(Twin::Talkative)).await, (true, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn g37_what_stays_for_ever_is_noticed() {
    for (twin, stays, patience) in [("", false, 60), (Twin::Hoard.name(), true, 5)] {
        match is_still_there(twin, Duration::from_secs(patience)).await {
            Ok(there) => assert_eq!(there, stays, "{twin}"),
            Err(why) => return println!("NOT RUN: no clock can be moved here: {why}"),
        }
    }
}
