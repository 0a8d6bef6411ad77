//! What the cases are run against: an address, a key, and what may be done to it.
//!
//! Also starts the Node host and ends it. Knows HTTP; knows nothing of the functions.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use reqwest::{Client, Method, header};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// How long one request may take; the slowest is a thousand changes on the Node host.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How long the Node host may take to say where it listens.
const START: Duration = Duration::from_secs(60);
/// Steps that need the control interface.
const CONTROL_STEPS: [&str; 7] = [
    "insert",
    "insert_many",
    "patch",
    "rows",
    "edit",
    "faults",
    "orders",
];

/// Something that plays Convex, or is it.
pub struct Target {
    pub name: &'static str,
    pub key: String,
    url: String,
    /// It has `/_sim/` and may be emptied before each case.
    pub controlled: bool,
    client: Client,
}

/// An answer over HTTP.
pub struct Answer {
    pub status: u16,
    pub headers: header::HeaderMap,
    pub text: String,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Result<Value, String> {
        serde_json::from_str(&self.text)
            .map_err(|_| format!("HTTP {} with a body that is not JSON", self.status))
    }
}

impl Target {
    pub fn controlled(name: &'static str, url: String, key: &str) -> Self {
        Target {
            name,
            key: key.to_owned(),
            url,
            controlled: true,
            client: client(),
        }
    }

    pub fn live(name: &'static str, url: String, key: &str) -> Self {
        let url = url.trim_end_matches('/').to_owned();
        Target {
            name,
            key: key.to_owned(),
            url,
            controlled: false,
            client: client(),
        }
    }

    /// A real deployment has no control interface, is not empty and belongs to somebody.
    pub fn can_run(&self, case: &Value) -> bool {
        let needs = case["needs"]
            .as_array()
            .is_some_and(|needs| !needs.is_empty());
        let steps = case["steps"].as_array().into_iter().flatten();
        let control = steps
            .clone()
            .any(|step| CONTROL_STEPS.iter().any(|name| !step[*name].is_null()));
        self.controlled || !(needs || control)
    }

    /// Sends a request; an error when the connection ended without a whole answer.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(String, String)],
        body: Option<String>,
    ) -> Result<Answer, String> {
        let method = Method::from_bytes(method.as_bytes()).map_err(|error| error.to_string())?;
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        let response = request
            .send()
            .await
            .map_err(|error| format!("no answer: {error}"))?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response
            .text()
            .await
            .map_err(|error| format!("half an answer: {error}"))?;
        Ok(Answer {
            status,
            headers,
            text,
        })
    }

    /// Calls a function with the key.
    pub async fn call(&self, kind: &str, function: &str, args: &Value) -> Result<Answer, String> {
        let body =
            json!({ "path": format!("clerkSync:{function}"), "args": args, "format": "json" });
        let headers = [
            ("content-type".to_owned(), "application/json".to_owned()),
            ("authorization".to_owned(), format!("Convex {}", self.key)),
        ];
        self.send(
            "POST",
            &format!("/api/{kind}"),
            &headers,
            Some(body.to_string()),
        )
        .await
    }

    /// An order to the control interface; its answer.
    pub async fn control(&self, order: &str, body: Option<&Value>) -> Result<Value, String> {
        let method = if body.is_some() { "POST" } else { "GET" };
        let headers = [("content-type".to_owned(), "application/json".to_owned())];
        let path = format!("/_sim/{order}");
        let answer = self
            .send(method, &path, &headers, body.map(Value::to_string))
            .await?;
        match answer.status {
            200 => answer.json(),
            status => Err(format!("{method} {path}: HTTP {status}: {}", answer.text)),
        }
    }
}

fn client() -> Client {
    Client::builder()
        .no_proxy()
        .timeout(TIMEOUT)
        .build()
        .expect("a client without TLS files")
}

const ADVICE: &str = "run `npm ci` in convex/ (Node 20 or later), or set CCS_SKIP_NODE=1 to leave \
                      the TypeScript untested";

/// A file of the Node host; `CCS_CONVEX_HOST` names another host.
fn host_file(name: &str) -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/convex-host/host.mjs");
    let host = std::env::var_os("CCS_CONVEX_HOST")
        .filter(|path| !path.is_empty())
        .map_or(here, PathBuf::from);
    host.with_file_name(name)
}

/// Runs Convex's own client against a server; its report, or why it failed.
pub async fn check_with_official_client(url: &str, key: &str) -> Result<String, String> {
    let script = host_file("client-check.mjs");
    let run = Command::new("node")
        .arg(&script)
        .args(["--url", url, "--key", key])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(TIMEOUT, run)
        .await
        .map_err(|_| format!("{} does not end", script.display()))?
        .map_err(|error| format!("cannot start node: {error}; {ADVICE}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(format!(
            "{}{}; {ADVICE}",
            text(&output.stdout),
            text(&output.stderr)
        )),
    }
}

/// The host that runs the real TypeScript. Ends with its stdin, so when this is dropped.
pub struct NodeHost {
    pub url: String,
    _process: Child,
}

impl NodeHost {
    pub async fn start(key: &str) -> Result<Self, String> {
        let host = host_file("host.mjs");
        let mut process = Command::new("node")
            .arg(&host)
            .args(["--port", "0", "--key", key, "--exit-with-stdin"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("cannot start node: {error}; {ADVICE}"))?;
        let stdout = process.stdout.take().expect("stdout is piped");
        let mut lines = BufReader::new(stdout).lines();
        let line = tokio::time::timeout(START, lines.next_line())
            .await
            .map_err(|_| format!("{} does not say where it listens; {ADVICE}", host.display()))?
            .map_err(|error| error.to_string())?
            .ok_or_else(|| format!("{} ended at once; {ADVICE}", host.display()))?;
        let said: Value =
            serde_json::from_str(&line).map_err(|error| format!("{line}: {error}"))?;
        let url = said["url"]
            .as_str()
            .ok_or_else(|| format!("no url in {line}"))?
            .to_owned();
        Ok(NodeHost {
            url,
            _process: process,
        })
    }
}
