//! When a failed delivery is tried again: Svix's ladder, jitter and answers, as pure functions.
//!
//! Eight attempts over 27 h 35 min, the waits counted from the failure before; 20 % jitter. After
//! a timeout or a 429 the wait is at least a minute; a `Retry-After` is honoured between once and
//! twice the wait. A test divides all waits by a factor. Source: Svix's documentation and the
//! constants of its open-source server.

use std::time::Duration;

/// Waits before the second, third, … eighth attempt.
pub const LADDER: [Duration; 7] = [
    Duration::from_secs(5),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * 3600),
    Duration::from_secs(5 * 3600),
    Duration::from_secs(10 * 3600),
    Duration::from_secs(10 * 3600),
];

/// Least wait after a timeout or a 429.
const BREATHER: Duration = Duration::from_secs(60);

/// How an attempt ended without success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// An answer other than 2xx, with its `Retry-After` if it had one.
    Status(u16, Option<Duration>),
    /// No answer in time.
    Timeout,
    /// No connection, or it broke.
    Connection,
}

/// The wait before attempt number `made + 1`, when `made` attempts have failed; `None` when the
/// ladder is used up. `chance` is a number of 0 to 1 for the jitter.
pub fn wait(made: u32, failure: Failure, chance: f64) -> Option<Duration> {
    let step = usize::try_from(made.checked_sub(1)?).ok()?;
    let planned = LADDER
        .get(step)?
        .mul_f64(0.8 + 0.4 * chance.clamp(0.0, 1.0));
    Some(match failure {
        Failure::Timeout | Failure::Status(429, None) => planned.max(BREATHER),
        Failure::Status(status, Some(asked)) => {
            let least = if status == 429 {
                planned.max(BREATHER)
            } else {
                planned
            };
            asked.clamp(least, least * 2)
        }
        _ => planned,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ladder_has_seven_waits_and_ends() {
        let total: Duration = LADDER.iter().sum();
        assert_eq!(total, Duration::from_secs(27 * 3600 + 35 * 60 + 5));
        let waits = (1..=8).map(|made| wait(made, Failure::Connection, 0.5));
        let waits: Vec<_> = waits.collect();
        assert_eq!(waits[0], Some(Duration::from_secs(5)));
        assert_eq!(waits[6], Some(Duration::from_secs(36_000)));
        assert_eq!(waits[7], None);
    }

    #[test]
    fn timeouts_and_answers_stretch_the_wait() {
        let secs = Duration::from_secs;
        for (failure, want) in [
            (Failure::Status(500, None), 5),
            (Failure::Timeout, 60),
            (Failure::Status(429, None), 60),
            (Failure::Status(503, Some(secs(7))), 7),
            (Failure::Status(503, Some(secs(600))), 10),
            (Failure::Status(503, Some(secs(1))), 5),
            (Failure::Status(429, Some(secs(90))), 90),
            (Failure::Status(429, Some(secs(900))), 120),
        ] {
            assert_eq!(wait(1, failure, 0.5), Some(secs(want)), "{failure:?}");
        }
        assert_eq!(wait(1, Failure::Connection, 0.0), Some(secs(4)));
        assert_eq!(wait(1, Failure::Connection, 1.0), Some(secs(6)));
    }
}
