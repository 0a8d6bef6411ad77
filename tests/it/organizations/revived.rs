//! Soft deletion holds a row; `sync user ID --revive` brings it back as it was.

use serde_json::{Value, json};

use super::Club;

const SOFT: &[(&str, &str)] = &[("CCS_USERS__DELETE_MODE", "soft")];

/// A row without the times of its last write: Clerk's version moves when the user comes back.
fn content(row: Option<Value>) -> Value {
    let mut row = row.expect("a row");
    let members = row.as_object_mut().expect("a document");
    for written in ["updatedAt", "lastSyncAt", "clerkUpdatedAt"] {
        members.remove(written);
    }
    row
}

#[tokio::test(flavor = "multi_thread")]
async fn a_softly_deleted_user_comes_back_byte_for_byte_with_what_the_app_keeps() {
    let club = Club::found(SOFT, 10, (2, 3)).await;
    club.run("reconcile").await;
    let user = club.users[1].clone();
    let convex = &club.world.convex;
    let kept = json!({"creditsBalance": 4321.5, "subscriptionTier": "gold"});
    convex
        .patch_row("users", &club.id("users", &user), &kept)
        .expect("patched");
    let row = content(convex.row("users", &user));
    let profile = content(convex.row("profiles", &user));

    club.world.clerk.delete_user(&user).expect("deleted");
    let synced = club.sync("users", &user, false).await;
    assert_eq!(synced["action"], "deleted", "{synced}");
    assert!(convex.row("users", &user).expect("it is held")["deletedAt"].is_number());

    club.world.clerk.restore_user(&user).expect("restored");
    let synced = club.sync("users", &user, false).await;
    assert_ne!(
        synced["action"], "updated",
        "it stays deleted until a person says so: {synced}"
    );
    assert!(convex.row("users", &user).expect("it is held")["deletedAt"].is_number());

    let synced = club.sync("users", &user, true).await;
    assert_eq!(synced["action"], "updated", "{synced}");
    assert_eq!(content(convex.row("users", &user)), row);
    assert_eq!(content(convex.row("profiles", &user)), profile);
    let report = club.run("audit").await;
    let of_users = &report["tables"]["users"];
    assert_eq!(
        (&of_users["missing"], &of_users["stale"]),
        (&json!(0), &json!(0)),
        "{report:#}"
    );
}
