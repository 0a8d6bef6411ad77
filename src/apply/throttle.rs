//! When to ask again, while a deployment takes no more bytes for the moment.
//!
//! Pure. Whoever was refused gets a turn of its own: never two at once, so that full windows cost few refusals,
//! and so close that the next window is noticed when it has hardly begun. The longer nothing goes through, the
//! further apart the turns.

use std::time::{Duration, Instant};

/// Turns stand this part of the time apart for which nothing has gone through.
const PART: u32 = 10;
/// The least that lies between two turns.
const CLOSEST: Duration = Duration::from_millis(25);
/// The most that lies between two turns, and the longest that anybody waits for one.
const LONGEST: Duration = Duration::from_secs(2);

/// See the module's words.
#[derive(Debug, Default)]
pub struct Throttle {
    /// Since when nothing has gone through, and the last turn given.
    full: Option<(Instant, Instant)>,
}

impl Throttle {
    /// A call was refused at `now`: how long it waits before it goes again.
    pub fn refused(&mut self, now: Instant) -> Duration {
        let (since, last) = self.full.unwrap_or((now, now));
        let apart = (now.duration_since(since) / PART).clamp(CLOSEST, LONGEST);
        let turn = (last.max(now) + apart).min(now + LONGEST);
        self.full = Some((since, turn));
        turn.duration_since(now)
    }

    /// A call went through.
    pub fn passed(&mut self) {
        self.full = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_gets_a_turn_of_its_own() {
        let (mut throttle, now) = (Throttle::default(), Instant::now());
        let turns: Vec<Duration> = (0..16).map(|_| throttle.refused(now)).collect();
        assert!(turns.windows(2).all(|two| two[1] - two[0] >= CLOSEST));
        assert!(turns[15] < Duration::from_secs(1));
    }

    #[test]
    fn the_longer_it_lasts_the_rarer_it_is_asked_and_an_answer_ends_it() {
        let (mut throttle, began) = (Throttle::default(), Instant::now());
        let (mut now, mut asked, mut waited) = (began, 0, Duration::ZERO);
        while now - began < Duration::from_secs(600) {
            waited = throttle.refused(now);
            assert!((CLOSEST..=LONGEST).contains(&waited));
            now += waited;
            asked += 1;
        }
        assert_eq!(waited, LONGEST);
        // 25 ms apart for a quarter of a second, a tenth of the time up to 20 s, then every 2 s.
        assert!((300..400).contains(&asked), "{asked}");
        throttle.passed();
        assert_eq!(throttle.refused(now), CLOSEST);
    }
}
