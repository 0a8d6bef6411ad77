//! Users beyond the usual: rows that were there before Clerk, and mappings that are about to change.

use clerk_convex_sync::sandbox::convex::ConvexOptions;
use serde_json::{Value, json};

use crate::{hand, process::System, world::World};

/// Inserts rows of the app's own, without a clerkId.
fn own_row(world: &World, address: &str) -> String {
    let row = json!({"email": address, "name": null, "role": "user", "creditsBalance": 77});
    world.convex.insert_row("users", &row).expect("inserted")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_from_before_clerk_is_adopted_only_by_its_one_verified_address_and_it_is_told() {
    let world = World::with(&[("CCS_USERS__LINK_BY_EMAIL", "true")]).await;
    let own = own_row(&world, "ada@example.com");
    let (one, two) = (
        own_row(&world, "twice@example.com"),
        own_row(&world, "twice@example.com"),
    );
    let signed_up = |address: &str| {
        let user = json!({"first_name": "Ada", "email_address": [address]});
        world.clerk.create_user(user).expect("created")
    };
    let ada = signed_up("ada@example.com");
    let twice = signed_up("twice@example.com");
    let unknown = signed_up("new@example.com");
    world.quiet().await;
    let row = |key: &str| world.user_row(key).expect("a row");
    assert_eq!(
        (&row(&ada)["_id"], &row(&ada)["creditsBalance"]),
        (&json!(own), &json!(77))
    );
    assert!(
        row(&twice)["_id"] != one.as_str() && row(&twice)["_id"] != two.as_str(),
        "in doubt none"
    );
    assert!(row(&unknown)["_id"].is_string());
    assert_eq!(world.door().figures().await.changes("linked"), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unverified_address_adopts_nothing_and_a_full_diff_names_what_it_adopts() {
    let world = World::with(&[("CCS_USERS__LINK_BY_EMAIL", "true")]).await;
    world.clerk.lose_ratio(1.0);
    let user = json!({"first_name": "Ada", "email_address": ["ada@example.com"]});
    let ada = world.clerk.create_user(user).expect("created");
    let own = own_row(&world, "ada@example.com");
    let text = world
        .door()
        .text("POST", "/runs", Some(json!({"kind": "reconcile"})))
        .await;
    let last: Value =
        serde_json::from_str(text.lines().last().unwrap_or_default()).expect("a line");
    assert_eq!(world.user_row(&ada).expect("a row")["_id"], own);
    let told = last["report"]["differences"]
        .as_array()
        .expect("a list")
        .iter();
    let told = told.filter(|one| one["reason"].to_string().contains("was linked"));
    assert_eq!(told.count(), 1, "{last:#}");

    // The same by a delivery whose address nobody has verified.
    let stranger = own_row(&world, "stranger@example.com");
    let mut event = hand::created("user_stranger", 1_000, "Eve");
    let address = &mut event["data"]["email_addresses"][0];
    address["email_address"] = json!("stranger@example.com");
    address["verification"] = json!({"status": "unverified", "strategy": "admin"});
    world.hand().say(&event).await;
    world.door().idle().await;
    let row = world.user_row("user_stranger").expect("a row");
    assert_eq!(row["email"], "stranger@example.com");
    assert_ne!(row["_id"], stranger.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_a_new_user_has_after_the_first_was_deleted_is_the_new_users_in_every_order()
 {
    const ORDERS: [[usize; 3]; 6] = [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ];
    for link in ["false", "true"] {
        let world = World::with(&[("CCS_USERS__LINK_BY_EMAIL", link)]).await;
        let who = |n| (format!("user_first_{n}"), format!("user_second_{n}"));
        for (n, order) in ORDERS.into_iter().enumerate() {
            let (first, second) = who(n);
            let address = json!(format!("ada{n}@example.com"));
            let signed_up = |key: &str, version| {
                let mut event = hand::created(key, version, "Ada");
                event["data"]["email_addresses"][0]["email_address"] = address.clone();
                event
            };
            let events = [
                signed_up(&first, 1_000),
                hand::deleted(&first, 2_000),
                signed_up(&second, 3_000),
            ];
            for at in order {
                world.hand().say(&events[at]).await;
                world.door().idle().await;
            }
        }
        for (n, order) in ORDERS.iter().enumerate() {
            let (first, second) = who(n);
            assert_eq!(world.user_row(&first), None, "{order:?}, link {link}");
            assert!(world.convex.tombstones("users").contains(&first));
            let row = world.user_row(&second).expect("a row");
            assert_eq!(row["email"], format!("ada{n}@example.com"), "{order:?}");
        }
        assert_eq!(world.convex.count("users"), ORDERS.len());
        assert_eq!(world.door().figures().await.changes("linked"), 0.0);
        world.settled().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_changed_hands_unheard_is_the_new_users_after_a_full_diff() {
    let free = [
        ("CCS_USERS__LINK_BY_EMAIL", "true"),
        ("CCS_REPAIR__MAX_DELETE_RATIO", "1.0"),
    ];
    let world = World::filled(&free, 6).await;
    let sign_up = |name: &str| {
        let user = json!({"first_name": name, "email_address": ["ada@example.com"]});
        world.clerk.create_user(user).expect("created")
    };
    let first = sign_up("Ada");
    world.quiet().await;
    let row = world.user_row(&first).expect("a row");
    let second = world.unheard(|clerk| {
        clerk.delete_user(&first).expect("deleted");
        sign_up("Augusta")
    });
    let report = world.report("reconcile").await;
    assert_eq!(report["outcome"], "repaired", "{report:#}");
    assert_eq!(world.user_row(&first), None);
    let new = world.user_row(&second).expect("a row");
    assert_eq!(new["email"], "ada@example.com");
    assert_ne!(
        new["_id"], row["_id"],
        "nothing of the first user's is hers"
    );
    world.agrees().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_shows_what_another_mapping_would_change_while_the_daemon_keeps_its_own() {
    let convex = ConvexOptions {
        extra_fields: vec!["seats".to_owned()],
        ..ConvexOptions::default()
    };
    let mut system = System::beside(convex, &[]).await;
    system.start_daemon().await;
    system.clerk.seed_users(12);
    let user = system.clerk.user_ids()[4].clone();
    system
        .clerk
        .merge_metadata(&user, json!({"public_metadata": {"seats": 5}}))
        .expect("merged");
    assert_eq!(system.run(&["reconcile"]).await.status.code(), Some(0));
    let file = system.state.path().join("next.toml");
    let text = "[users]\nextra_fields = { seats = { pointer = \"/public_metadata/seats\", type = \"number\" } }\n";
    std::fs::write(&file, text).expect("written");
    let named = file.display().to_string();
    let mutations = system.convex.calls().mutations;
    // With the daemon, and beside a state that no daemon holds.
    for daemon in [true, false] {
        if !daemon {
            assert_eq!(system.terminate().await, 0);
        }
        let output = system.run(&["--config", &named, "audit", "--json"]).await;
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
        let found = report["differences"].as_array().expect("a list");
        assert_eq!(found.len(), 1, "{report:#}");
        assert_eq!(
            (&found[0]["key"], &found[0]["fields"][0]["field"]),
            (&json!(user), &json!("seats"))
        );
        let output = system.run(&["audit"]).await;
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
    assert_eq!(system.convex.calls().mutations, mutations);
}
