//! The one task that owns the queue: takes in what was stored, hands out leases, takes back what came
//! of them.
//!
//! Workers do everything that waits for a disk or a service; this task never does. At most
//! `convex.concurrency` workers write at once: an event is sent at once while one is free and travels
//! in a batch when none is.

mod endings;
mod operators;
mod parents;
mod verdicts;
mod workers;

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use self::{endings::settle, verdicts::Verdicts, workers::Message};
use super::{
    Handle, Lease, Shared, ending::Final, handle::Command, instance::Belonging, latency::Latencies,
};
use crate::{
    clerk::{
        shape::ShapeError,
        wire::{Envelope, Head},
    },
    model::{Origin, RecordKey, Standing},
    queue::{
        dead_letters::{DeadLetter, DeadLetters},
        mentioned::Mentioned,
        order::{self, Says, Waiting},
        ties::Ties,
    },
    store::journal::{
        Cause, CauseKind, Meta, NewEntry, Notice, Position, Recovered, Related, RequestOrigin,
    },
};

type Ticket = order::Ticket<Position>;

/// Notices taken at once; the queue looks at what is ready in between.
const NOTICES: usize = 64;
/// The cell in the state that remembers a pause.
const PAUSED_CELL: &str = "paused";

/// Owns the queue. See the module's words.
pub struct Applier {
    shared: Arc<Shared>,
    waiting: Waiting<Position>,
    ties: Ties<Position>,
    dead_letters: DeadLetters,
    latencies: Latencies,
    mentioned: Mentioned,
    /// True while somebody is looking for those who were mentioned.
    looking: bool,
    started: Instant,
    writers: usize,
    fetchers: usize,
    /// Leases that wait for a fetcher.
    in_doubt: Vec<Lease>,
    verdicts: Verdicts,
    notices: mpsc::UnboundedReceiver<Notice>,
    commands: mpsc::Receiver<Command>,
    reports: mpsc::UnboundedSender<Message>,
    reported: mpsc::UnboundedReceiver<Message>,
}

impl Applier {
    /// Takes over what earlier processes left.
    pub fn new(
        shared: Arc<Shared>,
        recovered: Recovered,
        notices: mpsc::UnboundedReceiver<Notice>,
        max_dead_letters: usize,
    ) -> (Applier, Handle) {
        let (commands, receiver) = mpsc::channel(64);
        let (reports, reported) = mpsc::unbounded_channel();
        let paused = shared.state.get_cell(PAUSED_CELL).ok().flatten();
        shared.set_paused(paused.is_some());
        let mut applier = Applier {
            shared,
            waiting: Waiting::default(),
            ties: Ties::default(),
            dead_letters: DeadLetters::new(max_dead_letters),
            latencies: Latencies::default(),
            mentioned: Mentioned::default(),
            looking: false,
            started: Instant::now(),
            writers: 0,
            fetchers: 0,
            in_doubt: Vec::new(),
            verdicts: Verdicts::default(),
            notices,
            commands: receiver,
            reports,
            reported,
        };
        for parked in recovered.parked {
            applier.dead_letters.add(DeadLetter {
                meta: parked.meta,
                parked: parked.parked,
            });
        }
        for meta in recovered.pending {
            applier.take_in(meta);
        }
        if !applier.dead_letters.is_empty() {
            applier.tell_of_dead_letters(applier.shared.clock.now_ms());
        }
        let handle = Handle { commands };
        // A second applier of one daemon would be a mistake; the first one keeps being asked.
        let _ = applier.shared.applier.set(handle.clone());
        (applier, handle)
    }

    /// Works until `stop`, then finishes what is in hand for up to `grace`. What is not finished is
    /// in the journal.
    pub async fn run(mut self, stop: CancellationToken, grace: Duration) {
        let mut notices = Vec::with_capacity(NOTICES);
        loop {
            self.hand_over();
            let wake = self.dispatch();
            let wake = self.verdicts.due().map_or(wake, |due| due.min(wake));
            self.publish();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(message) = self.reported.recv() => self.take_back(message),
                Some(command) = self.commands.recv() => self.obey(command),
                taken = self.notices.recv_many(&mut notices, NOTICES) => {
                    if taken == 0 { break }
                    notices.drain(..).for_each(|notice| self.hear(notice));
                }
                () = sleep_until(wake) => {}
            }
        }
        let deadline = Instant::now() + grace;
        while self.writers + self.fetchers > 0 || self.verdicts.is_underway() {
            tokio::select! {
                Some(message) = self.reported.recv() => self.take_back(message),
                () = sleep_until(deadline) => break,
            }
        }
        self.hand_over_rest(deadline).await;
    }

    fn hear(&mut self, notice: Notice) {
        match notice {
            Notice::Stored(metas) => {
                for meta in metas {
                    if matches!(meta.cause, CauseKind::Delivery) {
                        self.shared.delivery_arrived(meta.received_ms);
                    }
                    self.take_in(meta);
                }
            }
            Notice::Moved(moves) => {
                let moves: HashMap<u64, Position> = moves.into_iter().collect();
                self.waiting.moved(|seq| moves.get(&seq).copied());
                self.ties.moved(|seq| moves.get(&seq).copied());
                for (seq, position) in &moves {
                    self.dead_letters.moved(*seq, *position);
                }
                for lease in &mut self.in_doubt {
                    if let Some(position) = moves.get(&lease.ticket.seq) {
                        lease.ticket.position = *position;
                    }
                }
            }
        }
    }

    fn take_in(&mut self, meta: Meta) {
        let Some(record) = meta.record.clone() else {
            return self.park_malformed(meta);
        };
        let ticket = ticket_of(&meta);
        if let Some(lost) = self.waiting.push(record.clone(), ticket) {
            self.lost(&record, &ticket, lost);
        }
    }

    /// A signed delivery of an unexpected shape: kept for a person, and the record that it names is
    /// asked for.
    fn park_malformed(&mut self, meta: Meta) {
        let now_ms = self.shared.clock.now_ms();
        let body = self
            .shared
            .journal
            .read(meta.position)
            .map(|entry| entry.content.body);
        let instance = body.as_ref().ok().and_then(|body| {
            let envelope = Envelope::parse(body).ok()?;
            Some(envelope.instance_id?.as_str().to_owned())
        });
        let belongs = self.shared.judge_instance(instance.as_deref());
        if belongs == Belonging::Foreign {
            self.shared
                .journal
                .settle([settle(meta.seq, Final::Foreign)]);
            return self.foreign(now_ms);
        }
        let error = body.ok().and_then(|body| Head::parse(&body).err());
        let names = match &error {
            Some(ShapeError::Malformed { names, .. }) => names.clone(),
            _ => None,
        };
        let reason =
            error.map_or_else(|| "it cannot be read".to_owned(), |error| error.to_string());
        self.park(meta, 1, "malformed", reason, now_ms);
        if let Some(record) = names.filter(|_| belongs == Belonging::Ours) {
            self.request(record, RequestOrigin::Malformed, Related::default());
        }
    }

    /// Stores the wish to fetch a record. Comes back as a notice.
    fn request(&self, record: RecordKey, origin: RequestOrigin, related: Related) {
        let entry = NewEntry {
            received_ms: self.shared.clock.now_ms(),
            cause: Cause::Request { origin },
            record: Some(record),
            version: Default::default(),
            deleted: false,
            fingerprint: 0,
            related,
            body: Default::default(),
        };
        // The dead letter stays whatever comes of this; a full disk is reported by the journal.
        let _stored = self.shared.journal.append(entry);
    }

    /// The time by which waits are kept: it never goes back, whatever happens to the clock.
    fn tick(&self) -> order::Millis {
        i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    /// Starts workers for what is ready. Answers when to look again at the latest.
    fn dispatch(&mut self) -> Instant {
        const IDLE: Duration = Duration::from_secs(5);
        let now = Instant::now();
        let settings = self.shared.settings.load_full();
        if self.shared.is_paused() || !settings.enabled || self.verdicts.is_full() {
            return now + IDLE;
        }
        let (blocked, circuit) = self.shared.convex.state();
        let closed = circuit == "closed";
        // Whoever comes first after an outage probes; everybody else stays where they are until it is
        // known what came of that.
        let writers = if closed { settings.concurrency } else { 1 };
        if !blocked.is_zero() && (closed || self.writers == 0) {
            return now + blocked.min(IDLE);
        }
        let tick = self.tick();
        self.look_for_parents(tick);
        self.doubt(Vec::new());
        // As many records as make one call: a user brings its profile along.
        let records = settings.batch.div_ceil(2);
        while self.writers < writers && self.waiting.has_ready(tick) {
            let leases = self.waiting.lease(tick, records);
            let (doubtful, sure): (Vec<_>, Vec<_>) = leases.into_iter().partition(|l| l.fetch);
            if !sure.is_empty() {
                self.writers += 1;
                self.spawn_writer(sure);
            }
            self.doubt(doubtful);
        }
        // Where all writers are busy, the first that comes back looks again.
        let room = self.writers < writers;
        let due = self.waiting.next_due().filter(|_| room);
        let due = due
            .and_then(|at| u64::try_from((at - tick).max(1)).ok())
            .map(Duration::from_millis);
        let wake = now + due.unwrap_or(IDLE).min(IDLE);
        self.next_look(now, tick)
            .map_or(wake, |look| look.min(wake))
    }
}

fn ticket_of(meta: &Meta) -> Ticket {
    let standing = Standing {
        version: meta.version,
        deleted: meta.deleted,
    };
    let says = Says {
        standing,
        fingerprint: meta.fingerprint,
    };
    Ticket {
        seq: meta.seq,
        position: meta.position,
        received_ms: meta.received_ms,
        says: matches!(meta.cause, CauseKind::Delivery).then_some(says),
        origin: match meta.cause {
            CauseKind::Delivery => Origin::Webhook,
            CauseKind::Request(RequestOrigin::Repair) => Origin::Repair,
            CauseKind::Request(RequestOrigin::Operator | RequestOrigin::Malformed) => {
                Origin::Operator
            }
        },
    }
}
