//! Values that must not be seen: secrets, and what belongs to a person.
//!
//! Neither type shows its content by `Debug` or `Display`, so no log line, error or report can give it
//! away by accident. A secret's memory is overwritten when it is dropped.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

/// A key or token. [`Secret::expose`] is the only way to its content.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Takes the secret as it stands.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(SecretString::from(text.into()))
    }

    /// The content. Hand it on to the one call that needs it, and keep no copy.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Secret::new(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Secret::new(text)
    }
}

/// Takes as long whatever the contents are, so that it may also judge a caller's token.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose()
            .as_bytes()
            .ct_eq(other.expose().as_bytes())
            .into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// Something that belongs to a person: an address, a name, a phone number.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Personal<T>(T);

impl<T> Personal<T> {
    /// Wraps a value.
    pub fn new(value: T) -> Self {
        Personal(value)
    }

    /// The value, for where it belongs: the row in Convex, or the operator who asked.
    pub fn show(&self) -> &T {
        &self.0
    }
}

impl<T> From<T> for Personal<T> {
    fn from(value: T) -> Self {
        Personal(value)
    }
}

impl<T> fmt::Debug for Personal<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<personal>")
    }
}

impl<T> fmt::Display for Personal<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<personal>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_type_shows_its_content() {
        let secret = Secret::new("sk_live_planted");
        let name = Personal::new("Ada Planted".to_owned());
        let shown = format!("{secret:?} {secret} {secret:#?} {name:?} {name} {name:#?}");
        assert!(!shown.contains("lanted"), "{shown}");
        assert_eq!(secret.expose(), "sk_live_planted");
        assert_eq!(name.show(), "Ada Planted");
    }

    #[test]
    fn secrets_are_equal_by_content() {
        assert_eq!(Secret::new("a"), Secret::from("a"));
        assert_ne!(Secret::new("a"), Secret::new("ab"));
        assert_ne!(Secret::new("a"), Secret::new("b"));
    }
}
