//! Session tokens: the keys that the instance signs them with, and what its Frontend API would mint.
//!
//! `GET /v1/jwks` shows the public halves. A token is put together by hand from the published claims and
//! signed with RS256, so that a misreading of tokens on the daemon's side cannot be the same here. Keys are
//! made when the first one is needed, which takes a tenth of a second, and differ in every run.

use super::control::object;
use super::refusal::Refusal;
use super::routes::{Answer, Asked, Json, body};
use super::{ClerkSim, Shared, held};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use axum::Router;
use axum::extract::{Request, State};
use axum::routing::{get, post};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// How long a session token is good for, in seconds.
const LIFE_S: i64 = 60;
/// Before now by so much a token begins to be good, in seconds.
const EARLY_S: i64 = 10;
/// The `iss` of every token: the instance's Frontend API, which is not simulated.
pub const ISSUER: &str = "https://clerk.simulated.example";

/// The keys of an instance: the first one signs, all are shown.
#[derive(Default)]
pub struct Sessions {
    keys: Vec<SigningKey>,
    made: u64,
}

struct SigningKey {
    id: String,
    pair: KeyPair,
}

impl SigningKey {
    fn sign(&self, claims: &Map<String, Value>) -> Option<String> {
        let header =
            json!({ "alg": "RS256", "cat": "cl_B7d4PD111AAA", "kid": self.id, "typ": "JWT" });
        let part = |value: &dyn ToString| URL_SAFE_NO_PAD.encode(value.to_string());
        let claims = Value::Object(claims.clone());
        let message = format!("{}.{}", part(&header), part(&claims));
        let mut signature = vec![0; self.pair.public_modulus_len()];
        let signed = self.pair.sign(
            &RSA_PKCS1_SHA256,
            &SystemRandom::new(),
            message.as_bytes(),
            &mut signature,
        );
        signed.ok()?;
        Some(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    fn public(&self) -> Value {
        let key = self.pair.public_key();
        json!({
            "use": "sig",
            "kty": "RSA",
            "kid": self.id,
            "alg": "RS256",
            "n": URL_SAFE_NO_PAD.encode(key.modulus().big_endian_without_leading_zero()),
            "e": URL_SAFE_NO_PAD.encode(key.exponent().big_endian_without_leading_zero()),
        })
    }
}

impl Sessions {
    /// The key that signs, made if there is none.
    fn current(&mut self) -> Option<&SigningKey> {
        if self.keys.is_empty() {
            self.rotate(false);
        }
        self.keys.first()
    }

    /// Signs with a new key from now on; the old ones are still shown, or not.
    fn rotate(&mut self, keep: bool) {
        // Fails only if the system gives no random numbers.
        let Ok(pair) = KeyPair::generate(KeySize::Rsa2048) else {
            return;
        };
        if !keep {
            self.keys.clear();
        }
        self.made += 1;
        let id = format!("ins_simulated{:016}", self.made);
        self.keys.insert(0, SigningKey { id, pair });
    }
}

/// The paths: Clerk's own one.
pub(super) fn router() -> Router<Arc<Shared>> {
    Router::new().route("/v1/jwks", get(jwks))
}

/// The paths of the control API.
pub(super) fn orders() -> Router<Arc<Shared>> {
    Router::new()
        .route("/_sim/tokens", post(mint))
        .route("/_sim/keys", post(rotate))
}

async fn jwks(State(shared): Asked) -> Json {
    let mut sessions = held(&shared.sessions);
    sessions.current();
    let keys: Vec<Value> = sessions.keys.iter().map(SigningKey::public).collect();
    Json::of(&json!({ "keys": keys }))
}

/// `{"user_id", "claims"?}`: a token of a session of this user, with these claims put over its own.
async fn mint(State(shared): Asked, request: Request) -> Answer {
    let body = body(request).await?;
    let user = body.get("user_id").and_then(Value::as_str);
    let user = user.ok_or_else(|| Refusal::ParamMissing("user_id".to_owned()))?;
    let claims = body.get("claims").cloned().unwrap_or_else(|| json!({}));
    let token = shared.session_token(user, claims)?;
    Ok(Json::of(&json!({ "token": token })))
}

/// `{"keep"?: bool}`: signs with a new key from now on.
async fn rotate(State(shared): Asked, request: Request) -> Answer {
    let body = body(request).await?;
    let keep = body.get("keep").and_then(Value::as_bool).unwrap_or(true);
    held(&shared.sessions).rotate(keep);
    Ok(Json::of(&json!({ "rotated": true })))
}

impl Shared {
    fn session_token(&self, user: &str, change: Value) -> Result<String, Refusal> {
        let change = object(change)?;
        let now = self.read(|world| world.now_ms()) / 1000;
        let claims = json!({
            "iss": ISSUER,
            "sub": user,
            "sid": format!("sess_{}", user.trim_start_matches("user_")),
            "iat": now,
            "nbf": now - EARLY_S,
            "exp": now + LIFE_S,
            "jti": format!("{now:020}"),
            "fva": [0, -1],
            "v": 2,
        });
        let mut claims = object(claims)?;
        for (name, value) in change {
            match value {
                Value::Null => claims.remove(&name),
                value => claims.insert(name, value),
            };
        }
        let mut sessions = held(&self.sessions);
        let token = sessions.current().and_then(|key| key.sign(&claims));
        token.ok_or(Refusal::BodyInvalid)
    }
}

impl ClerkSim {
    /// A session token of this user, whether there is such a user or not, good for a minute.
    pub fn session_token(&self, user: &str) -> Result<String, Refusal> {
        self.session_token_with(user, json!({}))
    }

    /// The same with these claims put over its own; null takes one away.
    pub fn session_token_with(&self, user: &str, claims: Value) -> Result<String, Refusal> {
        self.shared.session_token(user, claims)
    }

    /// Signs session tokens with a new key from now on; the old ones are still shown, or not.
    pub fn rotate_session_key(&self, keep: bool) {
        held(&self.shared.sessions).rotate(keep);
    }

    /// What `GET /v1/jwks` shows.
    pub fn session_keys(&self) -> Vec<Value> {
        let mut sessions = held(&self.shared.sessions);
        sessions.current();
        sessions.keys.iter().map(SigningKey::public).collect()
    }
}
