//! Makes sure that one user's row is there: at sign-in, when an app cannot wait for a delivery.
//!
//! Looks first, asks Clerk only when there is no row, and writes through the queue's second lane like every
//! repair. Knows nothing of tokens or listeners. Promises: any number of callers at once cost one look, one
//! request and one write; what was begun is finished also when nobody waits any more; so many users at once
//! and no more; a user who is gone, or whose record is refused, is not asked about again for a while.

use std::{
    collections::HashMap,
    fmt::Display,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{Semaphore, watch},
    time::{Instant, sleep, timeout},
};
use tokio_util::task::TaskTracker;

use super::{Shared, gate::Gate};
use crate::{
    clerk::{ClerkError, Lookup, RawRecord},
    convex::circuit::Ticket,
    mapping,
    model::{Asked, DriftKind, Ensured, Fault, Key, Origin, Outcome, RecordKey, Table},
    queue::repairs::{Lane, Repair, Repaired, Wish},
};

/// Users that are looked after at once. Each holds one record of a few kilobytes.
const MOST_AT_ONCE: usize = 256;
/// Looks at Convex at once: the smallest plan runs 16 functions, which the app and the applier share.
const LOOKS_AT_ONCE: usize = 4;
/// The longest that one user may take, whoever waits. Longer than a request to Clerk may take.
const LONGEST: Duration = Duration::from_secs(20);
/// How long it is believed that a user is gone, or refused. A token outlives its user by a minute, and an
/// app that asks again and again must not cost Clerk a request each time.
const HOPELESS_KEPT: Duration = Duration::from_secs(5);
/// Users of whom that is remembered.
const MOST_HOPELESS: usize = 1024;
/// Looks after a delivery was faster, which is about to write the row.
const LOOKS_AFTER: u32 = 6;
/// The wait before the first of them; it doubles each time, to 1.6 s.
const LOOK_WAIT: Duration = Duration::from_millis(50);
/// How long Clerk or Convex is left alone when it does not let us in.
const REFUSED_HOLD: Duration = Duration::from_secs(10);

/// See the module's words.
pub struct Ensurer {
    shared: Arc<Shared>,
    lane: Lane,
    runtime: Handle,
    tasks: TaskTracker,
    looks: Semaphore,
    users: Mutex<Users>,
}

/// Who is being looked after, and whose row could not be made a moment ago.
#[derive(Default)]
struct Users {
    in_hand: HashMap<Key, watch::Receiver<Option<Ensured>>>,
    hopeless: HashMap<Key, (Ensured, Instant)>,
}

impl Users {
    fn hopeless(&self, key: &Key) -> Option<Ensured> {
        let (ensured, at) = self.hopeless.get(key)?;
        (at.elapsed() < HOPELESS_KEPT).then(|| ensured.clone())
    }

    fn remember(&mut self, key: &Key, ensured: &Ensured) {
        if !matches!(ensured, Ensured::Gone | Ensured::Refused) {
            self.hopeless.remove(key);
            return;
        }
        if self.hopeless.len() >= MOST_HOPELESS {
            self.hopeless
                .retain(|_, (_, at)| at.elapsed() < HOPELESS_KEPT);
        }
        if self.hopeless.len() < MOST_HOPELESS {
            let now = Instant::now();
            self.hopeless.insert(key.clone(), (ensured.clone(), now));
        }
    }
}

/// Takes a user out of those in hand, also when the work on it panics.
struct InHand {
    ensurer: Arc<Ensurer>,
    key: Key,
}

impl Drop for InHand {
    fn drop(&mut self) {
        self.ensurer.users().in_hand.remove(&self.key);
    }
}

impl Ensurer {
    /// One that works on this runtime, whoever calls.
    pub fn new(shared: Arc<Shared>, lane: Lane, runtime: Handle) -> Arc<Ensurer> {
        Arc::new(Ensurer {
            shared,
            lane: lane.on_behalf(Asked::SignIn),
            runtime,
            tasks: TaskTracker::new(),
            looks: Semaphore::new(LOOKS_AT_ONCE),
            users: Mutex::default(),
        })
    }

    /// Makes sure that this user's row is there. Ends by itself within 20 s; may be given up at any
    /// time, and the work goes on.
    pub async fn ensure(self: Arc<Self>, key: Key) -> Ensured {
        let mut answer = match self.join(key) {
            Ok(answer) => answer,
            Err(at_once) => return at_once,
        };
        match answer.wait_for(Option::is_some).await {
            Ok(ensured) => ensured.clone().unwrap_or(Ensured::Away),
            Err(_) => Ensured::Away,
        }
    }

    /// Joins those who wait for this user, or begins.
    fn join(self: Arc<Self>, key: Key) -> Result<watch::Receiver<Option<Ensured>>, Ensured> {
        let ensurer = Arc::clone(&self);
        let mut users = self.users();
        if let Some(answer) = users.in_hand.get(&key) {
            return Ok(answer.clone());
        }
        if let Some(ensured) = users.hopeless(&key) {
            return Err(ensured);
        }
        if users.in_hand.len() >= MOST_AT_ONCE {
            return Err(Ensured::Busy);
        }
        let (answered, answer) = watch::channel(None);
        users.in_hand.insert(key.clone(), answer.clone());
        let work = async move {
            let in_hand = InHand { ensurer, key };
            let InHand { ensurer, key } = &in_hand;
            let ensured = timeout(LONGEST, ensurer.work_on(key)).await;
            let ensured = ensured.unwrap_or(Ensured::Away);
            ensurer.users().remember(key, &ensured);
            // Before the answer, so that whoever asks again after it begins anew.
            drop(in_hand);
            let _ = answered.send(Some(ensured));
        };
        self.tasks.spawn_on(work, &self.runtime);
        Ok(answer)
    }

    async fn work_on(&self, key: &Key) -> Ensured {
        if let Some(known) = self.there(key).await {
            return known;
        }
        // Nothing would be written: Clerk need not be asked.
        if self.shared.is_paused() || !self.shared.settings.load().enabled {
            return Ensured::Away;
        }
        let record = match self.ask(key).await {
            Ok(Lookup::Found(record)) => record,
            Ok(Lookup::Gone(_)) => return Ensured::Gone,
            Err(ensured) => return ensured,
        };
        match self.write(&record).await {
            Some(Repaired::Applied { outcome, id }) => self.written(key, outcome, id).await,
            Some(Repaired::Overtaken) => self.look_after(key).await,
            Some(Repaired::Refused { code, .. }) => {
                tracing::warn!(
                    table = "users",
                    key = key.as_str(),
                    code,
                    "a user who signs in has no row"
                );
                Ensured::Refused
            }
            Some(Repaired::Away { .. }) | None => Ensured::Away,
        }
    }

    /// What a look says: the row is there, or Convex cannot be asked. `None`: there is no row.
    async fn there(&self, key: &Key) -> Option<Ensured> {
        match self.look(key).await {
            Ok(Some(id)) => Some(Ensured::Present {
                id,
                outcome: Outcome::Unchanged,
            }),
            Ok(None) => None,
            Err(Away) => Some(Ensured::Away),
        }
    }

    /// The Convex id of the user's row, unless it is marked as deleted.
    async fn look(&self, key: &Key) -> Result<Option<String>, Away> {
        // The permits end only with the process.
        let _permit = self.looks.acquire().await;
        let call = Call::let_go(&self.shared.convex).ok_or(Away)?;
        let edges = self.shared.edges.load_full();
        match edges
            .reader
            .get(Table::Users, std::slice::from_ref(key))
            .await
        {
            Ok(page) => {
                call.answered();
                let alive = page.rows.into_iter().find(|row| row.deleted_at.is_none());
                Ok(alive.map(|row| row.id))
            }
            Err(error) => {
                match hold(error.fault()) {
                    Some(asked) => call.failed(&error, asked),
                    None => call.answered(),
                }
                Err(Away)
            }
        }
    }

    async fn ask(&self, key: &Key) -> Result<Lookup<RawRecord>, Ensured> {
        let call = Call::let_go(&self.shared.clerk).ok_or(Ensured::Away)?;
        let edges = self.shared.edges.load_full();
        match edges.clerk.get_user(key).await {
            Ok(lookup) => {
                call.answered();
                Ok(lookup)
            }
            // An answer about this one user, which says nothing about Clerk.
            Err(ClerkError::Rejected { .. } | ClerkError::Nonsense { .. }) => {
                call.answered();
                Err(Ensured::Refused)
            }
            Err(error) => {
                let asked = hold(error.fault()).flatten();
                call.failed(&error, asked);
                Err(Ensured::Away)
            }
        }
    }

    /// Sends the record on its way as a repair. `None` once nobody applies any more.
    async fn write(&self, record: &RawRecord) -> Option<Repaired> {
        let settings = self.shared.settings.load_full();
        let mapped = mapping::record(Table::Users, record.text(), &settings.user_rules);
        let rows = match mapped {
            Ok(rows) => rows.into_iter().map(|mapped| mapped.upsert).collect(),
            Err(error) => {
                return Some(Repaired::Refused {
                    code: error.code().to_owned(),
                    reason: error.to_string(),
                });
            }
        };
        let repair = Repair {
            record: RecordKey::new(Table::Users, record.key().clone()),
            wish: Wish::Write {
                version: record.version(),
                rows,
            },
            why: Some(DriftKind::Missing),
        };
        self.lane.apply(vec![repair], Origin::SignIn).await?.pop()
    }

    async fn written(&self, key: &Key, outcome: Outcome, id: Option<String>) -> Ensured {
        match (outcome, id) {
            // Deleted between Clerk's answer and the write, or Convex would have taken it.
            (Outcome::Tombstoned | Outcome::Deleted | Outcome::Absent, _) => Ensured::Gone,
            (outcome, Some(id)) => Ensured::Present { id, outcome },
            (outcome, None) => match self.look(key).await {
                Ok(Some(id)) => Ensured::Present { id, outcome },
                Ok(None) => Ensured::Gone,
                Err(Away) => Ensured::Away,
            },
        }
    }

    /// A delivery knows something newer: its row is on its way, or its deletion.
    async fn look_after(&self, key: &Key) -> Ensured {
        let mut wait = LOOK_WAIT;
        for _ in 0..LOOKS_AFTER {
            sleep(wait).await;
            wait *= 2;
            if let Some(known) = self.there(key).await {
                return known;
            }
        }
        // No row came. What is newer is a deletion, unless Convex is slow.
        match self.ask(key).await {
            Ok(Lookup::Gone(_)) => Ensured::Gone,
            Ok(Lookup::Found(_)) => Ensured::Away,
            Err(ensured) => ensured,
        }
    }

    fn users(&self) -> MutexGuard<'_, Users> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that its gate has let go. Given up before its end, it counts as one that failed: it may be the one that
/// tries whether the service is back, and until its end is known nobody else is let go.
struct Call<'g> {
    gate: &'g Gate,
    ticket: Option<Ticket>,
}

impl<'g> Call<'g> {
    fn let_go(gate: &'g Gate) -> Option<Call<'g>> {
        let ticket = Some(gate.admit().ok()?);
        Some(Call { gate, ticket })
    }

    fn answered(mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.gate.answered(ticket);
        }
    }

    fn failed(mut self, error: &dyn Display, asked: Option<Duration>) {
        if let Some(ticket) = self.ticket.take() {
            self.gate.failed(ticket, error, asked);
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.gate.shut(ticket, None);
        }
    }
}

/// Convex cannot be asked at the moment.
struct Away;

/// How long a service is to be left alone for this; `None`: the fault is not its.
fn hold(fault: Fault) -> Option<Option<Duration>> {
    match fault {
        Fault::Service { retry_after } => Some(retry_after),
        Fault::Refused | Fault::Ours => Some(Some(REFUSED_HOLD)),
        Fault::Record => None,
    }
}

#[cfg(test)]
mod tests;
