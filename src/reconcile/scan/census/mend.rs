//! Putting right what a census found: rows that are missing, rows whose user is gone.
//!
//! Nothing is taken from a list. Who seems to be missing is looked for by key in Convex and by id in Clerk; who
//! seems to be gone is asked for by id, after the brake has seen all of them, and goes only by Clerk's own word
//! and under a key that has shown us users of ours.

use std::collections::HashSet;

use super::super::missed::{Cause, GRACE_MS, Known, causes};
use crate::{
    clerk::{
        Lookup, RawRecord,
        client::{CreatedBetween, MAX_IDS, Order, UserPage},
    },
    convex::reader::MAX_KEYS,
    mapping,
    model::{Action, Difference, DriftKind, Key, Origin, Outcome, RecordKey, Table, Upsert},
    queue::repairs::{Repair, Repaired, Wish},
    reconcile::ends::Ends,
    report::{Report, TableFigures},
};

/// Deletions that are confirmed and offered at once, so that little time lies between word and deed.
const DELETIONS: usize = 50;

/// What a census found and did.
#[derive(Debug, Default)]
pub struct Findings {
    /// Figures of the users.
    pub figures: TableFigures,
    /// The first ones.
    pub differences: Vec<Difference>,
    /// Why, and when by Clerk's clock, of each that a delivery should have told.
    pub missed: Vec<(Cause, i64)>,
    /// Rows that were removed.
    pub removed: u64,
}

/// One census's hands.
pub struct Mending<'e> {
    /// Both services.
    pub ends: &'e Ends,
    /// Who knows of deliveries.
    pub known: &'e dyn Known,
    /// False only reports.
    pub repair: bool,
    /// What was found and done so far.
    pub found: Findings,
}

impl Mending<'_> {
    /// Users that Clerk lists and of whom the range has no row.
    pub async fn missing(&mut self, keys: Vec<Key>) -> Result<(), String> {
        let mut absent = Vec::new();
        for keys in keys.chunks(MAX_KEYS) {
            // A row may have come meanwhile, or stand without `createdAt`.
            let page = self
                .ends
                .reader
                .get(Table::Users, keys)
                .await
                .map_err(words)?;
            let there: HashSet<&Key> = page.rows.iter().map(|row| &row.key).collect();
            absent.extend(keys.iter().filter(|key| !there.contains(key)).cloned());
        }
        for keys in absent.chunks(MAX_IDS) {
            let users = self.ends.clerk.users_by_id(keys).await.map_err(words)?;
            if self.repair {
                self.write(users).await?;
            } else {
                let told = self.causes(&users).await;
                for (user, cause) in users.iter().zip(told) {
                    let (reason, missed) = self.explain(user, cause);
                    self.found.missed.extend(missed);
                    self.note(user.key().clone(), DriftKind::Missing, Action::None, reason);
                }
            }
        }
        Ok(())
    }

    async fn write(&mut self, users: Vec<RawRecord>) -> Result<(), String> {
        let mut repairs = Vec::with_capacity(users.len());
        let mut offered = Vec::with_capacity(users.len());
        // Asked before: the ledger and the queue are about to change.
        let told = self.causes(&users).await;
        for (user, cause) in users.into_iter().zip(told) {
            match self.rows(&user) {
                Ok(rows) => {
                    let version = user.version();
                    let wish = Wish::Write { version, rows };
                    let record = user.name();
                    let why = Some(DriftKind::Missing);
                    repairs.push(Repair { record, wish, why });
                    offered.push((user.key().clone(), self.explain(&user, cause)));
                }
                Err(error) => {
                    let reason = error.to_string();
                    self.failed(user.key().clone(), DriftKind::Missing, reason);
                }
            }
        }
        for ((key, (reason, missed)), done) in offered.into_iter().zip(self.offer(repairs).await?) {
            match done {
                Repaired::Applied {
                    outcome: Outcome::Created | Outcome::Linked,
                    ..
                } => {
                    self.found.figures.repaired += 1;
                    self.found.missed.extend(missed);
                    self.note(key, DriftKind::Missing, Action::Created, reason);
                }
                Repaired::Applied {
                    outcome: Outcome::Tombstoned,
                    ..
                } => {
                    let reason = "it was deleted in Convex before; if it is to come back: \
                                  `clerk-convex-sync sync user ID --revive`";
                    self.note(key, DriftKind::Missing, Action::None, reason.into());
                }
                // Somebody was faster.
                Repaired::Applied { .. } | Repaired::Overtaken => {}
                Repaired::Refused { code, reason } => {
                    self.failed(key, DriftKind::Missing, format!("{reason} ({code})"));
                }
                Repaired::Away { reason } => return Err(reason),
            }
        }
        Ok(())
    }

    /// Rows whose user Clerk does not list, which the brake has released.
    pub async fn orphans(&mut self, keys: &[Key]) -> Result<(), String> {
        for keys in keys.chunks(DELETIONS) {
            let mut repairs = Vec::with_capacity(keys.len());
            for key in keys {
                let record = RecordKey::new(Table::Users, key.clone());
                // Found: it was not in the list for another reason, and stays.
                if let Lookup::Gone(gone) = self.ends.clerk.get_user(key).await.map_err(words)? {
                    let wish = Wish::Delete(gone);
                    let why = Some(DriftKind::Orphaned);
                    repairs.push(Repair { record, wish, why });
                }
            }
            let records: Vec<RecordKey> = repairs.iter().map(|one| one.record.clone()).collect();
            let told = causes(self.known, &records).await;
            let told: Vec<(Key, Cause)> = records
                .into_iter()
                .map(|record| record.key)
                .zip(told)
                .collect();
            if !self.repair {
                for (key, cause) in told {
                    self.note(key, DriftKind::Orphaned, Action::None, gone(cause));
                }
                continue;
            }
            let mut away = Ok(());
            for ((key, cause), done) in told.into_iter().zip(self.offer(repairs).await?) {
                // What went counts for the brake, whatever became of the others.
                away = away.and(self.removed(key, cause, done));
            }
            away?;
        }
        Ok(())
    }

    fn removed(&mut self, key: Key, cause: Cause, done: Repaired) -> Result<(), String> {
        match done {
            Repaired::Applied {
                outcome: Outcome::Deleted,
                ..
            } => {
                self.found.figures.repaired += 1;
                self.found.removed += 1;
                // When it was deleted, nobody can say.
                self.found.missed.push((cause, i64::MIN));
                self.note(key, DriftKind::Orphaned, Action::Deleted, gone(cause));
            }
            // A delivery was faster.
            Repaired::Applied { .. } | Repaired::Overtaken => {}
            Repaired::Refused { code, reason } => {
                self.failed(key, DriftKind::Orphaned, format!("{reason} ({code})"));
            }
            Repaired::Away { reason } => return Err(reason),
        }
        Ok(())
    }

    /// Rows that stay because the brake holds them.
    pub fn held(&mut self, keys: &[Key], reason: &str) {
        for key in keys {
            self.found.figures.held += 1;
            let reason = format!("held: {reason}");
            self.note(key.clone(), DriftKind::Orphaned, Action::Held, reason);
        }
    }

    /// Users with several rows; a census removes none.
    pub fn duplicates(&mut self, keys: Vec<Key>) {
        for key in keys {
            let reason = "several rows have this key; a full diff merges them if repair.merge_duplicates is on".into();
            self.note(key, DriftKind::Duplicate, Action::None, reason);
        }
    }

    /// True if this key shows users of whom Convex has rows: then what it calls gone is gone. Another
    /// instance's key would call all of them gone.
    pub async fn key_is_ours(&self) -> Result<bool, String> {
        let page = UserPage {
            order: Order::UpdatedDescending,
            created: CreatedBetween::default(),
            starting_after: None,
            offset: 0,
            limit: MAX_IDS as u32,
        };
        let users = self.ends.clerk.list_users(&page).await.map_err(words)?;
        let keys: Vec<Key> = users.iter().map(|user| user.key().clone()).collect();
        let rows = self
            .ends
            .reader
            .get(Table::Users, &keys)
            .await
            .map_err(words)?;
        Ok(!rows.rows.is_empty())
    }

    async fn offer(&mut self, repairs: Vec<Repair>) -> Result<Vec<Repaired>, String> {
        let count = repairs.len();
        let done = self.ends.lane.apply(repairs, Origin::Repair).await;
        let done = done.filter(|done| done.len() == count);
        Ok(done.ok_or("the daemon ends, or its applier has failed")?)
    }

    fn rows(&self, user: &RawRecord) -> Result<Vec<Upsert>, mapping::MapError> {
        let mapped = mapping::record(Table::Users, user.text(), &self.ends.rules)?;
        let rows = mapped.into_iter().map(|mapped| mapped.upsert);
        Ok(rows
            .filter(|row| self.ends.tables.contains(&row.table))
            .collect())
    }

    async fn causes(&self, users: &[RawRecord]) -> Vec<Cause> {
        let records: Vec<RecordKey> = users.iter().map(RawRecord::name).collect();
        causes(self.known, &records).await
    }

    /// Why a row is missing, and what counts if a delivery should have told.
    fn explain(&self, user: &RawRecord, told: Cause) -> (String, Option<(Cause, i64)>) {
        let age = (self.ends.now)().saturating_sub(user.version().ms());
        if age < GRACE_MS {
            return ("found before its delivery".into(), None);
        }
        let record = user.name();
        let seen = self.ends.state.ledger_get(&record);
        let cause = if seen.is_some_and(|seen| !seen.deleted) {
            Cause::Overwritten
        } else {
            told
        };
        (cause.words().into(), Some((cause, user.version().ms())))
    }

    fn failed(&mut self, key: Key, kind: DriftKind, reason: String) {
        self.found.figures.failed += 1;
        self.note(key, kind, Action::Failed, reason);
    }

    fn note(&mut self, key: Key, kind: DriftKind, action: Action, reason: String) {
        *self.found.figures.of_mut(kind) += 1;
        if self.found.differences.len() < Report::MAX_DIFFERENCES {
            self.found.differences.push(Difference {
                table: Table::Users,
                key,
                kind,
                fields: Vec::new(),
                action,
                reason: Some(reason),
            });
        }
    }
}

fn gone(cause: Cause) -> String {
    format!("Clerk says that it does not exist; {}", cause.words())
}

fn words(error: impl std::error::Error) -> String {
    error.to_string()
}
