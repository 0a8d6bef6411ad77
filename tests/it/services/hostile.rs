//! G33: answers that are meant to do harm, from either service.
//!
//! The built binary, so that its memory is its own. After each answer the service is honest again; the work
//! must be done then, in the same process, which has not grown by much.

use std::{fs, time::Duration};

use serde_json::json;
use tokio::{
    net::TcpListener,
    time::{Instant, timeout},
};

use super::{Between, Deed, Play, say, seed, size};
use crate::{hand::created, process::System, world::eventually};

/// By how much the daemon may grow, in KiB.
const MOST_KIB: u64 = 32 << 10;
/// The longest that one answer may occupy the daemon.
const LONGEST: Duration = Duration::from_secs(30);
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";

/// A gzip of so many bytes, about 159 times smaller: one literal, then the longest match over and over, in a
/// block of the fixed code.
fn bomb(bytes: usize) -> Vec<u8> {
    let mut zipped = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    let (mut held, mut count) = (0_u32, 0);
    let mut put = |zipped: &mut Vec<u8>, bits: &[u8]| {
        for bit in bits {
            held |= u32::from(*bit) << count;
            count += 1;
            if count == 8 {
                zipped.push(held as u8);
                (held, count) = (0, 0);
            }
        }
    };
    // The last block, of the fixed code; the letter x.
    put(&mut zipped, &[1, 1, 0, 1, 0, 1, 0, 1, 0, 0, 0]);
    for _ in 0..bytes / 258 {
        // 258 bytes, from one byte before.
        put(&mut zipped, &[1, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0]);
    }
    // Never ended: whoever reads so far has lost.
    put(&mut zipped, &[0; 7]);
    zipped
}

/// What goes wrong with the bytes, whoever sends them.
fn bytes() -> Vec<(String, Play)> {
    let ok = |headers: &str| format!("{OK}{headers}\r\n");
    let piece = || vec![b'x'; 64 << 10];
    let chunk = || [&b"10000\r\n"[..], &piece(), b"\r\n"].concat();
    let zipped = bomb(1 << 30);
    let gzip = format!(
        "content-encoding: gzip\r\ncontent-length: {}\r\n",
        zipped.len()
    );
    let many: String = (0..10_000).map(|n| format!("x-{n}: y\r\n")).collect();
    let long = format!("x-long: {}\r\n", "y".repeat(10 << 20));
    let cases = [
        (
            "a gigabyte, announced",
            Play::bytes(ok("content-length: 1073741824\r\n")).and(piece(), 16_384),
        ),
        (
            "a gigabyte, not announced",
            Play::bytes(ok("")).and(piece(), 16_384),
        ),
        (
            "chunks without an end",
            Play::bytes(ok("transfer-encoding: chunked\r\n")).and(chunk(), 16_384),
        ),
        (
            "a chunk of 16 exabytes",
            Play::bytes(ok("transfer-encoding: chunked\r\n")).and("ffffffffffffffff\r\nx", 1),
        ),
        (
            "a gigabyte, zipped",
            Play::bytes([ok(&gzip).into_bytes(), zipped].concat()),
        ),
        (
            "a byte now and then",
            Play::bytes(ok("content-length: 1000\r\n"))
                .and("x", 1_000)
                .every(Duration::from_millis(200)),
        ),
        (
            "ten thousand headers",
            Play::bytes(ok(&format!("{many}content-length: 0\r\n"))),
        ),
        ("a header of ten megabytes", Play::bytes(ok(&long))),
        (
            "one status after another",
            Play::bytes("").and("HTTP/1.1 100 Continue\r\n\r\n".repeat(1_000), 1_000),
        ),
        (
            "two lengths",
            Play::bytes(ok("content-length: 1\r\ncontent-length: 2\r\n")).and("xy", 1),
        ),
        (
            "a length below nothing",
            Play::bytes(ok("content-length: -1\r\n")),
        ),
        ("no HTTP", Play::bytes(vec![0; 100_000])),
        ("silence", Play::bytes("").every(Duration::from_secs(60))),
    ];
    cases.map(|(name, play)| (name.to_owned(), play)).into()
}

/// What goes wrong with the document.
fn documents() -> Vec<(String, Play)> {
    let deep = "[".repeat(100_000);
    let texts = [
        ("100,000 levels", deep.clone()),
        (
            "100,000 levels in a success",
            format!(r#"{{"status":"success","value":{deep}"#),
        ),
        (
            "1e400",
            r#"{"status":"success","value":{"outcomes":[{"key":1e400}]},"created_at":1e400}"#
                .into(),
        ),
        (
            "a lone surrogate",
            r#"{"status":"success","value":"\ud800","id":"\udfff"}"#.into(),
        ),
        (
            "a status that is no text",
            r#"{"status":7,"value":{},"id":7}"#.into(),
        ),
        (
            "a value of another type",
            r#"{"status":"success","value":"yes","id":["user_1"]}"#.into(),
        ),
        (
            "another number of outcomes",
            r#"{"status":"success","value":{"outcomes":[]}}"#.into(),
        ),
        ("a list", "[]".into()),
        ("null", "null".into()),
        ("nothing", String::new()),
        ("no text", "\u{0}\u{1}".into()),
        (
            "the same key a thousand times",
            format!("{{{}\"status\":1}}", r#""status":"success","#.repeat(1_000)),
        ),
    ];
    let play = |text: &str| {
        Play::answer(
            "200 OK",
            "content-type: application/json\r\n",
            text.as_bytes(),
        )
    };
    let named = |(name, text): (&str, String)| (name.to_owned(), play(&text));
    texts.map(named).into()
}

/// Every way to send somebody elsewhere.
fn redirects(elsewhere: &str) -> Vec<(String, Play)> {
    let targets = [
        elsewhere,
        "http://169.254.169.254/latest/meta-data/",
        "file:///etc/passwd",
    ];
    let ways = ["301 X", "302 X", "303 X", "307 X", "308 X"];
    let one = |(at, way): (usize, &&str)| {
        let target = targets[at % targets.len()];
        let header = format!("location: {target}\r\n");
        (
            format!("{way} to {target}"),
            Play::answer(way, &header, b""),
        )
    };
    let mut all: Vec<_> = ways.iter().enumerate().map(one).collect();
    // Each way to somebody who listens, too.
    let heard = ways.iter().map(|way| {
        let header = format!("location: {elsewhere}\r\n");
        (
            format!("{way} to a listener"),
            Play::answer(way, &header, b""),
        )
    });
    all.extend(heard);
    all
}

fn all(elsewhere: &str) -> Vec<(String, Play)> {
    [bytes(), documents(), redirects(elsewhere)].concat()
}

/// The most memory that the process ever had, in KiB.
fn peak_kib(system: &System) -> u64 {
    let path = format!("/proc/{}/status", system.pid().as_raw_nonzero());
    let status = fs::read_to_string(path).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let words = line.and_then(|line| line.split_whitespace().nth(1));
    words.and_then(|kib| kib.parse().ok()).expect("a number")
}

/// The next request for `what` gets this answer.
fn once(wire: &Between, what: &str, play: Play) {
    let (what, mut play) = (what.to_owned(), Some(play));
    wire.rule(move |heard| {
        let hit = heard.what.starts_with(&what);
        play.take_if(|_| hit).map_or(Deed::Pass, Deed::Say)
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn g33_no_answer_of_either_service_does_harm() {
    let (seed, rounds) = (seed(), size("G33_ROUNDS", 1));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let elsewhere = format!("http://{}/", listener.local_addr().expect("an address"));
    let mut system = System::prepared(&[("CCS_CONVEX__TIMEOUT", "2s")]).await;
    let clerk = Between::before(system.clerk.url()).await;
    let convex = Between::before(system.convex.url()).await;
    system.set("CLERK_API_URL", &clerk.url);
    system.set("CONVEX_URL", &convex.url);
    system.start_daemon().await;
    let id = system
        .clerk
        .create_user(json!({"first_name": "Ada"}))
        .expect("created");
    let (mut users, mut slowest) = (0, Duration::ZERO);
    let mut write = async |play: Option<Play>| {
        if let Some(play) = play {
            once(&convex, "apply", play);
        }
        users += 1;
        let key = format!("user_{users}");
        system.hand().say(&created(&key, 1, "Ada")).await;
        eventually("the row is there", async || {
            system.convex.row("users", &key).is_some()
        })
        .await;
    };
    let look = async |play: Option<Play>| {
        if let Some(play) = play {
            once(&clerk, "/v1/users/user_", play);
        }
        let wish = json!({"table": "users", "key": id});
        let answer = system.door().text("POST", "/sync", Some(wish)).await;
        assert!(answer.contains("found"), "{answer}");
    };
    // What both cost without any harm.
    write(None).await;
    look(None).await;
    let before = peak_kib(&system);
    let mut cases = 0;
    for _ in 0..rounds {
        for (name, play) in all(&elsewhere) {
            println!("{name}");
            let began = Instant::now();
            write(Some(play.clone())).await;
            let wrote = began.elapsed();
            // Clerk's own time limit is not set by anybody; silence lasts as long as that.
            if rounds > 1 || !(name == "silence" || name == "a byte now and then") {
                look(Some(play)).await;
            }
            slowest = slowest.max(wrote).max(began.elapsed() - wrote);
            cases += 1;
        }
    }
    let grown = peak_kib(&system).saturating_sub(before);
    say(
        "G33",
        seed,
        format!(
            "{cases} answers of each service: grown by {grown} KiB, the slowest overcome in {slowest:.1?}"
        ),
    );
    assert!(grown <= MOST_KIB, "grown by {grown} KiB");
    assert!(slowest <= LONGEST, "{slowest:?}");
    let visit = timeout(Duration::from_millis(200), listener.accept()).await;
    assert!(visit.is_err(), "a redirect was followed: {visit:?}");
    assert_eq!(system.log.count("panicked"), 0, "{}", system.log.text());
    let figures = system.door().figures().await;
    assert!(
        figures.sum("convex_requests_total", &["status=\"0\""]) > 0.0,
        "they are counted"
    );
    assert_eq!(system.door().failures().await.len(), 0);
    assert_eq!(system.terminate().await, 0);
}
