//! What a listing is worth: late, moving, short, repeated, empty, cut off, of another instance.
//!
//! Absence from a listing that did not prove itself whole deletes nothing; what is seen is still brought over.

mod lies;
mod moving;
mod race;
mod strangers;

use clerk_convex_sync::sandbox::clerk::faults::{Fault, Wrong};
use serde_json::{Value, json};

use crate::{
    runs::{keys, notes, pages},
    world::World,
};

/// Users that vanished without a word, and one who came.
struct Drift {
    gone: Vec<String>,
    new: String,
}

/// Three leave and one comes, and nobody hears of it.
fn drift(world: &World) -> Drift {
    world.unheard(|clerk| {
        let mut gone = clerk.user_ids();
        gone.sort();
        gone.truncate(3);
        for id in &gone {
            clerk.delete_user(id).expect("deleted");
        }
        let newcomer = json!({"first_name": "Newcomer"});
        let new = clerk.create_user(newcomer).expect("created");
        Drift { gone, new }
    })
}

impl Drift {
    /// Nothing was deleted.
    fn is_all_there(&self, world: &World) -> bool {
        ["users", "profiles"].iter().all(|table| {
            let there = keys(&world.convex, table);
            self.gone.iter().all(|id| there.contains(id))
                && world.convex.tombstones(table).is_empty()
        })
    }
}

/// Once the misbehaviour is over, everything is put right.
async fn over(world: &World) {
    world.clerk.clear_faults();
    let report = world.report("reconcile").await;
    assert_eq!(report["outcome"], "repaired", "{}", notes(&report));
    world.agrees().await;
}

async fn last_success(world: &World) -> Value {
    let figures = world.door().figures().await;
    let at = figures.sum("run_last_success_timestamp_seconds", &["kind=\"full\""]);
    assert!(at > 0.0, "{figures:?}");
    json!(at)
}

#[tokio::test(flavor = "multi_thread")]
async fn s13_ten_rows_where_five_hundred_were_asked_delete_nothing_and_name_the_page() {
    let world = World::filled(&[], 1_200).await;
    let drift = drift(&world);
    let short = Fault::next("GET /v1/users$", Wrong::ShortPage { rows: 10 });
    world.clerk.fault(short.after(1).times(1_000_000));
    let before = pages(&world.clerk);
    let report = world.report("reconcile").await;
    assert_eq!(report["outcome"], "failed", "{}", notes(&report));
    assert!(drift.is_all_there(&world));
    let asked = pages(&world.clerk) - before;
    assert!(asked <= 130, "it ends: {asked} pages");
    let words = notes(&report);
    assert!(words.contains("page 2"), "{words}");
    over(&world).await;
    assert!(world.user_row(&drift.new).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn s13_a_page_that_repeats_its_last_row_deletes_nothing_and_is_named() {
    let world = World::filled(&[], 1_200).await;
    let drift = drift(&world);
    let repeat = Fault::next("GET /v1/users$", Wrong::RepeatLast);
    world.clerk.fault(repeat.after(1));
    let report = world.report("reconcile").await;
    assert_eq!(report["outcome"], "failed", "{}", notes(&report));
    assert!(drift.is_all_there(&world));
    let words = notes(&report);
    assert!(words.contains("page 2"), "{words}");
    assert!(world.user_row(&drift.new).is_some(), "the rest goes on");
    over(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s13_a_cursor_that_is_ignored_for_ever_ends_all_the_same() {
    let world = World::filled(&[], 1_200).await;
    let drift = drift(&world);
    let ignore = Fault::next("GET /v1/users$", Wrong::IgnoreCursor);
    world.clerk.fault(ignore.times(1_000_000));
    let report = world.report("reconcile").await;
    // The walk goes on by windows of time, which is as good.
    assert_eq!(report["outcome"], "repaired", "{}", notes(&report));
    assert!(world.user_row(&drift.new).is_some());
    world.clerk.clear_faults();
    world.agrees().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s14_a_page_that_fails_five_times_deletes_nothing_and_the_other_tables_go_on() {
    let world = World::filled(&[], 1_200).await;
    let drift = drift(&world);
    let organization = world.unheard(|clerk| {
        let organization = json!({"name": "Analytical Engines"});
        clerk.create_organization(organization).expect("created")
    });
    let success = last_success(&world).await;
    let wrong = Wrong::Status {
        status: 500,
        retry_after_secs: None,
        json: true,
    };
    let broken = Fault::next("GET /v1/users$", wrong);
    world.clerk.fault(broken.after(1).times(5));
    let report = world.report("reconcile").await;
    assert_eq!(report["outcome"], "failed", "{}", notes(&report));
    assert!(notes(&report).contains("page 2"), "{}", notes(&report));
    assert!(drift.is_all_there(&world));
    let row = world.convex.row("organizations", &organization);
    assert!(row.is_some(), "the rest goes on: {}", notes(&report));
    assert_eq!(last_success(&world).await, success, "it is no success");
    let figures = world.door().figures().await;
    let failed = ["kind=\"reconcile\"", "outcome=\"failed\""];
    assert_eq!(figures.sum("runs_total", &failed), 1.0);
    over(&world).await;
    assert!(world.user_row(&drift.new).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn s14_members_that_cannot_be_listed_stop_neither_users_nor_organizations() {
    let world = World::filled(&[], 200).await;
    world.unheard(|clerk| {
        let organization = json!({"name": "Analytical Engines", "max_allowed_memberships": 100});
        let organization = clerk.create_organization(organization).expect("created");
        for user in clerk.user_ids().iter().take(20) {
            clerk
                .add_member(&organization, user, "org:member")
                .expect("added");
        }
    });
    let filled = world.report("reconcile").await;
    assert_eq!(filled["outcome"], "repaired", "{}", notes(&filled));
    let drift = drift(&world);
    let (member, organization) = world.unheard(|clerk| {
        let member = clerk.memberships()[7].clone();
        let of = |what: &Value| what["id"].as_str().expect("an id").to_owned();
        let (organization, user) = (
            of(&member["organization"]),
            &member["public_user_data"]["user_id"],
        );
        let user = user.as_str().expect("an id");
        clerk.remove_member(&organization, user).expect("removed");
        let another = json!({"name": "Difference Engines"});
        let another = clerk.create_organization(another).expect("created");
        (of(&member), another)
    });
    let wrong = Wrong::Status {
        status: 500,
        retry_after_secs: None,
        json: true,
    };
    let broken = Fault::next("memberships$", wrong);
    world.clerk.fault(broken.times(1_000_000));
    let report = world.report("reconcile").await;
    assert_eq!(report["outcome"], "failed", "{}", notes(&report));
    let there = |table: &str, id: &String| world.convex.row(table, id).is_some();
    assert!(there("memberships", &member), "not seen, not deleted");
    assert!(there("users", &drift.new) && there("organizations", &organization));
    let left = drift.gone.iter().filter(|id| there("users", id)).count();
    assert_eq!(left, 0, "the users were all seen");
    over(&world).await;
    assert!(!there("memberships", &member));
}

#[tokio::test(flavor = "multi_thread")]
async fn s15_an_empty_list_with_status_200_writes_nothing_and_is_told() {
    let world = World::filled(&[], 300).await;
    let empty = Fault::next("GET /v1/users$", Wrong::EmptyListing);
    world.clerk.fault(empty.times(1_000_000));
    let (rows, mutations) = (world.convex.rows("users"), world.convex.calls().mutations);
    for _ in 0..2 {
        let report = world.report("reconcile").await;
        assert_eq!(report["outcome"], "failed", "{}", notes(&report));
        assert!(
            world
                .door()
                .alerts()
                .await
                .contains(&"empty_listing".to_owned())
        );
    }
    assert_eq!(world.convex.calls().mutations, mutations);
    assert!(world.convex.rows("users") == rows);
    world.clerk.clear_faults();
    world.agrees().await;
    assert!(
        !world
            .door()
            .alerts()
            .await
            .contains(&"empty_listing".to_owned())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn s21_banned_locked_and_unverified_users_are_listed_and_kept() {
    let world = World::filled(&[], 50).await;
    let kept = world.unheard(|clerk| {
        let user = |name: &str, what: Value| {
            let mut user = json!({
                "first_name": name,
                "email_address": [format!("{}@example.com", name.to_lowercase())],
            });
            let what = what.as_object().expect("an object").clone();
            user.as_object_mut().expect("an object").extend(what);
            clerk.create_user(user).expect("created")
        };
        [
            user("Banned", json!({"banned": true})),
            user("Locked", json!({"locked": true})),
            user("Unverified", json!({"unverified": true})),
            user("Deprovisioned", json!({"deprovisioned": true})),
        ]
    });
    // One who was there before is banned now.
    let banned = world.unheard(|clerk| {
        let id = clerk.user_ids().into_iter().find(|id| !kept.contains(id));
        let id = id.expect("somebody");
        clerk
            .update_user(&id, json!({"banned": true}))
            .expect("updated");
        id
    });
    for _ in 0..2 {
        let report = world.report("reconcile").await;
        assert_ne!(report["outcome"], "failed", "{}", notes(&report));
        assert_eq!(report["tables"]["users"]["orphaned"], 0);
        for id in kept.iter().chain([&banned]) {
            assert!(world.user_row(id).is_some(), "{id}");
        }
    }
    assert!(world.convex.tombstones("users").is_empty());
    world.agrees().await;
}
