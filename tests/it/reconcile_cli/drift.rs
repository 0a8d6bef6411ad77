//! A pair with users, organizations and members, and every way in which a repair can mend what was spoiled.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{process::System, runs::text};

/// What was spoiled: table, key, kind, and the columns that differ.
pub type Spoiled = BTreeSet<(String, String, String, Vec<String>)>;

/// A command's exit code.
pub async fn code(system: &System, arguments: &[&str]) -> Option<i32> {
    system.run(arguments).await.status.code()
}

/// Sixty users, three organizations, forty members, the same on both sides.
pub async fn filled(system: &System) {
    let clerk = &system.clerk;
    clerk.set_webhook_url(None);
    clerk.seed_users(60);
    let users = sorted(clerk.user_ids());
    for name in ["Engines", "Looms", "Mills"] {
        let organization = json!({"name": name, "max_allowed_memberships": 100});
        let id = clerk.create_organization(organization).expect("created");
        for user in users.iter().take(15) {
            clerk.add_member(&id, user, "org:member").expect("added");
        }
    }
    assert_eq!(code(system, &["reconcile"]).await, Some(0));
}

pub fn sorted(mut ids: Vec<String>) -> Vec<String> {
    ids.sort();
    ids
}

/// Spoils both sides in every way that a repair can mend; what a report should say.
pub fn spoil(system: &System) -> Spoiled {
    let (clerk, convex) = (&system.clerk, &system.convex);
    let users = sorted(clerk.user_ids());
    let row = |table: &str, key: &str| convex.row(table, key).expect("a row");
    let patch = |table: &str, key: &str, fields: Value| {
        let id = text(&row(table, key)["_id"]);
        convex.patch_row(table, &id, &fields).expect("patched");
    };
    let remove = |table: &str, key: &str| {
        let id = text(&row(table, key)["_id"]);
        convex.remove_row(table, &id).expect("removed");
    };
    let mut spoiled = Spoiled::new();
    let mut note = |table: &str, key: &str, kind: &str, fields: &[&str]| {
        let fields = fields.iter().map(|field| (*field).to_owned()).collect();
        spoiled.insert((table.to_owned(), key.to_owned(), kind.to_owned(), fields));
    };
    remove("users", &users[30]);
    note("users", &users[30], "missing", &[]);
    remove("profiles", &users[31]);
    note("profiles", &users[31], "missing", &[]);
    let other = json!({"name": "Mallory Changed", "email": "mallory@attack.example"});
    patch("users", &users[32], other);
    note("users", &users[32], "stale", &["email", "name"]);
    patch("profiles", &users[33], json!({"lastName": "Tampered"}));
    note("profiles", &users[33], "stale", &["lastName"]);
    let renamed = json!({"first_name": "Renamed", "last_name": "Quietly"});
    let before = clerk.user(&users[34]).expect("a user");
    assert_ne!(before["first_name"], "Renamed");
    clerk.update_user(&users[34], renamed).expect("updated");
    // The picture that Clerk draws for those without one shows their name.
    note("users", &users[34], "stale", &["imageUrl", "name"]);
    note("profiles", &users[34], "stale", &["firstName", "lastName"]);
    clerk.delete_user(&users[35]).expect("deleted");
    note("users", &users[35], "orphaned", &[]);
    note("profiles", &users[35], "orphaned", &[]);

    let organizations: Vec<String> = clerk
        .organizations()
        .iter()
        .map(|o| text(&o["id"]))
        .collect();
    patch(
        "organizations",
        &organizations[0],
        json!({"name": "Tampered Engines"}),
    );
    note("organizations", &organizations[0], "stale", &["name"]);
    let new = clerk.create_organization(json!({"name": "Nobody Heard"}));
    note("organizations", &new.expect("created"), "missing", &[]);

    let membership = |user: &str| {
        let all = clerk.memberships();
        let own = all.iter().find(|one| {
            one["organization"]["id"] == organizations[1].as_str()
                && one["public_user_data"]["user_id"] == user
        });
        text(&own.expect("a membership")["id"])
    };
    let (raised, left) = (membership(&users[0]), membership(&users[1]));
    clerk
        .change_role(&organizations[1], &users[0], "org:admin")
        .expect("changed");
    note("memberships", &raised, "stale", &["role"]);
    clerk
        .remove_member(&organizations[1], &users[1])
        .expect("removed");
    note("memberships", &left, "orphaned", &[]);
    spoiled
}

/// What a report says, in the form of [`spoil`].
pub fn said(report: &Value) -> Spoiled {
    let all = report["differences"].as_array().expect("a list");
    let said: Vec<_> = all
        .iter()
        .map(|one| {
            let fields = one["fields"].as_array().expect("a list");
            let mut fields: Vec<String> = fields.iter().map(|f| text(&f["field"])).collect();
            fields.sort();
            (
                text(&one["table"]),
                text(&one["key"]),
                text(&one["kind"]),
                fields,
            )
        })
        .collect();
    let set: Spoiled = said.iter().cloned().collect();
    assert_eq!(set.len(), said.len(), "each once: {report:#}");
    set
}
