//! The built binary between the simulated ends: started, killed, stopped, asked to reload.
//!
//! A process of its own can be killed where it stands, which is what a crash is. Its log is kept line
//! by line, across restarts, for tests that look for a word or for what must not be there. It is ready
//! when `/readyz` says so. The state directory and the port stay the same over restarts. The same
//! binary is also run as a command, with the same environment.

use std::{
    net::{SocketAddr, TcpListener},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{ExitStatus, Output, Stdio},
    time::Duration,
};

use clerk_convex_sync::sandbox::{
    clerk::{ClerkOptions, ClerkSim, DEFAULT_WEBHOOK_SECRET},
    convex::{ConvexOptions, ConvexSim},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpSocket,
    process::{Child, Command},
};

use crate::{
    door::Door,
    hand::Hand,
    world::{environment, eventually},
};

mod log;

pub use self::log::Log;

/// How long a command may take to answer.
const END: Duration = Duration::from_secs(60);

/// See the module's words.
pub struct System {
    pub clerk: ClerkSim,
    pub convex: ConvexSim,
    pub state: TempDir,
    /// Everything that any of its daemons has logged.
    pub log: Log,
    settings: Vec<(String, String)>,
    prefix: Vec<String>,
    /// What the daemon is handed as the service manager would.
    socket: Option<TcpListener>,
    arguments: Vec<String>,
    running: Option<Running>,
    /// Holds the daemon's port while none runs. Without it somebody else's listener gets the port between two starts,
    /// and what is sent to the daemon goes there: taken in by the daemon of another test, or never answered.
    port: TcpSocket,
    address: Option<SocketAddr>,
    /// Asks for readiness. One for all starts, as each new one would set up TLS again.
    asking: reqwest::Client,
}

struct Running {
    child: Child,
    pid: Pid,
}

impl System {
    /// Both ends and the daemon, with the default settings.
    pub async fn start() -> System {
        System::with(&[]).await
    }

    /// The same with settings, as environment variables. An empty value takes a variable away.
    pub async fn with(settings: &[(&str, &str)]) -> System {
        let mut system = System::prepared(settings).await;
        system.start_daemon().await;
        system
    }

    /// Both ends, and a daemon that is not started yet.
    pub async fn prepared(settings: &[(&str, &str)]) -> System {
        System::beside(ConvexOptions::default(), settings).await
    }

    /// The same with another Convex.
    pub async fn beside(convex: ConvexOptions, settings: &[(&str, &str)]) -> System {
        let clerk = ClerkSim::start(ClerkOptions::default()).await;
        let convex = ConvexSim::start(convex).await;
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        System {
            clerk: clerk.expect("simulated Clerk"),
            convex: convex.expect("simulated Convex"),
            state: tempfile::tempdir().expect("a directory for the state"),
            log: Log::default(),
            settings: settings.iter().map(owned).collect(),
            prefix: Vec::new(),
            socket: None,
            arguments: Vec::new(),
            running: None,
            port: held_port(),
            address: None,
            asking: reqwest::Client::builder()
                .no_proxy()
                .pool_max_idle_per_host(0)
                .build()
                .expect("a client"),
        }
    }

    /// Changes a setting from the next start on.
    pub fn set(&mut self, key: &str, value: &str) {
        self.settings.push((key.to_owned(), value.to_owned()));
    }

    /// Gives the daemon the environment that the shipped unit gives it, which sets its memory allocator up.
    pub fn set_as_the_unit(&mut self) {
        let unit = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/systemd/clerk-convex-sync.service"
        );
        let unit = std::fs::read_to_string(unit).expect("the unit");
        let lines = unit
            .lines()
            .filter_map(|line| line.strip_prefix("Environment="));
        let words = lines.flat_map(str::split_whitespace);
        let set: Vec<_> = words.filter_map(|word| word.split_once('=')).collect();
        assert!(!set.is_empty(), "the unit sets nothing");
        for (name, value) in set {
            self.set(name, value);
        }
    }

    /// Reads this configuration file from the next start on.
    pub fn configured_by(&mut self, file: &Path) {
        self.arguments = vec!["--config".to_owned(), file.display().to_string()];
    }

    /// Starts the daemon by this command, which must replace itself by what follows it.
    pub fn start_by(&mut self, command: &[&str]) {
        self.prefix = command.iter().map(|word| (*word).to_owned()).collect();
    }

    /// Hands this socket over to each daemon from the next start on, as a service manager does that holds it.
    pub fn hand_over(&mut self, socket: TcpListener) {
        // Its number is that of the shell, which the daemon replaces.
        let hand = "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\"";
        self.start_by(&["sh", "-c", hand, "sh"]);
        self.socket = Some(socket);
    }

    /// The command with its environment, not yet run.
    pub fn command(&self, arguments: &[&str]) -> Command {
        // A long form may want the program as it is released, without the tests being built so.
        let other = std::env::var("CCS_SOAK_PROGRAM").ok();
        let binary = other
            .as_deref()
            .unwrap_or(env!("CARGO_BIN_EXE_clerk-convex-sync"));
        let mut words = self.prefix.iter().map(String::as_str).chain([binary]);
        let mut command = Command::new(words.next().expect("a program"));
        command.args(words).args(arguments).args(&self.arguments);
        command.env_clear();
        for name in ["PATH", "HOME", "LLVM_PROFILE_FILE"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.env("CCS_LOG__FORMAT", "json");
        command.envs(environment(&self.clerk, &self.convex, self.state.path()));
        let address = self.address.or_else(|| self.port.local_addr().ok());
        command.env("CCS_LISTEN__ADDRESS", address.expect("a port").to_string());
        for (key, value) in &self.settings {
            match value.as_str() {
                "" => command.env_remove(key),
                value => command.env(key, value),
            };
        }
        let socket = self.socket.as_ref().map(TcpListener::try_clone);
        let stdin = socket.map_or_else(Stdio::null, |socket| {
            OwnedFd::from(socket.expect("a descriptor")).into()
        });
        command.stdin(stdin).kill_on_drop(true);
        command
    }

    /// Starts the daemon and does not wait for it.
    pub fn launch(&mut self) {
        let mut child = self
            .command(&["run"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the built binary");
        let pid = child
            .id()
            .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let mut lines = BufReader::new(child.stderr.take().expect("stderr is piped")).lines();
        let log = self.log.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                log.add(line);
            }
        });
        self.running = Some(Running {
            child,
            pid: pid.expect("a process id"),
        });
    }

    /// Starts the daemon, on the port that it had before; returns when it can store deliveries.
    pub async fn start_daemon(&mut self) {
        let from = self.log.len();
        self.launch();
        let log = self.log.clone();
        let address = move || {
            log.field_since(from, "ready to take deliveries in", "address")?
                .parse()
                .ok()
        };
        eventually("the daemon says where it listens", async || {
            if let Some(Ok(Some(end))) = self.running.as_mut().map(|r| r.child.try_wait()) {
                panic!("it ended with {end}: {}", self.log.text());
            }
            address().is_some()
        })
        .await;
        self.address = address();
        let url = format!("http://{}/readyz", self.address());
        eventually("the daemon is ready", async || {
            let Ok(answer) = self.asking.get(&url).send().await else {
                return false;
            };
            // It is up as well with a queue that an earlier process filled while Convex was away.
            answer.status() == 200
                || answer
                    .text()
                    .await
                    .is_ok_and(|text| text.contains("queue is full"))
        })
        .await;
    }

    /// Kills the daemon where it stands (SIGKILL).
    pub async fn kill(&mut self) {
        self.signal(Signal::KILL);
        let end = self.ended().await;
        assert_eq!(end.code(), None, "killed, not ended");
    }

    /// The same for a daemon that may have ended by itself.
    pub async fn kill_if_it_lives(&mut self) {
        // Until it is waited for, there is something to send a signal to.
        self.signal(Signal::KILL);
        self.ended().await;
    }

    /// How the daemon has ended, if it has.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        let running = self.running.as_mut()?;
        let end = running.child.try_wait().expect("a child of ours")?;
        self.running = None;
        Some(end)
    }

    /// Asks the daemon to end (SIGTERM); its exit code.
    pub async fn terminate(&mut self) -> i32 {
        self.signal(Signal::TERM);
        let end = self.ended().await;
        end.code()
            .unwrap_or_else(|| panic!("{end}: {}", self.log.text()))
    }

    /// Sends the daemon a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the daemon runs");
    }

    /// Waits for the daemon to end.
    pub async fn ended(&mut self) -> ExitStatus {
        assert!(self.running.is_some(), "the daemon runs");
        let mut end = None;
        eventually("the daemon has ended", async || {
            end = self.has_ended();
            end.is_some()
        })
        .await;
        end.expect("it has ended")
    }

    /// The running daemon's process.
    pub fn pid(&self) -> Pid {
        self.running.as_ref().expect("the daemon runs").pid
    }

    /// Runs the binary as a command on the same configuration, to its end.
    pub async fn run(&self, arguments: &[&str]) -> Output {
        let run = self.command(arguments).output();
        let output = tokio::time::timeout(END, run).await;
        output
            .unwrap_or_else(|_| panic!("{arguments:?} does not end"))
            .expect("the built binary")
    }

    /// Starts the binary as a command and leaves it to itself; dropped, it is killed.
    pub fn spawn(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("the built binary")
    }

    /// The same for a command that succeeds and prints a document.
    pub async fn run_json(&self, arguments: &[&str]) -> Value {
        let output = self.run(arguments).await;
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {complaint}");
        serde_json::from_slice(&output.stdout).expect("one document and nothing else")
    }

    /// The public listener.
    pub fn address(&self) -> SocketAddr {
        self.address.expect("the daemon was started")
    }

    /// The operators' door.
    pub fn door(&self) -> Door {
        Door::at(&self.inside().join("admin.sock"))
    }

    /// The state directory as the daemon sees it, which may have mounted something there.
    pub fn inside(&self) -> PathBuf {
        // The daemon's own view may be looked into by root only; without a command before it, it is ours.
        if self.prefix.is_empty() || self.socket.is_some() {
            return self.state.path().to_owned();
        }
        let own = Path::new("/proc").join(self.pid().as_raw_nonzero().to_string());
        let path = self.state.path();
        own.join("root")
            .join(path.strip_prefix("/").unwrap_or(path))
    }

    /// A hand that signs as the simulated Clerk does.
    pub fn hand(&self) -> Hand {
        Hand::new(self.address(), &[DEFAULT_WEBHOOK_SECRET])
    }

    /// How many deliveries the last start found in the journal, by its own words.
    pub fn recovered(&self) -> usize {
        let said = self
            .log
            .field_since(0, "recovered from the journal", "recovered");
        said.and_then(|text| text.parse().ok())
            .expect("a start says how many")
    }
}

/// A port that nobody is given as a free one, and that can still be listened on by name.
fn held_port() -> TcpSocket {
    let held = TcpSocket::new_v4().expect("a socket");
    held.set_reuseaddr(true).expect("a socket of ours");
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    held.bind(any).expect("a free port");
    held
}

impl Drop for System {
    /// A test that fails says what the daemon said last, and what its threads are waiting for.
    fn drop(&mut self) {
        const LAST_LINES: usize = 30;
        if !std::thread::panicking() {
            return;
        }
        let text = self.log.text();
        let lines: Vec<&str> = text.lines().collect();
        println!("the daemon's last words:");
        for line in lines.iter().skip(lines.len().saturating_sub(LAST_LINES)) {
            println!("{line}");
        }
        let Some(running) = &self.running else {
            return println!("no daemon runs");
        };
        let tasks = format!("/proc/{}/task", running.pid.as_raw_nonzero());
        for task in std::fs::read_dir(tasks).into_iter().flatten().flatten() {
            let part = |name| std::fs::read_to_string(task.path().join(name)).unwrap_or_default();
            println!(
                "{} {} {}",
                part("comm").trim(),
                part("wchan"),
                part("schedstat").trim()
            );
        }
    }
}
