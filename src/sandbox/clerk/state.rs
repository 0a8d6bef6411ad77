//! The world of one Clerk instance: its users, organizations and memberships, and its outbox.
//!
//! Every change puts the finished body of its webhook event in the outbox, in the order of the
//! changes; whoever holds the world's lock carries the outbox to the sender before letting go.
//! The world does no I/O and knows nothing of HTTP, deliveries or faults.

use super::clock::Clock;
use super::ids::IdSource;
use super::organizations::Organizations;
use super::render;
use super::shelf::Users;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What may be switched in an instance, and how the simulation settles what Clerk leaves open.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `instance_id` of events, `ins_…`.
    pub instance_id: String,
    /// Whether organization calls work, or answer 403 `organization_not_enabled_in_instance`.
    pub organizations_enabled: bool,
    /// Whether `created_at_before` and `created_at_after` include their bound (not documented).
    pub window_inclusive: bool,
    /// Whether deleting a user or an organization also emits `organizationMembership.deleted` for
    /// each membership that goes with it (not documented).
    pub cascade_events: bool,
    /// Whether a cursor whose user was deleted goes on from where that user stood, or is refused
    /// with 422 (not documented).
    pub deleted_cursor_goes_on: bool,
    /// Whether users carry keys that no specification names yet, as happens without notice.
    pub unknown_keys: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            instance_id: "ins_3SimulatedInstance000000000".to_owned(),
            organizations_enabled: true,
            window_inclusive: false,
            cascade_events: false,
            deleted_cursor_goes_on: false,
            unknown_keys: false,
        }
    }
}

/// An event ready to be signed and sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its `type`.
    pub kind: &'static str,
    /// The exact bytes of its body.
    pub body: Vec<u8>,
}

/// Changes that listings show late.
#[derive(Debug, Clone, Copy, Default)]
struct LagOrder {
    changes: u32,
    ms: i64,
}

/// One instance.
#[derive(Debug)]
pub struct World {
    pub(super) clock: Clock,
    pub(super) ids: IdSource,
    pub(super) users: Users,
    pub(super) organizations: Organizations,
    pub(super) settings: Settings,
    pub(super) outbox: Vec<Event>,
    lag: LagOrder,
}

impl World {
    /// An empty instance.
    pub fn new(seed: u64, clock: Clock, settings: Settings) -> Self {
        Self {
            clock,
            ids: IdSource::seeded(seed),
            users: Users::default(),
            organizations: Organizations::default(),
            settings,
            outbox: Vec::new(),
            lag: LagOrder::default(),
        }
    }

    /// Unix milliseconds by this instance's clock.
    pub fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// Lets the next `changes` changes of users appear in listings only `ms` later.
    pub fn lag_next(&mut self, changes: u32, ms: i64) {
        self.lag = LagOrder { changes, ms };
    }

    /// When the change being made is to appear in listings; `None` is at once.
    pub(super) fn take_lag(&mut self) -> Option<i64> {
        if self.lag.changes == 0 {
            return None;
        }
        self.lag.changes -= 1;
        Some(self.now_ms() + self.lag.ms)
    }

    /// Puts an event whose data is plain JSON in the outbox.
    pub(super) fn emit(&mut self, kind: &'static str, data: &Value, at: i64) {
        let event = render::envelope(kind, data, at, &self.settings);
        self.outbox.push(event);
    }
}
