//! Who may come to the public listener, and what they may not slip past it.
//!
//! Two lengths in one request, addresses that proxies pass on, clients that are too fast, and a certificate
//! that is renewed while it is used. Tests come from this machine, which is always let in: who is not is
//! shown by the addresses that a trusted proxy names, and beside the code.

use std::{
    fs,
    net::{IpAddr, SocketAddr, UdpSocket},
    path::Path,
};

use crate::{
    answers::{Headers, body, counted, sent, signed},
    wire::{Wire, ask, head, post},
    world::{PATH, World, eventually},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_two_lengths_is_400_and_the_end_of_its_connection() {
    let world = World::start().await;
    let address = world.daemon().public_addr();
    let body = body();
    let chunked = [
        format!("{:x}\r\n", body.len()).into_bytes(),
        body.clone(),
        b"\r\n0\r\n\r\n".to_vec(),
    ]
    .concat();
    let lengths = ["transfer-encoding: chunked\r\n", "Content-Length: 5\r\n"];
    for order in [[0, 1], [1, 0]] {
        for after_another in [false, true] {
            let mut wire = Wire::to(address).await;
            if after_another {
                wire.write(&post(&signed(&body), &body)).await;
                assert_eq!(wire.reply().await.expect("an answer").status, 200);
            }
            let mut request = head(&signed(&body));
            for at in order {
                request.extend_from_slice(lengths[at].as_bytes());
            }
            request.extend_from_slice(b"\r\n");
            request.extend_from_slice(&chunked);
            wire.write(&request).await;
            let reply = wire.reply().await.expect("an answer");
            assert_eq!(reply.status, 400, "{order:?} {after_another}");
            assert_eq!(reply.header("connection"), Some("close"));
            wire.hung_up().await;
        }
    }
    // Each of them alone is fine.
    let mut request = head(&signed(&body));
    request.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
    request.extend_from_slice(&chunked);
    assert_eq!(sent(&world, &request).await.status, 200);
    assert_eq!(counted(&world, "stored").await, 3.0);
    world.settled().await;
}

fn from(addresses: &str) -> Headers {
    let mut headers = signed(&body());
    headers.push(("X-Forwarded-For".to_owned(), addresses.to_owned()));
    headers
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_trusted_proxy_the_list_is_about_the_client_it_names() {
    let world = World::with(&[
        ("CCS_LISTEN__BEHIND_PROXY", "true"),
        ("CCS_LISTEN__TRUSTED_PROXIES", "127.0.0.1, 10.0.0.0/8"),
        ("CCS_LISTEN__ALLOW", "203.0.113.0/24,2001:db8::/32"),
    ])
    .await;
    for (addresses, status) in [
        ("203.0.113.9", 200),
        ("2001:db8::1", 200),
        ("198.51.100.1, 203.0.113.9", 200),
        ("203.0.113.9, 10.3.3.3", 200),
        ("198.51.100.1", 403),
        ("203.0.113.9, 198.51.100.1", 403),
        ("nonsense", 403),
        ("", 403),
    ] {
        let reply = sent(&world, &post(&from(addresses), &body())).await;
        assert_eq!(reply.status, status, "{addresses}");
    }
    let nobody = sent(&world, &post(&signed(&body()), &body())).await;
    assert_eq!(
        (nobody.status, nobody.body.as_str()),
        (403, "not allowed\n")
    );
    let health = sent(&world, b"GET /healthz HTTP/1.1\r\nhost: l\r\n\r\n").await;
    assert_eq!(health.status, 200, "the proxy's own question");
    let figures = world.door().figures().await;
    let refused = figures.sum("connections_refused_total", &["reason=\"not_allowed\""]);
    assert_eq!(refused, 5.0);
    assert_eq!(counted(&world, "stored").await, 4.0);
    world.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_is_believed_about_an_address() {
    let settings = [("CCS_LISTEN__ALLOW", "203.0.113.0/24")];
    let world = World::with(&settings).await;
    // This machine, whatever it says.
    let reply = sent(&world, &post(&from("198.51.100.1"), &body())).await;
    assert_eq!(reply.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_client_that_is_too_fast_is_429_and_others_are_served() {
    let world = World::with(&[
        ("CCS_LISTEN__BEHIND_PROXY", "true"),
        ("CCS_LISTEN__TRUSTED_PROXIES", "127.0.0.0/8"),
        ("CCS_LISTEN__RATE_PER_PEER", "1"),
    ])
    .await;
    let mut refused = None;
    for _ in 0..200 {
        let reply = sent(&world, &post(&from("198.51.100.1"), &body())).await;
        if reply.status != 200 {
            refused = Some(reply);
            break;
        }
    }
    let refused = refused.expect("200 requests one after another are more than one a second");
    assert_eq!(refused.status, 429);
    assert_eq!(refused.header("retry-after"), Some("1"));
    // What is no webhook is not counted as one, nor answered like one.
    for path in ["/ensure", "/nowhere"] {
        let elsewhere = String::from_utf8(post(&from("198.51.100.1"), b"")).expect("text");
        let elsewhere = elsewhere.replace(PATH, path).into_bytes();
        assert_eq!(sent(&world, &elsewhere).await.status, 404, "{path}");
    }
    let other = sent(&world, &post(&from("198.51.100.2"), &body())).await;
    assert_eq!(other.status, 200);
    assert_eq!(counted(&world, "rate_limited").await, 1.0);
}

/// An address of this machine that is not loopback; none on a machine without a network.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent: this only asks which way it would go.
    socket.connect("203.0.113.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_with_too_many_connections_and_one_that_is_not_listed_are_hung_up_on() {
    let Some(address) = own_address() else {
        println!("NOT RUN: this machine has no address but loopback");
        return;
    };
    let outside = [
        ("CCS_LISTEN__ADDRESS", "0.0.0.0:0"),
        ("CCS_LISTEN__BEHIND_PROXY", "true"),
    ];
    let most = ("CCS_LISTEN__MAX_CONNECTIONS_PER_PEER", "2");
    let world = World::with(&[&outside[..], &[most]].concat()).await;
    let port = world.daemon().public_addr().port();
    let body = body();
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut wire = Wire::to((address, port).into()).await;
        wire.write(&post(&signed(&body), &body)).await;
        assert_eq!(wire.reply().await.expect("an answer").status, 200);
        open.push(wire);
    }
    let mut third = Wire::to((address, port).into()).await;
    third.write(&post(&signed(&body), &body)).await;
    assert_eq!(third.reply().await, None, "no answer");
    let loopback = SocketAddr::from(([127, 0, 0, 1], port));
    let reply = ask(loopback, &post(&signed(&body), &body)).await;
    assert_eq!(
        reply.expect("an answer").status,
        200,
        "this machine is not counted"
    );
    drop(open);
    eventually("there is a place again", async || {
        let reply = ask((address, port).into(), &post(&signed(&body), &body)).await;
        reply.is_some_and(|reply| reply.status == 200)
    })
    .await;

    let listed = [
        ("CCS_LISTEN__TRUSTED_PROXIES", "203.0.113.99"),
        ("CCS_LISTEN__ALLOW", "203.0.113.0/24"),
    ];
    let world = World::with(&[&outside[..], &listed[..]].concat()).await;
    let port = world.daemon().public_addr().port();
    let request = post(&from("203.0.113.9"), &body);
    assert_eq!(ask((address, port).into(), &request).await, None);
    let figures = world.door().figures().await;
    let refused = figures.sum("connections_refused_total", &["reason=\"not_allowed\""]);
    assert_eq!(refused, 1.0);
    assert_eq!(counted(&world, "stored").await, 0.0);
}

fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls");
    fs::read(path.join(name)).expect("a fixture")
}

/// Whether a client that trusts this certificate only gets an answer.
async fn trusted(world: &World, certificate: &str) -> bool {
    let certificate = reqwest::Certificate::from_pem(&fixture(certificate)).expect("a certificate");
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([certificate])
        .build()
        .expect("a client");
    let port = world.daemon().public_addr().port();
    let asked = client.get(format!("https://localhost:{port}/healthz"));
    matches!(asked.send().await, Ok(answer) if answer.status() == 200)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_used_after_a_reload_and_a_bad_one_never() {
    let dir = tempfile::tempdir().expect("a directory");
    let (cert, key) = (dir.path().join("tls.crt"), dir.path().join("tls.key"));
    let put = |certificate: &[u8], private: &[u8]| {
        fs::write(&cert, certificate).expect("written");
        fs::write(&key, private).expect("written");
    };
    put(&fixture("first.crt"), &fixture("first.key"));
    let world = World::with(&[
        ("CCS_LISTEN__TLS_CERT", cert.to_str().expect("a path")),
        ("CCS_LISTEN__TLS_KEY", key.to_str().expect("a path")),
    ])
    .await;
    eventually("it is served", async || trusted(&world, "first.crt").await).await;
    assert!(!trusted(&world, "second.crt").await);
    for (certificate, private) in [
        (b"no certificate".to_vec(), fixture("second.key")),
        (fixture("second.crt"), b"".to_vec()),
        (fixture("second.crt"), fixture("first.key")),
    ] {
        put(&certificate, &private);
        let refused = world.daemon().reload().expect_err("nothing was reloaded");
        assert!(!refused.contains("PRIVATE KEY"), "{refused}");
        assert!(trusted(&world, "first.crt").await, "the old one is served");
    }
    put(&fixture("second.crt"), &fixture("second.key"));
    assert_eq!(world.daemon().reload(), Ok(Vec::new()));
    assert!(trusted(&world, "second.crt").await && !trusted(&world, "first.crt").await);
}
