//! Exchanges with a raw socket that misbehaves in every way a service or a proxy can.
//!
//! What must hold: an exchange ends, within its bounds, and gives nothing away.

use std::{net::TcpListener, sync::Mutex};

use super::{
    scripted::{answer, serve},
    *,
};

fn ask(url: Url) -> Request {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", secret_header("Bearer hush").unwrap());
    Request {
        name: "test",
        method: Method::GET,
        url,
        headers,
        body: None,
        timeout: Duration::from_millis(300),
        max_bytes: 1000,
    }
}

async fn exchange(
    bytes: impl Into<Vec<u8>>,
    hold: bool,
) -> (Result<Reply, ExchangeError>, Vec<String>) {
    let (url, heard) = serve(bytes, hold);
    let counted = Arc::<Mutex<Vec<(u16, usize)>>>::default();
    let count = counted.clone();
    let hook: OnRequest =
        Arc::new(move |_, status, bytes| count.lock().unwrap().push((status, bytes)));
    let result = Dialer::default().exchange(ask(url), &hook).await;
    let expected = result.as_ref().map_or((0, 0), |r| (r.status, r.body.len()));
    assert_eq!(*counted.lock().unwrap(), [expected]);
    let heard = heard.lock().unwrap().clone();
    (result, heard)
}

#[tokio::test]
async fn an_answer_arrives_with_status_wait_and_body() {
    let (reply, heard) = exchange(answer(429, "retry-after: 3\r\n", "later"), false).await;
    let reply = reply.unwrap();
    assert_eq!((reply.status, &reply.body[..]), (429, &b"later"[..]));
    assert_eq!(reply.retry_after, Some(Duration::from_secs(3)));
    let agent = concat!("user-agent: clerk-convex-sync/", env!("CARGO_PKG_VERSION"));
    assert!(heard[0].to_lowercase().contains(agent), "{}", heard[0]);
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_the_key_goes_nowhere() {
    let (elsewhere, heard) = serve(answer(200, "", "{}"), false);
    let location = format!("location: {elsewhere}\r\n");
    let (reply, _) = exchange(answer(302, &location, ""), false).await;
    assert_eq!(reply.unwrap().status, 302);
    assert!(heard.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_answer_over_the_bound_is_not_read_whether_announced_or_not() {
    let announced = b"HTTP/1.1 200 X\r\ncontent-length: 1000000000\r\n\r\n".to_vec();
    let endless = [b"HTTP/1.1 200 X\r\n\r\n".to_vec(), vec![b'x'; 5000]].concat();
    for bytes in [announced, endless] {
        let (reply, _) = exchange(bytes, true).await;
        assert_eq!(reply.unwrap_err(), ExchangeError::TooLarge(1000));
    }
}

#[tokio::test]
async fn the_bound_counts_what_a_compressed_answer_becomes() {
    // 20,000 times the letter x in 54 bytes.
    let bomb = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xed\xc1\x31\x01\x00\x00\x00\xc2\xa0\xda\
        \x8b\x6f\x0d\x0f\xa0\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\
        \x00\x78\x30\x03\x47\x65\x41\x20\x4e\x00\x00";
    let head = b"HTTP/1.1 200 X\r\ncontent-encoding: gzip\r\ncontent-length: 54\r\n\r\n";
    let (reply, _) = exchange([&head[..], &bomb[..]].concat(), false).await;
    assert_eq!(reply.unwrap_err(), ExchangeError::TooLarge(1000));
}

#[test]
fn loopback_is_known_by_name_and_by_address() {
    for (url, secure, loopback) in [
        ("http://localhost:1", false, true),
        ("http://127.8.9.1", false, true),
        ("https://[::1]:1", true, true),
        ("https://clerk.localhost", true, true),
        ("https://localhost.example.com", true, false),
        ("https://api.clerk.com", true, false),
    ] {
        let route = Route::to(&Url::parse(url).unwrap());
        assert_eq!((route.secure, route.loopback), (secure, loopback), "{url}");
    }
}

#[tokio::test]
async fn a_broken_answer_is_the_service_s_fault() {
    for bytes in [
        &b""[..],
        b"garbage",
        b"HTTP/1.1 200 X\r\ncontent-length: 10\r\n\r\nabc",
        b"HTTP/1.1 200 X\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\nabc",
    ] {
        let (reply, _) = exchange(bytes, false).await;
        assert_eq!(reply.unwrap_err(), ExchangeError::Interrupted);
    }
}

#[tokio::test]
async fn silence_ends_with_the_time() {
    let started = b"HTTP/1.1 200 X\r\ncontent-length: 10\r\n\r\nabc";
    for bytes in [&b""[..], started] {
        let (reply, _) = exchange(bytes, true).await;
        assert_eq!(reply.unwrap_err().code(), "timeout");
    }
}

#[tokio::test]
async fn nobody_there_is_the_service_s_fault() {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let url = Url::parse(&format!("http://{port}")).unwrap();
    let quiet: OnRequest = Arc::new(|_, _, _| {});
    let error = Dialer::default()
        .exchange(ask(url), &quiet)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "unreachable");
    assert_eq!(error.fault(), Fault::Service { retry_after: None });
}

#[test]
fn debug_of_a_request_hides_its_key() {
    let request = ask(Url::parse("http://localhost").unwrap());
    assert!(!format!("{request:?}").contains("hush"));
    assert_eq!(secret_header("a\nb").unwrap_err().fault(), Fault::Ours);
}

#[test]
fn paths_are_put_below_the_base_with_or_without_a_slash() {
    for base in [
        "http://localhost:1",
        "http://localhost:1/",
        "http://localhost:1/x/",
    ] {
        let url = below(&Url::parse(base).unwrap(), &["api", "mutation"]).unwrap();
        assert!(
            url.as_str().ends_with("/api/mutation") && !url.as_str().contains("//api"),
            "{url}"
        );
    }
}
