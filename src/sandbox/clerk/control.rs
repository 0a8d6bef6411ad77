//! How Rust tests, the demo and benchmarks steer a simulated Clerk.
//!
//! These calls play the people of the instance: users who sign up, an administrator at the
//! Dashboard, Clerk's own jobs. They change the world as API calls do, events included, but pass
//! no gate: no key, no limit, no fault. Truth is read here, whatever the API is told to answer.

use super::faults::Fault;
use super::ids::Id;
use super::limits::{LimitSettings, Limits};
use super::profile::Door;
use super::refusal::Refusal;
use super::requests::Requests;
use super::sender::book::{Fate, Fates, Message};
use super::sender::{Sender, SenderError, SenderOrders};
use super::state::{Settings, World};
use super::users::{MetadataCall, USER};
use super::{ClerkSim, Shared, held, render};
use bytes::Bytes;
use serde_json::{Map, Value};
use std::time::Duration;

impl ClerkSim {
    /// Creates a user and answers its id. `user` has the keys of `POST /users`, and besides `id`,
    /// `unverified`, `banned`, `locked`, `deprovisioned`, `google` (a provider user id),
    /// `updated_at`, `last_sign_in_at`, `last_active_at`; times may be milliseconds.
    pub fn create_user(&self, user: Value) -> Result<String, Refusal> {
        self.shared.create_user(user)
    }

    /// Changes a user as [`ClerkSim::create_user`] sets it, metadata replaced, addresses included;
    /// `primary_email_address` picks an address by its text. An empty object changes `updated_at`
    /// alone; `updated_at` overrides the stamp, so that two contents can share one.
    pub fn update_user(&self, id: &str, change: Value) -> Result<(), Refusal> {
        self.shared.update_user(id, change)
    }

    /// Merges metadata as `PATCH /users/{id}/metadata` does.
    pub fn merge_metadata(&self, id: &str, change: Value) -> Result<(), Refusal> {
        let change = object(change)?;
        self.shared.write(|world| {
            let slot = world.user_slot(id)?;
            world.user_metadata(slot, &change, MetadataCall::Merge)
        })
    }

    /// Deletes a user.
    pub fn delete_user(&self, id: &str) -> Result<(), Refusal> {
        self.shared.write(|world| {
            let slot = world.user_slot(id)?;
            world.delete_user(slot).map(drop)
        })
    }

    /// Brings back one of the last 10,000 deleted users under its old id.
    pub fn restore_user(&self, id: &str) -> Result<(), Refusal> {
        let not_found = || Refusal::UserNotFound(id.to_owned());
        let parsed = Id::parse(USER, id).ok_or_else(not_found)?;
        self.shared
            .write(|world| world.restore_user(parsed).map(drop))
    }

    /// Signs a user in. `stamps_updated_at` says whether that changes `updated_at` and emits
    /// `user.updated`, which Clerk does not document.
    pub fn sign_in(&self, id: &str, stamps_updated_at: bool) -> Result<(), Refusal> {
        self.shared.write(|world| {
            let slot = world.user_slot(id)?;
            world.sign_in(slot, stamps_updated_at)
        })
    }

    /// Adds `n` varied users that signed up in the past, without events.
    pub fn seed_users(&self, n: usize) -> usize {
        self.shared.write(|world| world.seed_users(n))
    }

    /// Adds `n` organizations of so many members each, from all users in turn, without events.
    pub fn seed_organizations(&self, n: usize, members: usize) -> usize {
        self.shared
            .write(|world| world.seed_organizations(n, members))
    }

    /// Creates an organization with the keys of `POST /organizations` (and `id`); answers its id.
    pub fn create_organization(&self, organization: Value) -> Result<String, Refusal> {
        let organization = object(organization)?;
        self.shared.write(|world| {
            let slot = world.create_organization(&organization)?;
            let created = world
                .organizations
                .get(slot)
                .ok_or(Refusal::OrganizationNotFound)?;
            Ok(created
                .id
                .with(super::organizations::ORGANIZATION)
                .to_string())
        })
    }

    /// Changes an organization with the keys of `PATCH /organizations/{id}`.
    pub fn update_organization(&self, id: &str, change: Value) -> Result<(), Refusal> {
        let change = object(change)?;
        self.shared.write(|world| {
            let slot = world.organization_slot(id)?;
            world.update_organization(slot, &change)
        })
    }

    /// Deletes an organization with its memberships.
    pub fn delete_organization(&self, id: &str) -> Result<(), Refusal> {
        self.shared.write(|world| {
            let slot = world.organization_slot(id)?;
            world.delete_organization(slot).map(drop)
        })
    }

    /// Puts a user in an organization; answers the membership's id.
    pub fn add_member(
        &self,
        organization: &str,
        user: &str,
        role: &str,
    ) -> Result<String, Refusal> {
        self.shared.write(|world| {
            let organization = world.organization_slot(organization)?;
            let user = world.user_slot(user)?;
            let slot = world.add_member(organization, user, role, &Map::new())?;
            let member = world.organizations.members.get(slot);
            member
                .map(|m| m.id.with("orgmem_").to_string())
                .ok_or(Refusal::MembershipNotFound)
        })
    }

    /// Changes a member's role.
    pub fn change_role(&self, organization: &str, user: &str, role: &str) -> Result<(), Refusal> {
        self.shared.write(|world| {
            let slot = world.membership_slot(organization, user)?;
            world.change_role(slot, role)
        })
    }

    /// Takes a user out of an organization.
    pub fn remove_member(&self, organization: &str, user: &str) -> Result<(), Refusal> {
        self.shared.write(|world| {
            let slot = world.membership_slot(organization, user)?;
            world.drop_membership(slot, true);
            Ok(())
        })
    }

    /// A user as `GET /users/{id}` would show it.
    pub fn user(&self, id: &str) -> Option<Value> {
        self.shared.read(|world| {
            let slot = world.user_slot(id).ok()?;
            let user = world.users.get(slot)?;
            serde_json::to_value(render::user(user, &world.settings)).ok()
        })
    }

    /// All users as they truly are, oldest first. Large: a kilobyte or two for each.
    pub fn users(&self) -> Vec<Value> {
        self.shared.read(|world| {
            let mut slots: Vec<(i64, u32)> = world
                .users
                .iter()
                .map(|(slot, user)| (user.created_at, slot))
                .collect();
            slots.sort_unstable();
            let users = slots.iter().filter_map(|(_, slot)| world.users.get(*slot));
            users
                .filter_map(|u| serde_json::to_value(render::user(u, &world.settings)).ok())
                .collect()
        })
    }

    /// The ids of all users, in no order.
    pub fn user_ids(&self) -> Vec<String> {
        self.shared.read(|world| {
            world
                .users
                .iter()
                .map(|(_, u)| u.id.with(USER).to_string())
                .collect()
        })
    }

    /// Number of users.
    pub fn user_count(&self) -> usize {
        self.shared.read(|world| world.users.len())
    }

    /// All organizations as they truly are, oldest first.
    pub fn organizations(&self) -> Vec<Value> {
        self.shared.read(|world| {
            let list = &world.organizations.by_created;
            let slots = list.ascending(0, list.len()).map(|(_, slot)| slot);
            let all = slots.filter_map(|slot| world.organizations.get(slot));
            all.map(|o| render::organization(o, &world.settings, None))
                .filter_map(|o| serde_json::to_value(o).ok())
                .collect()
        })
    }

    /// All memberships as they truly are, oldest first.
    pub fn memberships(&self) -> Vec<Value> {
        self.shared.read(|world| {
            let list = world.organizations.members.all();
            let slots = list.ascending(0, list.len()).map(|(_, slot)| slot);
            let all = slots.filter_map(|slot| render::membership(world, slot));
            all.filter_map(|m| serde_json::to_value(m).ok()).collect()
        })
    }

    /// Loses the next `n` messages.
    pub fn lose_next(&self, n: u32) {
        self.order(|orders| orders.lose_next = n);
    }

    /// Loses this share of messages, 0 to 1.
    pub fn lose_ratio(&self, share: f64) {
        self.order(|orders| orders.lose_ratio = share);
    }

    /// Delivers this share of messages a second time.
    pub fn repeat_ratio(&self, share: f64) {
        self.order(|orders| orders.repeat_ratio = share);
    }

    /// Collects so many messages and sends them in random order; 0 keeps the order.
    pub fn reorder_window(&self, messages: usize) {
        self.order(|orders| orders.reorder_window = messages);
    }

    /// Sends each message this much later, at random within the range.
    pub fn delay(&self, least: Duration, most: Duration) {
        let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        self.order(|orders| (orders.delay_min_ms, orders.delay_max_ms) = (ms(least), ms(most)));
    }

    /// Divides the waits between retries; 1000 makes milliseconds of seconds.
    pub fn time_factor(&self, factor: f64) {
        self.order(|orders| orders.time_factor = factor);
    }

    /// Where deliveries go from now on, pending ones included; none withholds new ones.
    pub fn set_webhook_url(&self, url: Option<String>) {
        self.order(|orders| orders.url = url);
    }

    /// Enables or disables the endpoint; disabling cancels pending messages.
    pub fn enable_endpoint(&self, enabled: bool) {
        self.order(|orders| orders.enabled = enabled);
    }

    /// Signs with these secrets from now on, each adding a signature.
    pub fn set_webhook_secrets(&self, secrets: Vec<String>) -> Result<(), SenderError> {
        self.shared.sender.order(|orders| orders.secrets = secrets)
    }

    /// Changes any of the sender's orders.
    pub fn order(&self, change: impl FnOnce(&mut SenderOrders)) {
        // Only secrets can be refused; those go through `set_webhook_secrets`.
        if let Err(error) = self.shared.sender.order(change) {
            tracing::warn!(%error, "the simulated sender refused an order");
        }
    }

    /// Delivers any body, signed, under the given id or a new one; answers the id.
    pub fn send_raw(&self, kind: &str, body: impl Into<Bytes>, id: Option<String>) -> String {
        self.shared.sender.send_raw(kind, body, id)
    }

    /// Sends a message again under its id; false when its body is no longer kept.
    pub fn replay(&self, id: &str) -> bool {
        self.shared.sender.replay(id)
    }

    /// Sends all messages of one fate again; answers how many.
    pub fn replay_all(&self, fate: Fate) -> usize {
        self.shared.sender.replay_all(fate)
    }

    /// What became of the messages.
    pub fn fates(&self) -> Fates {
        self.shared.sender.fates()
    }

    /// Every message, in the order of emission.
    pub fn messages(&self) -> Vec<Message> {
        self.shared.sender.messages()
    }

    /// The exact body of a message, while it is kept.
    pub fn message_body(&self, id: &str) -> Option<Bytes> {
        self.shared.sender.body(id)
    }

    /// Returns when every message has its final fate. Give it a bound of your own.
    pub async fn quiet(&self) {
        self.shared.sender.quiet().await;
    }

    /// Orders the API to misbehave; false when a thousand orders wait already.
    pub fn fault(&self, fault: Fault) -> bool {
        held(&self.shared.faults).add(fault)
    }

    /// Forgets all orders to misbehave.
    pub fn clear_faults(&self) {
        held(&self.shared.faults).clear();
    }

    /// Adds this to every answer.
    pub fn set_latency(&self, latency: Duration) {
        *held(&self.shared.latency) = latency;
    }

    /// Changes the rate limits.
    pub fn set_limits(&self, limits: LimitSettings) {
        held(&self.shared.limits).settings = limits;
    }

    /// Changes the instance's settings.
    pub fn set(&self, change: impl FnOnce(&mut Settings)) {
        self.shared.write(|world| change(&mut world.settings));
    }

    /// Lets the next `changes` changes of users appear in listings only after `delay`; look-ups by
    /// id and events see them at once.
    pub fn lag_next(&self, changes: u32, delay: Duration) {
        let ms = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX / 4);
        self.shared.write(|world| world.lag_next(changes, ms));
    }

    /// Moves the instance's clock, backwards when negative.
    pub fn advance_ms(&self, ms: i64) {
        self.shared.read(|world| world.clock.advance_ms(ms));
    }

    /// Requests so far, by endpoint and status.
    pub fn requests(&self) -> Requests {
        held(&self.shared.requests).clone()
    }

    /// The sender, for orders that have no call of their own.
    pub fn sender(&self) -> &Sender {
        &self.shared.sender
    }

    /// Empties the instance: users, organizations, messages, faults, counts. Settings, limits and
    /// the sender's orders stay.
    pub fn reset(&self) {
        self.shared.reset();
    }
}

impl Shared {
    /// See [`ClerkSim::create_user`].
    pub(super) fn create_user(&self, user: Value) -> Result<String, Refusal> {
        let user = object(user)?;
        self.write(|world| {
            let slot = world.create_user(&user, Door::Control)?;
            let created = world.users.get(slot).map(|u| u.id.with(USER).to_string());
            created.ok_or_else(|| Refusal::UserNotFound(String::new()))
        })
    }

    /// See [`ClerkSim::update_user`].
    pub(super) fn update_user(&self, id: &str, change: Value) -> Result<(), Refusal> {
        let change = object(change)?;
        self.write(|world| {
            let slot = world.user_slot(id)?;
            world.update_user(slot, &change, Door::Control)
        })
    }

    /// See [`ClerkSim::reset`].
    pub(super) fn reset(&self) {
        self.write(|world| {
            *world = World::new(self.seed, world.clock.clone(), world.settings.clone());
        });
        self.sender.reset();
        held(&self.faults).clear();
        *held(&self.requests) = Requests::default();
        let mut limits = held(&self.limits);
        *limits = Limits::new(limits.settings);
    }
}

pub(super) fn object(value: Value) -> Result<Map<String, Value>, Refusal> {
    match value {
        Value::Object(map) => Ok(map),
        _ => Err(Refusal::BodyInvalid),
    }
}
