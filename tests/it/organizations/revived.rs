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

    // Its profile is held with it: that is no difference, and nothing claims to have put it right.
    for tables in [json!(["users", "profiles"]), json!(["profiles"])] {
        let wish = json!({"kind": "reconcile", "tables": tables});
        let report = club.order("/runs", wish).await["report"].clone();
        assert_eq!(report["tables"]["profiles"]["orphaned"], 0, "{report:#}");
        assert_eq!(report["tables"]["profiles"]["repaired"], 0, "{report:#}");
    }
    assert_eq!(content(convex.row("profiles", &user)), profile);

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

#[tokio::test(flavor = "multi_thread")]
async fn the_memberships_of_a_user_whose_row_is_held_go_as_clerk_has_none() {
    let club = Club::found(SOFT, 6, (2, 3)).await;
    club.run("reconcile").await;
    let convex = &club.world.convex;
    let user = convex.rows("memberships")[0]["clerkUserId"].clone();
    let user = user.as_str().expect("an id");
    let memberships = || {
        let rows = convex.rows("memberships");
        rows.iter().filter(|row| row["clerkUserId"] == user).count()
    };
    club.world.clerk.delete_user(user).expect("deleted");
    club.sync("users", user, false).await;
    assert!(memberships() > 0, "only a hard deletion takes them along");
    club.run("reconcile").await;
    assert_eq!(memberships(), 0);
    assert!(convex.row("users", user).expect("it is held")["deletedAt"].is_number());
    assert!(convex.row("profiles", user).is_some(), "held with it");
    club.agrees().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_rows_of_all_users_are_held_an_empty_listing_is_as_it_should_be() {
    let club = Club::found(SOFT, 2, (0, 0)).await;
    club.run("reconcile").await;
    for user in &club.users {
        club.world.clerk.delete_user(user).expect("deleted");
        club.sync("users", user, false).await;
    }
    assert_eq!(club.world.convex.count("users"), 2, "they are held");
    club.agrees().await;
    let status = club.world.door().get("/status").await;
    assert_eq!(status["alerts"], json!([]), "{status:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_was_held_long_enough_goes_for_good_and_one_whose_user_is_back_does_not() {
    let hold = [SOFT[0], ("CCS_USERS__PURGE_AFTER", "1s")];
    let club = Club::found(&hold, 10, (1, 1)).await;
    club.run("reconcile").await;
    let (gone, back) = (club.users[1].clone(), club.users[2].clone());
    for user in [&gone, &back] {
        club.world.clerk.delete_user(user).expect("deleted");
        club.sync("users", user, false).await;
    }
    club.world.clerk.restore_user(&back).expect("restored");
    let convex = &club.world.convex;
    club.run("audit").await;
    assert!(convex.row("users", &gone).expect("it is held")["deletedAt"].is_number());
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    let report = club.run("audit").await;
    assert!(
        !report["notes"].to_string().contains("removed"),
        "{report:#}"
    );
    assert!(
        convex.row("users", &gone).is_some(),
        "an audit removes nothing"
    );
    let report = club.run("reconcile").await;
    assert!(
        report["notes"]
            .to_string()
            .contains("1 user(s) that were deleted softly"),
        "{report:#}"
    );
    assert!(convex.row("users", &gone).is_none());
    assert!(convex.row("profiles", &gone).is_none());
    assert!(convex.row("users", &back).expect("it is held")["deletedAt"].is_number());
    assert_eq!(club.sync("users", &back, true).await["action"], "updated");
    assert!(convex.row("users", &back).expect("a row")["deletedAt"].is_null());
}
