//! Keys that encrypt what is kept on disk, as a person writes them: 32 random bytes in base64 or hexadecimal.
//!
//! Checked here, so that a key that is cut short or a passphrase stops the start and not the reading of what was
//! written with it. Never shown, nor swapped out; overwritten in memory when dropped.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::reader::Reader;
use crate::locked::Locked;

/// The length of a key, in bytes.
const BYTES: usize = 32;
/// The most keys at once: one that writes, and those of earlier rotations.
const MOST_KEYS: usize = 8;
/// Fewer different bytes than this are not random: of 32 random ones hardly ever less than 20 differ.
const FEWEST_DIFFERENT: usize = 12;

/// One key.
#[derive(Clone)]
pub struct StateKey(Arc<Locked<Zeroizing<[u8; BYTES]>>>);

impl StateKey {
    /// Its bytes. Hand them on to what derives from them, and keep no copy.
    pub fn expose(&self) -> &[u8; BYTES] {
        &self.0
    }

    fn parse(text: &str) -> Option<StateKey> {
        let mut key = Zeroizing::new([0; BYTES]);
        if text.len() == 2 * BYTES && text.bytes().all(|b| b.is_ascii_hexdigit()) {
            for (at, byte) in key.iter_mut().enumerate() {
                *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
            }
            return Some(StateKey::kept(key));
        }
        let lenient =
            GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        for alphabet in [alphabet::STANDARD, alphabet::URL_SAFE] {
            let bytes = GeneralPurpose::new(&alphabet, lenient).decode(text);
            let bytes = bytes.map(Zeroizing::new).ok();
            if let Some(bytes) = bytes.filter(|bytes| bytes.len() == BYTES) {
                key.copy_from_slice(&bytes);
                return Some(StateKey::kept(key));
            }
        }
        None
    }

    fn kept(key: Zeroizing<[u8; BYTES]>) -> StateKey {
        StateKey(Arc::new(Locked::new(key)))
    }

    fn is_random(&self) -> bool {
        let mut seen = [false; 256];
        self.expose()
            .iter()
            .for_each(|byte| seen[usize::from(*byte)] = true);
        seen.iter().filter(|seen| **seen).count() >= FEWEST_DIFFERENT
    }
}

impl PartialEq for StateKey {
    fn eq(&self, other: &Self) -> bool {
        self.expose().ct_eq(other.expose()).into()
    }
}

impl fmt::Debug for StateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StateKey(…)")
    }
}

/// The keys of a setting, the one that writes first; none if it is not set.
pub(super) fn read(r: &mut Reader, setting: &str) -> Option<Vec<StateKey>> {
    let texts = r.optional_secrets(setting, MOST_KEYS)?;
    let mut keys: Vec<StateKey> = Vec::with_capacity(texts.len());
    for (at, text) in texts.iter().enumerate() {
        let problem = match StateKey::parse(text.expose()) {
            None => "is not 32 bytes in base64 or hexadecimal",
            Some(key) if !key.is_random() => "is not random",
            Some(key) if keys.contains(&key) => "is there twice",
            Some(key) => {
                keys.push(key);
                continue;
            }
        };
        let which = match texts.len() {
            1 => problem.to_owned(),
            _ => format!("{problem} (key {})", at + 1),
        };
        r.mistake(
            setting,
            which,
            "make one with `openssl rand -base64 32`; several are separated by commas, the first one writes",
        );
        return None;
    }
    Some(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 32 bytes, each another, and how they are written.
    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff";
    const BASE64: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHv8=";

    #[test]
    fn every_spelling_is_the_same_key() {
        let key = StateKey::parse(HEX).unwrap();
        assert_eq!(key.expose()[31], 0xff);
        for text in [
            BASE64,
            &BASE64[..43],
            &HEX.to_uppercase(),
            "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHv8",
        ] {
            assert_eq!(StateKey::parse(text).as_ref(), Some(&key), "{text}");
        }
        let slashes = "//79/Pv6+fj39vX08/Lx8O/u7ezr6uno5+bl5OPi4eA=";
        let safe = slashes.replace('/', "_").replace('+', "-");
        assert_eq!(StateKey::parse(slashes), StateKey::parse(&safe));
        assert!(StateKey::parse(&safe).is_some());
    }

    #[test]
    fn what_is_no_key_is_none() {
        for text in [
            "",
            "short",
            &HEX[..62],
            &BASE64[..40],
            "correct horse battery staple",
        ] {
            assert_eq!(StateKey::parse(text), None, "{text}");
        }
        assert!(StateKey::parse(HEX).unwrap().is_random());
        assert!(!StateKey::parse(&"a".repeat(64)).unwrap().is_random());
        assert!(!format!("{:?}", StateKey::parse(HEX)).contains("00"));
    }
}
