//! Users beyond the usual: rows that were there before Clerk, and mappings that are about to change.

use clerk_convex_sync::sandbox::convex::ConvexOptions;
use serde_json::{Value, json};

use crate::{process::System, world::World};

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
    let mut event = crate::hand::created("user_stranger", 1_000, "Eve");
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
