//! What is not Clerk's of this instance: another instance's key, the app's own rows and columns.

use clerk_convex_sync::sandbox::clerk::{ClerkOptions, ClerkSim};
use serde_json::json;

use crate::{
    process::System,
    runs::{notes, report, text},
    world::World,
};

#[tokio::test(flavor = "multi_thread")]
async fn s16_the_key_of_another_instance_is_refused_before_anything_is_written() {
    let mut system = System::start().await;
    system.clerk.seed_users(120);
    report(&system.door(), "reconcile").await;
    assert_eq!(system.convex.count("users"), 120);
    assert_eq!(system.terminate().await, 0);

    let key = "sk_test_another000000000000000000000000000000";
    let another = ClerkOptions {
        seed: 2,
        secret_key: key.to_owned(),
        instance_id: "ins_another".to_owned(),
        ..ClerkOptions::default()
    };
    system.clerk = ClerkSim::start(another).await.expect("a port");
    system.clerk.seed_users(80);
    system.set("CLERK_SECRET_KEY", key);
    let mutations = system.convex.calls().mutations;
    let rows = system.convex.rows("users");
    let refused = async |system: &System, arguments: &[&str]| {
        let output = system.run(arguments).await;
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {complaint}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        complaint
    };
    // Without a daemon, and with one.
    for round in 0..2 {
        for command in [
            &["audit"][..],
            &["reconcile"],
            &["reconcile", "--max-deletes", "9999"],
        ] {
            let complaint = refused(&system, command).await;
            assert!(complaint.contains("another instance"), "{complaint}");
            assert!(complaint.contains("secret_key"), "{complaint}");
            assert!(!complaint.contains(key), "no secret is said");
        }
        if round == 0 {
            system.start_daemon().await;
        }
    }
    let stranger = system.clerk.user_ids()[0].clone();
    system.run(&["sync", "user", &stranger]).await;
    let ours = text(&rows[0]["clerkId"]);
    system.run(&["sync", "user", &ours]).await;
    assert!(system.convex.row("users", &ours).is_some(), "not deleted");
    assert!(
        system.convex.row("users", &stranger).is_none(),
        "not written"
    );
    assert_eq!(system.convex.calls().mutations, mutations);
    assert!(system.convex.rows("users") == rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn s16_another_deployment_behind_the_same_state_is_refused() {
    let mut system = System::start().await;
    system.clerk.seed_users(20);
    report(&system.door(), "reconcile").await;
    assert_eq!(system.terminate().await, 0);
    // The same machine by another name: the state cannot know that it is the same.
    let url = system.convex.url().replace("127.0.0.1", "localhost");
    system.set("CONVEX_URL", &url);
    let mutations = system.convex.calls().mutations;
    let output = system.run(&["reconcile"]).await;
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    assert!(complaint.contains("state.dir"), "{complaint}");
    assert_eq!(system.convex.calls().mutations, mutations);
}

#[tokio::test(flavor = "multi_thread")]
async fn s30_the_apps_own_columns_and_rows_are_never_touched_and_never_a_difference() {
    let world = World::filled(&[], 30).await;
    let users = world.clerk.user_ids();
    let of = |id: &str| text(&world.user_row(id).expect("a row")["_id"]);
    for (at, id) in users.iter().enumerate() {
        let credits = json!({"creditsBalance": at * 10});
        world
            .convex
            .patch_row("users", &of(id), &credits)
            .expect("patched");
    }
    let own = json!({"name": "The app's own", "email": "own@example.com", "creditsBalance": 7});
    let own_id = world.convex.insert_row("users", &own).expect("inserted");
    let own_row = || {
        let rows = world.convex.rows("users");
        rows.into_iter().find(|row| row["_id"] == json!(own_id))
    };
    let before = own_row().expect("it is there");
    world.agrees().await;

    // A change by delivery, one by repair, and one deletion beside them.
    let named = |name: &str| json!({"first_name": name});
    world
        .clerk
        .update_user(&users[0], named("Delivered"))
        .expect("updated");
    world.unheard(|clerk| {
        clerk
            .update_user(&users[1], named("Repaired"))
            .expect("updated");
        clerk.delete_user(&users[2]).expect("deleted");
    });
    world.quiet().await;
    let report = world.report("reconcile").await;
    assert_eq!(report["outcome"], "repaired", "{}", notes(&report));
    assert_eq!(
        report["tables"]["users"]["convex"], 30,
        "its own row is none"
    );
    for (at, name) in [(0, "Delivered"), (1, "Repaired")] {
        let row = world.user_row(&users[at]).expect("a row");
        assert!(text(&row["name"]).starts_with(name), "{row}");
        assert_eq!(row["creditsBalance"], at * 10);
    }
    assert_eq!(own_row().as_ref(), Some(&before));
    world.agrees().await;
}
