//! Every answer and every event of the simulated Clerk against Clerk's OpenAPI description.

use super::openapi::Description;
use super::start;
use reqwest::Method;
use serde_json::{Value, json};

fn hold(description: &Description, schema: &str, value: &Value, what: &str) {
    let differences = description.differences(schema, value);
    assert!(
        differences.is_empty(),
        "{what} is no {schema}: {differences:#?}"
    );
}

#[tokio::test]
async fn answers_and_events_are_as_clerk_describes_them() {
    let description = Description::load();
    println!("answers are held against: {}", description.source);
    let (sim, api) = start().await;
    sim.seed_users(300);
    let ada = json!({"email_address": ["ada@example.com", "ada@work.example"], "google": "117",
        "phone_number": ["+15550001111"], "external_id": "x-1", "first_name": "Ada",
        "public_metadata": {"role": "admin"}, "locale": "en-GB", "deprovisioned": true,
        "legal_accepted_at": 1_700_000_000_000_i64, "create_organizations_limit": 3,
        "password": "correct horse"});
    let ada = sim.create_user(ada).expect("a user");
    let grace = json!({"email_address": ["grace@example.com"], "unverified": true,
        "locked": true, "banned": true});
    let grace = sim.create_user(grace).expect("a user");

    for user in api.rows("/users?limit=500").await {
        hold(&description, "User", &user, "a row of GET /users");
    }
    let (_, count) = api.get("/users/count").await;
    hold(&description, "TotalCount", &count, "GET /users/count");
    let user = format!("/users/{ada}");
    for (method, path, body) in [
        (
            Method::PATCH,
            user.clone(),
            json!({"first_name": "Augusta"}),
        ),
        (
            Method::PATCH,
            format!("{user}/metadata"),
            json!({"unsafe_metadata": {"a": 1}}),
        ),
        (
            Method::PUT,
            format!("{user}/metadata"),
            json!({"private_metadata": {"b": 2}}),
        ),
        (
            Method::POST,
            "/users".to_owned(),
            json!({"email_address": ["new@example.com"]}),
        ),
        (Method::POST, format!("{user}/ban"), json!({})),
    ] {
        let (status, body) = api.send(method, &path, body).await;
        assert_eq!(status, 200, "{path}: {body}");
        hold(&description, "User", &body, &path);
    }

    let name = json!({"name": "Analytical Engines", "created_by": ada});
    let (_, organization) = api.send(Method::POST, "/organizations", name).await;
    let own = format!(
        "/organizations/{}",
        organization["id"].as_str().expect("an id")
    );
    let member = format!("{own}/memberships/{grace}");
    let add = json!({"user_id": grace, "role": "org:member", "public_metadata": null});
    for (schema, method, path, body) in [
        (
            "OrganizationMembership",
            Method::POST,
            format!("{own}/memberships"),
            add,
        ),
        (
            "OrganizationMembership",
            Method::PATCH,
            member.clone(),
            json!({"role": "org:admin"}),
        ),
        (
            "OrganizationMembership",
            Method::PATCH,
            format!("{member}/metadata"),
            json!({"public_metadata": {"a": 1}}),
        ),
        (
            "Organization",
            Method::PATCH,
            own.clone(),
            json!({"name": "Machines"}),
        ),
        (
            "Organization",
            Method::PATCH,
            format!("{own}/metadata"),
            json!({"public_metadata": {}}),
        ),
        (
            "Organization",
            Method::PUT,
            format!("{own}/metadata"),
            json!({"private_metadata": {}}),
        ),
    ] {
        let (status, body) = api.send(method, &path, body).await;
        assert_eq!(status, 200, "{path}: {body}");
        hold(&description, schema, &body, &path);
    }
    for (schema, path) in [
        ("User", user.clone()),
        ("Organization", format!("{own}?include_members_count=true")),
        (
            "Organizations",
            "/organizations?include_members_count=true".to_owned(),
        ),
        ("OrganizationMemberships", format!("{own}/memberships")),
        (
            "OrganizationMemberships",
            format!("{user}/organization_memberships"),
        ),
        (
            "OrganizationMemberships",
            "/organization_memberships".to_owned(),
        ),
        ("ClerkErrors", "/users/user_nobody".to_owned()),
        ("ClerkErrors", "/users?limit=none".to_owned()),
        ("ClerkErrors", "/organizations/org_none".to_owned()),
    ] {
        let (_, body) = api.get(&path).await;
        hold(&description, schema, &body, &path);
    }
    for (schema, path) in [
        ("OrganizationMembership", member),
        ("DeletedObject", own),
        ("DeletedObject", user),
    ] {
        let (_, body) = api.send(Method::DELETE, &path, json!({})).await;
        hold(&description, schema, &body, &path);
    }

    let mut kinds = std::collections::BTreeSet::new();
    for message in sim.messages() {
        let body = sim.message_body(&message.id).expect("kept");
        let event: Value = serde_json::from_slice(&body).expect("JSON");
        hold(&description, "WebhookEventPayload", &event, &message.kind);
        let schema = match &*message.kind {
            "user.deleted" | "organization.deleted" => "DeletedObject",
            "user.created" | "user.updated" => "User",
            "organization.created" | "organization.updated" => "Organization",
            _ => "OrganizationMembership",
        };
        hold(&description, schema, &event["data"], &message.kind);
        assert!(
            event["timestamp"].as_i64() > Some(100_000_000_000),
            "milliseconds"
        );
        kinds.insert(message.kind);
    }
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
