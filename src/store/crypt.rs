//! Encryption at rest: which keys there are, and what a record looks like that one of them has encrypted.
//!
//! XChaCha20-Poly1305 with a nonce drawn anew for each record. The name under which a record is kept is bound in,
//! so that what lies under another name is not believed, and the id of its key stands beside it in plain, so
//! that one can be told which key is missing. The first key writes; all of them read, and so does what was
//! written before there was one. Knows no file. Promises that no key and no content is in a message or in
//! `Debug`, that keys are not swapped out, and that they are overwritten in memory when the last user is gone.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::{AeadInOut, KeyInit, Tag, XChaCha20Poly1305, XNonce};
use rand::RngCore;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::locked::Locked;
use crate::twin::{Twin, broken};

mod voucher;

pub use self::voucher::Voucher;

/// The length of a key, in bytes.
pub const KEY_BYTES: usize = 32;
/// The length of an encrypted record's head: key id, nonce, tag.
pub const HEAD_BYTES: usize = ID_BYTES + NONCE_BYTES + TAG_BYTES;
/// The length of a [`Keyring::prove`], in bytes.
pub const PROOF_BYTES: usize = 16;

const ID_BYTES: usize = 8;
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;
/// How an encrypted value, file or line begins. No JSON does, and what else is kept is shorter.
const MARK: [u8; 4] = *b"\0ccs";

/// Which key it is, without telling anything of it: the beginning of a hash that is used for nothing else.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; ID_BYTES]);

/// Under which name a record is kept.
#[derive(Clone, Copy, Debug)]
pub enum Name<'a> {
    /// A frame of the journal; an entry's number is bound in by [`Keyring::prove`], for it is given later.
    Frame,
    /// A value of the derived state.
    Value {
        /// The tree.
        tree: &'a [u8],
        /// The key in it.
        key: &'a [u8],
    },
    /// A whole file, by its path in the state directory.
    File(&'a str),
    /// A line of a file that grows.
    Line {
        /// The file, by its path in the state directory.
        file: &'a str,
        /// Where the line begins, in bytes.
        at: u64,
    },
}

/// Why a record cannot be read.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Unreadable {
    /// It is encrypted under a key that is not there.
    #[error("it is encrypted under the key {0}, which state.encryption_key does not name")]
    UnknownKey(KeyId),
    /// It is not what was encrypted under this name.
    #[error("it is not what was encrypted under its name")]
    Changed,
}

/// What stands beside the encrypted bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Head {
    id: KeyId,
    nonce: [u8; NONCE_BYTES],
    tag: [u8; TAG_BYTES],
}

struct Key {
    id: KeyId,
    cipher: XChaCha20Poly1305,
    proof: Zeroizing<[u8; 32]>,
    voucher: Zeroizing<[u8; 32]>,
}

/// The keys, the one that writes first. Without any, everything stays plain. Cheap to clone.
#[derive(Clone, Default)]
pub struct Keyring(Arc<[Locked<Key>]>);

impl Keyring {
    /// These keys; the first one writes.
    pub fn new<'a>(keys: impl IntoIterator<Item = &'a [u8; KEY_BYTES]>) -> Self {
        if broken(Twin::PlainState) {
            return Keyring::default();
        }
        Keyring(keys.into_iter().map(Key::new).map(Locked::new).collect())
    }

    /// The key that writes; none: nothing is encrypted.
    pub fn writes(&self) -> Option<KeyId> {
        self.0.first().map(|key| key.id)
    }

    /// All keys.
    pub fn ids(&self) -> Vec<KeyId> {
        self.0.iter().map(|key| key.id).collect()
    }

    /// Encrypts in place; none, and nothing done, without a key.
    pub fn encrypt_in_place(&self, name: Name<'_>, bytes: &mut [u8]) -> Option<Head> {
        let key = self.0.first()?;
        let mut nonce = [0; NONCE_BYTES];
        rand::rng().fill_bytes(&mut nonce);
        let bound = name.bound();
        let tag = key
            .cipher
            .encrypt_inout_detached(&XNonce::from(nonce), &bound, bytes.into())
            .expect("a record is far below the 256 GiB that one nonce may encrypt");
        Some(Head {
            id: key.id,
            nonce,
            tag: tag.into(),
        })
    }

    /// Undoes [`Keyring::encrypt_in_place`]; `bytes` are worth nothing after an error.
    pub fn decrypt_in_place(
        &self,
        name: Name<'_>,
        head: &Head,
        bytes: &mut [u8],
    ) -> Result<(), Unreadable> {
        let key = self.key(head.id)?;
        let (nonce, tag) = (XNonce::from(head.nonce), Tag::from(head.tag));
        key.cipher
            .decrypt_inout_detached(&nonce, &name.bound(), bytes.into(), &tag)
            .map_err(|_| Unreadable::Changed)
    }

    /// Binds a number to an encrypted record that had none yet. The tag stands for the record: whoever does
    /// not have the key cannot make a proof for another number.
    pub fn prove(&self, head: &Head, number: u64) -> Result<[u8; PROOF_BYTES], Unreadable> {
        let mut hasher = blake3::Hasher::new_keyed(&self.key(head.id)?.proof);
        hasher.update(&head.nonce).update(&head.tag);
        if !broken(Twin::UnboundNames) {
            hasher.update(&number.to_le_bytes());
        }
        let mut proof = [0; PROOF_BYTES];
        proof.copy_from_slice(&hasher.finalize().as_bytes()[..PROOF_BYTES]);
        Ok(proof)
    }

    /// Whether a proof is that of this record and number.
    pub fn proves(&self, head: &Head, number: u64, proof: &[u8]) -> Result<(), Unreadable> {
        let same: bool = self.prove(head, number)?.ct_eq(proof).into();
        same.then_some(()).ok_or(Unreadable::Changed)
    }

    /// A proof that these bytes come from a holder of the key that writes, for a file that everybody may read.
    /// None without a key.
    pub fn vouch(&self, bytes: &[u8]) -> Option<Voucher> {
        self.0.first().map(|key| key.vouch(bytes))
    }

    /// Whether a proof is that of these bytes.
    pub fn vouches(&self, voucher: &Voucher, bytes: &[u8]) -> Result<(), Unreadable> {
        // Hashes are compared in constant time.
        let own = self.key(voucher.key)?.vouch(bytes);
        (own.hash == voucher.hash)
            .then_some(())
            .ok_or(Unreadable::Changed)
    }

    /// A value or file as it is kept: encrypted if there is a key, else as it is.
    pub fn encrypt<'p>(&self, name: Name<'_>, plain: &'p [u8]) -> Cow<'p, [u8]> {
        const BEFORE: usize = MARK.len() + HEAD_BYTES;
        if self.0.is_empty() {
            return Cow::Borrowed(plain);
        }
        let mut out = Vec::with_capacity(BEFORE + plain.len());
        out.extend_from_slice(&[0; BEFORE]);
        out.extend_from_slice(plain);
        match self.encrypt_in_place(name, &mut out[BEFORE..]) {
            Some(head) => {
                out[..MARK.len()].copy_from_slice(&MARK);
                out[MARK.len()..BEFORE].copy_from_slice(&head.encode());
                Cow::Owned(out)
            }
            None => Cow::Borrowed(plain),
        }
    }

    /// What was given to [`Keyring::encrypt`]; what was never encrypted comes back as it is.
    pub fn decrypt<'k>(&self, name: Name<'_>, kept: &'k [u8]) -> Result<Cow<'k, [u8]>, Unreadable> {
        let Some((head, rest)) = split(kept) else {
            return Ok(Cow::Borrowed(kept));
        };
        let mut bytes = rest.to_vec();
        self.decrypt_in_place(name, &head, &mut bytes)?;
        Ok(Cow::Owned(bytes))
    }

    /// A line as it is kept, with its end.
    pub fn encrypt_line(&self, file: &str, at: u64, plain: &[u8]) -> Vec<u8> {
        let mut line = match self.encrypt(Name::Line { file, at }, plain) {
            Cow::Borrowed(plain) => plain.to_vec(),
            Cow::Owned(kept) => STANDARD.encode(kept).into_bytes(),
        };
        line.push(b'\n');
        line
    }

    /// What was given to [`Keyring::encrypt_line`]. `kept` is without the line's end.
    pub fn decrypt_line<'k>(
        &self,
        file: &str,
        at: u64,
        kept: &'k [u8],
    ) -> Result<Cow<'k, [u8]>, Unreadable> {
        let Some(bytes) = decoded(kept) else {
            return Ok(Cow::Borrowed(kept));
        };
        let plain = self.decrypt(Name::Line { file, at }, &bytes)?;
        Ok(Cow::Owned(plain.into_owned()))
    }

    fn key(&self, id: KeyId) -> Result<&Key, Unreadable> {
        let found = self.0.iter().find(|key| key.id == id);
        found.map(|key| &**key).ok_or(Unreadable::UnknownKey(id))
    }
}

/// The key under which a value or file is encrypted; none if it is plain.
pub fn key_of(kept: &[u8]) -> Option<KeyId> {
    split(kept).map(|(head, _)| head.id)
}

/// The same for a line without its end.
pub fn key_of_line(kept: &[u8]) -> Option<KeyId> {
    decoded(kept).and_then(|bytes| key_of(&bytes))
}

fn split(kept: &[u8]) -> Option<(Head, &[u8])> {
    let (head, rest) = kept.strip_prefix(&MARK)?.split_at_checked(HEAD_BYTES)?;
    Some((Head::decode(head)?, rest))
}

/// The bytes of an encrypted line; none for JSON, which begins otherwise.
fn decoded(line: &[u8]) -> Option<Vec<u8>> {
    if line.first() != Some(&b'A') {
        return None;
    }
    let bytes = STANDARD.decode(line).ok()?;
    bytes.starts_with(&MARK).then_some(bytes)
}

impl Key {
    fn new(bytes: &[u8; KEY_BYTES]) -> Key {
        let derived = |purpose| Zeroizing::new(blake3::derive_key(purpose, bytes));
        let named = derived("clerk-convex-sync 2026 state: which key it is");
        let mut id = [0; ID_BYTES];
        id.copy_from_slice(&named[..ID_BYTES]);
        let records = derived("clerk-convex-sync 2026 state: encrypts records");
        Key {
            id: KeyId(id),
            cipher: XChaCha20Poly1305::new_from_slice(&records[..])
                .expect("a derived key has the cipher's length"),
            proof: derived("clerk-convex-sync 2026 state: proves an entry's number"),
            voucher: derived("clerk-convex-sync 2026 state: vouches for a plain file"),
        }
    }

    fn vouch(&self, bytes: &[u8]) -> Voucher {
        Voucher {
            key: self.id,
            hash: blake3::keyed_hash(&self.voucher, bytes),
        }
    }
}

impl Name<'_> {
    /// What the tag covers beside the record. No two names give the same bytes.
    fn bound(&self) -> Vec<u8> {
        let mut bound = Vec::with_capacity(96);
        match self {
            Name::Frame => bound.push(1),
            Name::Value { tree, key } => {
                bound.push(2);
                bound.extend_from_slice(&(tree.len() as u64).to_le_bytes());
                bound.extend_from_slice(tree);
                bound.extend_from_slice(key);
            }
            Name::File(path) => {
                bound.push(3);
                bound.extend_from_slice(path.as_bytes());
            }
            Name::Line { file, at } => {
                bound.push(4);
                bound.extend_from_slice(&at.to_le_bytes());
                bound.extend_from_slice(file.as_bytes());
            }
        }
        if broken(Twin::UnboundNames) {
            bound.clear();
        }
        bound
    }
}

impl Head {
    /// Which key.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Its bytes.
    pub fn encode(&self) -> [u8; HEAD_BYTES] {
        let mut out = [0; HEAD_BYTES];
        out[..ID_BYTES].copy_from_slice(&self.id.0);
        out[ID_BYTES..ID_BYTES + NONCE_BYTES].copy_from_slice(&self.nonce);
        out[ID_BYTES + NONCE_BYTES..].copy_from_slice(&self.tag);
        out
    }

    /// The head that these bytes are.
    pub fn decode(bytes: &[u8]) -> Option<Head> {
        let (id, rest) = bytes.split_at_checked(ID_BYTES)?;
        let (nonce, tag) = rest.split_at_checked(NONCE_BYTES)?;
        Some(Head {
            id: KeyId(id.try_into().ok()?),
            nonce: nonce.try_into().ok()?,
            tag: tag.try_into().ok()?,
        })
    }
}

impl KeyId {
    /// The id that is written so.
    pub fn parse(text: &str) -> Option<KeyId> {
        let mut id = [0; ID_BYTES];
        if text.len() != 2 * ID_BYTES || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        for (at, byte) in id.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
        }
        Some(KeyId(id))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Keyring").field(&self.ids()).finish()
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        KeyId::parse(&text).ok_or_else(|| de::Error::custom("not the id of a key"))
    }
}

#[cfg(test)]
mod tests;
