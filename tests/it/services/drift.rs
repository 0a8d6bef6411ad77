//! G21: whatever nobody told of is found, named exactly, and put right.

use std::{collections::BTreeSet, fs, time::Duration};

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{say, seed, size};
use crate::{
    runs::{notes, text},
    world::{World, eventually},
};

/// Table, key and kind of what differs.
type Drifted = BTreeSet<(String, String, String)>;

/// Differences that stand in the report itself; all of them are in the file beside it.
const IN_REPORT: usize = 1_000;

/// Users, and three organizations of which a quarter of them are members.
fn fill(world: &World, users: usize) {
    world.unheard(|clerk| {
        clerk.seed_users(users);
        let mut ids = clerk.user_ids();
        ids.sort();
        for name in ["Engines", "Looms", "Mills"] {
            let organization = json!({"name": name, "max_allowed_memberships": users});
            let id = clerk.create_organization(organization).expect("created");
            for user in ids.iter().take(users / 4) {
                clerk.add_member(&id, user, "org:member").expect("added");
            }
        }
    });
}

/// Six kinds of drift, so many of each, none of which overlaps with another.
fn drift(world: &World, each: usize) -> Drifted {
    let (clerk, convex) = (&world.clerk, &world.convex);
    let mut users = clerk.user_ids();
    users.sort();
    let (members, others) = users.split_at(users.len() / 4);
    let row = |table: &str, key: &str| text(&convex.row(table, key).expect("a row")["_id"]);
    let mut drifted = Drifted::new();
    let mut note = |table: &str, key: &str, kind: &str| {
        drifted.insert((table.to_owned(), key.to_owned(), kind.to_owned()));
    };
    let mut others = others.chunks(each);
    let mut next = || others.next().expect("enough users");
    for user in next() {
        convex
            .remove_row("users", &row("users", user))
            .expect("removed");
        note("users", user, "missing");
    }
    for user in next() {
        let mut stranger = convex.row("users", user).expect("a row");
        let key = format!("user_extra{user}");
        stranger["clerkId"] = key.as_str().into();
        let fields = stranger.as_object_mut().expect("a row");
        fields.retain(|name, _| !name.starts_with('_'));
        convex.insert_row("users", &stranger).expect("inserted");
        note("users", &key, "orphaned");
    }
    for user in next() {
        let renamed = json!({"first_name": "Renamed", "last_name": "Quietly"});
        clerk.update_user(user, renamed).expect("updated");
        note("users", user, "stale");
        note("profiles", user, "stale");
    }
    for user in next() {
        let tampered = json!({"email": "mallory@attack.example"});
        convex
            .patch_row("users", &row("users", user), &tampered)
            .expect("patched");
        note("users", user, "stale");
    }
    let organization = text(&clerk.organizations()[1]["id"]);
    let memberships: Vec<(String, String)> = clerk
        .memberships()
        .iter()
        .filter(|one| one["organization"]["id"] == organization.as_str())
        .map(|one| (text(&one["public_user_data"]["user_id"]), text(&one["id"])))
        .collect();
    let membership = |user: &String| {
        let found = memberships.iter().find(|(of, _)| of == user);
        found.expect("a membership").1.clone()
    };
    for user in &members[..each] {
        clerk
            .change_role(&organization, user, "org:admin")
            .expect("changed");
        note("memberships", &membership(user), "stale");
    }
    for user in &members[each..2 * each] {
        clerk.remove_member(&organization, user).expect("removed");
        note("memberships", &membership(user), "orphaned");
    }
    drifted
}

/// What a report names, each once.
fn named(world: &World, report: &Value) -> Drifted {
    let all = report["differences"].as_array().expect("a list").clone();
    let all = match all.len() {
        IN_REPORT => {
            let id = text(&report["id"]);
            let reports = fs::read_dir(world.state.path().join("reports")).expect("a directory");
            let paths = reports.map(|entry| entry.expect("an entry").path());
            let is_list = |path: &std::path::PathBuf| {
                let name = path.display().to_string();
                name.contains(&id) && name.ends_with(".ndjson")
            };
            let path = paths.into_iter().find(is_list).expect("a list beside it");
            let lines = fs::read_to_string(path).expect("lines");
            lines
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok())
                .collect()
        }
        _ => all,
    };
    let of = |one: &Value| (text(&one["table"]), text(&one["key"]), text(&one["kind"]));
    let named: Drifted = all.iter().map(of).collect();
    assert_eq!(named.len(), all.len(), "each once");
    named
}

#[tokio::test(flavor = "multi_thread")]
async fn g21_six_kinds_of_drift_are_named_exactly_and_put_right() {
    let (seed, each) = (seed(), size("G21_EACH", 10));
    // The brake is not what is looked at here.
    let settings = [
        ("CCS_REPAIR__MAX_DELETES", "1000000"),
        ("CCS_REPAIR__MAX_DELETE_RATIO", "1.0"),
    ];
    let world = World::with(&settings).await;
    fill(&world, 10 * each);
    let filled = world.report("reconcile").await;
    assert_eq!(filled["outcome"], "repaired", "{}", notes(&filled));
    world.agrees().await;
    world.clerk.set_webhook_url(None);
    let drifted = drift(&world, each);
    let mutations = world.convex.calls().mutations;
    let audit = world.report("audit").await;
    assert_eq!(
        world.convex.calls().mutations,
        mutations,
        "an audit writes nothing"
    );
    let found = named(&world, &audit);
    let (wrong, not_found): (Vec<_>, Vec<_>) = (
        found.difference(&drifted).collect(),
        drifted.difference(&found).collect(),
    );
    assert!(
        wrong.is_empty() && not_found.is_empty(),
        "named in vain {wrong:?}, not found {not_found:?}"
    );
    let began = Instant::now();
    let report = world.report("reconcile").await;
    assert_eq!(report["outcome"], "repaired", "{}", notes(&report));
    let took = began.elapsed();
    world.heard();
    world.agrees().await;
    say(
        "G21",
        seed,
        format!(
            "{} differences of six kinds, all named and no other, put right in {took:.1?}",
            drifted.len()
        ),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn g21_what_is_never_delivered_is_there_after_a_sweep() {
    let (seed, changes) = (seed(), size("G21_CHANGES", 100));
    let world = World::filled(&[("CCS_SCHEDULE__SWEEP", "* * * * * *")], 120).await;
    eventually("a first sweep", async || {
        !world.door().get("/status").await["last"]["sweep"].is_null()
    })
    .await;
    let users = world.clerk.user_ids();
    let mut lost = 0;
    for at in 0..changes {
        if at % 20 == 7 {
            world.clerk.lose_next(1);
            lost += 1;
        }
        let named = json!({"first_name": format!("Change{at}")});
        world
            .clerk
            .update_user(&users[at % users.len()], named)
            .expect("updated");
    }
    let began = Instant::now();
    eventually("all changes are there", async || {
        let from = changes.saturating_sub(users.len());
        (from..changes).all(|at| {
            let row = world.user_row(&users[at % users.len()]).expect("a row");
            let name = row["name"].as_str().unwrap_or_default();
            name.split(' ').next() == Some(&*format!("Change{at}"))
        })
    })
    .await;
    let took = began.elapsed();
    say(
        "G21",
        seed,
        format!("{lost} of {changes} never delivered, there after {took:.1?}"),
    );
    assert!(took < Duration::from_secs(60), "{took:?}");
    world.agrees().await;
}
