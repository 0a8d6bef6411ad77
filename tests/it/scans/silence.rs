//! S22: the endpoint is disabled, nothing is delivered, and Clerk goes on changing.

use std::{future::ready, sync::Mutex};

use clerk_convex_sync::{
    model::RecordKey,
    reconcile::scan::missed::{Deliveries, Known, Underway},
};

use futures_util::{FutureExt, future::BoxFuture};

use super::sweeps::{reasons, settled};

/// Deliveries as a test says.
struct Told(Mutex<Deliveries>);

impl Known for Told {
    fn underway<'k>(&'k self, records: &'k [RecordKey]) -> BoxFuture<'k, Vec<Underway>> {
        ready(vec![Underway::Nowhere; records.len()]).boxed()
    }

    fn deliveries(&self) -> Option<Deliveries> {
        Some(*self.0.lock().expect("a test's own"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s22_without_deliveries_changes_arrive_within_one_sweep_and_the_silence_is_told() {
    let (scene, sweeper) = settled().await;
    let now_ms = (scene.ends.now)();
    let told = Told(Mutex::new(Deliveries {
        total: 100,
        last_ms: Some(now_ms - 1),
        since_ms: now_ms - 1_000,
    }));
    for minute in 0..4 {
        let id = scene.sign_up(&format!("Ada{minute}"));
        scene.later(30_000);
        let ends = scene.metered();
        let swept = sweeper
            .run(&ends, &told, true, &scene.watch)
            .await
            .expect("a sweep");
        assert!(scene.row(&id).is_some());
        assert!(reasons(&swept)[0].starts_with("its delivery never arrived; found "));
        scene.clerk.advance_ms(30_000);
    }
    assert!(
        scene.alerts().contains(&"silent_endpoint"),
        "{:?}",
        scene.alerts()
    );
    assert!(scene.alerts().contains(&"missed_deliveries"));
    told.0.lock().expect("a test's own").last_ms = Some((scene.ends.now)());
    sweeper
        .run(&scene.metered(), &told, true, &scene.watch)
        .await
        .expect("a sweep");
    assert!(!scene.alerts().contains(&"silent_endpoint"));
}
