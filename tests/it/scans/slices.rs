//! Slices of organizations and memberships: what they find was missed, and is counted and explained as such.

use clerk_convex_sync::{
    clerk::Lookup,
    model::{Key, RecordKey, Table},
    reconcile::{
        repair::brake::Limits,
        scan::{
            MissedDeliveries,
            census::{Census, Leave},
            missed::{Known, Underway},
        },
    },
    report::Report,
    telemetry::Metrics,
};
use futures_util::{
    FutureExt,
    future::{BoxFuture, ready},
};
use serde_json::json;

use super::scene::Scene;

/// Long enough that a change counts as missed, in milliseconds.
const LONG: i64 = 42_000;

/// Nothing waits anywhere.
struct Nowhere;

impl Known for Nowhere {
    fn underway<'k>(&'k self, records: &'k [RecordKey]) -> BoxFuture<'k, Vec<Underway>> {
        ready(vec![Underway::Nowhere; records.len()]).boxed()
    }
}

/// An instance whose organizations nobody has looked at yet, and its censuses.
struct Club {
    scene: Scene,
    census: Census,
    metrics: Metrics,
}

impl Club {
    async fn open() -> Club {
        let mut scene = Scene::start().await;
        scene.ends.tables = Table::ALL.to_vec();
        scene.populate(20).await;
        let metrics = Metrics::default();
        let census = Census::new(
            MissedDeliveries::new(metrics.clone()),
            scene.beliefs.clone(),
        );
        Club {
            scene,
            census,
            metrics,
        }
    }

    fn found(&self, name: &str) -> String {
        let founder = &self.scene.clerk.user_ids()[0];
        let body = json!({"name": name, "created_by": founder, "max_allowed_memberships": 0});
        self.scene.clerk.create_organization(body).expect("founded")
    }

    /// A census with its slice.
    async fn census(&self, repair: bool) -> Report {
        let leave = Leave {
            repair,
            limits: Limits {
                max_deletes: 100,
                max_delete_ratio: 0.05,
            },
            lately: 0,
        };
        let ends = self.scene.metered();
        let counted = self.census.run(&ends, &Nowhere, leave, &self.scene.watch);
        let mut report = counted.await.expect("a census").report.expect("a report");
        let slice = self.census.slice(&ends, &Nowhere, repair);
        slice.await.add_to(&mut report);
        report
    }

    fn missed(&self) -> u64 {
        let text = self.metrics.render();
        let lines = text
            .lines()
            .filter(|line| line.contains("missed_deliveries_total{"));
        let count = |line: &str| line.rsplit(' ').next()?.parse::<u64>().ok();
        lines.filter_map(count).sum()
    }
}

fn reasons(report: &Report) -> Vec<&str> {
    let all = report.differences.iter();
    all.map(|one| one.reason.as_deref().unwrap_or_default())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missed_change_is_counted_and_says_why_and_how_late_it_was_found() {
    let club = Club::open().await;
    club.found("Before");
    club.scene.pass(LONG);
    for _ in 0..2 {
        let report = club.census(true).await;
        assert_eq!(reasons(&report), ["it was changed before anybody looked"]);
    }
    assert_eq!(club.missed(), 0);

    // One that nobody told, one whose row somebody else has written over, one so new that its delivery may come.
    club.scene.pass(10);
    let lost = club.found("Lost");
    let over = club.found("Written Over");
    let key = Key::parse(&over).expect("an id");
    let found = club.scene.ends.clerk.get_organization(&key).await;
    let Ok(Lookup::Found(record)) = found else {
        panic!("{found:?}");
    };
    let (made, changed) = (record.created_at(), record.version().ms());
    let row = json!({
        "clerkId": over, "clerkCreatedAt": made, "clerkUpdatedAt": changed, "name": "Other",
    });
    club.scene
        .convex
        .insert_row("organizations", &row)
        .expect("inserted");
    club.scene.pass(LONG);
    let young = club.found("Young");
    let report = club.census(true).await;
    let of = |key: &str| {
        let one = report
            .differences
            .iter()
            .find(|one| one.key.as_str() == key);
        one.and_then(|one| one.reason.clone()).unwrap_or_default()
    };
    let words = "its delivery never arrived; found 42 s after the change";
    assert_eq!(of(&lost), words, "{report:?}");
    assert!(of(&over).starts_with("it was written before, and changed in Convex"));
    assert_eq!(of(&young), "found before its delivery");
    assert!(
        report
            .notes
            .iter()
            .any(|note| note.starts_with("1 change(s) of organizations")),
        "{report:?}"
    );
    assert_eq!(club.missed(), 2, "one by a lost delivery, one by a hand");
    let again = club.census(true).await;
    assert_eq!(
        again.differences.len(),
        3,
        "their founder's memberships: {again:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_a_trickle_raises_the_alert_and_what_is_only_looked_at_is_not_counted() {
    let club = Club::open().await;
    club.census(true).await;
    club.census(true).await;
    club.scene.pass(10);
    for number in 0..11 {
        club.found(&format!("Club {number}"));
    }
    club.scene.pass(LONG);
    let looked = club.census(false).await;
    assert_eq!(looked.differences.len(), 11, "{looked:?}");
    assert!(reasons(&looked)[0].starts_with("its delivery never arrived"));
    assert_eq!(club.missed(), 0, "it would be counted with every look");
    assert!(!club.scene.alerts().contains(&"missed_deliveries"));
    club.census(false).await;
    let report = club.census(true).await;
    assert_eq!(report.differences.len(), 11, "{report:?}");
    assert_eq!(club.missed(), 11);
    assert!(club.scene.alerts().contains(&"missed_deliveries"));
}
