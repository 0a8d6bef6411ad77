//! The canonical form of a record's synced fields, and its hash.
//!
//! `serde_json::Map` keeps its keys sorted in this crate (the `preserve_order` feature must never be
//! switched on; a test holds that), so equal content has one serialised form.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The synced columns of a row, by name.
pub type Fields = serde_json::Map<String, Value>;

/// 128 bits that stand for a record's synced content. Equal content has an equal hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ContentHash(pub [u8; 16]);

impl ContentHash {
    /// The hash of the fields in canonical form: sorted keys, numbers as `f64` where they are equal
    /// to one, since Convex keeps every number so.
    pub fn of(fields: &Fields) -> ContentHash {
        ContentHash::of_all([fields])
    }

    /// The hash of several rows that travel together (a user and its profile), in that order.
    pub fn of_all<'a>(rows: impl IntoIterator<Item = &'a Fields>) -> ContentHash {
        let mut hasher = blake3::Hasher::new();
        let mut buffer = Vec::with_capacity(512);
        for fields in rows {
            buffer.clear();
            write_map(&mut buffer, fields);
            hasher.update(&(buffer.len() as u64).to_le_bytes());
            hasher.update(&buffer);
        }
        let mut short = [0; 16];
        short.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        ContentHash(short)
    }
}

fn write_map(out: &mut Vec<u8>, map: &Fields) {
    out.push(b'{');
    for (name, value) in map {
        write_text(out, name);
        out.push(b':');
        write_value(out, value);
        out.push(b',');
    }
    out.push(b'}');
}

fn write_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.push(b'n'),
        Value::Bool(true) => out.push(b't'),
        Value::Bool(false) => out.push(b'f'),
        Value::Number(number) => {
            out.push(b'#');
            // `-0` and `0` are one number to a person; NaN cannot occur in JSON.
            let float = number.as_f64().unwrap_or(0.0) + 0.0;
            out.extend_from_slice(&float.to_bits().to_le_bytes());
        }
        Value::String(text) => write_text(out, text),
        Value::Array(items) => {
            out.push(b'[');
            items.iter().for_each(|item| write_value(out, item));
            out.push(b']');
        }
        Value::Object(map) => write_map(out, map),
    }
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    out.extend_from_slice(&(text.len() as u64).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fields(value: Value) -> Fields {
        match value {
            Value::Object(map) => map,
            other => panic!("not an object: {other}"),
        }
    }

    #[test]
    fn maps_are_sorted_so_that_the_canonical_form_is_one() {
        assert_eq!(
            serde_json::to_string(&json!({"b": 1, "a": 2})).unwrap(),
            r#"{"a":2,"b":1}"#
        );
    }

    #[test]
    fn equal_content_has_an_equal_hash_whatever_its_spelling() {
        let one = fields(serde_json::from_str(r#"{"b":1,"a":[true,null,"é"]}"#).unwrap());
        let two = fields(serde_json::from_str(r#"{"a":[true,null,"\u00e9"],"b":1.0}"#).unwrap());
        assert_eq!(ContentHash::of(&one), ContentHash::of(&two));
    }

    #[test]
    fn different_content_has_a_different_hash() {
        let samples = [
            json!({}),
            json!({"a": null}),
            json!({"a": ""}),
            json!({"a": "x", "b": "y"}),
            json!({"a": "x,b", "": "y"}),
            json!({"a": ["x", "y"]}),
            json!({"a": [["x"], "y"]}),
            json!({"a": 1}),
            json!({"a": "1"}),
        ];
        let hashes: std::collections::HashSet<_> = samples
            .iter()
            .map(|s| ContentHash::of(&fields(s.clone())).0)
            .collect();
        assert_eq!(hashes.len(), samples.len());
    }
}
