//! `users.organizationId` where metadata does not set it: derived from the memberships, and put right when it drifts.

use serde_json::{Value, json};

use super::{Club, of_kind};

#[tokio::test(flavor = "multi_thread")]
async fn a_derived_organization_that_drifted_is_found_and_put_right() {
    let club = Club::found(&[], 40, (8, 4)).await;
    club.world
        .clerk
        .merge_metadata(
            &club.users[2],
            json!({"public_metadata": {"organizationId": "org_chosen"}}),
        )
        .expect("merged");
    club.run("reconcile").await;
    let (world, users) = (&club.world, &club.users);
    let organization = |user: usize| {
        let row = world.convex.row("users", &users[user]).expect("a row");
        row["organizationId"].clone()
    };
    let before: Vec<Value> = (0..users.len()).map(organization).collect();
    assert_eq!(before[2], "org_chosen");
    assert_eq!(
        before[0],
        club.organizations[0].as_str(),
        "the oldest of eight"
    );
    assert!(before[30].is_null(), "a member of nothing");
    club.agrees().await;

    // One names another organization, one names none any more, one names one without being a member.
    for (user, organization) in [
        (0, json!("org_wrong")),
        (4, Value::Null),
        (30, json!("org_wrong")),
    ] {
        let wrong = json!({ "organizationId": organization });
        world
            .convex
            .patch_row("users", &club.id("users", &users[user]), &wrong)
            .expect("patched");
    }
    let report = club.run("audit").await;
    assert_eq!(report["outcome"], "differences", "{report:#}");
    let stale = of_kind(&report, "users", "stale");
    assert_eq!(stale.len(), 3, "{report:#}");
    assert!(
        stale
            .iter()
            .all(|one| one["fields"][0]["field"] == "organizationId")
    );
    let report = club.run("reconcile").await;
    assert_eq!(report["outcome"], "repaired", "{report:#}");
    assert_eq!(report["tables"]["users"]["repaired"], 3);
    let after: Vec<Value> = (0..users.len()).map(organization).collect();
    assert_eq!(after, before);
    club.agrees().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memberships_that_a_run_moves_make_no_false_drift() {
    let club = Club::found(&[], 30, (6, 4)).await;
    club.run("reconcile").await;
    // Both sides of the oldest membership move while users are compared before memberships.
    club.world
        .clerk
        .remove_member(&club.organizations[0], &club.users[1])
        .expect("removed");
    club.world
        .clerk
        .add_member(&club.organizations[5], &club.users[20], "org:member")
        .expect("added");
    let report = club.run("reconcile").await;
    assert_eq!(report["outcome"], "repaired", "{report:#}");
    assert_eq!(report["tables"]["users"]["stale"], 0, "{report:#}");
    club.agrees().await;
    let row = club
        .world
        .convex
        .row("users", &club.users[20])
        .expect("a row");
    assert_eq!(row["organizationId"], club.organizations[5].as_str());
}
