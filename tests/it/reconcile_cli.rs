//! `audit`, `reconcile`, `sync` and `reports` on a pair that has drifted apart in known ways.
//!
//! The built binary between the simulated ends, with a daemon and without: the report names exactly what was
//! spoiled, column by column and without a personal value, and a repair leaves nothing behind.

mod drift;

use serde_json::{Value, json};

use self::drift::{Spoiled, code, filled, said, sorted, spoil};
use crate::{
    process::System,
    runs::{keys, same_records, text},
    world::eventually,
};

/// A command that prints one document: its exit code and the document.
async fn document(system: &System, arguments: &[&str]) -> (Option<i32>, Value, String) {
    let output = system.run(arguments).await;
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let document = serde_json::from_str(&printed)
        .unwrap_or_else(|_| panic!("{arguments:?}: {printed}\n{complaint}"));
    (output.status.code(), document, printed)
}

/// What must hold, daemon or not.
async fn a_drifted_pair_is_told_and_put_right(system: &System) {
    filled(system).await;
    assert_eq!(code(system, &["audit"]).await, Some(0));
    let spoiled = spoil(system);
    let mutations = system.convex.calls().mutations;

    let (exit, audit, printed) = document(system, &["audit", "--json"]).await;
    assert_eq!(exit, Some(3), "{audit:#}");
    assert_eq!(audit["schema"], "clerk-convex-sync/report/1");
    assert_eq!(
        (&audit["kind"], &audit["outcome"]),
        (&json!("audit"), &json!("differences"))
    );
    assert_eq!(said(&audit), spoiled);
    for personal in [
        "Mallory",
        "attack.example",
        "Tampered",
        "Renamed",
        "Quietly",
        "Lovelace",
    ] {
        assert!(
            !printed.contains(personal),
            "{personal} is personal: {printed}"
        );
    }
    let role = audit["differences"].as_array().expect("a list").iter();
    let role: Vec<&Value> = role
        .filter(|one| one["fields"][0]["field"] == "role")
        .collect();
    let admin = json!([{"field": "role", "clerk": "org:admin", "convex": "org:member"}]);
    assert_eq!(role[0]["fields"], admin, "what is not personal is shown");
    for one in audit["differences"].as_array().expect("a list") {
        assert_eq!(one["action"], "none");
    }
    assert_eq!(system.convex.calls().mutations, mutations, "it only looks");

    // One table at a time, and nothing of the others.
    let (exit, some, _) = document(system, &["audit", "--table", "organizations", "--json"]).await;
    assert_eq!(exit, Some(3));
    let of_table = spoiled.iter().filter(|one| one.0 == "organizations");
    assert_eq!(said(&some), of_table.cloned().collect());
    let tables: Vec<&String> = some["tables"].as_object().expect("tables").keys().collect();
    assert_eq!(tables, ["organizations"]);

    let (exit, done, _) = document(system, &["reconcile", "--json"]).await;
    assert_eq!(
        (exit, &done["outcome"]),
        (Some(0), &json!("repaired")),
        "{done:#}"
    );
    for one in &spoiled {
        let mended = done["differences"].as_array().expect("a list").iter();
        let mended = mended.filter(|d| d["table"] == one.0.as_str() && d["key"] == one.1.as_str());
        let actions: Vec<String> = mended.map(|d| text(&d["action"])).collect();
        let wanted = match one.2.as_str() {
            "missing" => "created",
            "stale" => "updated",
            _ => "deleted",
        };
        assert_eq!(actions, [wanted], "{one:?}");
    }

    let mutations = system.convex.calls().mutations;
    let (exit, audit, _) = document(system, &["audit", "--json"]).await;
    assert_eq!(exit, Some(0), "{audit:#}");
    assert_eq!(
        (&audit["outcome"], &audit["differences"]),
        (&json!("in_sync"), &json!([]))
    );
    assert_eq!(system.convex.calls().mutations, mutations);
    same_records(&system.clerk, &system.convex);

    // Past runs, newest first; one of them as it was printed.
    let list = system.run_json(&["reports", "list", "--json"]).await;
    let ids: Vec<&Value> = list.as_array().map_or_else(
        || panic!("a list: {list}"),
        |all| all.iter().map(|one| &one["id"]).collect(),
    );
    assert_eq!(ids[0], &audit["id"]);
    assert_eq!(ids[1], &done["id"]);
    let id = text(&done["id"]);
    let shown = system.run_json(&["reports", "show", &id, "--json"]).await;
    assert_eq!(shown, done);
    for format in ["text", "md", "html"] {
        let output = system
            .run(&["reports", "show", &id, "--format", format])
            .await;
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(0));
        for (_, key, ..) in &spoiled {
            assert!(shown.contains(key), "{format}: {key}");
        }
        assert!(!shown.contains("Mallory"), "{format}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drifted_pair_is_told_column_by_column_and_put_right_by_the_daemon() {
    let system = System::start().await;
    a_drifted_pair_is_told_and_put_right(&system).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drifted_pair_is_told_column_by_column_and_put_right_without_a_daemon() {
    let system = System::prepared(&[]).await;
    a_drifted_pair_is_told_and_put_right(&system).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_of_one_table_leaves_the_others_alone() {
    let system = System::prepared(&[]).await;
    filled(&system).await;
    let spoiled = spoil(&system);
    let only = [
        "reconcile",
        "--table",
        "organizations",
        "--table",
        "memberships",
        "--json",
    ];
    let (exit, done, _) = document(&system, &only).await;
    assert_eq!(exit, Some(0), "{done:#}");
    let (_, audit, _) = document(&system, &["audit", "--json"]).await;
    let left = spoiled
        .iter()
        .filter(|one| one.0 == "users" || one.0 == "profiles");
    assert_eq!(said(&audit), left.cloned().collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_rows_of_one_record_are_told_and_neither_is_removed() {
    let system = System::prepared(&[]).await;
    filled(&system).await;
    let mut twin = system.convex.rows("users")[20].clone();
    let key = text(&twin["clerkId"]);
    let own = twin.as_object_mut().expect("an object");
    own.retain(|name, _| !name.starts_with('_'));
    system.convex.insert_row("users", &twin).expect("inserted");
    for command in ["audit", "reconcile"] {
        let (exit, report, _) = document(&system, &[command, "--json"]).await;
        assert_eq!(exit, Some(3), "{command}: {report:#}");
        assert_eq!(report["tables"]["users"]["duplicate"], 1);
        let one = (
            String::from("users"),
            key.clone(),
            String::from("duplicate"),
            vec![],
        );
        assert_eq!(said(&report), Spoiled::from([one]));
    }
    assert_eq!(system.convex.count("users"), 61);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_without_its_users_row_is_deleted_softly_too() {
    let system = System::prepared(&[("CCS_USERS__DELETE_MODE", "soft")]).await;
    filled(&system).await;
    let alone = json!({"clerkId": "user_nobody", "clerkCreatedAt": 5, "firstName": "Left"});
    system
        .convex
        .insert_row("profiles", &alone)
        .expect("inserted");
    let (exit, done, _) = document(&system, &["reconcile", "--json"]).await;
    assert_eq!((exit, &done["outcome"]), (Some(0), &json!("repaired")));
    let row = system
        .convex
        .row("profiles", "user_nobody")
        .expect("it stays");
    assert!(row["deletedAt"].as_f64() > Some(0.0), "{row}");
    let (exit, again, _) = document(&system, &["reconcile", "--json"]).await;
    assert_eq!((exit, &again["outcome"]), (Some(0), &json!("in_sync")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_plan_is_carried_out_by_its_digest_with_a_daemon_and_without() {
    let mut system = System::prepared(&[]).await;
    filled(&system).await;
    for daemon in [false, true] {
        if daemon {
            system.start_daemon().await;
            system.clerk.set_webhook_url(None);
        }
        let gone: Vec<String> = sorted(system.clerk.user_ids()).split_off(30)[..10].to_vec();
        for id in &gone {
            system.clerk.delete_user(id).expect("deleted");
        }
        let (exit, held, _) = document(&system, &["reconcile", "--json"]).await;
        assert_eq!(
            (exit, &held["outcome"]),
            (Some(3), &json!("held")),
            "{held:#}"
        );
        let digest = text(&held["plan_digest"]);
        assert!(
            gone.iter()
                .all(|id| keys(&system.convex, "users").contains(id))
        );
        // In words for a person, who is told what to do.
        let output = system.run(&["reconcile"]).await;
        assert_eq!(output.status.code(), Some(3));
        let words = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(words.contains(&digest), "{words}");
        let approve = ["reconcile", "--approve", &digest, "--json"];
        let (exit, done, _) = document(&system, &approve).await;
        assert_eq!(
            (exit, &done["outcome"]),
            (Some(0), &json!("repaired")),
            "{done:#}"
        );
        assert_eq!(code(&system, &["audit"]).await, Some(0));
        same_records(&system.clerk, &system.convex);
        assert_eq!(code(&system, &approve).await, Some(1), "it is carried out");
    }
    // Or the brake is loosened for one run.
    let gone: Vec<String> = sorted(system.clerk.user_ids()).split_off(25)[..6].to_vec();
    for id in &gone {
        system.clerk.delete_user(id).expect("deleted");
    }
    assert_eq!(
        code(&system, &["reconcile", "--max-deletes", "3"]).await,
        Some(3)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_record_is_put_right_alone() {
    let system = System::prepared(&[]).await;
    filled(&system).await;
    let spoiled = spoil(&system);
    for (table, key, kind, _) in &spoiled {
        let which = match table.as_str() {
            "users" => "user",
            "organizations" => "organization",
            _ => continue,
        };
        let synced = system.run_json(&["sync", which, key, "--json"]).await;
        let wanted = match kind.as_str() {
            "missing" => ("found", "created"),
            "stale" => ("found", "updated"),
            _ => ("gone", "deleted"),
        };
        assert_eq!(
            (text(&synced["clerk"]), text(&synced["action"])),
            (wanted.0.into(), wanted.1.into()),
            "{key}"
        );
        let again = system.run_json(&["sync", which, key, "--json"]).await;
        assert_eq!(again["action"], "none", "{again}");
    }
    let (_, audit, _) = document(&system, &["audit", "--table", "users", "--json"]).await;
    assert_eq!(audit["differences"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_beside_another_one_that_holds_the_state_ends_with_code_4() {
    let system = System::prepared(&[]).await;
    filled(&system).await;
    system.clerk.set_latency(std::time::Duration::from_secs(2));
    let asked = system.clerk.requests().total;
    let queries = system.convex.calls().queries;
    let mut slow = system.spawn(&["audit"]);
    let lock = system.state.path().join("admin.sock");
    // It holds the directory before it asks anybody, and Convex is asked first.
    eventually("the first one has begun", async || {
        system.convex.calls().queries > queries
    })
    .await;
    assert_eq!(code(&system, &["sync", "user", "user_none"]).await, Some(4));
    for command in [
        &["audit"][..],
        &["reconcile"],
        &["reconcile", "--approve", "0123456789abcdef"],
    ] {
        let output = system.run(command).await;
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(4), "{command:?}: {complaint}");
        assert!(output.stdout.is_empty());
    }
    assert!(!lock.exists(), "no daemon is meant");
    system.clerk.set_latency(std::time::Duration::ZERO);
    let end = slow.wait().await.expect("a status");
    assert_eq!(end.code(), Some(0));
    assert!(system.clerk.requests().total > asked);
    assert_eq!(code(&system, &["audit"]).await, Some(0), "it is free again");
}
