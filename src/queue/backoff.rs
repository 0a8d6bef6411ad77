//! How long to wait before the next try, and whether there is one.
//!
//! Pure: the randomness is an argument. A fault of the record costs an attempt and waits twice as
//! long each time; a fault of a service costs none (see the circuit of each service).

use std::time::Duration;

/// `sync.retry_max_attempts` and `sync.retry_delay_ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryRule {
    /// How many times a refused record is tried again.
    pub max_attempts: u32,
    /// The wait before the first of them; doubles each time.
    pub delay: Duration,
}

/// The longest wait between two tries of one record, however often it doubled.
const LONGEST: Duration = Duration::from_secs(15 * 60);

impl RetryRule {
    /// The wait before try number `attempt` (1 is the first retry), or `None` when the tries are used
    /// up. `luck` in 0..1 spreads the waits over 80 to 120 % so that records that failed together do
    /// not come back together.
    pub fn wait_before(&self, attempt: u32, luck: f64) -> Option<Duration> {
        if attempt == 0 || attempt > self.max_attempts {
            return None;
        }
        let doubled = self.delay.saturating_mul(1u32 << (attempt - 1).min(20));
        Some(
            doubled
                .min(LONGEST)
                .mul_f64(0.8 + 0.4 * luck.clamp(0.0, 1.0)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_within_their_jitter_and_end() {
        let rule = RetryRule {
            max_attempts: 3,
            delay: Duration::from_secs(1),
        };
        let waits: Vec<_> = (0..=4).map(|n| rule.wait_before(n, 0.5)).collect();
        let seconds = |s| Some(Duration::from_secs(s));
        assert_eq!(waits, [None, seconds(1), seconds(2), seconds(4), None]);
        assert_eq!(rule.wait_before(1, 0.0), Some(Duration::from_millis(800)));
        assert_eq!(rule.wait_before(1, 1.0), Some(Duration::from_millis(1200)));
    }

    #[test]
    fn no_wait_is_longer_than_its_bound() {
        let rule = RetryRule {
            max_attempts: 100,
            delay: Duration::from_secs(600),
        };
        assert!(rule.wait_before(100, 1.0).unwrap() <= LONGEST.mul_f64(1.2));
    }
}
