//! A mistake in the configuration, told so that the reader can put it right.
//!
//! Knows where a value came from and what the keys are called. Never holds a value: a secret that was
//! written to the wrong key must not reach a terminal or a log by way of the complaint about it.

use std::fmt;

use serde::Serialize;

/// One thing that is wrong, with its place and its remedy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mistake {
    /// Where it stands: `/etc/…/config.toml:12`, `environment CCS_LISTEN__ADDRESS`, …
    pub source: String,
    /// The key, such as `listen.address`; empty when the file as a whole is meant.
    pub key: String,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
}

impl Mistake {
    /// A mistake from its four parts.
    pub fn new(
        source: impl Into<String>,
        key: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Mistake {
            source: source.into(),
            key: key.into(),
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.source)?;
        if !self.key.is_empty() {
            write!(f, "`{}` ", self.key)?;
        }
        write!(f, "{}; {}", self.problem, self.remedy)
    }
}

/// The known key that a person most likely meant by `unknown`: the one of the same last part if there
/// is one, else the one with the fewest edits; of several, the one whose whole path is nearest.
pub(super) fn nearest<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let last = |key: &str| key.rsplit('.').next().unwrap_or(key).to_owned();
    let unknown_last = last(unknown);
    known.min_by_key(|key| {
        let same_name = last(key) == unknown_last;
        let whole = strsim::damerau_levenshtein(unknown, key);
        let by_name = strsim::damerau_levenshtein(&unknown_last, &last(key)) + 1;
        (!same_name, whole.min(by_name), whole)
    })
}

/// A key name as it may be shown. Names that look like a secret pasted on the wrong side of the `=`
/// are described, not repeated.
pub(super) fn shown_name(name: &str) -> String {
    /// The longest known key has 32 characters; nothing readable is twice as long.
    const LONGEST_SHOWN: usize = 64;
    let plain = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    let lower = name.to_ascii_lowercase();
    let secret_like = ["sk_live", "sk_test", "whsec"]
        .iter()
        .any(|prefix| lower.contains(prefix));
    if plain && !secret_like && !name.is_empty() && name.len() <= LONGEST_SHOWN {
        name.to_owned()
    } else {
        format!("(a name of {} characters)", name.chars().count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_the_one_that_was_meant() {
        let known = [
            "clerk.secret_key",
            "clerk.api_url",
            "convex.url",
            "admin.address",
            "listen.address",
        ];
        for (unknown, meant) in [
            ("clerk.secretkey", "clerk.secret_key"),
            ("convex.secret_key", "clerk.secret_key"),
            ("lisen.address", "listen.address"),
            ("admin.adress", "admin.address"),
            ("conevx.url", "convex.url"),
            ("listn.address", "listen.address"),
            ("listen.adress", "listen.address"),
        ] {
            assert_eq!(
                nearest(unknown, known.into_iter()),
                Some(meant),
                "{unknown}"
            );
        }
    }

    #[test]
    fn a_name_that_looks_like_a_secret_is_not_repeated() {
        for name in [
            "sk_live_abc",
            "x.WHSEC_abc",
            "prod:a|b",
            "",
            &"a".repeat(65),
        ] {
            assert!(shown_name(name).starts_with("(a name of"), "{name}");
        }
        assert_eq!(shown_name("clerk.secretkey"), "clerk.secretkey");
    }
}
