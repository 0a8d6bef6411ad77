//! Puts the parts together, each with its part of the configuration.

use std::{sync::Arc, time::Duration};

use arc_swap::{ArcSwap, ArcSwapOption};
use secrecy::SecretString;
use tokio::sync::Semaphore;

use super::{StartError, settings::settings, skew};
use crate::{
    apply::{Edges, Shared},
    clerk::{
        self, ClerkClient, Pace, Rate,
        client::{ClerkWriter, Permit},
    },
    config::{self, Config},
    convex::{self, Deployment, reader::Reader, writer::Writer},
    inbound::body::Limits,
    intake::{Intake, Oversized, Room, Secrets},
    outbound::{Dialer, OnRequest},
    report::alert::Alerts,
    store::{crypt::Keyring, journal::Journal, state::State},
    telemetry::{ClerkLabels, ConvexLabels, Metrics},
};

/// The longest a request to Clerk may take.
const CLERK_TIMEOUT: Duration = Duration::from_secs(15);

/// What the bodies of all deliveries may take while they come in, in bytes: a quarter of the unit's memory.
const ALL_BODIES: usize = 128 * 1024 * 1024;

/// The keys of this section.
pub fn keyring(section: &config::State) -> Keyring {
    Keyring::new(section.encryption_key.iter().map(config::StateKey::expose))
}

/// The parts that are not tasks yet.
pub struct Parts {
    pub shared: Arc<Shared>,
    pub intake: Arc<Intake>,
    pub dialer: Dialer,
}

impl Parts {
    /// Builds them; connects to nothing.
    pub fn build(
        config: &Config,
        journal: Journal,
        state: State,
        alerts: Alerts,
    ) -> Result<Parts, StartError> {
        let metrics = Metrics::default();
        let dialer = Dialer::default().telling(skew::watch(alerts.clone()));
        let pace = Pace::new(rate(config));
        let edges = edges(config, &dialer, &pace, &metrics)?;
        let pin = Shared::recall_instance(&state, config.clerk.instance_id.as_deref());
        let shared = Shared::new(
            journal.clone(),
            state,
            edges,
            settings(config),
            metrics.clone(),
            alerts.clone(),
            pin,
        );
        let intake = Arc::new(Intake {
            journal,
            secrets: ArcSwap::from_pointee(Secrets::new(&config.clerk.webhook_secrets)),
            metrics,
            alerts,
            room: room(config),
            bodies: Limits {
                most: config.listen.max_body_bytes,
                time: config.listen.body_timeout,
                room: Arc::new(Semaphore::new(ALL_BODIES)),
            },
            oversized: Oversized::default(),
            limiter: ArcSwapOption::from(Intake::limiter(config.listen.rate_per_second)),
        });
        Ok(Parts {
            shared,
            intake,
            dialer,
        })
    }
}

/// How much the journal may hold.
pub fn room(config: &Config) -> Room {
    Room {
        entries: config.state.max_queue_events as u64,
        bytes: config.state.max_journal_bytes,
    }
}

/// How fast Clerk may be asked, as the configuration has it now.
pub fn rate(config: &Config) -> Rate {
    Rate {
        shared: config.clerk.requests_per_10s(),
        instance: config.clerk.instance_per_10s(),
    }
}

/// The services as the configuration has them now. The pace is handed in: what was used of it, and how long
/// Clerk wants to be left alone, outlives a reload.
pub fn edges(
    config: &Config,
    dialer: &Dialer,
    pace: &Pace,
    metrics: &Metrics,
) -> Result<Edges, StartError> {
    let counted = metrics.clerk_requests.clone();
    let on_request: OnRequest = Arc::new(move |endpoint, status, _| {
        counted
            .get_or_create(&ClerkLabels {
                endpoint,
                status: status.into(),
            })
            .inc();
    });
    let clerk = ClerkClient::new(clerk::Options {
        api_url: config.clerk.api_url.clone(),
        secret_key: secret(&config.clerk.secret_key),
        timeout: CLERK_TIMEOUT,
        dialer: dialer.to("Clerk"),
        on_request,
        pace: pace.clone(),
    })
    .map_err(|error| StartError::Edge {
        service: "Clerk",
        message: error.to_string(),
    })?;
    let counted = metrics.convex_requests.clone();
    let on_request: OnRequest = Arc::new(move |function, status, _| {
        counted
            .get_or_create(&ConvexLabels {
                function,
                status: status.into(),
            })
            .inc();
    });
    let deployment = Deployment::new(convex::Options {
        url: config.convex.url.clone(),
        deploy_key: secret(&config.convex.deploy_key),
        module: config.convex.module.clone(),
        timeout: config.convex.timeout,
        dialer: dialer.to("Convex"),
        on_request,
    })
    .map_err(|error| StartError::Edge {
        service: "Convex",
        message: error.to_string(),
    })?;
    let reader = Reader::new(deployment.clone());
    // A key that has shown our records at one address has shown nothing at another.
    let (key, at) = (config.clerk.secret_key.expose(), &config.clerk.api_url);
    let hash = blake3::derive_key(
        "clerk-convex-sync 2026 which clerk key was proved",
        format!("{key}\n{at}").as_bytes(),
    );
    let permit = Permit {
        profiles: config.profile_edits.enabled,
        metadata: config.clerk.write_back,
    };
    let mut clerk_key = [0; 8];
    clerk_key.copy_from_slice(&hash[..8]);
    Ok(Edges {
        clerk_writer: ClerkWriter::permitted(&clerk, permit),
        clerk,
        clerk_key,
        reader,
        writer: Writer::new(deployment),
    })
}

fn secret(secret: &config::Secret) -> SecretString {
    SecretString::from(secret.expose().to_owned())
}
