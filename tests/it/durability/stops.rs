//! G26: SIGTERM in the middle of a full diff.
//!
//! The daemon ends with 0, the next one goes on where it was, and each row is written once in the end. Ends under
//! load, without a scan, are in `stop.rs`.

use std::time::Duration;

use crate::{
    process::System,
    runs::{pages, report, same_records},
    soak::{self, Dice},
    world::eventually,
};

/// Users, and the pages that hold them; all are walked twice, the second time to see that all arrived.
const USERS: usize = 2_000;
const PAGES: usize = 4;

/// What one end came to.
struct Stopped {
    /// The next run went on with it.
    resumed: bool,
    /// Pages that were asked for beyond the two walks.
    repeated: usize,
}

async fn stop_in_the_middle(dice: &mut Dice) -> Stopped {
    let mut system = System::prepared(&[]).await;
    system.clerk.seed_users(USERS);
    system.start_daemon().await;
    let wanted = usize::try_from(dice.below(2 * PAGES as u64)).expect("a few");
    let mut asking = system.spawn(&["reconcile"]);
    eventually("so many pages are read", async || {
        let ended = asking.try_wait().expect("a child of ours");
        pages(&system.clerk) > wanted || ended.is_some()
    })
    .await;
    tokio::time::sleep(Duration::from_millis(dice.below(50))).await;
    assert_eq!(system.terminate().await, 0, "{}", system.log.text());
    asking.wait().await.expect("a child of ours");
    system.start_daemon().await;
    let report = report(&system.door(), "reconcile").await;
    assert!(
        ["in_sync", "repaired"].contains(&report["outcome"].as_str().expect("a word")),
        "{report:#}"
    );
    same_records(&system.clerk, &system.convex);
    let written = system.convex.commits(0, 1_000_000).len();
    assert_eq!(written, 2 * USERS, "each row was written once");
    let resumed = report["resumed"] == true;
    let walks = match resumed {
        true => 2 * PAGES,
        // The first one was over, and this one found nothing to do.
        false => 3 * PAGES,
    };
    let repeated = pages(&system.clerk).saturating_sub(walks);
    assert_eq!(system.terminate().await, 0);
    Stopped { resumed, repeated }
}

#[tokio::test(flavor = "multi_thread")]
async fn g26_a_full_diff_that_is_ended_in_the_middle_goes_on_where_it_was() {
    let mut dice = Dice::new();
    let rounds = soak::size("CCS_SOAK_STOPS", 3);
    let (mut resumed, mut repeated) = (0, 0);
    for _ in 0..rounds {
        let stopped = stop_in_the_middle(&mut dice).await;
        resumed += usize::from(stopped.resumed);
        repeated += stopped.repeated;
    }
    soak::say(
        "G26",
        &format!(
            "{rounds} ends by SIGTERM in a full diff of {USERS} users, each with exit code 0: {resumed} went on by the \
             next process, {repeated} pages of {} asked for again, each row written once; seed {}",
            rounds * 2 * PAGES,
            dice.seed
        ),
    );
    assert!(resumed > 0 || rounds < 3, "none was in the middle");
    assert!(
        repeated <= rounds,
        "more than the page in hand was read again"
    );
}
