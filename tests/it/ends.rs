//! Ends, and a second beginning (G25, G26): many times over, with requests in hand.
//!
//! `stop.rs` has one end under load and what is applied after it. Here are the order of an end, as a client sees
//! it, and many ends in a row. `CCS_SOAK_TERMS` is the number of ends, `CCS_SOAK_SECONDS_ON_ONE_STATE` that of
//! second processes.

use std::{collections::HashSet, net::SocketAddr, time::Instant};

use rustix::process::Signal;
use tokio::{net::TcpStream, task::JoinSet};

use crate::{
    answers::signed,
    hand::{created, new_id},
    measure::size,
    process::System,
    wire::{Wire, post},
    world::eventually,
};

const SENDERS: usize = 6;

#[tokio::test(flavor = "multi_thread")]
async fn g25_a_second_process_ends_with_4_each_time_and_disturbs_nobody() {
    let starts = size("SECONDS_ON_ONE_STATE", 4);
    let system = System::start().await;
    let mut other = System::prepared(&[]).await;
    other.set("CCS_STATE__DIR", &system.state.path().display().to_string());
    let mut longest = std::time::Duration::ZERO;
    for n in 0..starts {
        let began = Instant::now();
        let refused = other.run(&["run"]).await;
        longest = longest.max(began.elapsed());
        let complaint = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(4), "{complaint}");
        assert!(complaint.contains("another process"), "{complaint}");
        let event = created(&format!("user_{n}"), 1, "Ada");
        system.hand().say(&event).await;
    }
    system.door().idle().await;
    assert_eq!(system.convex.count("users"), starts);
    system.door().every_delivery_has_one_end(0).await;
    println!(
        "G25: {starts} second processes on one state, each ended with 4, the slowest after {longest:?}"
    );
}

/// A request of which the last byte is missing, and which the daemon has begun to read: it has said that it
/// waits for the body.
async fn in_hand(address: SocketAddr, user: &str) -> (Wire, u8) {
    let body = created(user, 1, "Ada").to_string().into_bytes();
    let mut headers = signed(&body);
    headers.push(("expect".to_owned(), "100-continue".to_owned()));
    let request = post(&headers, &body);
    let mut wire = Wire::to(address).await;
    wire.write(&request[..request.len() - body.len()]).await;
    assert_eq!(wire.reply().await.expect("an answer").status, 100);
    wire.write(&body[..body.len() - 1]).await;
    (wire, body[body.len() - 1])
}

async fn is_closed(address: SocketAddr) -> bool {
    TcpStream::connect(address).await.is_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sigterm_the_listener_is_closed_first_and_what_was_accepted_is_answered() {
    let mut system = System::start().await;
    let address = system.address();
    let (mut wire, last) = in_hand(address, "user_in_hand").await;
    system.signal(Signal::TERM);
    eventually("nobody else comes in", async || is_closed(address).await).await;
    wire.write(&[last]).await;
    let reply = wire.reply().await.expect("an answer");
    assert_eq!(reply.status, 200);
    wire.hung_up().await;
    assert_eq!(system.ended().await.code(), Some(0));
    system.start_daemon().await;
    system.door().idle().await;
    assert!(system.convex.row("users", "user_in_hand").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_sigterm_ends_at_once_and_loses_nothing() {
    let mut system = System::start().await;
    system.convex.down();
    system.hand().say(&created("user_kept", 1, "Ada")).await;
    let address = system.address();
    let (_wire, _) = in_hand(address, "user_cut_off").await;
    system.signal(Signal::TERM);
    eventually("nobody else comes in", async || is_closed(address).await).await;
    system.signal(Signal::TERM);
    assert_eq!(system.ended().await.code(), Some(0));
    assert_eq!(system.log.count("ended at once by a second signal"), 1);
    assert_eq!(system.log.count("\"message\":\"stopped\""), 0);
    system.convex.up();
    system.start_daemon().await;
    system.door().idle().await;
    assert!(system.convex.row("users", "user_kept").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn g26_ends_under_load_answer_what_they_took_and_lose_and_repeat_nothing() {
    let terms = size("TERMS", 6);
    let mut system = System::start().await;
    let hand = system.hand();
    let mut acknowledged = Vec::new();
    let mut longest = std::time::Duration::ZERO;
    for term in 0..terms {
        let mut senders = JoinSet::new();
        for sender in 0..SENDERS {
            let hand = hand.clone();
            senders.spawn(async move {
                let mut taken = Vec::new();
                for n in 0.. {
                    let user = format!("user_{term}_{sender}_{n}");
                    let body = created(&user, 1, "Ada").to_string().into_bytes();
                    match hand.try_post(&new_id(), body).await {
                        Ok(answer) if answer.status == 200 => taken.push(user),
                        Ok(answer) => assert_eq!(answer.status, 503),
                        Err(_) => break,
                    }
                }
                taken
            });
        }
        let before = system.convex.count("users");
        let more = 20 + 7 * (term % 5);
        eventually("the load is on", async || {
            system.convex.count("users") > before + more
        })
        .await;
        let began = Instant::now();
        assert_eq!(system.terminate().await, 0, "{}", system.log.text());
        longest = longest.max(began.elapsed());
        acknowledged.extend(senders.join_all().await.into_iter().flatten());
        system.start_daemon().await;
    }
    system.door().idle().await;
    // What was stored and not acknowledged in time is applied as well; nobody is there twice.
    let rows = system.convex.rows("users");
    let keys: HashSet<_> = rows.iter().map(|row| row["clerkId"].as_str()).collect();
    assert_eq!(keys.len(), rows.len());
    assert!(acknowledged.iter().all(|user| keys.contains(&Some(user))));
    assert_eq!(system.log.count("panicked"), 0);
    println!(
        "G26: {terms} ends under load, each with 0, the slowest after {longest:?}; {} deliveries acknowledged, none \
         lost, none twice",
        acknowledged.len()
    );
}
