//! The main job: from a signed webhook to a row.

use serde_json::json;

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_new_user_becomes_a_row_and_a_change_of_it_too() {
    let world = World::start().await;
    let id = world
        .clerk
        .create_user(json!({"first_name": "Ada", "last_name": "Lovelace", "email_address": ["ada@example.com"]}))
        .expect("created");
    world.quiet().await;
    let row = world.user_row(&id).expect("a row");
    assert_eq!(row["name"], "Ada Lovelace");
    assert_eq!(row["email"], "ada@example.com");
    world
        .clerk
        .update_user(&id, json!({"first_name": "Augusta"}))
        .expect("updated");
    world.quiet().await;
    assert_eq!(
        world.user_row(&id).expect("a row")["name"],
        "Augusta Lovelace"
    );
    world.clerk.delete_user(&id).expect("deleted");
    world.quiet().await;
    assert_eq!(world.user_row(&id), None);
    assert!(world.convex.tombstones("users").contains(&id));
}
