//! `status`: how the running daemon is, once or every second.
//!
//! The document is the daemon's own and is handed on whole by `--json`. The text is made from those
//! parts of it that this version knows; what a daemon of another version leaves out is left out.

use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use super::{
    Context, Exit, Failure, JsonArg,
    admin_client::{AdminClient, AdminError},
    output::{Paint, Tone},
    signals::StopSignals,
};
use crate::reconcile::run::Progress;

/// How often `--watch` asks.
const REFRESH: Duration = Duration::from_secs(1);

/// Clears the terminal from its first line on; what a shorter text leaves over goes too.
const REDRAW: &str = "\x1b[H\x1b[J";

/// Arguments of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Refresh every second until Ctrl-C; with --json one document a line
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    json: JsonArg,
}

/// Shows the status.
pub(super) async fn status(args: &StatusArgs, context: &Context) -> Result<Exit, Failure> {
    let admin = context.local()?.admin;
    let client = AdminClient::new(&admin)?;
    if args.watch {
        return watch(args, context, &client).await;
    }
    let document = client.get("/status").await?;
    if args.json.json {
        context.output.document(&document)?;
    } else {
        let text = text_of(&document, context.output.paint())?;
        context.output.write(&text)?;
    }
    Ok(Exit::Done)
}

async fn watch(
    args: &StatusArgs,
    context: &Context,
    client: &AdminClient,
) -> Result<Exit, Failure> {
    let output = context.output;
    let mut stop = StopSignals::catch()?;
    let mut ticks = tokio::time::interval(REFRESH);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut answered = false;
    loop {
        tokio::select! {
            () = stop.next() => return Ok(Exit::Done),
            _ = ticks.tick() => {}
        }
        let answer = tokio::select! {
            () = stop.next() => return Ok(Exit::Done),
            answer = client.get("/status") => answer,
        };
        let text = match answer {
            Ok(document) if args.json.json => {
                output.document_line(&document)?;
                continue;
            }
            Ok(document) => text_of(&document, output.paint())?,
            // A screen stays open while the daemon is restarted; a script is told.
            Err(error) if answered && output.is_live() && !args.json.json => away(&error),
            Err(error) => return Err(error.into()),
        };
        answered = true;
        if output.is_live() {
            output.write_more(&format!("{REDRAW}{text}"))?;
        } else {
            output.write_more(&format!("{text}\n"))?;
        }
    }
}

fn away(error: &AdminError) -> String {
    format!("{error}\nTrying again every second; Ctrl-C ends.\n")
}

fn text_of(document: &Value, paint: Paint) -> Result<String, Failure> {
    let status = Status::deserialize(document).map_err(|error| {
        Failure::failed(format!("the daemon's status cannot be read: {error}"))
            .help("use the command line of the daemon's own version")
    })?;
    Ok(status.text(Utc::now(), paint))
}

/// What the text is made from (contract, section 6).
#[derive(Debug, Deserialize)]
struct Status {
    version: String,
    started_at: Option<DateTime<Utc>>,
    enabled: Option<bool>,
    paused: Option<bool>,
    leader: Option<bool>,
    instance_id: Option<String>,
    queue: Option<Queue>,
    dead_letters: Option<u64>,
    #[serde(default)]
    last: Last,
    #[serde(default)]
    runs: Runs,
    latency_ms: Option<Latency>,
    convex: Option<Convex>,
    #[serde(default)]
    alerts: Vec<Value>,
}

#[derive(Debug, Deserialize)]
struct Queue {
    depth: u64,
    oldest_age_s: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
struct Last {
    sweep: Option<Run>,
    census: Option<Run>,
    full: Option<Run>,
}

#[derive(Debug, Default, Deserialize)]
struct Runs {
    sweep: Option<Faring>,
    census: Option<Faring>,
    full: Option<Faring>,
}

#[derive(Debug, Deserialize)]
struct Faring {
    success_age_s: Option<f64>,
    #[serde(default)]
    failures_in_a_row: u64,
    running: Option<Running>,
}

#[derive(Debug, Deserialize)]
struct Running {
    kind: String,
    #[serde(flatten)]
    progress: Progress,
}

#[derive(Debug, Deserialize)]
struct Run {
    id: Value,
    finished_at: Option<DateTime<Utc>>,
    outcome: String,
}

#[derive(Debug, Deserialize)]
struct Latency {
    p50: Option<f64>,
    p99: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct Convex {
    circuit: String,
}

impl Status {
    fn text(&self, now: DateTime<Utc>, paint: Paint) -> String {
        let mut text = self.heading(now, paint);
        let mut line = |name: &str, value: String| {
            text += &format!(
                "{}  {value}\n",
                paint.tone(Tone::Quiet, &format!("{name:<12}"))
            );
        };
        line("applying", self.applying(paint));
        if let Some(queue) = &self.queue {
            line("queue", queue.text(paint));
        }
        if let Some(letters) = self.dead_letters {
            line("dead letters", dead_letters(letters, paint));
        }
        if let Some(latency) = &self.latency_ms {
            line("latency", latency.text());
        }
        if let Some(convex) = &self.convex {
            line("convex", convex.text(paint));
        }
        if let Some(instance) = &self.instance_id {
            line("instance", instance.clone());
        }
        for (name, run, faring) in [
            ("last sweep", &self.last.sweep, &self.runs.sweep),
            ("last census", &self.last.census, &self.runs.census),
            ("last full", &self.last.full, &self.runs.full),
        ] {
            if let Some(run) = run {
                line(name, run.text(now, paint));
            }
            let Some(faring) = faring else { continue };
            if faring.failures_in_a_row > 0 {
                line("", paint.tone(Tone::Bad, &faring.failures()));
            }
            // Sweeps and censuses come and go within a moment.
            if let Some(running) = faring.running.as_ref().filter(|_| name == "last full") {
                line("running", running.text());
            }
        }
        if self.alerts.is_empty() {
            line("alerts", paint.tone(Tone::Good, "none"));
        }
        for alert in &self.alerts {
            line("alert", paint.tone(Tone::Bad, &alert_text(alert)));
        }
        text
    }

    fn heading(&self, now: DateTime<Utc>, paint: Paint) -> String {
        let name = format!("clerk-convex-sync {}", self.version);
        let since = self.started_at.map_or_else(String::new, |started| {
            format!(", running for {}", span(age_s(started, now)))
        });
        let role = match self.leader {
            Some(false) => ", not the leader",
            _ => "",
        };
        format!("{}{since}{role}\n", paint.tone(Tone::Strong, &name))
    }

    fn applying(&self, paint: Paint) -> String {
        match (self.enabled, self.paused) {
            (Some(false), _) => paint.tone(
                Tone::Warn,
                "off (sync.enabled = false): events are kept, nothing is applied",
            ),
            (_, Some(true)) => paint.tone(
                Tone::Warn,
                "paused: events are kept, nothing is applied until `resume`",
            ),
            _ => paint.tone(Tone::Good, "yes"),
        }
    }
}

impl Queue {
    fn text(&self, paint: Paint) -> String {
        match (self.depth, self.oldest_age_s) {
            (0, _) => paint.tone(Tone::Good, "empty"),
            (depth, None) => format!("{} waiting", counted(depth, "event")),
            (depth, Some(age)) => format!(
                "{} waiting, the oldest for {}",
                counted(depth, "event"),
                span(age)
            ),
        }
    }
}

impl Latency {
    fn text(&self) -> String {
        match (self.p50, self.p99) {
            (Some(p50), Some(p99)) => format!(
                "half of the changes within {}, 99 of 100 within {}",
                millis(p50),
                millis(p99)
            ),
            _ => "nothing measured yet".to_owned(),
        }
    }
}

impl Convex {
    fn text(&self, paint: Paint) -> String {
        match self.circuit.as_str() {
            "closed" => paint.tone(Tone::Good, "reachable"),
            "open" => paint.tone(Tone::Bad, "not reachable: calls are held back for a while"),
            "half_open" => paint.tone(Tone::Warn, "being tried again with a single call"),
            other => format!("circuit {other}"),
        }
    }
}

impl Run {
    fn text(&self, now: DateTime<Utc>, paint: Paint) -> String {
        let tone = match self.outcome.as_str() {
            "in_sync" | "repaired" => Tone::Good,
            "failed" => Tone::Bad,
            _ => Tone::Warn,
        };
        let outcome = paint.tone(tone, &self.outcome.replace('_', " "));
        let ago = self.finished_at.map_or_else(String::new, |finished| {
            format!(", {} ago", span(age_s(finished, now)))
        });
        let id = match &self.id {
            Value::String(id) => id.clone(),
            other => other.to_string(),
        };
        format!("{outcome}{ago} (run {id})")
    }
}

impl Faring {
    fn failures(&self) -> String {
        let since = match self.success_age_s {
            Some(age) => format!("the last complete one was {} ago", span(age)),
            None => "none was complete yet".to_owned(),
        };
        format!(
            "{} failed since; {since}",
            counted(self.failures_in_a_row, "run")
        )
    }
}

impl Running {
    fn text(&self) -> String {
        let Progress {
            phase, done, total, ..
        } = &self.progress;
        match total {
            Some(total) => format!("{}, {phase}: {done} of {total}", self.kind),
            None => format!("{}, {phase}: {done}", self.kind),
        }
    }
}

fn dead_letters(letters: u64, paint: Paint) -> String {
    match letters {
        0 => paint.tone(Tone::Good, "none"),
        _ => paint.tone(
            Tone::Bad,
            &format!("{letters}; see `clerk-convex-sync failures list`"),
        ),
    }
}

/// An alert in one line: its sentence if it has one, else the alert as it is.
fn alert_text(alert: &Value) -> String {
    let sentence = alert.as_str().map(str::to_owned).or_else(|| {
        ["message", "summary", "text"]
            .iter()
            .find_map(|name| Some(alert.get(name)?.as_str()?.to_owned()))
    });
    sentence.unwrap_or_else(|| alert.to_string())
}

fn counted(number: u64, thing: &str) -> String {
    match number {
        1 => format!("1 {thing}"),
        _ => format!("{number} {thing}s"),
    }
}

fn age_s(then: DateTime<Utc>, now: DateTime<Utc>) -> f64 {
    (now - then).num_milliseconds().max(0) as f64 / 1_000.0
}

/// A span of time in its two largest units; below a minute in seconds.
pub(super) fn span(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    let (days, hours, minutes) = (whole / 86_400, whole / 3_600 % 24, whole / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) if seconds < 10.0 => format!("{:.1} s", seconds.max(0.0)),
        (0, 0, 0) => format!("{whole} s"),
        (0, 0, _) => format!("{minutes} min {} s", whole % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// Milliseconds as a person writes them.
pub(super) fn millis(ms: f64) -> String {
    match ms {
        ms if ms >= 10_000.0 => span(ms / 1_000.0),
        ms if ms >= 1_000.0 => format!("{:.2} s", ms / 1_000.0),
        ms if ms >= 10.0 => format!("{ms:.0} ms"),
        ms => format!("{ms:.1} ms"),
    }
}

#[cfg(test)]
mod tests;
