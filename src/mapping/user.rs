//! A Clerk user as a row of `users`.
//!
//! Who a user is comes from the profile; what a user may do comes from `public_metadata`, which only
//! the app's server can write, and never from `unsafe_metadata`, which the browser can. An unknown role
//! becomes the default one, never a guess upwards. `organizationId` is left out when metadata does not
//! set it, because Convex then derives it from the memberships.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{MapError, Mapped, Note, extra, plain, sized};
use crate::{
    clerk::{
        lenient::{Loose, Text},
        wire::{EmailAddress, PublicMetadata, User},
    },
    model::{ExtraField, Fields, Table, Upsert},
};

/// What a person configured about users (section `users`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserRules {
    /// The `appId` of users whose metadata names none.
    pub app_id: Option<String>,
    /// The roles that metadata may give.
    pub roles: Vec<String>,
    /// The role of everybody else.
    pub default_role: String,
    /// Columns of the app, written once when a row is created.
    pub insert_defaults: Arc<Fields>,
    /// Further columns by name.
    pub extra_fields: BTreeMap<String, ExtraField>,
    /// Adopt a row without `clerkId` that has the user's verified primary address.
    pub link_by_email: bool,
}

/// Maps a user. Profile columns are [`super::profile()`]'s.
pub fn user(user: &User<'_>, rules: &UserRules) -> Result<Mapped, MapError> {
    let mut notes = Vec::new();
    let metadata = &user.public_metadata;
    if metadata.odd {
        notes.push(Note::OddMetadata);
    }
    let mut fields = Fields::new();
    // First, so that no pointer can overwrite a column that has a meaning of its own.
    extra::columns(user.text, &rules.extra_fields, &mut fields, &mut notes)?;
    let primary = primary_email(user);
    let email = primary
        .or(user.email_addresses.first())
        .and_then(|address| address.email_address.as_ref())
        .map_or("", Text::as_str);
    fields.insert("email".into(), email.into());
    fields.insert("name".into(), name(user));
    fields.insert("username".into(), nullable(user.username.as_ref()));
    fields.insert("imageUrl".into(), nullable(user.image_url.as_ref()));
    if claims_unknown_role(metadata, rules) {
        notes.push(Note::UnknownRole);
    }
    let role = allowed(&metadata.role, rules).unwrap_or(&rules.default_role);
    fields.insert("role".into(), role.into());
    let app_id = claim(&metadata.app_id, "appId", &mut notes).or(rules.app_id.as_deref());
    fields.insert("appId".into(), app_id.into());
    if let Some(id) = claim(&metadata.organization_id, "organizationId", &mut notes) {
        fields.insert("organizationId".into(), id.into());
    }

    let link_email = primary
        .filter(|address| rules.link_by_email && address.is_verified())
        .and_then(|address| address.email_address.as_ref())
        .filter(|address| !address.is_empty())
        .map(|address| address.as_str().to_owned());
    let insert_defaults =
        (!rules.insert_defaults.is_empty()).then(|| Arc::clone(&rules.insert_defaults));
    let row = plain(
        Table::Users,
        user.key.clone(),
        user.created_at,
        user.updated_at,
        fields,
    );
    let upsert = Upsert {
        insert_defaults,
        link_email,
        ..row
    };
    sized(upsert, notes)
}

/// True if the metadata claim a role that is not allowed.
pub fn claims_unknown_role(metadata: &PublicMetadata<'_>, rules: &UserRules) -> bool {
    metadata.role != Loose::Absent && allowed(&metadata.role, rules).is_none()
}

/// The address that `primary_email_address_id` points to, if it points to one.
fn primary_email<'u, 'a>(user: &'u User<'a>) -> Option<&'u EmailAddress<'a>> {
    let wanted = user.primary_email_address_id.as_ref()?;
    user.email_addresses
        .iter()
        .find(|address| address.id.as_ref() == Some(wanted))
}

/// First and last name joined as Clerk's own SDK joins them, since Clerk sends no full name.
fn name(user: &User<'_>) -> Value {
    let part = |name: &Option<Text<'_>>| name.as_ref().map_or(String::new(), |n| n.to_string());
    let joined = format!("{} {}", part(&user.first_name), part(&user.last_name));
    match joined.trim() {
        "" => Value::Null,
        name => name.into(),
    }
}

/// The claimed role, if it may be claimed.
fn allowed<'m>(claimed: &'m Loose<'_>, rules: &UserRules) -> Option<&'m str> {
    let known = |claim: &&str| rules.roles.iter().any(|role| role == claim);
    claimed.text().filter(known)
}

/// A member of the metadata that is a non-empty string.
fn claim<'m>(value: &'m Loose<'_>, member: &'static str, notes: &mut Vec<Note>) -> Option<&'m str> {
    if *value == Loose::Other {
        notes.push(Note::NotAString { member });
    }
    value.text()
}

/// A string column, null when Clerk has none.
pub(super) fn nullable(text: Option<&Text<'_>>) -> Value {
    text.map_or(Value::Null, |text| text.as_str().into())
}
