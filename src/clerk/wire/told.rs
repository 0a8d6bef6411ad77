//! What we have told Clerk ourselves: the row that a user's private metadata name.
//!
//! Only servers see private metadata, and nothing of them is mapped: this member is looked at and no other. What
//! cannot be read names no row. Pure.

use serde_json::value::RawValue;

use crate::clerk::lenient::{Loose, lenient};

lenient! {
    struct Told<'a> {
        "private_metadata" => opt private_metadata: Option<&'a RawValue>,
    }
}

lenient! {
    struct Claims<'a> {
        "convexUserId" => opt convex_user_id: Loose<'a>,
    }
}

/// Gives the row's Convex id that a user object names, if it names one, to `look`.
pub(in crate::clerk) fn row_named<T>(user: &str, look: impl FnOnce(&str) -> T) -> Option<T> {
    let told: Told<'_> = serde_json::from_str(user).ok()?;
    let claims: Claims<'_> = serde_json::from_str(told.private_metadata?.get()).ok()?;
    claims.convex_user_id.text().map(look)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_text_in_private_metadata_names_a_row() {
        for (user, named) in [
            (
                r#"{"private_metadata": {"convexUserId": "k1", "plan": {"a": 1}}}"#,
                Some("k1"),
            ),
            (r#"{"private_metadata": {"convexUserId": 7}}"#, None),
            (r#"{"private_metadata": {"convexUserId": ""}}"#, None),
            (r#"{"private_metadata": {}}"#, None),
            (r#"{"private_metadata": null}"#, None),
            (r#"{"private_metadata": [1]}"#, None),
            (r#"{"public_metadata": {"convexUserId": "k1"}}"#, None),
            ("nonsense", None),
        ] {
            let found = row_named(user, str::to_owned);
            assert_eq!(found.as_deref(), named, "{user}");
        }
    }
}
