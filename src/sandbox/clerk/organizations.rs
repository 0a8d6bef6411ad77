//! Organizations, and what happens to them: created, changed, deleted.
//!
//! As in Clerk, the creator becomes the first admin and a deleted organization takes its
//! memberships with it. Every change emits its event. It does not know who asked.

use super::ids::Id;
use super::memberships::Memberships;
use super::metadata::Metadata;
use super::profile;
use super::ranked::Ranked;
use super::refusal::Refusal;
use super::render;
use super::shelf::Place;
use super::state::World;
use super::users::{MetadataCall, USER};
use serde_json::{Map, Value};
use std::collections::HashMap;

/// Prefix of organization ids.
pub const ORGANIZATION: &str = "org_";
/// Clerk's limit when an organization is made without one.
const DEFAULT_MEMBERS: u32 = 5;
/// Longest name of an organization.
const MAX_NAME: usize = 256;
/// The role that a creator gets.
const ADMIN: &str = "org:admin";

/// One organization. Times are Unix milliseconds.
#[derive(Debug, Clone)]
pub struct Organization {
    pub id: Id,
    pub name: Box<str>,
    pub slug: Box<str>,
    pub created_by: Option<Id>,
    /// 0 is unlimited.
    pub max_allowed_memberships: u32,
    pub admin_delete_enabled: bool,
    pub public_metadata: Metadata,
    pub private_metadata: Metadata,
    pub created_at: i64,
    pub updated_at: i64,
}

/// All organizations of the instance with their members.
#[derive(Debug, Default)]
pub struct Organizations {
    slots: Vec<Option<Organization>>,
    free: Vec<u32>,
    by_id: HashMap<Id, u32>,
    by_slug: HashMap<Box<str>, u32>,
    pub by_created: Ranked<Place>,
    pub members: Memberships,
}

impl Organizations {
    /// The organization in a slot.
    pub fn get(&self, slot: u32) -> Option<&Organization> {
        self.slots.get(slot as usize)?.as_ref()
    }

    /// The slot behind an id or a slug.
    pub fn slot(&self, id_or_slug: &str) -> Option<u32> {
        match Id::parse(ORGANIZATION, id_or_slug) {
            Some(id) => self.by_id.get(&id).copied(),
            None => self.by_slug.get(id_or_slug).copied(),
        }
    }

    /// Puts one in; its id and its slug must be free.
    pub(super) fn insert(&mut self, organization: Organization) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            (self.slots.len() - 1) as u32
        });
        self.by_id.insert(organization.id, slot);
        self.by_slug.insert(organization.slug.clone(), slot);
        self.by_created.insert((organization.created_at, slot));
        self.slots[slot as usize] = Some(organization);
        slot
    }

    fn replace(&mut self, slot: u32, organization: Organization) {
        if let Some(old) = self.remove(slot) {
            drop(old);
            // `remove` freed exactly this slot last, so `insert` takes it again.
            self.insert(organization);
        }
    }

    fn remove(&mut self, slot: u32) -> Option<Organization> {
        let gone = self.slots.get_mut(slot as usize)?.take()?;
        self.by_id.remove(&gone.id);
        self.by_slug.remove(&gone.slug);
        self.by_created.remove(&(gone.created_at, slot));
        self.free.push(slot);
        Some(gone)
    }
}

impl World {
    /// Creates an organization from a `POST /organizations` body.
    pub fn create_organization(&mut self, body: &Map<String, Value>) -> Result<u32, Refusal> {
        let now = self.now_ms();
        let creator = match body.get("created_by") {
            None | Some(Value::Null) => None,
            Some(id) => Some(self.user_slot(id.as_str().unwrap_or_default())?),
        };
        let id = match body.get("id").and_then(Value::as_str) {
            Some(chosen) => Id::parse(ORGANIZATION, chosen)
                .ok_or_else(|| Refusal::ParamFormat("id".into(), "must be an org_ id.".into()))?,
            None => self.ids.id(),
        };
        let mut organization = Organization {
            id,
            name: Box::default(),
            slug: Box::default(),
            created_by: creator
                .and_then(|slot| self.users.get(slot))
                .map(|user| user.id),
            max_allowed_memberships: DEFAULT_MEMBERS,
            admin_delete_enabled: true,
            public_metadata: Metadata::default(),
            private_metadata: Metadata::default(),
            created_at: now,
            updated_at: now,
        };
        for (key, value) in body {
            match key.as_str() {
                "created_by" | "id" => {}
                "public_metadata" => {
                    organization.public_metadata = Metadata::replaced(key, value)?;
                }
                "private_metadata" => {
                    organization.private_metadata = Metadata::replaced(key, value)?;
                }
                _ => set_field(&mut organization, key, value)?,
            }
        }
        if organization.name.is_empty() {
            return Err(Refusal::ParamMissing("name".to_owned()));
        }
        if organization.slug.is_empty() {
            organization.slug = self.free_slug(&organization.name);
        } else if self.organizations.slot(&organization.slug).is_some() {
            return Err(Refusal::IdentifierExists("slug".to_owned()));
        }
        let slot = self.organizations.insert(organization);
        self.emit_organization("organization.created", slot);
        if let Some(user) = creator {
            self.add_member(slot, user, ADMIN, &Map::new())?;
        }
        Ok(slot)
    }

    /// Applies a `PATCH /organizations/{id}` body.
    pub fn update_organization(
        &mut self,
        slot: u32,
        body: &Map<String, Value>,
    ) -> Result<(), Refusal> {
        let mut organization = self.organization(slot)?;
        for (key, value) in body {
            set_field(&mut organization, key, value)?;
        }
        if self
            .organizations
            .slot(&organization.slug)
            .is_some_and(|holder| holder != slot)
        {
            return Err(Refusal::IdentifierExists("slug".to_owned()));
        }
        self.replace_organization(slot, organization);
        Ok(())
    }

    /// Merges or replaces an organization's metadata.
    pub fn organization_metadata(
        &mut self,
        slot: u32,
        body: &Map<String, Value>,
        call: MetadataCall,
    ) -> Result<(), Refusal> {
        let mut organization = self.organization(slot)?;
        let (public, private) = (
            &mut organization.public_metadata,
            &mut organization.private_metadata,
        );
        set_metadata(public, private, body, call)?;
        self.replace_organization(slot, organization);
        Ok(())
    }

    /// Deletes an organization with its memberships.
    pub fn delete_organization(&mut self, slot: u32) -> Result<Value, Refusal> {
        let now = self.now_ms();
        let list = self.organizations.members.of_organization(slot);
        let members: Vec<Place> = list.ascending(0, list.len()).collect();
        for (_, membership) in members {
            self.drop_membership(membership, self.settings.cascade_events);
        }
        let gone = self
            .organizations
            .remove(slot)
            .ok_or(Refusal::OrganizationNotFound)?;
        let data = render::deleted_organization(&gone);
        self.emit("organization.deleted", &data, now.max(gone.updated_at + 1));
        Ok(data)
    }

    /// The slot behind a user id, or Clerk's 404.
    pub fn user_slot(&self, id: &str) -> Result<u32, Refusal> {
        let slot = Id::parse(USER, id).and_then(|id| self.users.slot(id));
        slot.ok_or_else(|| Refusal::UserNotFound(id.to_owned()))
    }

    /// The slot behind an organization's id or slug, or Clerk's 404.
    pub fn organization_slot(&self, id: &str) -> Result<u32, Refusal> {
        self.organizations
            .slot(id)
            .ok_or(Refusal::OrganizationNotFound)
    }

    pub(super) fn organization(&self, slot: u32) -> Result<Organization, Refusal> {
        self.organizations
            .get(slot)
            .cloned()
            .ok_or(Refusal::OrganizationNotFound)
    }

    fn replace_organization(&mut self, slot: u32, mut organization: Organization) {
        organization.updated_at = self.now_ms().max(organization.updated_at + 1);
        self.organizations.replace(slot, organization);
        self.emit_organization("organization.updated", slot);
    }

    fn emit_organization(&mut self, kind: &'static str, slot: u32) {
        let now = self.now_ms();
        let Some(organization) = self.organizations.get(slot) else {
            return;
        };
        let at = now.max(organization.updated_at);
        let data = render::organization(organization, &self.settings, None);
        self.outbox
            .push(render::envelope(kind, &data, at, &self.settings));
    }

    /// A slug made of the name that no other organization has.
    fn free_slug(&mut self, name: &str) -> Box<str> {
        let letters = name.to_lowercase();
        let words = letters
            .split(|c: char| !c.is_ascii_alphanumeric())
            .filter(|w| !w.is_empty());
        let slug = words.collect::<Vec<_>>().join("-");
        if !slug.is_empty() && self.organizations.slot(&slug).is_none() {
            return slug.into();
        }
        // Seconds since 1970 and a seeded number, as Clerk appends digits of its own.
        let suffix = self.ids.below(1_000_000_000);
        format!("{slug}-{suffix}").trim_start_matches('-').into()
    }
}

fn set_field(o: &mut Organization, key: &str, value: &Value) -> Result<(), Refusal> {
    match key {
        "name" => {
            let name = value.as_str().unwrap_or_default();
            if name.is_empty() {
                return Err(Refusal::ParamMissing("name".to_owned()));
            }
            if name.chars().count() > MAX_NAME {
                return Err(Refusal::TooLong("name".to_owned(), MAX_NAME));
            }
            o.name = name.into();
        }
        "slug" => {
            if let Some(slug) = profile::text(key, value)? {
                o.slug = slug;
            }
        }
        "max_allowed_memberships" if !value.is_null() => {
            o.max_allowed_memberships = profile::count(key, value)?;
        }
        "admin_delete_enabled" => {
            o.admin_delete_enabled = profile::flag(key, value)?.unwrap_or(o.admin_delete_enabled);
        }
        "created_at" => o.created_at = profile::time(key, value)?.unwrap_or(o.created_at),
        "max_allowed_memberships" | "role_set_key" => {}
        other => return Err(Refusal::ParamUnknown(other.to_owned())),
    }
    Ok(())
}

/// Sets the two metadata fields of an organization or a membership; `user_id` and `role` may stand
/// beside them in the body.
pub(super) fn set_metadata(
    public: &mut Metadata,
    private: &mut Metadata,
    body: &Map<String, Value>,
    call: MetadataCall,
) -> Result<(), Refusal> {
    for (key, value) in body {
        let field = match key.as_str() {
            "public_metadata" => &mut *public,
            "private_metadata" => &mut *private,
            "user_id" | "role" => continue,
            other => return Err(Refusal::ParamUnknown(other.to_owned())),
        };
        *field = match call {
            MetadataCall::Merge => field.merged(key, value)?,
            MetadataCall::Replace => Metadata::replaced(key, value)?,
        };
    }
    Ok(())
}
