//! The handle by which the same process drives the simulated Convex.
//!
//! Rows as the app would read and write them, counters, faults, outages. What it can do, `/_sim/` can
//! do over HTTP. Knows nothing of the daemon.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use serde_json::Value as Json;

use super::calls::Calls;
use super::commits::Commit;
use super::edits::edit_profile;
use super::faults::{FaultKind, FaultRule};
use super::schema::TableName;
use super::server::Server;
use super::state::World;
use super::{ConvexOptions, Shared, clock, documents, empty_world, micros};

/// Why an order was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// None of the synced tables, nor `files`.
    #[error("no such table: use users, profiles, organizations, memberships or files")]
    UnknownTable,
    /// The id or key names no row.
    #[error("no such row")]
    NoSuchRow,
    /// Not an object, or a field that the table cannot hold.
    #[error("the document is no object, or a field of it has the wrong name or type")]
    NotADocument,
}

/// A running simulated Convex. Clones share it; it stops with [`ConvexSim::stop`], or when the last
/// clone is dropped.
#[derive(Clone, Debug)]
pub struct ConvexSim {
    shared: Arc<Shared>,
    server: Arc<Running>,
}

#[derive(Debug)]
struct Running(Server);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl ConvexSim {
    /// Binds the port and begins to serve. Fails when the port is taken.
    pub async fn start(options: ConvexOptions) -> std::io::Result<Self> {
        let port = options.port;
        let shared = Arc::new(Shared::new(options));
        let server = Server::start(port, Arc::clone(&shared)).await?;
        Ok(ConvexSim {
            shared,
            server: Arc::new(Running(server)),
        })
    }

    /// The deployment's URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.server.0.address)
    }

    /// The key that opens the functions.
    pub fn deploy_key(&self) -> String {
        self.shared.deploy_key()
    }

    /// Replaces the key; the old one gets 401 from now on.
    pub fn set_deploy_key(&self, key: &str) {
        let mut slot = self
            .shared
            .deploy_key
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *slot = key.to_owned();
    }

    /// Plays a module that does not export these functions.
    pub fn without_functions(&self, names: &[&str]) {
        let mut missing = self
            .shared
            .missing
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *missing = names.iter().map(|name| (*name).to_owned()).collect();
    }

    /// Every document of the table in order of creation, the app's own rows too; whole numbers as
    /// integers. Empty for a table that does not exist.
    pub fn rows(&self, table: &str) -> Vec<Json> {
        documents::rows(&self.world(), table).unwrap_or_default()
    }

    /// The first document of the table that has this `clerkId`.
    pub fn row(&self, table: &str, key: &str) -> Option<Json> {
        self.rows(table)
            .into_iter()
            .find(|row| row["clerkId"] == key)
    }

    /// How many rows the table has that carry a key, without copying them.
    pub fn count(&self, table: &str) -> usize {
        TableName::parse(table).map_or(0, |name| self.world().table(name).order.len())
    }

    /// The deleted keys of the table, sorted.
    pub fn tombstones(&self, table: &str) -> Vec<String> {
        let Some(name) = TableName::parse(table) else {
            return Vec::new();
        };
        let world = self.world();
        let mut keys: Vec<String> = world
            .table(name)
            .tombstones
            .keys()
            .map(|key| key.to_string())
            .collect();
        keys.sort();
        keys
    }

    /// Puts a document in as the app would, past every guard; its id.
    pub fn insert_row(&self, table: &str, document: &Json) -> Result<String, ControlError> {
        documents::insert(&mut self.world_mut(), table, document)
    }

    /// Merges fields into a document as the app would.
    pub fn patch_row(&self, table: &str, id: &str, fields: &Json) -> Result<(), ControlError> {
        documents::patch(&mut self.world_mut(), table, id, fields)
    }

    /// Takes a document out as the app would: no cascade, no tombstone.
    pub fn remove_row(&self, table: &str, id: &str) -> Result<(), ControlError> {
        documents::remove(&mut self.world_mut(), table, id)
    }

    /// What the app's `editProfile` does; the edit's id, none when it changes nothing.
    pub fn edit_profile(&self, key: &str, fields: &Json) -> Result<Option<String>, ControlError> {
        let text = fields.to_string();
        let fields = serde_json::from_str(&text).map_err(|_| ControlError::NotADocument)?;
        edit_profile(&mut self.world_mut(), key, fields, clock::now_ms())
            .map_err(|_| ControlError::NoSuchRow)
    }

    /// How many edits wait to be carried to Clerk.
    pub fn edits_waiting(&self) -> usize {
        self.world().outbox.len()
    }

    /// What was called so far.
    pub fn calls(&self) -> Calls {
        self.shared
            .calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The commits from the sequence number on, oldest first, of those still kept.
    pub fn commits(&self, from: u64, limit: usize) -> Vec<Commit> {
        self.world().commits.since(from, limit).cloned().collect()
    }

    /// Adds a fault rule.
    pub fn fault(&self, rule: FaultRule) {
        self.shared
            .faults
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .add(rule);
    }

    /// Ends all faults.
    pub fn clear_faults(&self) {
        self.shared
            .faults
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .replace(Vec::new());
    }

    /// Begins an order such as `sim.answer(503, "WorkerOverloaded").for_calls(10)`.
    pub fn answer(&self, status: u16, code: &str) -> Answer<'_> {
        let mut rule = FaultRule::new(FaultKind::Status);
        rule.status = Some(status);
        rule.code = Some(code.to_owned());
        Answer { sim: self, rule }
    }

    /// How long each call takes from now on.
    pub fn set_latency(&self, latency: Duration) {
        self.shared
            .latency_us
            .store(micros(latency), Ordering::Relaxed);
    }

    /// Every request gets 503 until [`ConvexSim::up`].
    pub fn down(&self) {
        self.shared.down.store(true, Ordering::Relaxed);
    }

    /// Ends an outage.
    pub fn up(&self) {
        self.shared.down.store(false, Ordering::Relaxed);
    }

    /// Forgets rows, tombstones, edits, commits, counters, faults and the outage.
    pub fn reset(&self) {
        reset(&self.shared);
    }

    /// Closes the port and every connection.
    pub async fn stop(&self) {
        self.server.0.stop().await;
    }

    fn world(&self) -> RwLockReadGuard<'_, World> {
        self.shared
            .world
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn world_mut(&self) -> RwLockWriteGuard<'_, World> {
        self.shared
            .world
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// An order to answer with an HTTP status, completed by [`Answer::for_calls`] or [`Answer::always`].
#[must_use = "nothing happens before for_calls() or always()"]
#[derive(Debug)]
pub struct Answer<'a> {
    sim: &'a ConvexSim,
    rule: FaultRule,
}

impl Answer<'_> {
    /// Only calls of this function.
    pub fn of(mut self, function: &str) -> Self {
        self.rule.function = Some(function.to_owned());
        self
    }

    /// With a `Retry-After` header of so many seconds.
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.rule.retry_after = Some(seconds);
        self
    }

    /// The next so many calls.
    pub fn for_calls(mut self, calls: u64) {
        self.rule.times = Some(calls);
        self.always();
    }

    /// Every call until the faults are cleared.
    pub fn always(self) {
        self.sim.fault(self.rule);
    }
}

/// See [`ConvexSim::reset`].
pub(super) fn reset(shared: &Shared) {
    *shared.world.write().unwrap_or_else(PoisonError::into_inner) = empty_world(&shared.options);
    *shared.calls.lock().unwrap_or_else(PoisonError::into_inner) = Calls::default();
    shared
        .faults
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .replace(Vec::new());
    shared.down.store(false, Ordering::Relaxed);
}
