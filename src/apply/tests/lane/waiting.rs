//! Repairs that wait for their turn, while deliveries go on about the same records.
//!
//! Also when nobody can be asked to write, events are judged by the ledger; what they have left unsent must not be
//! undone by a repair that was made ready before.

use super::*;

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
