//! The simulated Convex that both contenders write to: the `sandbox` command in its own process.
//!
//! Control goes through its `/_sim/` routes. When a row became visible is what it says itself.

use std::{
    collections::HashMap,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use serde::Deserialize;

use super::process::Process;

/// Commits asked for at once.
const PAGE: u64 = 50_000;
/// The longest that a control request may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running sandbox.
pub struct Sandbox {
    /// Its process.
    pub process: Process,
    /// What a daemon or a route between the services is told.
    pub environment: HashMap<String, String>,
    /// Where the webhooks' signing secret comes from.
    pub webhook_secret: String,
    convex: SocketAddr,
}

#[derive(Deserialize)]
struct Greeting {
    clerk: ClerkGreeting,
    convex: ConvexGreeting,
    environment: HashMap<String, String>,
}

#[derive(Deserialize)]
struct ClerkGreeting {
    webhook_secret: String,
}

#[derive(Deserialize)]
struct ConvexGreeting {
    url: String,
}

#[derive(Deserialize)]
struct Commits {
    commits: Vec<Commit>,
}

/// One row's write.
#[derive(Deserialize)]
pub struct Commit {
    seq: u64,
    /// The row.
    pub key: String,
    /// The version that it holds now, in milliseconds.
    pub version: f64,
    /// When it became visible, in microseconds since the epoch.
    pub at_us: u64,
}

impl Sandbox {
    /// Starts it on free ports.
    pub fn start(binary: &Path, log: &Path) -> io::Result<Sandbox> {
        let mut command = Command::new(binary);
        command
            .args([
                "sandbox",
                "--clerk-port",
                "0",
                "--convex-port",
                "0",
                "--json",
            ])
            .stdout(Stdio::piped());
        let mut process = Process::start(&mut command, log)?;
        let stdout = process.child.stdout.take();
        let stdout = stdout.ok_or_else(|| io::Error::other("no standard output"))?;
        let mut documents = serde_json::Deserializer::from_reader(stdout).into_iter();
        let greeting: Greeting = documents
            .next()
            .ok_or_else(|| io::Error::other("the sandbox said nothing"))??;
        let address = greeting.convex.url.trim_start_matches("http://");
        let convex = address.parse().map_err(io::Error::other)?;
        Ok(Sandbox {
            process,
            environment: greeting.environment,
            webhook_secret: greeting.clerk.webhook_secret,
            convex,
        })
    }

    /// Empties it, and sets how long each answer takes.
    pub fn begin(&self, latency: Duration) -> io::Result<()> {
        self.post("reset", "{}")?;
        self.post("up", "{}")?;
        let body = format!("{{\"ms\":{}}}", latency.as_millis());
        self.post("latency", &body)
    }

    /// Lets every call fail as if the deployment were not there.
    pub fn down(&self) -> io::Result<()> {
        self.post("down", "{}")
    }

    /// The commits from number `from` on, as far as it remembers them; moves `from` behind them.
    pub fn commits(&self, from: &mut u64) -> io::Result<Vec<Commit>> {
        let mut all: Vec<Commit> = Vec::new();
        loop {
            let path = format!("/_sim/commits?from={from}&limit={PAGE}");
            let page: Commits = serde_json::from_str(&exchange(self.convex, "GET", &path, "")?)?;
            let Some(last) = page.commits.last() else {
                return Ok(all);
            };
            *from = last.seq + 1;
            all.extend(page.commits);
        }
    }

    fn post(&self, order: &str, body: &str) -> io::Result<()> {
        exchange(self.convex, "POST", &format!("/_sim/{order}"), body).map(drop)
    }
}

/// One request on a connection of its own; answers with the body if the status is 200.
pub fn exchange(to: SocketAddr, method: &str, path: &str, body: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.get(9..12) == Some("200") => Ok(body.to_owned()),
        Some((head, _)) => Err(io::Error::other(format!(
            "{path}: {}",
            head.lines().next().unwrap_or_default()
        ))),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
