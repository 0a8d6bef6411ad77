//! Clerk's JSON: users, organizations, memberships, deleted objects and the event envelope.
//!
//! Written from Clerk's OpenAPI description, key by key; every required key is always there, and
//! the optional ones that live payloads leave out are left out. Objects are rendered on demand
//! from the compact state. Times are Unix milliseconds.

mod parts;

use crate::sandbox::clerk::ids::Prefixed;
use crate::sandbox::clerk::memberships::Membership;
use crate::sandbox::clerk::metadata::Metadata;
use crate::sandbox::clerk::organizations::{ORGANIZATION, Organization};
use crate::sandbox::clerk::state::{Event, Settings, World};
use crate::sandbox::clerk::users::{USER, User};
use parts::{Accounts, Contacts, generated_image, permissions, role_name, user_image};
use serde::Serialize;
use serde_json::{Value, json};

/// Attempts a user has left before lockout, as in published payloads.
const ATTEMPTS_LEFT: u32 = 100;

/// A full User object.
#[derive(Serialize)]
pub struct UserJson<'a> {
    id: Prefixed,
    object: &'static str,
    external_id: Option<&'a str>,
    primary_email_address_id: Option<Prefixed>,
    primary_phone_number_id: Option<Prefixed>,
    primary_web3_wallet_id: Option<&'a str>,
    username: Option<&'a str>,
    first_name: Option<&'a str>,
    last_name: Option<&'a str>,
    locale: Option<&'a str>,
    profile_image_url: &'static str,
    image_url: String,
    has_image: bool,
    public_metadata: &'a Metadata,
    private_metadata: &'a Metadata,
    unsafe_metadata: &'a Metadata,
    email_addresses: Contacts<'a>,
    phone_numbers: Contacts<'a>,
    web3_wallets: [(); 0],
    passkeys: [(); 0],
    password_enabled: bool,
    two_factor_enabled: bool,
    totp_enabled: bool,
    backup_code_enabled: bool,
    mfa_enabled_at: Option<i64>,
    mfa_disabled_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    password_last_updated_at: Option<i64>,
    external_accounts: Accounts<'a>,
    saml_accounts: [(); 0],
    enterprise_accounts: [(); 0],
    last_sign_in_at: Option<i64>,
    banned: bool,
    locked: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    deprovisioned: Option<bool>,
    lockout_expires_in_seconds: Option<i64>,
    verification_attempts_remaining: Option<u32>,
    updated_at: i64,
    created_at: i64,
    delete_self_enabled: bool,
    create_organization_enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    create_organizations_limit: Option<u32>,
    last_active_at: Option<i64>,
    legal_accepted_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bypass_client_trust: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timezone: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    a_key_of_next_year: Option<Value>,
}

/// A user as `GET /users/{id}` shows it.
pub fn user<'a>(user: &'a User, settings: &Settings) -> UserJson<'a> {
    let rare = user.rare.as_deref();
    let oauth = !user.accounts.is_empty();
    UserJson {
        id: user.id.with(USER),
        object: "user",
        external_id: user.external_id.as_deref(),
        primary_email_address_id: user.primary_email.map(|id| id.with("idn_")),
        primary_phone_number_id: user.primary_phone.map(|id| id.with("idn_")),
        primary_web3_wallet_id: None,
        username: user.username.as_deref(),
        first_name: user.first_name.as_deref(),
        last_name: user.last_name.as_deref(),
        locale: rare.and_then(|r| r.locale.as_deref()),
        profile_image_url: "https://www.gravatar.com/avatar?d=mp",
        image_url: user_image(user, settings),
        has_image: user.has_image,
        public_metadata: &user.public_metadata,
        private_metadata: &user.private_metadata,
        unsafe_metadata: &user.unsafe_metadata,
        email_addresses: Contacts {
            kind: "email_address",
            list: &user.emails,
            oauth,
        },
        phone_numbers: Contacts {
            kind: "phone_number",
            list: &user.phones,
            oauth: false,
        },
        web3_wallets: [],
        passkeys: [],
        password_enabled: user.password_enabled,
        two_factor_enabled: false,
        totp_enabled: false,
        backup_code_enabled: false,
        mfa_enabled_at: None,
        mfa_disabled_at: None,
        password_last_updated_at: rare.and_then(|r| r.password_last_updated_at),
        external_accounts: Accounts(user),
        saml_accounts: [],
        enterprise_accounts: [],
        last_sign_in_at: user.last_sign_in_at,
        banned: user.banned,
        locked: user.locked,
        deprovisioned: rare.and_then(|r| r.deprovisioned.then_some(true)),
        lockout_expires_in_seconds: user.locked.then_some(3600),
        verification_attempts_remaining: Some(if user.locked { 0 } else { ATTEMPTS_LEFT }),
        updated_at: user.updated_at,
        created_at: user.created_at,
        delete_self_enabled: user.delete_self_enabled,
        create_organization_enabled: user.create_organization_enabled,
        create_organizations_limit: rare.and_then(|r| r.create_organizations_limit),
        last_active_at: user.last_active_at,
        legal_accepted_at: rare.and_then(|r| r.legal_accepted_at),
        bypass_client_trust: rare.map(|r| r.bypass_client_trust),
        timezone: settings.unknown_keys.then_some("Europe/Berlin"),
        a_key_of_next_year: settings
            .unknown_keys
            .then(|| json!({ "nested": [1, "two"] })),
    }
}

/// The answer to a deletion, and the data of `user.deleted`.
pub fn deleted_user(user: &User) -> Value {
    let id = user.id.with(USER).to_string();
    let mut gone = json!({ "object": "user", "id": id, "deleted": true });
    if let Some(external) = &user.external_id {
        gone["external_id"] = json!(external);
    }
    gone
}

/// The answer to a deletion, and the data of `organization.deleted`.
pub fn deleted_organization(gone: &Organization) -> Value {
    let id = gone.id.with(ORGANIZATION).to_string();
    json!({ "object": "organization", "id": id, "slug": gone.slug, "deleted": true })
}

/// A full Organization object.
#[derive(Serialize)]
pub struct OrganizationJson<'a> {
    object: &'static str,
    id: Prefixed,
    name: &'a str,
    slug: &'a str,
    image_url: String,
    has_image: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    members_count: Option<usize>,
    max_allowed_memberships: u32,
    admin_delete_enabled: bool,
    public_metadata: &'a Metadata,
    private_metadata: &'a Metadata,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_by: Option<Prefixed>,
    created_at: i64,
    updated_at: i64,
}

/// An organization, with its number of members where that was asked for.
pub fn organization<'a>(
    organization: &'a Organization,
    settings: &Settings,
    members_count: Option<usize>,
) -> OrganizationJson<'a> {
    let id = organization.id.with(ORGANIZATION);
    let initial: String = organization.name.chars().take(1).collect();
    OrganizationJson {
        object: "organization",
        id,
        name: &organization.name,
        slug: &organization.slug,
        image_url: generated_image(id, &initial.to_uppercase(), settings),
        has_image: false,
        members_count,
        max_allowed_memberships: organization.max_allowed_memberships,
        admin_delete_enabled: organization.admin_delete_enabled,
        public_metadata: &organization.public_metadata,
        private_metadata: &organization.private_metadata,
        created_by: organization.created_by.map(|id| id.with(USER)),
        created_at: organization.created_at,
        updated_at: organization.updated_at,
    }
}

/// A full OrganizationMembership object.
#[derive(Serialize)]
pub struct MembershipJson<'a> {
    id: Prefixed,
    object: &'static str,
    role: &'a str,
    role_name: String,
    permissions: &'static [&'static str],
    public_metadata: &'a Metadata,
    private_metadata: &'a Metadata,
    organization: OrganizationJson<'a>,
    public_user_data: PublicUserJson<'a>,
    created_at: i64,
    updated_at: i64,
}

impl MembershipJson<'_> {
    /// When it last changed, in Unix milliseconds.
    pub fn updated_at(&self) -> i64 {
        self.updated_at
    }
}

#[derive(Serialize)]
struct PublicUserJson<'a> {
    user_id: Prefixed,
    first_name: Option<&'a str>,
    last_name: Option<&'a str>,
    profile_image_url: &'static str,
    image_url: String,
    has_image: bool,
    identifier: Option<&'a str>,
    username: Option<&'a str>,
    banned: bool,
    deprovisioned: bool,
}

/// A membership with its organization and a copy of its user's public data.
pub fn membership(world: &World, slot: u32) -> Option<MembershipJson<'_>> {
    let membership: &Membership = world.organizations.members.get(slot)?;
    let owner = world.organizations.get(membership.organization)?;
    let user = world.users.get(membership.user)?;
    let phone = || {
        user.phones
            .iter()
            .find(|p| Some(p.id) == user.primary_phone)
    };
    let identifier = user
        .primary_address()
        .or_else(|| phone().map(|p| &*p.value));
    Some(MembershipJson {
        id: membership.id.with("orgmem_"),
        object: "organization_membership",
        role: &membership.role,
        role_name: role_name(&membership.role),
        permissions: permissions(&membership.role),
        public_metadata: &membership.public_metadata,
        private_metadata: &membership.private_metadata,
        organization: organization(owner, &world.settings, None),
        public_user_data: PublicUserJson {
            user_id: user.id.with(USER),
            first_name: user.first_name.as_deref(),
            last_name: user.last_name.as_deref(),
            profile_image_url: "https://www.gravatar.com/avatar?d=mp",
            image_url: user_image(user, &world.settings),
            has_image: user.has_image,
            identifier: identifier.or(user.username.as_deref()),
            username: user.username.as_deref(),
            banned: user.banned,
            deprovisioned: user.rare.as_deref().is_some_and(|r| r.deprovisioned),
        },
        created_at: membership.created_at,
        updated_at: membership.updated_at,
    })
}

#[derive(Serialize)]
struct Envelope<'a, T> {
    data: &'a T,
    event_attributes: Value,
    instance_id: &'a str,
    object: &'static str,
    timestamp: i64,
    r#type: &'a str,
}

/// The finished body of an event that happened at `at` (Unix milliseconds).
pub fn envelope<T: Serialize>(kind: &'static str, data: &T, at: i64, settings: &Settings) -> Event {
    let envelope = Envelope {
        data,
        // Empty texts, as for events that the Backend API or the Dashboard caused.
        event_attributes: json!({ "http_request": { "client_ip": "", "user_agent": "" } }),
        instance_id: &settings.instance_id,
        object: "event",
        timestamp: at,
        r#type: kind,
    };
    // Every key is a string and no float is involved, so serialising cannot fail.
    let body = serde_json::to_vec(&envelope).unwrap_or_default();
    Event { kind, body }
}
