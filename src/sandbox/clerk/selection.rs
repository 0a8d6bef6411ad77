//! Pages and counts of users: from a query to slots, in order.
//!
//! Cheap whatever the number of users: pages by cursor or offset and counts, when nothing but a
//! window of `created_at` is asked, and all queries that name users. The other filters walk. An
//! answer shows users as listings see them, which may lag behind look-ups by id.

use super::filters::UserQuery;
use super::ids::Id;
use super::query::Page;
use super::ranked::Ranked;
use super::refusal::Refusal;
use super::shelf::{By, Place};
use super::state::World;
use super::users::{USER, User};

impl UserQuery {
    /// Number of users that match, whatever the page.
    pub fn count(&self, world: &World) -> usize {
        if let Some(slots) = self.named(world) {
            return slots.len();
        }
        let (from, to) = self.created_ranks(world);
        if self.is_plain() {
            return to.saturating_sub(from);
        }
        let places = world.users.by_created().ascending(from, to);
        places.filter(|(_, slot)| self.passes(world, *slot)).count()
    }

    /// Slots of the page, in order.
    pub fn select(&self, world: &World) -> Result<Vec<u32>, Refusal> {
        let Page { limit, offset } = self.page;
        if let Some(mut slots) = self.named(world) {
            self.sort(world, &mut slots);
            if let Some(cursor) = self.cursor(world)? {
                slots.retain(|slot| self.lies_beyond(world, *slot, cursor));
            }
            return Ok(slots.into_iter().skip(offset).take(limit).collect());
        }
        match self.field {
            "created_at" => {
                let (mut from, mut to) = self.created_ranks(world);
                let list = world.users.by_created();
                match self.cursor(world)? {
                    Some(place) if self.descending => to = to.min(list.rank(&place)),
                    Some((ms, slot)) => from = from.max(list.rank(&(ms, slot.saturating_add(1)))),
                    None => {}
                }
                Ok(self.cut(world, list, from, to, self.is_plain()))
            }
            "updated_at" => {
                let list = world.users.by_updated();
                let plain = self.is_plain() && self.created.is_open();
                Ok(self.cut(world, list, 0, list.len(), plain))
            }
            _ => {
                let list = world.users.by_created();
                let all = list.ascending(0, list.len()).map(|(_, slot)| slot);
                let mut slots: Vec<u32> = all.filter(|slot| self.passes(world, *slot)).collect();
                self.sort(world, &mut slots);
                Ok(slots.into_iter().skip(offset).take(limit).collect())
            }
        }
    }

    fn cut(
        &self,
        world: &World,
        list: &Ranked<Place>,
        from: usize,
        to: usize,
        plain: bool,
    ) -> Vec<u32> {
        let Page { limit, offset } = self.page;
        let slots: Box<dyn Iterator<Item = Place>> = match (plain, self.descending) {
            (true, true) => {
                let top = to.saturating_sub(offset);
                Box::new(list.descending(from.max(top.saturating_sub(limit)), top))
            }
            (true, false) => {
                let start = from.saturating_add(offset).min(to.max(from));
                Box::new(list.ascending(start, to.min(start.saturating_add(limit))))
            }
            (false, true) => Box::new(list.descending(from, to)),
            (false, false) => Box::new(list.ascending(from, to)),
        };
        let slots = slots.map(|(_, slot)| slot);
        if plain {
            return slots.collect();
        }
        slots
            .filter(|slot| self.passes(world, *slot))
            .skip(offset)
            .take(limit)
            .collect()
    }

    /// Ranks in the listing by `created_at` that the window leaves.
    fn created_ranks(&self, world: &World) -> (usize, usize) {
        let list = world.users.by_created();
        let inclusive = i64::from(world.settings.window_inclusive);
        let from = self.created.after.map_or(0, |ms| {
            list.rank(&(ms.saturating_add(1).saturating_sub(inclusive), 0))
        });
        let to = self.created.before.map_or(list.len(), |ms| {
            list.rank(&(ms.saturating_add(inclusive), 0))
        });
        (from, to)
    }

    /// Slots of the users that the query names, when it names any; unknown ones are left out.
    fn named(&self, world: &World) -> Option<Vec<u32>> {
        let find = |by, values: &[String]| -> Vec<u32> {
            values
                .iter()
                .filter_map(|v| world.users.find(by, v))
                .collect()
        };
        let mut slots = if !self.ids.include.is_empty() {
            let ids = self.ids.include.iter().filter_map(|t| Id::parse(USER, t));
            ids.filter_map(|id| world.users.slot(id)).collect()
        } else if !self.external_ids.include.is_empty() {
            find(By::ExternalId, &self.external_ids.include)
        } else if !self.emails.is_empty() {
            find(By::Email, &self.emails)
        } else if !self.phones.is_empty() {
            find(By::Phone, &self.phones)
        } else if !self.usernames.is_empty() {
            find(By::Username, &self.usernames)
        } else if !self.organizations.include.is_empty() {
            self.members(world, &self.organizations.include)
        } else {
            return None;
        };
        slots.sort_unstable();
        slots.dedup();
        slots.retain(|slot| self.passes(world, *slot));
        Some(slots)
    }

    fn members(&self, world: &World, organizations: &[String]) -> Vec<u32> {
        let members = &world.organizations.members;
        let slots = organizations
            .iter()
            .filter_map(|id| world.organizations.slot(id));
        let places = slots.flat_map(|slot| {
            let list = members.of_organization(slot);
            list.ascending(0, list.len())
        });
        places
            .filter_map(|(_, slot)| members.get(slot).map(|m| m.user))
            .collect()
    }

    fn cursor(&self, world: &World) -> Result<Option<Place>, Refusal> {
        let Some(text) = &self.starting_after else {
            return Ok(None);
        };
        let refused = || Refusal::ParamValue("starting_after".to_owned(), text.clone());
        let id = Id::parse(USER, text).ok_or_else(refused)?;
        let alive = world.users.slot(id);
        let listed = alive.and_then(|slot| Some((world.users.listed(slot)?.created_at, slot)));
        if listed.is_some() {
            return Ok(listed);
        }
        // Its slot is lost, so users of the same millisecond may come again; none is skipped.
        let slot = if self.descending { u32::MAX } else { 0 };
        let buried = world
            .users
            .buried(id)
            .filter(|_| world.settings.deleted_cursor_goes_on);
        let ms = buried.map(|user| user.created_at).ok_or_else(refused)?;
        Ok(Some(if self.descending {
            (ms, slot)
        } else {
            (ms - 1, u32::MAX)
        }))
    }

    fn lies_beyond(&self, world: &World, slot: u32, cursor: Place) -> bool {
        let Some(user) = world.users.listed(slot) else {
            return false;
        };
        let place = (user.created_at, slot);
        if self.descending {
            place < cursor
        } else {
            place > cursor
        }
    }

    fn sort(&self, world: &World, slots: &mut [u32]) {
        let users = &world.users;
        slots.sort_by_cached_key(|slot| {
            users
                .listed(*slot)
                .map(|u| (order_key(u, self.field), *slot))
        });
        if self.descending {
            slots.reverse();
        }
    }
}

/// Numbers before texts; of the orders here a key only ever has one of the two.
fn order_key(user: &User, field: &str) -> (i64, String) {
    let text = |value: Option<&str>| (0, value.unwrap_or_default().to_lowercase());
    let time = |value: Option<i64>| (value.unwrap_or(i64::MIN), String::new());
    match field {
        "created_at" => time(Some(user.created_at)),
        "updated_at" => time(Some(user.updated_at)),
        "last_active_at" => time(user.last_active_at),
        "last_sign_in_at" => time(user.last_sign_in_at),
        "email_address" => text(user.primary_address()),
        "first_name" => text(user.first_name.as_deref()),
        "last_name" => text(user.last_name.as_deref()),
        "phone_number" => text(user.phones.first().map(|p| &*p.value)),
        "username" => text(user.username.as_deref()),
        _ => text(None),
    }
}
