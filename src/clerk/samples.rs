//! Events for tests: Clerk's published examples where they lie beside the project, else our own.
//!
//! Each test that reads them says which it got. Our own keep to the shapes that matter: full members,
//! missing members, `null` metadata, times in seconds. All people are invented.

use std::{fs, path::PathBuf};

/// Where the published examples lie, if they do.
fn published() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/reference/clerk-webhooks")
}

/// All example events as (name, body), and a word on where they come from.
pub(crate) fn events() -> (&'static str, Vec<(String, String)>) {
    let mut found: Vec<(String, String)> = fs::read_dir(published())
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let wanted = name.ends_with(".json") && name != "signature-vectors.json";
            let body = wanted.then(|| fs::read_to_string(entry.path()))?.ok()?;
            Some((name, body))
        })
        .collect();
    found.sort();
    let source = if found.is_empty() {
        found = own();
        "fixtures of our own"
    } else {
        "the published examples"
    };
    println!("events: {} from {source}", found.len());
    (source, found)
}

fn own() -> Vec<(String, String)> {
    [
        ("own.user.created.json", USER_CREATED),
        ("own.user.deleted.json", USER_DELETED),
        ("own.user.created.example.json", USER_EXAMPLE),
        ("own.organization.created.json", ORGANIZATION_CREATED),
        (
            "own.organizationMembership.created.json",
            MEMBERSHIP_CREATED,
        ),
        ("own.session.created.json", SESSION_CREATED),
    ]
    .map(|(name, body)| (name.to_owned(), body.to_owned()))
    .to_vec()
}

/// A user with two addresses, the primary one second.
pub(crate) const USER_CREATED: &str = r#"{"data":{"object":"user","id":"user_3aaaaaaaaaaaaaaaaaaaaaaaaaa",
"first_name":"Mary","last_name":"Somerville","username":null,"external_id":null,"has_image":false,
"image_url":"https://img.clerk.com/a","primary_email_address_id":"idn_2","primary_phone_number_id":null,
"email_addresses":[{"id":"idn_1","email_address":"old@example.com","verification":null},
{"id":"idn_2","email_address":"mary@example.com","verification":{"status":"verified","strategy":"email_code"}}],
"phone_numbers":[{"id":"idn_3","phone_number":"+15555550100"}],"public_metadata":{"role":"editor","plan":"pro"},
"private_metadata":{"crm":7},"unsafe_metadata":{"role":"admin"},"created_at":1762939021608,"updated_at":1762939021626},
"event_attributes":{"http_request":{"client_ip":"203.0.113.24","user_agent":"x"}},"instance_id":"ins_a",
"object":"event","timestamp":1762939021644,"type":"user.created"}"#;

/// A deleted user with the time in seconds.
pub(crate) const USER_DELETED: &str = r#"{"data":{"object":"user","id":"user_3aaaaaaaaaaaaaaaaaaaaaaaaaa","deleted":true},
"instance_id":"ins_a","object":"event","timestamp":1762948024,"type":"user.deleted"}"#;

const USER_EXAMPLE: &str = r#"{"data":{"object":"user","id":"user_3bbbbbbbbbbbbbbbbbbbbbbbbbb","birthday":"",
"email_addresses":[],"primary_email_address_id":"idn_9","private_metadata":null,"public_metadata":null,
"created_at":1654012591514,"updated_at":1654012591835},"object":"event","timestamp":1654012591,"type":"user.created"}"#;

/// An organization without a slug.
pub(crate) const ORGANIZATION_CREATED: &str = r#"{"data":{"object":"organization","id":"org_3aaaaaaaaaaaaaaaaaaaaaaaaaa",
"name":"Royal Society","created_at":1762939100000,"updated_at":1762939100000},"instance_id":"ins_a","object":"event",
"timestamp":1762939100040,"type":"organization.created"}"#;

/// A membership of that organization.
pub(crate) const MEMBERSHIP_CREATED: &str = r#"{"data":{"object":"organization_membership","id":"orgmem_3aaaaaaaaaaaaaaaaaaaaaaaaa",
"role":"org:admin","organization":{"object":"organization","id":"org_3aaaaaaaaaaaaaaaaaaaaaaaaaa"},
"public_user_data":{"user_id":"user_3aaaaaaaaaaaaaaaaaaaaaaaaaa"},"created_at":1762939100010,"updated_at":1762939100010},
"instance_id":"ins_a","object":"event","timestamp":1762939100055,"type":"organizationMembership.created"}"#;

const SESSION_CREATED: &str = r#"{"data":{"id":"sess_1"},"object":"event","timestamp":1762939100055,"type":"session.created"}"#;
