//! What can be asked of `GET /users` and `GET /users/count`, and whether a user matches it.
//!
//! Filters combine with "and", the values of one filter with "or"; unknown values match nobody.
//! How the matching users are found without looking at all of them is `selection`'s business.

use super::query::{Page, Pairs, Sieve};
use super::refusal::Refusal;
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
pub(super) struct Window {
    pub(super) after: Option<i64>,
    pub(super) before: Option<i64>,
}

/// Everything that can be asked of `GET /users` and `GET /users/count`.
#[derive(Debug, Clone)]
pub struct UserQuery {
    pub(super) page: Page,
    pub(super) field: &'static str,
    pub(super) descending: bool,
    pub(super) starting_after: Option<String>,
    pub(super) ids: Sieve,
    pub(super) external_ids: Sieve,
    pub(super) organizations: Sieve,
    pub(super) emails: Vec<String>,
    pub(super) phones: Vec<String>,
    pub(super) usernames: Vec<String>,
    pub(super) wallets: Vec<String>,
    pub(super) provider: Option<(String, Vec<String>)>,
    /// Lower-case texts: anywhere, in emails, in phones, in usernames, in names.
    pub(super) texts: [Option<String>; 5],
    pub(super) banned: Option<bool>,
    pub(super) created: Window,
    pub(super) active: Window,
    pub(super) signed_in: Window,
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

    /// True when nothing but the window of `created_at` is asked.
    pub(super) fn is_plain(&self) -> bool {
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

    /// Whether a user as listings show it matches.
    pub(super) fn passes(&self, world: &World, slot: u32) -> bool {
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
}

impl Window {
    pub(super) fn is_open(&self) -> bool {
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
