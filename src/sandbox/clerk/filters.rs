//! Which users a listing or a count is about, and in which order.
//!
//! Cheap whatever the number of users: pages by cursor or offset and counts, when nothing but a
//! window of `created_at` is asked, and all queries that name users. The other filters walk. An
//! answer shows users as listings see them, which may lag behind look-ups by id.

use super::ids::Id;
use super::query::{Page, Pairs, Sieve};
use super::ranked::Ranked;
use super::refusal::Refusal;
use super::shelf::{By, Place};
use super::state::World;
use super::users::{USER, User};

const ORDERS: [&str; 10] = [
    "created_at",
    "updated_at",
    "email_address",
    "web3wallet",
    "first_name",
    "last_name",
    "phone_number",
    "username",
    "last_active_at",
    "last_sign_in_at",
];

/// An open or closed window of Unix milliseconds.
#[derive(Debug, Clone, Copy, Default)]
struct Window {
    after: Option<i64>,
    before: Option<i64>,
}

/// Everything that can be asked of `GET /users` and `GET /users/count`.
#[derive(Debug, Clone)]
pub struct UserQuery {
    page: Page,
    field: &'static str,
    descending: bool,
    starting_after: Option<String>,
    ids: Sieve,
    external_ids: Sieve,
    organizations: Sieve,
    emails: Vec<String>,
    phones: Vec<String>,
    usernames: Vec<String>,
    wallets: Vec<String>,
    provider: Option<(String, Vec<String>)>,
    /// Lower-case texts: anywhere, in emails, in phones, in usernames, in names.
    texts: [Option<String>; 5],
    banned: Option<bool>,
    created: Window,
    active: Window,
    signed_in: Window,
}

impl UserQuery {
    /// Reads a query string; the rules about `starting_after` are checked here.
    pub fn read(pairs: &Pairs) -> Result<Self, Refusal> {
        let (field, descending) = pairs.order(&ORDERS)?;
        let page = pairs.page()?;
        let starting_after = pairs.first("starting_after").map(str::to_owned);
        if starting_after.is_some() && field != "created_at" {
            return Err(Refusal::ParamValue("order_by".to_owned(), field.to_owned()));
        }
        if starting_after.is_some() && page.offset != 0 {
            return Err(Refusal::ParamValue(
                "offset".to_owned(),
                page.offset.to_string(),
            ));
        }
        let wanted = pairs.all("provider_user_id")?;
        let provider = match pairs.first("provider") {
            Some(name) if !wanted.is_empty() => Some((name.to_owned(), wanted)),
            None if wanted.is_empty() => None,
            Some(_) => return Err(Refusal::ParamMissing("provider_user_id".to_owned())),
            None => return Err(Refusal::ParamMissing("provider".to_owned())),
        };
        let text = |key| {
            pairs
                .first(key)
                .map(str::to_lowercase)
                .filter(|t| !t.is_empty())
        };
        let window = |before, after| {
            Ok(Window {
                before: pairs.number(before)?,
                after: pairs.number(after)?,
            })
        };
        let mut active = window("last_active_at_before", "last_active_at_after")?;
        active.after = active
            .after
            .or(pairs.number("last_active_at_since")?.map(|ms| ms - 1));
        Ok(Self {
            page,
            field,
            descending,
            starting_after,
            ids: pairs.sieve("user_id")?,
            external_ids: pairs.sieve("external_id")?,
            organizations: pairs.sieve("organization_id")?,
            emails: pairs
                .all("email_address")?
                .iter()
                .map(|e| e.to_lowercase())
                .collect(),
            phones: pairs.all("phone_number")?,
            usernames: pairs
                .all("username")?
                .iter()
                .map(|n| n.to_lowercase())
                .collect(),
            wallets: pairs.all("web3_wallet")?,
            provider,
            texts: [
                text("query"),
                text("email_address_query"),
                text("phone_number_query"),
                text("username_query"),
                text("name_query"),
            ],
            banned: pairs.flag("banned")?,
            created: window("created_at_before", "created_at_after")?,
            active,
            signed_in: window("last_sign_in_at_before", "last_sign_in_at_after")?,
        })
    }

    /// Forgets the cursor, as a server does that does not know it.
    pub fn ignore_cursor(&mut self) {
        self.starting_after = None;
    }

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

    /// True when nothing but the window of `created_at` is asked.
    fn is_plain(&self) -> bool {
        self.ids.is_open()
            && self.external_ids.is_open()
            && self.organizations.is_open()
            && self.wallets.is_empty()
            && self.provider.is_none()
            && self.texts.iter().all(Option::is_none)
            && self.banned.is_none()
            && self.active.is_open()
            && self.signed_in.is_open()
    }

    fn passes(&self, world: &World, slot: u32) -> bool {
        let Some(user) = world.users.listed(slot) else {
            return false;
        };
        let inclusive = world.settings.window_inclusive;
        let id = user.id.with(USER).to_string();
        self.ids.passes(Some(&id))
            && self.external_ids.passes(user.external_id.as_deref())
            && self.in_organizations(world, slot)
            && (self.emails.is_empty() || among(&self.emails, user.emails.iter().map(|c| &*c.value)))
            && (self.phones.is_empty() || among(&self.phones, user.phones.iter().map(|c| &*c.value)))
            && (self.usernames.is_empty()
                || user.username.as_ref().is_some_and(|n| self.usernames.contains(&n.to_lowercase())))
            // Nobody here has a wallet.
            && self.wallets.is_empty()
            && self.provider.as_ref().is_none_or(|(name, wanted)| {
                user.accounts
                    .iter()
                    .any(|a| *a.provider == **name && wanted.iter().any(|w| **w == *a.provider_user_id))
            })
            && self.banned.is_none_or(|banned| user.banned == banned)
            && self.created.holds(Some(user.created_at), inclusive)
            && self.active.holds(user.last_active_at, inclusive)
            && self.signed_in.holds(user.last_sign_in_at, inclusive)
            && self.contains_texts(user, &id)
    }

    fn in_organizations(&self, world: &World, user: u32) -> bool {
        let inside = |ids: &[String]| {
            ids.iter()
                .filter_map(|id| world.organizations.slot(id))
                .any(|slot| world.organizations.members.find(slot, user).is_some())
        };
        (self.organizations.include.is_empty() || inside(&self.organizations.include))
            && !inside(&self.organizations.exclude)
    }

    fn contains_texts(&self, user: &User, id: &str) -> bool {
        let [any, email, phone, username, name] = &self.texts;
        let has = |text: &str, wanted: &str| text.to_lowercase().contains(wanted);
        let in_emails = |w: &str| user.emails.iter().any(|e| has(&e.value, w));
        let in_phones = |w: &str| user.phones.iter().any(|p| has(&p.value, w));
        let in_username = |w: &str| user.username.as_ref().is_some_and(|n| has(n, w));
        let in_names = |w: &str| {
            let first = user.first_name.as_deref().unwrap_or_default();
            let last = user.last_name.as_deref().unwrap_or_default();
            has(&format!("{first} {last}"), w)
        };
        email.as_deref().is_none_or(in_emails)
            && phone.as_deref().is_none_or(in_phones)
            && username.as_deref().is_none_or(in_username)
            && name.as_deref().is_none_or(in_names)
            && any.as_deref().is_none_or(|w| {
                has(id, w) || in_emails(w) || in_phones(w) || in_username(w) || in_names(w)
            })
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

impl Window {
    fn is_open(&self) -> bool {
        self.after.is_none() && self.before.is_none()
    }

    fn holds(&self, at: Option<i64>, inclusive: bool) -> bool {
        if self.is_open() {
            return true;
        }
        let Some(at) = at else { return false };
        let edge = |bound: i64| inclusive && at == bound;
        self.after.is_none_or(|after| at > after || edge(after))
            && self.before.is_none_or(|before| at < before || edge(before))
    }
}

fn among<'a>(wanted: &[String], mut values: impl Iterator<Item = &'a str>) -> bool {
    values.any(|value| wanted.iter().any(|w| w == value))
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
