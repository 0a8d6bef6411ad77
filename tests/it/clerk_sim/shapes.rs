//! Every answer and every event of the simulated Clerk against Clerk's OpenAPI description.
//!
//! Prints what they were held against, as the description lies outside the project.

use super::openapi::Description;
use super::{Api, start};
use clerk_convex_sync::sandbox::clerk::ClerkSim;
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn hold(description: &Description, schema: &str, value: &Value, what: &str) {
    let differences = description.differences(schema, value);
    assert!(
        differences.is_empty(),
        "{what} is no {schema}: {differences:#?}"
    );
}

/// Two users who have between them everything that a user can have here.
fn two_users(sim: &ClerkSim) -> (String, String) {
    let ada = json!({"email_address": ["ada@example.com", "ada@work.example"], "google": "117",
        "phone_number": ["+15550001111"], "external_id": "x-1", "first_name": "Ada",
        "public_metadata": {"role": "admin"}, "locale": "en-GB", "deprovisioned": true,
        "legal_accepted_at": 1_700_000_000_000_i64, "create_organizations_limit": 3,
        "password": "correct horse"});
    let grace = json!({"email_address": ["grace@example.com"], "unverified": true,
        "locked": true, "banned": true});
    (
        sim.create_user(ada).expect("a user"),
        sim.create_user(grace).expect("a user"),
    )
}

/// Makes a call that must succeed and holds its answer against a schema.
async fn called(d: &Description, api: &Api, schema: &str, call: (Method, &str, Value)) -> Value {
    let (method, path, body) = call;
    let (status, answer) = api.send(method, path, body).await;
    assert_eq!(status, 200, "{path}: {answer}");
    hold(d, schema, &answer, path);
    answer
}

fn hold_events(description: &Description, sim: &ClerkSim) -> BTreeSet<Box<str>> {
    let mut kinds = BTreeSet::new();
    for message in sim.messages() {
        let body = sim.message_body(&message.id).expect("kept");
        let event: Value = serde_json::from_slice(&body).expect("JSON");
        hold(description, "WebhookEventPayload", &event, &message.kind);
        let schema = match &*message.kind {
            "user.deleted" | "organization.deleted" => "DeletedObject",
            "user.created" | "user.updated" => "User",
            "organization.created" | "organization.updated" => "Organization",
            _ => "OrganizationMembership",
        };
        hold(description, schema, &event["data"], &message.kind);
        assert!(
            event["timestamp"].as_i64() > Some(100_000_000_000),
            "milliseconds"
        );
        kinds.insert(message.kind);
    }
    kinds
}

#[tokio::test]
async fn answers_about_users_are_as_clerk_describes_them() {
    let d = Description::load();
    println!("answers are held against: {}", d.source);
    let (sim, api) = start().await;
    sim.seed_users(300);
    let (ada, _) = two_users(&sim);
    for user in api.rows("/users?limit=500").await {
        hold(&d, "User", &user, "a row of GET /users");
    }
    let user = format!("/users/{ada}");
    let (metadata, ban) = (format!("{user}/metadata"), format!("{user}/ban"));
    for call in [
        (Method::GET, user.as_str(), Value::Null),
        (Method::PATCH, &user, json!({"first_name": "Augusta"})),
        (
            Method::PATCH,
            &metadata,
            json!({"unsafe_metadata": {"a": 1}}),
        ),
        (
            Method::PUT,
            &metadata,
            json!({"private_metadata": {"b": 2}}),
        ),
        (
            Method::POST,
            "/users",
            json!({"email_address": ["new@example.com"]}),
        ),
        (Method::POST, &ban, json!({})),
    ] {
        called(&d, &api, "User", call).await;
    }
    called(
        &d,
        &api,
        "TotalCount",
        (Method::GET, "/users/count", Value::Null),
    )
    .await;
    called(
        &d,
        &api,
        "DeletedObject",
        (Method::DELETE, &user, Value::Null),
    )
    .await;
    for path in [
        "/users/user_nobody",
        "/users?limit=none",
        "/organizations/org_none",
    ] {
        let (status, body) = api.get(path).await;
        assert!(status.is_client_error());
        hold(&d, "ClerkErrors", &body, path);
    }
    hold_events(&d, &sim);
}

#[tokio::test]
async fn answers_about_organizations_are_as_clerk_describes_them() {
    let d = Description::load();
    println!("answers are held against: {}", d.source);
    let (sim, api) = start().await;
    let (ada, grace) = two_users(&sim);
    let make = (
        Method::POST,
        "/organizations",
        json!({"name": "Engines", "created_by": ada}),
    );
    let organization = called(&d, &api, "Organization", make).await;
    let own = format!(
        "/organizations/{}",
        organization["id"].as_str().expect("an id")
    );
    let counted = format!("{own}?include_members_count=true");
    let (metadata, members) = (format!("{own}/metadata"), format!("{own}/memberships"));
    let member = format!("{members}/{grace}");
    let member_metadata = format!("{member}/metadata");
    let of_user = format!("/users/{grace}/organization_memberships");
    let add = json!({"user_id": grace, "role": "org:member", "public_metadata": null});
    let (one, many) = ("OrganizationMembership", "OrganizationMemberships");
    for (schema, method, path, body) in [
        (one, Method::POST, members.as_str(), add),
        (one, Method::PATCH, &member, json!({"role": "org:admin"})),
        (
            one,
            Method::PATCH,
            &member_metadata,
            json!({"public_metadata": {"a": 1}}),
        ),
        (
            "Organization",
            Method::PATCH,
            &own,
            json!({"name": "Machines"}),
        ),
        (
            "Organization",
            Method::PATCH,
            &metadata,
            json!({"public_metadata": {"a": 1}}),
        ),
        (
            "Organization",
            Method::PUT,
            &metadata,
            json!({"private_metadata": {}}),
        ),
        ("Organization", Method::GET, &counted, Value::Null),
        (
            "Organizations",
            Method::GET,
            "/organizations?include_members_count=true",
            Value::Null,
        ),
        (many, Method::GET, &members, Value::Null),
        (many, Method::GET, &of_user, Value::Null),
        (many, Method::GET, "/organization_memberships", Value::Null),
        (one, Method::DELETE, &member, Value::Null),
        ("DeletedObject", Method::DELETE, &own, Value::Null),
    ] {
        called(&d, &api, schema, (method, path, body)).await;
    }
    sim.update_user(&ada, json!({"first_name": "Augusta"}))
        .expect("a change");
    sim.delete_user(&ada).expect("there");
    let kinds = hold_events(&d, &sim);
    assert_eq!(kinds.len(), 9, "{kinds:?}");
}

#[tokio::test]
async fn the_check_itself_can_fail() {
    let description = Description::load();
    let (sim, _) = start().await;
    let id = sim
        .create_user(json!({"email_address": "a@example.com"}))
        .expect("a user");
    let mut user = sim.user(&id).expect("there");
    assert!(description.differences("User", &user).is_empty());
    user.as_object_mut().expect("an object").remove("has_image");
    assert_eq!(
        description.differences("User", &user),
        ["$.has_image: missing"]
    );
    assert!(!description.differences("User", &json!([])).is_empty());
}
