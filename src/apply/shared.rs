//! What every piece of work needs: the edges, the disk, the settings, and who is told.
//!
//! Settings and edges are swapped as a whole when the configuration is read again; work in hand goes
//! on with what it began with.

use std::{
    collections::HashSet,
    num::NonZeroUsize,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, mpsc};

use super::{
    certain::Certain,
    edits::{self, Written, judged::Judged, overwrites::Overwrites},
    gate::{Gate, Service},
    handle::{Handle, Whereabouts},
    instance::{Belonging, Pin},
    load::Manner,
    permits::Permits,
    tables::Served,
    throttle::Throttle,
};
use crate::{
    clerk::{ClerkClient, client::ClerkWriter},
    convex::{
        reader::Reader,
        writer::{MAX_CHANGES, Writer},
    },
    mapping::UserRules,
    model::{DeleteMode, FilesOnDelete, RecordKey, Table},
    queue::backoff::RetryRule,
    report::{alert::Alerts, oplog::OperationsLog},
    store::{
        journal::Journal,
        state::{State, StateError},
    },
    telemetry::Metrics,
};

const CONVEX: Service = Service {
    cause: "convex",
    alert: "convex_away",
    words: "nothing is written to Convex",
    hold: Duration::from_millis(200),
};
const CLERK: Service = Service {
    cause: "clerk",
    alert: "clerk_away",
    words: "records in doubt wait for Clerk",
    hold: Duration::from_millis(500),
};
/// The cell in the state that remembers the instance.
const INSTANCE_CELL: &str = "instance";
/// The cell that remembers the key that was proved.
const KEY_CELL: &str = "proved_key";

/// What can be changed while running.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `sync.enabled`
    pub enabled: bool,
    /// Tries of a refused record.
    pub retry: RetryRule,
    /// Calls to Convex at once.
    pub concurrency: usize,
    /// Changes in one call.
    pub batch: usize,
    /// How users become rows.
    pub user_rules: UserRules,
    /// How users are deleted.
    pub delete_mode: DeleteMode,
    /// What happens to their files.
    pub files_on_delete: FilesOnDelete,
    /// What is carried to Clerk.
    pub carried: edits::Options,
}

/// The two services.
pub struct Edges {
    /// Clerk.
    pub clerk: ClerkClient,
    /// Clerk, to write; only where the configuration has something to be written.
    pub clerk_writer: Option<ClerkWriter>,
    /// Stands for Clerk's secret key without giving it away.
    pub clerk_key: [u8; 8],
    /// Convex, to ask.
    pub reader: Reader,
    /// Convex, to write.
    pub writer: Writer,
}

/// The time of day, as the one place that reads it hands it out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock;

impl Clock {
    /// Milliseconds since the epoch.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the clock of the appliers"
    )]
    pub fn now_ms(self) -> i64 {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }
}

/// Hears of a user more (true) or less, and of its `created_at` in milliseconds if that is known.
pub type OnUser = Box<dyn Fn(bool, Option<i64>) + Send + Sync>;

/// See the module's words.
pub struct Shared {
    /// The delivery log.
    pub journal: Journal,
    /// Ledger and cells.
    pub state: State,
    /// The two services.
    pub edges: ArcSwap<Edges>,
    /// What can be changed while running.
    pub settings: ArcSwap<Settings>,
    /// What is counted.
    pub metrics: Metrics,
    /// What is wrong.
    pub alerts: Alerts,
    /// The time.
    pub clock: Clock,
    pub(super) permits: Permits,
    /// Changes of one call that Convex is believed to take; see `no_larger_than_fits`.
    pub(super) fitting: AtomicUsize,
    /// The tables that the deployed functions serve.
    pub(super) served: Served,
    /// Hears of users that deliveries made and removed: true for made, and `created_at` if it is known.
    pub(super) on_user: OnceLock<OnUser>,
    /// Deliveries taken in, and when the last one was.
    arrived: AtomicU64,
    arrived_ms: AtomicI64,
    since_ms: i64,
    paused: AtomicBool,
    pub(super) convex: Gate,
    pub(super) clerk: Gate,
    pub(super) pin: Mutex<Pin>,
    /// Records whose rows are known to be as the ledger says.
    pub(super) certain: Mutex<Certain>,
    /// Different records that Convex refused since it last took one; bounded by the brake on them.
    pub(super) refusals: Mutex<HashSet<RecordKey>>,
    /// When calls go again that a deployment's class refused.
    pub(super) throttle: Mutex<Throttle>,
    /// The key under which Clerk has shown a record of our instance, as a hash.
    pub(super) proved_key: Mutex<Option<[u8; 8]>>,
    /// The one task that owns the queue, once there is one.
    pub(super) applier: OnceLock<Handle>,
    /// Who wants to hear of users' rows that were written.
    pub(super) written: OnceLock<mpsc::Sender<Written>>,
    /// Wakes who carries changes to Clerk.
    pub(super) reloaded: Notify,
    /// Conflicts of users' edits that the operations log has.
    pub(super) judged: Mutex<Judged>,
    /// Who was carried to Clerk lately, and what was changed there meanwhile.
    overwrites: Mutex<Overwrites>,
    /// Where all that is written is noted, once there is such a log.
    pub(super) oplog: OnceLock<OperationsLog>,
}

impl Shared {
    /// Puts together what the workers need.
    pub fn new(
        journal: Journal,
        state: State,
        edges: Edges,
        settings: Settings,
        metrics: Metrics,
        alerts: Alerts,
        pin: Pin,
    ) -> Arc<Shared> {
        let cell = state.get_cell(KEY_CELL).ok().flatten();
        let proved_key = cell.and_then(|bytes| bytes.try_into().ok());
        let convex = Gate::new(CONVEX, metrics.clone(), alerts.clone());
        let clerk = Gate::new(CLERK, metrics.clone(), alerts.clone());
        Arc::new(Shared {
            journal,
            state,
            edges: ArcSwap::from_pointee(edges),
            permits: Permits::new(settings.concurrency),
            fitting: AtomicUsize::new(MAX_CHANGES),
            served: Served::default(),
            on_user: OnceLock::new(),
            arrived: AtomicU64::new(0),
            arrived_ms: AtomicI64::new(0),
            since_ms: Clock.now_ms(),
            paused: AtomicBool::new(false),
            settings: ArcSwap::from_pointee(settings),
            metrics,
            alerts,
            clock: Clock,
            convex,
            clerk,
            pin: Mutex::new(pin),
            certain: Mutex::default(),
            refusals: Mutex::default(),
            throttle: Mutex::default(),
            proved_key: Mutex::new(proved_key),
            applier: OnceLock::new(),
            written: OnceLock::new(),
            reloaded: Notify::new(),
            judged: Mutex::default(),
            overwrites: Mutex::default(),
            oplog: OnceLock::new(),
        })
    }

    /// The Clerk instance that is served, if one is at least presumed, and whether that is certain.
    pub fn instance(&self) -> (Option<String>, bool) {
        let pin = self.pin.lock().unwrap_or_else(PoisonError::into_inner);
        (pin.instance().map(str::to_owned), pin.is_known())
    }

    /// Reads the pin that the state remembers, unless the configuration names the instance.
    pub fn recall_instance(state: &State, configured: Option<&str>) -> Pin {
        if let Some(instance) = configured {
            return Pin::Known(instance.into());
        }
        let cell = state.get_cell(INSTANCE_CELL).ok().flatten();
        let text = cell.and_then(|bytes| String::from_utf8(bytes).ok());
        text.map_or(Pin::Unknown, |text| Pin::from_cell(&text))
    }

    /// Puts other settings in place.
    pub fn set(&self, settings: Settings) {
        self.settings.store(Arc::new(settings));
        self.reloaded.notify_one();
    }

    /// Lets another number of calls to Convex run at once. Calls in hand end as they began.
    pub fn resize(&self, calls: usize) {
        self.permits.resize(calls);
    }

    /// The tables that the deployment serves, as far as is known.
    pub fn served_tables(&self) -> Vec<Table> {
        Table::ALL
            .into_iter()
            .filter(|table| self.serves(*table))
            .collect()
    }

    /// Lets somebody hear of users that deliveries make and remove; the first one stays.
    pub fn tell_of_users(&self, on_user: OnUser) {
        let _first = self.on_user.set(on_user);
    }

    /// Deliveries since the process began, when the last one came, and since when it is counted; in milliseconds.
    pub fn deliveries(&self) -> (u64, Option<i64>, i64) {
        let last = self.arrived_ms.load(Ordering::Relaxed);
        let count = self.arrived.load(Ordering::Relaxed);
        (count, (count > 0).then_some(last), self.since_ms)
    }

    /// Where deliveries about these records are, one answer for each; `None` where nobody applies any.
    pub async fn whereabouts(&self, records: &[RecordKey]) -> Option<Vec<Whereabouts>> {
        self.applier.get()?.whereabouts(records).await
    }

    pub(super) fn delivery_arrived(&self, received_ms: i64) {
        self.arrived.fetch_add(1, Ordering::Relaxed);
        // The last one, not the latest: a clock that was put back must not make all that comes look old.
        self.arrived_ms.store(received_ms, Ordering::Relaxed);
    }

    /// True while a person has stopped applying.
    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    pub(super) fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }

    /// How deliveries are written: at most `convex.batch` changes a call, which the configuration keeps
    /// above none.
    pub(super) fn as_deliveries(&self) -> Manner<'static> {
        let batch = self.settings.load().batch;
        Manner {
            changes: NonZeroUsize::new(batch).unwrap_or(NonZeroUsize::MIN),
            urgent: true,
            many: false,
            calls: None,
            asked: None,
        }
    }

    /// Clerk has shown a record of our instance under this key: what it says is gone is gone.
    pub fn prove_key(&self, key: [u8; 8]) {
        let mut proved = self
            .proved_key
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *proved != Some(key) {
            *proved = Some(key);
            if let Err(error) = self.state.put_cell(KEY_CELL, Some(&key)) {
                self.state_failed(&error);
            }
        }
    }

    /// True if this key has shown a record of our instance. Another instance's key would call every
    /// one of our records gone.
    pub fn is_proved(&self, key: [u8; 8]) -> bool {
        let proved = self
            .proved_key
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *proved == Some(key)
    }

    pub(super) fn overwrites(&self) -> MutexGuard<'_, Overwrites> {
        self.overwrites
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn judge_instance(&self, instance: Option<&str>) -> Belonging {
        self.change_pin(|pin| pin.judge(instance))
    }

    pub(super) fn prove_instance(&self, instance: &str) {
        self.change_pin(|pin| pin.proved(instance));
    }

    pub(super) fn state_failed(&self, error: &StateError) {
        let message = format!("{error}; the daemon goes on without it and asks Clerk more often");
        self.alerts
            .raise("state_failed", message, self.clock.now_ms());
    }

    fn change_pin<T>(&self, change: impl FnOnce(&mut Pin) -> T) -> T {
        let mut pin = self.pin.lock().unwrap_or_else(PoisonError::into_inner);
        let before = pin.clone();
        let result = change(&mut pin);
        if *pin != before
            && let Some(cell) = pin.to_cell()
            && let Err(error) = self.state.put_cell(INSTANCE_CELL, Some(cell.as_bytes()))
        {
            self.state_failed(&error);
        }
        result
    }
}
