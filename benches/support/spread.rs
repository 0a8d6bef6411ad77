//! How something is spread: median, 99th percentile, extremes.
//!
//! Every sample is kept until the end of a run, so percentiles are exact.

use std::time::Duration;

/// Percentiles of one run, in microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spread {
    /// Half are at most this.
    pub p50_us: u64,
    /// 99 of 100 are at most this.
    pub p99_us: u64,
    /// 999 of 1,000 are at most this.
    pub p999_us: u64,
    /// The largest.
    pub max_us: u64,
}

impl Spread {
    /// Of these samples; all zero for none.
    pub fn of(mut samples: Vec<Duration>) -> Spread {
        samples.sort_unstable();
        let at = |share: f64| {
            let rank = (samples.len() as f64 * share).ceil() as usize;
            let sample = samples.get(rank.saturating_sub(1));
            sample.map_or(0, |sample| sample.as_micros() as u64)
        };
        Spread {
            p50_us: at(0.5),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: at(1.0),
        }
    }
}

/// Median, smallest and largest of several runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Runs {
    /// The middle one; of an even number, the mean of the middle two.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Runs {
    /// Of these; all zero for none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Runs {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_unstable_by(f64::total_cmp);
        let (Some(&min), Some(&max)) = (values.first(), values.last()) else {
            return Runs::default();
        };
        let (low, high) = ((values.len() - 1) / 2, values.len() / 2);
        Runs {
            median: (values[low] + values[high]) / 2.0,
            min,
            max,
        }
    }
}
