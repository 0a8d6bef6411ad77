//! Changes on both sides at once: the later one stays, and both sides end equal.

use std::time::Duration;

use clerk_convex_sync::sandbox::{
    clerk::faults::{Fault, Wrong},
    convex::Commit,
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

use super::{PATCH, edit, profile, same, user, world};
use crate::world::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn of_changes_on_both_sides_the_later_one_stays() {
    let world = world().await;
    let (first, second) = (user(&world, "Ada").await, user(&world, "Grace").await);
    // Deliveries come late, so the daemon has to look for itself.
    world
        .clerk
        .delay(Duration::from_secs(3), Duration::from_secs(3));
    let change = json!({"first_name": "By the administrator"});
    edit(&world, &first, json!({"firstName": "Augusta"}));
    tokio::time::sleep(Duration::from_millis(20)).await;
    world
        .clerk
        .update_user(&first, change.clone())
        .expect("changed");
    world.clerk.update_user(&second, change).expect("changed");
    tokio::time::sleep(Duration::from_millis(20)).await;
    edit(&world, &second, json!({"firstName": "Hopper"}));
    eventually("the later edit is carried", async || {
        world.clerk.user(&second).expect("a user")["first_name"] == "Hopper"
    })
    .await;
    world.quiet().await;
    assert_eq!(profile(&world, &first)["firstName"], "By the administrator");
    assert_eq!(profile(&world, &second)["firstName"], "Hopper");
    assert!(same(&world, &first) && same(&world, &second));
    assert_eq!(world.clerk.requests().to(PATCH), 1, "only what was later");
}

/// Edits and an administrator's changes at once, while both services fail at random.
#[tokio::test(flavor = "multi_thread")]
async fn many_users_changed_on_both_sides_under_failures_end_equal() {
    const USERS: usize = 60;
    let world = world().await;
    let mut ids = Vec::new();
    for n in 0..USERS {
        let user = json!({"first_name": format!("Ada{n}"), "last_name": "Varga"});
        ids.push(world.clerk.create_user(user).expect("a user"));
    }
    world.quiet().await;
    let before = world.convex.commits(0, usize::MAX).len() as u64;
    let mut dice = StdRng::seed_from_u64(20_260_202);
    for _ in 0..12 {
        let wrong = match dice.random_range(0..4) {
            0 => Wrong::CutAnswer,
            1 => Wrong::Cut,
            2 => Wrong::Garbage,
            _ => Wrong::Status {
                status: 500,
                retry_after_secs: None,
                json: true,
            },
        };
        let after = dice.random_range(0..40);
        world.clerk.fault(Fault::next(PATCH, wrong).after(after));
    }
    for function in ["settle", "edits", "apply"] {
        world
            .convex
            .answer(503, "Overloaded")
            .of(function)
            .for_calls(2);
    }
    for (n, id) in ids.iter().enumerate() {
        let in_app = json!({"firstName": format!("App{n}")});
        let in_clerk = json!({"first_name": format!("Clerk{n}")});
        let other = json!({"last_name": format!("King{n}")});
        match n % 3 {
            0 => edit(&world, id, in_app),
            1 => {
                edit(&world, id, in_app);
                world.clerk.update_user(id, in_clerk).expect("changed");
            }
            _ => {
                world.clerk.update_user(id, other).expect("changed");
                edit(&world, id, in_app);
            }
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    eventually("both sides are equal", async || {
        ids.iter().all(|id| same(&world, id))
    })
    .await;
    eventually("no edit waits", async || {
        let figures = world.door().figures().await;
        let all = figures.sum("edits_total", &[]);
        all + (0..USERS).filter(|n| n % 3 == 1).count() as f64 >= USERS as f64
    })
    .await;
    world.quiet().await;
    assert!(ids.iter().all(|id| same(&world, id)));
    for (n, id) in ids.iter().enumerate() {
        let first_name = &profile(&world, id)["firstName"];
        match n % 3 {
            0 | 2 => assert_eq!(*first_name, format!("App{n}"), "the edit was the later one"),
            _ => assert!(
                *first_name == format!("App{n}") || *first_name == format!("Clerk{n}"),
                "{first_name}"
            ),
        }
        let path = format!("/v1/users/{id}");
        let requests = world.clerk.requests();
        let writes = requests
            .last()
            .filter(|r| r.path == path && r.endpoint == PATCH && r.status == 200);
        assert!(writes.count() <= 2, "{id}");
    }
    // The app's own edits are no writes of the daemon's: its commits after them are.
    for (id, table) in ids.iter().flat_map(|id| [(id, "users"), (id, "profiles")]) {
        let of_row = |commit: &&Commit| commit.table == table && *commit.key == **id;
        let commits = world.convex.commits(before, usize::MAX);
        let written = commits.iter().filter(of_row).count();
        assert!(written <= 2, "{table} {id}: {written} writes");
    }
    assert_eq!(world.door().failures().await, Vec::<Value>::new());
}
