//! Ids that look like Clerk's: a prefix and 27 base62 characters, held in 27 bytes.
//!
//! They come from a seeded generator, so that one seed gives one world. Nothing here says what an
//! id belongs to; the prefix is added where it is shown and taken off where it is read.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::{Serialize, Serializer};
use std::fmt;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Characters after the prefix in every live id that integrators have published.
const LENGTH: usize = 27;
/// Bytes of the longest prefix that is shown the fast way (`orgmem_` has seven).
const MAX_PREFIX: usize = 8;

/// The part of an id after its prefix.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id([u8; LENGTH]);

impl Id {
    /// Reads `<prefix><27 base62 characters>`; anything else is no id of this simulation.
    pub fn parse(prefix: &str, text: &str) -> Option<Self> {
        let rest: [u8; LENGTH] = text.strip_prefix(prefix)?.as_bytes().try_into().ok()?;
        rest.iter()
            .all(u8::is_ascii_alphanumeric)
            .then_some(Self(rest))
    }

    /// The id with its prefix, ready to be shown.
    pub fn with(self, prefix: &'static str) -> Prefixed {
        Prefixed(prefix, self)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

/// An id together with its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefixed(&'static str, Id);

impl fmt::Display for Prefixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)?;
        f.write_str(std::str::from_utf8(&self.1.0).map_err(|_| fmt::Error)?)
    }
}

impl Serialize for Prefixed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Past the formatting machinery, which would be most of the cost of a page of users.
        let mut text = [0_u8; LENGTH + MAX_PREFIX];
        let (prefix, id) = (self.0.as_bytes(), &self.1.0);
        let Some(room) = text.get_mut(..prefix.len() + LENGTH) else {
            return serializer.collect_str(self);
        };
        room[..prefix.len()].copy_from_slice(prefix);
        room[prefix.len()..].copy_from_slice(id);
        match std::str::from_utf8(room) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => serializer.collect_str(self),
        }
    }
}

/// A seeded source of ids and of the small random numbers of the simulation.
#[derive(Debug)]
pub struct IdSource(StdRng);

impl IdSource {
    /// The same seed gives the same ids in the same order.
    pub fn seeded(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// A new id. It begins with `2` or `3`, as the ids of the last years do.
    pub fn id(&mut self) -> Id {
        let mut bytes = [0_u8; LENGTH];
        for byte in &mut bytes {
            *byte = ALPHABET[self.0.random_range(0..ALPHABET.len())];
        }
        bytes[0] = if self.0.random_bool(0.5) { b'2' } else { b'3' };
        Id(bytes)
    }

    /// A number below `bound`, 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 {
            0
        } else {
            self.0.random_range(0..bound)
        }
    }
}
