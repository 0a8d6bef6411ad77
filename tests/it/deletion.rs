//! What may be deleted, and what is held back: a mass deletion, a plan that a person approves, an emptied
//! organization, a few deletions that nobody heard of.

use clerk_convex_sync::sandbox::convex::{FaultKind, FaultRule};
use serde_json::{Value, json};

use crate::{
    process::System,
    runs::{found, keys, notes, report, run, text},
    world::{World, eventually},
};

/// The digest of the one `plan_held` alert that is raised, from its own words.
async fn alerted_digest(system: &System) -> String {
    let status = system.door().get("/status").await;
    let alerts = status["alerts"].as_array().expect("a list").clone();
    let held: Vec<Value> = alerts
        .into_iter()
        .filter(|alert| alert["code"] == "plan_held")
        .collect();
    assert_eq!(held.len(), 1, "{status}");
    let words = text(&held[0]["message"]);
    let (_, digest) = words.split_once("--approve ").expect("what to do");
    digest.trim_end_matches('`').to_owned()
}

/// A thousand users on both sides, of whom 600 vanish without a word.
async fn six_hundred_vanish() -> (System, Vec<String>) {
    let system = System::start().await;
    system.clerk.seed_users(1_000);
    report(&system.door(), "reconcile").await;
    assert_eq!(system.convex.count("users"), 1_000);
    system.clerk.set_webhook_url(None);
    let mut gone = system.clerk.user_ids();
    gone.sort();
    gone.truncate(600);
    for id in &gone {
        system.clerk.delete_user(id).expect("deleted");
    }
    (system, gone)
}

#[tokio::test(flavor = "multi_thread")]
async fn s17_six_hundred_of_a_thousand_are_held_and_told_once_while_the_rest_is_repaired() {
    let (system, gone) = six_hundred_vanish().await;
    let new = system
        .clerk
        .create_user(json!({"first_name": "Newcomer"}))
        .expect("created");
    let changed = system
        .clerk
        .user_ids()
        .into_iter()
        .find(|id| *id != new)
        .expect("somebody");
    system
        .clerk
        .update_user(&changed, json!({"first_name": "Changed"}))
        .expect("updated");

    let held = report(&system.door(), "reconcile").await;
    assert_eq!(held["outcome"], "held", "{}", notes(&held));
    let digest = text(&held["plan_digest"]);
    assert_eq!(system.convex.count("users"), 1_001, "nobody is gone");
    assert_eq!(system.convex.count("profiles"), 1_001);
    assert!(system.convex.tombstones("users").is_empty());
    let name = |id: &str| text(&system.convex.row("users", id).expect("a row")["name"]);
    assert!(name(&new).starts_with("Newcomer"));
    assert!(name(&changed).starts_with("Changed"));
    let users = &held["tables"]["users"];
    assert_eq!(
        (&users["held"], &users["orphaned"]),
        (&json!(600), &json!(600))
    );
    assert_eq!(
        found(&held, "orphaned").len(),
        1_000 - 4,
        "the first thousand"
    );
    assert_eq!(alerted_digest(&system).await, digest);

    // A second run, and one after a restart, say nothing new.
    let again = report(&system.door(), "reconcile").await;
    assert_eq!(again["plan_digest"], held["plan_digest"]);
    assert_eq!(system.log.count("\"alert\":\"plan_held\""), 1);
    let command = system.run(&["reconcile"]).await;
    assert_eq!(command.status.code(), Some(3));
    let printed = String::from_utf8_lossy(&command.stdout);
    assert!(printed.contains(&digest), "{printed}");
    assert!(
        gone.iter()
            .all(|id| keys(&system.convex, "users").contains(id))
    );
}

/// A deletion whose delivery Convex refuses, found by a run; the reason that its report gives.
async fn deletion_that_waits(attempts: &str) -> String {
    let settings = [
        ("SYNC_RETRY_MAX_ATTEMPTS", attempts),
        ("SYNC_RETRY_DELAY_MS", "600000"),
    ];
    let world = World::filled(&settings, 20).await;
    let lost = world.clerk.user_ids().remove(0);
    let mut refuses = FaultRule::new(FaultKind::RejectKey);
    refuses.key = Some(lost.clone());
    world.convex.fault(refuses);
    world.clerk.delete_user(&lost).expect("deleted");
    eventually("it was refused", async || {
        let figures = world.door().figures().await;
        figures.sum("retries_total", &["cause=\"record\""]) > 0.0
            || !world.door().failures().await.is_empty()
    })
    .await;
    world.convex.clear_faults();
    let report = world.report("reconcile").await;
    assert_eq!(found(&report, "orphaned").len(), 2, "{report:#}");
    assert!(world.user_row(&lost).is_none());
    text(&report["differences"][0]["reason"])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_whose_delivery_waits_or_is_a_dead_letter_is_not_called_missed() {
    let waits = deletion_that_waits("3").await;
    assert!(
        waits.ends_with("its delivery is still in the queue"),
        "{waits}"
    );
    let dead = deletion_that_waits("0").await;
    assert!(dead.contains("its delivery is a dead letter"), "{dead}");
}

#[tokio::test(flavor = "multi_thread")]
async fn s18_of_the_approved_plan_those_who_exist_again_are_left_alone_and_named() {
    let (system, gone) = six_hundred_vanish().await;
    let held = report(&system.door(), "reconcile").await;
    let digest = text(&held["plan_digest"]);
    let (back, lost) = gone.split_at(5);
    for id in back {
        system.clerk.restore_user(id).expect("restored");
    }
    // A plan of another digest is not carried out.
    let other = format!("{}{}", &digest[1..], &digest[..1]);
    if other != digest {
        let wish = json!({"kind": "reconcile", "approve": other});
        run(&system.door(), wish).await.expect_err("unknown");
        assert_eq!(system.convex.count("users"), 1_000);
    }

    let asked = |system: &System| system.clerk.requests().to("GET /v1/users/{user_id}");
    let before = asked(&system);
    let wish = json!({"kind": "reconcile", "approve": digest});
    let done = run(&system.door(), wish).await.expect("a report");
    assert_eq!(done["outcome"], "repaired", "{}", notes(&done));
    assert_eq!(system.convex.count("users"), 405);
    let there = keys(&system.convex, "users");
    assert!(back.iter().all(|id| there.contains(id)), "they exist");
    assert!(lost.iter().all(|id| !there.contains(id)), "they do not");
    assert!(asked(&system) - before >= 600, "each was asked for");
    let left: Vec<String> = done["differences"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|one| one["action"] == "none")
        .map(|one| text(&one["key"]))
        .collect();
    assert_eq!(left, back, "{}", notes(&done));
    assert!(notes(&done).contains("5 of 600"), "{}", notes(&done));
    assert!(
        !system
            .door()
            .alerts()
            .await
            .contains(&"plan_held".to_owned())
    );
    // It cannot be carried out a second time.
    let wish = json!({"kind": "reconcile", "approve": text(&held["plan_digest"])});
    run(&system.door(), wish).await.expect_err("it is done");
    report(&system.door(), "reconcile").await;
    let audit = report(&system.door(), "audit").await;
    assert_eq!(audit["outcome"], "in_sync", "{audit:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn s19_all_members_of_one_organization_vanish_and_are_held_by_their_own_brake() {
    let world = World::start().await;
    let (small, members) = world.unheard(|clerk| {
        clerk.seed_users(100);
        let users = clerk.user_ids();
        let organization = |name: &str| {
            let named = json!({"name": name, "max_allowed_memberships": 1_000});
            clerk.create_organization(named).expect("created")
        };
        let small = organization("Small");
        for large in [organization("Large"), organization("Larger")] {
            for user in &users {
                clerk.add_member(&large, user, "org:member").expect("added");
            }
        }
        for user in &users[..6] {
            clerk.add_member(&small, user, "org:member").expect("added");
        }
        (small, users[..6].to_vec())
    });
    let filled = world.report("reconcile").await;
    assert_eq!(filled["outcome"], "repaired", "{}", notes(&filled));
    assert_eq!(world.convex.count("memberships"), 206);
    world.unheard(|clerk| {
        for user in &members {
            clerk.remove_member(&small, user).expect("removed");
        }
        let organization = json!({"name": "Another"});
        clerk.create_organization(organization).expect("created");
    });
    let held = world.report("reconcile").await;
    assert_eq!(held["outcome"], "held", "{}", notes(&held));
    assert_eq!(held["tables"]["memberships"]["held"], 6, "{held:#}");
    assert_eq!(world.convex.count("memberships"), 206);
    assert_eq!(world.convex.count("organizations"), 4, "others are created");
    let reasons = held["differences"].to_string();
    assert!(reasons.contains("without any member"), "{reasons}");
    let wish = json!({"kind": "reconcile", "approve": held["plan_digest"]});
    let done = run(&world.door(), wish).await.expect("a report");
    assert_eq!(done["outcome"], "repaired", "{}", notes(&done));
    assert_eq!(world.convex.count("memberships"), 200);
    world.agrees().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s19_the_only_members_there_are_vanish_and_are_held_too() {
    let world = World::start().await;
    let (organization, members) = world.unheard(|clerk| {
        clerk.seed_users(10);
        let organization =
            clerk.create_organization(json!({"name": "Only", "max_allowed_memberships": 100}));
        let organization = organization.expect("created");
        let users = clerk.user_ids();
        for user in &users {
            clerk
                .add_member(&organization, user, "org:member")
                .expect("added");
        }
        (organization, users)
    });
    world.report("reconcile").await;
    assert_eq!(world.convex.count("memberships"), 10);
    world.unheard(|clerk| {
        for user in &members {
            clerk.remove_member(&organization, user).expect("removed");
        }
    });
    let held = world.report("reconcile").await;
    assert_eq!(held["outcome"], "held", "{}", notes(&held));
    assert_eq!(held["tables"]["memberships"]["held"], 10, "{held:#}");
    assert_eq!(world.convex.count("memberships"), 10);
    let wish = json!({"kind": "reconcile", "approve": held["plan_digest"]});
    let done = run(&world.door(), wish).await.expect("a report");
    assert_eq!(done["outcome"], "repaired", "{}", notes(&done));
    assert_eq!(world.convex.count("memberships"), 0);
    world.agrees().await;
}

/// Three deletions while nobody listened for two days.
async fn three_leave_while_it_is_down(settings: &[(&str, &str)]) -> (World, Vec<String>) {
    let mut world = World::filled(settings, 300).await;
    world.stop_daemon().await;
    world.clerk.set_webhook_url(None);
    world.clerk.advance_ms(24 * 3_600_000);
    let gone: Vec<String> = world.clerk.user_ids().into_iter().take(3).collect();
    for id in &gone {
        world.clerk.delete_user(id).expect("deleted");
    }
    world.clerk.advance_ms(24 * 3_600_000);
    world.start_daemon().await;
    (world, gone)
}

fn is_gone(world: &World, gone: &[String]) -> bool {
    let there = |table: &str, id: &String| world.convex.row(table, id).is_some();
    let left = gone
        .iter()
        .any(|id| there("users", id) || there("profiles", id));
    !left
}

#[tokio::test(flavor = "multi_thread")]
async fn s20_deletions_while_the_daemon_was_down_are_found_by_the_next_full_diff() {
    let (world, gone) = three_leave_while_it_is_down(&[]).await;
    let asked = world.clerk.requests().to("GET /v1/users/{user_id}");
    let report = world.report("reconcile").await;
    assert_eq!(report["outcome"], "repaired", "{}", notes(&report));
    assert!(is_gone(&world, &gone));
    let confirmed = world.clerk.requests().to("GET /v1/users/{user_id}") - asked;
    assert!(confirmed >= 3, "each was asked for: {confirmed}");
    assert_eq!(report["tables"]["users"]["repaired"], 3);
    let said = report["differences"].to_string();
    assert_eq!(
        said.matches("its delivery never arrived").count(),
        6,
        "{said}"
    );
    let words = notes(&report);
    assert!(
        words.contains("3 change(s) were told by no delivery"),
        "{words}"
    );
    world.agrees().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s20_deletions_while_the_daemon_was_down_are_found_by_the_next_census() {
    let (world, gone) =
        three_leave_while_it_is_down(&[("CCS_SCHEDULE__CENSUS", "* * * * * *")]).await;
    eventually("all three are gone", async || is_gone(&world, &gone)).await;
    eventually("the census has been said", async || {
        let last = world.door().get("/status").await["last"]["census"].clone();
        !last.is_null()
    })
    .await;
    let figures = world.door().figures().await;
    let missed = figures.sum("missed_deliveries_total", &[]);
    assert_eq!(missed, 3.0, "{figures:?}");
    world.agrees().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_may_be_repaired_no_plan_is_carried_out_and_a_run_only_tells() {
    let mut world = World::filled(&[], 20).await;
    world.unheard(|clerk| {
        for id in clerk.user_ids().iter().take(12) {
            clerk.delete_user(id).expect("deleted");
        }
    });
    let held = world.report("reconcile").await;
    assert_eq!(held["outcome"], "held", "{}", notes(&held));
    world.stop_daemon().await;
    world.set("CCS_REPAIR__MODE", "report");
    world.start_daemon().await;
    let wish = json!({"kind": "reconcile", "approve": held["plan_digest"]});
    let refused = run(&world.door(), wish).await.expect_err("it may not");
    assert!(refused.contains("repair.mode"), "{refused}");
    // Without a plan it tells what it would do.
    let told = world.report("reconcile").await;
    assert_eq!(told["outcome"], "differences", "{}", notes(&told));
    assert_eq!(told["tables"]["users"]["orphaned"], 12);
    assert!(notes(&told).contains("repair.mode"), "{}", notes(&told));
    assert_eq!(world.convex.count("users"), 20);
}
