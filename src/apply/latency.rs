//! How long deliveries took lately, for the status.
//!
//! Pure: a ring of the last measurements and its percentiles.

/// From the moment a delivery came in to the moment Convex had it, in milliseconds.
#[derive(Debug, Default)]
pub struct Latencies {
    ring: Vec<u32>,
    next: usize,
}

impl Latencies {
    /// How many are remembered.
    const CAPACITY: usize = 2048;

    /// Adds one.
    pub fn add(&mut self, ms: i64) {
        let ms = u32::try_from(ms.max(0)).unwrap_or(u32::MAX);
        if self.ring.len() < Self::CAPACITY {
            self.ring.push(ms);
        } else {
            self.ring[self.next] = ms;
            self.next = (self.next + 1) % Self::CAPACITY;
        }
    }

    /// The value that `percent` of the remembered ones do not exceed; `None` before the first.
    pub fn percentile(&self, percent: usize) -> Option<u32> {
        let mut sorted = self.ring.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent.min(100)).div_ceil(100);
        sorted.get(rank.saturating_sub(1)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_the_last_ones() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.percentile(50), None);
        (1..=100).for_each(|ms| latencies.add(ms));
        assert_eq!(
            (latencies.percentile(50), latencies.percentile(99)),
            (Some(50), Some(99))
        );
        (0..Latencies::CAPACITY).for_each(|_| latencies.add(7));
        assert_eq!(latencies.percentile(99), Some(7));
    }
}
