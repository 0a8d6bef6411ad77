//! Scans between the simulated ends, with a plain applier behind the lane: no daemon, no clock of its own.
//!
//! The applier here does what the lane promises and no more: guard by the ledger, write, remember.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use clerk_convex_sync::{
    apply::Clock,
    clerk::{self, ClerkClient, Lookup},
    convex::{self, Deployment, reader::Reader, writer::Writer},
    mapping::{self, UserRules},
    model::{Change, ContentHash, DeleteMode, Key, Origin, RecordKey, Table, Upsert, Version},
    outbound::Dialer,
    queue::repairs::{Batch, Lane, Repair, Repaired, Wish, lane},
    reconcile::{
        belief::Beliefs,
        ends::Ends,
        run::Progress,
        scan::ranges::{Builder, MAX_RANGES},
    },
    report::alert::Alerts,
    sandbox::{
        clerk::{ClerkOptions, ClerkSim, DEFAULT_SECRET_KEY},
        convex::{ConvexOptions, ConvexSim},
    },
    store::state::{Options, Seen, State},
};
use secrecy::SecretString;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};

/// See the module's words.
pub struct Scene {
    pub clerk: ClerkSim,
    pub convex: ConvexSim,
    pub ends: Ends,
    pub beliefs: Beliefs,
    pub watch: watch::Sender<Progress>,
    later_ms: Arc<AtomicI64>,
    _dir: TempDir,
}

impl Scene {
    pub async fn start() -> Scene {
        let clerk = ClerkSim::start(ClerkOptions::default())
            .await
            .expect("a port");
        let convex = ConvexSim::start(ConvexOptions::default())
            .await
            .expect("a port");
        let dir = tempfile::tempdir().expect("a directory");
        let now = chrono::DateTime::from_timestamp_millis(Clock.now_ms()).expect("a time");
        let state = State::open(&dir.path().join("derived"), &Options::at(now, None))
            .expect("a state")
            .state;
        let dialer = Dialer::default();
        let client = ClerkClient::new(clerk::Options {
            pace: clerk::Pace::unlimited(),
            api_url: clerk.url().parse().expect("a URL"),
            secret_key: SecretString::from(DEFAULT_SECRET_KEY),
            timeout: std::time::Duration::from_secs(20),
            dialer: dialer.clone(),
            on_request: Arc::new(|_, _, _| {}),
        })
        .expect("a client");
        let deployment = Deployment::new(convex::Options {
            url: convex.url().parse().expect("a URL"),
            deploy_key: SecretString::from(convex.deploy_key()),
            module: "clerkSync".into(),
            timeout: std::time::Duration::from_secs(20),
            dialer,
            on_request: Arc::new(|_, _, _| {}),
        })
        .expect("a deployment");
        let (into, out) = lane();
        tokio::spawn(apply(out, Writer::new(deployment.clone()), state.clone()));
        let later_ms = Arc::new(AtomicI64::new(0));
        let later = Arc::clone(&later_ms);
        let rules = UserRules {
            default_role: "user".into(),
            ..UserRules::default()
        };
        let ends = Ends {
            clerk: client,
            reader: Reader::new(deployment),
            lane: into,
            state,
            alerts: Alerts::default(),
            rules,
            tables: vec![Table::Users, Table::Profiles],
            editable: Vec::new(),
            tell_clerk: None,
            now: Arc::new(move || Clock.now_ms() + later.load(Ordering::Relaxed)),
            cost: Arc::default(),
        };
        Scene {
            clerk,
            convex,
            ends,
            beliefs: Beliefs::default(),
            watch: watch::Sender::new(Progress::default()),
            later_ms,
            _dir: dir,
        }
    }

    /// Our clock goes on by this.
    pub fn later(&self, ms: i64) {
        self.later_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// Time passes for Clerk and for us.
    pub fn pass(&self, ms: i64) {
        self.clerk.advance_ms(ms);
        self.later(ms);
    }

    /// Creates a user whose event nobody hears.
    pub fn sign_up(&self, name: &str) -> String {
        let address = format!("{}@example.com", name.to_lowercase());
        self.clerk
            .create_user(json!({"first_name": name, "email_address": [address]}))
            .expect("created")
    }

    /// Renames a user without anybody hearing of it.
    pub fn rename(&self, id: &str, name: &str) {
        self.clerk
            .update_user(id, json!({"first_name": name}))
            .expect("updated");
    }

    /// What a delivery about the user does, however it came.
    pub async fn deliver(&self, id: &str) {
        let key = Key::parse(id).expect("an id");
        let record = RecordKey::new(Table::Users, key.clone());
        let wish = match self.ends.clerk.get_user(&key).await.expect("an answer") {
            Lookup::Gone(gone) => Wish::Delete(gone),
            Lookup::Found(user) => Wish::Write {
                version: user.version(),
                rows: rows(user.text(), &self.ends.rules),
            },
        };
        let repairs = vec![Repair {
            record,
            wish,
            why: None,
        }];
        let done = self.ends.lane.apply(repairs, Origin::Webhook).await;
        assert!(
            matches!(done.as_deref(), Some([Repaired::Applied { .. }])),
            "{done:?}"
        );
    }

    /// An instance of so many users, every one with its rows, as a full diff leaves it.
    pub async fn populate(&self, users: usize) {
        self.clerk.seed_users(users);
        let mut all = self.clerk.users();
        all.sort_by_key(|user| user["created_at"].as_i64());
        let mut builder = Builder::new(MAX_RANGES);
        for some in all.chunks(100) {
            let repairs = some.iter().map(|user| {
                let rows = rows(&user.to_string(), &self.ends.rules);
                builder.add(rows[0].created_at).expect("in order");
                let record = RecordKey::new(Table::Users, rows[0].key.clone());
                let wish = Wish::Write {
                    version: rows[0].version,
                    rows,
                };
                Repair {
                    record,
                    wish,
                    why: None,
                }
            });
            let done = self
                .ends
                .lane
                .apply(repairs.collect(), Origin::Operator)
                .await;
            let done = done.expect("the applier works");
            assert!(
                done.iter()
                    .all(|done| matches!(done, Repaired::Applied { .. }))
            );
        }
        self.beliefs.replace(builder.finish());
    }

    /// The row of a user.
    pub fn row(&self, id: &str) -> Option<Value> {
        self.convex.row("users", id)
    }

    /// Requests to Clerk and calls to Convex so far.
    pub fn traffic(&self) -> (u64, usize) {
        let calls = self.convex.calls();
        (
            self.clerk.requests().total,
            (calls.queries + calls.mutations) as usize,
        )
    }

    pub fn alerts(&self) -> Vec<&'static str> {
        let raised = self.ends.alerts.raised();
        raised.into_iter().map(|alert| alert.code).collect()
    }

    /// The ends with a bill of their own, as each run gets them.
    pub fn metered(&self) -> Ends {
        self.ends.clone().metered()
    }
}

/// The rows that a user becomes.
pub fn rows(text: &str, rules: &UserRules) -> Vec<Upsert> {
    let mapped = mapping::record(Table::Users, text, rules).expect("mapped");
    mapped.into_iter().map(|mapped| mapped.upsert).collect()
}

/// The applier's end of the lane.
async fn apply(mut out: mpsc::Receiver<Batch>, writer: Writer, state: State) {
    while let Some(batch) = out.recv().await {
        let answers = write(&writer, &state, batch.repairs).await;
        // A scan that was dropped does not listen any more.
        let _ = batch.answer.send(answers);
    }
}

/// Writes what the ledger does not know better, all in one call.
async fn write(writer: &Writer, state: &State, repairs: Vec<Repair>) -> Vec<Repaired> {
    let mut answers = vec![Repaired::Overtaken; repairs.len()];
    let (mut changes, mut places, mut words) = (Vec::new(), Vec::new(), Vec::new());
    for (at, repair) in repairs.into_iter().enumerate() {
        let seen = state.ledger_get(&repair.record);
        let (own, now) = match repair.wish {
            Wish::Delete(gone) => {
                let now = Seen {
                    version: Version(Clock.now_ms()),
                    deleted: true,
                    hash: ContentHash([0; 16]),
                };
                (vec![Change::delete(&gone, DeleteMode::Hard, None)], now)
            }
            Wish::Write { version, .. }
                if seen.is_some_and(|seen| seen.deleted || seen.version > version) =>
            {
                continue;
            }
            Wish::Write { version, rows } => {
                let now = Seen {
                    version,
                    deleted: false,
                    hash: ContentHash::of_all(rows.iter().map(|row| &row.fields)),
                };
                (rows.into_iter().map(Change::Upsert).collect(), now)
            }
        };
        places.push((at, changes.len()));
        changes.extend(own);
        words.push((repair.record, now));
    }
    match writer.apply(&changes).await {
        Ok(applied) => {
            state
                .ledger_put_many(&words, Version(i64::MAX))
                .expect("a ledger");
            for (at, own) in places {
                answers[at] = Repaired::Applied {
                    outcome: applied[own].outcome,
                    id: applied[own].id.clone(),
                };
            }
        }
        Err(error) => {
            for (at, _) in places {
                answers[at] = Repaired::Away {
                    reason: error.to_string(),
                };
            }
        }
    }
    answers
}

/// A lane whose applier has gone.
pub fn broken_lane() -> Lane {
    lane().0
}
