//! The model of Convex: rows, tombstones, and the contract's way to apply changes.
//!
//! A call is a transaction: all of it or nothing. It may be refused, fail, be carried out without an answer, or
//! find nobody there; what comes back is what HTTP would bring, and the program's own reading of it decides
//! what that means. An app may do things to the rows behind everybody's back.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::Duration,
};

use clerk_convex_sync::{
    convex::{answer, deployment::CallError},
    model::{Key, Outcome, Table},
    outbound::ExchangeError,
};
use serde::Deserialize;
use tokio::sync::oneshot;

use super::{
    clerk::{Parents, hangs_on, table_of},
    faults::Breach,
    machine::WORLD,
    world::World,
};

/// A row as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub created_at: Option<i64>,
    pub version: i64,
    pub content: u32,
    pub parents: Option<Parents>,
}

/// One change of a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    Upsert {
        created_at: i64,
        version: i64,
        content: u32,
        parents: Option<Parents>,
    },
    Delete,
}

/// On whose behalf a call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behalf {
    Delivery,
    /// A run, by its number.
    Run(u64),
    /// Nobody's: a membership goes with its user or its organization.
    Cascade,
}

/// See the module's words.
#[derive(Default)]
pub struct Convex {
    pub rows: BTreeMap<Key, Row>,
    pub tombstones: BTreeSet<Key>,
    pub poison: BTreeSet<Key>,
    /// Rows that the app has had its hands on.
    pub tampered: BTreeSet<Key>,
    pub down: bool,
}

struct Reply {
    status: u16,
    retry_after: Option<Duration>,
    body: String,
}

#[derive(Deserialize)]
struct Outcomes {
    outcomes: Vec<One>,
}

#[derive(Deserialize)]
struct One {
    outcome: Outcome,
}

impl Convex {
    /// How many rows a table has.
    pub fn rows_of(&self, table: Table) -> u64 {
        self.rows
            .keys()
            .filter(|key| table_of(key) == table)
            .count() as u64
    }

    /// Deletes the memberships of a user or an organization, and answers them.
    fn bury_members_of(&mut self, parent: &Key) -> Vec<(Key, Row)> {
        let its = self.rows.iter();
        let its = its.filter(|(_, row)| hangs_on(row.parents.as_ref(), parent));
        let its: Vec<Key> = its.map(|(key, _)| key.clone()).collect();
        self.tombstones.extend(its.iter().cloned());
        its.into_iter()
            .filter_map(|key| self.rows.remove_entry(&key))
            .collect()
    }
}

impl World {
    /// Calls `apply`: what became of each change, as far as an answer came.
    pub async fn apply(
        self: &Rc<Self>,
        changes: Vec<(Key, Write)>,
        behalf: Behalf,
    ) -> Result<Vec<Outcome>, CallError> {
        let count = changes.len();
        let (answer, answered) = oneshot::channel();
        let world = Rc::clone(self);
        // The call is on its way, whatever becomes of the caller.
        self.machine.spawn(WORLD, async move {
            let slow = world.faults().convex_slow;
            world.machine.sleep(world.machine.between(1, slow)).await;
            world.checks.borrow_mut().called();
            let reply = world.reply(&changes, behalf);
            world.machine.sleep(world.machine.between(1, slow)).await;
            let _ = answer.send(reply);
        });
        let Ok(Some(reply)) = answered.await else {
            return Err(ExchangeError::Interrupted.into());
        };
        if self.is_broken(Breach::StatusOnly) && reply.status == 200 {
            return Ok(vec![Outcome::Updated; count]);
        }
        let value = answer::read(reply.status, reply.retry_after, reply.body.as_bytes())?;
        let outcomes: Outcomes = serde_json::from_str(value.get()).expect("outcomes");
        Ok(outcomes
            .outcomes
            .into_iter()
            .map(|one| one.outcome)
            .collect())
    }

    /// What Convex answers; `None`: nothing, though it may have done what it was asked.
    fn reply(&self, changes: &[(Key, Write)], behalf: Behalf) -> Option<Reply> {
        let faults = self.faults();
        let retry_after = faults.retry_after.then_some(Duration::from_secs(2));
        let refused = |status, body: String| {
            Some(Reply {
                status,
                retry_after,
                body,
            })
        };
        if self.convex.borrow().down {
            return match self.machine.chance(0.5) {
                true => None,
                false => refused(503, r#"{"code":"Overloaded"}"#.into()),
            };
        }
        if self.machine.chance(faults.convex_fails) {
            return match self.machine.pick(3) {
                0 => None,
                1 => refused(429, r#"{"code":"TooManyWrites"}"#.into()),
                _ => refused(503, "<html>".into()),
            };
        }
        if let Some(body) = self.poisoned(changes) {
            return Some(Reply {
                status: 200,
                retry_after: None,
                body,
            });
        }
        let outcomes: Vec<Outcome> = changes
            .iter()
            .map(|(key, write)| self.carry_out(key, write, behalf))
            .collect();
        self.machine
            .say(|| format!("convex {behalf:?} {changes:?} {outcomes:?}"));
        if self.machine.chance(faults.convex_unheard) {
            self.machine.say(|| "convex's answer is lost".into());
            return None;
        }
        let named = outcomes.iter().zip(changes).map(|(outcome, (key, _))| {
            let outcome = outcome.name();
            format!(r#"{{"key":"{key}","outcome":"{outcome}"}}"#)
        });
        let named: Vec<String> = named.collect();
        Some(Reply {
            status: 200,
            retry_after: None,
            body: format!(
                r#"{{"status":"success","value":{{"outcomes":[{}]}}}}"#,
                named.join(",")
            ),
        })
    }

    /// A change that no deployment would take, told as this one tells it.
    fn poisoned(&self, changes: &[(Key, Write)]) -> Option<String> {
        let convex = self.convex.borrow();
        let (key, _) = changes.iter().find(|(key, write)| {
            matches!(write, Write::Upsert { .. }) && convex.poison.contains(key)
        })?;
        self.checks.borrow_mut().refused(key);
        self.machine
            .say(|| format!("convex refuses {key} in a call of {}", changes.len()));
        Some(match self.faults().redacted {
            true => {
                r#"{"status":"error","errorMessage":"[Request ID: abc123] Server Error"}"#.into()
            }
            false => format!(
                r#"{{"status":"error","errorMessage":"Uncaught ConvexError","errorData":{{"code":"invalid_field","key":"{key}"}}}}"#
            ),
        })
    }

    /// One change, by the contract.
    fn carry_out(&self, key: &Key, write: &Write, behalf: Behalf) -> Outcome {
        let unguarded = self.is_broken(Breach::NoGuard);
        let mut convex = self.convex.borrow_mut();
        let before = convex.rows.get(key).cloned();
        let buried = (convex.tombstones.contains(key)
            || self.hangs_in_the_air(&convex, key, write))
            && !unguarded;
        let mut members = Vec::new();
        let outcome = match (write, &before) {
            (Write::Delete, before) => {
                if !self.is_broken(Breach::NoCascade) {
                    members = convex.bury_members_of(key);
                }
                convex.rows.remove(key);
                convex.tombstones.insert(key.clone());
                if before.is_some() {
                    Outcome::Deleted
                } else {
                    Outcome::Absent
                }
            }
            (Write::Upsert { .. }, _) if buried => {
                convex.tombstones.insert(key.clone());
                Outcome::Tombstoned
            }
            (Write::Upsert { version, .. }, Some(row)) if *version < row.version && !unguarded => {
                Outcome::Stale
            }
            (
                Write::Upsert {
                    created_at,
                    version,
                    content,
                    parents,
                },
                before,
            ) => {
                let row = Row {
                    created_at: Some(*created_at),
                    version: *version,
                    content: *content,
                    parents: parents.clone(),
                };
                convex.rows.insert(key.clone(), row);
                match before {
                    None => Outcome::Created,
                    Some(before) if before.content == *content => Outcome::Unchanged,
                    Some(_) => Outcome::Updated,
                }
            }
        };
        let after = convex.rows.get(key).cloned();
        drop(convex);
        self.applied(key, write, before.as_ref(), after.as_ref(), behalf);
        for (member, row) in members {
            self.applied(&member, &Write::Delete, Some(&row), None, Behalf::Cascade);
        }
        outcome
    }

    /// True of a new membership whose user or organization was deleted: it ends as if it had been there then.
    fn hangs_in_the_air(&self, convex: &Convex, key: &Key, write: &Write) -> bool {
        let Write::Upsert {
            parents: Some((organization, user)),
            ..
        } = write
        else {
            return false;
        };
        let mut parents = [organization, user].into_iter();
        let gone = parents.any(|parent| convex.tombstones.contains(parent));
        gone && !convex.rows.contains_key(key) && !self.is_broken(Breach::NoCascade)
    }

    /// A page of rows behind a place, in the order of the contract.
    pub async fn list_rows(
        self: &Rc<Self>,
        table: Table,
        after: Option<(Option<i64>, Key)>,
        limit: usize,
    ) -> Result<Vec<(Key, Row)>, CallError> {
        self.query().await?;
        let convex = self.convex.borrow();
        let of_table = convex.rows.iter().filter(|(key, _)| table_of(key) == table);
        let mut all: Vec<(&Key, &Row)> = of_table.collect();
        all.sort_by(|a, b| (a.1.created_at, a.0).cmp(&(b.1.created_at, b.0)));
        let behind = |(key, row): &(&Key, &Row)| {
            let place = (row.created_at, *key);
            after.as_ref().is_none_or(|(at, key)| place > (*at, key))
        };
        let page = all.into_iter().filter(behind).take(limit);
        Ok(page.map(|(key, row)| (key.clone(), row.clone())).collect())
    }

    /// The rows of these keys.
    pub async fn get_rows(self: &Rc<Self>, keys: &[Key]) -> Result<Vec<(Key, Row)>, CallError> {
        self.query().await?;
        let convex = self.convex.borrow();
        let found = keys
            .iter()
            .filter_map(|key| Some((key.clone(), convex.rows.get(key)?.clone())));
        Ok(found.collect())
    }

    /// A query takes its time, and may fail.
    pub async fn query(self: &Rc<Self>) -> Result<(), CallError> {
        let slow = self.faults().convex_slow;
        self.machine.sleep(self.machine.between(1, slow)).await;
        let away = self.convex.borrow().down || self.machine.chance(self.faults().convex_fails);
        match away {
            true => Err(ExchangeError::Interrupted.into()),
            false => Ok(()),
        }
    }

    /// The app, or a person, does something to a row that nobody told of.
    pub fn tamper(&self) {
        let mut convex = self.convex.borrow_mut();
        if convex.rows.is_empty() {
            return;
        }
        let at = self.machine.pick(convex.rows.len());
        let key = convex.rows.keys().nth(at).expect("one of them").clone();
        let what = self.machine.pick(3);
        match (what, convex.rows.get_mut(&key)) {
            (0, _) => drop(convex.rows.remove(&key)),
            (1, Some(row)) => row.created_at = None,
            (_, Some(row)) => row.content = 0,
            (_, None) => {}
        }
        self.machine
            .say(|| format!("the app tampers with {key}, way {what}"));
        self.tampered_with(&key);
        convex.tampered.insert(key);
    }
}
