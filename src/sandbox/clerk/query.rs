//! Query strings, read as Clerk reads them: repeated keys are arrays, unknown keys are ignored.
//!
//! A literal `+` is a space, as in any form encoding, so an include prefix must come as `%2B` or
//! not at all. It knows the rules of single parameters (limit, offset, order, time, arrays of at
//! most 100 values) and nothing of what is being listed.

use super::refusal::Refusal;
use url::form_urlencoded;

/// Rows of a page when none are asked for, and when more than [`MAX_LIMIT`] are.
pub const DEFAULT_LIMIT: usize = 10;
/// Largest honoured `limit`. A larger one is not refused: the default is used, as observed.
pub const MAX_LIMIT: usize = 500;
/// Values of one array parameter.
const MAX_VALUES: usize = 100;

/// The pairs of one query string.
#[derive(Debug, Clone, Default)]
pub struct Pairs(Vec<(String, String)>);

impl Pairs {
    /// Decodes a raw query string.
    pub fn read(raw: &str) -> Self {
        Self(
            form_urlencoded::parse(raw.as_bytes())
                .into_owned()
                .collect(),
        )
    }

    /// The pairs without those that cut a listing, which a count does not know and ignores.
    pub fn without_paging(mut self) -> Self {
        let paging = ["limit", "offset", "starting_after", "order_by"];
        self.0.retain(|(key, _)| !paging.contains(&key.as_str()));
        self
    }

    /// The first value of a key; later ones do not count.
    pub fn first(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, v)| v.as_str())
    }

    /// All values of a key.
    pub fn all(&self, key: &str) -> Result<Vec<String>, Refusal> {
        let values: Vec<String> = self
            .0
            .iter()
            .filter(|(k, _)| k == key)
            .map(|(_, v)| v.clone())
            .collect();
        if values.len() > MAX_VALUES {
            return Err(Refusal::ArraySize(key.to_owned(), MAX_VALUES));
        }
        Ok(values)
    }

    /// All values of a key, told apart by their `+` or `-` prefix.
    pub fn sieve(&self, key: &str) -> Result<Sieve, Refusal> {
        let mut sieve = Sieve::default();
        for value in self.all(key)? {
            match value.strip_prefix('-') {
                Some(out) => sieve.exclude.push(out.to_owned()),
                None => {
                    sieve
                        .include
                        .push(value.strip_prefix('+').unwrap_or(&value).to_owned());
                }
            }
        }
        Ok(sieve)
    }

    /// A whole number.
    pub fn number(&self, key: &str) -> Result<Option<i64>, Refusal> {
        let Some(text) = self.first(key) else {
            return Ok(None);
        };
        let wrong = || Refusal::ParamFormat(key.to_owned(), "must be an integer.".to_owned());
        text.parse().map(Some).map_err(|_| wrong())
    }

    /// True or false.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, Refusal> {
        match self.first(key) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => Err(Refusal::ParamValue(key.to_owned(), other.to_owned())),
        }
    }

    /// `limit` and `offset`.
    pub fn page(&self) -> Result<Page, Refusal> {
        let limit = match self.number("limit")? {
            None => DEFAULT_LIMIT,
            Some(n) if n < 1 => return Err(Refusal::ParamValue("limit".into(), n.to_string())),
            Some(n) => usize::try_from(n)
                .ok()
                .filter(|n| *n <= MAX_LIMIT)
                .unwrap_or(DEFAULT_LIMIT),
        };
        let offset = self.number("offset")?.unwrap_or(0);
        let offset = usize::try_from(offset)
            .map_err(|_| Refusal::ParamValue("offset".into(), offset.to_string()))?;
        Ok(Page { limit, offset })
    }

    /// The first `order_by`: a field out of `allowed` and whether it descends. No prefix and `+`
    /// ascend. Without the key it is `-created_at`.
    pub fn order<'a>(&self, allowed: &[&'a str]) -> Result<(&'a str, bool), Refusal> {
        let text = self
            .first("order_by")
            .filter(|t| !t.is_empty())
            .unwrap_or("-created_at");
        let (field, descending) = match text.strip_prefix('-') {
            Some(field) => (field, true),
            None => (text.strip_prefix('+').unwrap_or(text), false),
        };
        let known = allowed.iter().find(|name| **name == field);
        let wrong = || Refusal::ParamValue("order_by".to_owned(), text.to_owned());
        known.map(|name| (*name, descending)).ok_or_else(wrong)
    }
}

/// Values to include and values to leave out.
#[derive(Debug, Clone, Default)]
pub struct Sieve {
    /// When not empty, only these.
    pub include: Vec<String>,
    /// Never these.
    pub exclude: Vec<String>,
}

impl Sieve {
    /// True when nothing was asked.
    pub fn is_open(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }

    /// Whether `value` goes through.
    pub fn passes(&self, value: Option<&str>) -> bool {
        let among = |list: &[String]| value.is_some_and(|v| list.iter().any(|w| w == v));
        (self.include.is_empty() || among(&self.include)) && !among(&self.exclude)
    }
}

/// A cut of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Rows at most, 1 to 500.
    pub limit: usize,
    /// Rows to skip.
    pub offset: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_five_hundred_rows_silently_means_ten() {
        for (raw, limit) in [
            ("", 10),
            ("limit=500", 500),
            ("limit=501", 10),
            ("limit=1", 1),
        ] {
            assert_eq!(Pairs::read(raw).page().unwrap().limit, limit, "{raw}");
        }
        for raw in ["limit=0", "limit=-3", "limit=x", "offset=-1"] {
            assert_eq!(Pairs::read(raw).page().unwrap_err().status(), 422, "{raw}");
        }
    }

    #[test]
    fn order_and_prefixes_follow_the_form_encoding() {
        let allowed = ["created_at", "updated_at"];
        for (raw, want) in [
            ("", ("created_at", true)),
            ("order_by=created_at", ("created_at", false)),
            ("order_by=%2Bupdated_at", ("updated_at", false)),
            (
                "order_by=-updated_at&order_by=created_at",
                ("updated_at", true),
            ),
        ] {
            assert_eq!(Pairs::read(raw).order(&allowed).unwrap(), want, "{raw}");
        }
        // A bare plus is a space, which no field begins with.
        assert!(Pairs::read("order_by=+created_at").order(&allowed).is_err());
        let sieve = Pairs::read("user_id=a&user_id=%2Bb&user_id=-c")
            .sieve("user_id")
            .unwrap();
        assert_eq!(
            (sieve.include, sieve.exclude),
            (vec!["a".into(), "b".into()], vec!["c".into()])
        );
        let many = "user_id=x&".repeat(101);
        let refused = Pairs::read(&many).sieve("user_id").unwrap_err();
        assert_eq!(refused.code(), "form_param_array_size_exceeded");
    }
}
