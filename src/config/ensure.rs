//! The `[ensure]` section: making sure of a user's row at sign-in.
//!
//! Knows what a web origin looks like, since browsers compare it letter by letter.

use url::Url;

use super::reader::{Reader, is_loopback};

/// Web origins at most.
const MOST_ORIGINS: usize = 32;

/// `POST /ensure`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ensure {
    /// Whether it is offered.
    pub enabled: bool,
    /// Origins that may call it from a browser.
    pub origins: Vec<String>,
    /// The `iss` of the instance's session tokens, if only that one is believed.
    pub issuer: Option<String>,
}

impl Ensure {
    pub(super) fn read(r: &mut Reader) -> Option<Self> {
        let enabled = r.flag("ensure.enabled");
        let issuer = r.optional_text("ensure.issuer");
        let origins = r.texts("ensure.origins", MOST_ORIGINS)?;
        let is_origin = |text: &String| {
            Url::parse(text).is_ok_and(|url| url.origin().ascii_serialization() == *text)
        };
        if !origins.iter().all(is_origin) {
            r.mistake(
                "ensure.origins",
                "has an entry that is not a web origin",
                "write scheme and host without a path, such as https://app.example.com",
            );
            return None;
        }
        let issuer = issuer?;
        let is_address = |text: &String| {
            Url::parse(text).is_ok_and(|url| url.scheme() == "https" || is_loopback(&url))
        };
        if !issuer.iter().all(is_address) {
            r.mistake(
                "ensure.issuer",
                "is no https:// address",
                "write the address of Clerk's Frontend API, such as https://clerk.example.com",
            );
            return None;
        }
        Some(Ensure {
            enabled: enabled?,
            origins,
            issuer,
        })
    }
}
