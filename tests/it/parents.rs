//! Memberships whose user or organization nobody has told of.
//!
//! The delivery about the parent was lost, or is about to come: the membership is written at once, and
//! who has not come after some seconds is fetched from Clerk, if Convex has no row either.

use serde_json::{Value, json};

use crate::{
    hand::{SIGNED_UP, created},
    world::{World, eventually},
};

/// A user, an organization and the membership in Clerk, of which no delivery says anything.
async fn silent() -> (World, String, String, Value) {
    let world = World::start().await;
    world.clerk.enable_endpoint(false);
    let user = json!({ "first_name": "Ada", "email_address": ["ada@post.example"] });
    let user = world.clerk.create_user(user).expect("created");
    let organization = json!({ "name": "Quiet Orchard" });
    let organization = world
        .clerk
        .create_organization(organization)
        .expect("created");
    world
        .clerk
        .add_member(&organization, &user, "org:member")
        .expect("added");
    let membership = world.clerk.memberships().remove(0);
    let event = json!({ "object": "event", "type": "organizationMembership.created",
                        "timestamp": SIGNED_UP, "data": membership });
    (world, user, organization, event)
}

#[tokio::test(flavor = "multi_thread")]
async fn s29_a_membership_is_written_at_once_and_its_parents_are_fetched_if_they_do_not_come() {
    let (world, user, organization, event) = silent().await;
    world.hand().say(&event).await;
    world.door().idle().await;
    assert_eq!(world.convex.count("memberships"), 1);
    assert_eq!(world.user_row(&user), None, "it may still come by itself");
    eventually("both are fetched", async || {
        world.user_row(&user).is_some()
            && world.convex.row("organizations", &organization).is_some()
    })
    .await;
    let row = world.user_row(&user).expect("a row");
    assert_eq!(row["organizationId"], organization.as_str());
    assert!(world.convex.row("profiles", &user).is_some());
    world.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s29_parents_that_came_or_are_in_convex_already_are_not_fetched() {
    let (mut world, user, organization, event) = silent().await;
    let newcomer = created(&user, 1, "Ada");
    let fetch = json!({ "object": "event", "type": "organization.created", "timestamp": SIGNED_UP,
                        "data": { "id": organization, "name": "Quiet Orchard", "slug": null,
                                  "created_at": SIGNED_UP, "updated_at": SIGNED_UP } });
    world.hand().say(&fetch).await;
    world.door().idle().await;
    // Only Convex knows of the organization from now on.
    world.stop_daemon().await;
    world.state = tempfile::tempdir().expect("a directory for the state");
    world.start_daemon().await;
    world.clerk.enable_endpoint(false);
    world.hand().say(&event).await;
    world.hand().say(&newcomer).await;
    world.door().idle().await;
    eventually(
        "Convex was asked for who had not been heard of",
        async || world.convex.calls().counts.contains_key("get"),
    )
    .await;
    world.door().idle().await;
    let figures = world.door().figures().await;
    assert_eq!(figures.sum("clerk_requests_total", &[]), 0.0);
    world.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s29_a_membership_of_a_user_that_clerk_no_longer_knows_does_not_stay() {
    let (world, user, _, event) = silent().await;
    // A record that is looked up proves that key and instance belong together.
    let other = json!({ "first_name": "Bea", "email_address": ["bea@post.example"] });
    let other = world.clerk.create_user(other).expect("created");
    for name in ["Cleo", "Dora"] {
        let mut tie = created(&other, 1, name);
        tie["instance_id"] = "ins_orchard".into();
        world.hand().say(&tie).await;
    }
    world.door().idle().await;
    world.clerk.delete_user(&user).expect("deleted");
    world.hand().say(&event).await;
    world.door().idle().await;
    eventually("it is removed with its user's tombstone", async || {
        world.convex.count("memberships") == 0 && world.convex.tombstones("users").contains(&user)
    })
    .await;
    world.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s29_an_example_of_a_made_up_membership_is_no_dead_letter_and_deletes_nobody() {
    let world = World::start().await;
    let event = json!({ "object": "event", "type": "organizationMembership.created",
        "timestamp": SIGNED_UP,
        "data": { "id": "orgmem_example", "role": "org:member", "created_at": SIGNED_UP,
                  "updated_at": SIGNED_UP, "organization": { "id": "org_example" },
                  "public_user_data": { "user_id": "user_example" } } });
    world.hand().say(&event).await;
    eventually("Clerk was asked for both", async || {
        world.door().figures().await.changes("unproved_key") == 2.0
    })
    .await;
    assert_eq!(world.door().failures().await.len(), 0);
    assert_eq!(world.convex.tombstones("users"), Vec::<String>::new());
    world.settled().await;
}
