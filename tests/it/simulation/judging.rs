//! From a lease to something that can be written, by its event or by what Clerk says now.
//!
//! As `apply/work.rs` and `apply/fetch.rs`; the verdicts of the ledger, of the pin and about an absence are the
//! program's own.

use std::{collections::BTreeMap, rc::Rc};

use clerk_convex_sync::{
    apply::{
        Lease,
        book::Worker,
        ending::{Ending, Final},
        guard::{self, Verdict},
        instance::{Absence, Belonging, absence},
    },
    model::{ContentHash, Key, Origin, Standing, Table, Version},
    store::state::Seen,
};

use super::{
    clerk::{Message, OURS, Record, hash_of, table_of},
    convex::{Behalf, Write},
    daemon::Daemon,
    faults::Breach,
    writing::{Fate, Load},
};

type Ended = (Lease, Ending);

/// What is known of a question to Clerk.
struct Question {
    lease: Lease,
    arbitrate: bool,
    instance: Option<&'static str>,
}

fn seen(standing: Standing, hash: ContentHash) -> Seen {
    Seen {
        version: standing.version,
        deleted: standing.deleted,
        hash,
    }
}

pub fn refused(code: &str) -> Ending {
    Ending::Refused {
        code: code.into(),
        reason: code.into(),
    }
}

impl Daemon {
    pub fn spawn_writer(self: &Rc<Self>, leases: Vec<Lease>) {
        let daemon = Rc::clone(self);
        self.spawn(async move {
            let mut works = Vec::new();
            let mut endings = Vec::new();
            for lease in leases {
                match daemon.prepare(lease) {
                    Ok(work) => works.push(work),
                    Err(ended) => endings.push(ended),
                }
            }
            let known = |(_, ending): &Ended| matches!(ending, Ending::Final(Final::Known));
            let early = daemon.world.is_broken(Breach::SettleBeforeLedger);
            if endings.iter().any(known) && !early {
                daemon.keep_ledger().await;
            }
            daemon.finish(Worker::Writer, works, endings).await;
        });
    }

    pub fn spawn_fetcher(self: &Rc<Self>, leases: Vec<Lease>) {
        let daemon = Rc::clone(self);
        self.spawn(async move {
            let (works, endings) = daemon.fetch(leases).await;
            daemon.finish(Worker::Fetcher, works, endings).await;
        });
    }

    async fn finish(
        self: Rc<Self>,
        worker: Worker,
        works: Vec<Load<Lease>>,
        mut endings: Vec<Ended>,
    ) {
        let done = self.write(works, true, Behalf::Delivery).await;
        self.hear_of_parents(&done);
        endings.extend(done.into_iter().map(|(work, fate)| {
            let ending = match fate {
                Fate::Written(outcome) => Ending::Final(Final::Applied(outcome)),
                Fate::Refused(code) => refused(&code),
                Fate::Hold(wait) => Ending::Hold(wait),
                Fate::Overtaken => unreachable!("nobody else works on a delivery's record"),
            };
            (work.tag, ending)
        }));
        self.take_back(worker, endings);
    }

    /// Only the ledger knows of a newer version with the same content: it has to outlive a crash.
    async fn keep_ledger(&self) {
        let slow = self.world.faults().slow_disk;
        let machine = &self.world.machine;
        machine.sleep(machine.between(0, slow)).await;
        self.world.disk.borrow_mut().state.sync();
    }

    /// What the ledger knows of a record.
    pub fn seen(&self, lease: &clerk_convex_sync::model::RecordKey) -> Option<Seen> {
        self.world.disk.borrow().state.now.ledger.get(lease)
    }

    fn floor(&self) -> Version {
        Version(self.world.disk.borrow().state.now.ledger.floor)
    }

    fn prepare(&self, lease: Lease) -> Result<Load<Lease>, Ended> {
        let (seen_before, floor) = (self.seen(&lease.record), self.floor());
        let Some(says) = lease.ticket.says else {
            return Err((lease, Ending::Ask));
        };
        let standing = says.standing;
        let unguarded = self.world.is_broken(Breach::NoGuard);
        if let Some(verdict) = guard::at_a_glance(seen_before, floor, standing)
            && verdict != Verdict::Write
            && !unguarded
        {
            return Err(self.ended(lease, verdict, None));
        }
        let stored = self.world.disk.borrow().journal.read(lease.ticket.seq);
        let message = stored.message.clone().expect("a delivery");
        match self.belonging(Some(message.instance)) {
            Belonging::Ours => {}
            Belonging::Foreign => return Err((lease, Ending::Final(Final::Foreign))),
            Belonging::Unsure => return Err((lease, Ending::Ask)),
        }
        if standing.deleted {
            return Ok(deletion(lease, standing));
        }
        let hash = hash_of(message.content);
        let verdict = guard::judge(seen_before, floor, standing, hash);
        let verdict = match guard::unless_certain(verdict, || self.is_certain(&lease)) {
            _ if unguarded => Verdict::Write,
            Verdict::Ask(guard::Doubt::Tie) if self.world.is_broken(Breach::NoTieCheck) => {
                Verdict::Write
            }
            verdict => verdict,
        };
        match verdict {
            Verdict::Write => Ok(upsert(lease, shown(&message))),
            verdict => Err(self.ended(lease, verdict, Some((standing, hash)))),
        }
    }

    fn is_certain(&self, lease: &Lease) -> bool {
        let certain = self.certain.borrow().contains(&lease.record);
        certain || self.world.is_broken(Breach::TrustingLedger)
    }

    fn belonging(&self, instance: Option<&str>) -> Belonging {
        self.world.disk.borrow_mut().state.now.pin.judge(instance)
    }

    fn ended(
        &self,
        lease: Lease,
        verdict: Verdict,
        content: Option<(Standing, ContentHash)>,
    ) -> Ended {
        let ending = match verdict {
            Verdict::Unchanged => {
                if let Some((standing, hash)) = content {
                    self.remember(&lease.record, seen(standing, hash));
                }
                Ending::Final(Final::Known)
            }
            Verdict::Stale(why) => Ending::Final(Final::Stale(why)),
            Verdict::Ask(_) | Verdict::Write => Ending::Ask,
        };
        (lease, ending)
    }

    async fn fetch(&self, leases: Vec<Lease>) -> (Vec<Load<Lease>>, Vec<Ended>) {
        let (mut works, mut endings) = (Vec::new(), Vec::new());
        let questions: Vec<Question> = leases.into_iter().map(|one| self.question(one)).collect();
        let mut users = self.users_at_once(&questions).await;
        for question in questions {
            let answer = match users.remove(&question.lease.record.key) {
                Some(record) => Ok(Some(record)),
                // Not in a listing proves nothing: ask about the id itself.
                None => self.ask_for(&question.lease.record.key).await,
            };
            match self.answer(question, answer) {
                Ok(work) => works.push(work),
                Err(ended) => endings.push(ended),
            }
        }
        (works, endings)
    }

    fn question(&self, lease: Lease) -> Question {
        let stored = self.world.disk.borrow().journal.read(lease.ticket.seq);
        let instance = stored.message.as_ref().map(|message| message.instance);
        let arbitrate = self.belonging(instance) == Belonging::Unsure;
        Question {
            lease,
            arbitrate,
            instance,
        }
    }

    async fn users_at_once(&self, questions: &[Question]) -> BTreeMap<Key, Record> {
        let keys = questions.iter().map(|one| one.lease.record.key.clone());
        let keys: Vec<Key> = keys.filter(|key| table_of(key) == Table::Users).collect();
        let mut found = BTreeMap::new();
        if keys.len() < 2 {
            return found;
        }
        let Ok(ticket) = self.clerk.admit(&self.world) else {
            return found;
        };
        match self.world.records_by_id(&keys).await {
            Ok(users) => {
                self.clerk.answered(ticket);
                found.extend(users.into_iter().map(|user| (user.key.clone(), user)));
            }
            Err(_) => drop(self.clerk.failed(&self.world, ticket, None)),
        }
        found
    }

    async fn ask_for(&self, key: &Key) -> Result<Option<Record>, Ending> {
        let ticket = self.clerk.admit(&self.world).map_err(Ending::Hold)?;
        match self.world.get_record(key).await {
            Ok(user) => {
                self.clerk.answered(ticket);
                Ok(user)
            }
            Err(_) => Err(Ending::Hold(self.clerk.failed(&self.world, ticket, None))),
        }
    }

    fn answer(
        &self,
        question: Question,
        answer: Result<Option<Record>, Ending>,
    ) -> Result<Load<Lease>, Ended> {
        let Question {
            lease,
            arbitrate,
            instance,
        } = question;
        let record = match answer {
            Ok(record) => record,
            Err(ending) => return Err((lease, ending)),
        };
        let says = lease.ticket.says.map(|says| says.standing);
        let Some(record) = record else {
            let says_gone = says.is_some_and(|says| says.deleted);
            let proved = self.world.disk.borrow().state.now.proved;
            let mentioned = lease.ticket.origin == Origin::Repair;
            return match absence(says_gone, arbitrate, mentioned, proved) {
                Absence::Gone => {
                    let now = Version(self.world.machine.now());
                    let version = says.map_or(now, |says| says.version);
                    Ok(deletion(lease, Standing::gone(version)))
                }
                Absence::Foreign => Err((lease, Ending::Final(Final::Foreign))),
                Absence::Unproved => Err((lease, Ending::Final(Final::Unproved))),
                Absence::Distrusted => {
                    self.world.checks.borrow_mut().contradicted(&lease.record);
                    Err((lease, refused("unproved_key")))
                }
            };
        };
        if let Some(instance) = instance {
            let mut disk = self.world.disk.borrow_mut();
            disk.state.now.pin.proved(instance);
            disk.state.now.proved = true;
        }
        if guard::lags(says, Version(record.version)) {
            self.world.checks.borrow_mut().contradicted(&lease.record);
            return Err((lease, refused("clerk_lags")));
        }
        let standing = Standing::alive(Version(record.version));
        let before = self.seen(&lease.record);
        // Who only wishes for a record has seen that its row is missing.
        let insist = says.is_none();
        let verdict = guard::judge_fetched(before, standing.version, record.hash(), insist);
        match guard::unless_certain(verdict, || self.is_certain(&lease)) {
            Verdict::Write => Ok(upsert(lease, record)),
            verdict => Err(self.ended(lease, verdict, Some((standing, record.hash())))),
        }
    }
}

/// The record as an event tells of it.
fn shown(message: &Message) -> Record {
    debug_assert!(message.instance == OURS || message.content == 0);
    Record {
        key: message.key.clone(),
        created_at: message.created_at,
        version: message.standing.version.ms(),
        content: message.content,
        parents: message.parents.clone(),
    }
}

fn deletion(lease: Lease, standing: Standing) -> Load<Lease> {
    Load {
        record: lease.record.clone(),
        tag: lease,
        write: Write::Delete,
        seen: seen(standing, ContentHash([0; 16])),
    }
}

fn upsert(lease: Lease, record: Record) -> Load<Lease> {
    Load {
        record: lease.record.clone(),
        tag: lease,
        seen: seen(Standing::alive(Version(record.version)), record.hash()),
        write: Write::of(record),
    }
}
