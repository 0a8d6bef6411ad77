//! Public, private and unsafe metadata: free JSON, merged deeply or replaced, at most 8 KB.
//!
//! Kept as JSON text, because a parsed map of a million users would not fit; an empty object
//! costs eight bytes. PATCH merges at every level and a `null` removes a key; PUT replaces, and
//! may store JSON null. Whether Clerk merges arrays is not documented: here they are replaced.

use super::refusal::Refusal;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// Clerk's documented maximum ("8KB"), applied to each field.
pub const MAX_BYTES: usize = 8 * 1024;

/// One metadata field. `None` inside is the empty object.
#[derive(Debug, Clone, Default)]
pub struct Metadata(Option<Box<RawValue>>);

impl Metadata {
    /// Stores `value`, an object or null, as PUT and POST do.
    pub fn replaced(param: &str, value: &Value) -> Result<Self, Refusal> {
        match value {
            Value::Object(map) if map.is_empty() => Ok(Self(None)),
            Value::Object(_) | Value::Null => {
                let text = value.to_string();
                if text.len() > MAX_BYTES {
                    return Err(Refusal::TooBig(param.to_owned(), MAX_BYTES));
                }
                let raw = RawValue::from_string(text).map_err(|_| Refusal::BodyInvalid)?;
                Ok(Self(Some(raw)))
            }
            other => Err(Refusal::ParamValue(param.to_owned(), other.to_string())),
        }
    }

    /// This metadata with `patch` merged in, as PATCH does.
    pub fn merged(&self, param: &str, patch: &Value) -> Result<Self, Refusal> {
        let Value::Object(patch) = patch else {
            return Err(Refusal::ParamValue(param.to_owned(), patch.to_string()));
        };
        let mut now = match self.value() {
            Value::Object(map) => map,
            _ => Map::new(),
        };
        merge(&mut now, patch);
        Self::replaced(param, &Value::Object(now))
    }

    /// The stored JSON.
    pub fn value(&self) -> Value {
        match &self.0 {
            None => Value::Object(Map::new()),
            // The text was written by serde_json in `replaced`, so it always reads back.
            Some(raw) => serde_json::from_str(raw.get()).unwrap_or(Value::Null),
        }
    }
}

impl Serialize for Metadata {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            None => Map::new().serialize(serializer),
            Some(raw) => raw.serialize(serializer),
        }
    }
}

/// Recursion is bounded by serde_json, which reads at most 128 levels.
fn merge(into: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (key, value) in patch {
        match (into.get_mut(key), value) {
            (_, Value::Null) => {
                into.remove(key);
            }
            (Some(Value::Object(old)), Value::Object(new)) => merge(old, new),
            (_, Value::Object(new)) => {
                let mut fresh = Map::new();
                merge(&mut fresh, new);
                into.insert(key.clone(), Value::Object(fresh));
            }
            (_, value) => {
                into.insert(key.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_patch_merges_at_every_level_and_null_removes() {
        let start = Metadata::replaced("m", &json!({"a": {"x": 1, "y": 2}, "b": [1, 2]})).unwrap();
        let patch = json!({"a": {"x": null, "z": {"k": 1, "n": null}}, "b": [3]});
        let merged = start.merged("m", &patch).unwrap();
        assert_eq!(
            merged.value(),
            json!({"a": {"y": 2, "z": {"k": 1}}, "b": [3]})
        );
        assert_eq!(
            start.merged("m", &json!({"a": null})).unwrap().value(),
            json!({"b": [1, 2]})
        );
    }

    #[test]
    fn more_than_eight_kilobytes_are_refused() {
        let fits = json!({"k": "x".repeat(MAX_BYTES - 8)});
        assert!(Metadata::replaced("m", &fits).is_ok());
        let big = json!({"k": "x".repeat(MAX_BYTES - 7)});
        assert_eq!(
            Metadata::replaced("m", &big).unwrap_err().code(),
            "form_param_exceeds_allowed_size"
        );
        assert_eq!(
            Metadata::replaced("m", &json!([1])).unwrap_err().status(),
            422
        );
    }
}
