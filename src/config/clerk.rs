//! The `[clerk]` section: which instance, by which keys.
//!
//! Knows what Clerk's keys and signing secrets look like; calls nobody.

use base64::{Engine, engine::general_purpose::STANDARD};
use url::Url;

use super::{Secret, reader::Reader};

/// Secrets that may sign at once. A rotation keeps the old one for a day, so two is usual; ten leaves
/// room for every endpoint of a crowded instance.
pub(super) const MOST_WEBHOOK_SECRETS: usize = 10;

/// What Clerk allows a production and a development instance in ten seconds (its page on system limits).
const PRODUCTION_PER_10S: u32 = 1000;
const DEVELOPMENT_PER_10S: u32 = 100;

/// The shortest signing key that is believed, in bytes; Svix makes no shorter one.
const SHORTEST_WEBHOOK_SECRET: usize = 24;

/// How the daemon reaches Clerk, and whom it believes.
#[derive(Clone, Debug, PartialEq)]
pub struct Clerk {
    /// The secret key, `sk_…`.
    pub secret_key: Secret,
    /// Signing secrets of the webhook endpoint, as given (`whsec_` or without); at least one, each of
    /// valid base64.
    pub webhook_secrets: Vec<Secret>,
    /// The origin of the Backend API, without `/v1`.
    pub api_url: Url,
    /// Write `privateMetadata.convexUserId` and `syncedAt` back.
    pub write_back: bool,
    /// Requests in ten seconds as they are set; 0 is half of what the key's instance allows.
    pub requests_per_10s: u32,
    /// The instance whose deliveries are believed, if it is fixed.
    pub instance_id: Option<String>,
}

impl Clerk {
    pub(super) fn read(r: &mut Reader) -> Option<Self> {
        let secret_key = r.secret("clerk.secret_key").filter(|key| check_key(key, r));
        let webhook_secrets = r
            .secrets("clerk.webhook_secrets", MOST_WEBHOOK_SECRETS)
            .filter(|secrets| check_webhook_secrets(secrets, r));
        let api_url = r.origin("clerk.api_url", &["/v1"]);
        let write_back = r.flag("clerk.write_back");
        let requests_per_10s = r.small("clerk.requests_per_10s", 0..=10_000);
        let instance_id = r.optional_text("clerk.instance_id");
        if let Some(Some(id)) = &instance_id
            && !id.starts_with("ins_")
        {
            r.mistake(
                "clerk.instance_id",
                "is not the id of an instance",
                "give the one that begins with ins_, or leave it out",
            );
            return None;
        }
        Some(Clerk {
            secret_key: secret_key?,
            webhook_secrets: webhook_secrets?,
            api_url: api_url?,
            write_back: write_back?,
            requests_per_10s: requests_per_10s?,
            instance_id: instance_id?,
        })
    }

    /// Whether the key belongs to a development instance.
    pub fn is_development(&self) -> bool {
        self.secret_key.expose().starts_with("sk_test_")
    }

    /// Requests that the key's instance allows in ten seconds, to everybody together.
    pub fn instance_per_10s(&self) -> u32 {
        if self.is_development() {
            DEVELOPMENT_PER_10S
        } else {
            PRODUCTION_PER_10S
        }
    }

    /// Requests in ten seconds that are the daemon's own.
    pub fn requests_per_10s(&self) -> u32 {
        match self.requests_per_10s {
            0 => self.instance_per_10s() / 2,
            set => set,
        }
    }
}

fn check_key(key: &Secret, r: &mut Reader) -> bool {
    let text = key.expose();
    let (problem, remedy) = if text.starts_with("pk_") {
        (
            "is a publishable key",
            "give the secret key, which begins with sk_",
        )
    } else if text.starts_with("whsec_") {
        (
            "is a webhook's signing secret",
            "give the secret key, which begins with sk_",
        )
    } else if !text.starts_with("sk_") {
        (
            "is not a Clerk secret key",
            "give the key that begins with sk_live_ or sk_test_ (Clerk's dashboard, API keys)",
        )
    } else {
        return true;
    };
    r.mistake("clerk.secret_key", problem, remedy);
    false
}

fn check_webhook_secrets(secrets: &[Secret], r: &mut Reader) -> bool {
    let mut fine = true;
    for (index, secret) in secrets.iter().enumerate() {
        let text = secret.expose();
        let encoded = text.strip_prefix("whsec_").unwrap_or(text);
        let problem = match STANDARD.decode(encoded) {
            Ok(key) if key.len() >= SHORTEST_WEBHOOK_SECRET => continue,
            Ok(_) => "is too short to be a signing secret",
            Err(_) => "cannot be decoded: it is not base64",
        };
        fine = false;
        r.mistake(
            "clerk.webhook_secrets",
            format!("secret {} of {} {problem}", index + 1, secrets.len()),
            "copy the signing secret of the endpoint again; it begins with whsec_",
        );
    }
    fine
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_default_half_of_what_the_instance_allows_is_ours() {
        for (key, set, ours, instance) in [
            ("sk_live_x", 0, 500, 1000),
            ("sk_test_x", 0, 50, 100),
            ("sk_live_x", 1, 1, 1000),
            ("sk_test_x", 300, 300, 100),
        ] {
            let clerk = Clerk {
                secret_key: Secret::new(key),
                webhook_secrets: Vec::new(),
                api_url: Url::parse("https://api.clerk.com").unwrap(),
                write_back: false,
                requests_per_10s: set,
                instance_id: None,
            };
            assert_eq!(clerk.requests_per_10s(), ours, "{key} {set}");
            assert_eq!(clerk.instance_per_10s(), instance, "{key} {set}");
        }
    }
}
