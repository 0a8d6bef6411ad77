//! What is run, for how long, and where: from the command line.
//!
//! `cargo bench` adds `--bench`, which is passed over. The state lies on a real disk: a directory in
//! memory is refused, because a sync there costs nothing and proves nothing.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Repetitions of each comparison.
    pub rounds: usize,
    /// Before counting, at full speed.
    pub warm_up: Duration,
    /// Of counting, at full speed.
    pub flood: Duration,
    /// Of sending at a fixed rate.
    pub steady: Duration,
    /// Starts that are timed.
    pub starts: usize,
    /// Print one JSON document instead of tables.
    pub json: bool,
    /// Which scenes: `flood`, `steady`, `memory`, `ready`. Empty: all.
    pub scenes: Vec<String>,
    /// Leave the Node route out.
    pub without_node: bool,
    /// Deliveries a second that requests are prepared for, at full speed.
    pub prepared_per_second: usize,
    /// Distinct users, at full speed.
    pub users: usize,
    /// The daemon's binary.
    pub binary: PathBuf,
    /// Where the Node route lies.
    pub node_route: PathBuf,
    /// Where states and logs go.
    pub work: PathBuf,
}

impl Plan {
    /// Reads the arguments; the error is a sentence for the person who typed them.
    pub fn from_args(args: impl Iterator<Item = String>) -> Result<Plan, String> {
        let mut plan = Plan {
            rounds: 3,
            warm_up: Duration::from_millis(1500),
            flood: Duration::from_secs(6),
            steady: Duration::from_secs(10),
            starts: 9,
            json: false,
            scenes: Vec::new(),
            without_node: false,
            prepared_per_second: 60_000,
            users: 100_000,
            binary: PathBuf::from(env!("CARGO_BIN_EXE_clerk-convex-sync")),
            node_route: Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/node-route"),
            work: Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-intake"),
        };
        let mut args = args;
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--bench" => {}
                "--quick" => plan.quick(),
                "--json" => plan.json = true,
                "--without-node" => plan.without_node = true,
                "--rounds" => plan.rounds = number(&arg, &value()?)?.max(1),
                "--binary" => plan.binary = value()?.into(),
                "--dir" => plan.work = value()?.into(),
                "--scene" => plan.scenes.push(value()?),
                other => {
                    return Err(format!(
                        "{other} is not known; there are --quick, --json, --rounds N, --scene \
                         flood|steady|memory|ready, --without-node, --binary FILE, --dir DIRECTORY"
                    ));
                }
            }
        }
        Ok(plan)
    }

    fn quick(&mut self) {
        self.rounds = 1;
        self.warm_up = Duration::from_secs(1);
        self.flood = Duration::from_secs(3);
        self.steady = Duration::from_secs(5);
        self.starts = 5;
    }

    /// True if this scene is to be run.
    pub fn runs(&self, scene: &str) -> bool {
        self.scenes.is_empty() || self.scenes.iter().any(|one| one == scene)
    }

    /// Makes the working directory, empty, and answers with the kind of its file system.
    pub fn prepare(&self) -> io::Result<String> {
        if self.work.exists() {
            fs::remove_dir_all(&self.work)?;
        }
        fs::create_dir_all(&self.work)?;
        let kind = file_system(&self.work.canonicalize()?)?;
        if kind == "tmpfs" || kind == "ramfs" {
            let message = format!(
                "{} is in memory; choose a disk with --dir",
                self.work.display()
            );
            return Err(io::Error::other(message));
        }
        Ok(kind)
    }
}

fn number(name: &str, text: &str) -> Result<usize, String> {
    text.parse()
        .map_err(|_| format!("{name} needs a number, not {text}"))
}

/// The kind of the file system that holds a directory.
fn file_system(dir: &Path) -> io::Result<String> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let mut best = (0, String::from("unknown"));
    for line in mounts.lines() {
        let mut fields = line.split(' ').skip(1);
        let (Some(at), Some(kind)) = (fields.next(), fields.next()) else {
            continue;
        };
        if dir.starts_with(at) && at.len() >= best.0 {
            best = (at.len(), kind.to_owned());
        }
    }
    Ok(best.1)
}
