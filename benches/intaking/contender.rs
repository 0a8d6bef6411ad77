//! Who is compared: the daemon as it is built for users, and a webhook route on Node.
//!
//! Both are processes behind an address and are told the same services and the same secret.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::plan::Plan;
use crate::support::{
    convex::{Sandbox, exchange},
    process::Process,
};

/// The longest that a start may take.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// How often a starting contender is asked whether it is ready.
const ASK_EVERY: Duration = Duration::from_micros(250);

/// Who receives deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contender {
    /// Hono and the `svix` package: one mutation for each event, then the answer.
    NodeRoute,
    /// `clerk-convex-sync run` with this many calls to Convex at once.
    Daemon {
        /// `convex.concurrency`.
        concurrency: usize,
    },
}

impl Contender {
    /// The daemon as it is configured when nobody configures it.
    pub const DEFAULT: Contender = Contender::Daemon { concurrency: 4 };

    /// Its name in tables.
    pub fn name(self) -> String {
        match self {
            Contender::NodeRoute => "node route".into(),
            Contender::Daemon { concurrency } => format!("daemon ({concurrency} calls)"),
        }
    }

    /// Starts it on an empty state.
    pub fn start(self, plan: &Plan, sandbox: &Sandbox) -> io::Result<Running> {
        match self {
            Contender::NodeRoute => Running::node(plan, sandbox),
            Contender::Daemon { concurrency } => {
                let state = plan.setup.work.join("state");
                if state.exists() {
                    fs::remove_dir_all(&state)?;
                }
                let concurrency = concurrency.to_string();
                let settings = [("CCS_CONVEX__CONCURRENCY", concurrency.as_str())];
                Running::daemon(plan, sandbox, &state, &settings)
            }
        }
    }
}

/// A contender that is ready.
pub struct Running {
    /// Its process.
    pub process: Process,
    /// Where it takes deliveries.
    pub address: SocketAddr,
    /// From its start to its first answer of 200 on `/readyz`.
    pub ready_after: Duration,
    /// The daemon's state directory.
    pub state: Option<PathBuf>,
}

impl Running {
    /// Starts the daemon on this state with these settings.
    pub fn daemon(
        plan: &Plan,
        sandbox: &Sandbox,
        state: &Path,
        settings: &[(&str, &str)],
    ) -> io::Result<Running> {
        let address = free_address()?;
        let mut command = Command::new(&plan.setup.binary);
        command
            .arg("run")
            .current_dir(&plan.setup.work)
            .stdout(Stdio::null())
            .env_clear()
            .envs(&sandbox.environment)
            .env("CCS_LISTEN__ADDRESS", address.to_string())
            .env("CCS_STATE__DIR", state)
            .envs(settings.iter().copied());
        let log = plan.setup.work.join("daemon.log");
        let mut running = Running::when_ready(&mut command, &log, address)?;
        running.state = Some(state.to_owned());
        Ok(running)
    }

    fn node(plan: &Plan, sandbox: &Sandbox) -> io::Result<Running> {
        let address = free_address()?;
        let mut command = Command::new("node");
        command
            .arg("route.mjs")
            .current_dir(&plan.node_route)
            .stdout(Stdio::null())
            .envs(&sandbox.environment)
            .env("NODE_ENV", "production")
            .env("PORT", address.port().to_string());
        Running::when_ready(&mut command, &plan.setup.work.join("node.log"), address)
    }

    fn when_ready(command: &mut Command, log: &Path, address: SocketAddr) -> io::Result<Running> {
        let started = Instant::now();
        let mut process = Process::start(command, log)?;
        while exchange(address, "GET", "/readyz", "").is_err() {
            let ended = process.child.try_wait()?;
            if ended.is_some() || started.elapsed() > START_PATIENCE {
                let said = fs::read_to_string(log).unwrap_or_default();
                return Err(io::Error::other(format!(
                    "a contender did not start: {said}"
                )));
            }
            std::thread::sleep(ASK_EVERY);
        }
        Ok(Running {
            process,
            address,
            ready_after: started.elapsed(),
            state: None,
        })
    }

    /// Ends it, and removes its state.
    pub fn end(mut self) -> io::Result<()> {
        self.process.end()?;
        if let Some(state) = &self.state {
            fs::remove_dir_all(state)?;
        }
        Ok(())
    }
}

/// Installs the packages of the Node route as its lock file has them, if they are not there.
pub fn install_node_route(plan: &Plan) -> io::Result<String> {
    let version = Command::new("node").arg("--version").output()?;
    if !plan.node_route.join("node_modules").exists() {
        let installed = Command::new("npm")
            .args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"])
            .current_dir(&plan.node_route)
            .stdout(Stdio::null())
            .status()?;
        if !installed.success() {
            return Err(io::Error::other("npm ci failed in benches/node-route"));
        }
    }
    Ok(String::from_utf8_lossy(&version.stdout).trim().to_owned())
}

fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}
