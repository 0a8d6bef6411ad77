//! The small scans, asked of a running daemon by its socket: what a quiet minute costs, and missed deletions.

use std::{
    fs,
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    ends::{Counts, Ends},
    plan::Plan,
    runs::NO_LIMIT,
};
use crate::support::process::Process;

/// The longest that the daemon may take to be ready, and that a scan may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// A daemon that runs nothing by itself.
pub struct Daemon {
    process: Process,
    socket: PathBuf,
}

/// What one scan cost.
#[derive(Clone, Debug)]
pub struct Scanned {
    /// What the services counted.
    pub counts: Counts,
    /// How long it took.
    pub took: Duration,
    /// Its report.
    pub report: Value,
}

impl Daemon {
    /// Starts it without any schedule, on this state.
    pub fn start(plan: &Plan, ends: &Ends, state: &Path) -> io::Result<Daemon> {
        let socket = plan.setup.work.join("admin.sock");
        let settings = plan.setup.work.join("bench.toml");
        fs::write(
            &settings,
            "[schedule]\nsweep = \"\"\ncensus = \"\"\nfull = \"\"\ndigest = \"\"\n",
        )?;
        let mut command = Command::new(&plan.setup.binary);
        command
            .arg("run")
            .arg("--config")
            .arg(&settings)
            .current_dir(&plan.setup.work)
            .stdout(Stdio::null())
            .env_clear()
            .envs(&ends.sandbox.environment)
            .env("CCS_LISTEN__ADDRESS", "127.0.0.1:0")
            .env("CCS_STATE__DIR", state)
            .env("CCS_CLERK__REQUESTS_PER_10S", NO_LIMIT)
            .env("CCS_ADMIN__SOCKET", &socket);
        let log = plan.setup.work.join("daemon.log");
        let mut process = Process::start(&mut command, &log)?;
        let began = Instant::now();
        while UnixStream::connect(&socket).is_err() {
            if process.child.try_wait()?.is_some() || began.elapsed() > PATIENCE {
                let said = fs::read_to_string(&log).unwrap_or_default();
                return Err(io::Error::other(format!(
                    "the daemon did not start: {said}"
                )));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(Daemon { process, socket })
    }

    /// Runs a scan of this kind to its end.
    pub fn scan(&self, ends: &Ends, kind: &str) -> io::Result<Scanned> {
        let before = ends.counts()?;
        let began = Instant::now();
        let mut wish = json!({ "kind": kind });
        if matches!(kind, "audit" | "reconcile") {
            wish["tables"] = json!(["users"]);
        }
        let wish = wish.to_string();
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let head = format!(
            "POST /runs HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            wish.len()
        );
        stream.write_all(format!("{head}{wish}").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let took = began.elapsed();
        // Lines of JSON, each in a chunk of its own; the last one has the report, or says why there is none.
        let lines = answer.lines().filter(|line| line.starts_with('{'));
        let mut documents = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let last = documents.next_back().unwrap_or(Value::Null);
        if last["report"].is_null() {
            return Err(io::Error::other(format!(
                "{kind} came to no report: {answer}"
            )));
        }
        Ok(Scanned {
            counts: ends.counts()?.since(before),
            took,
            report: last["report"].clone(),
        })
    }

    /// Asks it to end, and waits.
    pub fn end(mut self) -> io::Result<()> {
        self.process.end()
    }
}
