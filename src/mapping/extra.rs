//! Further columns of `users`, taken from a user by JSON pointer (`users.extra_fields`).
//!
//! A column has a type and holds that or null: nothing is coerced. `json` travels as a JSON string with
//! sorted keys, since Convex refuses member names that Clerk's metadata may have. Only the members
//! that a pointer leads into are parsed; a user without extra columns costs nothing here.

use std::collections::BTreeMap;

use serde::{
    Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::{Value, value::RawValue};

use super::{MapError, Note};
use crate::{
    clerk::lenient::Text,
    model::{ExtraField, ExtraKind, Fields},
};

/// Adds the configured columns to a row.
pub(super) fn columns(
    user: &str,
    wanted: &BTreeMap<String, ExtraField>,
    fields: &mut Fields,
    notes: &mut Vec<Note>,
) -> Result<(), MapError> {
    if wanted.is_empty() {
        return Ok(());
    }
    let unreadable = |column: &str| MapError::Unreadable {
        column: column.to_owned(),
    };
    let mut parsed = Members::default();
    for (column, field) in wanted {
        let found = parsed
            .find(user, &field.pointer)
            .map_err(|_| unreadable(column))?;
        let value = match found {
            None | Some(Value::Null) => Value::Null,
            Some(value) => accepted(field.kind, value).unwrap_or_else(|| {
                notes.push(Note::WrongType {
                    column: column.clone(),
                });
                Value::Null
            }),
        };
        fields.insert(column.clone(), value);
    }
    Ok(())
}

/// The value as a column of this type holds it, or `None` if it is of another type.
fn accepted(kind: ExtraKind, value: &Value) -> Option<Value> {
    match (kind, value) {
        (ExtraKind::Any, Value::Array(_) | Value::Object(_)) => {
            Some(Value::String(value.to_string()))
        }
        (ExtraKind::Any, _)
        | (ExtraKind::String, Value::String(_))
        | (ExtraKind::Number, Value::Number(_))
        | (ExtraKind::Boolean, Value::Bool(_)) => Some(value.clone()),
        (ExtraKind::Json, value) => Some(Value::String(value.to_string())),
        _ => None,
    }
}

/// The members of a user that a pointer has led into, parsed once each.
#[derive(Default)]
struct Members(BTreeMap<String, Option<Value>>);

impl Members {
    fn find(&mut self, user: &str, pointer: &str) -> Result<Option<&Value>, serde_json::Error> {
        let Some(rest) = pointer.strip_prefix('/') else {
            return Ok(None);
        };
        let (first, below) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let name = first.replace("~1", "/").replace("~0", "~");
        if !self.0.contains_key(&name) {
            let value = member(user, &name)?
                .map(|raw| serde_json::from_str(raw.get()))
                .transpose()?;
            self.0.insert(name.clone(), value);
        }
        let value = self.0.get(&name).and_then(Option::as_ref);
        Ok(value.and_then(|value| value.pointer(below)))
    }
}

/// The raw text of one member of an object; of a repeated one, the last.
fn member<'a>(object: &'a str, name: &str) -> Result<Option<&'a RawValue>, serde_json::Error> {
    struct Wanted<'n>(&'n str);
    impl<'de> Visitor<'de> for Wanted<'_> {
        type Value = Option<&'de RawValue>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut found = None;
            while let Some(key) = map.next_key::<Text<'de>>()? {
                if key.as_str() == self.0 {
                    found = Some(map.next_value()?);
                } else {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            Ok(found)
        }
    }
    serde_json::Deserializer::from_str(object).deserialize_map(Wanted(name))
}

#[cfg(test)]
mod tests;
