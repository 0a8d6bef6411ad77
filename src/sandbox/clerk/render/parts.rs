//! The parts of Clerk's objects that are objects themselves, and what is derived from names.
//!
//! Addresses and numbers with their verification, external accounts, picture URLs, the names and
//! permissions of roles. Nothing here is kept: all of it follows from the compact state.

use crate::sandbox::clerk::ids::Prefixed;
use crate::sandbox::clerk::state::Settings;
use crate::sandbox::clerk::users::{Account, Contact, USER, User};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

/// How long a verification code would have been valid, in milliseconds.
const CODE_VALID_MS: i64 = 600_000;

/// The addresses or the numbers of a user.
pub struct Contacts<'a> {
    /// `email_address` or `phone_number`.
    pub kind: &'static str,
    /// In Clerk's order, newest first.
    pub list: &'a [Contact],
    /// Whether an OAuth provider vouched for them.
    pub oauth: bool,
}

impl Serialize for Contacts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.list.iter().map(|c| self.one(c)))
    }
}

impl Contacts<'_> {
    fn one(&self, contact: &Contact) -> Value {
        let email = self.kind == "email_address";
        let strategy = match (email, self.oauth) {
            (true, true) => "from_oauth_google",
            (true, false) => "email_code",
            (false, _) => "phone_code",
        };
        let coded = !(email && self.oauth);
        let object = if coded {
            "verification_otp"
        } else {
            "verification_from_oauth"
        };
        let status = if contact.verified {
            "verified"
        } else {
            "unverified"
        };
        let mut one = json!({
            "object": self.kind,
            "id": contact.id.with("idn_").to_string(),
            "reserved": false,
            "linked_to": [],
            "verification": {
                "object": object,
                "status": status,
                "strategy": strategy,
                "attempts": coded.then_some(1),
                "expire_at": coded.then_some(contact.created_at + CODE_VALID_MS),
            },
            "created_at": contact.created_at,
            "updated_at": contact.updated_at,
        });
        one[self.kind] = json!(contact.value);
        if email {
            one["matches_sso_connection"] = json!(false);
        } else {
            one["reserved_for_second_factor"] = json!(false);
            one["default_second_factor"] = json!(false);
            one["backup_codes"] = Value::Null;
        }
        one
    }
}

/// An external account with its verification.
pub fn account(account: &Account, user: &User) -> Value {
    json!({
        "object": "external_account",
        "id": account.id.with("eac_").to_string(),
        "provider": account.provider,
        "identification_id": account.identification.with("idn_").to_string(),
        "provider_user_id": account.provider_user_id,
        "approved_scopes": "email openid profile",
        "email_address": account.email,
        "first_name": user.first_name.as_deref().unwrap_or_default(),
        "last_name": user.last_name.as_deref().unwrap_or_default(),
        "username": null,
        "public_metadata": {},
        "label": null,
        "created_at": account.created_at,
        "updated_at": account.created_at,
        "verification": {
            "object": "verification_oauth",
            "status": "verified",
            "strategy": account.provider,
            "attempts": null,
            "expire_at": account.created_at + CODE_VALID_MS,
        },
    })
}

/// The URL of a user's picture: the uploaded one, or one made of the initials.
pub fn user_image(user: &User, settings: &Settings) -> String {
    let letter = |name: &Option<Box<str>>| name.as_ref().and_then(|n| n.chars().next());
    let initials: String = [letter(&user.first_name), letter(&user.last_name)]
        .into_iter()
        .flatten()
        .collect();
    if user.has_image {
        let src = format!("https://images.clerk.dev/uploaded/img_{:?}", user.id);
        return image(&json!({ "type": "proxy", "src": src }));
    }
    generated_image(user.id.with(USER), &initials.to_uppercase(), settings)
}

/// Generated avatars carry the initials, so a rename changes the URL.
pub fn generated_image(id: Prefixed, initials: &str, settings: &Settings) -> String {
    let mut source =
        json!({ "type": "default", "iid": settings.instance_id, "rid": id.to_string() });
    if !initials.is_empty() {
        source["initials"] = json!(initials);
    }
    image(&source)
}

fn image(source: &Value) -> String {
    format!(
        "https://img.clerk.com/{}",
        STANDARD_NO_PAD.encode(source.to_string())
    )
}

/// What the Dashboard calls a role.
pub fn role_name(role: &str) -> String {
    let name = role.trim_start_matches("org:");
    let mut letters = name.chars();
    let first = letters.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

/// The system permissions of a role.
pub fn permissions(role: &str) -> &'static [&'static str] {
    match role {
        "org:admin" => &[
            "org:sys_profile:manage",
            "org:sys_profile:delete",
            "org:sys_memberships:read",
            "org:sys_memberships:manage",
            "org:sys_domains:read",
            "org:sys_domains:manage",
        ],
        _ => &["org:sys_memberships:read"],
    }
}
