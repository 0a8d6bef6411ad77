//! The two Node processes: the host with the real functions, and the signer with Svix's own library.
//!
//! Both end with their stdin, so when they are dropped. Where a package is missing, the panic says which
//! command brings it.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use clerk_convex_sync::sandbox::clerk::DEFAULT_WEBHOOK_SECRET;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

/// How long a process may take to start, or to answer a line.
const ANSWER: Duration = Duration::from_secs(60);
const KEY: &str = "samples|0123456789abcdef";
const ADVICE: &str = "run `npm ci` in convex/ and in tests/svix-sender/ (Node 20 or later), or set \
                      CCS_SKIP_NODE=1 to do without";

/// A script under `tests/` that answers lines with lines.
struct Script {
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

impl Script {
    fn start(script: &str, arguments: &[&str]) -> Script {
        let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests")
            .join(script);
        let mut process = Command::new("node")
            .arg(&path)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("node does not start: {error}; {ADVICE}"));
        let stdout = process.stdout.take().expect("stdout is piped");
        Script {
            stdin: process.stdin.take().expect("stdin is piped"),
            lines: BufReader::new(stdout).lines(),
            _process: process,
        }
    }

    async fn line(&mut self) -> Value {
        let line = timeout(ANSWER, self.lines.next_line()).await;
        let line = line.unwrap_or_else(|_| panic!("node does not answer; {ADVICE}"));
        let line = line
            .expect("a line")
            .unwrap_or_else(|| panic!("node ended; {ADVICE}"));
        serde_json::from_str(&line).expect("a line of JSON")
    }
}

/// The Node host that serves `convex/`, or another project.
pub struct Host {
    url: String,
    client: reqwest::Client,
    _script: Script,
}

impl Host {
    pub async fn start() -> Host {
        Host::serving(&Path::new(env!("CARGO_MANIFEST_DIR")).join("convex")).await
    }

    /// The same with the functions of another project.
    pub async fn serving(directory: &Path) -> Host {
        let directory = directory.to_str().expect("a name");
        let arguments = [
            "--port",
            "0",
            "--key",
            KEY,
            "--exit-with-stdin",
            "--dir",
            directory,
        ];
        let mut script = Script::start("convex-host/host.mjs", &arguments);
        let said = script.line().await;
        Host {
            url: said["url"].as_str().expect("a url").to_owned(),
            client: reqwest::Client::builder()
                .no_proxy()
                .build()
                .expect("a client"),
            _script: script,
        }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn key(&self) -> &str {
        KEY
    }

    /// Forgets everything.
    pub async fn reset(&self) {
        self.order("reset", &json!({})).await;
    }

    /// What the app's `editProfile` does.
    pub async fn edit(&self, key: &str, fields: &Value) {
        self.order("edit", &json!({ "key": key, "fields": fields }))
            .await;
    }

    async fn order(&self, name: &str, body: &Value) {
        let url = format!("{}/_sim/{name}", self.url);
        let request = self.client.post(url).json(body);
        let answer = request.send().await.expect("the host answers");
        assert_eq!(answer.status(), 200, "{name} {body}");
    }

    /// All rows of a table.
    pub async fn rows(&self, table: &str) -> Vec<Value> {
        let url = format!("{}/_sim/rows?table={table}", self.url);
        let answer = self.client.get(url).send().await.expect("the host answers");
        let answer: Value = answer.json().await.expect("JSON");
        answer["rows"].as_array().expect("rows").clone()
    }
}

/// The Node process that signs and posts.
pub struct Signer {
    secrets: Vec<String>,
    script: Script,
}

impl Signer {
    pub async fn start() -> Signer {
        Signer {
            secrets: vec![DEFAULT_WEBHOOK_SECRET.to_owned()],
            script: Script::start("svix-sender/send.mjs", &[]),
        }
    }

    /// Puts a further signature before the others from now on.
    pub fn also_sign_with(&mut self, secret: &str) {
        self.secrets.insert(0, secret.to_owned());
    }

    /// Delivers a file byte for byte; the status of the answer.
    pub async fn deliver(&mut self, url: &str, id: &str, file: &Path) -> u64 {
        let order = json!({ "url": url, "secrets": self.secrets, "id": id, "file": file });
        let line = format!("{order}\n");
        let written = self.script.stdin.write_all(line.as_bytes()).await;
        written.unwrap_or_else(|error| panic!("the signer is gone: {error}; {ADVICE}"));
        let answer = self.script.line().await;
        answer["status"]
            .as_u64()
            .unwrap_or_else(|| panic!("{answer}"))
    }
}
