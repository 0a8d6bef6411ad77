//! Secrets, read from the merged values.
//!
//! A secret travels in HTTP headers, so it is visible ASCII. One that is set to nothing is refused
//! even where none is needed.

use ::config::ValueKind;

use super::Reader;
use crate::config::Secret;

impl Reader {
    /// A secret; `Some(None)` when it is not set anywhere. One that is set to nothing is a mistake:
    /// to go on without it could leave a door open that was meant to be shut.
    pub fn optional_secret(&mut self, key: &str) -> Option<Option<Secret>> {
        self.asked.insert(format!("{key}_file"));
        match self.optional_text(key)? {
            Some(text) if text.chars().all(|c| c.is_ascii_graphic()) => Some(Some(text.into())),
            Some(_) => {
                self.mistake(
                    key,
                    "holds a space, a line break or a character that is not ASCII",
                    "copy the secret again, alone",
                );
                None
            }
            None if self.gathered.empties.contains_key(key) => self.missing(key),
            None => Some(None),
        }
    }

    /// A secret that must be there.
    pub fn secret(&mut self, key: &str) -> Option<Secret> {
        match self.optional_secret(key)? {
            Some(secret) => Some(secret),
            None => self.missing(key),
        }
    }

    /// Several secrets, or none. To be set to nothing is a mistake, as for one.
    pub fn optional_secrets(&mut self, key: &str, most: usize) -> Option<Vec<Secret>> {
        self.asked.insert(format!("{key}_file"));
        let texts = self.texts(key, most)?;
        let blank = |text: &str| text.trim().is_empty();
        let only_commas = matches!(self.kind(key), Some(ValueKind::String(text)) if !blank(&text));
        if texts.is_empty() && (only_commas || self.gathered.empties.contains_key(key)) {
            return self.missing(key);
        }
        Some(texts.into_iter().map(Secret::from).collect())
    }

    /// Several secrets, of which one must be there.
    pub fn secrets(&mut self, key: &str, most: usize) -> Option<Vec<Secret>> {
        self.asked.insert(format!("{key}_file"));
        let texts = self.texts(key, most)?;
        if texts.is_empty() {
            return self.missing(key);
        }
        Some(texts.into_iter().map(Secret::from).collect())
    }
}
