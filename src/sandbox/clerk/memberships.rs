//! Who is in which organization: listed by time for the instance, an organization and a user.
//!
//! Users and organizations are named by their slots, a membership by the pair of them. Offset
//! listings jump to a rank instead of walking. Every change emits its event; for memberships that
//! vanish with their owner that is a setting, since it is not documented.

use super::ids::Id;
use super::metadata::Metadata;
use super::organizations::set_metadata;
use super::ranked::Ranked;
use super::refusal::Refusal;
use super::render;
use super::shelf::Place;
use super::state::World;
use super::users::{MetadataCall, USER};
use serde_json::{Map, Value};
use std::collections::HashMap;

/// A user in an organization. Times are Unix milliseconds.
#[derive(Debug, Clone)]
pub struct Membership {
    pub id: Id,
    pub organization: u32,
    pub user: u32,
    pub role: Box<str>,
    pub public_metadata: Metadata,
    pub private_metadata: Metadata,
    pub created_at: i64,
    pub updated_at: i64,
}

/// All memberships of the instance.
#[derive(Debug, Default)]
pub struct Memberships {
    slots: Vec<Option<Membership>>,
    free: Vec<u32>,
    by_pair: HashMap<(u32, u32), u32>,
    by_created: Ranked<Place>,
    of_organization: HashMap<u32, Ranked<Place>>,
    of_user: HashMap<u32, Ranked<Place>>,
    nobody: Ranked<Place>,
}

impl Memberships {
    /// The membership in a slot.
    pub fn get(&self, slot: u32) -> Option<&Membership> {
        self.slots.get(slot as usize)?.as_ref()
    }

    /// The membership in a slot, to be changed; its times of creation and its ends must stay.
    pub fn get_mut(&mut self, slot: u32) -> Option<&mut Membership> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    /// The slot of a user's membership in an organization.
    pub fn find(&self, organization: u32, user: u32) -> Option<u32> {
        self.by_pair.get(&(organization, user)).copied()
    }

    /// All, by `created_at`.
    pub fn all(&self) -> &Ranked<Place> {
        &self.by_created
    }

    /// Those of an organization, by `created_at`.
    pub fn of_organization(&self, organization: u32) -> &Ranked<Place> {
        self.of_organization
            .get(&organization)
            .unwrap_or(&self.nobody)
    }

    /// Those of a user, by `created_at`.
    pub fn of_user(&self, user: u32) -> &Ranked<Place> {
        self.of_user.get(&user).unwrap_or(&self.nobody)
    }

    /// Adds one; the pair must not be there yet.
    pub fn insert(&mut self, membership: Membership) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            (self.slots.len() - 1) as u32
        });
        let place = (membership.created_at, slot);
        self.by_pair
            .insert((membership.organization, membership.user), slot);
        self.by_created.insert(place);
        self.of_organization
            .entry(membership.organization)
            .or_default()
            .insert(place);
        self.of_user
            .entry(membership.user)
            .or_default()
            .insert(place);
        self.slots[slot as usize] = Some(membership);
        slot
    }

    /// Takes one out.
    pub fn remove(&mut self, slot: u32) -> Option<Membership> {
        let gone = self.slots.get_mut(slot as usize)?.take()?;
        let place = (gone.created_at, slot);
        self.by_pair.remove(&(gone.organization, gone.user));
        self.by_created.remove(&place);
        drop_place(&mut self.of_organization, gone.organization, &place);
        drop_place(&mut self.of_user, gone.user, &place);
        self.free.push(slot);
        Some(gone)
    }
}

impl World {
    /// Puts a user in an organization.
    pub fn add_member(
        &mut self,
        organization: u32,
        user: u32,
        role: &str,
        body: &Map<String, Value>,
    ) -> Result<u32, Refusal> {
        let limit = self.organization(organization)?.max_allowed_memberships;
        let Some(id) = self.users.get(user).map(|u| u.id) else {
            return Err(Refusal::UserNotFound(String::new()));
        };
        let members = &self.organizations.members;
        if members.find(organization, user).is_some() {
            return Err(Refusal::AlreadyMember(id.with(USER).to_string()));
        }
        if limit > 0 && members.of_organization(organization).len() >= limit as usize {
            return Err(Refusal::MembershipQuota(limit));
        }
        let now = self.now_ms();
        let mut membership = Membership {
            id: self.ids.id(),
            organization,
            user,
            role: checked_role(role)?.into(),
            public_metadata: Metadata::default(),
            private_metadata: Metadata::default(),
            created_at: now,
            updated_at: now,
        };
        let (public, private) = (
            &mut membership.public_metadata,
            &mut membership.private_metadata,
        );
        set_metadata(public, private, body, MetadataCall::Replace)?;
        let slot = self.organizations.members.insert(membership);
        self.emit_membership("organizationMembership.created", slot);
        Ok(slot)
    }

    /// Changes a member's role.
    pub fn change_role(&mut self, slot: u32, role: &str) -> Result<(), Refusal> {
        let role = checked_role(role)?;
        let now = self.now_ms();
        let membership = self
            .organizations
            .members
            .get_mut(slot)
            .ok_or(Refusal::MembershipNotFound)?;
        membership.role = role.into();
        membership.updated_at = now.max(membership.updated_at + 1);
        self.emit_membership("organizationMembership.updated", slot);
        Ok(())
    }

    /// Merges a membership's metadata.
    pub fn membership_metadata(
        &mut self,
        slot: u32,
        body: &Map<String, Value>,
    ) -> Result<(), Refusal> {
        let now = self.now_ms();
        let membership = self
            .organizations
            .members
            .get_mut(slot)
            .ok_or(Refusal::MembershipNotFound)?;
        let (mut public, mut private) = (
            membership.public_metadata.clone(),
            membership.private_metadata.clone(),
        );
        set_metadata(&mut public, &mut private, body, MetadataCall::Merge)?;
        (membership.public_metadata, membership.private_metadata) = (public, private);
        membership.updated_at = now.max(membership.updated_at + 1);
        self.emit_membership("organizationMembership.updated", slot);
        Ok(())
    }

    /// Takes a user out of an organization; `tell` says whether an event goes out.
    pub fn drop_membership(&mut self, slot: u32, tell: bool) {
        if tell {
            self.emit_membership("organizationMembership.deleted", slot);
        }
        self.organizations.members.remove(slot);
    }

    /// Takes a user that is being deleted out of every organization.
    pub fn drop_memberships_of_user(&mut self, user: u32) {
        let list = self.organizations.members.of_user(user);
        let all: Vec<Place> = list.ascending(0, list.len()).collect();
        for (_, slot) in all {
            self.drop_membership(slot, self.settings.cascade_events);
        }
    }

    /// The slot of a membership named by organization and user, or Clerk's 404.
    pub fn membership_slot(&self, organization: &str, user: &str) -> Result<u32, Refusal> {
        let organization = self.organization_slot(organization)?;
        let user = Id::parse(USER, user).and_then(|id| self.users.slot(id));
        user.and_then(|user| self.organizations.members.find(organization, user))
            .ok_or(Refusal::MembershipNotFound)
    }

    fn emit_membership(&mut self, kind: &'static str, slot: u32) {
        let now = self.now_ms();
        let Some(data) = render::membership(self, slot) else {
            return;
        };
        let at = now.max(data.updated_at());
        let event = render::envelope(kind, &data, at, &self.settings);
        self.outbox.push(event);
    }
}

fn drop_place(lists: &mut HashMap<u32, Ranked<Place>>, owner: u32, place: &Place) {
    let Some(list) = lists.get_mut(&owner) else {
        return;
    };
    list.remove(place);
    if list.len() == 0 {
        lists.remove(&owner);
    }
}

/// Custom roles begin like the two that every instance has.
fn checked_role(role: &str) -> Result<&str, Refusal> {
    let known = role.len() > "org:".len() && role.starts_with("org:");
    known
        .then_some(role)
        .ok_or_else(|| Refusal::ParamValue("role".into(), role.into()))
}
