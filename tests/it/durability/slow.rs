//! G04: a disk that takes its time for each sync holds nobody up longer than for two of them.
//!
//! Many deliveries come at once, and each sync takes a tenth of a second more than it does. Who waits meanwhile is
//! written with the others and waits for one sync together with them, so there are far fewer syncs than deliveries.
//! That is judged; how long an answer took is measured, for it is the machine's as well.

use std::{
    fs,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use super::failing::{counted, on_a_failing_disk};
use crate::{
    hand::{created, new_id},
    soak,
};

/// Senders at once.
const SENDERS: usize = 64;

/// What came of deliveries to a slow disk.
#[derive(Debug)]
pub struct Slow {
    pub syncs: u64,
    /// How long each delivery waited for its answer, shortest first.
    pub waits: Vec<Duration>,
}

impl Slow {
    /// True if most deliveries share their sync with others.
    pub fn is_shared(&self) -> bool {
        2 * self.syncs < self.waits.len() as u64
    }

    fn wait(&self, percent: usize) -> Duration {
        self.waits[(self.waits.len() - 1) * percent / 100]
    }
}

/// Delivers so many events to a daemon whose syncs are slow; the reason if no disk can be slow here.
pub async fn to_a_slow_disk(deliveries: usize, twin: &str) -> Result<Slow, String> {
    let dir = tempfile::tempdir().expect("a directory");
    let (system, order) = on_a_failing_disk(dir.path(), twin).await?;
    system.door().pause(true).await;
    fs::write(&order, "slow").expect("written");
    let (hand, mut senders) = (system.hand(), JoinSet::new());
    for sender in 0..SENDERS {
        let hand = hand.clone();
        senders.spawn(async move {
            let mut waits = Vec::new();
            for n in (sender..deliveries).step_by(SENDERS) {
                let event = created(&format!("user_{n}"), 1, "Ada");
                let asked = Instant::now();
                assert_eq!(hand.deliver(&new_id(), &event).await.status, 200);
                waits.push(asked.elapsed());
            }
            waits
        });
    }
    let mut waits = senders.join_all().await.concat();
    waits.sort_unstable();
    Ok(Slow {
        syncs: counted(&order, "slow"),
        waits,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn g04_whoever_waits_for_a_slow_disk_waits_for_one_sync_with_the_others() {
    let deliveries = soak::size("CCS_SOAK_SLOW_SYNCS", 640);
    let slow = match to_a_slow_disk(deliveries, "").await {
        Ok(slow) => slow,
        Err(why) => return soak::not_run("G04", &why),
    };
    soak::say(
        "G04",
        &format!(
            "{deliveries} deliveries over {SENDERS} connections to a disk that takes 100 ms more for a sync: {} syncs, \
             answers p50 {:.0?}, p99 {:.0?}, slowest {:.0?}",
            slow.syncs,
            slow.wait(50),
            slow.wait(99),
            slow.wait(100)
        ),
    );
    assert!(slow.syncs > 0, "nothing was slow");
    assert!(slow.is_shared(), "{} syncs", slow.syncs);
}
