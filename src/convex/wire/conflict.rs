//! What `apply` tells, beyond the contract, of fields that a user and somebody in Clerk have both changed.
//!
//! An older package tells nothing of it, and an app's own may tell something else: whatever is not of the expected
//! shape is left out, since the call has been carried out all the same. Pure.

use std::fmt;

use serde::Deserialize;
use serde_json::Value;

use super::whole;
use crate::model::{Key, Version};

/// The most that is read of one answer: a thousand users, three fields each.
const MOST: usize = 3_000;

/// A field that both sides have changed.
#[derive(Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Whose.
    pub key: Key,
    /// Which, by the contract's name.
    pub field: String,
    /// Whose word goes.
    pub winner: Winner,
    /// What Clerk says; none where it is cleared there.
    pub clerk: Option<String>,
    /// In which version.
    pub version: Version,
    /// What the user has typed; none to clear it.
    pub convex: Option<String>,
    /// When, by Convex's clock, in milliseconds.
    pub edited_at: i64,
}

/// Whose word goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Winner {
    /// What was changed in Clerk: the edit is over.
    Clerk,
    /// The user's edit, which waits on.
    Convex,
}

// Values are personal, so Debug does not show them.
impl fmt::Debug for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (field, winner) = (&self.field, self.winner);
        write!(f, "Conflict({field} of {}, {winner:?})", self.key)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OneConflict {
    key: String,
    field: String,
    winner: Winner,
    clerk: Option<String>,
    #[serde(deserialize_with = "whole")]
    version: i64,
    convex: Option<String>,
    #[serde(deserialize_with = "whole")]
    edited_at: i64,
}

/// Reads them from an answer.
pub(in crate::convex) fn read(said: Value) -> Vec<Conflict> {
    let Value::Array(said) = said else {
        return Vec::new();
    };
    let one = |value| {
        let one: OneConflict = serde_json::from_value(value).ok()?;
        Some(Conflict {
            key: Key::parse(&one.key)?,
            field: one.field,
            winner: one.winner,
            clerk: one.clerk,
            version: Version(one.version),
            convex: one.convex,
            edited_at: one.edited_at,
        })
    };
    said.into_iter().take(MOST).filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_of_the_shape_is_left_out_and_spoils_nothing() {
        let one = json!({"key": "user_1", "field": "firstName", "winner": "clerk", "clerk": "Ada",
                         "version": 5.0, "convex": null, "editedAt": 4.5});
        let expected = Conflict {
            key: Key::parse("user_1").unwrap(),
            field: "firstName".into(),
            winner: Winner::Clerk,
            clerk: Some("Ada".into()),
            version: Version(5),
            convex: None,
            edited_at: 4,
        };
        let said = json!([one, {"key": "user_1"}, 7, null]);
        assert_eq!(read(said), std::slice::from_ref(&expected));
        for other in [Value::Null, json!({}), json!("many"), json!([])] {
            assert_eq!(read(other), []);
        }
        assert!(!format!("{expected:?}").contains("Ada"));
    }
}
