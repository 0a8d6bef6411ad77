//! Are the rows in Convex what Clerk says? For the end of a demo.
//!
//! Written from the contract and on purpose without the daemon's own mapping: it must be able to find
//! the daemon wrong. Knows the default rules for users and nothing of configured ones. A difference is
//! explained when the last event about its record never reached the daemon. Versions are not compared:
//! an update that changes nothing that is synced need not be written.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::sandbox::{clerk::ClerkSim, convex::ConvexSim};

/// Differences that are listed; all are counted.
const MOST_LISTED: usize = 100;

/// One table, row by row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct TableTally {
    /// Records in Clerk.
    pub clerk: u64,
    /// Rows in Convex.
    pub convex: u64,
    /// Rows that say what Clerk says.
    pub equal: u64,
    /// Records without a row.
    pub missing: u64,
    /// Rows that say something else.
    pub stale: u64,
    /// Rows without a record.
    pub orphaned: u64,
}

/// One row that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Difference {
    /// The table.
    pub table: &'static str,
    /// The record.
    pub key: String,
    /// `missing`, `stale` or `orphaned`.
    pub kind: &'static str,
    /// The columns that differ.
    pub fields: Vec<String>,
    /// Whether the last event about it was lost on the way.
    pub explained: bool,
}

/// Both sides, compared.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Comparison {
    /// By table.
    pub tables: BTreeMap<&'static str, TableTally>,
    /// Rows that differ because the last event about them was lost.
    pub explained: u64,
    /// Rows that differ for no such reason.
    pub unexplained: u64,
    /// The first of them; the unexplained before the others.
    pub differences: Vec<Difference>,
}

/// Compares every row of the four tables. `lost` holds the ids whose last event did not arrive.
pub(super) fn compare(clerk: &ClerkSim, convex: &ConvexSim, lost: &HashSet<String>) -> Comparison {
    let truth = Truth::of(clerk);
    let mut found = Comparison::default();
    for (table, expected) in [
        ("users", truth.users),
        ("profiles", truth.profiles),
        ("organizations", truth.organizations),
        ("memberships", truth.memberships),
    ] {
        found.table(table, expected, convex.rows(table), lost);
    }
    found
        .differences
        .sort_by(|a, b| (a.explained, a.table, &a.key).cmp(&(b.explained, b.table, &b.key)));
    found.differences.truncate(MOST_LISTED);
    found
}

type Rows = BTreeMap<String, Map<String, Value>>;

impl Comparison {
    fn table(
        &mut self,
        table: &'static str,
        mut expected: Rows,
        rows: Vec<Value>,
        lost: &HashSet<String>,
    ) {
        let mut tally = TableTally {
            clerk: expected.len() as u64,
            ..TableTally::default()
        };
        let mut differ = |key: &str, kind, fields: Vec<String>, owner: Option<&str>| {
            let explained = lost.contains(key) || owner.is_some_and(|id| lost.contains(id));
            if explained {
                self.explained += 1;
            } else {
                self.unexplained += 1;
            }
            self.differences.push(Difference {
                table,
                key: key.to_owned(),
                kind,
                fields,
                explained,
            });
        };
        for row in &rows {
            // Rows without a key are the app's own.
            let Some(key) = row["clerkId"].as_str() else {
                continue;
            };
            tally.convex += 1;
            match expected.remove(key) {
                None => {
                    tally.orphaned += 1;
                    differ(key, "orphaned", Vec::new(), row["clerkUserId"].as_str());
                }
                Some(fields) => {
                    let differing = differing(&fields, row);
                    if differing.is_empty() {
                        tally.equal += 1;
                    } else {
                        tally.stale += 1;
                        differ(key, "stale", differing, None);
                    }
                }
            }
        }
        for (key, fields) in &expected {
            tally.missing += 1;
            let owner = fields.get("clerkUserId").and_then(Value::as_str);
            differ(key, "missing", Vec::new(), owner);
        }
        self.tables.insert(table, tally);
    }
}

/// The columns of which the row says something else; an absent one is null.
fn differing(expected: &Map<String, Value>, row: &Value) -> Vec<String> {
    expected
        .iter()
        .filter(|(column, value)| row.get(column.as_str()).unwrap_or(&Value::Null) != *value)
        .map(|(column, _)| column.clone())
        .collect()
}

/// What the rows ought to say.
struct Truth {
    users: Rows,
    profiles: Rows,
    organizations: Rows,
    memberships: Rows,
}

impl Truth {
    fn of(clerk: &ClerkSim) -> Self {
        let mut oldest: BTreeMap<String, String> = BTreeMap::new();
        let mut memberships = Rows::new();
        // Oldest first, so that the first of a user is the one that counts.
        for membership in clerk.memberships() {
            let user = text(&membership["public_user_data"]["user_id"]);
            let organization = text(&membership["organization"]["id"]);
            oldest
                .entry(user.clone())
                .or_insert_with(|| organization.clone());
            let row = json!({
                "clerkUserId": user, "clerkOrganizationId": organization,
                "role": membership["role"],
            });
            put(&mut memberships, &membership, row);
        }
        let mut organizations = Rows::new();
        for organization in clerk.organizations() {
            let row = json!({
                "name": organization["name"], "slug": organization["slug"],
                "imageUrl": organization["image_url"],
            });
            put(&mut organizations, &organization, row);
        }
        let (mut users, mut profiles) = (Rows::new(), Rows::new());
        for user in clerk.users() {
            let organization = oldest.get(user["id"].as_str().unwrap_or_default());
            put(&mut users, &user, user_row(&user, organization));
            put(&mut profiles, &user, profile_row(&user));
        }
        Truth {
            users,
            profiles,
            organizations,
            memberships,
        }
    }
}

fn user_row(user: &Value, organization: Option<&String>) -> Value {
    let names = [&user["first_name"], &user["last_name"]];
    let names: Vec<&str> = names
        .into_iter()
        .filter_map(Value::as_str)
        .filter(|name| !name.is_empty())
        .collect();
    let name = match names.is_empty() {
        true => Value::Null,
        false => json!(names.join(" ")),
    };
    let role = match user["public_metadata"]["role"].as_str() {
        Some("admin") => "admin",
        _ => "user",
    };
    json!({
        "email": email(user), "name": name, "username": user["username"], "imageUrl": user["image_url"],
        "role": role, "appId": user["public_metadata"]["appId"], "organizationId": organization,
    })
}

fn profile_row(user: &Value) -> Value {
    let number = primary(user, "phone_numbers", "primary_phone_number_id");
    json!({
        "firstName": user["first_name"], "lastName": user["last_name"],
        "phoneNumber": number.map_or(&Value::Null, |number| &number["phone_number"]),
    })
}

/// The primary address, else the first, else an empty one.
fn email(user: &Value) -> Value {
    let address = primary(user, "email_addresses", "primary_email_address_id");
    address.map_or(json!(""), |address| address["email_address"].clone())
}

/// The one of a list that is named as the primary one, else the first.
fn primary<'a>(user: &'a Value, list: &str, name: &str) -> Option<&'a Value> {
    let all = user[list].as_array()?;
    all.iter()
        .find(|one| one["id"] == user[name])
        .or(all.first())
}

fn put(rows: &mut Rows, record: &Value, row: Value) {
    if let Value::Object(fields) = row {
        rows.insert(text(&record["id"]), fields);
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::{clerk::ClerkOptions, convex::ConvexOptions};

    async fn ends() -> (ClerkSim, ConvexSim) {
        (
            ClerkSim::start(ClerkOptions::default()).await.unwrap(),
            ConvexSim::start(ConvexOptions::default()).await.unwrap(),
        )
    }

    /// A user in Clerk, and the rows that the contract asks for, written by hand.
    fn mirrored(clerk: &ClerkSim, convex: &ConvexSim) -> String {
        let number = clerk.user_count();
        let email = format!("ines.{number}@post.example");
        let phone = format!("+1500555{number:04}");
        let username = format!("ines{number}");
        let id = clerk
            .create_user(json!({
                "first_name": "Ines", "last_name": "Varga", "username": username,
                "email_address": [email], "phone_number": [phone],
                "public_metadata": { "role": "admin" },
            }))
            .unwrap();
        let user = clerk.user(&id).unwrap();
        let times = |mut row: Value| {
            row["clerkId"] = json!(id);
            row["clerkCreatedAt"] = user["created_at"].clone();
            row["clerkUpdatedAt"] = user["updated_at"].clone();
            row
        };
        let row = times(json!({
            "email": email, "name": "Ines Varga", "username": username,
            "imageUrl": user["image_url"], "role": "admin",
        }));
        convex.insert_row("users", &row).unwrap();
        let profile = times(json!({
            "firstName": "Ines", "lastName": "Varga", "phoneNumber": phone,
        }));
        convex.insert_row("profiles", &profile).unwrap();
        id
    }

    #[tokio::test]
    async fn equal_sides_are_found_equal() {
        let (clerk, convex) = ends().await;
        mirrored(&clerk, &convex);
        let found = compare(&clerk, &convex, &HashSet::new());
        assert_eq!(found.differences, []);
        assert_eq!(found.tables["users"].equal, 1);
        assert_eq!(found.tables["profiles"].equal, 1);
    }

    #[tokio::test]
    async fn each_kind_of_difference_is_found_and_explained_only_by_a_loss() {
        let (clerk, convex) = ends().await;
        let stale = mirrored(&clerk, &convex);
        clerk
            .update_user(&stale, json!({ "last_name": "Lind" }))
            .unwrap();
        let orphaned = mirrored(&clerk, &convex);
        clerk.delete_user(&orphaned).unwrap();
        let missing = clerk.create_user(json!({ "first_name": "Jun" })).unwrap();

        let lost = HashSet::from([stale.clone(), missing.clone()]);
        let found = compare(&clerk, &convex, &lost);
        let users: BTreeMap<_, _> = found
            .differences
            .iter()
            .filter(|d| d.table == "users")
            .map(|d| (d.key.clone(), (d.kind, d.explained)))
            .collect();
        assert_eq!(users[&stale], ("stale", true));
        assert_eq!(users[&missing], ("missing", true));
        assert_eq!(users[&orphaned], ("orphaned", false));
        assert!(
            !found.differences[0].explained,
            "the unexplained come first"
        );
        // Each with its profile.
        assert_eq!((found.explained, found.unexplained), (4, 2));
        let name = &found
            .differences
            .iter()
            .find(|d| d.key == stale && d.table == "users");
        assert!(name.unwrap().fields.contains(&"name".to_owned()));
    }

    #[tokio::test]
    async fn a_member_counts_as_lost_with_its_user() {
        let (clerk, convex) = ends().await;
        let user = clerk.create_user(json!({})).unwrap();
        let organization = clerk
            .create_organization(json!({ "name": "Quiet Orchard" }))
            .unwrap();
        clerk
            .add_member(&organization, &user, "org:member")
            .unwrap();
        let lost = HashSet::from([user, organization]);
        let found = compare(&clerk, &convex, &lost);
        assert_eq!(found.tables["memberships"].missing, 1);
        assert_eq!(found.unexplained, 0, "{:?}", found.differences);
    }
}
