//! A Convex id in eight bytes: enough to see that two are different.
//!
//! Scans read a million rows and need the id of hardly any; where two marks differ the row is looked up. Pure.

use std::hash::{DefaultHasher, Hasher};

use serde::{
    Deserialize, Deserializer,
    de::{self, Visitor},
};

/// See the module's words. Lives no longer than the process: the hash may be another one tomorrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowMark(u64);

impl RowMark {
    /// The mark of an id.
    pub fn of(id: &str) -> RowMark {
        let mut hasher = DefaultHasher::new();
        hasher.write(id.as_bytes());
        RowMark(hasher.finish())
    }
}

impl<'de> Deserialize<'de> for RowMark {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RowMark, D::Error> {
        struct Id;
        impl Visitor<'_> for Id {
            type Value = RowMark;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an id")
            }

            fn visit_str<E: de::Error>(self, id: &str) -> Result<RowMark, E> {
                Ok(RowMark::of(id))
            }
        }
        deserializer.deserialize_str(Id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_tells_ids_apart_however_they_come() {
        assert_eq!(
            serde_json::from_str::<RowMark>(r#""k17a""#).unwrap(),
            RowMark::of("k17a")
        );
        assert_ne!(RowMark::of("k17a"), RowMark::of("k17b"));
        assert!(serde_json::from_str::<RowMark>("17").is_err());
    }
}
