//! One command, or the script, as a process: how long it took, how much memory it had at most, what it said.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    ends::{Counts, Ends},
    plan::Plan,
};
use crate::support::process::{Cpu, Process, cpu_of, used};

/// How often a process is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// The longest that one may take.
const PATIENCE: Duration = Duration::from_secs(1800);

/// `clerk.requests_per_10s` where Clerk's limit is no part of the scene: more than anything here asks for. The
/// simulated instance is a development one, for which far less is the default.
pub const NO_LIMIT: &str = "10000";

/// What one process did.
#[derive(Clone, Debug)]
pub struct Ran {
    /// From its start to its end.
    pub took: Duration,
    /// The most memory that it had, in bytes.
    pub peak_bytes: u64,
    /// What the services counted meanwhile.
    pub counts: Counts,
    /// Processor time of the process and of the services, in seconds.
    pub cpu: (f64, f64),
    /// What it printed.
    pub said: Value,
}

/// Where the state of commands lies.
pub fn state_of(plan: &Plan, name: &str) -> PathBuf {
    plan.setup.work.join(format!("state-{name}"))
}

/// `audit` or `reconcile` of the users, to its end, with these further settings.
pub fn command(
    plan: &Plan,
    ends: &Ends,
    kind: &str,
    state: &Path,
    settings: &[(&str, &str)],
) -> io::Result<Ran> {
    compared(plan, ends, &[kind, "--table", "users"], state, settings)
}

/// A command that compares, to its end.
pub fn compared(
    plan: &Plan,
    ends: &Ends,
    args: &[&str],
    state: &Path,
    settings: &[(&str, &str)],
) -> io::Result<Ran> {
    let ran = ordered(plan, ends, args, state, settings)?;
    // A document says how it ended; no document is a failure that the log tells of.
    let outcome = ran.said["outcome"].as_str();
    match outcome {
        Some("in_sync" | "repaired") => Ok(ran),
        outcome => Err(failed(plan, args[0], &format!("{outcome:?}"))),
    }
}

/// `sync` of an organization with its memberships, to its end.
pub fn synced(plan: &Plan, ends: &Ends, organization: &str, state: &Path) -> io::Result<Ran> {
    let args = ["sync", "organization", organization];
    let ran = ordered(plan, ends, &args, state, &[])?;
    match ran.said["clerk"].as_str() {
        Some("found") => Ok(ran),
        _ => Err(failed(plan, args[0], &ran.said.to_string())),
    }
}

/// Any command that answers with a document.
fn ordered(
    plan: &Plan,
    ends: &Ends,
    args: &[&str],
    state: &Path,
    settings: &[(&str, &str)],
) -> io::Result<Ran> {
    let mut command = Command::new(&plan.setup.binary);
    command
        .args(args)
        .arg("--json")
        .current_dir(&plan.setup.work)
        .env_clear()
        .envs(&ends.sandbox.environment)
        .env("CCS_STATE__DIR", state)
        .env("CCS_CLERK__REQUESTS_PER_10S", NO_LIMIT)
        .envs(settings.iter().copied());
    watch(plan, ends, command, args[0])
}

fn failed(plan: &Plan, kind: &str, ended: &str) -> io::Error {
    io::Error::other(format!(
        "{kind} ended as {ended}: {}",
        fs::read_to_string(plan.setup.work.join(format!("{kind}.log"))).unwrap_or_default()
    ))
}

/// The script on Node, to its end.
pub fn script(plan: &Plan, ends: &Ends, users: usize) -> io::Result<Ran> {
    let mut command = Command::new("node");
    command
        .arg("script.mjs")
        .current_dir(&plan.node_script)
        .envs(&ends.sandbox.environment)
        .env("NODE_ENV", "production")
        .env("CLERK_TELEMETRY_DISABLED", "1");
    let ran = watch(plan, ends, command, "script")?;
    match ran.said["moved"].as_u64() {
        Some(moved) if moved == users as u64 => Ok(ran),
        moved => Err(io::Error::other(format!(
            "the script moved {moved:?} of {users}: {}",
            fs::read_to_string(plan.setup.work.join("script.log")).unwrap_or_default()
        ))),
    }
}

fn watch(plan: &Plan, ends: &Ends, mut command: Command, name: &str) -> io::Result<Ran> {
    let out = plan.setup.work.join(format!("{name}.out"));
    command.stdout(Stdio::from(fs::File::create(&out)?));
    let services = ends.sandbox.process.child.id();
    let (counts, cpu) = (ends.counts()?, cpu_of(services)?);
    let began = Instant::now();
    let mut process = Process::start(&mut command, &plan.setup.work.join(format!("{name}.log")))?;
    let pid = process.child.id();
    let (mut peak_bytes, mut own) = (0, Cpu::new());
    while process.child.try_wait()?.is_none() {
        peak_bytes = peak_bytes.max(most_resident(pid).unwrap_or(0));
        // Threads that ended are not listed any more, so the largest sum counts.
        if let Ok(now) = cpu_of(pid)
            && sum(&now) > sum(&own)
        {
            own = now;
        }
        if began.elapsed() > PATIENCE {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "a run does not end",
            ));
        }
        std::thread::sleep(LOOK_EVERY);
    }
    let took = began.elapsed();
    let mut text = String::new();
    fs::File::open(&out)?.read_to_string(&mut text)?;
    Ok(Ran {
        took,
        peak_bytes,
        counts: ends.counts()?.since(counts),
        cpu: (sum(&own), sum(&used(&cpu, &cpu_of(services)?))),
        said: serde_json::from_str(&text).unwrap_or(Value::Null),
    })
}

fn sum(cpu: &Cpu) -> f64 {
    cpu.values().sum()
}

/// The most memory that a process has had resident so far, in bytes.
pub fn most_resident(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| {
        let kib = line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB")?;
        Some(kib.trim().parse::<u64>().ok()? * 1024)
    })
}

/// Bytes of all files below a directory.
pub fn size_of(dir: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            bytes += size_of(&entry.path())?;
        } else if kind.is_file() {
            bytes += entry.metadata()?.len();
        }
    }
    Ok(bytes)
}

/// Installs the script's packages as its lock file has them, if they are not there.
pub fn install_script(plan: &Plan) -> io::Result<()> {
    if plan.node_script.join("node_modules").exists() {
        return Ok(());
    }
    let installed = Command::new("npm")
        .args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"])
        .current_dir(&plan.node_script)
        .stdout(Stdio::null())
        .status()?;
    match installed.success() {
        true => Ok(()),
        false => Err(io::Error::other("npm ci failed in benches/node-script")),
    }
}
