//! A world for one test: a simulated Clerk, a simulated Convex, and the real daemon between them.
//!
//! The daemon lives in this process so that a test can look at everything; `process.rs` has the built
//! binary, which can be killed. Waiting is `eventually`, bounded, never a sleep.

use std::time::Duration;

use clerk_convex_sync::{
    config::{Config, Env},
    daemon::{Daemon, Handle},
    sandbox::{
        clerk::{ClerkOptions, ClerkSim, DEFAULT_SECRET_KEY, DEFAULT_WEBHOOK_SECRET},
        convex::{ConvexOptions, ConvexSim},
    },
};
use serde_json::Value;
use tempfile::TempDir;

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
        let settings = settings
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        let mut world = World {
            clerk,
            convex,
            daemon: None,
            state,
            settings,
        };
        world.start_daemon().await;
        world
    }

    /// The environment that the daemon runs in.
    pub fn environment(&self) -> Vec<(String, String)> {
        let own = [
            ("CLERK_SECRET_KEY", DEFAULT_SECRET_KEY.to_owned()),
            ("CLERK_WEBHOOK_SECRET", DEFAULT_WEBHOOK_SECRET.to_owned()),
            ("CLERK_API_URL", self.clerk.url()),
            ("CONVEX_URL", self.convex.url()),
            ("CONVEX_DEPLOY_KEY", self.convex.deploy_key()),
            ("SYNC_RETRY_DELAY_MS", "20".to_owned()),
            ("CCS_STATE__DIR", self.state.path().display().to_string()),
            ("CCS_LISTEN__ADDRESS", "127.0.0.1:0".to_owned()),
        ];
        let own = own.into_iter().map(|(key, value)| (key.to_owned(), value));
        own.chain(self.settings.iter().cloned()).collect()
    }

    /// Starts the daemon (again) on the same state, and points Clerk's webhooks at it.
    pub async fn start_daemon(&mut self) {
        let env = Env::new(self.environment());
        let loaded = Config::load(None, &env).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
        let daemon = Daemon::start(loaded.config)
            .await
            .expect("the daemon starts");
        self.clerk
            .set_webhook_url(Some(format!("http://{}{PATH}", daemon.public_addr())));
        self.daemon = Some(daemon);
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

    /// Asks the operators' socket.
    pub async fn admin(&self, path: &str) -> Value {
        let text = self.admin_text("GET", path, None).await;
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{path}: {text}"))
    }

    /// Asks the operators' socket to do something.
    pub async fn order(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let text = self.admin_text(method, path, body).await;
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{path}: {text}"))
    }

    /// An answer of the operators' socket as text.
    pub async fn admin_text(&self, method: &str, path: &str, body: Option<Value>) -> String {
        let client = reqwest::Client::builder()
            .unix_socket(self.daemon().admin_socket())
            .build()
            .expect("a client");
        let mut request = client.request(
            method.parse().expect("a method"),
            format!("http://localhost{path}"),
        );
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.expect("the operators' socket answers");
        answer.text().await.expect("a whole answer")
    }

    /// A counter of the metrics, zero if it is not there.
    pub async fn metric(&self, line: &str) -> f64 {
        let text = self.admin_text("GET", "/metrics", None).await;
        let prefix = format!("clerk_convex_sync_{line} ");
        let found = text.lines().find_map(|l| l.strip_prefix(&prefix));
        found.map_or(0.0, |value| value.parse().expect("a number"))
    }

    /// Waits until all deliveries have a fate and nothing waits in the daemon.
    pub async fn quiet(&self) {
        let fates = tokio::time::timeout(Duration::from_secs(60), self.clerk.quiet());
        fates
            .await
            .expect("every delivery has a fate within a minute");
        eventually("the queue is empty", async || {
            self.admin("/status").await["queue"]["depth"] == 0
        })
        .await;
    }

    /// The simulated Convex's row of a user.
    pub fn user_row(&self, key: &str) -> Option<Value> {
        self.convex.row("users", key)
    }
}

/// Waits for something to become true, for up to half a minute.
pub async fn eventually(what: &str, mut check: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while !check().await {
        assert!(
            tokio::time::Instant::now() < deadline,
            "not within 30 s: {what}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
