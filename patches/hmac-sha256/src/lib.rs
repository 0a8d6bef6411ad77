//! HMAC-SHA-256 under the name and with the one function by which the `svix` crate calls it.
//!
//! The crate that stands behind this name in the registry computes it in portable Rust, which took more of a
//! processor than anything else that is done for a delivery: 19 µs for a body of 3 kB where this takes 3.
//! No cryptography is written here; [`aws_lc_rs`] does it. A version of `svix` that calls anything else will not
//! compile, and one that needs another version of this crate will not use it, which a test notices.

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};

/// HMAC-SHA-256 (RFC 2104, FIPS 198-1).
#[expect(clippy::upper_case_acronyms, reason = "the name by which it is called")]
pub struct HMAC;

impl HMAC {
    /// The code of `input` under `key`, which may be of any length.
    pub fn mac(input: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> [u8; 32] {
        let key = Key::new(HMAC_SHA256, key.as_ref());
        let mut code = [0; 32];
        code.copy_from_slice(sign(&key, input.as_ref()).as_ref());
        code
    }
}
