//! Builds what carries out runs, each part from its part of the configuration as it is now.
//!
//! Services and mapping are taken anew at the beginning of each run, so a reload counts from the next run on;
//! the rules of repair need a restart.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use futures_util::{FutureExt, future::BoxFuture};

use super::{StartError, build::keyring};
use crate::{
    apply::{Clock, Shared, Whereabouts},
    config::{Config, RepairMode},
    model::{Asked, Key, RecordKey},
    queue::repairs::Lane,
    reconcile::{
        Trouble,
        belief::Beliefs,
        ends::{Ends, TellClerk},
        reconciler::{self, Identity, Options, Reconciler, Rules},
        run::Runs,
        scan::{
            MissedDeliveries,
            census::Census,
            missed::{Deliveries, Known, Underway},
            sweep::Sweeper,
        },
        unhealed,
    },
    report::{
        history::History,
        oplog::note::{Note, Place, REPORT},
    },
    store::state::State,
    twin::{self, Twin},
};

/// Whether only a full diff can tell: said by smaller scans, and taken back by whoever starts one. Clones are the
/// same one.
#[derive(Clone, Debug, Default)]
pub struct WantsFull(Arc<AtomicBool>);

impl WantsFull {
    /// Says it, and why.
    pub fn say(&self, why: &str) {
        if !self.0.swap(true, Ordering::Relaxed) {
            tracing::info!("a full comparison is needed: {why}");
        }
    }

    /// True once if it was said since it was taken last.
    pub fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

/// Who carries runs out. Connects to nothing.
pub fn runs(
    config: &Config,
    shared: &Arc<Shared>,
    lane: &Lane,
    wants_full: WantsFull,
) -> Result<Arc<dyn Runs>, StartError> {
    let keys = keyring(&config.state);
    let history = History::open(&config.state.dir, config.report.show_values, &keys)?;
    let noted = Arc::clone(shared);
    let history = history.told_to(Arc::new(move |report, hash| {
        let (id, outcome) = (&report.id, report.outcome.name());
        noted.note_now(|at_ms| {
            let note = Note::new(at_ms, Place::Daemon, Asked::Daemon, REPORT, outcome);
            note.did(Some(format!("{id} {hash}")))
        });
    }));
    let beliefs = Beliefs::load(&shared.state)?;
    let missed = MissedDeliveries::new(shared.metrics.clone());
    let (of_ends, lane) = (Arc::clone(shared), lane.clone());
    let (rules, state) = (rules(config), shared.state.clone());
    let counted = beliefs.clone();
    shared.tell_of_users(Box::new(move |made, created_at| match (made, created_at) {
        (true, Some(at)) => counted.created(at),
        (true, None) => {}
        (false, at) => counted.deleted(at),
    }));
    Ok(Reconciler::new(Options {
        ends: Box::new(move || ends(&of_ends, &lane)),
        rules: Box::new(move || held_back(rules, &state)),
        identity: Arc::new(Pair {
            shared: Arc::clone(shared),
            deployment: deployment(config).to_owned(),
            key_kind: key_kind(config),
        }),
        dir: config.state.dir.clone(),
        keys,
        history,
        sweeper: Sweeper::new(missed.clone(), beliefs.clone()),
        census: Census::new(missed, beliefs.clone()),
        beliefs,
        known: Box::new(Intake(Arc::clone(shared))),
        want_full: Box::new(move |why| wants_full.say(why)),
    }))
}

/// Refuses if the configuration names another pair of services than earlier runs on this state had.
pub fn recognise(config: &Config, state: &State) -> Result<(), StartError> {
    let recognised = reconciler::recognise(state, deployment(config), key_kind(config));
    recognised.map_err(|trouble| match trouble {
        Trouble::State(error) => StartError::State(error),
        other => StartError::Foreign(other.to_string()),
    })
}

fn deployment(config: &Config) -> &str {
    config.convex.url.host_str().unwrap_or_default()
}

fn key_kind(config: &Config) -> &'static str {
    match config.clerk.is_development() {
        true => "test",
        false => "live",
    }
}

fn rules(config: &Config) -> Rules {
    Rules {
        repair: config.repair.mode == RepairMode::Repair,
        max_deletes: config.repair.max_deletes,
        max_delete_ratio: config.repair.max_delete_ratio,
        merge_duplicates: config.repair.merge_duplicates,
        purge_after: config.users.purge_after,
        show_values: config.report.show_values,
        page_rows: u32::try_from(config.convex.page).unwrap_or(u32::MAX),
        calls: config.convex.concurrency,
    }
}

/// These rules, without any deletion as long as what is remembered may be wrong.
fn held_back(rules: Rules, state: &State) -> Rules {
    match unhealed::is_in_doubt(state) && !twin::broken(Twin::NoDoubt) {
        true => Rules {
            max_deletes: 0,
            ..rules
        },
        false => rules,
    }
}

fn ends(shared: &Arc<Shared>, lane: &Lane) -> Ends {
    let edges = shared.edges.load();
    let settings = shared.settings.load();
    let carried = &settings.carried;
    let tell_clerk = carried.write_back.then(|| {
        let shared = Arc::clone(shared);
        Arc::new(move |key: &Key, row: &str| shared.row_not_named(key, row)) as TellClerk
    });
    Ends {
        clerk: edges.clerk.clone(),
        reader: edges.reader.clone(),
        lane: lane.clone(),
        state: shared.state.clone(),
        alerts: shared.alerts.clone(),
        rules: settings.user_rules.clone(),
        tables: shared.served_tables(),
        editable: carried
            .fields
            .iter()
            .map(|field| field.name().to_owned())
            .collect(),
        tell_clerk,
        now: Arc::new(|| Clock.now_ms()),
        cost: Arc::default(),
    }
}

/// The two services that are configured.
struct Pair {
    shared: Arc<Shared>,
    deployment: String,
    key_kind: &'static str,
}

impl Identity for Pair {
    fn deployment(&self) -> String {
        self.deployment.clone()
    }

    fn key_kind(&self) -> &'static str {
        self.key_kind
    }

    fn is_proved(&self) -> bool {
        self.shared.is_proved(self.shared.edges.load().clerk_key)
    }

    fn prove(&self) {
        self.shared.prove_key(self.shared.edges.load().clerk_key);
    }
}

/// What intake and the queue know of deliveries.
struct Intake(Arc<Shared>);

impl Known for Intake {
    fn underway<'k>(&'k self, records: &'k [RecordKey]) -> BoxFuture<'k, Vec<Underway>> {
        async move {
            let told = self.0.whereabouts(records).await.unwrap_or_default();
            let told = told.into_iter().map(|one| match one {
                Whereabouts::Nowhere => Underway::Nowhere,
                Whereabouts::Queued => Underway::Queued,
                Whereabouts::DeadLetter => Underway::DeadLetter,
            });
            told.collect()
        }
        .boxed()
    }

    fn deliveries(&self) -> Option<Deliveries> {
        let (total, last_ms, since_ms) = self.0.deliveries();
        Some(Deliveries {
            total,
            last_ms,
            since_ms,
        })
    }
}
