//! What the public listener does when there is too much, too slowly, too fast, or no room.
//!
//! The other half of the contract's table of answers (see `answers.rs`), and sockets that say nothing.
//! Deadlines are set short; no test measures one, each waits for what follows from it.

use crate::{
    answers::{MARK, body, counted, signed},
    hand::{created, new_id},
    wire::{Wire, head, post},
    world::{World, eventually},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_is_413_announced_or_in_chunks_without_an_end() {
    let world = World::with(&[("CCS_LISTEN__MAX_BODY_BYTES", "2048")]).await;
    let body = vec![b' '; 2049];
    let mut announced = Wire::to(world.daemon().public_addr()).await;
    // Not one byte of the body has to come before the answer.
    announced.write(&post(&signed(&body), &body)[..]).await;
    let reply = announced.reply().await.expect("an answer");
    assert_eq!(reply.status, 413);
    assert_eq!(reply.header("connection"), Some("close"));
    announced.hung_up().await;

    let mut chunked = Wire::to(world.daemon().public_addr()).await;
    let mut start = head(&signed(&body));
    start.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
    chunked.write(&start).await;
    let chunk = [b"400\r\n".as_slice(), &[b'x'; 1024], b"\r\n"].concat();
    for _ in 0..3 {
        chunked.write(&chunk).await;
    }
    assert_eq!(chunked.reply().await.expect("an answer").status, 413);
    let mut more = 0;
    while chunked.write(&chunk).await {
        more += 1;
        assert!(more < 100_000, "a body without an end is read on and on");
    }
    assert_eq!(counted(&world, "too_large").await, 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_all_of_a_body_before_it_reads_gets_the_answer_that_came_meanwhile() {
    let world = World::with(&[("CCS_LISTEN__MAX_BODY_BYTES", "2048")]).await;
    let body = vec![b' '; 12 << 20];
    for (headers, status) in [(signed(&body), 413), (Vec::new(), 400)] {
        let mut wire = Wire::to(world.daemon().public_addr()).await;
        assert!(wire.write(&post(&headers, &body)).await, "{status}");
        assert_eq!(wire.reply().await.expect("an answer").status, status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_said_all_gets_the_answer_and_is_counted() {
    let world = World::start().await;
    let body = body();
    for _ in 0..20 {
        let mut wire = Wire::to(world.daemon().public_addr()).await;
        wire.write(&post(&signed(&body), &body)).await;
        wire.said_all().await;
        assert_eq!(wire.reply().await.expect("an answer").status, 200);
        wire.hung_up().await;
    }
    assert_eq!(counted(&world, "stored").await, 20.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_takes_too_long_is_408() {
    let world = World::with(&[("CCS_LISTEN__BODY_TIMEOUT", "200ms")]).await;
    let body = body();
    let mut wire = Wire::to(world.daemon().public_addr()).await;
    let request = post(&signed(&body), &body);
    wire.write(&request[..request.len() - 1]).await;
    let reply = wire.reply().await.expect("an answer");
    assert_eq!(reply.status, 408);
    wire.hung_up().await;
    assert_eq!(counted(&world, "too_slow").await, 1.0);
    assert_eq!(counted(&world, "stored").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_head_and_a_silent_socket_are_hung_up_on_while_others_are_served() {
    let bounds = [
        ("CCS_LISTEN__HEADER_TIMEOUT", "200ms"),
        ("CCS_LISTEN__IDLE_TIMEOUT", "1s"),
    ];
    let world = World::with(&bounds).await;
    let address = world.daemon().public_addr();
    let mut half = Wire::to(address).await;
    half.write(b"POST /api/webhooks/clerk HTTP/1.1\r\nhost: l\r\nsvix-i")
        .await;
    let mut silent = Wire::to(address).await;
    let mut after_one = Wire::to(address).await;
    let body = body();
    after_one.write(&post(&signed(&body), &body)).await;
    assert_eq!(after_one.reply().await.expect("an answer").status, 200);
    half.hung_up().await;
    silent.hung_up().await;
    after_one.hung_up().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_the_rate_limit_is_429_with_retry_after() {
    let world = World::with(&[("CCS_LISTEN__RATE_PER_SECOND", "1")]).await;
    let mut refused = None;
    for _ in 0..200 {
        let answer = world
            .hand()
            .deliver(&new_id(), &created("user_answers", 1, MARK))
            .await;
        if answer.status != 200 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("200 requests one after another are more than one a second");
    assert_eq!(
        (refused.status, refused.text.as_str()),
        (429, "too many requests\n")
    );
    assert!(
        refused
            .retry_after
            .is_some_and(|seconds| seconds.parse::<u32>().is_ok())
    );
    assert_eq!(counted(&world, "rate_limited").await, 1.0);
    world.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_stored_is_503_with_retry_after_and_taken_in_once_there_is_room() {
    let world = World::with(&[("CCS_STATE__MAX_QUEUE_EVENTS", "3")]).await;
    world.door().pause(true).await;
    let event = |n: usize| created(&format!("user_{n}"), 1, MARK);
    for n in 0..3 {
        world.hand().say(&event(n)).await;
    }
    let refused = world.hand().deliver(&new_id(), &event(3)).await;
    assert_eq!(
        (refused.status, refused.text.as_str()),
        (503, "cannot store\n")
    );
    assert!(
        refused
            .retry_after
            .is_some_and(|seconds| seconds.parse::<u32>().is_ok())
    );
    assert!(
        world
            .door()
            .alerts()
            .await
            .contains(&"cannot_store".to_owned())
    );
    world.door().pause(false).await;
    eventually(
        "the alert ends although nobody sends anything",
        async || {
            let alerts = world.door().alerts().await;
            !alerts.contains(&"cannot_store".to_owned())
        },
    )
    .await;
    eventually("there is room again", async || {
        world.hand().deliver(&new_id(), &event(3)).await.status == 200
    })
    .await;
    world.door().idle().await;
    assert_eq!(world.convex.rows("users").len(), 4);
    assert!(
        !world
            .door()
            .alerts()
            .await
            .contains(&"cannot_store".to_owned())
    );
    world.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_be_believed_is_refused_before_the_body_comes() {
    // Longer than an answer is waited for.
    let world = World::with(&[("CCS_LISTEN__BODY_TIMEOUT", "60s")]).await;
    let body = body();
    let mut old = signed(&body);
    for (name, value) in &mut old {
        if name == "svix-timestamp" {
            *value = "1000000000".to_owned();
        }
    }
    let nameless = signed(&body).into_iter();
    let nameless: Vec<_> = nameless.filter(|(name, _)| name != "svix-id").collect();
    for (headers, status) in [(Vec::new(), 400), (nameless, 400), (old, 401)] {
        let mut wire = Wire::to(world.daemon().public_addr()).await;
        let mut request = head(&headers);
        request.extend_from_slice(b"content-length: 1000\r\n\r\n");
        wire.write(&request).await;
        assert_eq!(wire.reply().await.expect("an answer").status, status);
    }
}
