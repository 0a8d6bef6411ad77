//! Opens the disk and puts the parts together, each with its part of the configuration.

use std::{path::Path, sync::Arc, time::Duration};

use arc_swap::{ArcSwap, ArcSwapOption};
use chrono::DateTime;
use secrecy::SecretString;
use tokio::sync::{Semaphore, mpsc};

use super::{StartError, settings::settings, skew};
use crate::{
    apply::{Clock, Edges, Shared},
    clerk::{
        self, ClerkClient, Pace, Rate,
        client::{ClerkWriter, Permit},
    },
    config::{self, Config},
    convex::{self, Deployment, reader::Reader, writer::Writer},
    inbound::body::Limits,
    intake::{Intake, Oversized, Room, Secrets},
    outbound::{Dialer, OnRequest},
    reconcile::unhealed,
    report::{
        alert::Alerts,
        oplog::{self, OperationsLog, OplogError},
    },
    store::{
        crypt::{KeyId, Keyring},
        directory,
        journal::{self, Journal, Notice, Recovered},
        room,
        state::{self, State},
        state_file::{self, LAYOUT, Loaded, StateFile, StateFileError},
    },
    telemetry::{ClerkLabels, ConvexLabels, Metrics},
};

/// The longest a request to Clerk may take.
const CLERK_TIMEOUT: Duration = Duration::from_secs(15);

/// What the bodies of all deliveries may take while they come in, in bytes: a quarter of the unit's memory.
const ALL_BODIES: usize = 128 * 1024 * 1024;

/// Everything that was open or left on the disk.
pub struct Disk {
    pub journal: Journal,
    pub recovered: Recovered,
    pub notices: mpsc::UnboundedReceiver<Notice>,
    pub state: State,
    /// As `STATE` has it.
    pub file: StateFile,
    pub alerts: Alerts,
    /// What was written to both services.
    pub oplog: OperationsLog,
    /// What was lost of the state, in words; then only a full diff can tell what is missing.
    pub doubt: Option<&'static str>,
}

impl Disk {
    /// Opens the state directory, whatever an earlier process or a disk has left of it.
    pub async fn open(config: &Config) -> Result<Disk, StartError> {
        let section = config.state.clone();
        let opened = tokio::task::spawn_blocking(move || open(&section)).await;
        opened.map_err(|error| StartError::Threads(std::io::Error::other(error)))?
    }
}

/// The keys of this section.
pub fn keyring(section: &config::State) -> Keyring {
    Keyring::new(section.encryption_key.iter().map(config::StateKey::expose))
}

fn open(section: &config::State) -> Result<Disk, StartError> {
    let dir = &section.dir;
    let keys = keyring(section);
    // Before anything is touched: without the keys nothing here can be read, and nothing may be set aside.
    let loaded = StateFile::admit(dir, &keys)?;
    make_ready(dir)?;
    let (alerts, now_ms) = (Alerts::default(), Clock.now_ms());
    let damaged = loaded == Loaded::Damaged;
    let mut known = loaded.found();
    let options = journal::Options {
        max_entries: section.max_queue_events,
        max_bytes: section.max_journal_bytes,
        first_seq: known.as_ref().map_or(1, |file| file.highest_seq + 1),
        keys: keys.clone(),
        ..journal::Options::default()
    };
    let journal::Opened {
        journal,
        recovered,
        notices,
    } = Journal::open(&dir.join(journal::DIR), options)?;
    let mut doubt = report_recovery(&recovered, known.as_ref(), &alerts, now_ms);
    if damaged {
        let path = state_file::set_aside(dir)?;
        let message = format!("STATE was damaged and is kept as {}", path.display());
        alerts.raise("state_damaged", message, now_ms);
    }
    let new = recovered.segments == 0 && !dir.join(state::DIR).is_dir();
    let recorded = announce(dir, &mut known, new, &keys)?;
    let generation = known.as_ref().map(|file| file.generation);
    let options = state::Options {
        ledger_records: section.ledger_records,
        keys,
        ..state::Options::at(
            DateTime::from_timestamp_millis(now_ms).unwrap_or_default(),
            generation,
        )
    };
    let opened = State::open(&dir.join(state::DIR), &options)?;
    if let Some(reason) = &opened.rebuilt {
        let message = format!(
            "the derived state was built anew ({reason:?}); records are looked up in Clerk meanwhile"
        );
        alerts.raise("state_rebuilt", message, now_ms);
        doubt = Some("the derived state was built anew");
    }
    unhealed::keep(&opened.state, &alerts)?;
    let oplog = open_log(section, &alerts)?;
    let file = StateFile {
        layout: LAYOUT,
        generation: opened.generation,
        highest_seq: recovered
            .highest_seq
            .max(known.as_ref().map_or(0, |file| file.highest_seq)),
        instance: known.and_then(|file| file.instance),
        keys: recorded,
    };
    file.store(dir)?;
    Ok(Disk {
        journal,
        recovered,
        notices,
        state: opened.state,
        file,
        alerts,
        oplog,
        doubt,
    })
}

fn open_log(section: &config::State, alerts: &Alerts) -> Result<OperationsLog, OplogError> {
    let options = oplog::Options {
        keep: section.operations_log_bytes,
        keys: keyring(section),
        alerts: alerts.clone(),
        now_ms: || Clock.now_ms(),
    };
    OperationsLog::open(&section.dir, options)
}

/// Its owner's alone, and with room.
fn make_ready(dir: &Path) -> Result<(), StartError> {
    let opened = directory::make_own(dir).map_err(|source| StartError::Directory {
        path: dir.to_owned(),
        source,
    })?;
    for path in opened {
        tracing::warn!(path = %path.display(), "was open to other users; it is private now");
    }
    // Before sled meets a full disk, which it does not survive in this process.
    if room::Room::at(dir).is_ok_and(room::Room::is_none) {
        return Err(StartError::NoRoom(dir.to_owned()));
    }
    Ok(())
}

/// Notes under which keys there will be records, before there are; `new`: nothing was ever kept here.
fn announce(
    dir: &Path,
    known: &mut Option<StateFile>,
    new: bool,
    keys: &Keyring,
) -> Result<Vec<KeyId>, StateFileError> {
    match known {
        Some(file) => {
            file.announce(dir, keys)?;
            Ok(file.keys.clone())
        }
        None => Ok(state_file::recorded(new.then_some(&[]), keys)),
    }
}

/// Says what was found. Answers with what was lost, if anything was.
fn report_recovery(
    found: &Recovered,
    known: Option<&StateFile>,
    alerts: &Alerts,
    now_ms: i64,
) -> Option<&'static str> {
    let mut lost = None;
    tracing::info!(
        recovered = found.pending.len(),
        dead_letters = found.parked.len(),
        "{} delivery(ies) recovered from the journal wait to be applied",
        found.pending.len()
    );
    if found.damage.may_have_lost() {
        let message = format!(
            "the journal was damaged in {} place(s); acknowledged deliveries may be missing until the \
             next full comparison",
            found.damage.places
        );
        alerts.raise("journal_damaged", message, now_ms);
        lost = Some("the journal was damaged");
    }
    if found.segments == 0 && known.is_some_and(|file| file.highest_seq > 0) {
        let message = "the journal is gone although this directory had one; acknowledged deliveries \
                       may be missing until the next full comparison";
        alerts.raise("journal_lost", message, now_ms);
        lost = Some("the journal is gone");
    }
    lost
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
    let hash = blake3::derive_key(
        "clerk-convex-sync 2026 which clerk key was proved",
        config.clerk.secret_key.expose().as_bytes(),
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
