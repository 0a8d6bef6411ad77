//! The rows that a set of events must end in, by the words of the contract and of the design.
//!
//! Written a second time, from the text, so that a misreading of the daemon's cannot agree with itself:
//! it shares no code and no type with `src/`. The order of the events is no input.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

/// For each table the rows by key, each with its synced columns.
pub type Rows = BTreeMap<&'static str, BTreeMap<String, Value>>;

/// The roles of the default settings.
const ROLES: [&str; 2] = ["user", "admin"];

fn columns(table: &str) -> &'static [&'static str] {
    match table {
        "users" => &[
            "email",
            "name",
            "username",
            "imageUrl",
            "role",
            "organizationId",
            "appId",
        ],
        "profiles" => &["firstName", "lastName", "phoneNumber"],
        "organizations" => &["name", "slug", "imageUrl"],
        _ => &["clerkUserId", "clerkOrganizationId", "role"],
    }
}

/// The synced columns of rows, and when Clerk made the record; a column that is not there is null.
pub fn synced(table: &str, rows: Vec<Value>) -> BTreeMap<String, Value> {
    let count = rows.len();
    let kept: BTreeMap<String, Value> = rows
        .iter()
        .map(|row| {
            let mut fields: Map<String, Value> = columns(table)
                .iter()
                .map(|column| ((*column).to_owned(), row[*column].clone()))
                .collect();
            let created = row["clerkCreatedAt"].as_f64().map(|at| at as i64);
            fields.insert("clerkCreatedAt".to_owned(), json!(created));
            assert!(row["clerkUpdatedAt"].is_number(), "{row}");
            let key = row["clerkId"].as_str().expect("a key").to_owned();
            (key, Value::Object(fields))
        })
        .collect();
    assert_eq!(kept.len(), count, "no key of {table} is there twice");
    kept
}

/// What of the events counts: deleted keys, and of the others the newest state.
struct Told<'a> {
    gone: BTreeSet<&'a str>,
    newest: BTreeMap<&'a str, &'a Value>,
}

impl<'a> Told<'a> {
    fn about(object: &str, events: &[&'a Value]) -> Told<'a> {
        let mut told = Told {
            gone: BTreeSet::new(),
            newest: BTreeMap::new(),
        };
        for event in events {
            let kind = event["type"].as_str().expect("a type");
            let Some((_, verb)) = kind.split_once('.').filter(|(name, _)| *name == object) else {
                continue;
            };
            let data = &event["data"];
            let key = data["id"].as_str().expect("an id");
            if verb == "deleted" {
                told.gone.insert(key);
                continue;
            }
            let version = |data: &Value| data["updated_at"].as_i64().expect("a version");
            let known = told.newest.get(key).map(|known| version(known));
            assert_ne!(
                known,
                Some(version(data)),
                "two events of {key} say the same version"
            );
            if known < Some(version(data)) {
                told.newest.insert(key, data);
            }
        }
        told.newest.retain(|key, _| !told.gone.contains(key));
        told
    }
}

/// The rows after these events.
pub fn rows_of(events: &[&Value]) -> Rows {
    let users = Told::about("user", events);
    let organizations = Told::about("organization", events);
    let mut members = Told::about("organizationMembership", events);
    // Whoever and whatever is deleted takes its memberships along.
    members.newest.retain(|_, member| {
        let organization = member["organization"]["id"]
            .as_str()
            .expect("an organization");
        !users.gone.contains(user_of(member)) && !organizations.gone.contains(organization)
    });
    let mut rows = Rows::new();
    let by_key = |told: &Told<'_>, row: &dyn Fn(&Value) -> Value| -> BTreeMap<String, Value> {
        let rows = told.newest.iter();
        rows.map(|(key, data)| ((*key).to_owned(), row(data)))
            .collect()
    };
    rows.insert("users", by_key(&users, &|data| user_row(data, &members)));
    rows.insert("profiles", by_key(&users, &profile_row));
    rows.insert(
        "organizations",
        by_key(&organizations, &|data| {
            json!({ "name": data["name"], "slug": data["slug"], "imageUrl": data["image_url"],
                    "clerkCreatedAt": data["created_at"] })
        }),
    );
    rows.insert(
        "memberships",
        by_key(&members, &|data| {
            json!({ "clerkUserId": user_of(data), "clerkOrganizationId": data["organization"]["id"],
                    "role": data["role"], "clerkCreatedAt": data["created_at"] })
        }),
    );
    rows
}

fn user_of(member: &Value) -> &str {
    member["public_user_data"]["user_id"]
        .as_str()
        .expect("a user")
}

fn profile_row(data: &Value) -> Value {
    let numbers = data["phone_numbers"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let primary = &data["primary_phone_number_id"];
    let number = numbers
        .iter()
        .find(|number| !primary.is_null() && number["id"] == *primary)
        .or(numbers.first());
    json!({
        "firstName": data["first_name"], "lastName": data["last_name"],
        "phoneNumber": number.map_or(&Value::Null, |number| &number["phone_number"]),
        "clerkCreatedAt": data["created_at"],
    })
}

fn user_row(data: &Value, members: &Told<'_>) -> Value {
    let addresses = data["email_addresses"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let primary = &data["primary_email_address_id"];
    let address = addresses
        .iter()
        .find(|address| !primary.is_null() && address["id"] == *primary)
        .or(addresses.first());
    let email = address.and_then(|address| address["email_address"].as_str());
    let names = [&data["first_name"], &data["last_name"]];
    let names: Vec<&str> = names.iter().filter_map(|name| name.as_str()).collect();
    let name = Some(names.join(" ").trim().to_owned()).filter(|name| !name.is_empty());
    let metadata = &data["public_metadata"];
    let role = metadata["role"]
        .as_str()
        .filter(|role| ROLES.contains(role));
    let mine = members
        .newest
        .values()
        .filter(|member| user_of(member) == data["id"]);
    let oldest =
        mine.min_by_key(|member| (member["created_at"].as_i64(), member["id"].to_string()));
    let organization = match &metadata["organizationId"] {
        Value::String(id) if !id.is_empty() => Value::from(id.as_str()),
        _ => oldest.map_or(Value::Null, |member| member["organization"]["id"].clone()),
    };
    json!({
        "email": email.unwrap_or_default(), "name": name, "username": data["username"],
        "imageUrl": data["image_url"], "role": role.unwrap_or("user"),
        "organizationId": organization, "appId": metadata["appId"],
        "clerkCreatedAt": data["created_at"],
    })
}
