//! Convex values: what a document's field can hold, how it comes in as JSON and goes out again.
//!
//! Every JSON number comes in as a float64; `$integer`, `$bytes` and `$float` objects carry the rest,
//! and any other name that begins with `$` is refused, as Convex refuses it. Knows nothing of
//! tables. Promises that equal content compares equal, whatever the order of its names.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// Items an array may hold, and names an object may hold (Convex's documented limits).
const MAX_ARRAY: usize = 8192;
const MAX_NAMES: usize = 1024;
/// Bytes in a nested field name (Convex's documented limit).
const MAX_NAME_BYTES: usize = 1024;
/// Integers up to here are exact in a float64.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// One value of a document.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Value {
    /// The field is not there (`undefined` in JavaScript).
    #[default]
    Absent,
    Null,
    Bool(bool),
    Float(f64),
    Int(i64),
    Text(Box<str>),
    Bytes(Box<[u8]>),
    List(Box<[Value]>),
    /// Sorted by name.
    Object(Box<[(Box<str>, Value)]>),
}

/// How values are written out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// Convex's `json`: a float prints with its point, an int64 is a string.
    Json,
    /// Convex's `convex_encoded_json`: what JSON cannot say is a `$` object.
    Encoded,
    /// For the control interface: whole floats print as integers.
    Plain,
}

impl Value {
    /// Whether an upsert would change nothing: `null` and a missing field are the same content.
    pub(super) fn same(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Null | Value::Absent, Value::Null | Value::Absent) => true,
            _ => self == other,
        }
    }

    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Value::Absent)
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Bytes it takes in a document, by Convex's way of counting.
    pub(super) fn weight(&self) -> usize {
        match self {
            Value::Absent => 0,
            Value::Null | Value::Bool(_) => 1,
            Value::Float(_) | Value::Int(_) => 9,
            Value::Text(text) => text.len() + 2,
            Value::Bytes(bytes) => bytes.len() + 2,
            Value::List(items) => 2 + items.iter().map(Value::weight).sum::<usize>(),
            Value::Object(entries) => {
                2 + entries
                    .iter()
                    .map(|(name, value)| name.len() + 1 + value.weight())
                    .sum::<usize>()
            }
        }
    }

    /// Appends the value as JSON.
    pub(super) fn write(&self, out: &mut Vec<u8>, encoding: Encoding) {
        match self {
            Value::Absent | Value::Null => out.extend_from_slice(b"null"),
            Value::Bool(true) => out.extend_from_slice(b"true"),
            Value::Bool(false) => out.extend_from_slice(b"false"),
            Value::Float(number) => write_float(out, *number, encoding),
            Value::Int(number) => match encoding {
                Encoding::Encoded => write_tagged(out, "$integer", &number.to_le_bytes()),
                _ => write_text(out, &number.to_string()),
            },
            Value::Text(text) => write_text(out, text),
            Value::Bytes(bytes) => match encoding {
                Encoding::Encoded => write_tagged(out, "$bytes", bytes),
                _ => write_text(out, &STANDARD.encode(bytes)),
            },
            Value::List(items) => {
                out.push(b'[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    item.write(out, encoding);
                }
                out.push(b']');
            }
            Value::Object(entries) => {
                out.push(b'{');
                for (index, (name, value)) in entries.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    write_text(out, name);
                    out.push(b':');
                    value.write(out, encoding);
                }
                out.push(b'}');
            }
        }
    }
}

/// Appends a JSON string.
pub(super) fn write_text(out: &mut Vec<u8>, text: &str) {
    // A Vec takes every byte and a str always serialises: the result is always Ok.
    let _ = serde_json::to_writer(&mut *out, text);
}

/// Appends a float64.
pub(super) fn write_float(out: &mut Vec<u8>, number: f64, encoding: Encoding) {
    if encoding == Encoding::Plain && number.fract() == 0.0 && number.abs() <= EXACT {
        out.extend_from_slice((number as i64).to_string().as_bytes());
    } else if number.is_finite() {
        // As above: always Ok.
        let _ = serde_json::to_writer(&mut *out, &number);
    } else if encoding == Encoding::Encoded {
        write_tagged(out, "$float", &number.to_le_bytes());
    } else if number.is_nan() {
        out.extend_from_slice(b"\"NaN\"");
    } else if number > 0.0 {
        out.extend_from_slice(b"\"Infinity\"");
    } else {
        out.extend_from_slice(b"\"-Infinity\"");
    }
}

fn write_tagged(out: &mut Vec<u8>, tag: &str, bytes: &[u8]) {
    out.extend_from_slice(b"{\"");
    out.extend_from_slice(tag.as_bytes());
    out.extend_from_slice(b"\":");
    write_text(out, &STANDARD.encode(bytes));
    out.push(b'}');
}

/// A text that is borrowed from the request where it needs no unescaping.
#[derive(Debug, serde::Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// The entries of one JSON object in the order they came, names borrowed.
#[derive(Debug, Default)]
pub(super) struct Entries<'a>(pub(super) Vec<(Cow<'a, str>, Value)>);

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;
        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<'de>, A::Error> {
                let mut entries = Vec::with_capacity(8);
                while let Some(Text(name)) = map.next_key()? {
                    check_name(&name).map_err(de::Error::custom)?;
                    entries.push((name, map.next_value()?));
                    if entries.len() > MAX_NAMES {
                        return Err(de::Error::custom("Object has too many fields"));
                    }
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(EntriesVisitor)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a Convex value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Float(value as f64))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Float(value as f64))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
            if items.len() > MAX_ARRAY {
                return Err(de::Error::custom(
                    "Array length is too long (maximum length 8192)",
                ));
            }
        }
        Ok(Value::List(items.into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries: Vec<(Box<str>, Value)> = Vec::new();
        while let Some(Text(name)) = map.next_key()? {
            if matches!(&*name, "$integer" | "$bytes" | "$float") && entries.is_empty() {
                let Text(content) = map.next_value()?;
                let value = read_tagged(&name, &content).map_err(de::Error::custom)?;
                return match map.next_key::<Text<'_>>()? {
                    None => Ok(value),
                    Some(_) => Err(de::Error::custom("A `$` object has one name only")),
                };
            }
            check_name(&name).map_err(de::Error::custom)?;
            entries.push((name.into(), map.next_value()?));
            if entries.len() > MAX_NAMES {
                return Err(de::Error::custom(
                    "Object has too many fields (maximum number 1024)",
                ));
            }
        }
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(Value::Object(entries.into()))
    }
}

fn read_tagged(tag: &str, content: &str) -> Result<Value, String> {
    let bytes = STANDARD
        .decode(content)
        .map_err(|_| format!("{tag} is not base64"))?;
    let eight =
        || <[u8; 8]>::try_from(bytes.as_slice()).map_err(|_| format!("{tag} needs 8 bytes"));
    Ok(match tag {
        "$integer" => Value::Int(i64::from_le_bytes(eight()?)),
        "$float" => Value::Float(f64::from_le_bytes(eight()?)),
        _ => Value::Bytes(bytes.into()),
    })
}

/// Whether Convex takes the name of a nested field.
fn check_name(name: &str) -> Result<(), String> {
    if name.starts_with('$') {
        return Err(format!(
            "Field name {name} starts with '$', which is reserved."
        ));
    }
    if name.len() > MAX_NAME_BYTES {
        return Err("Field name is too long (maximum 1024 bytes)".to_owned());
    }
    if !name.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        return Err(
            "Field name has invalid characters: only printable ASCII is allowed".to_owned(),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn out(json: &str, encoding: Encoding) -> String {
        let value: Value = serde_json::from_str(json).unwrap();
        let mut bytes = Vec::new();
        value.write(&mut bytes, encoding);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_number_is_a_float_and_prints_with_its_point() {
        assert_eq!(out("1762939021626", Encoding::Json), "1762939021626.0");
        assert_eq!(out("1762939021626", Encoding::Plain), "1762939021626");
        assert_eq!(out("0.5", Encoding::Plain), "0.5");
    }

    #[test]
    fn an_int64_is_a_string_in_json_and_tagged_in_the_encoded_form() {
        let seven = r#"{"$integer":"BwAAAAAAAAA="}"#;
        assert_eq!(out(seven, Encoding::Json), r#""7""#);
        assert_eq!(out(seven, Encoding::Encoded), seven);
    }

    #[test]
    fn reserved_and_foreign_names_are_refused_at_any_depth() {
        for json in [r#"{"a":{"$x":1}}"#, r#"{"é":1}"#, r#"[{"a\u0007":1}]"#] {
            assert!(serde_json::from_str::<Value>(json).is_err(), "{json}");
        }
        assert!(serde_json::from_str::<Entries<'_>>(r#"{"$x":1}"#).is_err());
    }

    #[test]
    fn objects_are_equal_whatever_the_order_of_their_names() {
        let one: Value = serde_json::from_str(r#"{"a":1,"b":[true,null]}"#).unwrap();
        let two: Value = serde_json::from_str(r#"{"b":[true,null],"a":1.0}"#).unwrap();
        assert_eq!(one, two);
        assert!(Value::Null.same(&Value::Absent) && !Value::Null.same(&Value::Bool(false)));
    }
}
