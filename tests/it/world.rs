//! A world for one test: a simulated Clerk, a simulated Convex, and the real daemon between them.
//!
//! The daemon lives in this process so that a test can look at everything; `process.rs` has the built
//! binary, which can be killed. Waiting is `eventually`, bounded, never a sleep.

use std::{sync::Arc, time::Duration};

use clerk_convex_sync::{
    config::{Config, Env},
    daemon::{Daemon, Handle, Surroundings},
    sandbox::{
        clerk::{ClerkOptions, ClerkSim, DEFAULT_SECRET_KEY, DEFAULT_WEBHOOK_SECRET},
        convex::{ConvexOptions, ConvexSim},
    },
};
use serde_json::Value;
use tempfile::TempDir;

use crate::{door::Door, hand::Hand};

/// Where deliveries go.
pub const PATH: &str = "/api/webhooks/clerk";

/// See the module's words.
pub struct World {
    pub clerk: ClerkSim,
    pub convex: ConvexSim,
    pub daemon: Option<Handle>,
    pub state: TempDir,
    settings: Vec<(String, String)>,
}

impl World {
    /// Everything started, with the default settings.
    pub async fn start() -> World {
        World::with(&[]).await
    }

    /// The same with settings, as environment variables.
    pub async fn with(settings: &[(&str, &str)]) -> World {
        let clerk = ClerkSim::start(ClerkOptions::default())
            .await
            .expect("simulated Clerk");
        let convex = ConvexSim::start(ConvexOptions::default())
            .await
            .expect("simulated Convex");
        let state = tempfile::tempdir().expect("a directory for the state");
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let mut world = World {
            clerk,
            convex,
            daemon: None,
            state,
            settings: settings.iter().map(owned).collect(),
        };
        world.start_daemon().await;
        world
    }

    /// The environment that the daemon runs in.
    pub fn environment(&self) -> Vec<(String, String)> {
        let own = environment(&self.clerk, &self.convex, self.state.path());
        own.into_iter().chain(self.settings.clone()).collect()
    }

    /// Starts the daemon (again) on the same state, and points Clerk's webhooks at it.
    pub async fn start_daemon(&mut self) {
        let env = Env::new(self.environment());
        let read = move || Config::load(None, &env).map_err(|mistakes| format!("{mistakes:?}"));
        let loaded = read().unwrap_or_else(|mistakes| panic!("{mistakes}"));
        let around = Surroundings {
            reread: Some(Arc::new(move || Ok(read()?.config))),
            ..Surroundings::default()
        };
        let daemon = Daemon::start_in(loaded.config, around)
            .await
            .expect("the daemon starts");
        let url = format!("http://{}{PATH}", daemon.public_addr());
        self.clerk.set_webhook_url(Some(url));
        self.daemon = Some(daemon);
    }

    /// Changes a setting from the next start on.
    pub fn set(&mut self, key: &str, value: &str) {
        self.settings.push((key.to_owned(), value.to_owned()));
    }

    /// Ends the daemon as SIGTERM does.
    pub async fn stop_daemon(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            daemon.shutdown().await;
        }
    }

    /// The running daemon.
    pub fn daemon(&self) -> &Handle {
        self.daemon.as_ref().expect("the daemon runs")
    }

    /// The operators' door.
    pub fn door(&self) -> Door {
        Door::at(self.daemon().admin_socket())
    }

    /// A hand that signs as the simulated Clerk does.
    pub fn hand(&self) -> Hand {
        Hand::new(self.daemon().public_addr(), &[DEFAULT_WEBHOOK_SECRET])
    }

    /// Waits until all deliveries have a fate and nothing waits in the daemon.
    pub async fn quiet(&self) {
        let fates = tokio::time::timeout(Duration::from_secs(60), self.clerk.quiet());
        fates
            .await
            .expect("every delivery has a fate within a minute");
        self.door().idle().await;
    }

    /// The simulated Convex's row of a user.
    pub fn user_row(&self, key: &str) -> Option<Value> {
        self.convex.row("users", key)
    }

    /// What every test ends with: one final state for each delivery, and the sums agree.
    pub async fn settled(&self) {
        self.door().every_delivery_has_one_end(0).await;
    }
}

/// Settings of a daemon between these two, on a free port, with short waits between tries.
pub fn environment(
    clerk: &ClerkSim,
    convex: &ConvexSim,
    state: &std::path::Path,
) -> Vec<(String, String)> {
    let settings = [
        ("CLERK_SECRET_KEY", DEFAULT_SECRET_KEY.to_owned()),
        ("CLERK_WEBHOOK_SECRET", DEFAULT_WEBHOOK_SECRET.to_owned()),
        ("CLERK_API_URL", clerk.url()),
        ("CONVEX_URL", convex.url()),
        ("CONVEX_DEPLOY_KEY", convex.deploy_key()),
        ("SYNC_RETRY_DELAY_MS", "20".to_owned()),
        ("CCS_STATE__DIR", state.display().to_string()),
        ("CCS_LISTEN__ADDRESS", "127.0.0.1:0".to_owned()),
        // Tests count the calls to both ends; those about the schedule switch it on.
        ("CCS_SCHEDULE__SWEEP", "off".to_owned()),
        ("CCS_SCHEDULE__CENSUS", "off".to_owned()),
        ("CCS_SCHEDULE__FULL", "off".to_owned()),
        ("CCS_SCHEDULE__DIGEST", "off".to_owned()),
        // A test asks in a second what a development instance, whose key this is, answers in minutes.
        ("CCS_CLERK__REQUESTS_PER_10S", "10000".to_owned()),
    ];
    let owned = settings.map(|(key, value)| (key.to_owned(), value));
    owned.into_iter().collect()
}

/// The tables of the rows that were written, in the order in which they were.
pub fn written(convex: &ConvexSim) -> Vec<&'static str> {
    let commits = convex.commits(0, 1_000);
    commits.iter().map(|commit| commit.table).collect()
}

/// Waits for something to become true, for up to a minute in which this process ran: while it is stopped, or the
/// machine sleeps, so is what it waits for.
pub async fn eventually(what: &str, mut check: impl AsyncFnMut() -> bool) {
    const MOST_AT_ONCE: Duration = Duration::from_secs(1);
    let (mut waited, mut last) = (Duration::ZERO, tokio::time::Instant::now());
    while !check().await {
        assert!(
            waited < Duration::from_secs(60),
            "not within a minute: {what}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
        waited += last.elapsed().min(MOST_AT_ONCE);
        last = tokio::time::Instant::now();
    }
}
