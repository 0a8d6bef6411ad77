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

// Written field by field and not through `Value`: a page of 500 users is built of thousands of these.
#[derive(Serialize)]
struct ContactJson<'a> {
    object: &'static str,
    id: Prefixed,
    #[serde(skip_serializing_if = "Option::is_none")]
    email_address: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    phone_number: Option<&'a str>,
    reserved: bool,
    linked_to: [(); 0],
    #[serde(skip_serializing_if = "Option::is_none")]
    matches_sso_connection: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reserved_for_second_factor: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    default_second_factor: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backup_codes: Option<()>,
    verification: VerificationJson<'a>,
    created_at: i64,
    updated_at: i64,
}

#[derive(Serialize)]
struct VerificationJson<'a> {
    object: &'static str,
    status: &'static str,
    strategy: &'a str,
    attempts: Option<u32>,
    expire_at: Option<i64>,
}

impl Contacts<'_> {
    fn one<'c>(&self, contact: &'c Contact) -> ContactJson<'c> {
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
        let phone = !email;
        ContactJson {
            object: self.kind,
            id: contact.id.with("idn_"),
            email_address: email.then_some(&*contact.value),
            phone_number: phone.then_some(&*contact.value),
            reserved: false,
            linked_to: [],
            matches_sso_connection: email.then_some(false),
            reserved_for_second_factor: phone.then_some(false),
            default_second_factor: phone.then_some(false),
            // `Some(())` is written as null.
            backup_codes: phone.then_some(()),
            verification: VerificationJson {
                object,
                status,
                strategy,
                attempts: coded.then_some(1),
                expire_at: coded.then_some(contact.created_at + CODE_VALID_MS),
            },
            created_at: contact.created_at,
            updated_at: contact.updated_at,
        }
    }
}

/// The external accounts of a user.
pub struct Accounts<'a>(pub &'a User);

#[derive(Serialize)]
struct NoMetadata {}

#[derive(Serialize)]
struct AccountJson<'a> {
    object: &'static str,
    id: Prefixed,
    provider: &'a str,
    identification_id: Prefixed,
    provider_user_id: &'a str,
    approved_scopes: &'static str,
    email_address: &'a str,
    first_name: &'a str,
    last_name: &'a str,
    username: Option<&'a str>,
    public_metadata: NoMetadata,
    label: Option<&'a str>,
    created_at: i64,
    updated_at: i64,
    verification: VerificationJson<'a>,
}

impl Serialize for Accounts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let user = self.0;
        serializer.collect_seq(user.accounts.iter().map(|one| account(one, user)))
    }
}

fn account<'a>(account: &'a Account, user: &'a User) -> AccountJson<'a> {
    AccountJson {
        object: "external_account",
        id: account.id.with("eac_"),
        provider: &account.provider,
        identification_id: account.identification.with("idn_"),
        provider_user_id: &account.provider_user_id,
        approved_scopes: "email openid profile",
        email_address: &account.email,
        first_name: user.first_name.as_deref().unwrap_or_default(),
        last_name: user.last_name.as_deref().unwrap_or_default(),
        username: None,
        public_metadata: NoMetadata {},
        label: None,
        created_at: account.created_at,
        updated_at: account.created_at,
        verification: VerificationJson {
            object: "verification_oauth",
            status: "verified",
            strategy: &account.provider,
            attempts: None,
            expire_at: Some(account.created_at + CODE_VALID_MS),
        },
    }
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
        return image(&Picture::Proxy { src: &src });
    }
    generated_image(user.id.with(USER), &initials.to_uppercase(), settings)
}

/// Generated avatars carry the initials, so a rename changes the URL.
pub fn generated_image(id: Prefixed, initials: &str, settings: &Settings) -> String {
    image(&Picture::Default {
        iid: &settings.instance_id,
        rid: id,
        initials: Some(initials).filter(|initials| !initials.is_empty()),
    })
}

/// What a picture's URL says of it.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Picture<'a> {
    Proxy {
        src: &'a str,
    },
    Default {
        iid: &'a str,
        rid: Prefixed,
        #[serde(skip_serializing_if = "Option::is_none")]
        initials: Option<&'a str>,
    },
}

fn image(source: &Picture<'_>) -> String {
    // Texts only: it always serialises.
    let source = serde_json::to_vec(source).unwrap_or_default();
    let mut url = String::with_capacity(24 + source.len().div_ceil(3) * 4);
    url.push_str("https://img.clerk.com/");
    STANDARD_NO_PAD.encode_string(source, &mut url);
    url
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
