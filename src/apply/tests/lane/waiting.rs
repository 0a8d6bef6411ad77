//! Repairs that wait for their turn, while deliveries go on about the same records.
//!
//! Also when nobody can be asked to write, events are judged by the ledger; what they have left unsent must not be
//! undone by a repair that was made ready before.

use super::*;
use crate::apply::ending::{Ending, Final};

#[tokio::test]
async fn what_is_learnt_while_a_repair_waits_for_convex_is_not_written_over() {
    let running = Running::start().await;
    running.bench.convex.down();
    let repairs = vec![user("user_1", 5, "Ada"), user("user_2", 5, "Bea")];
    let learns = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        // An event that takes back what the scan has seen: the row is as it says already.
        running.knows("user_1", 6, false);
        running.bench.convex.up();
    };
    let (done, ()) = tokio::join!(running.repair(repairs), learns);
    assert_eq!(done[0], Repaired::Overtaken);
    assert_eq!(outcome(&done[1]), Some(Outcome::Created));
    assert!(running.bench.convex.row("users", "user_1").is_none());
}

/// An event was judged by what was known before a repair that has been answered since.
#[tokio::test]
async fn an_event_that_changes_nothing_takes_back_nothing_that_a_repair_has_learnt_meanwhile() {
    let running = Running::start().await;
    running.repair(vec![user("user_1", 7, "Ada")]).await;
    let (shared, name) = (&running.bench.shared, record(Table::Users, "user_1"));
    let learnt = shared.seen(&name).expect("known");
    let event = Seen {
        version: Version(6),
        deleted: false,
        hash: ContentHash([7; 16]),
    };
    assert!(matches!(shared.known(&name, event), Ending::Ask));
    assert_eq!(shared.seen(&name), Some(learnt));
    let newer = Seen {
        version: Version(8),
        ..learnt
    };
    assert!(matches!(
        shared.known(&name, newer),
        Ending::Final(Final::Known)
    ));
    assert_eq!(shared.seen(&name), Some(newer));
    assert!(matches!(
        shared.known(&record(Table::Users, "user_2"), newer),
        Ending::Ask
    ));
}
