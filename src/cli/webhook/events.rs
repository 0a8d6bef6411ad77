//! Invented events in the shape that Clerk sends them: one for each synced type.
//!
//! The people and the organization are made up; addresses end in `.example`, which nobody can own.
//! The shapes follow Clerk's webhook specification (`UserEvent`, `OrganizationEvent`,
//! `OrganizationMembershipEvent`, `DeletedObject`). Reads no clock and sends nothing.

use clap::ValueEnum;
use rand::{Rng, distr::Alphanumeric};
use serde_json::{Value, json};

/// The synced types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EventType {
    /// A user signed up.
    #[value(name = "user.created")]
    UserCreated,
    /// A user changed.
    #[value(name = "user.updated")]
    UserUpdated,
    /// A user is gone.
    #[value(name = "user.deleted")]
    UserDeleted,
    /// An organization was founded.
    #[value(name = "organization.created")]
    OrganizationCreated,
    /// An organization changed.
    #[value(name = "organization.updated")]
    OrganizationUpdated,
    /// An organization is gone.
    #[value(name = "organization.deleted")]
    OrganizationDeleted,
    /// A user joined an organization.
    #[value(name = "organizationMembership.created")]
    MembershipCreated,
    /// A member's role changed.
    #[value(name = "organizationMembership.updated")]
    MembershipUpdated,
    /// A user left an organization.
    #[value(name = "organizationMembership.deleted")]
    MembershipDeleted,
}

impl EventType {
    /// The name in the event.
    pub fn name(self) -> &'static str {
        match self {
            EventType::UserCreated => "user.created",
            EventType::UserUpdated => "user.updated",
            EventType::UserDeleted => "user.deleted",
            EventType::OrganizationCreated => "organization.created",
            EventType::OrganizationUpdated => "organization.updated",
            EventType::OrganizationDeleted => "organization.deleted",
            EventType::MembershipCreated => "organizationMembership.created",
            EventType::MembershipUpdated => "organizationMembership.updated",
            EventType::MembershipDeleted => "organizationMembership.deleted",
        }
    }
}

/// How long before the event an updated record was created, in milliseconds: a day.
const AGE_OF_UPDATED_MS: i64 = 86_400_000;

/// How long after the change its event is made, in milliseconds; about what Clerk takes.
const EVENT_LAG_MS: i64 = 20;

/// An event of this type that happened at `now_ms`, about `user` where it is about one.
pub(super) fn invent(
    event_type: EventType,
    user: Option<&str>,
    instance: Option<&str>,
    now_ms: i64,
) -> Value {
    use EventType as T;
    let updated_ms = now_ms - EVENT_LAG_MS;
    let created_ms = match event_type {
        T::UserCreated | T::OrganizationCreated | T::MembershipCreated => updated_ms,
        _ => updated_ms - AGE_OF_UPDATED_MS,
    };
    let user = user.map_or_else(|| id("user"), str::to_owned);
    let times = Times {
        created_ms,
        updated_ms,
    };
    let data = match event_type {
        T::UserCreated | T::UserUpdated => user_data(&user, event_type, times),
        T::UserDeleted => json!({ "object": "user", "id": user, "deleted": true }),
        T::OrganizationCreated | T::OrganizationUpdated => {
            organization_data(&id("org"), &user, event_type, times)
        }
        T::OrganizationDeleted => json!({
            "object": "organization", "id": id("org"), "slug": "harbour-pilots", "deleted": true,
        }),
        T::MembershipCreated | T::MembershipUpdated | T::MembershipDeleted => {
            membership_data(&user, event_type, times)
        }
    };
    let mut event = json!({
        "object": "event", "type": event_type.name(), "timestamp": now_ms, "data": data,
        "event_attributes": {
            "http_request": { "client_ip": "192.0.2.7", "user_agent": "clerk-convex-sync webhook send" },
        },
    });
    if let Some(instance) = instance {
        event["instance_id"] = json!(instance);
    }
    event
}

#[derive(Clone, Copy)]
struct Times {
    created_ms: i64,
    updated_ms: i64,
}

/// The records of one invocation have fixed names, but an address of their own each: several test
/// users must not look like one person.
fn user_data(id_: &str, event_type: EventType, times: Times) -> Value {
    let address_id = id("idn");
    let number_id = id("idn");
    let tail: String = id_.chars().rev().take(8).collect();
    let address = format!("ines.{}@post.example", tail.to_lowercase());
    let last_name = match event_type {
        EventType::UserUpdated => "Varga-Lind",
        _ => "Varga",
    };
    let Times {
        created_ms,
        updated_ms,
    } = times;
    json!({
        "object": "user", "id": id_, "username": null, "first_name": "Ines", "last_name": last_name,
        "image_url": format!("https://img.clerk.com/{id_}"), "has_image": false, "locale": "en-GB",
        "external_id": null,
        "primary_email_address_id": address_id, "primary_phone_number_id": number_id,
        "primary_web3_wallet_id": null,
        "email_addresses": [{
            "object": "email_address", "id": address_id, "email_address": address, "reserved": false,
            "verification": { "object": "verification_otp", "status": "verified",
                              "strategy": "email_code", "attempts": 1, "expire_at": created_ms + 600_000 },
            "linked_to": [], "matches_sso_connection": false,
            "created_at": created_ms, "updated_at": created_ms,
        }],
        "phone_numbers": [{
            "object": "phone_number", "id": number_id, "phone_number": "+15005550123",
            "reserved_for_second_factor": false, "default_second_factor": false, "reserved": false,
            "verification": { "object": "verification_otp", "status": "verified",
                              "strategy": "phone_code", "attempts": 1, "expire_at": created_ms + 600_000 },
            "linked_to": [], "backup_codes": null,
            "created_at": created_ms, "updated_at": created_ms,
        }],
        "web3_wallets": [], "passkeys": [], "external_accounts": [], "saml_accounts": [],
        "enterprise_accounts": [],
        "public_metadata": {}, "private_metadata": {}, "unsafe_metadata": {},
        "password_enabled": true, "two_factor_enabled": false, "totp_enabled": false,
        "backup_code_enabled": false, "mfa_enabled_at": null, "mfa_disabled_at": null,
        "banned": false, "locked": false, "lockout_expires_in_seconds": null,
        "verification_attempts_remaining": 100, "delete_self_enabled": true,
        "create_organization_enabled": true, "create_organizations_limit": null,
        "legal_accepted_at": null, "last_sign_in_at": null, "last_active_at": created_ms,
        "created_at": created_ms, "updated_at": updated_ms,
    })
}

fn organization_data(id: &str, founder: &str, event_type: EventType, times: Times) -> Value {
    let name = match event_type {
        EventType::OrganizationUpdated => "Harbour Pilots & Co",
        _ => "Harbour Pilots",
    };
    json!({
        "object": "organization", "id": id, "name": name, "slug": "harbour-pilots",
        "image_url": format!("https://img.clerk.com/{id}"), "has_image": false,
        "max_allowed_memberships": 5, "admin_delete_enabled": true, "created_by": founder,
        "public_metadata": {}, "private_metadata": {},
        "created_at": times.created_ms, "updated_at": times.updated_ms,
    })
}

/// A deleted membership is sent whole, as it last was.
fn membership_data(user: &str, event_type: EventType, times: Times) -> Value {
    let founded = Times {
        created_ms: times.created_ms - AGE_OF_UPDATED_MS,
        updated_ms: times.created_ms - AGE_OF_UPDATED_MS,
    };
    let founder = id("user");
    let organization = organization_data(
        &id("org"),
        &founder,
        EventType::OrganizationCreated,
        founded,
    );
    let (role, role_name) = match event_type {
        EventType::MembershipUpdated => ("org:admin", "Admin"),
        _ => ("org:member", "Member"),
    };
    json!({
        "object": "organization_membership", "id": id("orgmem"), "role": role, "role_name": role_name,
        "permissions": ["org:sys_memberships:read"], "public_metadata": {}, "private_metadata": {},
        "organization": organization,
        "public_user_data": {
            "user_id": user, "first_name": "Ines", "last_name": "Varga", "username": null,
            "identifier": "ines@post.example", "image_url": format!("https://img.clerk.com/{user}"),
            "profile_image_url": format!("https://img.clerk.com/{user}"), "has_image": false,
            "banned": false, "deprovisioned": false,
        },
        "created_at": times.created_ms, "updated_at": times.updated_ms,
    })
}

/// An id of Clerk's kind: the prefix and 27 letters and digits.
fn id(prefix: &str) -> String {
    let random = rand::rng().sample_iter(Alphanumeric).take(27);
    format!("{prefix}_{}", random.map(char::from).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_an_event_of_its_name_and_time() {
        for &event_type in EventType::value_variants() {
            let event = invent(event_type, Some("user_1"), Some("ins_1"), 1_700_000_000_000);
            let shown = event_type.to_possible_value().unwrap();
            assert_eq!(event["type"], shown.get_name());
            assert_eq!(event["type"], event_type.name());
            assert_eq!(event["timestamp"], 1_700_000_000_000_i64);
            assert_eq!(event["instance_id"], "ins_1");
            let deleted = event["data"]["deleted"] == true;
            let updated = event["data"]["updated_at"].as_i64();
            assert_eq!(updated.is_none(), deleted, "{event}");
            assert!(updated.is_none_or(|at| at < 1_700_000_000_000), "{event}");
        }
        assert_eq!(EventType::value_variants().len(), 9);
    }

    #[test]
    fn the_user_asked_for_is_the_one_it_is_about() {
        let of = |event_type| invent(event_type, Some("user_1"), None, 1)["data"].clone();
        assert_eq!(of(EventType::UserUpdated)["id"], "user_1");
        assert_eq!(of(EventType::UserDeleted)["id"], "user_1");
        let member = of(EventType::MembershipCreated);
        assert_eq!(member["public_user_data"]["user_id"], "user_1");
        assert_eq!(of(EventType::OrganizationCreated)["created_by"], "user_1");
    }

    #[test]
    fn the_primary_address_is_among_the_addresses() {
        let user = &invent(EventType::UserCreated, None, None, 1)["data"];
        assert_eq!(
            user["primary_email_address_id"],
            user["email_addresses"][0]["id"]
        );
        assert_eq!(user["id"].as_str().unwrap().len(), "user_".len() + 27);
    }

    #[test]
    fn two_events_are_about_two_records() {
        let key = || invent(EventType::OrganizationCreated, None, None, 1)["data"]["id"].clone();
        assert_ne!(key(), key());
    }
}
