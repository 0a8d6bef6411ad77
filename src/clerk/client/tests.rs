//! Questions to a scripted Clerk: what goes over the wire, and what is believed of what comes back.
//!
//! Requests are compared with the API's text; answers are written by hand from its specification.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::*;
use crate::{
    model::Fault,
    outbound::scripted::{Heard, answer, script},
};

fn key(text: &str) -> Key {
    Key::parse(text).unwrap()
}

/// A client of a Clerk that gives these answers one after another.
fn clerk(answers: &[(u16, Value)]) -> (ClerkClient, Heard) {
    let bytes = answers
        .iter()
        .map(|(status, body)| answer(*status, "", &body.to_string()))
        .collect();
    let (api_url, heard) = script(bytes, false);
    let client = ClerkClient::new(Options {
        api_url,
        secret_key: SecretString::from("sk_test_hush"),
        timeout: Duration::from_secs(5),
        dialer: Dialer::default(),
        on_request: Arc::new(|_, _, _| {}),
        pace: Pace::unlimited(),
    });
    (client.unwrap(), heard)
}

/// The request lines, without method and version.
fn asked(heard: &Heard) -> Vec<String> {
    let heard = heard.lock().unwrap();
    let target = |request: &String| request.split(' ').nth(1).unwrap().to_owned();
    heard.iter().map(target).collect()
}

fn user(id: &str) -> Value {
    json!({"id": id, "object": "user", "created_at": 1, "updated_at": 2, "first_name": "Ada"})
}

fn membership(id: &str, organization: &str, user: &str) -> Value {
    json!({"id": id, "created_at": 1, "updated_at": 2, "role": "org:member",
           "organization": {"id": organization}, "public_user_data": {"user_id": user}})
}

fn not_found() -> Value {
    json!({"errors": [{"message": "not found", "long_message": "No user was found with id user_1", "code": "resource_not_found"}]})
}

#[tokio::test]
async fn a_user_is_found_and_its_text_kept_as_it_came() {
    let (client, heard) = clerk(&[(200, user("user_1"))]);
    let Lookup::Found(found) = client.get_user(&key("user_1")).await.unwrap() else {
        panic!("not found");
    };
    assert_eq!(
        (
            found.name().to_string(),
            found.created_at(),
            found.version().ms()
        ),
        ("users/user_1".into(), 1, 2)
    );
    assert_eq!(
        serde_json::from_str::<Value>(found.text()).unwrap(),
        user("user_1")
    );
    assert!(!format!("{found:?} {client:?}").contains("Ada"));
    assert_eq!(asked(&heard), ["/v1/users/user_1"]);
    let request = heard.lock().unwrap()[0].to_lowercase();
    for line in [
        "authorization: bearer sk_test_hush\r\n",
        "clerk-api-version: 2025-11-10\r\n",
        "user-agent: clerk-convex-sync/",
    ] {
        assert!(request.contains(line), "{line} is not in {request}");
    }
}

#[tokio::test]
async fn only_clerk_s_own_words_make_a_record_gone() {
    let (client, _) = clerk(&[(404, not_found())]);
    let Lookup::Gone(gone) = client.get_user(&key("user_1")).await.unwrap() else {
        panic!("found");
    };
    assert_eq!(
        (gone.table(), gone.key().as_str()),
        (Table::Users, "user_1")
    );

    let other =
        json!({"errors": [{"message": "x", "code": "organization_not_found_or_unauthorized"}]});
    for (status, body) in [
        (404, json!("not here")),
        (404, json!({"errors": []})),
        (404, other),
        (401, not_found()),
        (410, not_found()),
        (200, json!(null)),
        (200, json!({})),
        (200, json!([])),
        (
            200,
            json!({"id": "user_1", "object": "user", "deleted": true}),
        ),
        (200, user("user_2")),
        (204, json!("")),
        (301, json!("")),
        (500, not_found()),
    ] {
        let (client, _) = clerk(&[(status, body.clone())]);
        let answer = client.get_user(&key("user_1")).await;
        assert!(answer.is_err(), "{status} {body}: {answer:?}");
        let answer = client.get_organization(&key("user_1")).await;
        assert!(answer.is_err(), "{status} {body}: {answer:?}");
    }
}

#[tokio::test]
async fn a_membership_is_asked_for_by_its_ends_and_believed_only_if_it_has_them() {
    let listing = |data: Value, total: u64| json!({"data": data, "total_count": total});
    let mine = membership("orgmem_1", "org_1", "user_1");
    let (client, heard) = clerk(&[(200, listing(json!([mine]), 1))]);
    let ends = (&key("org_1"), &key("user_1"));
    let found = client.find_membership(ends.0, ends.1).await.unwrap();
    assert_eq!(found.unwrap().key().as_str(), "orgmem_1");
    assert_eq!(
        asked(&heard),
        ["/v1/organizations/org_1/memberships?user_id=user_1&limit=10"]
    );

    let (client, _) = clerk(&[(200, listing(json!([]), 0))]);
    assert_eq!(client.find_membership(ends.0, ends.1).await.unwrap(), None);

    let strange = membership("orgmem_2", "org_1", "user_2");
    for body in [
        listing(json!([strange]), 1),
        listing(json!([membership("orgmem_1", "org_2", "user_1")]), 1),
        listing(json!([mine, strange]), 2),
        listing(json!([]), 12),
        listing(json!([mine]), 2),
        json!({"data": []}),
        json!([]),
    ] {
        let (client, _) = clerk(&[(200, body.clone())]);
        let error = client
            .get_membership(&key("orgmem_1"), ends.0, ends.1)
            .await
            .unwrap_err();
        assert_eq!(error.code(), "nonsense", "{body}");
    }
}

#[tokio::test]
async fn a_membership_is_gone_when_another_one_or_none_is_there_or_its_organization_is_gone() {
    let again = json!({"data": [membership("orgmem_2", "org_1", "user_1")], "total_count": 1});
    let none = json!({"data": [], "total_count": 0});
    let unknown =
        json!({"errors": [{"message": "x", "code": "organization_not_found_or_unauthorized"}]});
    for answers in [
        vec![(200, again)],
        vec![(200, none)],
        vec![(404, not_found()), (404, not_found())],
        vec![(404, unknown.clone()), (404, not_found())],
    ] {
        let (client, _) = clerk(&answers);
        let answer = client
            .get_membership(&key("orgmem_1"), &key("org_1"), &key("user_1"))
            .await;
        let Lookup::Gone(gone) = answer.unwrap() else {
            panic!("found: {answers:?}");
        };
        assert_eq!(
            (gone.table(), gone.key().as_str()),
            (Table::Memberships, "orgmem_1")
        );
    }
    let organization = json!({"id": "org_1", "created_at": 1, "updated_at": 2, "name": "Acme"});
    let (client, _) = clerk(&[(404, unknown), (200, organization)]);
    let answer = client
        .get_membership(&key("orgmem_1"), &key("org_1"), &key("user_1"))
        .await;
    assert_eq!(answer.unwrap_err().fault(), Fault::Refused);
}

#[tokio::test]
async fn users_by_id_ask_for_room_enough_and_believe_no_stranger() {
    let (client, heard) = clerk(&[(200, json!([user("user_2")]))]);
    let keys = [key("user_1"), key("user_2")];
    let found = client.users_by_id(&keys).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(
        asked(&heard),
        ["/v1/users?limit=100&user_id=user_1&user_id=user_2"]
    );
    for body in [
        json!([user("user_3")]),
        json!([user("user_1"), user("user_1")]),
        json!({"data": []}),
    ] {
        let (client, _) = clerk(&[(200, body)]);
        assert_eq!(
            client.users_by_id(&keys).await.unwrap_err().code(),
            "nonsense"
        );
    }
    let (client, heard) = clerk(&[(200, json!([]))]);
    assert_eq!(client.users_by_id(&[]).await.unwrap(), []);
    let many = vec![key("user_1"); 101];
    assert_eq!(
        client.users_by_id(&many).await.unwrap_err().fault(),
        Fault::Ours
    );
    assert!(asked(&heard).is_empty());
}

#[tokio::test]
async fn pages_and_counts_are_asked_for_as_the_specification_says() {
    let page = UserPage {
        order: Order::Created,
        created: CreatedBetween {
            after: Some(5),
            before: Some(9),
        },
        starting_after: Some(key("user_0")),
        offset: 0,
        limit: 500,
    };
    let updated = UserPage {
        order: Order::UpdatedDescending,
        created: CreatedBetween::default(),
        starting_after: None,
        offset: 20,
        limit: 10,
    };
    let count = json!({"object": "total_count", "total_count": 7});
    let organizations =
        json!({"data": [{"id": "org_1", "created_at": 1, "updated_at": 2}], "total_count": 3});
    let members = json!({"data": [membership("orgmem_1", "org_1", "user_1")], "total_count": 1});
    let (client, heard) = clerk(&[
        (200, json!([user("user_1")])),
        (200, json!([])),
        (200, count),
        (200, organizations),
        (200, members),
    ]);
    assert_eq!(client.list_users(&page).await.unwrap().len(), 1);
    assert_eq!(client.list_users(&updated).await.unwrap().len(), 0);
    assert_eq!(client.count_users(page.created).await.unwrap(), 7);
    let listing = client.list_organizations(4, 2).await.unwrap();
    assert_eq!((listing.records.len(), listing.total), (1, 3));
    let listing = client
        .list_memberships(&key("org_1"), 0, 500)
        .await
        .unwrap();
    assert_eq!((listing.records.len(), listing.total), (1, 1));
    assert_eq!(
        asked(&heard),
        [
            "/v1/users?created_at_after=5&created_at_before=9&order_by=created_at&limit=500&starting_after=user_0",
            "/v1/users?order_by=-updated_at&limit=10&offset=20",
            "/v1/users/count?created_at_after=5&created_at_before=9",
            "/v1/organizations?order_by=created_at&limit=2&offset=4&include_members_count=true",
            "/v1/organizations/org_1/memberships?order_by=created_at&limit=500&offset=0",
        ]
    );
}

#[tokio::test]
async fn a_page_with_too_many_or_with_a_broken_record_is_not_believed() {
    let page = |limit| UserPage {
        order: Order::Created,
        created: CreatedBetween::default(),
        starting_after: None,
        offset: 0,
        limit,
    };
    let broken = json!({"id": "user_2", "created_at": 1, "updated_at": "ada@example.com"});
    for body in [
        json!([user("user_1"), user("user_2")]),
        json!([broken]),
        json!([7]),
    ] {
        let (client, _) = clerk(&[(200, body.clone())]);
        let error = client.list_users(&page(1)).await.unwrap_err();
        assert_eq!(error.code(), "nonsense", "{body}");
        assert!(!format!("{error} {error:?}").contains("ada@"), "{error}");
    }
    let (client, heard) = clerk(&[(200, json!([]))]);
    for limit in [0, 501] {
        assert_eq!(
            client.list_users(&page(limit)).await.unwrap_err().code(),
            "asked_too_much"
        );
        assert_eq!(
            client
                .list_organizations(0, limit)
                .await
                .unwrap_err()
                .code(),
            "asked_too_much"
        );
    }
    assert!(asked(&heard).is_empty());
}

#[tokio::test]
async fn what_a_run_costs_is_heard_by_the_run() {
    let (client, _) = clerk(&[(429, json!({})), (200, user("user_1"))]);
    type Calls = Arc<Mutex<Vec<(&'static str, u16, usize)>>>;
    let heard = Calls::default();
    let list = heard.clone();
    let client = client.also_heard_by(Arc::new(move |name, status, bytes| {
        list.lock().unwrap().push((name, status, bytes));
    }));
    assert!(client.get_user(&key("user_1")).await.is_err());
    assert!(client.get_user(&key("user_1")).await.is_ok());
    let bytes = user("user_1").to_string().len();
    assert_eq!(
        *heard.lock().unwrap(),
        [("get_user", 429, 2), ("get_user", 200, bytes)]
    );
}
