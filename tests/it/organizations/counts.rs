//! Memberships that came or went without a delivery, found by how many members an organization has.

use serde_json::Value;

use super::Club;

/// Censuses from one look at counts to the next.
const EVERY: u32 = 72;

/// Censuses up to the next look at counts; its report.
async fn next_look(club: &Club) -> Value {
    for _ in 1..EVERY {
        let report = club.run("census").await;
        assert_eq!(report["outcome"], "in_sync", "{report:#}");
    }
    club.run("census").await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_left_untold_is_found_by_the_number_of_members_without_a_walk_of_all() {
    let club = Club::found(&[], 40, (8, 5)).await;
    club.run("reconcile").await;
    let (clerk, convex) = (&club.world.clerk, &club.world.convex);
    let leave = |organization: usize, member: usize| {
        let (org, user) = (&club.organizations[organization], 1 + organization + member);
        clerk
            .remove_member(org, &club.users[user])
            .expect("removed");
    };
    let rows = convex.count("memberships");

    // Six of 48 are more than a census lets go: a person decides.
    (2..5).for_each(|organization| (0..2).for_each(|member| leave(organization, member)));
    let held = next_look(&club).await;
    assert_eq!(held["outcome"], "held", "{held:#}");
    assert_eq!(held["tables"]["memberships"]["held"], 6, "{held:#}");
    assert_eq!(convex.count("memberships"), rows);
    let report = club.run("reconcile").await;
    let digest = report["plan_digest"].as_str().expect("a plan").to_owned();
    let wish = serde_json::json!({"kind": "reconcile", "approve": digest});
    club.order("/runs", wish).await;
    assert_eq!(convex.count("memberships"), rows - 6);

    // Two go at once, each by Clerk's word; nobody else's members are listed.
    leave(6, 1);
    leave(7, 3);
    let asked = |endpoint: &str| clerk.requests().to(endpoint);
    let of_one = "GET /v1/organizations/{organization_id}/memberships";
    let before = asked(of_one);
    let found = next_look(&club).await;
    assert_eq!(found["outcome"], "repaired", "{found:#}");
    assert_eq!(found["tables"]["memberships"]["orphaned"], 2, "{found:#}");
    assert!(
        found["notes"]
            .to_string()
            .contains("2 change(s) of organizations or memberships"),
        "{found:#}"
    );
    assert_eq!(convex.count("memberships"), rows - 8);
    assert_eq!(
        asked(of_one) - before,
        4,
        "two lists, and a question about each"
    );
    club.agrees().await;
}
