//! Whether a row of Convex's says what Clerk says.
//!
//! Knows columns and JSON values, no table and no version. The columns that the mapping gives are compared and
//! no others: an `organizationId` that it leaves out is derived in Convex, and a column that is no longer
//! mapped is the app's. Equal here is equal for [`crate::model::ContentHash`] and for the comparison that
//! `apply` makes before it writes, so what was repaired is not found again.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, MapAccess, SeqAccess, Visitor, value},
};
use serde_json::Value;

use crate::{
    model::{FieldDrift, Fields},
    twin::{self, Twin},
};

/// True if the row holds what the mapping gives. Allocates nothing.
///
/// Missing and null are the same in a column (not inside of a value, where Convex tells them apart); numbers
/// are equal if they are the same double, since Convex keeps every number so.
pub fn equal(wanted: &Fields, row: &Fields) -> bool {
    wanted
        .iter()
        .all(|(name, value)| same_column(value, row.get(name)))
}

/// The same for a row whose columns are still the text of a JSON object, read no further than needed. A row
/// that cannot be read, or names a column twice, is not equal: then it is looked at again by its key.
pub fn equal_text(wanted: &Fields, row: &str) -> bool {
    let mut text = serde_json::Deserializer::from_str(row);
    let columns = Columns { wanted, seen: 0 };
    wanted.len() <= MAX_COLUMNS && text.deserialize_map(columns).unwrap_or(false)
}

/// The columns in which the row does not hold what the mapping gives, by name; empty when [`equal`].
pub fn differences(wanted: &Fields, row: &Fields) -> Vec<FieldDrift> {
    wanted
        .iter()
        .filter(|(name, value)| !same_column(value, row.get(*name)))
        .map(|(name, value)| FieldDrift {
            field: name.clone(),
            clerk: value.clone(),
            convex: row.get(name).cloned().unwrap_or_default(),
        })
        .collect()
}

fn same_column(wanted: &Value, held: Option<&Value>) -> bool {
    same(wanted, held.unwrap_or(&Value::Null))
}

/// As deep as the values are; JSON that was parsed is nested 128 levels at most.
fn same(one: &Value, other: &Value) -> bool {
    if twin::broken(Twin::BlindDiff) {
        return true;
    }
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            // Whole numbers beyond 2^53 become doubles on their way into Convex. `-0` equals `0` here.
            one == other || one.as_f64() == other.as_f64()
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            // Both are sorted by name.
            one.len() == other.len()
                && one
                    .iter()
                    .zip(other)
                    .all(|(one, other)| one.0 == other.0 && same(one.1, other.1))
        }
        _ => one == other,
    }
}

/// Columns that a mapping may give at most, for [`equal_text`]: one bit each.
const MAX_COLUMNS: usize = 64;

/// Reads an object and compares as it goes.
struct Columns<'w> {
    wanted: &'w Fields,
    seen: u64,
}

impl<'de> Visitor<'de> for Columns<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("columns")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut row: A) -> Result<bool, A::Error> {
        let mut equal = true;
        while let Some(place) = row.next_key_seed(Place(self.wanted))? {
            // To its end in any case, so that the text is known to be an object.
            let Some((number, wanted)) = place else {
                row.next_value::<serde::de::IgnoredAny>()?;
                continue;
            };
            equal &= self.seen & (1 << number) == 0;
            self.seen |= 1 << number;
            equal &= row.next_value_seed(Same(wanted))?;
        }
        let left_out = self.wanted.values().enumerate();
        let mut left_out = left_out.filter(|(number, _)| self.seen & (1 << number) == 0);
        Ok(equal && left_out.all(|(_, wanted)| wanted.is_null()))
    }
}

/// Which of the wanted columns a name is.
struct Place<'w>(&'w Fields);

impl<'de, 'w> DeserializeSeed<'de> for Place<'w> {
    type Value = Option<(usize, &'w Value)>;

    fn deserialize<D: Deserializer<'de>>(self, name: D) -> Result<Self::Value, D::Error> {
        name.deserialize_str(self)
    }
}

impl<'w> Visitor<'_> for Place<'w> {
    type Value = Option<(usize, &'w Value)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        let mut wanted = self.0.iter().enumerate();
        let found = wanted.find(|(_, (column, _))| *column == name);
        Ok(found.map(|(number, (_, value))| (number, value)))
    }
}

/// Whether the value that comes is this one.
struct Same<'w>(&'w Value);

impl<'de> DeserializeSeed<'de> for Same<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, held: D) -> Result<bool, D::Error> {
        held.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Same<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(self.0.is_null())
    }

    fn visit_bool<E>(self, held: bool) -> Result<bool, E> {
        Ok(*self.0 == Value::Bool(held))
    }

    fn visit_str<E>(self, held: &str) -> Result<bool, E> {
        Ok(self.0.as_str() == Some(held))
    }

    fn visit_i64<E>(self, held: i64) -> Result<bool, E> {
        Ok(same(self.0, &held.into()))
    }

    fn visit_u64<E>(self, held: u64) -> Result<bool, E> {
        Ok(same(self.0, &held.into()))
    }

    fn visit_f64<E>(self, held: f64) -> Result<bool, E> {
        Ok(same(self.0, &held.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, held: A) -> Result<bool, A::Error> {
        let held = Value::deserialize(value::SeqAccessDeserializer::new(held))?;
        Ok(same(self.0, &held))
    }

    fn visit_map<A: MapAccess<'de>>(self, held: A) -> Result<bool, A::Error> {
        let held = Value::deserialize(value::MapAccessDeserializer::new(held))?;
        Ok(same(self.0, &held))
    }
}

#[cfg(test)]
mod tests;
