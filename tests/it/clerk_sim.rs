//! The simulated Clerk from outside: over HTTP, as the daemon and Clerk's own client meet it.
//!
//! A stand-in is only worth what it shares with the original, so its answers are held against
//! Clerk's OpenAPI description and read by `@clerk/backend`. The rest checks that it misbehaves as
//! ordered, since a fault that does nothing would let every other test pass.

mod deliveries;
mod listings;
mod misbehaviour;
mod openapi;
mod receiver;
mod shapes;

use clerk_convex_sync::sandbox::clerk::{ClerkOptions, ClerkSim, DEFAULT_SECRET_KEY};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use std::process::Command;

/// A client with the right key.
struct Api {
    client: reqwest::Client,
    url: String,
}

impl Api {
    fn new(sim: &ClerkSim) -> Self {
        let client = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .build();
        Self {
            client: client.expect("a plain client"),
            url: sim.url(),
        }
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client
            .request(method, format!("{}/v1{path}", self.url))
            .bearer_auth(DEFAULT_SECRET_KEY)
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        answer(self.request(Method::GET, path)).await
    }

    async fn send(&self, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
        answer(self.request(method, path).json(&body)).await
    }

    /// The rows of a listing that must succeed.
    async fn rows(&self, path: &str) -> Vec<Value> {
        let (status, body) = self.get(path).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        body.as_array().expect("a bare array").clone()
    }

    async fn count(&self, query: &str) -> u64 {
        let (status, body) = self.get(&format!("/users/count{query}")).await;
        assert_eq!(status, StatusCode::OK, "{query}: {body}");
        body["total_count"].as_u64().expect("a number")
    }
}

async fn answer(request: reqwest::RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.expect("an answer");
    assert_eq!(response.headers()["content-type"], "application/json");
    (response.status(), response.json().await.expect("JSON"))
}

async fn start() -> (ClerkSim, Api) {
    let sim = ClerkSim::start(ClerkOptions::default())
        .await
        .expect("a free port");
    let api = Api::new(&sim);
    (sim, api)
}

fn ids(rows: &[Value]) -> Vec<&str> {
    rows.iter().filter_map(|row| row["id"].as_str()).collect()
}

/// Clerk's own client, when Node and its packages are there; says so when they are not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clerks_own_client_reads_and_writes_it() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clerk-client");
    if !std::path::Path::new(directory)
        .join("node_modules/@clerk/backend")
        .exists()
    {
        println!("not run: `npm ci` in tests/clerk-client first");
        return;
    }
    let (sim, _) = start().await;
    sim.seed_users(25);
    let secret = clerk_convex_sync::sandbox::clerk::DEFAULT_WEBHOOK_SECRET;
    let url = sim.url();
    let run = tokio::task::spawn_blocking(move || {
        Command::new("node")
            .args(["check.mjs", "--url", &url, "--key", DEFAULT_SECRET_KEY])
            .args(["--webhook-secret", secret])
            .current_dir(directory)
            .output()
    });
    let output = run.await.expect("no panic").expect("node runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr).into_owned();
    println!("{said}");
    assert!(output.status.success(), "{complained}");
    assert!(said.contains("ok 17 checks"), "{said}");
    sim.stop().await;
}
