//! Where users stand: slots, look-ups by every identifier, and two ranked listings.
//!
//! Identifiers are unique in an instance and kept so here. Listings are sorted by time and slot,
//! so users of the same millisecond come in an order that means nothing, as Clerk promises none.
//! A change may lag: look-ups by id see it at once, listings only when its time has come.

use super::ids::Id;
use super::ranked::Ranked;
use super::refusal::Refusal;
use super::users::User;
use std::collections::{HashMap, VecDeque};

/// Deleted users that are remembered, for cursors that point at them and for being restored.
const MAX_BURIED: usize = 10_000;

/// Position in a listing: milliseconds, then slot.
pub type Place = (i64, u32);

/// A change that listings do not show yet.
#[derive(Debug)]
struct Lag {
    /// Clock reading, in milliseconds, at which listings show it.
    until: i64,
    /// What listings show until then; `None` for a user that was just created.
    before: Option<User>,
}

/// All users of the instance.
#[derive(Debug, Default)]
pub struct Users {
    slots: Vec<Option<User>>,
    free: Vec<u32>,
    by_id: HashMap<Id, u32>,
    by_email: HashMap<Box<str>, u32>,
    by_phone: HashMap<Box<str>, u32>,
    by_username: HashMap<Box<str>, u32>,
    by_external_id: HashMap<Box<str>, u32>,
    by_created: Ranked<Place>,
    by_updated: Ranked<Place>,
    lagging: HashMap<u32, Lag>,
    buried: VecDeque<User>,
}

/// Which identifier to look up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Any of the email addresses.
    Email,
    /// Any of the phone numbers.
    Phone,
    /// The username.
    Username,
    /// The external id.
    ExternalId,
}

impl Users {
    /// Number of users, those that listings do not show yet included.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// The user in a slot, as it is now.
    pub fn get(&self, slot: u32) -> Option<&User> {
        self.slots.get(slot as usize)?.as_ref()
    }

    /// The user in a slot, as listings show it.
    pub fn listed(&self, slot: u32) -> Option<&User> {
        match self.lagging.get(&slot) {
            Some(lag) => lag.before.as_ref(),
            None => self.get(slot),
        }
    }

    /// The slot of an id.
    pub fn slot(&self, id: Id) -> Option<u32> {
        self.by_id.get(&id).copied()
    }

    /// The slot of an identifier.
    pub fn find(&self, by: By, value: &str) -> Option<u32> {
        match by {
            By::Email => self.by_email.get(&*value.to_lowercase()),
            By::Phone => self.by_phone.get(value),
            By::Username => self.by_username.get(&*value.to_lowercase()),
            By::ExternalId => self.by_external_id.get(value),
        }
        .copied()
    }

    /// Users by `created_at`.
    pub fn by_created(&self) -> &Ranked<Place> {
        &self.by_created
    }

    /// Users by `updated_at`.
    pub fn by_updated(&self) -> &Ranked<Place> {
        &self.by_updated
    }

    /// All users as they are now, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &User)> {
        let slots = self.slots.iter().zip(0_u32..);
        slots.filter_map(|(user, slot)| user.as_ref().map(|user| (slot, user)))
    }

    /// Makes room for `n` more without growing step by step.
    pub fn reserve(&mut self, n: usize) {
        self.slots.reserve_exact(n);
        self.by_id.reserve(n);
        self.by_email.reserve(n);
    }

    /// Puts a user on the shelf. `hidden_until` keeps it out of listings until that reading.
    pub fn insert(&mut self, user: User, hidden_until: Option<i64>) -> Result<u32, Refusal> {
        self.check_free(&user, None)?;
        let slot = self.shelve(user);
        match hidden_until {
            Some(until) => {
                self.lagging.insert(
                    slot,
                    Lag {
                        until,
                        before: None,
                    },
                );
            }
            None => self.list(slot),
        }
        Ok(slot)
    }

    /// Puts many new users on the shelf; cheaper than one by one. Identifiers must be fresh.
    pub fn insert_all(&mut self, users: impl Iterator<Item = User>) -> usize {
        let mut created = Vec::new();
        let mut updated = Vec::new();
        for user in users {
            if self.check_free(&user, None).is_err() {
                continue;
            }
            let (c, u) = (user.created_at, user.updated_at);
            let slot = self.shelve(user);
            created.push((c, slot));
            updated.push((u, slot));
        }
        let count = created.len();
        self.by_created.extend(created.into_iter());
        self.by_updated.extend(updated.into_iter());
        count
    }

    /// Replaces a user by its next state.
    pub fn replace(
        &mut self,
        slot: u32,
        user: User,
        hidden_until: Option<i64>,
    ) -> Result<(), Refusal> {
        self.check_free(&user, Some(slot))?;
        let Some(old) = self.slots.get_mut(slot as usize).and_then(Option::take) else {
            return Err(Refusal::UserNotFound(String::new()));
        };
        self.forget_identifiers(&old);
        self.note_identifiers(&user, slot);
        self.change_listing(slot, old, Some(user), hidden_until);
        Ok(())
    }

    /// Takes a user off the shelf.
    pub fn remove(&mut self, slot: u32, hidden_until: Option<i64>) -> Option<User> {
        let old = self.slots.get_mut(slot as usize)?.take()?;
        self.by_id.remove(&old.id);
        self.forget_identifiers(&old);
        self.change_listing(slot, old.clone(), None, hidden_until);
        if hidden_until.is_none() {
            self.free.push(slot);
        }
        Some(old)
    }

    /// Remembers a deleted user.
    pub fn bury(&mut self, user: User) {
        if self.buried.len() == MAX_BURIED {
            self.buried.pop_front();
        }
        self.buried.push_back(user);
    }

    /// A deleted user that is remembered.
    pub fn buried(&self, id: Id) -> Option<&User> {
        self.buried.iter().rev().find(|user| user.id == id)
    }

    /// Takes a deleted user out of memory, to bring it back.
    pub fn exhume(&mut self, id: Id) -> Option<User> {
        let at = self.buried.iter().rposition(|user| user.id == id)?;
        self.buried.remove(at)
    }

    /// True when some change is due to appear in listings.
    pub fn has_due(&self, now: i64) -> bool {
        self.lagging.values().any(|lag| lag.until <= now)
    }

    /// Lets listings show the changes whose time has come.
    pub fn settle(&mut self, now: i64) {
        let due: Vec<u32> = self
            .lagging
            .iter()
            .filter(|(_, l)| l.until <= now)
            .map(|(slot, _)| *slot)
            .collect();
        for slot in due {
            self.settle_slot(slot);
        }
    }

    fn settle_slot(&mut self, slot: u32) {
        let Some(lag) = self.lagging.remove(&slot) else {
            return;
        };
        if let Some(before) = lag.before {
            self.unlist(&before, slot);
        }
        if self.get(slot).is_some() {
            self.list(slot);
        } else {
            self.free.push(slot);
        }
    }

    fn change_listing(
        &mut self,
        slot: u32,
        old: User,
        new: Option<User>,
        hidden_until: Option<i64>,
    ) {
        self.slots[slot as usize] = new;
        match (hidden_until, self.lagging.get_mut(&slot)) {
            // What listings show stays what they showed before the first of the hidden changes.
            (Some(until), Some(lag)) => lag.until = until,
            (Some(until), None) => {
                self.lagging.insert(
                    slot,
                    Lag {
                        until,
                        before: Some(old),
                    },
                );
            }
            (None, Some(_)) => {
                let lag = self.lagging.remove(&slot);
                if let Some(before) = lag.and_then(|lag| lag.before) {
                    self.unlist(&before, slot);
                }
                self.list(slot);
            }
            (None, None) => {
                self.unlist(&old, slot);
                self.list(slot);
            }
        }
    }

    fn shelve(&mut self, user: User) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            // A slot number fits: memory ends long before four thousand million users.
            (self.slots.len() - 1) as u32
        });
        self.by_id.insert(user.id, slot);
        self.note_identifiers(&user, slot);
        self.slots[slot as usize] = Some(user);
        slot
    }

    fn list(&mut self, slot: u32) {
        let Some((created, updated)) = self.get(slot).map(|u| (u.created_at, u.updated_at)) else {
            return;
        };
        self.by_created.insert((created, slot));
        self.by_updated.insert((updated, slot));
    }

    fn unlist(&mut self, user: &User, slot: u32) {
        self.by_created.remove(&(user.created_at, slot));
        self.by_updated.remove(&(user.updated_at, slot));
    }

    fn check_free(&self, user: &User, own: Option<u32>) -> Result<(), Refusal> {
        let taken = |by, value: &str| {
            let holder = self.find(by, value);
            holder.is_some() && holder != own
        };
        let exists = |name: &str| Err(Refusal::IdentifierExists(name.to_owned()));
        if self
            .by_id
            .get(&user.id)
            .is_some_and(|slot| Some(*slot) != own)
        {
            return exists("id");
        }
        if user.emails.iter().any(|e| taken(By::Email, &e.value)) {
            return exists("email_address");
        }
        if user.phones.iter().any(|p| taken(By::Phone, &p.value)) {
            return exists("phone_number");
        }
        if user
            .username
            .as_ref()
            .is_some_and(|name| taken(By::Username, name))
        {
            return exists("username");
        }
        if user
            .external_id
            .as_ref()
            .is_some_and(|id| taken(By::ExternalId, id))
        {
            return exists("external_id");
        }
        Ok(())
    }

    fn note_identifiers(&mut self, user: &User, slot: u32) {
        for email in &user.emails {
            self.by_email.insert(email.value.clone(), slot);
        }
        for phone in &user.phones {
            self.by_phone.insert(phone.value.clone(), slot);
        }
        if let Some(name) = &user.username {
            self.by_username.insert(name.to_lowercase().into(), slot);
        }
        if let Some(id) = &user.external_id {
            self.by_external_id.insert(id.clone(), slot);
        }
    }

    fn forget_identifiers(&mut self, user: &User) {
        for email in &user.emails {
            self.by_email.remove(&email.value);
        }
        for phone in &user.phones {
            self.by_phone.remove(&phone.value);
        }
        if let Some(name) = &user.username {
            self.by_username.remove(&*name.to_lowercase());
        }
        if let Some(id) = &user.external_id {
            self.by_external_id.remove(id);
        }
    }
}
