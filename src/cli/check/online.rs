//! The questions that `check --online` asks: keys, deployed functions, instance, clocks.
//!
//! Asks by the daemon's own connections, so that it goes where the daemon goes, but not by its clients, so that it can
//! tell apart what those retry or fold together. Reads only; at most three requests to Clerk and two to Convex. What a
//! service answers is judged, never repeated: it could hold what was sent.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use chrono::Utc;
use reqwest::{
    Method,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue},
};
use serde::Serialize;
use serde_json::{Value, json};
use url::Url;

use crate::{
    config::Config,
    model::Table,
    outbound::{Dialer, ExchangeError, OnRequest, Request, below, secret_header},
};

/// How long a service may take to answer one question.
const TIMEOUT: Duration = Duration::from_secs(15);

/// The largest answer that is read, in bytes; each of those expected is below one KiB.
const LARGEST_ANSWER: usize = 256 * 1024;

/// The difference of clocks that is put up with, in seconds. Deliveries are refused beyond 300.
const CLOCK_TOLERANCE_S: i64 = 60;

/// The contract between the daemon and the Convex functions that this version speaks.
const CONTRACT: i64 = 1;

/// One question and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Probe {
    /// What was asked about.
    pub name: &'static str,
    /// Whether all is well.
    pub ok: bool,
    /// What was found.
    pub detail: String,
    /// What to do; empty if nothing.
    pub remedy: String,
}

impl Probe {
    fn good(name: &'static str, detail: impl Into<String>) -> Self {
        Probe {
            name,
            ok: true,
            detail: detail.into(),
            remedy: String::new(),
        }
    }

    fn bad(name: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Probe {
            name,
            ok: false,
            detail: detail.into(),
            remedy: remedy.into(),
        }
    }
}

/// Asks both services. Takes as long as the slower one, and never longer than a few time-outs.
pub async fn probes(config: &Config) -> Vec<Probe> {
    let dialer = Dialer::default();
    let ((clerk, instance), convex, beyond) = tokio::join!(
        async {
            let count = ask(&dialer, from_clerk(config, &["v1", "users", "count"])).await;
            let instance = ask(&dialer, from_clerk(config, &["v1", "instance"])).await;
            (count, instance)
        },
        ask(&dialer, describe(config)),
        ask(&dialer, read_a_table(config)),
    );
    vec![
        clerk_key(&clerk),
        clerk_instance(&instance, config),
        clock("clock against Clerk", &clerk),
        convex_functions(&convex, config),
        convex_key(&convex, &beyond),
        clock("clock against Convex", &convex),
    ]
}

/// A service's answer, and how far its clock is ahead of ours.
struct Answer {
    status: u16,
    body: Value,
    ahead_s: Option<i64>,
}

/// An answer, or why there is none.
type Asked = Result<Answer, &'static str>;

fn from_clerk(config: &Config, path: &[&str]) -> Result<Request, ExchangeError> {
    let key = format!("Bearer {}", config.clerk.secret_key.expose());
    request(Method::GET, below(&config.clerk.api_url, path)?, &key, None)
}

fn describe(config: &Config) -> Result<Request, ExchangeError> {
    let function = format!("{}:describe", config.convex.module);
    query(config, &function, json!({}))
}

/// What the daemon's key need not be allowed: to read any table (`deployment:data:view`). Convex's own command line asks
/// like this; one row is asked for, and not looked at.
fn read_a_table(config: &Config) -> Result<Request, ExchangeError> {
    let page = json!({"numItems": 1, "cursor": null});
    let args = json!({"table": Table::Users.name(), "order": "asc", "paginationOpts": page});
    query(config, "_system/cli/tableData", args)
}

fn query(config: &Config, function: &str, args: Value) -> Result<Request, ExchangeError> {
    let key = format!("Convex {}", config.convex.deploy_key.expose());
    let asked = json!({"path": function, "args": args, "format": "json"});
    let url = below(&config.convex.url, &["api", "query"])?;
    request(Method::POST, url, &key, Some(asked))
}

fn request(
    method: Method,
    url: Url,
    key: &str,
    body: Option<Value>,
) -> Result<Request, ExchangeError> {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, secret_header(key)?);
    if body.is_some() {
        let json = HeaderValue::from_static("application/json");
        headers.insert(CONTENT_TYPE, json);
    }
    Ok(Request {
        name: "check",
        method,
        url,
        headers,
        body: body.map(|body| body.to_string().into()),
        timeout: TIMEOUT,
        max_bytes: LARGEST_ANSWER,
    })
}

async fn ask(dialer: &Dialer, request: Result<Request, ExchangeError>) -> Asked {
    let ahead_s = Arc::new(OnceLock::new());
    let told = Arc::clone(&ahead_s);
    let dialer = dialer.clone().telling(Arc::new(move |_, date_s, took| {
        let halfway = Utc::now() - took / 2;
        // One request has one answer.
        let _ = told.set(date_s - halfway.timestamp());
    }));
    let nobody: OnRequest = Arc::new(|_, _, _| {});
    let reply = dialer.exchange(request.map_err(why)?, &nobody).await;
    let reply = reply.map_err(why)?;
    Ok(Answer {
        status: reply.status,
        body: serde_json::from_slice(&reply.body).unwrap_or(Value::Null),
        ahead_s: ahead_s.get().copied(),
    })
}

fn why(error: ExchangeError) -> &'static str {
    match error {
        ExchangeError::TimedOut(_) => "no answer in time",
        ExchangeError::Unreachable(_) => "no connection",
        ExchangeError::Interrupted => "the answer broke off",
        ExchangeError::TooLarge(_) => "the answer is far too long",
        ExchangeError::Unbuildable => {
            "it cannot be asked: no header can carry the key, or the system has no root certificates"
        }
    }
}

const REACH_CLERK: &str =
    "see that clerk.api_url is right and that this machine may reach it (DNS, firewall, proxy)";
const REACH_CONVEX: &str =
    "see that convex.url is right and that this machine may reach it (DNS, firewall, proxy)";

fn clerk_key(asked: &Asked) -> Probe {
    let name = "Clerk secret key";
    match asked {
        Err(why) => Probe::bad(name, *why, REACH_CLERK),
        Ok(answer) => match (answer.status, &answer.body["total_count"]) {
            (200, Value::Number(count)) => Probe::good(name, format!("accepted; {count} users")),
            (401 | 403, _) => Probe::bad(
                name,
                format!("refused ({})", answer.status),
                "copy the key again from Clerk's dashboard (API keys), of the instance that is meant",
            ),
            (429, _) => Probe::good(name, "not judged: Clerk's rate limit is used up right now"),
            (status, _) => Probe::bad(
                name,
                format!("an answer that Clerk does not give ({status})"),
                "see that clerk.api_url is the origin of Clerk's Backend API",
            ),
        },
    }
}

/// Clerk names the key's instance at `GET /v1/instance`; where that is not served, the daemon learns
/// it from deliveries, so a missing answer is no failure.
fn clerk_instance(asked: &Asked, config: &Config) -> Probe {
    let name = "Clerk instance";
    let expected = config.clerk.instance_id.as_deref();
    let found = match asked {
        Ok(answer) if answer.status == 200 => answer.body["id"].as_str(),
        _ => None,
    };
    let plain = |id: &&str| id.starts_with("ins_") && crate::model::Key::parse(id).is_some();
    match (found.filter(plain), expected) {
        (Some(found), Some(expected)) if found != expected => Probe::bad(
            name,
            format!("the key belongs to {found}, clerk.instance_id says {expected}"),
            "use the key of that instance, or correct clerk.instance_id",
        ),
        (Some(found), _) => Probe::good(name, found),
        (None, Some(expected)) => {
            Probe::good(name, format!("{expected}, as set; Clerk did not say"))
        }
        (None, None) => Probe::good(name, "Clerk did not say; learnt from the first delivery"),
    }
}

fn convex_functions(asked: &Asked, config: &Config) -> Probe {
    let name = "Convex functions";
    let deploy = format!(
        "write them with `clerk-convex-sync init` and deploy them (`npx convex deploy`); the module \
         is convex.module = \"{}\"",
        config.convex.module
    );
    let answer = match asked {
        Err(why) => return Probe::bad(name, *why, REACH_CONVEX),
        Ok(answer) => answer,
    };
    match (answer.status, answer.body["status"].as_str()) {
        (200, Some("success")) => described(name, &answer.body["value"], deploy),
        (200 | 560, Some("error")) => Probe::bad(
            name,
            "the deployment refuses `describe`: it is not deployed, or the key may not run it",
            format!("{deploy}; the key needs the right to run internal queries and mutations"),
        ),
        (401 | 403, _) => Probe::bad(
            name,
            format!("the deploy key is refused ({})", answer.status),
            "copy the deploy key again, of the deployment that convex.url names",
        ),
        (status, _) => Probe::bad(
            name,
            format!("an answer that Convex does not give ({status})"),
            "see that convex.url is the address of the deployment, https://….convex.cloud",
        ),
    }
}

/// Whether the key may do more than it needs. That is no fault, so it is only told.
fn convex_key(describe: &Asked, beyond: &Asked) -> Probe {
    let name = "Convex deploy key";
    let succeeded = |asked: &Asked| {
        let answer = asked.as_ref().ok().filter(|answer| answer.status == 200);
        answer.is_some_and(|answer| answer.body["status"] == "success")
    };
    match (succeeded(describe), succeeded(beyond)) {
        (false, _) => Probe::good(name, "not judged: it did not run `describe`"),
        (true, false) => Probe::good(name, "runs the functions, and may not read other tables"),
        (true, true) => Probe {
            remedy: "one that may run internal queries and internal mutations, and nothing else, is enough: who \
                     steals this one can read, and perhaps deploy, everything"
                .to_owned(),
            ..Probe::good(name, "may do more than it needs to: it reads any table")
        },
    }
}

fn described(name: &'static str, value: &Value, deploy: String) -> Probe {
    if value["contract"].as_i64() != Some(CONTRACT) && value["contract"].as_f64() != Some(1.0) {
        return Probe::bad(
            name,
            format!("deployed, but not for contract {CONTRACT}, which this version speaks"),
            deploy,
        );
    }
    let tables = value["tables"].as_array().map_or(&[][..], Vec::as_slice);
    let missing: Vec<&str> = Table::ALL
        .iter()
        .map(|table| table.name())
        .filter(|table| !tables.iter().any(|there| there == table))
        .collect();
    match missing.is_empty() {
        true => Probe::good(
            name,
            format!("deployed; contract {CONTRACT}, {} tables", tables.len()),
        ),
        false => Probe::bad(
            name,
            format!("deployed without the tables {}", missing.join(", ")),
            deploy,
        ),
    }
}

fn clock(name: &'static str, asked: &Asked) -> Probe {
    let ahead = match asked {
        Ok(answer) => answer.ahead_s,
        Err(_) => None,
    };
    match ahead {
        None => Probe::good(name, "not compared: no answer with a date"),
        Some(seconds) if seconds.abs() > CLOCK_TOLERANCE_S => Probe::bad(
            name,
            match seconds > 0 {
                true => format!("this machine is {seconds} s behind"),
                false => format!("this machine is {} s ahead", -seconds),
            },
            "set the clock (NTP): deliveries more than 300 s off are refused",
        ),
        Some(_) => Probe::good(name, format!("within {CLOCK_TOLERANCE_S} s")),
    }
}
