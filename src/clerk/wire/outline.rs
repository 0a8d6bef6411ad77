//! A user as a listing is read: what identifies it, and where the members lie that can be mapped.
//!
//! A user has two kilobytes of JSON and less than half of it is ever looked at. A million of them are read once
//! from end to end; what is mapped later is read from the [`outline`](UserOutline::text), a user object without
//! everything else. Whether the members are of the right type is found out when they are mapped.

use std::fmt::Write as _;

use serde_json::value::RawValue;

use crate::{
    clerk::lenient::{Millis, Text, lenient},
    model::Key,
};

/// Room for names, id and times beside the members.
const FRAME_BYTES: usize = 320;

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

impl UserOutline<'_> {
    /// The user object with the members that can be mapped and no others; `key` is its id, checked.
    pub(in crate::clerk) fn text(&self, key: &Key) -> Box<str> {
        let members = [
            ("username", self.username),
            ("first_name", self.first_name),
            ("last_name", self.last_name),
            ("image_url", self.image_url),
            ("primary_email_address_id", self.primary_email_address_id),
            ("primary_phone_number_id", self.primary_phone_number_id),
            ("email_addresses", self.email_addresses),
            ("phone_numbers", self.phone_numbers),
            ("public_metadata", self.public_metadata),
        ];
        let bytes = members.iter().filter_map(|(_, value)| *value);
        let bytes: usize = bytes.map(|value| value.get().len()).sum();
        let mut text = String::with_capacity(bytes + FRAME_BYTES);
        let (created_at, updated_at) = (self.created_at.0, self.updated_at.0);
        // A key needs no escapes, and writing to a string cannot fail.
        let _ = write!(
            text,
            r#"{{"id":"{key}","created_at":{created_at},"updated_at":{updated_at}"#
        );
        for (name, value) in members {
            let Some(value) = value else {
                continue;
            };
            text.push_str(",\"");
            text.push_str(name);
            text.push_str("\":");
            text.push_str(value.get());
        }
        text.push('}');
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_repeated_member_the_last_one_counts_and_null_is_none() {
        let whole = r#"{"id":"user_1","created_at":1,"updated_at":2,"username":"a","username":"b",
                        "first_name":"x","first_name":null,"object":"user"}"#;
        let outline: UserOutline = serde_json::from_str(whole).unwrap();
        let key = Key::parse("user_1").unwrap();
        assert_eq!(
            &*outline.text(&key),
            r#"{"id":"user_1","created_at":1,"updated_at":2,"username":"b"}"#
        );
    }
}
