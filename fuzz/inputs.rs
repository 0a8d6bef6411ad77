//! What is done with bytes from outside, one function for each kind, and what must hold whatever they are.
//!
//! Shared by the fuzz targets and by the ordinary tests that replay the corpora. Each function panics if
//! something does not hold; that reading fails is fine.

use std::{fs, time::UNIX_EPOCH};

use clerk_convex_sync::{
    clerk::{
        RawRecord,
        wire::{Envelope, Head},
    },
    config::{Config, Env, Secret},
    intake::{Claim, Refusal, Secrets},
    mapping::{self, MAX_ROW_BYTES, UserRules},
    model::{Change, ExtraField, ExtraKind, Fields, Table},
    report::json,
    store::journal::{Journal, OpenError, Options},
};
use http::{HeaderMap, HeaderName, HeaderValue};
use svix::webhooks::Webhook;

/// A key that signed nothing in any corpus.
const SECRET: &str = "whsec_bm9ib2R5LWhhcy1zaWduZWQtd2l0aC10aGlz";
/// The time at which the corpora were signed: 2025-01-01, in seconds. Stands for now, by which signatures are
/// looked at.
const SIGNED_AT_S: i64 = 1_735_689_600;
/// How far off a timestamp may be and be moved to now, in seconds: beyond it nothing is believed anyway.
const MOVED_S: i64 = 1_000;
/// How far off it may be and be in time for certain, however slow this machine is.
const IN_TIME_S: i64 = 100;
/// The most headers that are made of one input.
const MAX_HEADERS: usize = 64;

/// Lines of headers, an empty line, a body: nothing that we did not sign is believed, and what we sign is.
pub fn signature(data: &[u8]) {
    let (head, body) = match data.windows(2).position(|two| two == b"\n\n") {
        Some(at) => (&data[..at], &data[at + 2..]),
        None => (data, &data[..0]),
    };
    let now_s = UNIX_EPOCH.elapsed().expect("after 1970").as_secs();
    let now_s = i64::try_from(now_s).expect("seconds");
    let mut headers = headers(head, now_s);
    let Ok(claim) = Claim::read(&headers, now_s) else {
        return;
    };
    let secrets = Secrets::new(&[Secret::from(SECRET)]);
    let verified = claim.verify(body, &secrets);
    let refused = verified.expect_err("nobody has this key");
    assert!(matches!(refused, Refusal::Forged | Refusal::Unreadable));

    // The same delivery, if somebody had the key.
    let complete = |spelling: &&str| {
        let parts = ["id", "timestamp", "signature"];
        let mut names = parts.map(|part| format!("{spelling}-{part}")).into_iter();
        names.all(|name| headers.contains_key(name))
    };
    let spelling = ["svix", "webhook"].into_iter().find(complete);
    let spelling = spelling.expect("a claim has all three");
    let text = |part: &str| {
        let value = headers.get(format!("{spelling}-{part}"));
        value.and_then(|value| value.to_str().ok()).expect("a text")
    };
    let at: i64 = text("timestamp").parse().expect("a time");
    let key = Webhook::new(SECRET).expect("a key");
    if refused == Refusal::Unreadable || (now_s - at).abs() > IN_TIME_S {
        return;
    }
    let signed = key.sign(text("id"), at, body).expect("signed");
    let list = format!("v1a,other v1,bm90aGluZw== {signed}");
    for spelling in ["svix", "webhook"] {
        if let Some(value) = headers.get_mut(format!("{spelling}-signature")) {
            *value = HeaderValue::from_str(&list).expect("a header");
        }
    }
    let claim = Claim::read(&headers, now_s).expect("read once, read again");
    let event = claim.verify(body, &secrets).expect("signed by us");
    assert!(event.body() == body && event.has_a_newer_signature());
}

/// Lines as headers; a time near that of the corpora becomes one that is as near to now.
fn headers(lines: &[u8], now_s: i64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines.split(|byte| *byte == b'\n').take(MAX_HEADERS) {
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = line.split_at(colon.unwrap_or(line.len()));
        let value = value.strip_prefix(b":").unwrap_or(value).trim_ascii();
        let time = str::from_utf8(value)
            .ok()
            .and_then(|text| text.parse().ok());
        let time = time.filter(|at| SIGNED_AT_S.abs_diff(*at) < MOVED_S.unsigned_abs());
        let value = match time {
            Some(at) => Ok(HeaderValue::from(now_s + (at - SIGNED_AT_S))),
            None => HeaderValue::from_bytes(value),
        };
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), value) {
            headers.append(name, value);
        }
    }
    headers
}

/// The body of a delivery: what is read of it has an id, and is the same when it is read again. A row that is made
/// of it is that record's, at that version, of a size that Convex takes, and gives no role but an allowed one.
pub fn event(data: &[u8]) {
    let Ok(head) = Head::parse(data) else {
        return;
    };
    assert!(!head.record.key.as_str().is_empty());
    assert!(Head::parse(data).as_ref() == Ok(&head));
    let envelope = Envelope::parse(data).expect("a head is inside of an envelope");
    let text = envelope.data().expect("a head is of a record");
    assert_eq!(head.deletion().is_some(), head.standing.deleted);
    if head.standing.deleted {
        return;
    }
    let record = RawRecord::read(head.record.table, text).expect("a record has a head");
    assert!(record.name() == head.record && record.version() == head.standing.version);
    let rules = rules();
    let Ok(rows) = mapping::record(head.record.table, text, &rules) else {
        return;
    };
    for row in rows {
        let row = row.upsert;
        assert!(row.key == head.record.key && row.version == head.standing.version);
        assert_eq!(Some(row.created_at), head.created_at);
        if row.table == Table::Users {
            let role = &row.fields["role"];
            assert!(role == "member" || role == "admin", "{role}");
        }
        let written = serde_json::to_string(&row).expect("it can be sent");
        let read: serde_json::Value = serde_json::from_str(&written).expect("its own words");
        assert_eq!(read["fields"].as_object(), Some(&row.fields));
        assert!(Change::Upsert(row).weight() <= MAX_ROW_BYTES);
    }
}

/// With something of each kind in it.
fn rules() -> UserRules {
    let column = |pointer: &str, kind| ExtraField {
        pointer: pointer.to_owned(),
        kind,
    };
    UserRules {
        app_id: Some("app".to_owned()),
        roles: vec!["member".to_owned(), "admin".to_owned()],
        default_role: "member".to_owned(),
        insert_defaults: Fields::from_iter([("plan".to_owned(), "free".into())]).into(),
        extra_fields: [
            ("all", column("/public_metadata", ExtraKind::Json)),
            ("first", column("/email_addresses/0/id", ExtraKind::String)),
            ("size", column("/public_metadata/size", ExtraKind::Number)),
            ("some", column("/public_metadata/some", ExtraKind::Any)),
        ]
        .map(|(name, column)| (name.to_owned(), column))
        .into(),
        link_by_email: true,
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
        let opened = match Journal::open(dir.path(), Options::default()) {
            Ok(opened) => opened,
            // That a person has to look for the key is no damage, and stays so.
            Err(OpenError::UnknownKey { .. }) if found.is_empty() => {
                let again = Journal::open(dir.path(), Options::default());
                assert!(matches!(again, Err(OpenError::UnknownKey { .. })));
                return;
            }
            Err(error) => panic!("it does not open: {error}"),
        };
        let recovered = &opened.recovered;
        let pending = recovered.pending.len();
        assert!(
            pending <= data.len(),
            "{pending} entries in {} bytes",
            data.len()
        );
        for meta in &recovered.pending {
            if let Ok(entry) = opened.journal.read(meta.position) {
                assert_eq!(entry.seq, meta.seq, "another entry");
            }
        }
        found.push((pending, recovered.highest_seq));
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let closed = runtime.expect("a runtime").block_on(opened.journal.close());
        closed.expect("it closes");
    }
    assert_eq!(found[0].0, found[1].0, "what is found does not change");
    assert!(found[0].1 <= found[1].1, "no number is given twice");
}

/// A segment whose checksums are right, so that what stands behind them is read: the number of its first entry in
/// eight bytes, then payloads, each after its length in two.
pub fn entries(data: &[u8]) {
    let Some((first_seq, mut rest)) = data.split_first_chunk::<8>() else {
        return;
    };
    let mut segment = b"ccsjrnl\0".to_vec();
    for number in [2_u32, 1] {
        segment.extend_from_slice(&number.to_le_bytes());
    }
    segment.extend_from_slice(first_seq);
    segment.extend_from_slice(&[0; 4]);
    let checksum = crc32c::crc32c(&segment);
    segment.extend_from_slice(&checksum.to_le_bytes());
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_le_bytes(*length)).min(after.len());
        let (payload, after) = after.split_at(length);
        let length = u32::try_from(length).expect("two bytes").to_le_bytes();
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&length), payload);
        segment.extend_from_slice(&length);
        segment.extend_from_slice(&checksum.to_le_bytes());
        segment.extend_from_slice(payload);
        rest = after;
    }
    journal(&segment);
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
    // A setting that is not known is named: what stands before a `=` is a name.
    let text = String::from_utf8_lossy(data);
    let mut names = text.lines().filter_map(|line| line.split('=').next());
    assert!(
        !said.contains("planted0") || names.any(|name| name.contains("planted0")),
        "a secret is told"
    );
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
