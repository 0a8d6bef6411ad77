//! A Clerk organization as a row of `organizations`.
//!
//! Instances with slugs switched off send none, null or an empty one: all three are null here, so that
//! the difference does not look like a change.

use serde_json::Value;

use super::{MapError, Mapped, plain, sized, user::nullable};
use crate::{
    clerk::wire::{Organization, key_of},
    model::{Fields, Table, Version},
};

/// Maps an organization.
pub fn organization(organization: &Organization<'_>) -> Result<Mapped, MapError> {
    let name = organization.name.as_ref().ok_or(MapError::Missing {
        member: "data.name",
    })?;
    let slug = match nullable(organization.slug.as_ref()) {
        Value::String(slug) if slug.is_empty() => Value::Null,
        slug => slug,
    };
    let mut fields = Fields::new();
    fields.insert("name".into(), name.as_str().into());
    fields.insert("slug".into(), slug);
    fields.insert("imageUrl".into(), nullable(organization.image_url.as_ref()));
    let row = plain(
        Table::Organizations,
        key_of(&organization.id)?,
        organization.created_at.0,
        Version(organization.updated_at.0),
        fields,
    );
    sized(row, Vec::new())
}
