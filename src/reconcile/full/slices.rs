//! Cutting the time in which users were made into ranges that hold about as many of them each.
//!
//! By counting, not by listing: a few count requests a cut, aimed by interpolation between what is known. The
//! cuts need not be exact; a range is only a piece of work.

use futures_util::future::try_join_all;

use crate::{
    clerk::{ClerkClient, client::CreatedBetween},
    reconcile::{Trouble, patiently},
};

/// Further count requests that one cut may cost, where the first guess was too far off.
const LOOKS: usize = 1;
/// A cut is good enough when it is off by less than this share of a range.
const CLOSE: f64 = 0.15;

/// Cuts the users into `wanted` ranges; answers with the inner bounds, ascending, fewer if cuts coincide.
pub async fn cut(
    clerk: &ClerkClient,
    total: u64,
    wanted: usize,
    oldest_ms: i64,
    newest_ms: i64,
) -> Result<Vec<i64>, Trouble> {
    // What is known: so many users were made before that time.
    let mut known = vec![(oldest_ms, 0), (newest_ms, total)];
    // The first guesses at once: one after another each would cost an answer's time.
    let aims = (1..wanted).map(|number| total * number as u64 / wanted as u64);
    let guesses: Vec<i64> = aims.map(|aim| interpolate(&known, aim)).collect();
    let counts = try_join_all(guesses.iter().map(|guess| below(clerk, *guess))).await?;
    for (guess, count) in guesses.into_iter().zip(counts) {
        insert(&mut known, guess, count);
    }
    let mut cuts = Vec::with_capacity(wanted.saturating_sub(1));
    for number in 1..wanted {
        let aim = total * number as u64 / wanted as u64;
        let slack = (total as f64 / wanted as f64 * CLOSE) as u64;
        for _ in 0..LOOKS {
            let (_, expected) = nearest(&known, aim);
            if expected.abs_diff(aim) <= slack {
                break;
            }
            let guess = interpolate(&known, aim);
            let count = below(clerk, guess).await?;
            insert(&mut known, guess, count);
        }
        cuts.push(nearest(&known, aim).0);
    }
    cuts.retain(|cut| *cut > oldest_ms && *cut < newest_ms);
    cuts.sort_unstable();
    cuts.dedup();
    Ok(cuts)
}

async fn below(clerk: &ClerkClient, before: i64) -> Result<u64, Trouble> {
    let created = CreatedBetween {
        after: None,
        before: Some(before),
    };
    patiently(|| clerk.count_users(created)).await
}

fn nearest(known: &[(i64, u64)], aim: u64) -> (i64, u64) {
    let near = known.iter().min_by_key(|(_, count)| count.abs_diff(aim));
    near.copied().unwrap_or_default()
}

fn interpolate(known: &[(i64, u64)], aim: u64) -> i64 {
    let above = known.iter().position(|(_, count)| *count > aim);
    let above = above.unwrap_or(known.len() - 1).max(1);
    let ((t0, n0), (t1, n1)) = (known[above - 1], known[above]);
    let share = (aim.saturating_sub(n0)) as f64 / (n1.saturating_sub(n0)).max(1) as f64;
    t0 + ((t1 - t0) as f64 * share.clamp(0.05, 0.95)) as i64
}

fn insert(known: &mut Vec<(i64, u64)>, at: i64, count: u64) {
    let place = known.partition_point(|(time, _)| *time < at);
    known.insert(place, (at, count));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guess_lies_between_what_is_known() {
        let known = [(0, 0), (1000, 100), (2000, 1000)];
        assert_eq!(interpolate(&known, 50), 500);
        assert!((1000..2000).contains(&interpolate(&known, 100)));
        assert_eq!(interpolate(&known, 550), 1500);
        assert!(interpolate(&known, 1000) <= 2000);
        assert_eq!(nearest(&known, 120), (1000, 100));
    }
}
