//! Which tables the deployed functions serve.
//!
//! An app may leave tables out of the sync; what Clerk says about them must then go nowhere instead of
//! becoming dead letters. The deployment is asked when something is about to be written, soon after it
//! was away, at once after it refused a table, and every few minutes, since functions can be deployed at any time. Until
//! it has answered, all tables are taken to be served.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::Shared;
use crate::{
    convex::wire::Description,
    model::{Fault, Table},
};

/// How long an answer is believed.
const BELIEVED: Duration = Duration::from_secs(600);
/// How long to wait before asking again after no answer.
const AGAIN: Duration = Duration::from_secs(5);
const ALL: u8 = u8::MAX;

/// See the module's words.
pub(super) struct Served {
    tables: AtomicU8,
    /// Until when what is known is good; `None` while it is in doubt.
    until: Mutex<Option<Instant>>,
    asking: tokio::sync::Mutex<()>,
}

impl Default for Served {
    fn default() -> Self {
        Served {
            tables: AtomicU8::new(ALL),
            until: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
        }
    }
}

impl Served {
    /// What is known may be out of date: ask before the next write.
    pub(super) fn doubt(&self) {
        self.believe(None);
    }

    /// Convex was away, if only for one call, and may have come back with other functions: ask soon. Not after
    /// each of many calls that fail.
    pub(super) fn recheck(&self) {
        let soon = Instant::now() + AGAIN;
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        *until = until.map(|until| until.min(soon));
    }

    fn serves(&self, table: Table) -> bool {
        self.tables.load(Ordering::Relaxed) & bit(table) != 0
    }

    fn is_good(&self) -> bool {
        let until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    fn believe(&self, until: Option<Instant>) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }

    fn learn(&self, said: &Description) {
        let named = |table: &Table| said.tables.iter().any(|name| name == table.name());
        let tables = Table::ALL
            .into_iter()
            .filter(named)
            .fold(0, |tables, table| tables | bit(table));
        let before = self.tables.swap(tables, Ordering::Relaxed);
        if before != tables && tables & bit(Table::Users) == 0 {
            tracing::warn!("the deployed functions do not serve the table of users");
        }
    }
}

fn bit(table: Table) -> u8 {
    1 << table.code()
}

impl Shared {
    /// True if rows of this table are written.
    pub(super) fn serves(&self, table: Table) -> bool {
        self.served.serves(table)
    }

    /// Asks which tables are served, if that is not known well. Makes no call while Convex is away, and
    /// tells the circuit nothing, since queries may run while mutations do not, except for how long Convex
    /// wants to be left alone.
    pub(super) async fn learn_tables(&self) {
        if self.served.is_good() || self.convex.state().1 != "closed" {
            return;
        }
        let _asking = self.served.asking.lock().await;
        if self.served.is_good() {
            return;
        }
        let reader = self.edges.load().reader.clone();
        let good = match reader.describe().await {
            Ok(said) => {
                self.served.learn(&said);
                BELIEVED
            }
            Err(error) => {
                let asked = match error.fault() {
                    Fault::Service { retry_after } => retry_after,
                    _ => None,
                };
                // Whoever names a time means all calls.
                if let Some(ticket) = asked.and_then(|_| self.convex.admit().ok()) {
                    self.convex.failed(ticket, &error, asked);
                }
                AGAIN
            }
        };
        self.served.believe(Some(Instant::now() + good));
    }
}
