//! A bench for tests: the simulated services, a disk, and what the appliers share, without a daemon.

mod brake;
mod lane;
mod reconsider;

use std::{
    fs::{File, OpenOptions},
    num::NonZeroUsize,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Applier, Edges, Handle, Settings, Shared, instance::Pin};
use crate::{
    clerk::{self, ClerkClient, Pace},
    convex::{self, Deployment, reader::Reader, writer::Writer},
    mapping::UserRules,
    model::{DeliveryId, Fields, Key, RecordKey, Table, Upsert, Version},
    outbound::{Dialer, OnRequest},
    queue::{backoff::RetryRule, repairs},
    sandbox::{
        clerk::{ClerkOptions, ClerkSim, DEFAULT_SECRET_KEY},
        convex::{ConvexOptions, ConvexSim},
    },
    store::{
        crypt::Keyring,
        journal::{self, Cause, Journal, NewEntry, Notices, Recovered},
        state::{self, State},
    },
};

/// See the module's words.
pub(super) struct Bench {
    _clerk: ClerkSim,
    pub(super) convex: ConvexSim,
    pub(super) shared: Arc<Shared>,
    stored: Option<(Recovered, Notices)>,
    dir: TempDir,
}

pub(super) fn settings() -> Settings {
    Settings {
        enabled: true,
        retry: RetryRule {
            max_attempts: 3,
            delay: Duration::from_millis(20),
        },
        concurrency: 4,
        batch: 200,
        user_rules: UserRules {
            roles: vec!["user".into()],
            default_role: "user".into(),
            ..UserRules::default()
        },
        delete_mode: Default::default(),
        files_on_delete: Default::default(),
        carried: Default::default(),
    }
}

impl Bench {
    pub(super) async fn start() -> Bench {
        Bench::beside(ConvexOptions::default()).await
    }

    pub(super) async fn beside(convex: ConvexOptions) -> Bench {
        let clerk = ClerkSim::start(ClerkOptions::default()).await.unwrap();
        let convex = ConvexSim::start(convex).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let opened = Journal::open(&dir.path().join("journal"), journal::Options::default());
        let journal::Opened {
            journal,
            recovered,
            notices,
        } = opened.unwrap();
        let options = state::Options {
            keys: Keyring::new(&[[1; 32]]),
            ..state::Options::at(chrono::DateTime::UNIX_EPOCH, None)
        };
        let state = State::open(&dir.path().join("derived"), &options)
            .unwrap()
            .state;
        let shared = Shared::new(
            journal,
            state,
            edges(&clerk, &convex),
            settings(),
            Default::default(),
            Default::default(),
            Pin::Unknown,
        );
        Bench {
            _clerk: clerk,
            convex,
            shared,
            stored: Some((recovered, notices)),
            dir,
        }
    }

    /// The one applier of this bench.
    pub(super) fn applier(&mut self) -> (Applier, Handle) {
        let (recovered, notices) = self.stored.take().unwrap();
        Applier::new(Arc::clone(&self.shared), recovered, notices, 1_000)
    }

    /// The applier at work. It does nothing before whoever has started it waits for something.
    pub(super) fn applying(&mut self) -> Applying {
        let (applier, handle) = self.applier();
        let stop = CancellationToken::new();
        let task = tokio::spawn(applier.run(stop.clone(), Duration::from_secs(60)));
        Applying { handle, stop, task }
    }

    /// Puts a pipe into the place of the journal's one segment: whoever reads it waits until somebody writes into it.
    pub(super) fn hang_disk(&self) -> Pipe {
        let segment = std::fs::read_dir(self.dir.path().join("journal"))
            .unwrap()
            .map(|file| file.unwrap().path())
            .find(|path| path.extension().is_some_and(|kind| kind == "seg"))
            .unwrap();
        std::fs::remove_file(&segment).unwrap();
        let mode = Mode::from_raw_mode(0o600);
        mknodat(CWD, &segment, FileType::Fifo, mode, 0).unwrap();
        Pipe(segment)
    }

    /// Stores a delivery as intake does.
    pub(super) async fn store(&self, entry: NewEntry) {
        self.shared.journal.append(entry).await.unwrap();
    }

    /// How many changes from scans ended like this.
    pub(super) fn counted(&self, outcome: &str) -> u64 {
        let text = self.shared.metrics.render();
        let lines = text.lines().filter(|line| {
            line.contains("changes_total")
                && line.contains("source=\"repair\"")
                && line.contains(&format!("outcome=\"{outcome}\""))
        });
        let counts = lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok());
        counts.sum()
    }

    pub(super) fn alerts(&self) -> Vec<String> {
        let raised = self.shared.alerts.raised();
        raised
            .into_iter()
            .map(|alert| alert.code.to_owned())
            .collect()
    }
}

/// An applier at work.
pub(super) struct Applying {
    pub(super) handle: Handle,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Applying {
    /// Ends it, with what is in hand.
    pub(super) async fn end(self) -> Handle {
        self.stop.cancel();
        self.task.await.unwrap();
        self.handle
    }
}

/// What stands in the place of a segment.
pub(super) struct Pipe(PathBuf);

impl Pipe {
    /// Whoever waits goes on, with an error, for as long as this is held.
    pub(super) fn answer(&self) -> Option<File> {
        let both = OpenOptions::new().read(true).write(true).open(&self.0);
        both.ok()
    }
}

impl Drop for Pipe {
    /// Also where a test fails: the runtime does not end before whoever reads.
    fn drop(&mut self) {
        drop(self.answer());
    }
}

fn edges(clerk: &ClerkSim, convex: &ConvexSim) -> Edges {
    let dialer = Dialer::default();
    let on_request: OnRequest = Arc::new(|_, _, _| {});
    let deployment = Deployment::new(convex::Options {
        url: convex.url().parse().unwrap(),
        deploy_key: convex.deploy_key().into(),
        module: "clerkSync".into(),
        timeout: Duration::from_secs(10),
        dialer: dialer.clone(),
        on_request: on_request.clone(),
    })
    .unwrap();
    Edges {
        clerk_writer: None,
        clerk: ClerkClient::new(clerk::Options {
            api_url: clerk.url().parse().unwrap(),
            secret_key: DEFAULT_SECRET_KEY.to_owned().into(),
            timeout: Duration::from_secs(10),
            dialer,
            on_request,
            pace: Pace::unlimited(),
        })
        .unwrap(),
        clerk_key: [1; 8],
        reader: Reader::new(deployment.clone()),
        writer: Writer::new(deployment),
    }
}

/// A delivery about a user.
pub(super) fn event(key: &str, version: i64) -> NewEntry {
    let body = json!({
        "type": "user.updated", "timestamp": 1_735_689_600_000_i64,
        "data": { "id": key, "first_name": "Ada", "email_addresses": [], "phone_numbers": [],
                  "public_metadata": {}, "created_at": 1, "updated_at": version },
    });
    NewEntry {
        received_ms: 1_735_689_600_000,
        cause: Cause::Delivery {
            id: DeliveryId::parse(&format!("msg_{key}_{version}")).unwrap(),
            event_type: "user.updated".into(),
        },
        record: Some(record(Table::Users, key)),
        version: Version(version),
        deleted: false,
        fingerprint: 1,
        related: Default::default(),
        body: body.to_string().into(),
    }
}

pub(super) fn record(table: Table, key: &str) -> RecordKey {
    RecordKey::new(table, Key::parse(key).unwrap())
}

fn row(table: Table, key: &str, version: i64, fields: serde_json::Value) -> Upsert {
    let serde_json::Value::Object(fields) = fields else {
        panic!("fields are an object");
    };
    Upsert {
        table,
        key: Key::parse(key).unwrap(),
        created_at: 1_000,
        version: Version(version),
        fields: Fields::from_iter(fields),
        insert_defaults: None,
        link_email: None,
        revive: None,
        merge: None,
    }
}

/// The wish that a user and its profile be like this.
pub(super) fn user(key: &str, version: i64, name: &str) -> repairs::Repair {
    let address = format!("{key}@post.example");
    let own = json!({ "email": address, "name": name, "username": null, "imageUrl": null,
                      "role": "user", "appId": null });
    let profile = json!({ "firstName": name, "lastName": null, "phoneNumber": null });
    repairs::Repair {
        record: record(Table::Users, key),
        wish: repairs::Wish::Write {
            version: Version(version),
            rows: vec![
                row(Table::Users, key, version, own),
                row(Table::Profiles, key, version, profile),
            ],
        },
        why: None,
    }
}
