//! A hand that signs and posts deliveries, and the bodies that it posts.
//!
//! Beside the simulated Clerk's own sender, for tests that need the answer to each request, wrong
//! signatures, or events that no instance would send in that order. Everybody in the bodies is
//! invented. Speaks HTTP by `reqwest`; `wire.rs` is for what no client would send.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use svix::webhooks::Webhook;

/// When everybody signed up: 2025-01-01, in milliseconds.
pub const SIGNED_UP: i64 = 1_735_689_600_000;

/// Signs with these secrets and posts to one address.
#[derive(Clone)]
pub struct Hand {
    listener: SocketAddr,
    url: String,
    secrets: Vec<String>,
    client: reqwest::Client,
}

/// An answer of the public listener.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub retry_after: Option<String>,
    pub text: String,
}

impl Hand {
    /// Posts to the first webhook path of this listener.
    pub fn new(listener: SocketAddr, secrets: &[&str]) -> Hand {
        // Far below what the listener allows: after a time in which both were stopped, it hangs up on idle ones.
        const IDLE: Duration = Duration::from_millis(300);
        let builder = reqwest::Client::builder()
            .no_proxy()
            .pool_idle_timeout(IDLE);
        Hand {
            listener,
            url: format!("http://{listener}{}", crate::world::PATH),
            secrets: secrets.iter().map(|secret| (*secret).to_owned()).collect(),
            client: builder.build().expect("a client"),
        }
    }

    /// The port that it posts to.
    pub fn port(&self) -> u16 {
        self.listener.port()
    }

    /// The same with other secrets.
    pub fn signing_with(&self, secrets: &[&str]) -> Hand {
        Hand {
            secrets: secrets.iter().map(|secret| (*secret).to_owned()).collect(),
            ..self.clone()
        }
    }

    /// Delivers an event under this id.
    pub async fn deliver(&self, id: &str, event: &Value) -> Answer {
        self.post(id, event.to_string().into_bytes()).await
    }

    /// Delivers an event under a new id; it must be acknowledged.
    pub async fn say(&self, event: &Value) {
        let answer = self.deliver(&new_id(), event).await;
        assert_eq!(answer.status, 200, "{answer:?} to {event}");
    }

    /// Delivers bytes under this id. Where both ends were stopped meanwhile, the listener has hung up when they go
    /// on, and the delivery comes again, as any sender's would.
    pub async fn post(&self, id: &str, body: Vec<u8>) -> Answer {
        /// Nobody waits so long for an answer on a machine that runs.
        const STOPPED: Duration = Duration::from_secs(5);
        let asked = Instant::now();
        let mut sent = self.try_post(id, body.clone()).await;
        if sent.is_err() && asked.elapsed() > STOPPED {
            sent = self.try_post(id, body).await;
        }
        sent.unwrap_or_else(|error| panic!("no answer: {error:?}"))
    }

    /// The same; an error when there was no answer.
    pub async fn try_post(&self, id: &str, body: Vec<u8>) -> reqwest::Result<Answer> {
        let now = now_s();
        let request = self
            .client
            .post(&self.url)
            .header("content-type", "application/json")
            .header("svix-id", id)
            .header("svix-timestamp", now.to_string())
            .header("svix-signature", self.signature(id, now, &body));
        let response = request.body(body).send().await?;
        let status = response.status().as_u16();
        let retry_after = response.headers().get("retry-after").cloned();
        Ok(Answer {
            status,
            retry_after: retry_after.and_then(|value| value.to_str().ok().map(str::to_owned)),
            text: response.text().await?,
        })
    }

    /// The value of the signature header.
    pub fn signature(&self, id: &str, now_s: i64, body: &[u8]) -> String {
        signature(&self.secrets, id, now_s, body)
    }
}

/// A signature of each secret, as one header value.
pub fn signature(secrets: &[impl AsRef<str>], id: &str, now_s: i64, body: &[u8]) -> String {
    let one = |secret: &dyn AsRef<str>| {
        let webhook = Webhook::new(secret.as_ref()).expect("a secret");
        webhook.sign(id, now_s, body).expect("a signature")
    };
    let signatures: Vec<String> = secrets.iter().map(|secret| one(secret)).collect();
    signatures.join(" ")
}

/// A delivery id that no other test of this process uses.
pub fn new_id() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("msg_test{:08}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Seconds since the epoch.
pub fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("a clock after 1970").as_secs() as i64
}

/// An event about a living user: the version is counted from [`SIGNED_UP`].
pub fn user(kind: &str, id: &str, version: i64, first_name: &str) -> Value {
    let address = format!("idn_of_{id}");
    json!({
        "object": "event", "type": kind, "timestamp": SIGNED_UP + version + 20,
        "data": {
            "object": "user", "id": id, "first_name": first_name, "last_name": "Varga",
            "username": null, "image_url": format!("https://img.example/{id}"),
            "primary_email_address_id": address,
            "email_addresses": [{ "object": "email_address", "id": address,
                "email_address": format!("{id}@post.example"),
                "verification": { "status": "verified", "strategy": "email_code" } }],
            "phone_numbers": [], "external_accounts": [],
            "public_metadata": {}, "private_metadata": {}, "unsafe_metadata": {},
            "created_at": SIGNED_UP, "updated_at": SIGNED_UP + version,
        },
    })
}

/// A new user.
pub fn created(id: &str, version: i64, first_name: &str) -> Value {
    user("user.created", id, version, first_name)
}

/// A changed user.
pub fn updated(id: &str, version: i64, first_name: &str) -> Value {
    user("user.updated", id, version, first_name)
}

/// A deletion of a user.
pub fn deleted(id: &str, version: i64) -> Value {
    json!({
        "object": "event", "type": "user.deleted", "timestamp": SIGNED_UP + version,
        "data": { "object": "user", "id": id, "deleted": true },
    })
}
