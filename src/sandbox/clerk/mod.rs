//! A simulated Clerk: the Backend API of one instance on 127.0.0.1, and its webhooks.
//!
//! Written from Clerk's OpenAPI description and published facts; it shares no type with the code
//! that talks to Clerk, so that a misreading on one side cannot cancel itself out on the other.
//! `state` and its neighbours are the world, `routes` the API, `sender` the deliveries, `faults`
//! the orders to misbehave, `control` how Rust tests give orders, `orders` the same over HTTP
//! under `/_sim/`. One seed gives one world. Nothing here is durable, and nothing leaves the
//! machine except deliveries to the URL that was given.

pub mod clock;
mod control;
pub mod faults;
mod filters;
mod gate;
mod ids;
pub mod limits;
mod listings;
mod memberships;
mod metadata;
mod orders;
mod organization_routes;
mod organizations;
mod profile;
mod query;
mod ranked;
pub mod refusal;
mod render;
pub mod requests;
mod routes;
mod seed;
mod selection;
pub mod sender;
mod server;
pub mod sessions;
mod shelf;
pub mod state;
mod user_routes;
mod users;
mod wording;

#[cfg(test)]
mod tests;

use clock::Clock;
use faults::Faults;
use limits::{LimitSettings, Limits};
use requests::Requests;
use sender::{Sender, SenderOrders};
use sessions::Sessions;
use state::{Settings, World};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The secret key of a simulated instance, unless another is chosen.
pub const DEFAULT_SECRET_KEY: &str = "sk_test_simulated0000000000000000000000000000";
/// The signing secret of its webhooks, unless others are chosen.
pub const DEFAULT_WEBHOOK_SECRET: &str = "whsec_c2ltdWxhdGVkLWNsZXJrLXNpZ25pbmcta2V5LTAx";

/// How to start a simulated instance.
#[derive(Clone)]
pub struct ClerkOptions {
    /// TCP port on 127.0.0.1; 0 lets the system choose.
    pub port: u16,
    /// Ids, chances and seeded users follow from it.
    pub seed: u64,
    /// The key that `Authorization: Bearer` must carry.
    pub secret_key: String,
    /// Secrets that sign deliveries, `whsec_…`.
    pub webhook_secrets: Vec<String>,
    /// Where deliveries go; none withholds them.
    pub webhook_url: Option<String>,
    /// Certificates (PEM) that deliveries over TLS trust.
    pub webhook_root_pem: Option<Vec<u8>>,
    /// Requests in ten seconds; 0 is no limit.
    pub rate_per_10s: u32,
    /// `instance_id` of events.
    pub instance_id: String,
    /// Whether organizations are switched on.
    pub organizations_enabled: bool,
    /// Added to every answer.
    pub latency: Duration,
    /// The time that objects are stamped with.
    pub clock: Clock,
}

impl Default for ClerkOptions {
    fn default() -> Self {
        let settings = Settings::default();
        Self {
            port: 0,
            seed: 1,
            secret_key: DEFAULT_SECRET_KEY.to_owned(),
            webhook_secrets: vec![DEFAULT_WEBHOOK_SECRET.to_owned()],
            webhook_url: None,
            webhook_root_pem: None,
            rate_per_10s: 0,
            instance_id: settings.instance_id,
            organizations_enabled: settings.organizations_enabled,
            latency: Duration::ZERO,
            clock: Clock::default(),
        }
    }
}

impl std::fmt::Debug for ClerkOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The key and the secrets stay out of logs.
        let mut shown = f.debug_struct("ClerkOptions");
        shown.field("port", &self.port).field("seed", &self.seed);
        shown
            .field("instance_id", &self.instance_id)
            .finish_non_exhaustive()
    }
}

/// What the API's handlers share.
struct Shared {
    world: RwLock<World>,
    sender: Sender,
    faults: Mutex<Faults>,
    limits: Mutex<Limits>,
    requests: Mutex<Requests>,
    latency: Mutex<Duration>,
    sessions: Mutex<Sessions>,
    secret_key: String,
    seed: u64,
}

impl Shared {
    /// Reads the world; changes that are due to appear in listings appear first.
    fn read<T>(&self, look: impl FnOnce(&World) -> T) -> T {
        let world = self.world.read().unwrap_or_else(PoisonError::into_inner);
        let now = world.now_ms();
        if !world.users.has_due(now) {
            return look(&world);
        }
        drop(world);
        let mut world = self.world.write().unwrap_or_else(PoisonError::into_inner);
        world.users.settle(now);
        look(&world)
    }

    /// Changes the world and hands its events to the sender before anybody else can change it, so
    /// that events leave in the order of the changes.
    fn write<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        let mut world = self.world.write().unwrap_or_else(PoisonError::into_inner);
        let now = world.now_ms();
        world.users.settle(now);
        let result = change(&mut world);
        self.sender.take(std::mem::take(&mut world.outbox));
        result
    }
}

/// A lock whose holder may have panicked: a test that failed already.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A running simulated Clerk. Dropping it stops it.
pub struct ClerkSim {
    shared: Arc<Shared>,
    address: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl std::fmt::Debug for ClerkSim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClerkSim")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl ClerkSim {
    /// Binds the port and serves. Fails when the port is taken, or a webhook secret or certificate
    /// cannot be read.
    pub async fn start(options: ClerkOptions) -> std::io::Result<Self> {
        let orders = SenderOrders {
            url: options.webhook_url,
            secrets: options.webhook_secrets,
            ..SenderOrders::default()
        };
        let sender = Sender::start(orders, options.seed, options.webhook_root_pem.as_deref())
            .map_err(std::io::Error::other)?;
        let settings = Settings {
            instance_id: options.instance_id,
            organizations_enabled: options.organizations_enabled,
            ..Settings::default()
        };
        let limit = LimitSettings {
            per_10s: options.rate_per_10s,
            ..LimitSettings::default()
        };
        let shared = Arc::new(Shared {
            world: RwLock::new(World::new(options.seed, options.clock, settings)),
            sender,
            faults: Mutex::default(),
            limits: Mutex::new(Limits::new(limit)),
            requests: Mutex::default(),
            latency: Mutex::new(options.latency),
            sessions: Mutex::default(),
            secret_key: options.secret_key,
            seed: options.seed,
        });
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", options.port)).await?;
        let address = listener.local_addr()?;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let app = routes::router(shared.clone());
        tasks.spawn(server::serve(listener, app, stop.clone(), tasks.clone()));
        Ok(Self {
            shared,
            address,
            stop,
            tasks,
        })
    }

    /// The origin to give to a client, as in `http://127.0.0.1:40123`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Closes every connection and breaks off every delivery.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.shared.sender.stop().await;
        self.tasks.wait().await;
    }
}

impl Drop for ClerkSim {
    fn drop(&mut self) {
        self.stop.cancel();
        self.tasks.close();
        self.shared.sender.cancel();
    }
}
