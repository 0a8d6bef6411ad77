//! Signatures as the reference has them, and everything that is nearly one.

use std::time::{SystemTime, UNIX_EPOCH};

use http::HeaderName;

use super::*;

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const OTHER: &str = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const BODY: &[u8] = br#"{"type":"user.created","data":{"id":"user_1"}}"#;

fn now_s() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs() as i64
}

fn secrets(texts: &[&str]) -> Secrets {
    let secrets: Vec<Secret> = texts.iter().map(|text| Secret::from(*text)).collect();
    Secrets::new(&secrets)
}

fn sign(secret: &str, id: &str, at: i64, body: &[u8]) -> String {
    Webhook::new(secret).unwrap().sign(id, at, body).unwrap()
}

fn headers(prefix: &str, id: &str, at: impl ToString, signature: &str) -> HeaderMap {
    let mut map = HeaderMap::new();
    let parts = [
        ("id", id.to_owned()),
        ("timestamp", at.to_string()),
        ("signature", signature.to_owned()),
    ];
    for (part, value) in parts {
        let name: HeaderName = format!("{prefix}-{part}").parse().unwrap();
        map.append(name, HeaderValue::from_str(&value).unwrap());
    }
    map
}

fn check(headers: &HeaderMap, body: &[u8], accepted: &[&str]) -> Result<String, Refusal> {
    let claim = Claim::read(headers, now_s())?;
    claim
        .verify(body, &secrets(accepted))
        .map(|event| event.id().to_string())
}

#[test]
fn both_spellings_and_secrets_with_and_without_their_prefix_are_accepted() {
    let at = now_s();
    for prefix in ["svix", "webhook"] {
        for secret in [SECRET, SECRET.strip_prefix("whsec_").unwrap()] {
            let headers = headers(prefix, "msg_1", at, &sign(SECRET, "msg_1", at, BODY));
            assert_eq!(check(&headers, BODY, &[secret]), Ok("msg_1".into()));
        }
    }
}

#[test]
fn during_a_rotation_either_secret_and_any_signature_of_the_list_will_do() {
    let at = now_s();
    let old = sign(OTHER, "msg_1", at, BODY);
    let new = sign(SECRET, "msg_1", at, BODY);
    for list in [
        format!("{old} {new}"),
        format!("v1a,abc v2,x {new}"),
        old.clone(),
    ] {
        let headers = headers("svix", "msg_1", at, &list);
        assert_eq!(
            check(&headers, BODY, &[SECRET, OTHER]),
            Ok("msg_1".into()),
            "{list}"
        );
    }
    let eleven = vec![old; 10].join(" ") + " " + &new;
    assert!(check(&headers("svix", "msg_1", at, &eleven), BODY, &[SECRET]).is_ok());
}

#[test]
fn a_first_signature_of_several_that_is_none_of_ours_tells_of_a_newer_secret() {
    let at = now_s();
    let old = sign(OTHER, "msg_1", at, BODY);
    let new = sign(SECRET, "msg_1", at, BODY);
    let newer = |list: &str, accepted: &[&str]| {
        let claim = Claim::read(&headers("svix", "msg_1", at, list), now_s()).unwrap();
        let accepted = secrets(accepted);
        claim
            .verify(BODY, &accepted)
            .unwrap()
            .has_a_newer_signature()
    };
    assert!(newer(&format!("{new} {old}"), &[OTHER]));
    for (list, accepted) in [
        (format!("{new} {old}"), &[SECRET][..]),
        (format!("{new} {old}"), &[OTHER, SECRET]),
        (format!("v1a,abc {old}"), &[OTHER]),
        (old.clone(), &[OTHER]),
    ] {
        assert!(!newer(&list, accepted), "{list}");
    }
}

#[test]
fn one_flipped_bit_anywhere_is_refused() {
    let at = now_s();
    let good = sign(SECRET, "msg_1", at, BODY);
    for bit in 0..BODY.len() * 8 {
        let mut body = BODY.to_vec();
        body[bit / 8] ^= 1 << (bit % 8);
        let result = check(&headers("svix", "msg_1", at, &good), &body, &[SECRET]);
        assert!(
            matches!(result, Err(Refusal::Forged | Refusal::Unreadable)),
            "bit {bit}"
        );
    }
    let other_id = check(&headers("svix", "msg_2", at, &good), BODY, &[SECRET]);
    assert_eq!(other_id, Err(Refusal::Forged));
    let other_time = check(&headers("svix", "msg_1", at - 1, &good), BODY, &[SECRET]);
    assert_eq!(other_time, Err(Refusal::Forged));
    let other_secret = check(&headers("svix", "msg_1", at, &good), BODY, &[OTHER]);
    assert_eq!(other_secret, Err(Refusal::Forged));
}

#[test]
fn timestamps_may_be_five_minutes_off_and_no_more() {
    for (off, fine) in [
        (-298, true),
        (298, true),
        (-302, false),
        (302, false),
        (600, false),
    ] {
        let at = now_s() + off;
        let result = check(
            &headers("svix", "m", at, &sign(SECRET, "m", at, BODY)),
            BODY,
            &[SECRET],
        );
        assert_eq!(result.is_ok(), fine, "{off}");
        assert!(fine || result == Err(Refusal::TooFarOff));
    }
}

#[test]
fn the_last_second_of_five_minutes_counts_and_the_next_does_not() {
    let now = 1_800_000_000;
    for (off, fine) in [
        (-600, false),
        (-301, false),
        (-300, true),
        (-299, true),
        (299, true),
        (300, true),
        (301, false),
        (600, false),
    ] {
        let claim = Claim::read(&headers("svix", "m", now + off, "v1,AAAA"), now);
        assert_eq!(claim.is_ok(), fine, "{off}");
    }
}

#[test]
fn headers_that_are_missing_doubled_or_malformed_are_told_from_forgeries() {
    let at = now_s();
    let good = sign(SECRET, "m", at, BODY);
    let malformed = [
        HeaderMap::new(),
        headers("svix", "", at, &good),
        headers("svix", "m", "", &good),
        headers("svix", "m", "-1", &good),
        headers("svix", "m", "+1", &good),
        headers("svix", "m", "1e9", &good),
        headers("svix", "m", "99999999999999999999", &good),
        headers("svix", "m", at, ""),
        headers("svix", "m", at, ","),
        headers("svix", "m", at, "nonsense"),
        headers("svix", "m", at, &"v1,x ".repeat(40)),
        headers("svix", &"m".repeat(300), at, &good),
    ];
    for map in malformed {
        assert_eq!(
            check(&map, BODY, &[SECRET]),
            Err(Refusal::Malformed),
            "{map:?}"
        );
    }
    for name in ["svix-id", "svix-timestamp", "svix-signature"] {
        let mut missing = headers("svix", "m", at, &good);
        missing.remove(name);
        assert_eq!(check(&missing, BODY, &[SECRET]), Err(Refusal::Malformed));
        let mut doubled = headers("svix", "m", at, &good);
        let value = doubled[name].clone();
        doubled.append(name, value);
        assert_eq!(check(&doubled, BODY, &[SECRET]), Err(Refusal::Malformed));
    }
    for forged in ["v1,AAAA", "v1a,AAAA", "v1,%%%", "v2,AAAA"] {
        assert_eq!(
            check(&headers("svix", "m", at, forged), BODY, &[SECRET]),
            Err(Refusal::Forged)
        );
    }
}

#[test]
fn both_spellings_may_be_there_if_they_say_the_same_and_one_of_them_is_whole() {
    let at = now_s();
    let good = sign(SECRET, "m", at, BODY);
    let mut both = headers("webhook", "m", at, &good);
    both.insert("svix-id", HeaderValue::from_static("m"));
    assert_eq!(check(&both, BODY, &[SECRET]), Ok("m".into()));
    both.extend(headers("svix", "m", at, &good));
    assert_eq!(check(&both, BODY, &[SECRET]), Ok("m".into()));
    for (name, other) in [
        ("svix-id", "other".to_owned()),
        ("webhook-id", "other".to_owned()),
        ("svix-timestamp", (at + 1).to_string()),
        ("webhook-signature", sign(OTHER, "m", at, BODY)),
    ] {
        let mut disagreeing = both.clone();
        disagreeing.insert(name, other.parse().unwrap());
        let refused = check(&disagreeing, BODY, &[SECRET, OTHER]);
        assert_eq!(refused, Err(Refusal::Malformed), "{name}");
    }
    let mut doubled = both.clone();
    doubled.append("webhook-id", HeaderValue::from_static("m"));
    assert_eq!(check(&doubled, BODY, &[SECRET]), Err(Refusal::Malformed));
}

#[test]
fn without_secrets_nothing_is_accepted() {
    let at = now_s();
    let headers = headers("svix", "m", at, &sign(SECRET, "m", at, BODY));
    assert_eq!(check(&headers, BODY, &[]), Err(Refusal::Forged));
}

#[test]
fn the_bytes_are_what_was_signed_and_not_what_they_mean() {
    let at = now_s();
    let body = br#"{"data":{"id":"user_1"},"type":"user.created"}"#;
    let headers = headers("svix", "m", at, &sign(SECRET, "m", at, body));
    assert_eq!(check(&headers, body, &[SECRET]), Ok("m".into()));
    for same in [
        "{\"data\":{\"id\":\"user_1\"},\"type\":\"user.created\"}\n",
        " {\"data\":{\"id\":\"user_1\"},\"type\":\"user.created\"}",
        "\u{feff}{\"data\":{\"id\":\"user_1\"},\"type\":\"user.created\"}",
        "{\"data\": {\"id\": \"user_1\"}, \"type\": \"user.created\"}",
        "{\"type\":\"user.created\",\"data\":{\"id\":\"user_1\"}}",
        "{\"data\":{\"id\":\"user_\\u0031\"},\"type\":\"user.created\"}",
        "{\"data\":{\"id\":\"user_2\"},\"data\":{\"id\":\"user_1\"},\"type\":\"user.created\"}",
    ] {
        let refused = check(&headers, same.as_bytes(), &[SECRET]);
        assert_eq!(refused, Err(Refusal::Forged), "{same}");
    }
}
