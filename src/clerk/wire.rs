//! What Clerk sends: events, users, organizations, memberships.
//!
//! The only place that knows Clerk's member names. Reads leniently, since examples, specification and
//! live payloads disagree (missing flags, `null` metadata, times in seconds), but insists on what the
//! order of changes rests on: id, `created_at`, `updated_at`. Everything borrows from the input; only
//! members that are mapped are kept at all. Free-form metadata stays raw text. Pure.

use std::fmt;

use serde_json::value::RawValue;

use super::{
    lenient::{Loose, Millis, Text, lenient},
    shape::{Reason, ShapeError, read},
};
use crate::model::{Key, RecordKey, Table, Version};

mod head;
mod outline;
mod reply;
mod rough;
mod told;

pub use head::{Head, Parents};
pub(super) use outline::{Members, UserOutline};
pub(super) use reply::{API_VERSION, CLERK_API_VERSION, Errors, Identity, Listed, TotalCount};
pub use rough::Rough;
pub(super) use told::row_named;

/// What happened to which kind of record: the nine event types that are synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EventType {
    /// The table of the record.
    pub table: Table,
    /// True for `….deleted`.
    pub deleted: bool,
    name: &'static str,
}

impl EventType {
    const ALL: [EventType; 9] = [
        EventType::of("user.created", Table::Users),
        EventType::of("user.updated", Table::Users),
        EventType::gone("user.deleted", Table::Users),
        EventType::of("organization.created", Table::Organizations),
        EventType::of("organization.updated", Table::Organizations),
        EventType::gone("organization.deleted", Table::Organizations),
        EventType::of("organizationMembership.created", Table::Memberships),
        EventType::of("organizationMembership.updated", Table::Memberships),
        EventType::gone("organizationMembership.deleted", Table::Memberships),
    ];

    const fn of(name: &'static str, table: Table) -> Self {
        EventType {
            table,
            deleted: false,
            name,
        }
    }

    const fn gone(name: &'static str, table: Table) -> Self {
        EventType {
            table,
            deleted: true,
            name,
        }
    }

    /// The type with this name, if it is synced.
    pub fn parse(name: &str) -> Option<EventType> {
        Self::ALL.into_iter().find(|known| known.name == name)
    }

    /// The name on the wire, in metrics and in logs.
    pub const fn name(self) -> &'static str {
        self.name
    }
}

lenient! {
    /// The outside of a webhook body. `data` is kept as it came.
    pub struct Envelope<'a> {
        /// The event's type.
        "type" => req kind: Text<'a>,
        /// When it happened: milliseconds, in some examples seconds.
        "timestamp" => opt timestamp: Option<Millis>,
        /// The Clerk instance that sent it; missing in older examples.
        "instance_id" => opt instance_id: Option<Text<'a>>,
        /// The record.
        "data" => opt data: Option<&'a RawValue>,
    }
}

impl<'a> Envelope<'a> {
    /// Reads the outside of a webhook body.
    pub fn parse(body: &'a [u8]) -> Result<Self, ShapeError> {
        let envelope: Self = read("event", body).map_err(ShapeError::malformed)?;
        // It is remembered, and shown.
        if envelope
            .instance()
            .is_some_and(|id| Key::parse(id).is_none())
        {
            let words = "event.instance_id is not an id of Clerk's";
            return Err(ShapeError::malformed(Reason::of(words)));
        }
        Ok(envelope)
    }

    /// The instance, if it says which. An empty name is none.
    pub fn instance(&self) -> Option<&str> {
        let instance = self.instance_id.as_deref();
        instance.filter(|instance| !instance.is_empty())
    }

    /// The record's own text.
    pub fn data(&self) -> Result<&'a str, ShapeError> {
        self.data
            .map(RawValue::get)
            .ok_or_else(|| ShapeError::malformed(Reason::of("event.data is missing")))
    }
}

lenient! {
    /// How an address was proved to be the user's.
    pub struct Verification<'a> {
        /// `verified`, `unverified`, `failed`, `expired`, or what Clerk adds next.
        "status" => opt status: Option<Text<'a>>,
    }
}

lenient! {
    /// One of a user's mail addresses. Their order says nothing.
    pub struct EmailAddress<'a> {
        /// The id that `primary_email_address_id` points to.
        "id" => opt id: Option<Text<'a>>,
        /// The address itself.
        "email_address" => opt email_address: Option<Text<'a>>,
        /// Missing or null when nothing was verified yet.
        "verification" => opt verification: Option<Verification<'a>>,
    }
}

impl EmailAddress<'_> {
    /// True if Clerk says that the address was verified.
    pub fn is_verified(&self) -> bool {
        let status = self.verification.as_ref().and_then(|v| v.status.as_ref());
        status.is_some_and(|status| status.as_str() == "verified")
    }
}

lenient! {
    /// One of a user's phone numbers, in E.164.
    pub struct PhoneNumber<'a> {
        /// The id that `primary_phone_number_id` points to.
        "id" => opt id: Option<Text<'a>>,
        /// The number itself.
        "phone_number" => opt phone_number: Option<Text<'a>>,
    }
}

/// The members of a user's public metadata that have a meaning here. Metadata that is no object
/// (`null`, or whatever was stored there) has none of them.
#[derive(Clone, Debug, Default)]
pub struct PublicMetadata<'a> {
    /// The user's role in the app.
    pub role: Loose<'a>,
    /// The app that the user belongs to.
    pub app_id: Loose<'a>,
    /// The organization that the user works in.
    pub organization_id: Loose<'a>,
    /// True if there is metadata, but no object.
    pub odd: bool,
}

lenient! {
    struct Claims<'a> {
        "role" => opt role: Loose<'a>,
        "appId" => opt app_id: Loose<'a>,
        "organizationId" => opt organization_id: Loose<'a>,
    }
}

lenient! {
    struct UserMembers<'a> {
        "id" => req id: Text<'a>,
        "created_at" => req created_at: Millis,
        "updated_at" => req updated_at: Millis,
        "username" => opt username: Option<Text<'a>>,
        "first_name" => opt first_name: Option<Text<'a>>,
        "last_name" => opt last_name: Option<Text<'a>>,
        "image_url" => opt image_url: Option<Text<'a>>,
        "primary_email_address_id" => opt primary_email_address_id: Option<Text<'a>>,
        "primary_phone_number_id" => opt primary_phone_number_id: Option<Text<'a>>,
        "email_addresses" => opt email_addresses: Vec<EmailAddress<'a>>,
        "phone_numbers" => opt phone_numbers: Vec<PhoneNumber<'a>>,
        "public_metadata" => opt public_metadata: Option<&'a RawValue>,
    }
}

/// A user: what of it can be mapped, and its own text for columns that a person configures.
#[derive(Clone)]
pub struct User<'a> {
    /// `user_…`.
    pub key: Key,
    /// When the user was made, in milliseconds.
    pub created_at: i64,
    /// The version of this content.
    pub updated_at: Version,
    /// Null or missing unless the instance uses usernames.
    pub username: Option<Text<'a>>,
    /// Null for most password sign-ups.
    pub first_name: Option<Text<'a>>,
    /// Null for most password sign-ups.
    pub last_name: Option<Text<'a>>,
    /// Of generated avatars it changes with the name.
    pub image_url: Option<Text<'a>>,
    /// Which of the addresses is the primary one; may point nowhere.
    pub primary_email_address_id: Option<Text<'a>>,
    /// Which of the numbers is the primary one; may point nowhere.
    pub primary_phone_number_id: Option<Text<'a>>,
    /// May be empty.
    pub email_addresses: Vec<EmailAddress<'a>>,
    /// May be empty.
    pub phone_numbers: Vec<PhoneNumber<'a>>,
    /// What a server, and only a server, says about the user.
    pub public_metadata: PublicMetadata<'a>,
    /// The whole user as Clerk sent it. Not for logs.
    pub text: &'a str,
}

// The user's own text must not get into a log by way of Debug.
impl fmt::Debug for User<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "User({})", self.key)
    }
}

impl<'a> User<'a> {
    /// Reads a user object.
    pub fn parse(text: &'a str) -> Result<Self, ShapeError> {
        let read: UserMembers = read("data", text.as_bytes()).map_err(|reason| {
            let names = names(Table::Users, text);
            ShapeError::Malformed { reason, names }
        })?;
        let key = key_of(&read.id)?;
        let about = || Some(RecordKey::new(Table::Users, key.clone()));
        let public_metadata =
            PublicMetadata::parse(read.public_metadata).map_err(|error| error.about(about()))?;
        Ok(User {
            key,
            created_at: read.created_at.0,
            updated_at: Version(read.updated_at.0),
            username: read.username,
            first_name: read.first_name,
            last_name: read.last_name,
            image_url: read.image_url,
            primary_email_address_id: read.primary_email_address_id,
            primary_phone_number_id: read.primary_phone_number_id,
            email_addresses: read.email_addresses,
            phone_numbers: read.phone_numbers,
            public_metadata,
            text,
        })
    }
}

impl<'a> PublicMetadata<'a> {
    fn parse(raw: Option<&'a RawValue>) -> Result<Self, ShapeError> {
        let Some(text) = raw.map(RawValue::get).filter(|text| *text != "null") else {
            return Ok(PublicMetadata::default());
        };
        if !text.starts_with('{') {
            return Ok(PublicMetadata {
                odd: true,
                ..PublicMetadata::default()
            });
        }
        let claims: Claims =
            read("data.public_metadata", text.as_bytes()).map_err(ShapeError::malformed)?;
        Ok(PublicMetadata {
            role: claims.role,
            app_id: claims.app_id,
            organization_id: claims.organization_id,
            odd: false,
        })
    }
}

lenient! {
    /// An organization.
    pub struct Organization<'a> {
        /// `org_…`.
        "id" => req id: Text<'a>,
        /// When it was made, in milliseconds.
        "created_at" => req created_at: Millis,
        /// The version of this content, in milliseconds.
        "updated_at" => req updated_at: Millis,
        /// Never null in the specification.
        "name" => opt name: Option<Text<'a>>,
        /// Missing, null or empty where slugs are switched off.
        "slug" => opt slug: Option<Text<'a>>,
        /// The logo.
        "image_url" => opt image_url: Option<Text<'a>>,
        /// Only in listings that ask for it; moves without a new version.
        "members_count" => opt members_count: Option<Millis>,
    }
}

lenient! {
    /// An organization, or whatever else, as far as its id goes.
    pub struct Named<'a> {
        /// The id.
        "id" => opt id: Option<Text<'a>>,
    }
}

lenient! {
    /// The copy of a user's data inside a membership, as far as its id goes.
    pub struct PublicUserData<'a> {
        /// `user_…`.
        "user_id" => opt user_id: Option<Text<'a>>,
    }
}

lenient! {
    /// A user's membership of an organization.
    pub struct Membership<'a> {
        /// `orgmem_…`.
        "id" => req id: Text<'a>,
        /// When it began, in milliseconds.
        "created_at" => req created_at: Millis,
        /// The version of this content, in milliseconds.
        "updated_at" => req updated_at: Millis,
        /// `org:admin`, `org:member`, a custom one; older examples have `admin`, `basic_member`.
        "role" => opt role: Option<Text<'a>>,
        /// The organization.
        "organization" => opt organization: Option<Named<'a>>,
        /// The user.
        "public_user_data" => opt public_user_data: Option<PublicUserData<'a>>,
    }
}

impl Membership<'_> {
    /// The ids of the organization and the user, as far as they are there.
    pub fn ends(&self) -> (Option<&str>, Option<&str>) {
        let organization = self.organization.as_ref().and_then(|o| o.id.as_deref());
        let user = self.public_user_data.as_ref();
        (organization, user.and_then(|user| user.user_id.as_deref()))
    }
}

impl<'a> Organization<'a> {
    /// Reads an organization object.
    pub fn parse(text: &'a str) -> Result<Self, ShapeError> {
        read_record(Table::Organizations, text)
    }
}

impl<'a> Membership<'a> {
    /// Reads a membership object.
    pub fn parse(text: &'a str) -> Result<Self, ShapeError> {
        read_record(Table::Memberships, text)
    }
}

fn read_record<'a, T: serde::Deserialize<'a>>(
    table: Table,
    text: &'a str,
) -> Result<T, ShapeError> {
    read("data", text.as_bytes()).map_err(|reason| ShapeError::Malformed {
        reason,
        names: names(table, text),
    })
}

/// The record's key, or why it cannot be one.
pub(crate) fn key_of(id: &Text<'_>) -> Result<Key, ShapeError> {
    Key::parse(id.as_str())
        .ok_or_else(|| ShapeError::malformed(Reason::of("data.id is not an id of Clerk's")))
}

/// The record that a broken text is about, as far as its id can be read.
fn names(table: Table, text: &str) -> Option<RecordKey> {
    let named: Named = serde_json::from_str(text).ok()?;
    let key = Key::parse(named.id?.as_str())?;
    let prefix = match table {
        Table::Users | Table::Profiles => "user_",
        Table::Organizations => "org_",
        Table::Memberships => "orgmem_",
    };
    // An organization's id in an event about a user names no user.
    key.as_str()
        .starts_with(prefix)
        .then(|| RecordKey::new(table, key))
}

#[cfg(test)]
mod tests;
