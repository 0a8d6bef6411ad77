//! Alerts over time: what an earlier process left to be told, and what is over although nothing happens.
//!
//! Most alerts are raised and cleared by whoever sees the condition. Some conditions outlast a process, and some
//! end while nobody looks.

use std::{path::Path, sync::Arc, time::Duration};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{
    apply::Shared,
    intake::Room,
    reconcile::{repair::plans::Plans, unhealed},
    store::{
        crypt::Keyring,
        journal::{Health, Journal},
    },
};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(2);
/// Nothing of another instance for so long: whoever sent it has stopped. In milliseconds.
const QUIET_MS: i64 = 60 * 60 * 1000;

/// Raises again what still holds: plans that wait, and damage whose cost nobody knows yet.
pub fn raise_again(shared: &Shared, dir: &Path, keys: &Keyring) {
    let now_ms = shared.clock.now_ms();
    if let Err(error) = Plans::of(dir, keys).tell(&shared.alerts) {
        tracing::warn!("held plans cannot be looked at: {error}");
    }
    if let Err(error) = unhealed::raise_again(&shared.state, &shared.alerts, now_ms) {
        tracing::warn!("alerts of an earlier process cannot be read: {error}");
    }
}

/// Looks until `stop` for what is over.
pub async fn tend(journal: Journal, room: Room, shared: Arc<Shared>, stop: CancellationToken) {
    while stop.run_until_cancelled(sleep(EVERY)).await.is_some() {
        look(&journal, room, &shared);
        let probes = shared.look_who_is_back();
        if stop.run_until_cancelled(probes).await.is_none() {
            return;
        }
    }
}

fn look(journal: &Journal, room: Room, shared: &Shared) {
    let alerts = &shared.alerts;
    let writes = *journal.health().borrow() == Health::Writing;
    // A full queue drains without a word; the sender's next try may be hours away.
    if writes && !room.is_full(&journal.stats()) && alerts.is_raised("cannot_store") {
        alerts.clear("cannot_store");
    }
    let now_ms = shared.clock.now_ms();
    alerts.end_quiet("foreign_instance", now_ms.saturating_sub(QUIET_MS));
}
