//! Whether a row of Convex's says what Clerk says.
//!
//! Knows columns and JSON values, no table and no version. The columns that the mapping gives are compared and
//! no others: an `organizationId` that it leaves out is derived in Convex, and a column that is no longer
//! mapped is the app's. Equal here is equal for [`crate::model::ContentHash`] and for the comparison that
//! `apply` makes before it writes, so what was repaired is not found again.

use serde_json::Value;

use crate::model::{FieldDrift, Fields};

/// True if the row holds what the mapping gives. Allocates nothing.
///
/// Missing and null are the same in a column (not inside of a value, where Convex tells them apart); numbers
/// are equal if they are the same double, since Convex keeps every number so.
pub fn equal(wanted: &Fields, row: &Fields) -> bool {
    wanted
        .iter()
        .all(|(name, value)| same_column(value, row.get(name)))
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

#[cfg(test)]
mod tests;
