//! For how long intake is measured: from the command line.
//!
//! The state lies on a real disk: a directory in memory is refused, because a sync there costs nothing and
//! proves nothing.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::support::setup::{Setup, number};

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What all benchmarks are told. Scenes: `flood`, `steady`, `memory`, `ready`.
    pub setup: Setup,
    /// Before counting, at full speed.
    pub warm_up: Duration,
    /// Of counting, at full speed.
    pub flood: Duration,
    /// Of sending at a fixed rate.
    pub steady: Duration,
    /// Starts that are timed.
    pub starts: usize,
    /// Deliveries a second that requests are prepared for, at full speed.
    pub prepared_per_second: usize,
    /// After how many milliseconds Convex answers, at full speed.
    pub latencies_ms: Vec<u64>,
    /// Distinct users, at full speed.
    pub users: usize,
    /// Where the Node route lies.
    pub node_route: PathBuf,
}

impl Plan {
    /// Reads the arguments; the error is a sentence for the person who typed them.
    pub fn from_args(args: impl Iterator<Item = String>) -> Result<Plan, String> {
        const KNOWN: &str = "--scene flood|steady|memory|ready, --latency MILLISECONDS (of full speed; may be repeated)";
        let mut setup = Setup::named("bench-intake");
        let (mut quick, mut latencies_ms) = (false, Vec::new());
        setup.read(args, KNOWN, |setup, arg, value| {
            match arg {
                "--quick" => (setup.rounds, quick) = (1, true),
                "--latency" => latencies_ms.push(number(arg, &value()?)? as u64),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        if latencies_ms.is_empty() {
            latencies_ms = vec![0, 20];
        }
        let mut plan = Plan {
            setup,
            warm_up: Duration::from_millis(1500),
            flood: Duration::from_secs(6),
            steady: Duration::from_secs(10),
            starts: 9,
            prepared_per_second: 60_000,
            latencies_ms,
            users: 100_000,
            node_route: Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/node-route"),
        };
        if quick {
            plan.quick();
        }
        Ok(plan)
    }

    fn quick(&mut self) {
        self.warm_up = Duration::from_secs(1);
        self.flood = Duration::from_secs(3);
        self.steady = Duration::from_secs(5);
        self.starts = 5;
    }

    /// Makes the working directory, empty, and answers with the kind of its file system.
    pub fn prepare(&self) -> io::Result<String> {
        let work = &self.setup.work;
        self.setup.prepare()?;
        let kind = file_system(&work.canonicalize()?)?;
        if kind == "tmpfs" || kind == "ramfs" {
            let message = format!("{} is in memory; choose a disk with --dir", work.display());
            return Err(io::Error::other(message));
        }
        Ok(kind)
    }
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
