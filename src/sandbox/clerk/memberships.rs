//! Who is in which organization, listed by time for the instance, an organization and a user.
//!
//! Users and organizations are named by their slots. Offset listings jump to a rank instead of
//! walking. It does not check that slots are taken: the world does before it asks.

use super::ids::Id;
use super::metadata::Metadata;
use super::ranked::Ranked;
use super::shelf::Place;
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

fn drop_place(lists: &mut HashMap<u32, Ranked<Place>>, owner: u32, place: &Place) {
    let Some(list) = lists.get_mut(&owner) else {
        return;
    };
    list.remove(place);
    if list.len() == 0 {
        lists.remove(&owner);
    }
}
