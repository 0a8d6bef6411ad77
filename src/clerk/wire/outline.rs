//! A user as a listing is read: what identifies it, and where the members lie that can be mapped.
//!
//! A user has two kilobytes of JSON and less than half of it is ever looked at. A million of them are read once
//! from end to end; what is mapped later is read where it lies ([`Members`]). Whether the members are of the right
//! type is found out when they are mapped.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{PublicMetadata, User};
use crate::{
    clerk::lenient::{Millis, Text, lenient},
    model::{Key, Version},
};

/// Where the members lie in the text of a user, in the order of [`UserOutline::raw`]: from, and how long. A
/// member that is missing or null has no length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::clerk) struct Members([(u32, u32); 9]);

lenient! {
    /// A user whose members are not read yet.
    pub(in crate::clerk) struct UserOutline<'a> {
        "id" => req id: Text<'a>,
        "created_at" => req created_at: Millis,
        "updated_at" => req updated_at: Millis,
        "username" => opt username: Option<&'a RawValue>,
        "first_name" => opt first_name: Option<&'a RawValue>,
        "last_name" => opt last_name: Option<&'a RawValue>,
        "image_url" => opt image_url: Option<&'a RawValue>,
        "primary_email_address_id" => opt primary_email_address_id: Option<&'a RawValue>,
        "primary_phone_number_id" => opt primary_phone_number_id: Option<&'a RawValue>,
        "email_addresses" => opt email_addresses: Option<&'a RawValue>,
        "phone_numbers" => opt phone_numbers: Option<&'a RawValue>,
        "public_metadata" => opt public_metadata: Option<&'a RawValue>,
    }
}

impl<'a> UserOutline<'a> {
    fn raw(&self) -> [Option<&'a RawValue>; 9] {
        [
            self.username,
            self.first_name,
            self.last_name,
            self.image_url,
            self.primary_email_address_id,
            self.primary_phone_number_id,
            self.email_addresses,
            self.phone_numbers,
            self.public_metadata,
        ]
    }

    /// Where the members lie in `text`, which the outline was read from; `None` if they lie elsewhere.
    pub(in crate::clerk) fn members(&self, text: &str) -> Option<Members> {
        let mut spans = [(0, 0); 9];
        for (span, member) in spans.iter_mut().zip(self.raw()) {
            let Some(member) = member.map(RawValue::get) else {
                continue;
            };
            let from = (member.as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
            text.get(from..from + member.len())?;
            *span = (from.try_into().ok()?, member.len().try_into().ok()?);
        }
        Some(Members(spans))
    }
}

impl Members {
    /// A member's text; `null` for one that is not there.
    fn text<'a>(&self, whole: &'a str, at: usize) -> Option<&'a str> {
        match self.0[at] {
            (_, 0) => Some("null"),
            (from, length) => whole.get(from as usize..)?.get(..length as usize),
        }
    }

    /// What a server says about the user, which is read by itself; `None` if it is not of its type.
    pub(in crate::clerk) fn public_metadata<'a>(
        &self,
        whole: &'a str,
    ) -> Option<PublicMetadata<'a>> {
        PublicMetadata::parse(self.read(whole, 8)?).ok()
    }

    fn read<'a, T: Deserialize<'a> + Default>(&self, whole: &'a str, at: usize) -> Option<T> {
        let text = self.text(whole, at)?;
        let read: Option<T> = serde_json::from_str(text).ok()?;
        Some(read.unwrap_or_default())
    }
}

impl<'a> User<'a> {
    /// Reads a user from its members in `text`; `None` if one of them is not of its type.
    pub(in crate::clerk) fn of_members(
        key: &Key,
        created_at: i64,
        updated_at: Version,
        text: &'a str,
        members: &Members,
    ) -> Option<Self> {
        Some(User {
            key: key.clone(),
            created_at,
            updated_at,
            username: members.read(text, 0)?,
            first_name: members.read(text, 1)?,
            last_name: members.read(text, 2)?,
            image_url: members.read(text, 3)?,
            primary_email_address_id: members.read(text, 4)?,
            primary_phone_number_id: members.read(text, 5)?,
            email_addresses: members.read(text, 6)?,
            phone_numbers: members.read(text, 7)?,
            public_metadata: members.public_metadata(text)?,
            text,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_repeated_member_the_last_one_counts_and_null_is_none() {
        let whole = r#"{"id":"user_1","created_at":1,"updated_at":2,"username":"a","username":"b\u0020c",
                        "first_name":"x","first_name":null,"object":"user"}"#;
        let outline: UserOutline = serde_json::from_str(whole).unwrap();
        let members = outline.members(whole).unwrap();
        let key = Key::parse("user_1").unwrap();
        let user = User::of_members(&key, 1, Version(2), whole, &members).unwrap();
        assert_eq!(user.username.as_deref(), Some("b c"));
        assert!(user.first_name.is_none());
        assert!(user.email_addresses.is_empty());
        assert_eq!(outline.members("another text"), None);
    }

    #[test]
    fn a_member_of_the_wrong_type_is_left_to_whoever_can_name_it() {
        let whole = r#"{"id":"user_1","created_at":1,"updated_at":2,"email_addresses":7}"#;
        let outline: UserOutline = serde_json::from_str(whole).unwrap();
        let members = outline.members(whole).unwrap();
        let key = Key::parse("user_1").unwrap();
        assert!(User::of_members(&key, 1, Version(2), whole, &members).is_none());
        assert!(User::parse(whole).is_err());
    }
}
