//! One attempt to deliver one message: signed as Svix signs, one POST, one outcome.
//!
//! The attempt's own second is signed, so late retries pass the receiver's tolerance. With several
//! secrets there are several signatures in one header, as during a rotation. Redirects are not
//! followed and only 2xx is success. It knows nothing of ladders and fates.

use super::schedule::Failure;
use bytes::Bytes;
use std::time::Duration;
use svix::webhooks::Webhook;

/// What Svix calls itself.
const USER_AGENT: &str =
    "Svix-Webhooks/1.80.0 (sender-simulated; +https://www.svix.com/http-sender/)";

/// What a receiver's `webhook-delivery` header orders beyond success or failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Nothing.
    None,
    /// No further attempts of this message.
    AbortMessage,
    /// The endpoint is to be disabled.
    Disable,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// `Ok` with a 2xx status, or why it failed.
    pub result: Result<u16, Failure>,
    /// What the receiver ordered.
    pub control: Control,
}

/// The `svix-signature` header: one `v1,…` entry for each secret.
pub fn signatures(keys: &[Webhook], id: &str, secs: i64, body: &[u8]) -> String {
    let entries = keys.iter().filter_map(|key| key.sign(id, secs, body).ok());
    entries.collect::<Vec<_>>().join(" ")
}

/// An HTTP client for the sender. `root_pem` are further trusted certificates, for receivers that
/// speak TLS with a certificate of their own; without it only plain HTTP works.
pub fn client(root_pem: Option<&[u8]>) -> reqwest::Result<reqwest::Client> {
    let roots = match root_pem {
        Some(pem) => reqwest::Certificate::from_pem_bundle(pem)?,
        None => Vec::new(),
    };
    reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .no_proxy()
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .tls_certs_only(roots)
        .build()
}

/// Sends one request and reads its answer.
pub async fn deliver(
    client: &reqwest::Client,
    url: &str,
    headers: [(&'static str, String); 3],
    body: Bytes,
    timeout: Duration,
) -> Outcome {
    let mut request = client
        .post(url)
        .header(http::header::CONTENT_TYPE, "application/json")
        .timeout(timeout)
        .body(body);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let response = match request.send().await {
        Ok(response) => response,
        Err(error) => {
            let failure = if error.is_timeout() {
                Failure::Timeout
            } else {
                Failure::Connection
            };
            return Outcome {
                result: Err(failure),
                control: Control::None,
            };
        }
    };
    let status = response.status();
    let header = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok());
    let control = match header("webhook-delivery") {
        Some("abort-message") => Control::AbortMessage,
        Some("disable") => Control::Disable,
        _ => Control::None,
    };
    let retry_after = header("retry-after")
        .and_then(|v| v.parse().ok())
        .map(Duration::from_secs);
    // Read to the end, so that the connection can carry the next message.
    let whole = response.bytes().await.is_ok();
    let result = match status {
        _ if !whole => Err(Failure::Connection),
        success if success.is_success() => Ok(success.as_u16()),
        other => Err(Failure::Status(other.as_u16(), retry_after)),
    };
    Outcome { result, control }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_the_published_vector() {
        let key = Webhook::new("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD").unwrap();
        let body = br#"{"email":"test@example.com","username":"test_user"}"#;
        let header = signatures(
            &[key],
            "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
            1_649_367_553,
            body,
        );
        assert_eq!(header, "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=");
    }
}
