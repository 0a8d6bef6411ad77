//! The network between Clerk and the daemon: rough, then calm, in turns.
//!
//! Knows when it was calm, so that latency is measured only where nothing was delayed on purpose.

use std::{collections::VecDeque, time::Duration};

use crate::sandbox::clerk::ClerkSim;

/// The share of a round that is rough.
const ROUGH_SHARE: f64 = 0.75;

/// How rough: deliveries that are lost, and that are made twice.
const LOST: f64 = 0.01;
const REPEATED: f64 = 0.05;

/// Deliveries that are mixed with one another.
const REORDERED: usize = 12;

/// The most that a delivery is delayed, in milliseconds.
const DELAYED_MS: u64 = 250;

/// The waits between attempts are divided by this: seconds become milliseconds.
const TIME_FACTOR: f64 = 1_000.0;

/// Calm spells that are remembered, the last ones.
const MOST_SPELLS: usize = 1_000;

/// A network that changes its mood.
pub(super) struct Network {
    round: Duration,
    rough: Option<bool>,
    /// From and until, in milliseconds since the epoch.
    calm: VecDeque<(i64, i64)>,
}

impl Network {
    /// With rounds of this length.
    pub fn new(round: Duration) -> Self {
        Network {
            round,
            rough: None,
            calm: VecDeque::new(),
        }
    }

    /// Brings the sender's orders in line with the time since the start.
    pub fn at(&mut self, elapsed: Duration, clerk: &ClerkSim, now_ms: i64) {
        let rough = is_rough(elapsed, self.round);
        if self.rough == Some(rough) {
            return;
        }
        self.close_spell(now_ms);
        self.rough = Some(rough);
        if !rough {
            self.calm.push_back((now_ms, i64::MAX));
            if self.calm.len() > MOST_SPELLS {
                self.calm.pop_front();
            }
        }
        order(clerk, rough);
    }

    /// Ends the last spell and delivers what is held back.
    pub fn end(&mut self, clerk: &ClerkSim, now_ms: i64) {
        self.close_spell(now_ms);
        order(clerk, false);
    }

    /// Whether deliveries went through unhindered then.
    pub fn was_calm_at(&self, at_ms: i64) -> bool {
        self.calm
            .iter()
            .any(|(from, until)| (*from..=*until).contains(&at_ms))
    }

    fn close_spell(&mut self, now_ms: i64) {
        if let Some((_, until)) = self.calm.back_mut() {
            *until = (*until).min(now_ms);
        }
    }
}

fn is_rough(elapsed: Duration, round: Duration) -> bool {
    let into_round = elapsed.as_secs_f64() % round.as_secs_f64();
    // The end of the last round is not the beginning of another.
    elapsed < round.mul_f64(ROUGH_SHARE)
        || (elapsed > round && into_round < round.as_secs_f64() * ROUGH_SHARE)
}

fn order(clerk: &ClerkSim, rough: bool) {
    clerk.order(|orders| {
        orders.time_factor = TIME_FACTOR;
        orders.lose_ratio = if rough { LOST } else { 0.0 };
        orders.repeat_ratio = if rough { REPEATED } else { 0.0 };
        orders.reorder_window = if rough { REORDERED } else { 0 };
        orders.delay_max_ms = if rough { DELAYED_MS } else { 0 };
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::clerk::ClerkOptions;

    #[test]
    fn the_last_quarter_of_every_round_is_calm() {
        let round = Duration::from_secs(20);
        for (second, rough) in [
            (0.0, true),
            (14.9, true),
            (15.0, false),
            (20.0, false),
            (20.1, true),
            (34.9, true),
            (35.1, false),
        ] {
            let elapsed = Duration::from_secs_f64(second);
            assert_eq!(is_rough(elapsed, round), rough, "{second}");
        }
    }

    #[tokio::test]
    async fn it_remembers_when_it_was_calm() {
        let clerk = ClerkSim::start(ClerkOptions::default()).await.unwrap();
        let mut network = Network::new(Duration::from_secs(4));
        network.at(Duration::from_secs(0), &clerk, 1_000);
        network.at(Duration::from_secs(3), &clerk, 4_000);
        network.at(Duration::from_millis(3_500), &clerk, 4_500);
        assert!(network.was_calm_at(9_999), "it still is");
        network.end(&clerk, 5_000);
        for (at, calm) in [
            (1_500, false),
            (3_999, false),
            (4_000, true),
            (5_000, true),
            (5_001, false),
        ] {
            assert_eq!(network.was_calm_at(at), calm, "{at}");
        }
    }
}
