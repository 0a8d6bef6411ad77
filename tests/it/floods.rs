//! A flood of requests that nobody signed (G06): none is taken in, none costs anything that lasts.
//!
//! More than forty ways to be nearly right, over many connections, as fast as they go; signed deliveries of a
//! type that is not synced in between, so that the state directory has no reason to change. Looked at are the
//! answers, the directory to the byte, memory, and the log. `CCS_SOAK_FORGED` is the number of requests.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use clerk_convex_sync::sandbox::clerk::DEFAULT_WEBHOOK_SECRET;
use rustix::process::getpriority_process;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::{
    answers::{Headers, signed, with, without},
    hand::{created, new_id, now_s, signature},
    measure::{contents, memory, mib, niceness, size},
    process::System,
    wire::{Wire, head, post},
    world::{PATH, eventually},
};

/// Connections that forge at once.
const FORGERS: usize = 16;
/// How often one set of forgeries is sent before it is made anew, long before its times are too old.
const ROUNDS: usize = 10;
/// A secret that is not ours.
const FOREIGN: &str = "whsec_Zm9yZ2VkLXNpZ25pbmcta2V5LTAwMDAwMDE=";
/// What memory may grow by, in bytes.
const GROWTH: u64 = 20 << 20;
/// Lines a second, at most.
const LINES: u64 = 100;

/// A request that must be refused.
struct Forgery {
    name: &'static str,
    bytes: Vec<u8>,
    /// Nothing can follow it on its connection.
    last: bool,
}

fn signed_at(time: &str, secret: &str, body: &[u8]) -> Headers {
    let id = new_id();
    let number = time.parse().unwrap_or_else(|_| now_s());
    let header = |name: &str, value: &str| (format!("svix-{name}"), value.to_owned());
    vec![
        header("id", &id),
        header("timestamp", time),
        header("signature", &signature(&[secret], &id, number, body)),
    ]
}

/// Headers that are nearly right, for a body that is.
fn nearly(body: &[u8]) -> Vec<(&'static str, Headers)> {
    let good = signed(body);
    let wrong = |value: &str| with(good.clone(), "svix-signature", value);
    let id = |value: &str| with(good.clone(), "svix-id", value);
    let time = |value: &str| with(good.clone(), "svix-timestamp", value);
    let more = |name: &str, value: &str| {
        let header = (name.to_owned(), value.to_owned());
        [good.clone(), vec![header]].concat()
    };
    let own = good[2].1.clone();
    let text = own.strip_prefix("v1,").expect("the first version");
    vec![
        ("nothing", Vec::new()),
        ("no id", without(good.clone(), "svix-id")),
        ("no time", without(good.clone(), "svix-timestamp")),
        ("no signature", without(good.clone(), "svix-signature")),
        (
            "another secret",
            signed_at(&now_s().to_string(), FOREIGN, body),
        ),
        ("a short signature", wrong(&own[..own.len() - 4])),
        ("a long signature", wrong(&format!("{own}AAAA"))),
        ("an empty signature", wrong("")),
        ("only a comma", wrong(",")),
        ("only a version", wrong("v1,")),
        ("another version", wrong(&format!("v1a,{text}"))),
        ("a version in capitals", wrong(&format!("V1,{text}"))),
        ("no version", wrong(text)),
        ("quotes", wrong(&format!("\"{own}\""))),
        ("sixteen that are wrong", wrong(&"v1,AAAA ".repeat(16))),
        ("forty that are wrong", wrong(&"v1,AAAA ".repeat(40))),
        ("no base64", wrong("v1,%%%")),
        ("a long list", wrong(&"v1,x".repeat(2000))),
        ("another id", id(&new_id())),
        ("an empty id", id("")),
        ("an id with dots", id(&format!("{}.{}", good[0].1, now_s()))),
        ("a long id", id(&"m".repeat(300))),
        ("an id beyond ASCII", id("msg_\u{fc}")),
        ("two ids", more("svix-id", &new_id())),
        ("two times", more("svix-timestamp", "1")),
        ("two signatures headers", more("svix-signature", "v1,AAAA")),
        ("two spellings that disagree", more("webhook-id", &new_id())),
        ("the largest time", time("9223372036854775807")),
        ("beyond the largest time", time("9223372036854775808")),
        ("the smallest time", time("-9223372036854775808")),
        ("a negative time", time("-1")),
        ("a time with a sign", time(&format!("+{}", now_s()))),
        ("a time with an exponent", time("1e9")),
        ("a time with a point", time(&format!("{}.0", now_s()))),
        ("no digits", time("now")),
        ("another time", time(&(now_s() - 7).to_string())),
        (
            "too old",
            signed_at(&(now_s() - 301).to_string(), DEFAULT_WEBHOOK_SECRET, body),
        ),
        (
            "too new",
            signed_at(&(now_s() + 400).to_string(), DEFAULT_WEBHOOK_SECRET, body),
        ),
        (
            "a day old",
            signed_at(
                &(now_s() - 86_400).to_string(),
                DEFAULT_WEBHOOK_SECRET,
                body,
            ),
        ),
        (
            "compressed, or so it says",
            more("content-encoding", "gzip"),
        ),
    ]
}

/// Bodies that are not what was signed.
fn swapped(body: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut flipped = body.to_vec();
    flipped[body.len() / 2] ^= 1;
    vec![
        ("one byte more", [body, b" "].concat()),
        ("one byte less", body[..body.len() - 1].to_vec()),
        ("one bit", flipped),
        (
            "another body",
            created("user_forged", 2, "Eve").to_string().into_bytes(),
        ),
        ("no body", Vec::new()),
        ("no text", b"\xff\xfe{}".to_vec()),
        ("a deep body", vec![b'['; 100_000]),
    ]
}

/// Requests that are broken as such.
fn broken(headers: &Headers, body: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let begun = |more: &[u8]| [head(headers), more.to_vec()].concat();
    let lines = |count: usize| "x-many: 1\r\n".repeat(count).into_bytes();
    let large = [b"x-large: ".as_slice(), &vec![b'x'; 70_000], b"\r\n\r\n"].concat();
    let line =
        |first: &str| format!("{first}\r\nhost: l\r\ncontent-length: 0\r\n\r\n").into_bytes();
    vec![
        (
            "a zero in a header",
            begun(b"x-a: \0\r\ncontent-length: 0\r\n\r\n"),
        ),
        (
            "a folded header",
            begun(b"x-a: b\r\n c\r\ncontent-length: 0\r\n\r\n"),
        ),
        (
            "a lone line feed in a header",
            begun(b"svix-id: a\n{\"level\":\"ERROR\"}\r\ncontent-length: 0\r\n\r\n"),
        ),
        (
            "two lengths",
            begun(b"content-length: 1\r\ncontent-length: 2\r\n\r\n"),
        ),
        ("a negative length", begun(b"content-length: -1\r\n\r\n")),
        (
            "a length and chunks",
            begun(b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        ),
        (
            "chunks that are none",
            begun(b"transfer-encoding: chunked\r\n\r\nzz\r\n"),
        ),
        (
            "a huge length",
            begun(b"content-length: 99999999999\r\n\r\n"),
        ),
        (
            "two hundred headers",
            begun(&[lines(200), b"content-length: 0\r\n\r\n".to_vec()].concat()),
        ),
        ("a large header", begun(&large)),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        (
            "TLS",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        ),
        ("noise", vec![0xA7; 300]),
        ("another method", line(&format!("PUT {PATH} HTTP/1.1"))),
        ("another path", line("POST /api/webhooks/clerk/.. HTTP/1.1")),
        ("a path that is none", line("POST * HTTP/1.1")),
        (
            "an answer",
            [b"HTTP/1.1 200 OK\r\n\r\n".as_slice(), body].concat(),
        ),
    ]
}

fn forgeries() -> Vec<Forgery> {
    let body = created("user_forged", 1, "Eve").to_string().into_bytes();
    let headers = signed(&body);
    let heads = nearly(&body).into_iter();
    let heads = heads.map(|(name, headers)| (name, post(&headers, &body), false));
    let bodies = swapped(&body).into_iter();
    let bodies = bodies.map(|(name, body)| (name, post(&headers, &body), false));
    let wires = broken(&headers, &body).into_iter();
    let wires = wires.map(|(name, bytes)| (name, bytes, true));
    let all = heads.chain(bodies).chain(wires);
    all.map(|(name, bytes, last)| Forgery { name, bytes, last })
        .collect()
}

/// Sends until enough were sent by all; how often each status was answered, 0 for none.
async fn forge(address: SocketAddr, sent: Arc<AtomicUsize>, wanted: usize) -> BTreeMap<u16, usize> {
    let mut answers = BTreeMap::new();
    let mut wire = None;
    while sent.load(Ordering::Relaxed) < wanted {
        let forgeries = forgeries();
        for _ in 0..ROUNDS {
            for forgery in &forgeries {
                let mut open = match wire.take() {
                    Some(open) => open,
                    None => Wire::to(address).await,
                };
                open.write(&forgery.bytes).await;
                let reply = open.reply().await;
                let status = reply.as_ref().map_or(0, |reply| reply.status);
                let refused = status == 0 || (400..500).contains(&status);
                assert!(refused, "{}: {reply:?}", forgery.name);
                if status == 401 {
                    let words = reply.as_ref().map(|reply| reply.body.as_str());
                    assert_eq!(words, Some("unauthorized\n"), "{}", forgery.name);
                }
                let closed = reply.is_none_or(|reply| reply.header("connection") == Some("close"));
                if !forgery.last && !closed {
                    wire = Some(open);
                }
                *answers.entry(status).or_default() += 1;
                sent.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    answers
}

/// Delivers what is signed and not synced until the flood is over; how long each answer took.
async fn deliver(system: &System, over: Arc<AtomicBool>) -> JoinSet<Vec<Duration>> {
    let mut lanes = JoinSet::new();
    for _ in 0..2 {
        let (hand, over) = (system.hand(), Arc::clone(&over));
        lanes.spawn(async move {
            let mut event = created("user_ours", 1, "Ada");
            event["type"] = "session.created".into();
            let mut took = Vec::new();
            while !over.load(Ordering::Relaxed) || took.is_empty() {
                let began = Instant::now();
                hand.say(&event).await;
                took.push(began.elapsed());
            }
            took
        });
    }
    lanes
}

async fn flood(system: &System, wanted: usize) -> BTreeMap<u16, usize> {
    let sent = Arc::new(AtomicUsize::new(0));
    let mut forgers = JoinSet::new();
    for _ in 0..FORGERS {
        forgers.spawn(forge(system.address(), Arc::clone(&sent), wanted));
    }
    let mut all = BTreeMap::new();
    for answers in forgers.join_all().await {
        for (status, count) in answers {
            *all.entry(status).or_default() += count;
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn g06_of_a_flood_of_forgeries_none_is_taken_in_and_nothing_of_it_stays() {
    let wanted = size("FORGED", 15_000);
    let system = System::start().await;
    // What every process takes once: threads' stacks, buffers, the first of everything.
    flood(&system, 2_000).await;
    let dir = system.state.path();
    let mut before = contents(dir);
    eventually("the state rests", async || {
        let now = contents(dir);
        std::mem::replace(&mut before, now) == contents(dir)
    })
    .await;
    let (lines, memory_before) = (system.log.count(""), memory(system.pid()));
    let over = Arc::new(AtomicBool::new(false));
    let valid = deliver(&system, Arc::clone(&over)).await;
    let began = Instant::now();
    let answers = flood(&system, wanted).await;
    let seconds = began.elapsed().as_secs();
    over.store(true, Ordering::Relaxed);
    let mut took: Vec<Duration> = valid.join_all().await.into_iter().flatten().collect();
    took.sort_unstable();

    let grown = memory(system.pid()).saturating_sub(memory_before);
    let written = system.log.count("") - lines;
    let total: usize = answers.values().sum();
    println!(
        "G06: {total} forged requests in {seconds} s, none accepted ({answers:?}); {} valid ones in between, \
         p99 {:?}; memory +{:.1} MiB; {written} log lines",
        took.len(),
        took[(took.len() - 1) * 99 / 100],
        mib(grown),
    );
    assert!(contents(dir) == before, "the state directory has changed");
    assert!(grown <= GROWTH, "memory grew by {:.1} MiB", mib(grown));
    assert!(written as u64 <= LINES * (seconds + 1), "{written} lines");
    // Each line is one, whatever the requests held.
    for line in system.log.text().lines() {
        let parsed: Result<Value, _> = serde_json::from_str(line);
        assert!(parsed.is_ok(), "{line}");
    }
    let figures = system.door().figures().await;
    assert_eq!(figures.webhooks("stored"), 0.0);
    assert_eq!(figures.webhooks("not_synced"), took.len() as f64);
    assert_eq!(figures.sum("handler_panics_total", &[]), 0.0);
    assert_eq!(system.log.count("panicked"), 0);
    assert!(system.door().alerts().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_deliveries_in_comes_before_what_writes_them_to_convex() {
    let system = System::start().await;
    let hand = system.hand();
    for n in 0..50 {
        hand.say(&created(&format!("user_{n}"), 1, "Ada")).await;
    }
    system.door().idle().await;
    let threads = niceness(system.pid());
    let nice = |name: &str| {
        *threads
            .get(name)
            .unwrap_or_else(|| panic!("{name}: {threads:?}"))
    };
    let own = getpriority_process(None).expect("ours");
    for urgent in ["intake", "journal", "oplog"] {
        assert_eq!(nice(urgent), (own, own), "{urgent}: {threads:?}");
    }
    let back = (own + 10).min(19);
    assert_eq!(nice("tokio-rt-worker"), (back, back), "{threads:?}");
}
