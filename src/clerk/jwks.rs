//! Session tokens: is this one of our instance's, and whose?
//!
//! The proof is the signature by a key that Clerk's Backend API names under our own secret key; what else
//! is checked (time, issuer, who it was made for, that it is a session's) only narrows it. One algorithm.
//! Knows neither HTTP listeners nor rows. Promises: an unknown key id costs Clerk at most one request a
//! minute, whatever is sent; keys are believed for an hour; no error says why, or repeats a token.

use std::{collections::HashMap, fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation, decode, decode_header,
    jwk::{AlgorithmParameters, Jwk, KeyAlgorithm, PublicKeyUse},
};
use serde::Deserialize;
use tokio::{runtime::Handle, sync::Mutex, time::Instant};
use tokio_util::task::TaskTracker;

use super::ClerkError;
use crate::model::Key;

/// The one algorithm that Clerk signs session tokens with. A token does not get to choose.
const ALGORITHM: Algorithm = Algorithm::RS256;
/// How far clocks may differ, in seconds; the same as in Clerk's own libraries.
const LEEWAY_S: u64 = 5;
/// The longest token that is looked at, in bytes. A session token travels in a cookie of at most 4 KiB.
const MAX_TOKEN_BYTES: usize = 8 << 10;
/// The longest key id, in bytes. Clerk's have 31.
const MAX_KID_BYTES: usize = 128;
/// Keys that are kept. An instance has one, and two while one replaces another.
const MAX_KEYS: usize = 16;
/// How long keys are believed after Clerk has named them: so long may a withdrawn one still be used.
const KEYS_LIVE: Duration = Duration::from_secs(3600);
/// The shortest time between two requests because of a key id that nobody knows.
const UNKNOWN_PAUSE: Duration = Duration::from_secs(60);
/// The shortest time between two requests when the last one failed.
const FAILED_PAUSE: Duration = Duration::from_secs(2);

/// The public keys that an instance signs with, by their ids.
#[derive(Clone, Default)]
pub struct KeySet(HashMap<String, DecodingKey>);

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeySet({} keys)", self.0.len())
    }
}

impl KeySet {
    /// Takes what can be used of a set: RSA keys with an id that are meant for RS256 signatures. Others are
    /// no mistake, they are for something else. Fails only if it is no set at all.
    pub(super) fn read(text: &[u8]) -> Result<KeySet, serde_json::Error> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<serde_json::Value>,
        }
        let set: Set = serde_json::from_slice(text)?;
        let keys = set.keys.into_iter().filter_map(usable).take(MAX_KEYS);
        Ok(KeySet(keys.collect()))
    }
}

fn usable(key: serde_json::Value) -> Option<(String, DecodingKey)> {
    let jwk: Jwk = serde_json::from_value(key).ok()?;
    let common = &jwk.common;
    let signs = matches!(common.public_key_use, None | Some(PublicKeyUse::Signature));
    let fits = matches!(common.key_algorithm, None | Some(KeyAlgorithm::RS256));
    let rsa = matches!(jwk.algorithm, AlgorithmParameters::RSA(_));
    let id = common
        .key_id
        .clone()
        .filter(|id| id.len() <= MAX_KID_BYTES)?;
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    (signs && fits && rsa).then_some((id, key))
}

/// Which tokens are ours, beyond the signature.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// The one issuer; `None`: any `https` address, since only our instance's keys are believed anyway.
    pub issuer: Option<String>,
    /// Web origins that a token may have been made for; empty: any. A token that names none is no browser's.
    pub origins: Vec<String>,
}

/// Why it is not known whose a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is nobody's: forged, expired, another instance's, or no session token.
    #[error("the token is not accepted")]
    Untrusted,
    /// Clerk did not say which keys it signs with.
    #[error("the keys of the Clerk instance are not known at the moment")]
    Away,
}

/// Asks Clerk for its keys.
pub type FetchKeys =
    Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<KeySet, ClerkError>> + Send>> + Send + Sync>;

/// Checks session tokens.
pub struct SessionTokens {
    rules: Rules,
    validation: Validation,
    fetch: FetchKeys,
    /// Where Clerk is asked, whoever waits for it.
    runtime: Handle,
    tasks: TaskTracker,
    held: Arc<ArcSwapOption<Held>>,
    /// One question to Clerk at a time; whoever waits for the turn looks again.
    asked: Arc<Mutex<Asked>>,
}

struct Held {
    keys: KeySet,
    since: Instant,
}

/// When Clerk was asked last, by reason and result.
#[derive(Clone, Copy, Default)]
struct Asked {
    failed: Option<Instant>,
    unknown: Option<Instant>,
}

/// What is read of a token. `exp` and `nbf` are the library's to check.
#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    /// Only the tokens of a session have one; those of templates, machines and OAuth do not.
    sid: String,
    #[serde(default)]
    azp: Option<String>,
}

impl SessionTokens {
    /// Knows no keys yet; asks for them, on this runtime, when the first token comes.
    pub fn new(rules: Rules, fetch: FetchKeys, runtime: Handle) -> SessionTokens {
        let mut validation = Validation::new(ALGORITHM);
        validation.leeway = LEEWAY_S;
        validation.validate_nbf = true;
        // Clerk's session tokens name no audience unless the app adds one of its own.
        validation.validate_aud = false;
        validation.set_required_spec_claims(&["exp", "sub", "iss"]);
        SessionTokens {
            rules,
            validation,
            fetch,
            runtime,
            tasks: TaskTracker::new(),
            held: Arc::default(),
            asked: Arc::default(),
        }
    }

    /// Whose token this is.
    ///
    /// # Errors
    /// [`TokenError::Untrusted`] for whatever is wrong with the token; [`TokenError::Away`] when that cannot
    /// be told because Clerk does not answer.
    pub async fn whose(&self, token: &str) -> Result<Key, TokenError> {
        let untrusted = TokenError::Untrusted;
        if token.len() > MAX_TOKEN_BYTES {
            return Err(untrusted);
        }
        let header = decode_header(token).map_err(|_| untrusted)?;
        let id = header.kid.filter(|id| id.len() <= MAX_KID_BYTES);
        let id = id.ok_or(untrusted)?;
        // An extension that must be understood and is not.
        if header.alg != ALGORITHM || header.crit.is_some() {
            return Err(untrusted);
        }
        let key = match self.known(&id) {
            Some(Some(key)) => key,
            _ => self.ask_for(&id).await?,
        };
        let read = decode::<Claims>(token, &key, &self.validation).map_err(|_| untrusted)?;
        self.judge(&read.claims).ok_or(untrusted)
    }

    fn judge(&self, claims: &Claims) -> Option<Key> {
        let issued = match &self.rules.issuer {
            Some(issuer) => claims.iss == *issuer,
            None => claims.iss.starts_with("https://"),
        };
        let origins = &self.rules.origins;
        let meant = match &claims.azp {
            Some(origin) => origins.is_empty() || origins.contains(origin),
            None => true,
        };
        let session = claims.sid.starts_with("sess_") && claims.sub.starts_with("user_");
        (issued && meant && session)
            .then(|| Key::parse(&claims.sub))
            .flatten()
    }

    /// `None`: no keys that can still be believed. `Some(None)`: none of this id among them.
    fn known(&self, id: &str) -> Option<Option<DecodingKey>> {
        let held = self.held.load_full()?;
        (held.since.elapsed() < KEYS_LIVE).then(|| held.keys.0.get(id).cloned())
    }

    async fn ask_for(&self, id: &str) -> Result<DecodingKey, TokenError> {
        let mut turn = Arc::clone(&self.asked).lock_owned().await;
        let known = self.known(id);
        if let Some(Some(key)) = known {
            return Ok(key);
        }
        let within = |at: Option<Instant>, pause| at.is_some_and(|at| at.elapsed() < pause);
        if within(turn.failed, FAILED_PAUSE) {
            return Err(TokenError::Away);
        }
        if known.is_some() {
            if within(turn.unknown, UNKNOWN_PAUSE) {
                return Err(TokenError::Untrusted);
            }
            turn.unknown = Some(Instant::now());
        }
        let (fetching, held) = ((self.fetch)(), Arc::clone(&self.held));
        // The turn ends with the answer, which is kept also when nobody waits for it any more.
        let kept = async move {
            let fetched = fetching.await;
            let now = Instant::now();
            turn.failed = fetched.is_err().then_some(now);
            match fetched {
                Ok(keys) => held.store(Some(Arc::new(Held { keys, since: now }))),
                Err(error) => {
                    tracing::warn!(code = error.code(), "Clerk did not name its keys: {error}");
                }
            }
            turn.failed.is_none()
        };
        match self.tasks.spawn_on(kept, &self.runtime).await {
            Ok(true) => self.known(id).flatten().ok_or(TokenError::Untrusted),
            _ => Err(TokenError::Away),
        }
    }
}

#[cfg(test)]
mod tests;
