//! Both simulated services in one process, given orders and asked for their counts over `/_sim/`.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    time::Duration,
};

use serde_json::{Value, json};

use crate::support::convex::Sandbox;

/// The longest that an order may take: a million users are made in some seconds.
const PATIENCE: Duration = Duration::from_secs(120);

/// See the module's words.
pub struct Ends {
    /// The process.
    pub sandbox: Sandbox,
    clerk: SocketAddr,
    convex: SocketAddr,
}

/// What the services have counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Requests to Clerk.
    pub clerk: u64,
    /// Of them, those for pages of organizations, and of memberships.
    pub pages: (u64, u64),
    /// Of all, those that were refused for their rate.
    pub limited: u64,
    /// Bytes of Clerk's answers.
    pub clerk_bytes: u64,
    /// Queries of Convex.
    pub queries: u64,
    /// Mutations in Convex.
    pub mutations: u64,
    /// Bytes that mutations wrote, as the limit of a plan counts them.
    pub written: u64,
}

impl Counts {
    /// What came since an earlier look.
    pub fn since(self, before: Counts) -> Counts {
        Counts {
            clerk: self.clerk - before.clerk,
            pages: (self.pages.0 - before.pages.0, self.pages.1 - before.pages.1),
            limited: self.limited - before.limited,
            clerk_bytes: self.clerk_bytes - before.clerk_bytes,
            queries: self.queries - before.queries,
            mutations: self.mutations - before.mutations,
            written: self.written - before.written,
        }
    }
}

impl Ends {
    /// Starts both, with so many users in Clerk and nothing in Convex. Events go nowhere.
    pub fn start(binary: &Path, log: &Path, users: usize) -> io::Result<Ends> {
        let sandbox = Sandbox::start(binary, log)?;
        let address = |name: &str| {
            let url = sandbox.environment.get(name).map_or("", String::as_str);
            let address = url.trim_start_matches("http://");
            address.parse::<SocketAddr>().map_err(io::Error::other)
        };
        let ends = Ends {
            clerk: address("CLERK_API_URL")?,
            convex: address("CONVEX_URL")?,
            sandbox,
        };
        ends.clerk_order("webhooks", &json!({ "url": null }))?;
        ends.clerk_order("seed", &json!({ "users": users }))?;
        Ok(ends)
    }

    /// Founds so many organizations in Clerk, each of so many members.
    pub fn found(&self, organizations: usize, members: usize) -> io::Result<()> {
        let body = json!({ "organizations": organizations, "members": members });
        self.clerk_order("seed", &body)
    }

    /// The id of the organization with the most members.
    pub fn largest_organization(&self) -> io::Result<String> {
        let key = self.secret("CLERK_SECRET_KEY");
        let headers = [("authorization", format!("Bearer {key}"))];
        let path = "/v1/organizations?limit=1&order_by=-members_count";
        let found = request(self.clerk, "GET", path, &headers, &Value::Null)?;
        let id = found["data"][0]["id"].as_str().unwrap_or_default();
        Ok(id.to_owned())
    }

    /// An order to Clerk.
    pub fn clerk_order(&self, order: &str, body: &Value) -> io::Result<()> {
        request(self.clerk, "POST", &format!("/_sim/{order}"), &[], body).map(drop)
    }

    /// An order to Convex.
    pub fn convex_order(&self, order: &str, body: &Value) -> io::Result<()> {
        request(self.convex, "POST", &format!("/_sim/{order}"), &[], body).map(drop)
    }

    /// How long every answer of both takes longer.
    pub fn latency(&self, clerk_ms: u64, convex_ms: u64) -> io::Result<()> {
        self.clerk_order("latency", &json!({ "ms": clerk_ms }))?;
        self.convex_order("latency", &json!({ "ms": convex_ms }))
    }

    /// What was counted so far.
    pub fn counts(&self) -> io::Result<Counts> {
        let clerk = request(self.clerk, "GET", "/_sim/requests", &[], &Value::Null)?;
        let convex = request(self.convex, "GET", "/_sim/calls", &[], &Value::Null)?;
        let number = |value: &Value| value.as_u64().unwrap_or(0);
        let by_endpoint = clerk["by_endpoint"].as_object();
        let to = |endpoint: &str| -> u64 {
            let by_status = clerk["by_endpoint"][endpoint].as_object();
            by_status
                .into_iter()
                .flatten()
                .map(|(_, n)| number(n))
                .sum()
        };
        let limited = by_endpoint
            .into_iter()
            .flat_map(|all| all.values())
            .map(|by_status| number(&by_status["429"]));
        Ok(Counts {
            clerk: number(&clerk["total"]),
            pages: (
                to("GET /v1/organizations"),
                to("GET /v1/organization_memberships")
                    + to("GET /v1/organizations/{organization_id}/memberships"),
            ),
            limited: limited.sum(),
            clerk_bytes: number(&clerk["bytes_sent"]),
            queries: number(&convex["queries"]),
            mutations: number(&convex["mutations"]),
            written: number(&convex["written_bytes"]),
        })
    }

    /// Deletes so many users in Clerk, spread over all that there are, and nobody is told.
    pub fn delete_some(&self, count: usize, among: usize) -> io::Result<()> {
        let key = self.secret("CLERK_SECRET_KEY");
        let headers = [("authorization", format!("Bearer {key}"))];
        for number in 0..count {
            let offset = among / count * number + among / count / 2;
            let path = format!("/v1/users?limit=1&order_by=%2Bcreated_at&offset={offset}");
            let found = request(self.clerk, "GET", &path, &headers, &Value::Null)?;
            let id = found[0]["id"].as_str().unwrap_or_default().to_owned();
            let path = format!("/v1/users/{id}");
            request(self.clerk, "DELETE", &path, &headers, &Value::Null)?;
        }
        Ok(())
    }

    fn secret(&self, name: &str) -> &str {
        self.sandbox
            .environment
            .get(name)
            .map_or("", String::as_str)
    }
}

/// One request on a connection of its own; answers with the document of a 200.
fn request(
    to: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, String)],
    body: &Value,
) -> io::Result<Value> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let body = match body {
        Value::Null => String::new(),
        body => body.to_string(),
    };
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all(format!("{head}\r\n{body}").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or(io::ErrorKind::UnexpectedEof)?;
    match head.get(9..12) {
        Some("200") => serde_json::from_str(body).map_err(io::Error::other),
        _ => Err(io::Error::other(format!(
            "{path}: {}",
            head.lines().next().unwrap_or_default()
        ))),
    }
}
