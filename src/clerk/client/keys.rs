//! The keys that the instance signs session tokens with.
//!
//! One request, under our own secret key: that the answer comes from it is what makes the keys ours. What
//! they are used for is [`crate::clerk::jwks`]'s to know.

use super::{ClerkClient, nonsense};
use crate::clerk::{error::ClerkError, jwks::KeySet};

/// A set of a handful of public keys; each takes half a kilobyte.
const MAX_KEYS_BYTES: usize = 256 << 10;

impl ClerkClient {
    /// The public keys of the instance's session tokens.
    pub async fn session_keys(&self) -> Result<KeySet, ClerkError> {
        const ENDPOINT: &str = "session_keys";
        let reply = self.send(ENDPOINT, &["jwks"], &[], MAX_KEYS_BYTES).await?;
        KeySet::read(&reply.body).map_err(|_| nonsense(ENDPOINT, "no set of keys"))
    }
}
