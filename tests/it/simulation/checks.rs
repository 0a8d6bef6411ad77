//! What must hold in every world, at every step and at the end.
//!
//! Watches from outside: what Clerk said, what was acknowledged, what was written and when. Believes nothing
//! that the driver says about itself.

use std::collections::{BTreeMap, BTreeSet};

use clerk_convex_sync::{
    apply::{ending::Final, guard},
    model::{Key, RecordKey, Standing, Table},
    reconcile::repair::brake::Limits,
};

use super::{
    clerk::{Message, OURS, record_of, table_of},
    convex::{Behalf, Row, Write},
    disk::Stored,
    world::World,
};

/// See the module's words.
#[derive(Default)]
pub struct Checks {
    /// The last that Clerk said about a record.
    last: BTreeMap<Key, u64>,
    acknowledged: BTreeSet<u64>,
    /// Entries without an end, by record.
    open: BTreeMap<RecordKey, BTreeMap<u64, Option<Standing>>>,
    in_flight: BTreeSet<RecordKey>,
    /// Before this, a refused record may not be tried again.
    not_before: BTreeMap<RecordKey, i64>,
    /// How often a record was really refused.
    refusals: BTreeMap<RecordKey, u32>,
    /// The highest version that a row has had.
    highest: BTreeMap<Key, i64>,
    /// All that Clerk said of a record: versions and contents.
    told: BTreeMap<Key, Vec<(i64, u32)>>,
    gone: BTreeSet<Key>,
    calls: u64,
    outage: Option<Outage>,
    runs: BTreeMap<u64, Run>,
    /// Starts that the clock has a right to, and those under way, by job.
    turns: [(bool, u32); 2],
    /// Crashes, and those after which the ledger may lack something.
    pub crashes: u64,
    pub forgotten: u64,
    /// Records of which a delivery has written a row.
    pub written: BTreeSet<Key>,
}

struct Outage {
    since: i64,
    calls: u64,
    lives: u32,
}

#[derive(Default)]
struct Run {
    approved: bool,
    tables: BTreeMap<Table, Removed>,
    writes: u64,
}

/// What a run has removed of a table.
#[derive(Default)]
struct Removed {
    most_rows: u64,
    deletions: u64,
}

impl Checks {
    pub fn said(&mut self, message: &Message) {
        if message.instance == OURS {
            self.last.insert(message.key.clone(), message.id);
            let told = self.told.entry(message.key.clone()).or_default();
            told.push((message.standing.version.ms(), message.content));
        }
    }

    /// That message says all there is to say about this record.
    pub fn said_by(&mut self, key: Key, message: u64) {
        self.last.insert(key, message);
    }

    pub fn acknowledged(&mut self, message: u64) {
        self.acknowledged.insert(message);
    }

    /// A call to `apply` has reached Convex.
    pub fn called(&mut self) {
        self.calls += 1;
        if let Some(outage) = &mut self.outage {
            outage.calls += 1;
        }
    }

    /// Convex refused a call for this key.
    pub fn refused(&mut self, key: &Key) {
        *self.refusals.entry(record_of(key)).or_default() += 1;
    }

    /// Clerk's answer spoke against its own event.
    pub fn contradicted(&mut self, record: &RecordKey) {
        *self.refusals.entry(record.clone()).or_default() += 1;
    }

    pub fn run_begins(&mut self, run: u64, approved: bool) {
        let begun = Run {
            approved,
            ..Run::default()
        };
        self.runs.insert(run, begun);
    }

    pub fn outage_begins(&mut self, now: i64, lives: u32) {
        self.outage = Some(Outage {
            since: now,
            calls: 0,
            lives,
        });
    }

    /// The queue has taken an entry in. True if it is the only one of its record.
    pub fn taken_in(&mut self, stored: &Stored) -> bool {
        let Some(record) = stored.meta.record.clone() else {
            return true;
        };
        let standing = stored.message.as_ref().map(|message| message.standing);
        let open = self.open.entry(record).or_default();
        open.insert(stored.meta.seq, standing);
        open.len() == 1
    }

    /// The process is gone, and with it what it had in hand.
    pub fn crashed(&mut self) {
        self.crashes += 1;
        self.open.clear();
        self.in_flight.clear();
        self.not_before.clear();
        self.turns = Default::default();
    }

    /// The clock may start this job once.
    pub fn may_start(&mut self, job: usize) {
        self.turns[job].0 = true;
    }

    pub fn start_ended(&mut self, job: usize) {
        self.turns[job].1 -= 1;
    }
}

impl World {
    pub fn must(&self, holds: bool, words: impl FnOnce() -> String) {
        if !holds {
            self.machine.violated(words());
        }
    }

    /// A record was given out to be worked on.
    pub fn leased(&self, record: &RecordKey) {
        let mut checks = self.checks.borrow_mut();
        let alone = checks.in_flight.insert(record.clone());
        let not_before = checks.not_before.remove(record);
        drop(checks);
        self.must(alone, || format!("two work on {record} at once"));
        let early = not_before.is_some_and(|at| self.machine.now() < at);
        self.must(!early, || {
            format!("{record} was not left alone for long enough")
        });
    }

    pub fn given_back(&self, record: &RecordKey) {
        self.checks.borrow_mut().in_flight.remove(record);
    }

    /// A refusal has cost an attempt; the next try is not before the least wait for it.
    pub fn attempt(&self, record: &RecordKey, attempts: u32, more: bool) {
        let mut checks = self.checks.borrow_mut();
        let genuine = checks.refusals.get(record).copied().unwrap_or(0);
        if more {
            let least = (self.delay_ms << (attempts - 1)) * 4 / 5;
            let at = self.machine.now() + least;
            checks.not_before.insert(record.clone(), at);
        } else {
            checks.not_before.remove(record);
        }
        drop(checks);
        self.must(attempts <= genuine, || {
            format!("{record} has paid {attempts} attempts for {genuine} refusals")
        });
        self.must(attempts <= self.max_attempts + 1, || {
            format!("{record} was tried {attempts} times")
        });
    }

    /// A change was carried out.
    pub fn applied(
        &self,
        key: &Key,
        write: &Write,
        before: Option<&Row>,
        after: Option<&Row>,
        behalf: Behalf,
    ) {
        let table = table_of(key);
        let rows = self.convex.borrow().rows_of(table);
        let mut checks = self.checks.borrow_mut();
        let content = |row: &Row| row.content;
        if let (Behalf::Run(run), true) = (behalf, before.map(content) != after.map(content)) {
            checks.runs.entry(run).or_default().writes += 1;
        }
        if *write == Write::Delete {
            checks.gone.insert(key.clone());
            let living = self.clerk.borrow().get(key).is_some();
            self.must(!living, || format!("{key} was deleted and is alive"));
            if let (Behalf::Run(run), Some(_)) = (behalf, before) {
                let run = checks.runs.entry(run).or_default();
                let removed = run.tables.entry(table).or_default();
                removed.most_rows = removed.most_rows.max(rows + 1);
                removed.deletions += 1;
                let deletions = removed.deletions;
                let allowed = LIMITS.allowed(removed.most_rows + deletions);
                let most = run.approved || deletions <= allowed;
                self.must(most, || {
                    format!("a run deleted {deletions} rows, {allowed} at most may go")
                });
            }
        }
        if let Some(after) = after {
            let resurrected = checks.gone.contains(key);
            self.must(!resurrected, || format!("{key} is back from the dead"));
            let highest = checks.highest.entry(key.clone()).or_insert(i64::MIN);
            let (was, is) = (*highest, after.version);
            *highest = was.max(is);
            let forth = was <= is || before.is_some_and(|row| row.content == after.content);
            self.must(forth, || {
                format!("{key} went back from version {was} to {is}")
            });
        }
    }

    /// A row is not as it was written; what comes next may be anything.
    pub fn tampered_with(&self, key: &Key) {
        self.checks.borrow_mut().highest.remove(key);
    }

    /// An entry has come to its end: was there reason to?
    pub fn settled(&self, stored: &Stored, end: Final) {
        let seq = stored.meta.seq;
        let mut checks = self.checks.borrow_mut();
        let others = stored.meta.record.as_ref();
        let others = others.and_then(|record| checks.open.get_mut(record));
        let mut others_wait = false;
        if let Some(others) = others {
            others.remove(&seq);
            let this = stored.message.as_ref().map(|message| message.standing);
            let newer = |other: &Option<Standing>| other.zip(this).is_none_or(|(a, b)| a >= b);
            others_wait = others.values().any(newer);
        }
        if let (Final::Applied(outcome), Some(message)) = (end, &stored.message)
            && guard::leaves_a_row(outcome)
        {
            checks.written.insert(message.key.clone());
        }
        drop(checks);
        let Some(message) = &stored.message else {
            return;
        };
        let exact = self.drawn.lag == 0 && self.drawn.ledger_records > 100;
        if end == Final::Known && exact && !self.convex.borrow().tampered.contains(&message.key) {
            // Only the ledger knows this version, and nothing older may be written from now on.
            let mut checks = self.checks.borrow_mut();
            let highest = checks.highest.entry(message.key.clone()).or_default();
            *highest = (*highest).max(message.standing.version.ms());
        }
        let foreign = message.instance != OURS;
        let just = match end {
            // Whether it was ours could not be told any more.
            Final::Foreign => foreign || self.clerk.borrow().deleted.contains(&message.key),
            Final::Superseded => self.is_covered(message) || others_wait,
            _ => foreign || self.is_covered(message),
        };
        self.must(just, || {
            format!("entry {seq} ended as {end:?}, and Convex does not show it: {message:?}")
        });
    }

    /// True if what Convex holds is at least what this message said.
    fn is_covered(&self, message: &Message) -> bool {
        let convex = self.convex.borrow();
        let key = &message.key;
        if convex.tampered.contains(key) || convex.tombstones.contains(key) {
            return true;
        }
        let Some(row) = convex.rows.get(key) else {
            return message.standing.deleted;
        };
        let version = message.standing.version;
        if message.standing.deleted {
            return false;
        }
        // What was there may be right again, under a version that only the ledger knows.
        let checks = self.checks.borrow();
        let mut later = checks.told.get(key).into_iter().flatten();
        let again = later.any(|(at, content)| *at >= version.ms() && *content == row.content);
        row.version >= version.ms() || again
    }

    /// What was acknowledged is in the journal after a crash.
    pub fn nothing_acknowledged_is_lost(&self) {
        let there = self.disk.borrow().journal.messages();
        let checks = self.checks.borrow();
        let lost: Vec<&u64> = checks.acknowledged.difference(&there).collect();
        self.must(lost.is_empty(), || {
            format!("acknowledged, and not there after a crash: {lost:?}")
        });
    }

    /// While Convex was away it was asked only now and then.
    pub fn outage_ends(&self, lives: u32) {
        let Some(outage) = self.checks.borrow_mut().outage.take() else {
            return;
        };
        /// Waits double from a second, half of which may be luck, to fifteen.
        const PROBE_MS: i64 = 7_000;
        let took = self.machine.now() - outage.since;
        let probes = u64::try_from(took / PROBE_MS).unwrap_or(0) + 6;
        // Until it is known that it is away, as many as may be under way, twice.
        let first = 2 * self.faults().concurrency.max(1) as u64 + 6;
        let most = (probes + first) * u64::from(lives - outage.lives + 1);
        self.must(outage.calls <= most, || {
            format!(
                "{} calls in an outage of {took} ms, {most} at most",
                outage.calls
            )
        });
    }

    /// The clock starts a job.
    pub fn starts(&self, job: usize) {
        let mut checks = self.checks.borrow_mut();
        let (may, running) = checks.turns[job];
        checks.turns[job] = (false, running + 1);
        drop(checks);
        self.must(running == 0, || format!("two runs of job {job} at once"));
        self.must(may, || format!("job {job} began without a reason"));
    }

    /// Nothing waits any more: each record whose last word was acknowledged is as that word says.
    pub fn deliveries_alone_converge(&self) {
        let (checks, clerk) = (self.checks.borrow(), self.clerk.borrow());
        for (key, message) in &checks.last {
            let told = checks.acknowledged.contains(message);
            // A tie is settled by asking, which neither a lagging replica nor a forgetful ledger allows.
            let doubt = clerk.tied.contains(key) && (checks.forgotten > 0 || self.drawn.lag > 0);
            if !told || doubt || self.convex.borrow().tampered.contains(key) {
                continue;
            }
            let has = clerk.get(key).map(|record| record.content);
            let row = self.convex.borrow().rows.get(key).map(|row| row.content);
            self.must(has == row, || {
                format!("all was told about {key}: Clerk has {has:?}, Convex {row:?}")
            });
        }
    }

    /// A run that found nothing has changed nothing.
    pub fn found_nothing(&self, run: u64) {
        let writes = self.checks.borrow().runs.get(&run).map(|run| run.writes);
        self.must(writes.is_none_or(|writes| writes == 0), || {
            format!("run {run} found nothing and has changed {writes:?} rows")
        });
    }

    /// Both sides are the same.
    pub fn both_sides_agree(&self) {
        let (clerk, convex) = (self.clerk.borrow(), self.convex.borrow());
        let tables = [Table::Users, Table::Organizations, Table::Memberships];
        let has = tables.iter().flat_map(|table| clerk.of(*table));
        let has: BTreeMap<&Key, u32> = has.map(|(key, one)| (key, one.content)).collect();
        let rows: BTreeMap<&Key, u32> = convex.rows.iter().map(|(k, r)| (k, r.content)).collect();
        self.must(has == rows, || {
            format!("Clerk has {has:?}, Convex {rows:?}")
        });
        let recovered = self.disk.borrow().journal.recover();
        let open = recovered.pending.len() + recovered.parked.len();
        self.must(open == 0, || format!("{open} entries have no end"));
    }
}

/// What a run may delete without a person, here as by default.
pub const LIMITS: Limits = Limits {
    max_deletes: 100,
    max_delete_ratio: 0.05,
};
