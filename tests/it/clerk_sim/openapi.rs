//! Holds an answer against Clerk's OpenAPI description: the part of JSON Schema that it uses.
//!
//! The description lies outside the project; where it is absent, lists of required keys written
//! for this test stand in, and the test says so. Knows `$ref`, `type`, `nullable`, `enum`,
//! `required`, `properties`, `additionalProperties`, `items`, `allOf`, `anyOf`, `oneOf`; patterns
//! are not checked.

use serde_json::{Value, json};
use std::path::PathBuf;

/// What answers are held against.
pub struct Description {
    document: Value,
    /// Where it came from.
    pub source: String,
}

impl Description {
    /// Reads the description beside the project, or falls back to key lists.
    pub fn load() -> Self {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("../shared/reference/clerk-openapi.json");
        match std::fs::read(&path) {
            Ok(bytes) => Self {
                document: serde_json::from_slice(&bytes).expect("the description is JSON"),
                source: "clerk-openapi.json".to_owned(),
            },
            Err(_) => Self {
                document: key_lists(),
                source: "required keys written for this test".to_owned(),
            },
        }
    }

    /// Every way in which `value` differs from the schema of that name.
    pub fn differences(&self, schema: &str, value: &Value) -> Vec<String> {
        let mut found = Vec::new();
        let schema = &self.document["components"]["schemas"][schema];
        assert!(schema.is_object(), "no such schema");
        self.check(schema, value, "$", &mut found);
        found
    }

    fn check(&self, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
        if let Some(name) = schema["$ref"].as_str() {
            let name = name.rsplit('/').next().unwrap_or_default();
            return self.check(
                &self.document["components"]["schemas"][name],
                value,
                at,
                found,
            );
        }
        if value.is_null() && schema["nullable"] == json!(true) {
            return;
        }
        if let Some(kind) = schema["type"].as_str()
            && !is_of(kind, value)
        {
            found.push(format!("{at}: not {kind}: {value}"));
            return;
        }
        if let Some(allowed) = schema["enum"].as_array()
            && !allowed.contains(value)
        {
            found.push(format!("{at}: {value} is none of {allowed:?}"));
        }
        for part in list(&schema["allOf"]) {
            self.check(part, value, at, found);
        }
        for choice in ["anyOf", "oneOf"] {
            let choices = list(&schema[choice]);
            let fits = |part: &&Value| {
                let mut inner = Vec::new();
                self.check(part, value, at, &mut inner);
                inner.is_empty()
            };
            if !choices.is_empty() && !choices.iter().any(|part| fits(&part)) {
                found.push(format!("{at}: fits nothing of {choice}: {value}"));
            }
        }
        if let Some(object) = value.as_object() {
            for key in list(&schema["required"]).iter().filter_map(Value::as_str) {
                if !object.contains_key(key) {
                    found.push(format!("{at}.{key}: missing"));
                }
            }
            for (key, inner) in object {
                let at = format!("{at}.{key}");
                match schema["properties"].get(key) {
                    Some(part) => self.check(part, inner, &at, found),
                    None if schema["additionalProperties"] == json!(false) => {
                        found.push(format!("{at}: unknown"));
                    }
                    None => {}
                }
            }
        }
        for (n, item) in list(value).iter().enumerate() {
            self.check(&schema["items"], item, &format!("{at}[{n}]"), found);
        }
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn is_of(kind: &str, value: &Value) -> bool {
    match kind {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => true,
    }
}

/// The keys that Clerk's objects always have.
fn key_lists() -> Value {
    let of = |keys: &str| {
        let keys: Vec<&str> = keys.split_whitespace().collect();
        json!({ "type": "object", "required": keys })
    };
    let mut list = of("data total_count");
    list["properties"] = json!({ "data": { "type": "array" } });
    json!({ "components": { "schemas": {
        "User": of("id object username first_name last_name has_image primary_email_address_id \
            primary_phone_number_id primary_web3_wallet_id password_enabled two_factor_enabled \
            totp_enabled backup_code_enabled email_addresses phone_numbers web3_wallets passkeys \
            external_accounts saml_accounts enterprise_accounts public_metadata external_id \
            last_sign_in_at banned locked lockout_expires_in_seconds created_at updated_at \
            verification_attempts_remaining delete_self_enabled create_organization_enabled \
            last_active_at mfa_enabled_at mfa_disabled_at legal_accepted_at"),
        "Organization": of("object id name slug has_image max_allowed_memberships \
            admin_delete_enabled public_metadata created_at updated_at"),
        "OrganizationMembership": of("object id role permissions public_metadata created_at \
            updated_at organization"),
        "DeletedObject": of("object deleted"),
        "TotalCount": of("object total_count"),
        "ClerkErrors": of("errors"),
        "Organizations": list.clone(),
        "OrganizationMemberships": list,
        "WebhookEventPayload": of("object type timestamp instance_id"),
    } } })
}
