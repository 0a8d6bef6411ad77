//! What every scan reaches: both services to read, the lane to repair, the state to remember.
//!
//! Taken anew for each run, so that a reload of the configuration counts from the next run on.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use uuid::{NoContext, Timestamp, Uuid};

use super::run::AskedBy;
use crate::{
    clerk::ClerkClient,
    convex::reader::Reader,
    mapping::UserRules,
    model::{Asked, Key, Table},
    queue::repairs::Lane,
    report::{Bytes, Calls, RunKind, alert::Alerts},
    store::state::State,
};

/// The time of day in milliseconds, from whoever reads the clock.
pub type Now = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Lets Clerk be told which row a user has: Clerk's id and Convex's. False if nobody takes it now.
pub type TellClerk = Arc<dyn Fn(&Key, &str) -> bool + Send + Sync>;

/// See the module's words.
#[derive(Clone)]
pub struct Ends {
    /// Clerk, to ask.
    pub clerk: ClerkClient,
    /// Convex, to ask.
    pub reader: Reader,
    /// Where repairs go.
    pub lane: Lane,
    /// Cursors, the ledger, the census.
    pub state: State,
    /// What is wrong right now.
    pub alerts: Alerts,
    /// How users become rows.
    pub rules: UserRules,
    /// The tables that the deployment serves.
    pub tables: Vec<Table>,
    /// The columns that users' own edits may have changed before Clerk hears of it; none if edits do not travel.
    pub editable: Vec<String>,
    /// Set if Clerk is to know which row each user has.
    pub tell_clerk: Option<TellClerk>,
    /// The time of day.
    pub now: Now,
    /// What the run has cost so far.
    pub cost: Arc<Cost>,
}

impl Ends {
    /// The same ends, on behalf of a run.
    pub fn for_run(self, kind: RunKind, id: String, by: AskedBy) -> Ends {
        self.on_behalf(Asked::Run {
            run: kind.name(),
            id: id.into(),
            by: by.name(),
        })
    }

    /// The same ends, on somebody's behalf.
    pub fn on_behalf(self, asked: Asked) -> Ends {
        let lane = self.lane.on_behalf(asked);
        Ends { lane, ..self }
    }

    /// The id of the run on whose behalf repairs are put in; a new one if there is none.
    pub fn run_id(&self, started_ms: i64) -> String {
        match self.lane.asked() {
            Asked::Run { id, .. } => id.to_string(),
            _ => new_id(started_ms),
        }
    }

    /// The same ends with a bill, and with buffers for pages, of their own.
    pub fn metered(self) -> Ends {
        let (lane, mutations) = self.lane.counted();
        let cost = Arc::new(Cost {
            mutations,
            ..Cost::default()
        });
        let (clerk, convex) = (Arc::clone(&cost), Arc::clone(&cost));
        let (pages, rows) = (self.clerk.keeping_buffers(), self.reader.keeping_buffers());
        Ends {
            clerk: pages.also_heard_by(Arc::new(move |_, _, bytes| {
                clerk.clerk.fetch_add(1, Ordering::Relaxed);
                clerk.clerk_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            })),
            reader: rows.also_heard_by(Arc::new(move |_, _, bytes| {
                convex.queries.fetch_add(1, Ordering::Relaxed);
                convex
                    .convex_bytes
                    .fetch_add(bytes as u64, Ordering::Relaxed);
            })),
            cost,
            lane,
            ..self
        }
    }
}

/// The id of a run that begins at this time.
pub fn new_id(now_ms: i64) -> String {
    let ms = u64::try_from(now_ms).unwrap_or(0);
    let nanos = u32::try_from(ms % 1000).unwrap_or(0) * 1_000_000;
    Uuid::new_v7(Timestamp::from_unix(NoContext, ms / 1000, nanos)).to_string()
}

/// What a run costs, counted where requests are made.
#[derive(Debug, Default)]
pub struct Cost {
    clerk: AtomicU64,
    queries: AtomicU64,
    /// Counted where the lane ends.
    mutations: Arc<AtomicU64>,
    clerk_bytes: AtomicU64,
    convex_bytes: AtomicU64,
}

impl Cost {
    /// Requests so far.
    pub fn calls(&self) -> Calls {
        Calls {
            clerk: self.clerk.load(Ordering::Relaxed),
            convex_queries: self.queries.load(Ordering::Relaxed),
            convex_mutations: self.mutations.load(Ordering::Relaxed),
        }
    }

    /// Bytes of answers so far.
    pub fn bytes(&self) -> Bytes {
        Bytes {
            clerk: self.clerk_bytes.load(Ordering::Relaxed),
            convex: self.convex_bytes.load(Ordering::Relaxed),
        }
    }
}
