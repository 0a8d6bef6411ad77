//! Is this delivery from the holder of our secret? Nothing is believed, parsed or stored before.
//!
//! The signature itself is the `svix` crate's business; here are the cheap checks before it, the list
//! of secrets (several, so that one can be rotated without a refused delivery), and the proof:
//! a [`VerifiedEvent`] can be made nowhere else. Tells forgers nothing.

use http::{HeaderMap, HeaderValue};
use svix::webhooks::Webhook;

use crate::{
    config::Secret,
    model::DeliveryId,
    twin::{self, Twin},
};

/// The sender's two spellings of the headers: Svix's own first, as its libraries do.
const SPELLINGS: [[&str; 3]; 2] = [
    ["svix-id", "svix-timestamp", "svix-signature"],
    ["webhook-id", "webhook-timestamp", "webhook-signature"],
];
/// How far a timestamp may be off, in seconds, either way. Svix signs every attempt anew.
const TOLERANCE_S: i64 = 300;
/// Signatures in one header: Svix may send eleven during rotations.
const MAX_SIGNATURES: usize = 32;
/// The longest signature header, in bytes: room for [`MAX_SIGNATURES`] of them.
const MAX_HEADER_BYTES: usize = 4096;

/// A delivery whose signature holds.
#[derive(Debug)]
pub struct VerifiedEvent<'a> {
    id: DeliveryId,
    body: &'a [u8],
    newer: bool,
}

impl VerifiedEvent<'_> {
    /// The sender's id, the same on each retry and replay.
    pub fn id(&self) -> &DeliveryId {
        &self.id
    }

    /// The body as it was signed.
    pub fn body(&self) -> &[u8] {
        self.body
    }

    /// True if the first of several signatures, which is that of the endpoint's own secret, is none of ours.
    /// (`CreateMessageEndpoint::valid_signing_keys` of Svix's server: the endpoint's key, then its old ones.)
    pub fn has_a_newer_signature(&self) -> bool {
        self.newer
    }
}

/// Why a delivery is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A header is missing, doubled or malformed: 400.
    #[error("the signature headers are missing or malformed")]
    Malformed,
    /// The body is no UTF-8, which nobody signs: 400.
    #[error("the body is not text")]
    Unreadable,
    /// Signed too long ago, or in the future: 401.
    #[error("the timestamp is too far off")]
    TooFarOff,
    /// No signature of ours: 401.
    #[error("the signature does not match")]
    Forged,
}

/// The headers of a delivery, well-formed and in time. Made before the body is read.
#[derive(Debug)]
pub struct Claim {
    id: DeliveryId,
    /// The three headers, as the verifier wants them.
    headers: HeaderMap,
}

impl Claim {
    /// Reads the headers; `now_s` in seconds since the epoch.
    pub fn read(headers: &HeaderMap, now_s: i64) -> Result<Claim, Refusal> {
        let complete = |names: &[&str; 3]| names.iter().all(|name| headers.contains_key(*name));
        let spelling = SPELLINGS.into_iter().find(complete);
        let spelling = spelling.ok_or(Refusal::Malformed)?;
        for [ours, theirs] in pairs() {
            // Two headers that disagree are somebody's attempt to have each reader see another one.
            let (mut ours, mut theirs) =
                (headers.get_all(ours).iter(), headers.get_all(theirs).iter());
            if let (Some(first), Some(second)) = (ours.next(), theirs.next())
                && (first != second || theirs.next().is_some())
            {
                return Err(Refusal::Malformed);
            }
        }
        let [id, timestamp, signature] = spelling.map(|name| single(headers, name));
        let (id, timestamp, signature) = (id?, timestamp?, signature?);
        let delivery = DeliveryId::parse(id).ok_or(Refusal::Malformed)?;
        let digits = !timestamp.is_empty() && timestamp.bytes().all(|b| b.is_ascii_digit());
        let signed_at: i64 = timestamp.parse().map_err(|_| Refusal::Malformed)?;
        if !digits || !is_list_of_signatures(signature) {
            return Err(Refusal::Malformed);
        }
        let late = (now_s - signed_at).abs() > TOLERANCE_S;
        if late && !twin::broken(Twin::AnyTime) {
            return Err(Refusal::TooFarOff);
        }
        let mut chosen = HeaderMap::with_capacity(3);
        for (own, value) in SPELLINGS[0].into_iter().zip([id, timestamp, signature]) {
            // Copied, since a clone would hold on to the buffer that the whole head lies in.
            let value = HeaderValue::from_str(value).map_err(|_| Refusal::Malformed)?;
            chosen.insert(own, value);
        }
        Ok(Claim {
            id: delivery,
            headers: chosen,
        })
    }

    /// Checks the signature against every secret.
    pub fn verify<'a>(
        self,
        body: &'a [u8],
        secrets: &Secrets,
    ) -> Result<VerifiedEvent<'a>, Refusal> {
        if std::str::from_utf8(body).is_err() {
            return Err(Refusal::Unreadable);
        }
        let ours = secrets.match_any(body, &self.headers);
        if !ours && !twin::broken(Twin::AnySignature) {
            return Err(Refusal::Forged);
        }
        let newer = match self.first_of_several() {
            Some(first) => !secrets.match_any(body, &first),
            None => false,
        };
        Ok(VerifiedEvent {
            id: self.id,
            body,
            newer,
        })
    }

    /// The headers with the first signature only; `None` if there is but one.
    fn first_of_several(&self) -> Option<HeaderMap> {
        const SIGNATURE: &str = SPELLINGS[0][2];
        let list = self.headers.get(SIGNATURE)?.to_str().ok()?;
        let mut entries = list.split(' ').filter(|entry| entry.starts_with("v1,"));
        let (first, _) = (entries.next()?, entries.next()?);
        let mut headers = self.headers.clone();
        headers.insert(SIGNATURE, HeaderValue::from_str(first).ok()?);
        Some(headers)
    }
}

/// The secrets that are accepted now.
pub struct Secrets {
    webhooks: Vec<Webhook>,
}

impl Secrets {
    /// From the configuration, which has checked that they decode. Those that do not are left out;
    /// with none left nothing is ever accepted.
    pub fn new(secrets: &[Secret]) -> Self {
        if twin::broken(Twin::Talkative) {
            let text = secrets.iter().map(Secret::expose);
            tracing::debug!("secrets: {:?}", text.collect::<Vec<_>>());
        }
        let most = match twin::broken(Twin::FirstSecret) {
            true => 1,
            false => secrets.len(),
        };
        Secrets {
            webhooks: secrets
                .iter()
                .take(most)
                .filter_map(|s| Webhook::new(s.expose()).ok())
                .collect(),
        }
    }

    fn match_any(&self, body: &[u8], headers: &HeaderMap) -> bool {
        let matches = |webhook: &Webhook| match twin::broken(Twin::AnyTime) {
            true => webhook.verify_ignoring_timestamp(body, headers).is_ok(),
            false => webhook.verify(body, headers).is_ok(),
        };
        self.webhooks.iter().any(matches)
    }
}

/// Each header in both spellings.
fn pairs() -> impl Iterator<Item = [&'static str; 2]> {
    let [ours, theirs] = SPELLINGS;
    ours.into_iter().zip(theirs).map(<[_; 2]>::from)
}

fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a str, Refusal> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().map_err(|_| Refusal::Malformed),
        _ => Err(Refusal::Malformed),
    }
}

fn is_list_of_signatures(header: &str) -> bool {
    let mut entries = header.split(' ').filter(|entry| !entry.is_empty());
    let well_formed = |entry: &str| {
        entry
            .split_once(',')
            .is_some_and(|(version, text)| !version.is_empty() && !text.is_empty())
    };
    header.len() <= MAX_HEADER_BYTES
        && entries.clone().count() <= MAX_SIGNATURES
        && entries.any(well_formed)
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
