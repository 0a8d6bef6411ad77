//! What to do with a user's edit, given the user as Clerk has it now.
//!
//! Pure. Knows which of the contract's fields is which of Clerk's. Promises: Clerk is asked to change only
//! what differs, only fields that may be edited, and only where Convex, which knows what stood there before,
//! has seen Clerk's newer version and still wants the edit: of two changes the later one stays.

use super::waiting::{Known, Piece};
use crate::clerk::{client::ProfilePatch, lenient::Text, wire::User};

/// A field of the contract that may be edited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `firstName`
    FirstName,
    /// `lastName`
    LastName,
    /// `username`
    Username,
}

impl Field {
    const ALL: [Field; 3] = [Field::FirstName, Field::LastName, Field::Username];

    /// The field of this name.
    pub fn parse(name: &str) -> Option<Field> {
        Self::ALL.into_iter().find(|field| field.name() == name)
    }

    /// Its name in the contract.
    pub const fn name(self) -> &'static str {
        match self {
            Field::FirstName => "firstName",
            Field::LastName => "lastName",
            Field::Username => "username",
        }
    }

    /// What Clerk has there.
    pub(super) fn of<'u>(self, user: &'u User<'_>) -> Option<&'u str> {
        let text = match self {
            Field::FirstName => user.first_name.as_ref(),
            Field::LastName => user.last_name.as_ref(),
            Field::Username => user.username.as_ref(),
        };
        text.map(Text::as_str)
    }

    pub(super) fn set(self, patch: &mut ProfilePatch, value: Option<String>) {
        let slot = match self {
            Field::FirstName => &mut patch.first_name,
            Field::LastName => &mut patch.last_name,
            Field::Username => &mut patch.username,
        };
        *slot = Some(value);
    }
}

/// What to do with an edit.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: Clerk has it.
    Done,
    /// Show Convex the record first, which it has not seen in this version: the edit may be over by that.
    Show,
    /// It will not be carried, and why: a code for the app.
    Refuse(&'static str),
    /// Change these fields in Clerk.
    Carry(ProfilePatch, Vec<Field>),
}

/// The code of an edit of a field that `profile_edits.fields` does not name.
pub const NOT_ALLOWED: &str = "field_not_allowed";
/// The code of an edit that Clerk took and that was changed there since.
pub const CHANGED: &str = "changed_in_clerk";

/// The code of an edit of which Clerk made something else: spaces cut off, an empty text as no text.
pub const ALTERED: &str = "altered_by_clerk";
/// The code of an edit of a field that goes round in circles.
pub const FROZEN: &str = "frozen";
/// The code of an edit of a user that Clerk does not know.
pub const NO_USER: &str = "no_user";

/// Decides about an edit. `allowed` are the fields that may travel.
pub fn judge(piece: &Piece, user: &User<'_>, known: Known, allowed: &[Field]) -> Verdict {
    let mut patch = ProfilePatch::default();
    let mut fields = Vec::new();
    let (mut alike, mut all_may) = (true, true);
    for (name, value) in &piece.fields {
        let Some(field) = Field::parse(name).filter(|field| allowed.contains(field)) else {
            all_may = false;
            continue;
        };
        alike &= value.as_deref() == field.of(user);
        if meant(value.as_deref()) != meant(field.of(user)) {
            field.set(&mut patch, value.clone());
            fields.push(field);
        }
    }
    if fields.is_empty() {
        return match (all_may, alike) {
            (false, _) => Verdict::Refuse(NOT_ALLOWED),
            (true, true) => Verdict::Done,
            // The row would differ from Clerk for ever, if only by nothing.
            (true, false) => Verdict::Refuse(ALTERED),
        };
    }
    if known.carried.is_some() {
        return Verdict::Refuse(CHANGED);
    }
    // Convex knows when each field was edited, and which value was there before; so it decides, once for each
    // version of Clerk's.
    if known.judged.is_none_or(|judged| judged < user.updated_at) {
        return Verdict::Show;
    }
    Verdict::Carry(patch, fields)
}

/// No text and an empty one say the same to Clerk: there is none.
fn meant(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::model::{Key, Version};

    const BOTH: [Field; 2] = [Field::FirstName, Field::LastName];

    /// The verdict on an edit made at 100 about Ada Lovelace of this version.
    fn verdict(fields: Value, version: i64, judged: Option<i64>, carried: Option<i64>) -> Verdict {
        let user = json!({"id": "user_1", "created_at": 1, "updated_at": version,
                          "first_name": "Ada", "last_name": "Lovelace", "username": null})
        .to_string();
        let Value::Object(fields) = fields else {
            panic!("not an object")
        };
        let text = |value: Value| value.as_str().map(str::to_owned);
        let piece = Piece {
            key: Key::parse("user_1").unwrap(),
            ids: vec!["e1".into()],
            fields: fields.into_iter().map(|(n, v)| (n, text(v))).collect(),
            edited_at: 100,
        };
        let known = Known {
            judged: judged.map(Version),
            carried: carried.map(Version),
        };
        judge(&piece, &User::parse(&user).unwrap(), known, &BOTH)
    }

    fn first_name(value: Option<&str>) -> Verdict {
        let first_name = Some(value.map(str::to_owned));
        let patch = ProfilePatch {
            first_name,
            ..ProfilePatch::default()
        };
        Verdict::Carry(patch, vec![Field::FirstName])
    }

    #[test]
    fn the_whole_table() {
        let augusta = || json!({"firstName": "Augusta", "lastName": "Lovelace"});
        let same = || json!({"firstName": "Ada"});
        for (fields, version, judged, carried, expected) in [
            // Only what differs travels.
            (augusta(), 50, Some(50), None, first_name(Some("Augusta"))),
            (
                json!({"firstName": null}),
                50,
                Some(60),
                None,
                first_name(None),
            ),
            (
                json!({"firstName": ""}),
                50,
                Some(50),
                None,
                first_name(Some("")),
            ),
            (
                json!({"username": ""}),
                50,
                None,
                None,
                Verdict::Refuse(NOT_ALLOWED),
            ),
            // Clerk has it: by an earlier try of ours, or by itself.
            (same(), 50, None, None, Verdict::Done),
            (same(), 200, None, None, Verdict::Done),
            (same(), 200, None, Some(150), Verdict::Done),
            (json!({}), 200, None, None, Verdict::Done),
            // A version that Convex has not seen: Convex decides, once for each, be it older than the edit, which
            // may be of several times.
            (augusta(), 50, None, None, Verdict::Show),
            (augusta(), 100, None, None, Verdict::Show),
            (augusta(), 200, None, None, Verdict::Show),
            (augusta(), 200, Some(150), None, Verdict::Show),
            (augusta(), 200, Some(200), None, first_name(Some("Augusta"))),
            // Clerk took it and holds something else now.
            (augusta(), 200, None, Some(150), Verdict::Refuse(CHANGED)),
            // Fields that may not travel.
            (
                json!({"username": "ada"}),
                50,
                None,
                None,
                Verdict::Refuse(NOT_ALLOWED),
            ),
            (
                json!({"role": "admin"}),
                50,
                None,
                None,
                Verdict::Refuse(NOT_ALLOWED),
            ),
            // They do not keep others from it, and then they are refused.
            (
                json!({"firstName": "Augusta", "role": "admin"}),
                50,
                Some(50),
                None,
                first_name(Some("Augusta")),
            ),
            (
                json!({"firstName": "Ada", "role": "admin"}),
                50,
                None,
                None,
                Verdict::Refuse(NOT_ALLOWED),
            ),
        ] {
            let case = format!("{fields} at {version}, judged {judged:?}, carried {carried:?}");
            assert_eq!(
                verdict(fields, version, judged, carried),
                expected,
                "{case}"
            );
        }
    }

    #[test]
    fn what_clerk_took_and_altered_is_not_the_edit() {
        let user = r#"{"id": "user_1", "created_at": 1, "updated_at": 9, "first_name": null}"#;
        let piece = Piece {
            key: Key::parse("user_1").unwrap(),
            ids: vec!["e1".into()],
            fields: [("firstName".to_owned(), Some(String::new()))].into(),
            edited_at: 100,
        };
        let user = User::parse(user).unwrap();
        let verdict = judge(&piece, &user, Known::default(), &BOTH);
        assert_eq!(verdict, Verdict::Refuse(ALTERED));
    }

    #[test]
    fn every_field_has_its_name() {
        for field in Field::ALL {
            assert_eq!(Field::parse(field.name()), Some(field));
        }
        assert_eq!(Field::parse("role"), None);
    }
}
