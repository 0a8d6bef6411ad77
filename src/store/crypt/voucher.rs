//! A keyed hash beside a plain file: who has the key can tell that nobody else has written it.
//!
//! Knows how it is spelled, no key and no file; [`Keyring::vouch`](super::Keyring::vouch) makes it.

use std::fmt;

use super::KeyId;

/// Which key, and its hash of the file's content.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Voucher {
    pub(super) key: KeyId,
    pub(super) hash: blake3::Hash,
}

impl Voucher {
    /// What is written so.
    pub fn parse(text: &str) -> Option<Voucher> {
        let (key, hash) = text.split_once(' ')?;
        Some(Voucher {
            key: KeyId::parse(key)?,
            hash: blake3::Hash::from_hex(hash).ok()?,
        })
    }
}

impl fmt::Display for Voucher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.key, self.hash.to_hex())
    }
}
