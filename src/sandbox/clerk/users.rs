//! A user as the simulation keeps it, and what happens to users: created, changed, deleted.
//!
//! Compact, since a million of them must fit in a gigabyte; the full JSON is made on demand in
//! `render`. Every change stamps `updated_at` later than before and puts one event in the outbox.
//! It does not know who asked, nor whether the event will arrive.

use super::ids::{Id, IdSource};
use super::metadata::Metadata;
use super::profile::{self, Door};
use super::refusal::Refusal;
use super::render;
use super::state::World;
use serde_json::{Map, Value};

/// Prefix of user ids.
pub const USER: &str = "user_";

/// How long before its `updated_at` a new user's `created_at` lies, in milliseconds. Published
/// `user.created` payloads show a few.
const CREATION_TAKES_MS: i64 = 3;

/// An email address or phone number of a user.
#[derive(Debug, Clone)]
pub struct Contact {
    pub id: Id,
    pub value: Box<str>,
    pub verified: bool,
    pub created_at: i64,
    pub updated_at: i64,
}

/// A connected OAuth account.
#[derive(Debug, Clone)]
pub struct Account {
    pub id: Id,
    pub identification: Id,
    /// As in `oauth_google`.
    pub provider: Box<str>,
    pub provider_user_id: Box<str>,
    pub email: Box<str>,
    pub created_at: i64,
}

/// Settings that few users have; kept apart so that the others do not pay for them.
#[derive(Debug, Clone, Default)]
pub struct Rare {
    pub locale: Option<Box<str>>,
    pub create_organizations_limit: Option<u32>,
    pub legal_accepted_at: Option<i64>,
    pub password_last_updated_at: Option<i64>,
    pub deprovisioned: bool,
    pub bypass_client_trust: bool,
}

/// One user. Times are Unix milliseconds.
#[derive(Debug, Clone)]
pub struct User {
    pub id: Id,
    pub created_at: i64,
    pub updated_at: i64,
    pub last_active_at: Option<i64>,
    pub last_sign_in_at: Option<i64>,
    pub first_name: Option<Box<str>>,
    pub last_name: Option<Box<str>>,
    pub username: Option<Box<str>>,
    pub external_id: Option<Box<str>>,
    /// Newest first, as Clerk lists them; the primary one may be anywhere.
    pub emails: Box<[Contact]>,
    pub phones: Box<[Contact]>,
    pub accounts: Box<[Account]>,
    pub primary_email: Option<Id>,
    pub primary_phone: Option<Id>,
    pub public_metadata: Metadata,
    pub private_metadata: Metadata,
    pub unsafe_metadata: Metadata,
    pub rare: Option<Box<Rare>>,
    pub banned: bool,
    pub locked: bool,
    pub password_enabled: bool,
    pub has_image: bool,
    pub delete_self_enabled: bool,
    pub create_organization_enabled: bool,
}

impl User {
    /// A user with nothing but an id and times.
    pub fn blank(id: Id, created_at: i64, updated_at: i64) -> Self {
        Self {
            id,
            created_at,
            updated_at,
            last_active_at: None,
            last_sign_in_at: None,
            first_name: None,
            last_name: None,
            username: None,
            external_id: None,
            emails: Box::default(),
            phones: Box::default(),
            accounts: Box::default(),
            primary_email: None,
            primary_phone: None,
            public_metadata: Metadata::default(),
            private_metadata: Metadata::default(),
            unsafe_metadata: Metadata::default(),
            rare: None,
            banned: false,
            locked: false,
            password_enabled: false,
            has_image: false,
            delete_self_enabled: true,
            create_organization_enabled: true,
        }
    }

    /// The rare settings, made when they are first needed.
    pub fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// The address behind `primary_email_address_id`.
    pub fn primary_address(&self) -> Option<&str> {
        let primary = self.primary_email?;
        self.emails
            .iter()
            .find(|e| e.id == primary)
            .map(|e| &*e.value)
    }
}

/// Which metadata call was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetadataCall {
    /// PATCH: deep merge.
    Merge,
    /// PUT: replace each field that is given.
    Replace,
}

impl World {
    /// Creates a user from a `POST /users` body and emits `user.created`.
    pub fn create_user(&mut self, body: &Map<String, Value>, door: Door) -> Result<u32, Refusal> {
        let now = self.now_ms();
        let id = match body.get("id") {
            Some(chosen) if door == Door::Control => profile::chosen_id(chosen)?,
            _ => self.ids.id(),
        };
        let mut user = User::blank(id, now - CREATION_TAKES_MS, now);
        profile::apply(&mut user, body, door, now, &mut self.ids)?;
        if user.emails.is_empty() && user.phones.is_empty() && door == Door::Create {
            let named = user.username.is_some() || user.external_id.is_some();
            if !named {
                return Err(Refusal::ParamMissing("email_address".to_owned()));
            }
        }
        let hidden = self.take_lag();
        let slot = self.users.insert(user, hidden)?;
        self.emit_user("user.created", slot);
        Ok(slot)
    }

    /// Applies a `PATCH /users/{id}` body and emits `user.updated`.
    pub fn update_user(
        &mut self,
        slot: u32,
        body: &Map<String, Value>,
        door: Door,
    ) -> Result<(), Refusal> {
        let now = self.now_ms();
        let Some(mut user) = self.users.get(slot).cloned() else {
            return Err(Refusal::UserNotFound(String::new()));
        };
        let before = user.updated_at;
        user.updated_at = now.max(before + 1);
        profile::apply(&mut user, body, door, now, &mut self.ids)?;
        self.replace_user(slot, user)
    }

    /// Merges or replaces metadata and emits `user.updated`.
    pub fn user_metadata(
        &mut self,
        slot: u32,
        body: &Map<String, Value>,
        call: MetadataCall,
    ) -> Result<(), Refusal> {
        let now = self.now_ms();
        let Some(mut user) = self.users.get(slot).cloned() else {
            return Err(Refusal::UserNotFound(String::new()));
        };
        for (key, value) in body {
            let field = match key.as_str() {
                "public_metadata" => &mut user.public_metadata,
                "private_metadata" => &mut user.private_metadata,
                "unsafe_metadata" => &mut user.unsafe_metadata,
                other => return Err(Refusal::ParamUnknown(other.to_owned())),
            };
            *field = match call {
                MetadataCall::Merge => field.merged(key, value)?,
                MetadataCall::Replace => Metadata::replaced(key, value)?,
            };
        }
        user.updated_at = now.max(user.updated_at + 1);
        self.replace_user(slot, user)
    }

    /// Notes a sign-in. Whether Clerk stamps `updated_at` and sends an event for it is not
    /// documented, so the caller says.
    pub fn sign_in(&mut self, slot: u32, stamps_updated_at: bool) -> Result<(), Refusal> {
        let now = self.now_ms();
        let Some(mut user) = self.users.get(slot).cloned() else {
            return Err(Refusal::UserNotFound(String::new()));
        };
        user.last_sign_in_at = Some(now);
        user.last_active_at = Some(now);
        if stamps_updated_at {
            user.updated_at = now.max(user.updated_at + 1);
            return self.replace_user(slot, user);
        }
        self.users.replace(slot, user, None)
    }

    /// Deletes a user with its memberships and emits `user.deleted`, whose envelope `timestamp`
    /// is later than any `updated_at` the user had.
    pub fn delete_user(&mut self, slot: u32) -> Result<Value, Refusal> {
        let hidden = self.take_lag();
        let now = self.now_ms();
        self.drop_memberships_of_user(slot);
        let Some(user) = self.users.remove(slot, hidden) else {
            return Err(Refusal::UserNotFound(String::new()));
        };
        let gone = render::deleted_user(&user);
        self.emit("user.deleted", &gone, now.max(user.updated_at + 1));
        self.users.bury(user);
        Ok(gone)
    }

    /// Brings a deleted user back as it was, with a new `updated_at`, and emits `user.created`.
    pub fn restore_user(&mut self, id: Id) -> Result<u32, Refusal> {
        let not_found = || Refusal::UserNotFound(id.with(USER).to_string());
        let mut user = self.users.exhume(id).ok_or_else(not_found)?;
        user.updated_at = self.now_ms().max(user.updated_at + 2);
        let slot = self.users.insert(user, None)?;
        self.emit_user("user.created", slot);
        Ok(slot)
    }

    fn replace_user(&mut self, slot: u32, user: User) -> Result<(), Refusal> {
        let hidden = self.take_lag();
        self.users.replace(slot, user, hidden)?;
        self.emit_user("user.updated", slot);
        Ok(())
    }

    fn emit_user(&mut self, kind: &'static str, slot: u32) {
        let now = self.now_ms();
        let Some(user) = self.users.get(slot) else {
            return;
        };
        let at = now.max(user.updated_at);
        let body = render::envelope(
            kind,
            &render::user(user, &self.settings),
            at,
            &self.settings,
        );
        self.outbox.push(body);
    }
}

/// A fresh contact.
pub fn contact(ids: &mut IdSource, value: &str, verified: bool, at: i64) -> Contact {
    Contact {
        id: ids.id(),
        value: value.into(),
        verified,
        created_at: at,
        updated_at: at,
    }
}
