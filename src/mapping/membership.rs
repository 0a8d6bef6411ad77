//! A Clerk organization membership as a row of `memberships`.
//!
//! The role is Clerk's (`org:admin`, …) and taken as it is: it says what the user is in the
//! organization, not in the app. The copies of user and organization inside a membership are ignored
//! but for their ids, since they move without the membership's version.

use super::{MapError, Mapped, plain, sized};
use crate::{
    clerk::wire::{Membership, key_of},
    model::{Fields, Key, Table, Version},
};

/// Maps a membership.
pub fn membership(membership: &Membership<'_>) -> Result<Mapped, MapError> {
    let missing = |member| MapError::Missing { member };
    let organization = membership
        .organization
        .as_ref()
        .and_then(|organization| Key::parse(organization.id.as_ref()?.as_str()))
        .ok_or(missing("data.organization.id"))?;
    let user = membership
        .public_user_data
        .as_ref()
        .and_then(|user| Key::parse(user.user_id.as_ref()?.as_str()))
        .ok_or(missing("data.public_user_data.user_id"))?;
    let role = membership.role.as_ref().ok_or(missing("data.role"))?;
    let mut fields = Fields::new();
    fields.insert("clerkUserId".into(), user.as_str().into());
    fields.insert("clerkOrganizationId".into(), organization.as_str().into());
    fields.insert("role".into(), role.as_str().into());
    let row = plain(
        Table::Memberships,
        key_of(&membership.id)?,
        membership.created_at.0,
        Version(membership.updated_at.0),
        fields,
    );
    sized(row, Vec::new())
}
