//! Listings of organizations and memberships: by offset only, as Clerk offers no cursor here.
//!
//! Plain listings by `created_at` jump to the offset; filters and other orders walk and sort. All
//! answers are slots; the total is the number of matches whatever the page. Nothing is rendered
//! here.

use super::ids::Id;
use super::memberships::Membership;
use super::organizations::ORGANIZATION;
use super::query::{Page, Pairs};
use super::ranked::Ranked;
use super::refusal::Refusal;
use super::shelf::Place;
use super::state::World;
use super::users::{USER, User};

const ORGANIZATION_ORDERS: [&str; 3] = ["created_at", "name", "members_count"];
const MEMBERSHIP_ORDERS: [&str; 6] = [
    "created_at",
    "phone_number",
    "email_address",
    "first_name",
    "last_name",
    "username",
];

/// One page of slots and the number of all matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// Slots of the page, in order.
    pub slots: Vec<u32>,
    /// Matches on all pages.
    pub total: usize,
}

/// `GET /organizations`.
pub fn organizations(world: &World, pairs: &Pairs) -> Result<Listing, Refusal> {
    let (field, descending) = pairs.order(&ORGANIZATION_ORDERS)?;
    let page = pairs.page()?;
    let ids = pairs.sieve("organization_id")?;
    let users = pairs.sieve("user_id")?;
    let text = pairs
        .first("query")
        .map(str::to_lowercase)
        .filter(|t| !t.is_empty());
    let list = &world.organizations.by_created;
    if ids.is_open() && users.is_open() && text.is_none() && field == "created_at" {
        return Ok(cut(list, page, descending));
    }
    let members = &world.organizations.members;
    let has_user = |slot: u32, wanted: &[String]| {
        let slots = wanted
            .iter()
            .filter_map(|t| world.users.slot(Id::parse(USER, t)?));
        slots
            .into_iter()
            .any(|user| members.find(slot, user).is_some())
    };
    let mut slots: Vec<u32> = list
        .ascending(0, list.len())
        .map(|(_, slot)| slot)
        .collect();
    slots.retain(|slot| {
        let Some(o) = world.organizations.get(*slot) else {
            return false;
        };
        let id = o.id.with(ORGANIZATION).to_string();
        ids.passes(Some(&id))
            && (users.include.is_empty() || has_user(*slot, &users.include))
            && !has_user(*slot, &users.exclude)
            && text.as_ref().is_none_or(|t| {
                id.to_lowercase() == *t || o.name.to_lowercase().contains(t) || o.slug.contains(t)
            })
    });
    slots.sort_by_cached_key(|slot| {
        let organization = world.organizations.get(*slot);
        let name = organization
            .map(|o| o.name.to_lowercase())
            .unwrap_or_default();
        match field {
            "name" => (0, name, *slot),
            "members_count" => (
                members.of_organization(*slot).len() as i64,
                String::new(),
                *slot,
            ),
            _ => (
                organization.map_or(0, |o| o.created_at),
                String::new(),
                *slot,
            ),
        }
    });
    Ok(turn(slots, page, descending))
}

/// `GET /organizations/{id}/memberships`.
pub fn members_of(world: &World, organization: u32, pairs: &Pairs) -> Result<Listing, Refusal> {
    let filter = MemberFilter::read(pairs)?;
    let list = world.organizations.members.of_organization(organization);
    memberships(world, list, pairs, Some(&filter))
}

/// `GET /users/{id}/organization_memberships`, which has neither order nor filter.
pub fn memberships_of(world: &World, user: u32, pairs: &Pairs) -> Result<Listing, Refusal> {
    let list = world.organizations.members.of_user(user);
    Ok(cut(list, pairs.page()?, true))
}

/// `GET /organization_memberships`: the whole instance, ordered but not filtered.
pub fn all_memberships(world: &World, pairs: &Pairs) -> Result<Listing, Refusal> {
    memberships(world, world.organizations.members.all(), pairs, None)
}

fn memberships(
    world: &World,
    list: &Ranked<Place>,
    pairs: &Pairs,
    filter: Option<&MemberFilter>,
) -> Result<Listing, Refusal> {
    let (field, descending) = pairs.order(&MEMBERSHIP_ORDERS)?;
    let page = pairs.page()?;
    let open = filter.is_none_or(MemberFilter::is_open);
    if open && field == "created_at" {
        return Ok(cut(list, page, descending));
    }
    let inclusive = world.settings.window_inclusive;
    let user = |slot: u32| -> Option<(&Membership, &User)> {
        let membership = world.organizations.members.get(slot)?;
        Some((membership, world.users.get(membership.user)?))
    };
    let mut slots: Vec<u32> = list
        .ascending(0, list.len())
        .map(|(_, slot)| slot)
        .collect();
    slots.retain(|slot| {
        let Some((membership, user)) = user(*slot) else {
            return false;
        };
        filter.is_none_or(|f| f.passes(membership, user, inclusive))
    });
    if field != "created_at" {
        slots.sort_by_cached_key(|slot| {
            let user = user(*slot).map(|(_, user)| user);
            let text = |t: Option<&str>| t.unwrap_or_default().to_lowercase();
            let key = match field {
                "first_name" => text(user.and_then(|u| u.first_name.as_deref())),
                "last_name" => text(user.and_then(|u| u.last_name.as_deref())),
                "username" => text(user.and_then(|u| u.username.as_deref())),
                "email_address" => text(user.and_then(User::primary_address)),
                _ => text(user.and_then(|u| u.phones.first()).map(|p| &*p.value)),
            };
            (key, *slot)
        });
    }
    Ok(turn(slots, page, descending))
}

fn cut(list: &Ranked<Place>, page: Page, descending: bool) -> Listing {
    let total = list.len();
    let start = page.offset.min(total);
    let end = start.saturating_add(page.limit).min(total);
    let slots = if descending {
        list.descending(total - end, total - start)
            .map(|(_, slot)| slot)
            .collect()
    } else {
        list.ascending(start, end).map(|(_, slot)| slot).collect()
    };
    Listing { slots, total }
}

fn turn(mut slots: Vec<u32>, page: Page, descending: bool) -> Listing {
    if descending {
        slots.reverse();
    }
    let total = slots.len();
    let slots = slots
        .into_iter()
        .skip(page.offset)
        .take(page.limit)
        .collect();
    Listing { slots, total }
}

/// What members of one organization can be filtered by. The times of creation are the users'.
struct MemberFilter {
    ids: Vec<String>,
    emails: Vec<String>,
    phones: Vec<String>,
    usernames: Vec<String>,
    roles: Vec<String>,
    text: Option<String>,
    created_before: Option<i64>,
    created_after: Option<i64>,
    active_before: Option<i64>,
    active_after: Option<i64>,
}

impl MemberFilter {
    fn read(pairs: &Pairs) -> Result<Self, Refusal> {
        let text = [
            "query",
            "email_address_query",
            "username_query",
            "name_query",
        ];
        Ok(Self {
            ids: pairs.all("user_id")?,
            emails: pairs.all("email_address")?,
            phones: pairs.all("phone_number")?,
            usernames: pairs.all("username")?,
            roles: pairs.all("role")?,
            text: text
                .iter()
                .find_map(|key| pairs.first(key))
                .map(str::to_lowercase),
            created_before: pairs.number("created_at_before")?,
            created_after: pairs.number("created_at_after")?,
            active_before: pairs.number("last_active_at_before")?,
            active_after: pairs.number("last_active_at_after")?,
        })
    }

    fn is_open(&self) -> bool {
        let lists = [
            &self.ids,
            &self.emails,
            &self.phones,
            &self.usernames,
            &self.roles,
        ];
        let times = [
            self.created_before,
            self.created_after,
            self.active_before,
            self.active_after,
        ];
        lists.iter().all(|list| list.is_empty())
            && times.iter().all(Option::is_none)
            && self.text.is_none()
    }

    fn passes(&self, membership: &Membership, user: &User, inclusive: bool) -> bool {
        let one_of = |wanted: &[String], mut has: Box<dyn FnMut(&str) -> bool + '_>| {
            wanted.is_empty() || wanted.iter().any(|w| has(w))
        };
        let edge = i64::from(inclusive);
        let below = |at: Option<i64>, bound: Option<i64>| {
            bound.is_none_or(|b| at.is_some_and(|at| at < b + edge))
        };
        let above = |at: Option<i64>, bound: Option<i64>| {
            bound.is_none_or(|b| at.is_some_and(|at| at > b - edge))
        };
        let id = user.id.with(USER).to_string();
        let contains = |text: &str| {
            let words = [
                user.first_name.as_deref(),
                user.last_name.as_deref(),
                user.username.as_deref(),
            ];
            let emails = user.emails.iter().map(|e| &*e.value);
            words
                .into_iter()
                .flatten()
                .chain(emails)
                .any(|w| w.to_lowercase().contains(text))
        };
        one_of(&self.ids, Box::new(|w| w == id))
            && one_of(
                &self.emails,
                Box::new(|w| user.emails.iter().any(|e| *e.value == *w)),
            )
            && one_of(
                &self.phones,
                Box::new(|w| user.phones.iter().any(|p| *p.value == *w)),
            )
            && one_of(
                &self.usernames,
                Box::new(|w| user.username.as_deref() == Some(w)),
            )
            && one_of(&self.roles, Box::new(|w| *membership.role == *w))
            && below(Some(user.created_at), self.created_before)
            && above(Some(user.created_at), self.created_after)
            && below(user.last_active_at, self.active_before)
            && above(user.last_active_at, self.active_after)
            && self.text.as_deref().is_none_or(contains)
    }
}
