//! Logging and metrics: set-up, and every field and metric name written once.
//!
//! A log line is a sentence with fields; the fields are `table`, `key`, `delivery`, `version_ms`,
//! `attempt`, `origin`, `elapsed_ms`, `code`. Never a body, a name, an address or a secret. Metrics are
//! values of one [`Metrics`], not globals, so that several daemons can live in one process.

mod begun;
mod carried;
mod door;
mod exposition;
mod flood;
mod runs;

use std::{fmt::Write as _, sync::Arc};

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::Registry,
};
use tracing::Level;
use tracing_subscriber::{
    Layer, Registry as Subscribers,
    filter::{ParseError, Targets},
    layer::SubscriberExt,
    reload,
    util::SubscriberInitExt,
};

use self::flood::Flood;
use crate::config::{Log, LogFormat};

pub use carried::CarriedMetrics;
pub use door::{PanicLabels, RefusedLabels, WebhookLabels};
pub use flood::LEFT_OUT;
pub use runs::RunMetrics;

/// Labels of `changes_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ChangeLabels {
    /// The table.
    pub table: &'static str,
    /// What became of the change.
    pub outcome: &'static str,
    /// Who asked.
    pub source: &'static str,
}

/// Labels of `ensure_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct EnsureLabels {
    /// What was answered and why.
    pub result: &'static str,
}

/// Labels of `clerk_requests_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ClerkLabels {
    /// The request's name.
    pub endpoint: &'static str,
    /// The HTTP status; 0 when there was no answer.
    pub status: u32,
}

/// Labels of `convex_requests_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ConvexLabels {
    /// The function.
    pub function: &'static str,
    /// The HTTP status; 0 when there was no answer.
    pub status: u32,
}

/// Labels of `retries_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RetryLabels {
    /// What is tried again: `record` or a service.
    pub cause: &'static str,
}

/// Everything that is counted. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    /// `webhooks_total{type,result}`
    pub webhooks: Family<WebhookLabels, Counter>,
    /// `ensure_total{result}`
    pub ensure: Family<EnsureLabels, Counter>,
    /// `connections_refused_total{reason}`
    pub refused: Family<RefusedLabels, Counter>,
    /// `handler_panics_total{listener}`
    pub panics: Family<PanicLabels, Counter>,
    /// `changes_total{table,outcome,source}`
    pub changes: Family<ChangeLabels, Counter>,
    /// `sync_latency_seconds`: from the event's `timestamp` to the commit.
    pub latency: Histogram,
    /// `queue_depth`
    pub queue_depth: Gauge,
    /// `queue_oldest_age_seconds`
    pub queue_oldest_age: Gauge,
    /// `dead_letters`
    pub dead_letters: Gauge,
    /// `retries_total`
    pub retries: Family<RetryLabels, Counter>,
    /// `clerk_requests_total{endpoint,status}`
    pub clerk_requests: Family<ClerkLabels, Counter>,
    /// `convex_requests_total{function,status}`
    pub convex_requests: Family<ConvexLabels, Counter>,
    /// What is counted of runs.
    pub runs: RunMetrics,
    /// What is counted of changes on their way to Clerk.
    pub carried: CarriedMetrics,
}

/// From a few milliseconds (the fast path) to ten hours (the last of the sender's retries).
const LATENCY_SECONDS: [f64; 16] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0,
    36_000.0,
];

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("clerk_convex_sync");
        let latency = Histogram::new(LATENCY_SECONDS);
        let (webhooks, ensure) = (Family::default(), Family::default());
        let (changes, refused) = (Family::default(), Family::default());
        let panics = Family::default();
        let queue_depth = Gauge::default();
        let (queue_oldest_age, dead_letters) = (Gauge::default(), Gauge::default());
        let retries = Family::<RetryLabels, Counter>::default();
        let clerk_requests = Family::default();
        let convex_requests = Family::default();
        let runs = RunMetrics::register(&mut registry);
        let carried = CarriedMetrics::register(&mut registry);
        register_calls(&mut registry, &clerk_requests, &convex_requests);
        door::register(&mut registry, &webhooks, &ensure, &refused, &panics);
        door::begin(&webhooks);
        begun::changes(&changes, &retries);
        begun::calls(&clerk_requests, &convex_requests);
        registry.register(
            "changes",
            "Changes by table, outcome and source",
            changes.clone(),
        );
        registry.register(
            "sync_latency_seconds",
            "From the event's timestamp to the commit in Convex",
            latency.clone(),
        );
        registry.register(
            "queue_depth",
            "Entries that wait or are being applied",
            queue_depth.clone(),
        );
        registry.register(
            "queue_oldest_age_seconds",
            "Age of the entry that waits longest",
            queue_oldest_age.clone(),
        );
        registry.register(
            "dead_letters",
            "Records that need attention",
            dead_letters.clone(),
        );
        registry.register("retries", "Tries after a failure", retries.clone());
        registry.register(
            "build",
            "The running version",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        Metrics {
            registry: Arc::new(registry),
            webhooks,
            ensure,
            refused,
            panics,
            changes,
            latency,
            queue_depth,
            queue_oldest_age,
            dead_letters,
            retries,
            clerk_requests,
            convex_requests,
            runs,
            carried,
        }
    }
}

fn register_calls(
    registry: &mut Registry,
    clerk: &Family<ClerkLabels, Counter>,
    convex: &Family<ConvexLabels, Counter>,
) {
    registry.register(
        "clerk_requests",
        "Requests to Clerk by endpoint and status",
        clerk.clone(),
    );
    registry.register(
        "convex_requests",
        "Calls to Convex by function and status",
        convex.clone(),
    );
}

impl Metrics {
    /// Counts a webhook request. `kind` must be bounded: a known event type or a harmless short name.
    pub fn webhook(&self, kind: &str, result: &'static str) {
        let labels = WebhookLabels {
            r#type: kind.to_owned(),
            result,
        };
        self.webhooks.get_or_create(&labels).inc();
    }

    /// Counts a request at sign-in.
    pub fn ensured(&self, result: &'static str) {
        self.ensure.get_or_create(&EnsureLabels { result }).inc();
    }

    /// Counts a peer that was not let in.
    pub fn not_let_in(&self, reason: &'static str) {
        self.refused.get_or_create(&RefusedLabels { reason }).inc();
    }

    /// Counts a handler that panicked.
    pub fn panicked(&self, listener: &'static str) {
        self.panics.get_or_create(&PanicLabels { listener }).inc();
    }

    /// Counts what became of a change.
    pub fn change(&self, table: &'static str, outcome: &'static str, source: &'static str) {
        self.changes
            .get_or_create(&ChangeLabels {
                table,
                outcome,
                source,
            })
            .inc();
    }

    /// Everything, in the text that somebody with this `Accept` reads, and that text's `Content-Type`.
    pub fn rendered_for(&self, accept: Option<&str>) -> (&'static str, String) {
        exposition::accepted(self.render(), accept)
    }

    /// Everything in OpenMetrics text.
    pub fn render(&self) -> String {
        let mut text = String::new();
        if text::encode(&mut text, &self.registry).is_err() {
            // Writing to a String cannot fail; an encoder bug would show as an empty page.
            let _ = writeln!(text, "# EOF");
        }
        text
    }
}

/// Changes the log level while running, and knows how many lines were left out.
#[derive(Clone)]
pub struct LogLevel {
    filter: reload::Handle<Targets, Subscribers>,
    flood: Flood,
}

impl LogLevel {
    /// Sets it; a level that cannot be read changes nothing.
    pub fn set(&self, level: &str) {
        if let Ok(filter) = filter(level) {
            let _ = self.filter.reload(filter);
        }
    }

    /// How many lines were left out since this was asked last, because they were too many.
    pub fn left_out(&self) -> u64 {
        self.flood.left_out()
    }
}

/// Starts logging for this process, to stderr or to journald. Call once.
pub fn init(log: &Log, under_systemd: bool) -> LogLevel {
    let initial = filter(&log.level).unwrap_or_else(|_| Targets::new().with_default(Level::INFO));
    let (filter, handle) = reload::Layer::new(initial);
    let flood = Flood::default();
    let format = match log.format {
        LogFormat::Auto if under_systemd => LogFormat::Journald,
        LogFormat::Auto => LogFormat::Text,
        chosen => chosen,
    };
    let stderr = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_target(false);
    let layer: Box<dyn Layer<_> + Send + Sync> = match format {
        LogFormat::Json => Box::new(stderr.json().flatten_event(true)),
        LogFormat::Journald => match tracing_journald::layer() {
            Ok(journald) => Box::new(journald),
            Err(_) => Box::new(stderr),
        },
        LogFormat::Text | LogFormat::Auto => Box::new(stderr),
    };
    // A second call, as in tests, keeps the first subscriber.
    let _ = tracing_subscriber::registry()
        .with(filter)
        .with(layer.with_filter(flood.clone()))
        .try_init();
    LogLevel {
        filter: handle,
        flood,
    }
}

// The scheduler's library reports every ordinary end as an error; that a strike of the clock did not come is
// told by `schedule` itself. What operators did is always told.
fn filter(level: &str) -> Result<Targets, ParseError> {
    let directives = format!(
        "{level},sled=warn,hyper=warn,reqwest=warn,rustls=warn,tokio_cron_scheduler=off,\
         audit=info"
    );
    directives.parse()
}

#[cfg(test)]
mod tests;
