//! With how many users runs are measured: from the command line.

use std::path::{Path, PathBuf};

use crate::support::setup::{Setup, number};

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What all benchmarks are told. Scenes: `audit`, `limit`, `scans`, `organizations`, `move`, `plan`. The script
    /// runs once, whatever the rounds.
    pub setup: Setup,
    /// Users of the large comparison.
    pub many: usize,
    /// Users of the small one, of the move, and of the script.
    pub some: usize,
    /// Where the script lies.
    pub node_script: PathBuf,
}

impl Plan {
    /// Reads the arguments; the error is a sentence for the person who typed them.
    pub fn from_args(args: impl Iterator<Item = String>) -> Result<Plan, String> {
        const KNOWN: &str = "--many USERS, --some USERS, \
                             --scene audit|limit|scans|organizations|move|plan";
        let mut setup = Setup::named("bench-reconcile");
        let (mut many, mut some) = (1_000_000, 100_000);
        setup.read(args, KNOWN, |setup, arg, value| {
            match arg {
                "--quick" => (setup.rounds, many, some) = (1, 100_000, 10_000),
                "--many" => many = number(arg, &value()?)?.max(1),
                "--some" => some = number(arg, &value()?)?.max(1),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(Plan {
            setup,
            many,
            some,
            node_script: Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/node-script"),
        })
    }
}
