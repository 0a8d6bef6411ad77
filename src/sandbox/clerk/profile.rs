//! What may be set on a user, through which door, and in which form.
//!
//! One function reads the bodies of `POST /users`, of `PATCH /users/{id}` and of the control API.
//! The doors differ in the keys they take: PATCH refuses metadata since API version 2026-05-12
//! and never takes addresses; the control API takes what only Clerk itself would set. Times are
//! RFC 3339 texts as in Clerk's API; the control API also takes milliseconds.

use super::ids::{Id, IdSource};
use super::metadata::Metadata;
use super::refusal::Refusal;
use super::users::{Account, Contact, USER, User, contact};
use chrono::DateTime;
use serde_json::{Map, Value};

/// Longest first or last name, as in Clerk's form validation.
const MAX_NAME: usize = 256;
/// Addresses or numbers one user may have here; Clerk documents no limit.
const MAX_CONTACTS: usize = 100;

/// Who brings the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// `POST /users`.
    Create,
    /// `PATCH /users/{id}`; API versions before 2026-05-12 still take metadata.
    Patch {
        /// Whether metadata is taken.
        metadata: bool,
    },
    /// The control API, which plays the user, the Dashboard and Clerk's own jobs.
    Control,
}

/// Applies every key of `body` to `user`, or refuses the first that does not fit.
pub fn apply(
    user: &mut User,
    body: &Map<String, Value>,
    door: Door,
    now: i64,
    ids: &mut IdSource,
) -> Result<(), Refusal> {
    let verified = !body
        .get("unverified")
        .and_then(Value::as_bool)
        .unwrap_or(false);
    for (key, value) in body {
        if !taken(key, door) {
            return Err(Refusal::ParamUnknown(key.clone()));
        }
        match key.as_str() {
            "email_address" => {
                let old = std::mem::take(&mut user.emails);
                user.emails = contacts(key, value, &old, verified, now, ids)?;
                user.primary_email = still_primary(&user.emails, user.primary_email);
            }
            "phone_number" => {
                let old = std::mem::take(&mut user.phones);
                user.phones = contacts(key, value, &old, verified, now, ids)?;
                user.primary_phone = still_primary(&user.phones, user.primary_phone);
            }
            "google" => user.accounts = google(value, user.primary_address(), now, ids)?,
            _ => set_field(user, key, value, now)?,
        }
    }
    // Last, since the addresses of the same body must be known by then.
    set_primary(user, body)
}

/// The id that a control call chose for a new user.
pub fn chosen_id(value: &Value) -> Result<Id, Refusal> {
    let text = value.as_str().unwrap_or_default();
    Id::parse(USER, text)
        .ok_or_else(|| Refusal::ParamFormat("id".into(), "must be user_ and 27 letters".into()))
}

fn taken(key: &str, door: Door) -> bool {
    match key {
        "first_name"
        | "last_name"
        | "username"
        | "external_id"
        | "locale"
        | "password"
        | "password_digest"
        | "password_hasher"
        | "skip_password_checks"
        | "totp_secret"
        | "backup_codes"
        | "delete_self_enabled"
        | "create_organization_enabled"
        | "create_organizations_limit"
        | "legal_accepted_at"
        | "skip_legal_checks"
        | "bypass_client_trust"
        | "created_at" => true,
        "public_metadata" | "private_metadata" | "unsafe_metadata" => {
            !matches!(door, Door::Patch { metadata: false })
        }
        "email_address" | "phone_number" => !matches!(door, Door::Patch { .. }),
        "skip_password_requirement" => door == Door::Create,
        "primary_email_address_id"
        | "primary_phone_number_id"
        | "primary_web3_wallet_id"
        | "notify_primary_email_address_changed"
        | "profile_image_id"
        | "sign_out_of_other_sessions" => door != Door::Create,
        "id"
        | "unverified"
        | "banned"
        | "locked"
        | "deprovisioned"
        | "updated_at"
        | "google"
        | "last_sign_in_at"
        | "last_active_at"
        | "primary_email_address" => door == Door::Control,
        _ => false,
    }
}

fn set_field(user: &mut User, key: &str, value: &Value, now: i64) -> Result<(), Refusal> {
    match key {
        "first_name" => user.first_name = text(key, value)?,
        "last_name" => user.last_name = text(key, value)?,
        "username" => user.username = text(key, value)?,
        "external_id" => user.external_id = text(key, value)?,
        "locale" => user.rare_mut().locale = text(key, value)?,
        "public_metadata" => user.public_metadata = Metadata::replaced(key, &object(value))?,
        "private_metadata" => user.private_metadata = Metadata::replaced(key, &object(value))?,
        "unsafe_metadata" => user.unsafe_metadata = Metadata::replaced(key, &object(value))?,
        "password" | "password_digest" if !value.is_null() => {
            user.password_enabled = true;
            user.rare_mut().password_last_updated_at = Some(now);
        }
        "profile_image_id" => user.has_image = !value.is_null(),
        "delete_self_enabled" => user.delete_self_enabled = flag(key, value)?.unwrap_or(true),
        "create_organization_enabled" => {
            user.create_organization_enabled = flag(key, value)?.unwrap_or(true);
        }
        "bypass_client_trust" => {
            user.rare_mut().bypass_client_trust = flag(key, value)?.unwrap_or(false);
        }
        "create_organizations_limit" => {
            let limit = match value {
                Value::Null => None,
                number => Some(count(key, number)?),
            };
            user.rare_mut().create_organizations_limit = limit;
        }
        "legal_accepted_at" => user.rare_mut().legal_accepted_at = time(key, value)?,
        "created_at" => user.created_at = time(key, value)?.unwrap_or(user.created_at),
        "updated_at" => user.updated_at = time(key, value)?.unwrap_or(user.updated_at),
        "last_sign_in_at" => user.last_sign_in_at = time(key, value)?,
        "last_active_at" => user.last_active_at = time(key, value)?,
        "banned" => user.banned = flag(key, value)?.unwrap_or(false),
        "locked" => user.locked = flag(key, value)?.unwrap_or(false),
        "deprovisioned" => user.rare_mut().deprovisioned = flag(key, value)?.unwrap_or(false),
        // The rest is accepted and shows nowhere in the user object.
        _ => {}
    }
    Ok(())
}

fn set_primary(user: &mut User, body: &Map<String, Value>) -> Result<(), Refusal> {
    let own = |param: &str, value: &Value, contacts: &[Contact]| {
        let id = value.as_str().and_then(|t| Id::parse("idn_", t));
        let found = contacts.iter().find(|c| Some(c.id) == id && c.verified);
        found
            .map(|c| c.id)
            .ok_or_else(|| Refusal::ResourceMissing(param.to_owned()))
    };
    if let Some(value) = body.get("primary_email_address_id") {
        let none = value.is_null();
        let key = "primary_email_address_id";
        user.primary_email = if none {
            None
        } else {
            Some(own(key, value, &user.emails)?)
        };
    }
    if let Some(value) = body.get("primary_phone_number_id") {
        let none = value.is_null();
        let key = "primary_phone_number_id";
        user.primary_phone = if none {
            None
        } else {
            Some(own(key, value, &user.phones)?)
        };
    }
    if let Some(value) = body.get("primary_web3_wallet_id")
        && !value.is_null()
    {
        return Err(Refusal::ResourceMissing(
            "primary_web3_wallet_id".to_owned(),
        ));
    }
    if let Some(value) = body.get("primary_email_address") {
        let wanted = value.as_str();
        user.primary_email = user
            .emails
            .iter()
            .find(|e| Some(&*e.value) == wanted)
            .map(|e| e.id);
    }
    Ok(())
}

/// Newest first; a value that the user already had keeps its id.
fn contacts(
    param: &str,
    value: &Value,
    old: &[Contact],
    verified: bool,
    now: i64,
    ids: &mut IdSource,
) -> Result<Box<[Contact]>, Refusal> {
    let values = match value {
        Value::Array(values) => values.as_slice(),
        single @ Value::String(_) => std::slice::from_ref(single),
        Value::Null => &[],
        _ => {
            return Err(Refusal::ParamFormat(
                param.into(),
                "must be an array.".into(),
            ));
        }
    };
    if values.len() > MAX_CONTACTS {
        return Err(Refusal::ArraySize(param.to_owned(), MAX_CONTACTS));
    }
    let mut list = Vec::with_capacity(values.len());
    for value in values.iter().rev() {
        let text = value.as_str().unwrap_or_default().trim();
        let fits = match param {
            "email_address" => text.contains('@') && !text.contains(char::is_whitespace),
            _ => text.starts_with('+') && text[1..].bytes().all(|b| b.is_ascii_digit()),
        };
        if !fits {
            let what = format!("must be a valid {}.", param.replace('_', " "));
            return Err(Refusal::ParamFormat(param.into(), what));
        }
        let text = text.to_lowercase();
        let kept = old.iter().find(|c| *c.value == *text).cloned();
        list.push(kept.unwrap_or_else(|| contact(ids, &text, verified, now)));
    }
    Ok(list.into_boxed_slice())
}

/// The primary contact stays while it is there; else the first that was given, the last here.
fn still_primary(contacts: &[Contact], primary: Option<Id>) -> Option<Id> {
    let kept = contacts.iter().find(|c| Some(c.id) == primary);
    kept.or(contacts.last()).map(|c| c.id)
}

fn google(
    value: &Value,
    email: Option<&str>,
    now: i64,
    ids: &mut IdSource,
) -> Result<Box<[Account]>, Refusal> {
    let subject = match value {
        Value::Null => return Ok(Box::default()),
        Value::String(subject) => subject.as_str(),
        _ => {
            return Err(Refusal::ParamFormat(
                "google".into(),
                "must be a string.".into(),
            ));
        }
    };
    Ok(Box::new([Account {
        id: ids.id(),
        identification: ids.id(),
        provider: "oauth_google".into(),
        provider_user_id: subject.into(),
        email: email.unwrap_or_default().into(),
        created_at: now,
    }]))
}

/// Null means "no metadata given" where a body creates or patches a user.
fn object(value: &Value) -> Value {
    if value.is_null() {
        Value::Object(Map::new())
    } else {
        value.clone()
    }
}

/// A text, or none for null and for the empty text.
pub fn text(param: &str, value: &Value) -> Result<Option<Box<str>>, Refusal> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) if text.is_empty() => Ok(None),
        Value::String(text) if text.chars().count() > MAX_NAME => {
            Err(Refusal::TooLong(param.to_owned(), MAX_NAME))
        }
        Value::String(text) => Ok(Some(text.as_str().into())),
        _ => Err(Refusal::ParamFormat(
            param.into(),
            "must be a string.".into(),
        )),
    }
}

/// True, false, or none for null.
pub fn flag(param: &str, value: &Value) -> Result<Option<bool>, Refusal> {
    match value {
        Value::Null => Ok(None),
        Value::Bool(flag) => Ok(Some(*flag)),
        _ => Err(Refusal::ParamFormat(
            param.into(),
            "must be a boolean.".into(),
        )),
    }
}

/// A whole number that is not negative.
pub fn count(param: &str, value: &Value) -> Result<u32, Refusal> {
    let number = value.as_u64().and_then(|n| u32::try_from(n).ok());
    number.ok_or_else(|| Refusal::ParamFormat(param.into(), "must be an integer.".into()))
}

/// Unix milliseconds from an RFC 3339 text or a number; none for null.
pub fn time(param: &str, value: &Value) -> Result<Option<i64>, Refusal> {
    let read = match value {
        Value::Null => return Ok(None),
        Value::Number(ms) => ms.as_i64(),
        Value::String(text) => DateTime::parse_from_rfc3339(text)
            .ok()
            .map(|t| t.timestamp_millis()),
        _ => None,
    };
    let wrong = || Refusal::ParamFormat(param.into(), "must be an RFC 3339 date and time.".into());
    read.map(Some).ok_or_else(wrong)
}
