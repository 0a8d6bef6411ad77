//! The system of a demo: both simulated ends, and the real daemon between them.
//!
//! The daemon gets its settings as it would from an environment and keeps its state in a directory that
//! goes away with the demo. Its clock sweeps every few seconds; the other scans are asked for, so that one
//! seed ends in one story.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    cli::{
        admin_client::{AdminClient, AdminError, Lines},
        ends::{Ends, EndsOptions},
        exit::Failure,
        output::{Output, Paint, Tone},
        run::start_failure,
        runs::{progress::Watcher, watch::Listening},
    },
    config::{Config, Env},
    daemon::{Daemon, Handle},
    report::{Report, RunKind, Summary, history::History},
    store::crypt::Keyring,
};

/// The path that deliveries are sent to.
const WEBHOOK_PATH: &str = "/api/webhooks/clerk";

/// When the daemon's own clock looks for changes that no delivery told.
const SWEEP: &str = "*/2 * * * * *";

/// How long a run waits for one of its sort that the clock has started.
const BUSY_WITHIN: Duration = Duration::from_secs(30);

/// How often it is asked whether that one has ended.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// Everything that runs.
pub(super) struct System {
    /// The simulated services.
    pub ends: Ends,
    daemon: Handle,
    admin: AdminClient,
    // Dropped last: the daemon writes into it.
    state: TempDir,
}

impl System {
    /// Starts all three on free ports.
    ///
    /// # Errors
    /// Exit code 1 when one of them does not start.
    pub async fn start(seed: u64) -> Result<Self, Failure> {
        let ends = Ends::start(EndsOptions {
            clerk_port: 0,
            convex_port: 0,
            seed,
            latency: Duration::ZERO,
            rate_per_10s: 0,
            webhook_url: None,
        })
        .await?;
        let state = tempfile::Builder::new()
            .prefix("clerk-convex-sync-demo-")
            .tempdir()
            .context("cannot make a directory for the state")?;
        let config = config(&ends, &state)?;
        let daemon = Daemon::start(config)
            .await
            .map_err(|error| start_failure(&error))?;
        let address = daemon.public_addr();
        ends.clerk
            .set_webhook_url(Some(format!("http://{address}{WEBHOOK_PATH}")));
        let admin = AdminClient::by_socket(daemon.admin_socket().to_owned())?;
        Ok(System {
            ends,
            daemon,
            admin,
            state,
        })
    }

    /// What is running, and what to try while it does.
    pub fn greeting(&self, paint: Paint) -> String {
        let daemon = format!("http://{}", self.daemon.public_addr());
        let socket = self.daemon.admin_socket().display();
        let mut text = format!(
            "Simulated Clerk   {}\nThe daemon        {daemon}\nSimulated Convex  {}\n\nTo try meanwhile:\n",
            self.ends.clerk.url(),
            self.ends.convex.url(),
        );
        let mut commands = self.ends.commands();
        commands.push((
            "the daemon's status",
            format!("curl -s --unix-socket {socket} http://localhost/status"),
        ));
        commands.push((
            "its metrics",
            format!("curl -s --unix-socket {socket} http://localhost/metrics"),
        ));
        commands.push(("whether it can store", format!("curl -si {daemon}/readyz")));
        for (does, command) in commands {
            let does = paint.tone(Tone::Quiet, &format!("# {does}"));
            text += &format!("  {does}\n  {command}\n");
        }
        text
    }

    /// The daemon's status; null when it does not answer.
    pub async fn status(&self) -> Value {
        self.admin.get("/status").await.unwrap_or_default()
    }

    /// How many events wait in the daemon.
    pub async fn queue_depth(&self) -> Option<u64> {
        self.status().await["queue"]["depth"].as_u64()
    }

    /// A run, to its end; on a terminal with a bar. With the digest of a plan: carries that out.
    ///
    /// # Errors
    /// Exit code 1 when it comes to no report.
    pub async fn run(
        &self,
        kind: RunKind,
        approve: Option<String>,
        output: Output,
    ) -> Result<Report, Failure> {
        let lines = self.start_run(kind, approve).await?;
        let mut watcher = Watcher::new(kind, output);
        let report = Listening::new(lines).until_its_end(&mut watcher).await;
        watcher.end();
        report
    }

    async fn start_run(&self, kind: RunKind, approve: Option<String>) -> Result<Lines, Failure> {
        let wish = json!({ "kind": kind, "tables": [], "max_deletes": null, "approve": approve });
        let deadline = Instant::now() + BUSY_WITHIN;
        loop {
            match self.admin.post_for_lines("/runs", &wish).await {
                Err(AdminError::Refused {
                    status: StatusCode::CONFLICT,
                    ..
                }) if Instant::now() < deadline => tokio::time::sleep(ASK_EVERY).await,
                started => return Ok(started?),
            }
        }
    }

    /// The runs that have left a report.
    ///
    /// # Errors
    /// Exit code 1 when they cannot be read.
    pub fn past(&self) -> Result<Vec<Summary>, Failure> {
        let listing = History::look(self.state.path(), false, &Keyring::default()).list();
        let listing = listing.map_err(|error| Failure::failed(error.to_string()))?;
        Ok(listing.summaries)
    }

    /// Ends everything, the sender first, and removes the state.
    pub async fn stop(self) {
        self.ends.clerk.stop().await;
        self.daemon.shutdown().await;
        self.ends.convex.stop().await;
        drop(self.state);
    }
}

fn config(ends: &Ends, state: &TempDir) -> Result<Config, Failure> {
    let state = state.path().display().to_string();
    let own = [
        ("CCS_STATE__DIR", state),
        ("CCS_LISTEN__ADDRESS", "127.0.0.1:0".to_owned()),
        ("CCS_LISTEN__WEBHOOK_PATHS", WEBHOOK_PATH.to_owned()),
        // The simulated instance has a development key but nobody to share its limit with.
        ("CCS_CLERK__REQUESTS_PER_10S", "10000".to_owned()),
        ("CCS_SCHEDULE__SWEEP", SWEEP.to_owned()),
        ("CCS_SCHEDULE__CENSUS", "off".to_owned()),
        ("CCS_SCHEDULE__FULL", "off".to_owned()),
        ("CCS_SCHEDULE__DIGEST", "off".to_owned()),
    ];
    let env = Env::new(ends.environment().into_iter().chain(own));
    let loaded = Config::load(None, &env).map_err(|mistakes| Failure::mistakes(&mistakes))?;
    Ok(loaded.config)
}
