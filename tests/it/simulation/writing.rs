//! Writing to Convex: packing, calling, splitting, and what the ledger learns of it; deliveries and repairs.
//!
//! As `apply/call.rs` and `apply/repairs.rs`; the packing, what is left out, the meaning of a failure, the waits of a
//! full deployment, the permits and what is learnt are the program's own.

use std::{num::NonZeroUsize, rc::Rc, time::Duration};

use clerk_convex_sync::{
    apply::{
        batch::{Call, Calls, Size},
        book::whole_ms,
        failure::{MISSING_HOLD, Meaning, meaning},
        guard,
    },
    convex::{circuit::Ticket, deployment::CallError},
    model::{ContentHash, Outcome, RecordKey, Standing, Version},
    store::state::Seen,
};

use super::{
    clerk::{Record, record_of},
    convex::{Behalf, Write},
    daemon::Daemon,
    faults::Breach,
};

/// How long a repair waits for Convex in all.
const PATIENCE: i64 = 30_000;

/// Something to be written, and whose it is.
pub struct Load<T> {
    pub tag: T,
    pub record: RecordKey,
    pub write: Write,
    pub seen: Seen,
}

/// What became of it.
pub enum Fate {
    Written(Outcome),
    Refused(String),
    Overtaken,
    Hold(Duration),
}

/// What a scan wants of a record.
pub struct Repair {
    pub record: RecordKey,
    /// As it should be; `None`: gone by Clerk's own word.
    pub wish: Option<Record>,
}

/// What became of a repair.
#[derive(Debug, PartialEq, Eq)]
pub enum Repaired {
    Applied(Outcome),
    Overtaken,
    Refused,
}

/// Nothing is written at present.
#[derive(Debug)]
pub struct Nowhere;

type Done<T> = Vec<(Load<T>, Fate)>;

impl Daemon {
    /// Writes all of this. Every load comes back exactly once.
    pub async fn write<T>(
        self: &Rc<Self>,
        loads: Vec<Load<T>>,
        urgent: bool,
        behalf: Behalf,
    ) -> Done<T> {
        let most = if urgent {
            self.world.drawn.batch
        } else {
            1_000
        };
        let bounds = Size::call_of(NonZeroUsize::new(most).expect("one at least"));
        let mut done = Vec::with_capacity(loads.len());
        let size = Size {
            changes: 1,
            bytes: 200,
            ranges: 5,
        };
        let mut calls = Calls::pack(loads, bounds, |_| size);
        let mut there = false;
        while let Some(mut call) = calls.next_call() {
            let permit = self.permits.acquire(urgent).await;
            for load in &call.items {
                self.certain.borrow_mut().begin(&load.record);
            }
            self.leave_out_overtaken(&mut call, behalf, &mut done);
            if call.items.is_empty() {
                continue;
            }
            let ticket = match self.convex.admit(&self.world) {
                Ok(ticket) => ticket,
                Err(wait) => {
                    for load in &call.items {
                        self.certain.borrow_mut().end(&load.record, None);
                    }
                    hold(call.items, wait, &mut done);
                    continue;
                }
            };
            let changes = call.items.iter();
            let changes = changes.map(|load| (load.record.key.clone(), load.write.clone()));
            let sent = self.world.apply(changes.collect(), behalf).await;
            drop(permit);
            match sent {
                Ok(outcomes) => {
                    there = true;
                    self.convex.answered(ticket);
                    self.throttle.borrow_mut().passed();
                    for (load, outcome) in call.items.into_iter().zip(outcomes) {
                        let known = || self.seen(&load.record);
                        let learnt = guard::learnt(load.seen, outcome, urgent, known);
                        if let Some(learnt) = learnt {
                            self.remember(&load.record, learnt);
                        }
                        let certain = &self.certain;
                        certain.borrow_mut().end(&load.record, learnt);
                        done.push((load, Fate::Written(outcome)));
                    }
                }
                Err(error) => {
                    for load in &call.items {
                        self.certain.borrow_mut().end(&load.record, None);
                    }
                    let away = self.judge(&error, ticket, &mut there).await;
                    failed(away, &error, call, &mut calls, &mut done);
                }
            }
        }
        done
    }

    /// As in `apply/call.rs`.
    fn leave_out_overtaken<T>(&self, call: &mut Call<Load<T>>, behalf: Behalf, done: &mut Done<T>) {
        if behalf == Behalf::Delivery || self.world.is_broken(Breach::NoGuard) {
            return;
        }
        let late = call.leave_out(|load| guard::is_late(self.seen(&load.record), load.seen, false));
        for load in late {
            self.certain.borrow_mut().end(&load.record, None);
            done.push((load, Fate::Overtaken));
        }
    }

    pub fn remember(&self, record: &RecordKey, seen: Seen) {
        let records = self.world.drawn.ledger_records;
        let mut disk = self.world.disk.borrow_mut();
        let ledger = &mut disk.state.now.ledger;
        ledger.put(record.clone(), seen, records);
    }

    /// How long Convex is away; `None`: it is not, a record is at fault.
    async fn judge(&self, error: &CallError, ticket: Ticket, there: &mut bool) -> Option<Duration> {
        match meaning(error) {
            Meaning::Throttled => {
                self.convex.answered(ticket);
                let machine = &self.world.machine;
                let wait = self.throttle.borrow_mut().refused(machine.instant());
                machine.say(|| format!("convex takes no more bytes: {wait:?}"));
                Some(wait)
            }
            Meaning::Away(wait) => Some(self.convex.failed(&self.world, ticket, wait)),
            Meaning::Redacted if !*there && self.world.query().await.is_err() => {
                let hold = Some(MISSING_HOLD);
                Some(self.convex.failed(&self.world, ticket, hold))
            }
            Meaning::Redacted | Meaning::Refused(_) => {
                *there |= meaning(error) == Meaning::Redacted;
                self.convex.answered(ticket);
                None
            }
        }
    }

    /// Puts repairs into the second lane, and waits.
    pub async fn repair(
        self: &Rc<Self>,
        repairs: Vec<Repair>,
        run: u64,
    ) -> Result<Vec<Repaired>, Nowhere> {
        let mut answers: Vec<Option<Repaired>> = repairs.iter().map(|_| None).collect();
        let mut works = Vec::new();
        for (place, repair) in repairs.into_iter().enumerate() {
            match self.prepare_repair(place, repair) {
                Some(work) => works.push(work),
                None => answers[place] = Some(Repaired::Overtaken),
            }
        }
        let mut until = None;
        while !works.is_empty() {
            let mut wait = Duration::ZERO;
            let loads = std::mem::take(&mut works);
            for (work, fate) in self.write(loads, false, Behalf::Run(run)).await {
                match fate {
                    Fate::Written(outcome) => answers[work.tag] = Some(Repaired::Applied(outcome)),
                    Fate::Refused(_) => answers[work.tag] = Some(Repaired::Refused),
                    Fate::Overtaken => answers[work.tag] = Some(Repaired::Overtaken),
                    Fate::Hold(hold) => {
                        wait = wait.max(hold);
                        works.push(work);
                    }
                }
            }
            let machine = &self.world.machine;
            let until = *until.get_or_insert(machine.now() + PATIENCE);
            if !works.is_empty() && machine.now() >= until {
                return Err(Nowhere);
            }
            if !works.is_empty() {
                let wait = whole_ms(wait);
                machine.sleep(wait.min(until - machine.now())).await;
            }
        }
        Ok(answers.into_iter().flatten().collect())
    }

    fn prepare_repair(&self, place: usize, repair: Repair) -> Option<Load<usize>> {
        let Repair { record, wish } = repair;
        let (write, standing, hash) = match wish {
            Some(wish) => {
                let version = Version(wish.version);
                let known = self.seen(&record);
                let unguarded = self.world.is_broken(Breach::NoGuard);
                if guard::overtaken(known, version, false) && !unguarded {
                    return None;
                }
                let hash = wish.hash();
                (Write::of(wish), Standing::alive(version), hash)
            }
            None => {
                let now = Version(self.world.machine.now());
                (Write::Delete, Standing::gone(now), ContentHash([0; 16]))
            }
        };
        Some(Load {
            tag: place,
            record,
            write,
            seen: Seen {
                version: standing.version,
                deleted: standing.deleted,
                hash,
            },
        })
    }
}

impl Repair {
    /// The record as Clerk has it is to be written.
    pub fn of(record: Record) -> Repair {
        Repair {
            record: record_of(&record.key),
            wish: Some(record),
        }
    }
}

impl Write {
    /// The record is to stand there.
    pub fn of(record: Record) -> Write {
        Write::Upsert {
            created_at: record.created_at,
            version: record.version,
            content: record.content,
            parents: record.parents,
        }
    }
}

fn failed<T>(
    away: Option<Duration>,
    error: &CallError,
    call: Call<Load<T>>,
    calls: &mut Calls<Load<T>>,
    done: &mut Done<T>,
) {
    if let Some(wait) = away {
        hold(call.items, wait, done);
        return hold(calls.take(), wait, done);
    }
    let place = match meaning(error) {
        Meaning::Refused(Some(key)) => call.items.iter().position(|load| load.record.key == *key),
        _ => None,
    };
    let bad = match place {
        Some(place) => calls.without(call, place),
        None => calls.split(call),
    };
    let refused = || Fate::Refused(error.code().to_owned());
    done.extend(bad.map(|load| (load, refused())));
}

fn hold<T>(loads: Vec<Load<T>>, wait: Duration, done: &mut Done<T>) {
    done.extend(loads.into_iter().map(|load| (load, Fate::Hold(wait))));
}
