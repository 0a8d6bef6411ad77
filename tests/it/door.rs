//! The operators' door as a test uses it: figures, metrics, dead letters, orders.
//!
//! Speaks HTTP over the daemon's Unix socket, whether the daemon lives in this process or in another.
//! Knows the names of the contract; judges nothing but whether every delivery has one final state.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::world::eventually;

/// See the module's words.
pub struct Door {
    client: reqwest::Client,
}

/// The metrics at one moment.
#[derive(Debug)]
pub struct Figures(BTreeMap<String, f64>);

impl Door {
    /// The door at this socket.
    pub fn at(socket: &Path) -> Door {
        // A connection for each: while a test is stopped or waits for a processor, an idle one is hung up on.
        let builder = reqwest::Client::builder()
            .unix_socket(PathBuf::from(socket))
            .pool_max_idle_per_host(0);
        Door {
            client: builder.build().expect("a client"),
        }
    }

    /// Asks for a document.
    pub async fn get(&self, path: &str) -> Value {
        self.order("GET", path, None).await
    }

    /// Asks for something to be done.
    pub async fn order(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let text = self.text(method, path, body).await;
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{path}: {text}"))
    }

    /// An answer as text.
    pub async fn text(&self, method: &str, path: &str, body: Option<Value>) -> String {
        let answer = self.try_text(method, path, body).await;
        answer.unwrap_or_else(|error| panic!("{path}: {error:?}"))
    }

    async fn try_text(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> reqwest::Result<String> {
        let method = method.parse().expect("a method");
        let mut request = self
            .client
            .request(method, format!("http://localhost{path}"));
        if let Some(body) = body {
            request = request.json(&body);
        }
        request.send().await?.text().await
    }

    /// All metrics.
    pub async fn figures(&self) -> Figures {
        let text = self.text("GET", "/metrics", None).await;
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let figures = lines.filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            let name = name.strip_prefix("clerk_convex_sync_")?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Figures(figures.collect())
    }

    /// Waits until nothing waits in the daemon, for as long as that becomes less.
    pub async fn idle(&self) {
        let mut depth = u64::MAX;
        while depth > 0 {
            let before = depth;
            eventually("the queue becomes shorter", async || {
                let status = self.get("/status").await;
                depth = status["queue"]["depth"].as_u64().expect("a number");
                depth < before
            })
            .await;
        }
    }

    /// Waits until the queue holds so many.
    pub async fn depth(&self, wanted: usize) {
        eventually("the queue has filled", async || {
            self.get("/status").await["queue"]["depth"] == wanted
        })
        .await;
    }

    /// Stops or resumes applying.
    pub async fn pause(&self, paused: bool) {
        let path = if paused { "/pause" } else { "/resume" };
        assert_eq!(self.order("POST", path, None).await["paused"], paused);
    }

    /// The dead letters.
    pub async fn failures(&self) -> Vec<Value> {
        let page = self.get("/failures?limit=1000").await;
        let failures = page["failures"].as_array().cloned().expect("a list");
        assert_eq!(page["total"], failures.len(), "{page}");
        failures
    }

    /// The codes of the alerts that are raised.
    pub async fn alerts(&self) -> Vec<String> {
        let status = self.get("/status").await;
        let alerts = status["alerts"].as_array().cloned().expect("a list");
        let codes = alerts.iter().filter_map(|alert| alert["code"].as_str());
        codes.map(str::to_owned).collect()
    }

    /// Checks that everything this process has taken in, and everything that it recovered, reached
    /// exactly one final state or is a dead letter.
    pub async fn every_delivery_has_one_end(&self, recovered: usize) {
        self.idle().await;
        let figures = self.figures().await;
        let stored = figures.sum("webhooks_total", &["result=\"stored\""]);
        let malformed = figures.sum("webhooks_total", &["result=\"malformed\""]);
        let ended = figures.sum("changes_total", &["source=\"webhook\""]);
        let dead = figures.sum("dead_letters", &[]);
        assert_eq!(
            stored + malformed + recovered as f64,
            ended + dead,
            "taken in and recovered against ended and dead: {:#?}",
            figures.0
        );
    }
}

impl Figures {
    /// The sum over all label sets of a metric that hold these labels.
    pub fn sum(&self, metric: &str, labels: &[&str]) -> f64 {
        let wanted = |name: &str| {
            let rest = name.strip_prefix(metric);
            rest.is_some_and(|rest| {
                (rest.is_empty() || rest.starts_with('{'))
                    && labels.iter().all(|label| rest.contains(label))
            })
        };
        let found = self.0.iter().filter(|(name, _)| wanted(name));
        found.map(|(_, value)| value).sum::<f64>() + 0.0
    }

    /// How many webhook requests ended like this.
    pub fn webhooks(&self, result: &str) -> f64 {
        self.sum("webhooks_total", &[&format!("result=\"{result}\"")])
    }

    /// How many changes ended like this.
    pub fn changes(&self, outcome: &str) -> f64 {
        self.sum("changes_total", &[&format!("outcome=\"{outcome}\"")])
    }
}
