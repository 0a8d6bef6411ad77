//! The two simulated services as `sandbox` and `demo` start them, and what to tell a person of them.
//!
//! All keys here open nothing but the simulations. Knows no daemon.

use std::time::Duration;

use serde_json::{Value, json};

use super::exit::Failure;
use crate::sandbox::{
    clerk::{ClerkOptions, ClerkSim, DEFAULT_SECRET_KEY, DEFAULT_WEBHOOK_SECRET},
    convex::{ConvexOptions, ConvexSim},
};

/// The key of the simulated deployment. A development one, as the simulated Clerk is a development
/// instance: the daemon refuses to mix the two kinds.
const DEPLOY_KEY: &str = "dev:sandbox|simulated";

/// How the ends are to be.
#[derive(Clone, Debug)]
pub struct EndsOptions {
    /// Clerk's port; 0 takes a free one.
    pub clerk_port: u16,
    /// Convex's port; 0 takes a free one.
    pub convex_port: u16,
    /// From which ids and chances follow.
    pub seed: u64,
    /// Added to every answer.
    pub latency: Duration,
    /// Requests to Clerk in ten seconds; 0 is no limit.
    pub rate_per_10s: u32,
    /// Where deliveries go.
    pub webhook_url: Option<String>,
}

/// Both services, running. Dropping them stops them.
#[derive(Debug)]
pub struct Ends {
    /// The simulated Clerk.
    pub clerk: ClerkSim,
    /// The simulated Convex.
    pub convex: ConvexSim,
}

impl Ends {
    /// Binds both ports and serves.
    ///
    /// # Errors
    /// Exit code 1 when a port is taken.
    pub async fn start(options: EndsOptions) -> Result<Self, Failure> {
        let clerk = ClerkSim::start(ClerkOptions {
            port: options.clerk_port,
            seed: options.seed,
            webhook_url: options.webhook_url,
            rate_per_10s: options.rate_per_10s,
            latency: options.latency,
            ..ClerkOptions::default()
        });
        let clerk = clerk
            .await
            .map_err(|error| not_bound("Clerk", options.clerk_port, "--clerk-port", &error))?;
        let convex = ConvexSim::start(ConvexOptions {
            port: options.convex_port,
            deploy_key: DEPLOY_KEY.to_owned(),
            latency: options.latency,
            seed: options.seed,
            ..ConvexOptions::default()
        });
        let convex = convex
            .await
            .map_err(|error| not_bound("Convex", options.convex_port, "--convex-port", &error))?;
        Ok(Ends { clerk, convex })
    }

    /// What a daemon between the two is to be told, by the names of the environment.
    pub fn environment(&self) -> [(&'static str, String); 5] {
        [
            ("CLERK_API_URL", self.clerk.url()),
            ("CLERK_SECRET_KEY", DEFAULT_SECRET_KEY.to_owned()),
            ("CLERK_WEBHOOK_SECRET", DEFAULT_WEBHOOK_SECRET.to_owned()),
            ("CONVEX_URL", self.convex.url()),
            ("CONVEX_DEPLOY_KEY", DEPLOY_KEY.to_owned()),
        ]
    }

    /// Commands to try, each with what it does.
    pub fn commands(&self) -> Vec<(&'static str, String)> {
        let clerk = self.clerk.url();
        let convex = self.convex.url();
        let list = json!({
            "path": "clerkSync:list", "format": "json",
            "args": { "table": "users", "from": null, "before": null, "cursor": null, "limit": 3 },
        });
        vec![
            (
                "how many users Clerk has",
                format!(
                    "curl -sH 'Authorization: Bearer {DEFAULT_SECRET_KEY}' {clerk}/v1/users/count"
                ),
            ),
            (
                "a user signs up",
                format!(
                    "curl -s --json '{{\"first_name\":\"Ines\",\"email_address\":[\"ines@post.example\"]}}' \
                     {clerk}/_sim/users"
                ),
            ),
            (
                "lose one delivery in ten from now on",
                format!("curl -s --json '{{\"lose_ratio\":0.1}}' {clerk}/_sim/webhooks"),
            ),
            (
                "what became of the deliveries",
                format!("curl -s {clerk}/_sim/fates"),
            ),
            (
                "the first rows in Convex",
                format!(
                    "curl -sH 'Authorization: Convex {DEPLOY_KEY}' --json '{list}' {convex}/api/query"
                ),
            ),
        ]
    }

    /// Addresses, keys and environment as a document.
    pub fn document(&self) -> Value {
        let environment: serde_json::Map<String, Value> = self
            .environment()
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect();
        json!({
            "clerk": { "url": self.clerk.url(), "secret_key": DEFAULT_SECRET_KEY,
                       "webhook_secret": DEFAULT_WEBHOOK_SECRET },
            "convex": { "url": self.convex.url(), "deploy_key": DEPLOY_KEY },
            "environment": environment,
        })
    }

    /// Ends both, with every connection.
    pub async fn stop(&self) {
        self.clerk.stop().await;
        self.convex.stop().await;
    }
}

fn not_bound(name: &str, port: u16, option: &str, error: &std::io::Error) -> Failure {
    Failure::failed(format!(
        "the simulated {name} cannot start on port {port}: {error}"
    ))
    .help(format!(
        "choose another port with {option}; 0 takes any free one"
    ))
}
