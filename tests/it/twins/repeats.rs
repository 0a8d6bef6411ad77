//! A daemon that takes each copy of a delivery for a new one is noticed.

use clerk_convex_sync::twin::Twin;

use crate::repeats::breaches;

#[tokio::test(flavor = "multi_thread")]
async fn copies_that_are_not_recognised_are_noticed() {
    assert_eq!(breaches(50, &[]).await, Vec::<String>::new());
    let setting = ("CCS_TWIN", Twin::NoDedupe.name());
    let seen = breaches(50, &[setting]).await;
    assert!(!seen.is_empty(), "nobody notices");
}
