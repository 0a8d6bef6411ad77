//! Tests with two sizes: a short one that always runs, and a long one for `make soak`.
//!
//! A test of a goal in `docs/reliability.md` is named after it (`g01_…`). Its size is read from an environment
//! variable, its dice from `CCS_SOAK_SEED`, and it ends with one line, `G01: …`, that says what was measured.

use rand::{Rng, SeedableRng, rngs::StdRng};

/// The size that the environment asks for, or the short one.
pub fn size(variable: &str, short: usize) -> usize {
    let Ok(text) = std::env::var(variable) else {
        return short;
    };
    text.parse()
        .unwrap_or_else(|_| panic!("{variable}: {text} is no number"))
}

/// Dice that fall the same way again with the same seed.
pub struct Dice {
    pub seed: u64,
    rng: StdRng,
}

impl Dice {
    /// With the seed that the environment names, or another one each time.
    pub fn new() -> Dice {
        let named = std::env::var("CCS_SOAK_SEED").ok();
        let seed = named.and_then(|text| text.parse().ok());
        Dice::of(seed.unwrap_or_else(|| rand::random::<u32>().into()))
    }

    /// With this seed.
    pub fn of(seed: u64) -> Dice {
        Dice {
            seed,
            rng: StdRng::seed_from_u64(seed),
        }
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.rng.random_range(0..end.max(1))
    }

    /// True so often of a hundred times.
    pub fn percent(&mut self, often: u64) -> bool {
        self.below(100) < often
    }

    /// One of these.
    pub fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        let at = self.below(of.len() as u64);
        &of[usize::try_from(at).expect("below a length")]
    }
}

/// Says what was measured, in the one line that is looked for.
pub fn say(goal: &str, measured: &str) {
    println!("{goal}: {measured}");
}

/// Says that this machine cannot show it.
pub fn not_run(goal: &str, why: &str) {
    say(goal, &format!("NOT RUN: {why}"));
}
