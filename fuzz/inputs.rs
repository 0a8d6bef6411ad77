//! What is done with bytes from outside, one function for each kind, and what must hold whatever they are.
//!
//! Shared by the fuzz targets and by the ordinary tests that replay the corpora. Each function panics if
//! something does not hold; that reading fails is fine.

use std::fs;

use clerk_convex_sync::{
    clerk::wire::{Envelope, Head},
    config::{Config, Env, Secret},
    intake::{Claim, Refusal, Secrets},
    report::json,
    store::journal::{Journal, Options},
};
use http::{HeaderMap, HeaderName, HeaderValue};

/// A key that signed nothing in any corpus.
const SECRET: &str = "whsec_bm9ib2R5LWhhcy1zaWduZWQtd2l0aC10aGlz";
/// The time at which signatures are looked at: 2025-01-01, in seconds.
const NOW_S: i64 = 1_735_689_600;
/// The most headers that are made of one input.
const MAX_HEADERS: usize = 64;

/// Lines of headers, an empty line, a body: nothing that we did not sign is believed.
pub fn signature(data: &[u8]) {
    let (head, body) = match data.windows(2).position(|two| two == b"\n\n") {
        Some(at) => (&data[..at], &data[at + 2..]),
        None => (data, &data[..0]),
    };
    let mut headers = HeaderMap::new();
    for line in head.split(|byte| *byte == b'\n').take(MAX_HEADERS) {
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = line.split_at(colon.unwrap_or(line.len()));
        let value = value.strip_prefix(b":").unwrap_or(value).trim_ascii();
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            headers.append(name, value);
        }
    }
    let Ok(claim) = Claim::read(&headers, NOW_S) else {
        return;
    };
    let secrets = Secrets::new(&[Secret::from(SECRET)]);
    let verified = claim.verify(body, &secrets);
    let refused = verified.expect_err("nobody has this key");
    assert!(matches!(refused, Refusal::Forged | Refusal::Unreadable));
}

/// The body of a delivery: what is read of it has an id, and is the same when it is read again.
pub fn event(data: &[u8]) {
    let head = Head::parse(data);
    if let Ok(head) = &head {
        assert!(!head.record.key.as_str().is_empty());
        assert!(Head::parse(data).as_ref() == Ok(head));
        let envelope = Envelope::parse(data).expect("a head is inside of an envelope");
        assert!(envelope.data().is_ok());
    }
}

/// A segment of the journal: it opens whatever the disk has made of it, finds the same twice, and a damaged
/// end is not taken for an event.
pub fn journal(data: &[u8]) {
    let dir = tempfile::tempdir().expect("a directory");
    let segment = dir.path().join("0000000001.seg");
    fs::write(&segment, data).expect("written");
    let mut found = Vec::new();
    for _ in 0..2 {
        let opened = Journal::open(dir.path(), Options::default()).expect("it opens");
        let pending = opened.recovered.pending.len();
        assert!(
            pending <= data.len(),
            "{pending} entries in {} bytes",
            data.len()
        );
        found.push((pending, opened.recovered.highest_seq));
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let closed = runtime.expect("a runtime").block_on(opened.journal.close());
        closed.expect("it closes");
    }
    assert_eq!(found[0].0, found[1].0, "what is found does not change");
    assert!(found[0].1 <= found[1].1, "no number is given twice");
}

/// A configuration file: it is read, or at least one mistake is told, and none repeats a secret.
pub fn configuration(data: &[u8]) {
    const PLANTED: &str = "sk_live_planted0planted0planted0";
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("config.toml");
    fs::write(&file, data).expect("written");
    let required = [
        ("CLERK_SECRET_KEY", PLANTED),
        ("CLERK_WEBHOOK_SECRET", SECRET),
        ("CONVEX_URL", "https://happy-otter-1.convex.cloud"),
        ("CONVEX_DEPLOY_KEY", "prod:happy-otter-1|planted0planted0"),
    ];
    let said = match Config::load(Some(&file), &Env::new(required)) {
        Ok(loaded) => format!("{loaded:?}"),
        Err(mistakes) => {
            assert!(!mistakes.is_empty());
            format!("{mistakes:?}")
        }
    };
    assert!(!said.contains("planted0"), "a secret is told");
}

/// A report that an earlier run has left: what can be read can be written and read again.
pub fn report(data: &[u8]) {
    if let Ok(report) = json::read(data) {
        let text = json::render(&report, true);
        assert!(json::read(text.as_bytes()).is_ok(), "its own words");
        let masked = json::render(&report, false);
        assert!(
            json::read(masked.as_bytes()).is_ok(),
            "its own words, masked"
        );
    }
    let _ = json::read_summary(data);
    let _ = json::read_difference(data);
}
