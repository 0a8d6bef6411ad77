//! While an edit waits, the row is ahead of Clerk on purpose: no scan calls that drift or undoes it.

use clerk_convex_sync::sandbox::clerk::faults::{Fault, Wrong};
use serde_json::{Value, json};

use super::{ON, PATCH, edit, profile};
use crate::{
    runs::{found, notes},
    world::{World, eventually},
};

/// Changes a user's profile in Convex behind everybody's back.
fn by_hand(world: &World, user: &str, columns: Value) {
    let row = profile(world, user);
    let row = row["_id"].as_str().expect("an id");
    let patched = world.convex.patch_row("profiles", row, &columns);
    patched.expect("patched");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_that_waits_is_a_note_and_no_difference() {
    let world = World::filled(&[ON], 12).await;
    let away = Wrong::Status {
        status: 503,
        retry_after_secs: None,
        json: false,
    };
    world.clerk.fault(Fault::next(PATCH, away).times(u32::MAX));
    let ids = world.clerk.user_ids();
    for id in &ids[..2] {
        edit(
            &world,
            id,
            json!({"firstName": "Augusta Ada", "lastName": null}),
        );
    }
    let audit = world.report("audit").await;
    assert_eq!(audit["outcome"], "in_sync", "{audit:#}");
    assert!(
        notes(&audit).contains("2 user(s) have edits waiting"),
        "{audit:#}"
    );

    // Drift beside an edit is still drift, and only that is put right.
    by_hand(&world, &ids[1], json!({"phoneNumber": "+15550100"}));
    let audit = world.report("audit").await;
    let stale = [("profiles".to_owned(), ids[1].clone())];
    assert_eq!(found(&audit, "stale"), stale, "{audit:#}");
    let fields = audit["differences"][0]["fields"].as_array().expect("some");
    assert_eq!(fields.len(), 1, "{audit:#}");
    assert_eq!(fields[0]["field"], "phoneNumber");
    let report = world.report("reconcile").await;
    assert_eq!(report["outcome"], "repaired", "{report:#}");
    assert_eq!(report["tables"]["profiles"]["repaired"], 1);
    assert_eq!(world.convex.edits_waiting(), 2);
    for id in &ids[..2] {
        let row = profile(&world, id);
        assert_eq!(row["firstName"], "Augusta Ada");
        assert!(row["lastName"].is_null());
    }
    assert_ne!(profile(&world, &ids[1])["phoneNumber"], "+15550100");

    // What a hand wrote over an edit is no edit.
    by_hand(&world, &ids[0], json!({"firstName": "By hand"}));
    let audit = world.report("audit").await;
    let stale = [("profiles".to_owned(), ids[0].clone())];
    assert_eq!(found(&audit, "stale"), stale, "{audit:#}");
    by_hand(&world, &ids[0], json!({"firstName": "Augusta Ada"}));

    world.clerk.clear_faults();
    eventually("Clerk has the edits", async || {
        world.convex.edits_waiting() == 0
    })
    .await;
    world.agrees().await;
    let audit = world.report("audit").await;
    assert!(!notes(&audit).contains("edits waiting"), "{audit:#}");
}
