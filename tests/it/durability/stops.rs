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

/// Users that are copied.
const USERS: usize = 2_000;

/// Pages that may be in hand at once, one of each range.
const IN_HAND: usize = 4;

/// What one end came to.
struct Stopped {
    /// The next run went on with it.
    resumed: bool,
    /// Pages of Clerk that were asked for, over both processes.
    pages: usize,
}

async fn everybody_in_clerk() -> System {
    let mut system = System::prepared(&[]).await;
    system.clerk.seed_users(USERS);
    system.start_daemon().await;
    system
}

/// The pages that a full diff asks for when it is left alone.
async fn undisturbed() -> usize {
    let system = everybody_in_clerk().await;
    report(&system.door(), "reconcile").await;
    pages(&system.clerk)
}

async fn stop_in_the_middle(dice: &mut Dice, undisturbed: usize) -> Stopped {
    let mut system = everybody_in_clerk().await;
    let wanted = usize::try_from(dice.below(undisturbed as u64)).expect("a few");
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
    assert_eq!(system.terminate().await, 0);
    Stopped {
        resumed: report["resumed"] == true,
        pages: pages(&system.clerk),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn g26_a_full_diff_that_is_ended_in_the_middle_goes_on_where_it_was() {
    let mut dice = Dice::new();
    let rounds = soak::size("CCS_SOAK_STOPS", 3);
    let undisturbed = undisturbed().await;
    let (mut resumed, mut repeated, mut most) = (0, 0, 0);
    for _ in 0..rounds {
        let stopped = stop_in_the_middle(&mut dice, undisturbed).await;
        if stopped.resumed {
            let again = stopped.pages.saturating_sub(undisturbed);
            resumed += 1;
            repeated += again;
            most = most.max(again);
        }
    }
    soak::say(
        "G26",
        &format!(
            "{rounds} ends by SIGTERM in a full diff of {USERS} users, each with exit code 0: {resumed} were in the \
             middle and went on by the next process, which asked for {repeated} of {} pages again, at most {most} each \
             time; each row written once; seed {}",
            resumed * undisturbed,
            dice.seed
        ),
    );
    assert!(resumed > 0 || rounds < 3, "none was in the middle");
    assert!(most <= IN_HAND, "more than what was in hand was read again");
}
