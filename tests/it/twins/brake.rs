//! Deletions that the brake must hold, against a build that has none.

use clerk_convex_sync::twin::Twin;

use crate::{
    drip::{filled, one_by_one},
    process::System,
    runs::report,
};

const BROKEN: (&str, &str) = ("CCS_TWIN", Twin::NoBrake.name());

/// Most of all users vanish at once. Rows that were deleted without a person.
async fn mass(settings: &[(&str, &str)]) -> usize {
    let system = System::with(settings).await;
    let ids = filled(&system, 60).await;
    for id in &ids[..36] {
        system.clerk.delete_user(id).expect("deleted");
    }
    let found = report(&system.door(), "reconcile").await;
    let gone = 60 - system.convex.count("users");
    assert_eq!(found["outcome"] == "held", gone == 0, "{found:#}");
    gone
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mass_deletion_goes_through_without_the_brake_and_not_with_it() {
    assert_eq!(mass(&[]).await, 0);
    assert_eq!(mass(&[BROKEN]).await, 36);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drip_goes_on_without_the_brake() {
    // With it: see `drip.rs`, which runs in every build.
    assert_eq!(one_by_one(&[BROKEN]).await, 1);
}
