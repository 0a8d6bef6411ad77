//! `webhook send`: a correctly signed test event, to see whether an endpoint takes it.
//!
//! Signs as Clerk's sender does and posts once, without following redirects and without retrying.
//! The event is invented; see [`events`]. Knows what each answer of the contract means to a person.

use std::{
    io::Read as _,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use chrono::Utc;
use clap::{Args, Subcommand};
use rand::{Rng, distr::Alphanumeric};
use serde::Serialize;
use svix::webhooks::Webhook;
use url::Url;

use self::events::EventType;
use super::{
    Context, Exit, Failure, JsonArg,
    output::{Paint, Tone},
    status::millis,
};
use crate::{
    config::{Listen, Sending, Tls},
    outbound::is_loopback,
};

mod answers;
mod events;

/// How long the sender waits for an answer, as Clerk's does (docs.svix.com, retries).
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// The largest body that is read for `--data`, in bytes. Above the largest that the listener can be
/// set to, so that its 413 can be tried.
const LARGEST_BODY: u64 = 32 << 20;

/// What to do with webhooks.
#[derive(Debug, Subcommand)]
pub enum WebhookCommand {
    /// Sign a test event with the configured secret and post it
    Send(SendArgs),
}

/// Arguments of `webhook send`.
#[derive(Debug, Args)]
#[command(after_help = "\
The event is about an invented user, organization or membership. A daemon with
real keys writes it to Convex, though Clerk does not know the record.

Examples:
  clerk-convex-sync webhook send --type user.created
  clerk-convex-sync webhook send --type user.deleted --user user_2abc
  clerk-convex-sync webhook send --type user.created --id msg_1   (twice: the second has no effect)")]
pub struct SendArgs {
    /// The type of the event
    #[arg(long = "type", value_name = "TYPE")]
    event_type: EventType,
    /// The user that the event is about [default: a new one]
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// Where to [default: the configured listener and its first webhook path]
    #[arg(long, value_name = "URL", value_parser = web_address)]
    url: Option<Url>,
    /// The delivery's id; the same id is the same delivery [default: a new one]
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Send this file as the body instead of an invented event; - is stdin
    #[arg(long, value_name = "FILE", conflicts_with = "user")]
    data: Option<PathBuf>,
    #[command(flatten)]
    json: JsonArg,
}

/// What became of the event.
#[derive(Debug, Serialize)]
struct Sent {
    id: String,
    #[serde(rename = "type")]
    event_type: &'static str,
    url: String,
    status: u16,
    elapsed_ms: f64,
    accepted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

/// Does what the command says.
pub(super) async fn webhook(command: WebhookCommand, context: &Context) -> Result<Exit, Failure> {
    let WebhookCommand::Send(args) = command;
    send(&args, context).await
}

async fn send(args: &SendArgs, context: &Context) -> Result<Exit, Failure> {
    let sending = context.sending()?;
    let url = match &args.url {
        Some(url) => url.clone(),
        None => default_url(&sending.listen)?,
    };
    let now = Utc::now();
    let body = body(args, &sending, now.timestamp_millis())?;
    let id = args.id.clone().unwrap_or_else(new_delivery_id);
    let signature = Webhook::new(sending.secret.expose())
        .and_then(|webhook| webhook.sign(&id, now.timestamp(), body.as_bytes()))
        .map_err(|_| {
            Failure::usage("the first of `clerk.webhook_secrets` cannot sign")
                .help("copy the signing secret again: whsec_ and base64")
        })?;
    let headers = [
        ("svix-id", id.clone()),
        ("svix-timestamp", now.timestamp().to_string()),
        ("svix-signature", signature),
    ];
    let sent = post(args, &url, id, &headers, body).await?;
    if args.json.json {
        context.output.document(&sent)?;
    } else {
        context.output.write(&sent.text(context.output.paint()))?;
    }
    Ok(if sent.accepted {
        Exit::Done
    } else {
        Exit::Failed
    })
}

async fn post(
    args: &SendArgs,
    url: &Url,
    id: String,
    headers: &[(&str, String)],
    body: String,
) -> Result<Sent, Failure> {
    let builder = reqwest::Client::builder()
        .timeout(ANSWER_WITHIN)
        .redirect(reqwest::redirect::Policy::none());
    let builder = match is_loopback(url) {
        true => builder.no_proxy(),
        false => builder,
    };
    let client = builder.build().context("cannot make an HTTP client")?;
    let mut request = client
        .post(url.clone())
        .header("content-type", "application/json")
        .body(body);
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let started = Instant::now();
    let response = request
        .send()
        .await
        .map_err(|error| answers::none(&error, url))?;
    let elapsed = started.elapsed();
    let status = response.status();
    let retry_after = response
        .headers()
        .get("retry-after")
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned);
    Ok(Sent {
        id,
        event_type: args.event_type.name(),
        url: url.to_string(),
        status: status.as_u16(),
        elapsed_ms: (elapsed.as_secs_f64() * 1e6).round() / 1e3,
        accepted: status.is_success(),
        retry_after,
        hint: answers::hint(status.as_u16()).map(str::to_owned),
    })
}

impl Sent {
    fn text(&self, paint: Paint) -> String {
        let tone = if self.accepted { Tone::Good } else { Tone::Bad };
        let mut text = format!(
            "{} {} as {} in {}\n",
            paint.tone(tone, &self.status.to_string()),
            self.event_type,
            self.id,
            millis(self.elapsed_ms),
        );
        text += &paint.tone(Tone::Quiet, &format!("posted to {}", self.url));
        text.push('\n');
        if let Some(retry_after) = &self.retry_after {
            text += &format!("to be tried again after: {retry_after}\n");
        }
        if let Some(hint) = &self.hint {
            text += &format!("{} {hint}\n", paint.tone(Tone::Warn, "hint:"));
        }
        text
    }
}

fn web_address(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    if matches!(url.scheme(), "http" | "https") {
        Ok(url)
    } else {
        Err("it begins with neither http:// nor https://".to_owned())
    }
}

/// The configured listener as it is reached from this machine.
fn default_url(listen: &Listen) -> Result<Url, Failure> {
    let mut address = listen.address;
    if address.port() == 0 {
        return Err(
            Failure::usage("`listen.address` has port 0: the daemon takes any free port")
                .help("give the daemon's address with --url"),
        );
    }
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            std::net::SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            std::net::SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    let scheme = match listen.tls {
        Tls::Own { .. } => "https",
        Tls::Off | Tls::BehindProxy => "http",
    };
    let path = listen.webhook_paths.first().map_or("/", String::as_str);
    let url = Url::parse(&format!("{scheme}://{address}{path}"));
    Ok(url.context("cannot make the listener's URL")?)
}

fn body(args: &SendArgs, sending: &Sending, now_ms: i64) -> Result<String, Failure> {
    let Some(file) = &args.data else {
        let instance = sending.instance_id.as_deref();
        let event = events::invent(args.event_type, args.user.as_deref(), instance, now_ms);
        return Ok(event.to_string());
    };
    let mut text = String::new();
    let read = if file.as_os_str() == "-" {
        std::io::stdin()
            .take(LARGEST_BODY)
            .read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|file| file.take(LARGEST_BODY).read_to_string(&mut text))
    };
    match read {
        Ok(bytes) if bytes as u64 == LARGEST_BODY => Err(Failure::usage(format!(
            "{} is too large: {LARGEST_BODY} bytes or more",
            file.display()
        ))),
        Ok(_) => Ok(text),
        Err(error) => Err(
            Failure::failed(format!("cannot read {}: {error}", file.display()))
                .help("name a UTF-8 file, or - for stdin"),
        ),
    }
}

/// An id of the sender's kind: `msg_` and 27 letters and digits.
fn new_delivery_id() -> String {
    let random = rand::rng().sample_iter(Alphanumeric).take(27);
    format!("msg_{}", random.map(char::from).collect::<String>())
}

#[cfg(test)]
mod tests;
