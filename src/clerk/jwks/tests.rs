//! Tokens of the simulated instance, and everything that only looks like one.

use std::sync::atomic::{AtomicU32, Ordering};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use super::*;
use crate::sandbox::clerk::{ClerkOptions, ClerkSim, sessions::ISSUER};

const ADA: &str = "user_2NNEqL2nrIRdJ194ndJqAHwEfxC";
const APP: &str = "https://app.example.com";

async fn clerk() -> Arc<ClerkSim> {
    let clerk = ClerkSim::start(ClerkOptions::default()).await;
    Arc::new(clerk.expect("simulated Clerk"))
}

fn keys_of(clerk: &ClerkSim) -> KeySet {
    let set = json!({ "keys": clerk.session_keys() });
    KeySet::read(set.to_string().as_bytes()).expect("a set of keys")
}

/// One that takes its keys from this instance, and how often it was asked.
fn tokens(clerk: &Arc<ClerkSim>, rules: Rules) -> (SessionTokens, Arc<AtomicU32>) {
    let asked = Arc::new(AtomicU32::new(0));
    let (clerk, counted) = (Arc::clone(clerk), Arc::clone(&asked));
    let fetch: FetchKeys = Arc::new(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        let keys = keys_of(&clerk);
        Box::pin(async move { Ok(keys) })
    });
    (SessionTokens::new(rules, fetch, Handle::current()), asked)
}

fn rules() -> Rules {
    Rules {
        issuer: None,
        origins: vec![APP.to_owned()],
    }
}

/// The claims of a good token.
fn claims(clerk: &ClerkSim) -> Value {
    let token = clerk.session_token(ADA).unwrap();
    let middle = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&BASE64.decode(middle).unwrap()).unwrap()
}

fn now_s() -> i64 {
    i64::try_from(jsonwebtoken::get_current_timestamp()).unwrap()
}

#[tokio::test]
async fn claims_that_are_taken_and_claims_that_are_not() {
    let clerk = clerk().await;
    let (tokens, _) = tokens(&clerk, rules());
    let now = now_s();
    let good = [
        json!({}),
        json!({ "azp": APP }),
        // Within the leeway.
        json!({ "exp": now - 3 }),
        json!({ "nbf": now + 3 }),
        json!({ "exp": now as f64 + 20.5 }),
        json!({ "nbf": null }),
        json!({ "aud": "the app's own" }),
    ];
    for change in good {
        let token = clerk.session_token_with(ADA, change.clone()).unwrap();
        let whose = tokens.whose(&token).await;
        assert_eq!(whose.unwrap().as_str(), ADA, "{change}");
    }
    let bad = [
        json!({ "exp": now - 60 }),
        json!({ "exp": null }),
        json!({ "exp": "soon" }),
        json!({ "nbf": now + 60 }),
        json!({ "iss": null }),
        json!({ "iss": "http://clerk.simulated.example" }),
        json!({ "iss": [ISSUER] }),
        json!({ "azp": "https://evil.example" }),
        json!({ "azp": 5 }),
        // The token of a template, of a machine, of no user.
        json!({ "sid": null }),
        json!({ "sid": "mt_1" }),
        json!({ "sub": "mch_1" }),
        json!({ "sub": null }),
        json!({ "sub": format!("user_{}", "x".repeat(100)) }),
        json!({ "sub": "user_../organizations/org_1" }),
    ];
    for change in bad {
        let token = clerk.session_token_with(ADA, change.clone()).unwrap();
        let whose = tokens.whose(&token).await;
        assert_eq!(whose, Err(TokenError::Untrusted), "{change}");
    }
}

#[tokio::test]
async fn the_issuer_can_be_fixed() {
    let clerk = clerk().await;
    let token = clerk.session_token(ADA).unwrap();
    for (issuer, accepted) in [(ISSUER, true), ("https://clerk.other.example", false)] {
        let fixed = Rules {
            issuer: Some(issuer.to_owned()),
            origins: Vec::new(),
        };
        let (tokens, _) = tokens(&clerk, fixed);
        assert_eq!(tokens.whose(&token).await.is_ok(), accepted, "{issuer}");
    }
}

#[tokio::test]
async fn only_a_signature_of_the_instance_counts() {
    let (clerk, other) = (clerk().await, clerk().await);
    let (tokens, _) = tokens(&clerk, rules());
    let token = clerk.session_token(ADA).unwrap();
    let parts: Vec<&str> = token.split('.').collect();
    let foreign = other.session_token(ADA).unwrap();
    let foreign: Vec<&str> = foreign.split('.').collect();
    let key = &clerk.session_keys()[0];
    let id = key["kid"].as_str().unwrap();
    let encode = |value: Value| BASE64.encode(value.to_string());
    // Its own key as the secret of an HMAC: in the two forms in which it is public.
    let hmac = |secret: &[u8]| {
        let header = Header {
            kid: Some(id.to_owned()),
            ..Header::new(Algorithm::HS256)
        };
        let secret = EncodingKey::from_secret(secret);
        jsonwebtoken::encode(&header, &claims(&clerk), &secret).unwrap()
    };
    let modulus = BASE64.decode(key["n"].as_str().unwrap()).unwrap();
    let none = encode(json!({ "alg": "none", "kid": id }));
    let nameless = encode(json!({ "alg": "RS256" }));
    let critical = encode(json!({ "alg": "RS256", "kid": id, "crit": ["b64"] }));
    let mut changed = claims(&clerk);
    changed["sub"] = json!("user_somebody_else");
    let bad = [
        String::new(),
        "x".to_owned(),
        "..".to_owned(),
        "a.b.c".to_owned(),
        "Ä.Ö.Ü".to_owned(),
        format!("{}.{}", parts[0], parts[1]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{token}."),
        format!("{token}A"),
        format!("{}.{}.{}", parts[0], encode(changed), parts[2]),
        format!("{}.{}.{}", foreign[0], foreign[1], foreign[2]),
        format!("{none}.{}.", parts[1]),
        format!("{none}.{}.{}", parts[1], parts[2]),
        format!("{nameless}.{}.{}", parts[1], parts[2]),
        format!("{critical}.{}.{}", parts[1], parts[2]),
        hmac(&modulus),
        hmac(key.to_string().as_bytes()),
        format!("{}.{}.{}", parts[0], "A".repeat(MAX_TOKEN_BYTES), parts[2]),
    ];
    for token in bad {
        let whose = tokens.whose(&token).await;
        assert_eq!(whose, Err(TokenError::Untrusted), "{token}");
    }
    assert!(tokens.whose(&token).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_new_key_is_found_and_an_unknown_one_costs_a_request_a_minute() {
    let clerk = clerk().await;
    let (tokens, asked) = tokens(&clerk, rules());
    let asked = || asked.load(Ordering::Relaxed);
    let first = clerk.session_token(ADA).unwrap();
    assert!(tokens.whose(&first).await.is_ok());
    assert!(tokens.whose(&first).await.is_ok());
    assert_eq!(asked(), 1);
    clerk.rotate_session_key(true);
    let second = clerk.session_token(ADA).unwrap();
    assert!(tokens.whose(&second).await.is_ok());
    assert!(tokens.whose(&first).await.is_ok(), "still shown");
    assert_eq!(asked(), 2);
    clerk.rotate_session_key(false);
    let third = clerk.session_token(ADA).unwrap();
    for _ in 0..100 {
        assert_eq!(tokens.whose(&third).await, Err(TokenError::Untrusted));
    }
    assert_eq!(asked(), 2);
    tokio::time::advance(UNKNOWN_PAUSE).await;
    assert!(tokens.whose(&third).await.is_ok());
    assert_eq!(asked(), 3);
    let withdrawn = tokens.whose(&second).await;
    assert_eq!(withdrawn, Err(TokenError::Untrusted));
}

#[tokio::test(start_paused = true)]
async fn keys_are_believed_for_an_hour_and_many_who_wait_cost_one_request() {
    let clerk = clerk().await;
    let (tokens, asked) = tokens(&clerk, Rules::default());
    let token = clerk.session_token(ADA).unwrap();
    let all = (0..50).map(|_| tokens.whose(&token));
    for whose in futures_util::future::join_all(all).await {
        assert!(whose.is_ok());
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    clerk.rotate_session_key(false);
    assert!(tokens.whose(&token).await.is_ok());
    tokio::time::advance(KEYS_LIVE).await;
    assert_eq!(tokens.whose(&token).await, Err(TokenError::Untrusted));
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn while_clerk_is_away_nothing_is_refused_and_clerk_is_left_alone() {
    let clerk = clerk().await;
    let keys = keys_of(&clerk);
    let asked = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&asked);
    let fetch: FetchKeys = Arc::new(move || {
        let nth = counted.fetch_add(1, Ordering::Relaxed);
        let keys = keys.clone();
        Box::pin(async move {
            match nth {
                0 => Err(ClerkError::NotFound { endpoint: "test" }),
                _ => Ok(keys),
            }
        })
    });
    let tokens = SessionTokens::new(Rules::default(), fetch, Handle::current());
    let token = clerk.session_token(ADA).unwrap();
    for _ in 0..10 {
        assert_eq!(tokens.whose(&token).await, Err(TokenError::Away));
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    tokio::time::advance(FAILED_PAUSE).await;
    assert!(tokens.whose(&token).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_waits_for_any_more_is_kept() {
    let clerk = clerk().await;
    let keys = keys_of(&clerk);
    let asked = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&asked);
    let slow: FetchKeys = Arc::new(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        let keys = keys.clone();
        Box::pin(async move {
            tokio::time::sleep(Duration::from_secs(5)).await;
            Ok(keys)
        })
    });
    let tokens = SessionTokens::new(Rules::default(), slow, Handle::current());
    let token = clerk.session_token(ADA).unwrap();
    let short = Duration::from_secs(2);
    let given_up = tokio::time::timeout(short, tokens.whose(&token)).await;
    assert!(given_up.is_err());
    // Another one waits for the same answer.
    let joined = tokio::time::timeout(Duration::from_secs(4), tokens.whose(&token)).await;
    assert!(joined.expect("in time").is_ok());
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[test]
fn keys_for_something_else_are_passed_over() {
    let rsa =
        json!({ "kty": "RSA", "kid": "a", "use": "sig", "alg": "RS256", "n": "AQAB", "e": "AQAB" });
    let with = |name: &str, value: Value| {
        let mut key = rsa.clone();
        key[name] = value;
        key
    };
    let keys = json!({ "keys": [
        with("kid", json!("good")),
        with("use", json!("enc")),
        with("alg", json!("RS512")),
        with("alg", json!("HS256")),
        with("kty", json!("oct")),
        with("kid", json!(null)),
        with("kid", json!("x".repeat(MAX_KID_BYTES + 1))),
        json!({ "kty": "EC", "kid": "ec", "crv": "P-256", "x": "AQAB", "y": "AQAB", "alg": "ES256" }),
        json!("no key"),
    ]});
    let read = KeySet::read(keys.to_string().as_bytes()).unwrap();
    assert_eq!(read.0.into_keys().collect::<Vec<_>>(), ["good"]);
    let many: Vec<_> = (0..100)
        .map(|n| with("kid", json!(n.to_string())))
        .collect();
    let many = json!({ "keys": many }).to_string();
    assert_eq!(KeySet::read(many.as_bytes()).unwrap().0.len(), MAX_KEYS);
    for none in ["", "[]", "{}", "null", r#"{"keys":{}}"#] {
        assert!(KeySet::read(none.as_bytes()).is_err(), "{none}");
    }
}
