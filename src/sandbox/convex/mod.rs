//! The simulated Convex: the functions of the contract behind Convex's HTTP API, in memory.
//!
//! It plays the deployment for `demo`, `sandbox`, tests and benchmarks, from the contract and from
//! Convex's documented behaviour; it shares no type with the daemon's client. A request goes
//! `server` → `wire` (HTTP) → `calls` (faults, limits, latency) → `functions` → `list` or `plan` and
//! `apply` → `cascade` → `state`. [`ConvexSim`] is the handle for the same process, `/_sim/` the same
//! over HTTP. A million users take less than 1.2 GB.

mod answers;
mod apply;
mod calls;
mod cascade;
mod clock;
mod commits;
mod control;
mod control_http;
mod documents;
mod edits;
mod faults;
mod functions;
mod index;
mod limits;
mod list;
mod merge;
mod plan;
mod schema;
mod server;
mod state;
mod strays;
mod value;
mod wire;

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

pub use calls::{CallRecord, Calls};
pub use commits::Commit;
pub use control::{Answer, ControlError, ConvexSim};
pub use faults::{FaultKind, FaultRule};
pub use limits::Limits;

use faults::Faults;
use limits::Gate;
use schema::{Schema, TableName};
use state::World;

/// How the simulated deployment is set up.
#[derive(Clone, Debug)]
pub struct ConvexOptions {
    /// Port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// The key that opens internal functions. A sandbox key, no secret.
    pub deploy_key: String,
    /// The module that exports the functions.
    pub module: String,
    /// How long each call takes before it commits.
    pub latency: Duration,
    /// Whether messages of thrown errors are redacted, as in production.
    pub redact: bool,
    /// HTTP status of a function that threw: 200, or 560.
    pub error_status: u16,
    /// Further synced columns of users (`users.extra_fields`), of any type.
    pub extra_fields: Vec<String>,
    /// Tables that the app leaves out of the sync.
    pub without_tables: Vec<String>,
    /// What `describe` says of the contract's version.
    pub contract: u32,
    /// What the deployment can take.
    pub limits: Limits,
    /// Seed of the dice that faults with a ratio roll.
    pub seed: u64,
}

impl Default for ConvexOptions {
    fn default() -> Self {
        ConvexOptions {
            port: 0,
            deploy_key: "dev:sandbox-convex-1|simulated".to_owned(),
            module: "clerkSync".to_owned(),
            latency: Duration::ZERO,
            redact: false,
            error_status: 200,
            extra_fields: Vec::new(),
            without_tables: Vec::new(),
            contract: 1,
            limits: Limits::default(),
            seed: 1,
        }
    }
}

/// What the listener and the handle share.
#[derive(Debug)]
struct Shared {
    options: ConvexOptions,
    world: RwLock<World>,
    faults: Mutex<Faults>,
    calls: Mutex<Calls>,
    gate: RwLock<Arc<Gate>>,
    down: AtomicBool,
    deploy_key: RwLock<String>,
    /// Functions that an older module does not export.
    missing: RwLock<Vec<String>>,
    latency_us: AtomicU64,
    requests: AtomicU64,
}

impl Shared {
    fn new(options: ConvexOptions) -> Self {
        Shared {
            world: RwLock::new(empty_world(&options)),
            faults: Mutex::new(Faults::new(options.seed)),
            calls: Mutex::new(Calls::default()),
            gate: RwLock::new(Arc::new(Gate::new(options.limits.clone()))),
            down: AtomicBool::new(false),
            deploy_key: RwLock::new(options.deploy_key.clone()),
            missing: RwLock::default(),
            latency_us: AtomicU64::new(micros(options.latency)),
            requests: AtomicU64::new(options.seed),
            options,
        }
    }

    fn latency(&self) -> Duration {
        Duration::from_micros(self.latency_us.load(Ordering::Relaxed))
    }

    /// The gate as it stands; calls that are inside of an earlier one end there.
    fn gate(&self) -> Arc<Gate> {
        let gate = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&gate)
    }

    fn set_limits(&self, limits: Limits) {
        *self.gate.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Gate::new(limits));
    }

    fn deploy_key(&self) -> String {
        self.deploy_key
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Sixteen hex digits, another each time.
    fn request_id(&self) -> String {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        format!("{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn empty_world(options: &ConvexOptions) -> World {
    World::new(TableName::ALL.map(|table| {
        let mut schema = Schema::of(table, &options.extra_fields);
        schema.served = !options
            .without_tables
            .iter()
            .any(|name| name == table.as_str());
        schema
    }))
}
