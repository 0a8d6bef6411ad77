//! What the two services must not get the daemon to do (G13, G16, G32, G33, G35), against builds that do it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use clerk_convex_sync::{
    sandbox::convex::{FaultKind, FaultRule},
    twin::Twin,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::{prepared, system};
use crate::{
    hand::created,
    services::{
        refused::{Ends, cost_of_refusals},
        tls,
    },
    world::eventually,
};

/// Whether a user is there whose first call was answered with HTTP 200 and an error.
async fn is_written_after_an_error(twin: Option<Twin>) -> bool {
    let system = system(twin, &[]).await;
    system.convex.fault(FaultRule {
        function: Some("apply".to_owned()),
        times: Some(1),
        ..FaultRule::new(FaultKind::Error)
    });
    system.hand().say(&created("user_1", 1, "Ada")).await;
    system.door().idle().await;
    system.convex.count("users") == 1
}

#[tokio::test(flavor = "multi_thread")]
async fn g13_an_error_that_is_taken_for_success_is_noticed() {
    assert!(is_written_after_an_error(None).await);
    assert!(!is_written_after_an_error(Some(Twin::StatusOnly)).await);
}

/// Whether Convex is written to before the time that it has named.
async fn comes_too_early(twin: Option<Twin>, patience: Duration) -> bool {
    let system = system(twin, &[]).await;
    system.convex.fault(FaultRule {
        function: Some("apply".to_owned()),
        status: Some(429),
        retry_after: Some(600),
        times: Some(1),
        ..FaultRule::new(FaultKind::Status)
    });
    system.hand().say(&created("user_1", 1, "Ada")).await;
    // A twin that does not wait has written before anybody could have seen the circuit open.
    eventually("the answer is understood", async || {
        system.door().get("/status").await["convex"]["circuit"] != "closed"
            || system.convex.count("users") > 0
    })
    .await;
    tokio::time::sleep(patience).await;
    system.convex.count("users") > 0
}

#[tokio::test(flavor = "multi_thread")]
async fn g32_who_comes_before_the_time_that_was_named_is_noticed() {
    assert!(!comes_too_early(None, Duration::from_secs(3)).await);
    assert!(comes_too_early(Some(Twin::Impatient), Duration::from_secs(20)).await);
}

/// A service that answers everybody with this head; how many have come.
async fn answering(head: String) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let came = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&came);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            let head = head.clone();
            tokio::spawn(async move {
                let _ = socket.read(&mut [0; 8192]).await;
                let _ = socket.write_all(head.as_bytes()).await;
                let _ = socket.shutdown().await;
            });
        }
    });
    (port, came)
}

/// Whether a record that Convex refuses by its name costs more calls than it may.
async fn costs_too_much(twin: Option<Twin>) -> bool {
    let system = system(twin, &[]).await;
    let ends = Ends {
        hand: system.hand(),
        door: system.door(),
        convex: &system.convex,
    };
    cost_of_refusals(&ends, 400, false).await.is_over(2)
}

#[tokio::test(flavor = "multi_thread")]
async fn g16_who_does_not_listen_to_which_record_is_refused_is_noticed() {
    assert!(!costs_too_much(None).await);
    assert!(costs_too_much(Some(Twin::DeafToNames)).await);
}

/// How many have come to where both services' answers point.
async fn led_away(twin: Option<Twin>) -> usize {
    let close = "content-length: 0\r\nconnection: close\r\n\r\n";
    let (elsewhere, followed) = answering(format!("HTTP/1.1 404 X\r\n{close}")).await;
    let away = format!("HTTP/1.1 307 X\r\nlocation: http://127.0.0.1:{elsewhere}/\r\n{close}");
    let (port, asked) = answering(away).await;
    let url = format!("http://127.0.0.1:{port}");
    let settings = [("CONVEX_URL", url.as_str()), ("CLERK_API_URL", &url)];
    let system = prepared(twin, &settings).await;
    for _ in 0..3 {
        let audit = system.run(&["audit"]).await;
        assert_ne!(audit.status.code(), Some(0), "{audit:?}");
    }
    assert!(asked.load(Ordering::Relaxed) >= 3);
    followed.load(Ordering::Relaxed)
}

#[tokio::test(flavor = "multi_thread")]
async fn g33_who_follows_a_redirect_is_noticed() {
    assert_eq!(led_away(None).await, 0);
    assert!(led_away(Some(Twin::FollowRedirects)).await > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn g35_who_believes_any_certificate_is_noticed() {
    assert_eq!(tls::heard_from_behind_a_bad_certificate("").await, 0);
    let heard = tls::heard_from_behind_a_bad_certificate(Twin::AnyCertificate.name()).await;
    assert!(heard > 0, "the key is on the wire");
}
