//! Listings and counts of the simulated Clerk against the truth it holds.
//!
//! Truth is read through the control calls, which pass neither filters nor indexes of listings.

use super::{ids, start};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

const SEEDED: usize = 1203;

fn ms(user: &Value, key: &str) -> i64 {
    user[key].as_i64().expect("milliseconds")
}

#[tokio::test]
async fn a_walk_by_cursor_sees_every_user_once_in_both_directions() {
    let (sim, api) = start().await;
    assert_eq!(sim.seed_users(SEEDED), SEEDED);
    let truth: BTreeSet<String> = sim.user_ids().into_iter().collect();
    for order in ["created_at", "-created_at"] {
        let mut seen: Vec<Value> = Vec::new();
        loop {
            let cursor = seen.last().and_then(|u| u["id"].as_str());
            let after = cursor
                .map(|id| format!("&starting_after={id}"))
                .unwrap_or_default();
            let page = api
                .rows(&format!("/users?limit=100&order_by={order}{after}"))
                .await;
            let last = page.len() < 100;
            seen.extend(page);
            if last {
                break;
            }
        }
        assert_eq!(seen.len(), SEEDED);
        assert_eq!(
            ids(&seen)
                .into_iter()
                .map(str::to_owned)
                .collect::<BTreeSet<_>>(),
            truth
        );
        let times: Vec<i64> = seen.iter().map(|u| ms(u, "created_at")).collect();
        let sorted = if order == "created_at" {
            times.is_sorted()
        } else {
            times.is_sorted_by(|a, b| a >= b)
        };
        assert!(sorted, "{order}");
        let ties = times.windows(2).filter(|pair| pair[0] == pair[1]).count();
        assert!(
            ties > 10,
            "users of one millisecond make a cursor worth testing: {ties}"
        );
    }
    assert_eq!(sim.requests().to("GET /v1/users"), 26);
}

#[tokio::test]
async fn offsets_and_orders_agree_with_the_truth() {
    let (sim, api) = start().await;
    sim.seed_users(600);
    let mut truth = sim.users();
    truth.sort_by_key(|u| -ms(u, "updated_at"));
    let newest = api
        .rows("/users?limit=50&order_by=-updated_at&offset=20")
        .await;
    let want: Vec<i64> = truth[20..70].iter().map(|u| ms(u, "updated_at")).collect();
    assert_eq!(
        newest
            .iter()
            .map(|u| ms(u, "updated_at"))
            .collect::<Vec<_>>(),
        want
    );
    let names = api.rows("/users?limit=500&order_by=first_name").await;
    let names: Vec<&str> = names
        .iter()
        .map(|u| u["first_name"].as_str().unwrap_or(""))
        .collect();
    assert!(names.is_sorted_by_key(|name| name.to_lowercase()));
    assert_eq!(api.rows("/users?limit=500&offset=550").await.len(), 50);
    assert_eq!(api.rows("/users?limit=500&offset=600").await.len(), 0);
    assert_eq!(
        api.rows("/users?limit=501").await.len(),
        10,
        "over 500 silently means ten"
    );
    assert_eq!(api.rows("/users").await.len(), 10);
}

#[tokio::test]
async fn counts_in_windows_agree_with_the_truth() {
    let (sim, api) = start().await;
    sim.seed_users(400);
    let mut times: Vec<i64> = sim.users().iter().map(|u| ms(u, "created_at")).collect();
    times.sort_unstable();
    for (after, before) in [(0, 399), (17, 230), (100, 101), (200, 200), (350, 20)] {
        let (after, before) = (times[after], times[before]);
        let query = format!("?created_at_after={after}&created_at_before={before}");
        let inside = |inclusive: bool| {
            let fits = |t: &&i64| {
                (**t > after || inclusive && **t == after)
                    && (**t < before || inclusive && **t == before)
            };
            times.iter().filter(fits).count() as u64
        };
        assert_eq!(api.count(&query).await, inside(false));
        let listed = api.rows(&format!("/users{query}&limit=500")).await;
        assert_eq!(listed.len() as u64, inside(false));
        sim.set(|settings| settings.window_inclusive = true);
        assert_eq!(api.count(&query).await, inside(true));
        sim.set(|settings| settings.window_inclusive = false);
    }
    assert_eq!(api.count("").await, 400);
    let banned = sim
        .users()
        .iter()
        .filter(|u| u["banned"] == json!(true))
        .count() as u64;
    assert_eq!(api.count("?banned=true").await, banned);
    assert_eq!(api.count("?banned=false").await, 400 - banned);
}

#[tokio::test]
async fn a_cursor_has_its_rules() {
    let (sim, api) = start().await;
    sim.seed_users(20);
    let page = api.rows("/users?limit=5&order_by=created_at").await;
    let last = page[4]["id"].as_str().expect("an id").to_owned();
    for query in [
        format!("order_by=-updated_at&starting_after={last}"),
        format!("offset=5&starting_after={last}"),
        "starting_after=user_nobody".to_owned(),
    ] {
        let (status, body) = api.get(&format!("/users?{query}")).await;
        assert_eq!(status, 422, "{query}");
        assert_eq!(body["errors"][0]["code"], "form_param_value_invalid");
    }
    let ok = api
        .get(&format!(
            "/users?offset=0&order_by=%2Bcreated_at&starting_after={last}"
        ))
        .await;
    assert_eq!(ok.0, 200);
    let next = api
        .rows(&format!(
            "/users?limit=5&order_by=created_at&starting_after={last}"
        ))
        .await;
    sim.delete_user(&last).expect("it is there");
    let query = format!("/users?limit=5&order_by=created_at&starting_after={last}");
    assert_eq!(api.get(&query).await.0, 422);
    sim.set(|settings| settings.deleted_cursor_goes_on = true);
    let repeated = api.rows(&query).await;
    for id in ids(&next).iter().take(4) {
        assert!(ids(&repeated).contains(id), "nothing is skipped");
    }
}

#[tokio::test]
async fn users_are_found_by_what_names_them() {
    let (sim, api) = start().await;
    sim.seed_users(30);
    let ada = json!({"email_address": ["ada@example.com", "Ada@Office.example"], "external_id": "x-1",
        "username": "Ada_L", "phone_number": ["+15550001111"], "google": "117"});
    let ada = sim.create_user(ada).expect("a user");
    let organization = json!({"name": "Engines", "created_by": ada});
    let organization = sim
        .create_organization(organization)
        .expect("an organization");
    for query in [
        format!("user_id={ada}"),
        format!("user_id=%2B{ada}&user_id=user_unknown"),
        "external_id=x-1".to_owned(),
        "email_address=ada@office.example".to_owned(),
        "phone_number=%2B15550001111".to_owned(),
        "username=ada_l".to_owned(),
        format!("organization_id={organization}"),
        "provider=oauth_google&provider_user_id=117".to_owned(),
        "query=ADA@EX".to_owned(),
        "email_address_query=office.exam".to_owned(),
    ] {
        let rows = api.rows(&format!("/users?{query}")).await;
        assert_eq!(ids(&rows), [ada.as_str()], "{query}");
        assert_eq!(api.count(&format!("?{query}")).await, 1, "{query}");
    }
    // A bare plus decodes to a space, which is part of no id.
    assert!(api.rows(&format!("/users?user_id=+{ada}")).await.is_empty());
    assert_eq!(api.count(&format!("?user_id=-{ada}")).await, 30);
    assert_eq!(
        api.count(&format!("?organization_id=-{organization}"))
            .await,
        30
    );
    let many = "&user_id=user_x".repeat(101);
    assert_eq!(api.get(&format!("/users?{}", &many[1..])).await.0, 422);
    let alone = api.get("/users?provider=oauth_google").await;
    assert_eq!(
        (alone.0.as_u16(), &alone.1["errors"][0]["code"]),
        (422, &json!("form_param_missing"))
    );
}

#[tokio::test]
async fn a_lagging_change_is_seen_by_id_at_once_and_in_listings_later() {
    let (sim, api) = start().await;
    let old = sim.create_user(json!({"email_address": "old@example.com", "first_name": "Old"}));
    let old = old.expect("a user");
    sim.lag_next(2, Duration::from_secs(5));
    sim.update_user(&old, json!({"first_name": "New"}))
        .expect("a change");
    let late = sim
        .create_user(json!({"email_address": "late@example.com"}))
        .expect("a user");
    let prompt = sim
        .create_user(json!({"email_address": "prompt@example.com"}))
        .expect("a user");
    let (_, seen) = api.get(&format!("/users/{old}")).await;
    assert_eq!(seen["first_name"], "New");
    let listed = api.rows("/users?order_by=-updated_at").await;
    assert_eq!(ids(&listed), [prompt.as_str(), old.as_str()]);
    assert_eq!(listed[1]["first_name"], "Old");
    assert_eq!(api.count("").await, 2);
    sim.advance_ms(5001);
    let listed = api.rows("/users?order_by=-updated_at").await;
    assert_eq!(listed.len(), 3);
    let renamed = listed
        .iter()
        .find(|u| u["id"] == json!(old))
        .expect("listed");
    assert_eq!(renamed["first_name"], "New");
    assert!(ids(&listed).contains(&late.as_str()));
    // A deletion that lags leaves a ghost in the listing only.
    sim.lag_next(1, Duration::from_secs(5));
    sim.delete_user(&old).expect("it is there");
    assert_eq!(api.get(&format!("/users/{old}")).await.0, 404);
    assert_eq!(api.rows("/users").await.len(), 3);
    sim.advance_ms(5001);
    assert_eq!(api.rows("/users").await.len(), 2);
}

#[tokio::test]
async fn memberships_are_listed_by_organization_user_and_instance() {
    let (sim, api) = start().await;
    let users: Vec<String> = (0..7)
        .map(|n| sim.create_user(json!({"email_address": format!("u{n}@example.com")})))
        .collect::<Result<_, _>>()
        .expect("users");
    let first = sim.create_organization(json!({"name": "First", "max_allowed_memberships": 0}));
    let second = sim.create_organization(json!({"name": "Second", "created_by": users[0]}));
    let (first, second) = (first.expect("one"), second.expect("two"));
    for user in &users {
        sim.add_member(&first, user, "org:member")
            .expect("a member");
    }
    let (_, page) = api
        .get(&format!(
            "/organizations/{first}/memberships?limit=5&offset=5"
        ))
        .await;
    assert_eq!(page["total_count"], 7);
    assert_eq!(page["data"].as_array().map(Vec::len), Some(2));
    let (_, own) = api
        .get(&format!("/users/{}/organization_memberships", users[0]))
        .await;
    assert_eq!(own["total_count"], 2);
    let (_, all) = api
        .get("/organization_memberships?limit=500&order_by=created_at")
        .await;
    assert_eq!(all["total_count"], 8);
    assert_eq!(all["data"][0]["organization"]["id"], json!(second));
    let (_, list) = api
        .get("/organizations?include_members_count=true&order_by=-members_count")
        .await;
    assert_eq!(list["data"][0]["members_count"], 7);
    assert_eq!(list["data"][1]["members_count"], 1);
    sim.delete_user(&users[0]).expect("it is there");
    let (_, all) = api.get("/organization_memberships").await;
    assert_eq!(all["total_count"], 6, "memberships go with their user");
    sim.delete_organization(&first).expect("it is there");
    assert!(sim.memberships().is_empty());
    sim.set(|settings| settings.organizations_enabled = false);
    for path in ["/organizations", "/organization_memberships"] {
        let (status, body) = api.get(path).await;
        assert_eq!(status, 403);
        assert_eq!(
            body["errors"][0]["code"],
            "organization_not_enabled_in_instance"
        );
    }
    assert_eq!(api.get("/users").await.0, 200);
}
