//! What is run, with how many users, and where: from the command line.
//!
//! `cargo bench` adds `--bench`, which is passed over.

use std::path::{Path, PathBuf};

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Repetitions of each timed comparison; the script runs once.
    pub rounds: usize,
    /// Users of the large comparison.
    pub many: usize,
    /// Users of the small one, of the move, and of the script.
    pub some: usize,
    /// Print one JSON document instead of lines.
    pub json: bool,
    /// Which scenes: `audit`, `limit`, `scans`, `organizations`, `move`, `plan`. Empty: all.
    pub scenes: Vec<String>,
    /// Leave the script out.
    pub without_node: bool,
    /// The daemon's binary.
    pub binary: PathBuf,
    /// Where the script lies.
    pub node_script: PathBuf,
    /// Where states and logs go.
    pub work: PathBuf,
}

impl Plan {
    /// Reads the arguments; the error is a sentence for the person who typed them.
    pub fn from_args(args: impl Iterator<Item = String>) -> Result<Plan, String> {
        let mut plan = Plan {
            rounds: 3,
            many: 1_000_000,
            some: 100_000,
            json: false,
            scenes: Vec::new(),
            without_node: false,
            binary: PathBuf::from(env!("CARGO_BIN_EXE_clerk-convex-sync")),
            node_script: Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/node-script"),
            work: Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-reconcile"),
        };
        let mut args = args;
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--bench" => {}
                "--quick" => {
                    plan.rounds = 1;
                    plan.many = 100_000;
                    plan.some = 10_000;
                }
                "--json" => plan.json = true,
                "--without-node" => plan.without_node = true,
                "--rounds" => plan.rounds = number(&arg, &value()?)?.max(1),
                "--many" => plan.many = number(&arg, &value()?)?.max(1),
                "--some" => plan.some = number(&arg, &value()?)?.max(1),
                "--binary" => plan.binary = value()?.into(),
                "--dir" => plan.work = value()?.into(),
                "--scene" => plan.scenes.push(value()?),
                other => {
                    return Err(format!(
                        "{other} is not known; there are --quick, --json, --rounds N, --many USERS, --some USERS, \
                         --scene audit|limit|scans|organizations|move|plan, --without-node, --binary FILE, --dir DIRECTORY"
                    ));
                }
            }
        }
        Ok(plan)
    }

    /// True if this scene is to be run.
    pub fn runs(&self, scene: &str) -> bool {
        self.scenes.is_empty() || self.scenes.iter().any(|one| one == scene)
    }

    /// Makes the working directory, empty.
    pub fn prepare(&self) -> std::io::Result<()> {
        if self.work.exists() {
            std::fs::remove_dir_all(&self.work)?;
        }
        std::fs::create_dir_all(&self.work)
    }
}

fn number(name: &str, text: &str) -> Result<usize, String> {
    text.parse()
        .map_err(|_| format!("{name} needs a number, not {text}"))
}
