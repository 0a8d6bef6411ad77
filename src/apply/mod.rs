//! Applying: lease → guard → map → batch → write → settle.
//!
//! One task owns the queue and hands out leases; workers do the rest, at most `convex.concurrency`
//! calls at once. An event is sent at once while calls are free and travels in a batch when they are
//! not. It cannot tell who asked for a change, and this is the only module that writes to Convex.
//! Promises: an entry reaches exactly one final state or is a dead letter; a record at fault holds up
//! nobody; a service that is away costs no attempt.

pub mod batch;
mod call;
mod fetch;
pub mod guard;
pub mod instance;
pub mod latency;
mod shared;
mod work;

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    clerk::shape::ShapeError,
    clerk::wire::Head,
    convex::circuit::{Circuit, Policy},
    model::{Origin, RecordKey, Standing},
    queue::{
        dead_letters::{DeadLetter, DeadLetters},
        order::{self, Says, Waiting},
    },
    report::alert::Alerts,
    store::{
        journal::{
            Cause, CauseKind, Journal, Meta, NewEntry, Notice, Parked, Position, Recovered,
            Related, RequestOrigin, Settled,
        },
        state::State,
    },
    telemetry::{Metrics, RetryLabels},
};

use self::{
    instance::Pin,
    latency::Latencies,
    work::{Ending, Final},
};

pub use self::shared::{Clock, Edges, Settings, Shared};

/// A lease on a record whose entry lies in the journal.
pub type Lease = order::Lease<Position>;
type Ticket = order::Ticket<Position>;

/// Workers that ask Clerk, at once.
const FETCHERS: usize = 2;
/// Records that one of them asks about.
const FETCH_RECORDS: usize = 100;
/// Notices taken at once; the queue looks at what is ready in between.
const NOTICES: usize = 64;
/// The longest hold of the circuits of their own accord: Convex is probed at least this often.
const MAX_HOLD: Duration = Duration::from_secs(15);

impl Shared {
    /// Puts together what the workers need.
    pub fn new(
        journal: Journal,
        state: State,
        edges: Edges,
        settings: Settings,
        metrics: Metrics,
        alerts: Alerts,
        pin: Pin,
    ) -> Arc<Shared> {
        let policy = Policy {
            max_hold: MAX_HOLD,
            ..Policy::default()
        };
        Arc::new(Shared {
            journal,
            state,
            edges: arc_swap::ArcSwap::from_pointee(edges),
            convex_calls: tokio::sync::Semaphore::new(settings.concurrency),
            settings: arc_swap::ArcSwap::from_pointee(settings),
            metrics,
            alerts,
            clock: Clock,
            convex_circuit: std::sync::Mutex::new(Circuit::new(policy)),
            clerk_circuit: std::sync::Mutex::new(Circuit::new(policy)),
            pin: std::sync::Mutex::new(pin),
        })
    }
}

/// A wish of a person or of the daemon to the applier.
enum Command {
    Status(oneshot::Sender<Status>),
    Pause(bool),
    Reconsider,
    Failures {
        after: Option<u64>,
        limit: usize,
        answer: oneshot::Sender<(Vec<DeadLetter>, usize)>,
    },
    Failure(u64, oneshot::Sender<Option<DeadLetter>>),
    Retry(Option<Vec<u64>>, oneshot::Sender<Vec<u64>>),
    Drop(u64, oneshot::Sender<bool>),
}

/// Figures of the applier.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Entries that wait or are being applied.
    pub depth: usize,
    /// When the one that waits longest was stored, milliseconds since the epoch.
    pub oldest_received_ms: Option<i64>,
    /// Dead letters.
    pub dead_letters: usize,
    /// True if applying was stopped by a person.
    pub paused: bool,
    /// `closed`, `open`, `half_open`.
    pub circuit: &'static str,
    /// Percentiles in milliseconds, from intake to commit.
    pub latency_ms: (Option<u32>, Option<u32>),
}

/// How the rest of the daemon speaks to the applier. Every answer is `None` once it has ended.
#[derive(Clone)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
}

impl Handle {
    /// Its figures. Also proves that it moves.
    pub async fn status(&self) -> Option<Status> {
        self.ask(Command::Status).await
    }

    /// Stops or resumes applying; what is in hand is finished.
    pub async fn pause(&self, paused: bool) {
        let _ = self.commands.send(Command::Pause(paused)).await;
    }

    /// The settings or the services changed: look again, and do not wait for a circuit.
    pub fn reconsider(&self) {
        // A full channel means that the applier is about to look anyway.
        let _ = self.commands.try_send(Command::Reconsider);
    }

    /// Dead letters after `after`, oldest first, and how many there are in all.
    pub async fn failures(
        &self,
        after: Option<u64>,
        limit: usize,
    ) -> Option<(Vec<DeadLetter>, usize)> {
        self.ask(|answer| Command::Failures {
            after,
            limit,
            answer,
        })
        .await
    }

    /// One dead letter.
    pub async fn failure(&self, seq: u64) -> Option<DeadLetter> {
        self.ask(|answer| Command::Failure(seq, answer))
            .await
            .flatten()
    }

    /// Tries dead letters again (`None`: all). Answers with those that there were.
    pub async fn retry(&self, seqs: Option<Vec<u64>>) -> Option<Vec<u64>> {
        self.ask(|answer| Command::Retry(seqs, answer)).await
    }

    /// Forgets a dead letter. False if there is none of this number.
    pub async fn drop_failure(&self, seq: u64) -> Option<bool> {
        self.ask(|answer| Command::Drop(seq, answer)).await
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(command(answer)).await.ok()?;
        answered.await.ok()
    }
}

/// What a worker brings back.
type Report = Vec<(Lease, Ending, Option<i64>)>;

/// Owns the queue. See the module's words.
pub struct Applier {
    shared: Arc<Shared>,
    waiting: Waiting<Position>,
    dead_letters: DeadLetters,
    latencies: Latencies,
    paused: bool,
    writers: usize,
    fetchers: usize,
    /// Leases that wait for a fetcher.
    in_doubt: Vec<Lease>,
    notices: mpsc::UnboundedReceiver<Notice>,
    commands: mpsc::Receiver<Command>,
    reports: mpsc::UnboundedSender<(Worker, Report)>,
    reported: mpsc::UnboundedReceiver<(Worker, Report)>,
}

#[derive(Clone, Copy)]
enum Worker {
    Writer,
    Fetcher,
}

const PAUSED_CELL: &str = "paused";

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
        let paused = shared.state.get_cell(PAUSED_CELL).ok().flatten().is_some();
        let mut applier = Applier {
            shared,
            waiting: Waiting::default(),
            dead_letters: DeadLetters::new(max_dead_letters),
            latencies: Latencies::default(),
            paused,
            writers: 0,
            fetchers: 0,
            in_doubt: Vec::new(),
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
        (applier, Handle { commands })
    }

    /// Works until `stop`, then finishes what is in hand for up to `grace`. What is not finished is
    /// in the journal.
    pub async fn run(mut self, stop: CancellationToken, grace: Duration) {
        let mut notices = Vec::with_capacity(NOTICES);
        loop {
            let wake = self.dispatch();
            self.publish();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some((worker, report)) = self.reported.recv() => self.take_back(worker, report),
                Some(command) = self.commands.recv() => self.obey(command),
                taken = self.notices.recv_many(&mut notices, NOTICES) => {
                    if taken == 0 { break }
                    notices.drain(..).for_each(|notice| self.hear(notice));
                }
                () = sleep_until(wake) => {}
            }
        }
        let deadline = Instant::now() + grace;
        while self.writers + self.fetchers > 0 {
            tokio::select! {
                Some((worker, report)) = self.reported.recv() => self.take_back(worker, report),
                () = sleep_until(deadline) => break,
            }
        }
    }

    fn hear(&mut self, notice: Notice) {
        match notice {
            Notice::Stored(metas) => metas.into_iter().for_each(|meta| self.take_in(meta)),
            Notice::Moved(moves) => {
                let moves: HashMap<u64, Position> = moves.into_iter().collect();
                self.waiting.moved(|seq| moves.get(&seq).copied());
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
            self.superseded(&record, lost);
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
        let error = body.ok().and_then(|body| Head::parse(&body).err());
        let names = match &error {
            Some(ShapeError::Malformed { names, .. }) => names.clone(),
            _ => None,
        };
        let reason =
            error.map_or_else(|| "it cannot be read".to_owned(), |error| error.to_string());
        self.park(meta, 1, "malformed", reason, now_ms);
        if let Some(record) = names {
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

    /// Starts workers for what is ready. Answers when to look again at the latest.
    fn dispatch(&mut self) -> Instant {
        const IDLE: Duration = Duration::from_secs(5);
        let now = Instant::now();
        let settings = self.shared.settings.load_full();
        if self.paused || !settings.enabled {
            return now + IDLE;
        }
        let now_ms = self.shared.clock.now_ms();
        let blocked = {
            let circuit = self
                .shared
                .convex_circuit
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let probing = circuit.name() != "closed" && self.writers > 0;
            if probing {
                IDLE
            } else {
                circuit.wait(now.into_std())
            }
        };
        if !blocked.is_zero() {
            return now + blocked.min(IDLE);
        }
        self.doubt(Vec::new(), now_ms);
        while self.writers < settings.concurrency && self.waiting.has_ready(now_ms) {
            let leases = self.waiting.lease(now_ms, settings.batch);
            let (doubtful, sure): (Vec<_>, Vec<_>) = leases.into_iter().partition(|l| l.fetch);
            if !sure.is_empty() {
                self.writers += 1;
                self.spawn_writer(sure);
            }
            self.doubt(doubtful, now_ms);
        }
        let due = self.waiting.next_due().map(|at| (at - now_ms).max(1));
        let due = due
            .and_then(|ms| u64::try_from(ms).ok())
            .map(Duration::from_millis);
        now + due.unwrap_or(IDLE).min(IDLE)
    }

    /// Lets fetchers ask about these. When too many wait already, they come back later, so that a
    /// slow Clerk holds up nobody whose event is enough.
    fn doubt(&mut self, leases: Vec<Lease>, now_ms: i64) {
        const LATER_MS: i64 = 100;
        for lease in leases {
            if self.in_doubt.len() < FETCHERS * FETCH_RECORDS {
                self.in_doubt.push(lease);
            } else {
                self.put_back(lease, None, true, now_ms + LATER_MS);
            }
        }
        while self.fetchers < FETCHERS && !self.in_doubt.is_empty() {
            let from = self.in_doubt.len().saturating_sub(FETCH_RECORDS);
            let leases = self.in_doubt.split_off(from);
            self.fetchers += 1;
            self.spawn_fetcher(leases);
        }
    }

    fn spawn_writer(&self, leases: Vec<Lease>) {
        let shared = Arc::clone(&self.shared);
        let reports = self.reports.clone();
        tokio::spawn(async move {
            let mut report = Report::new();
            let mut works = Vec::with_capacity(leases.len());
            for lease in leases {
                match shared.prepare(lease) {
                    Ok(work) => works.push(work),
                    Err(ended) => report.push(shared.found_again(ended).await),
                }
            }
            if !works.is_empty() {
                report.extend(finished(shared.write(works).await));
            }
            // Nobody listens any more only when the process ends.
            let _ = reports.send((Worker::Writer, report));
        });
    }

    fn spawn_fetcher(&self, leases: Vec<Lease>) {
        let shared = Arc::clone(&self.shared);
        let reports = self.reports.clone();
        tokio::spawn(async move {
            let answers = shared.fetch(leases).await;
            let mut report = Report::new();
            for ended in answers.endings {
                report.push(shared.found_again(ended).await);
            }
            if !answers.works.is_empty() {
                report.extend(finished(shared.write(answers.works).await));
            }
            let _ = reports.send((Worker::Fetcher, report));
        });
    }

    fn take_back(&mut self, worker: Worker, report: Report) {
        match worker {
            Worker::Writer => self.writers -= 1,
            Worker::Fetcher => self.fetchers -= 1,
        }
        let now_ms = self.shared.clock.now_ms();
        let mut settled = Vec::new();
        for (lease, ending, happened_ms) in report {
            match ending {
                Ending::Final(end) => settled.push(self.done(lease, end, happened_ms, now_ms)),
                Ending::Ask => self.put_back(lease, None, true, order::Millis::MIN),
                Ending::Moved => {
                    let fetch = lease.fetch;
                    self.put_back(lease, None, fetch, order::Millis::MIN);
                }
                Ending::Hold(wait) => {
                    let ms = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX / 2);
                    let fetch = lease.fetch;
                    self.put_back(lease, None, fetch, now_ms.saturating_add(ms));
                }
                Ending::Refused { code, reason } => self.refused(lease, &code, reason, now_ms),
            }
        }
        self.shared.journal.settle(settled);
    }

    fn done(&mut self, lease: Lease, end: Final, happened_ms: Option<i64>, now_ms: i64) -> Settled {
        let table = lease.record.table.name();
        let origin = lease.ticket.origin.name();
        self.shared.metrics.change(table, end.name(), origin);
        if let Final::Applied(_) = end {
            let since = happened_ms.unwrap_or(lease.ticket.received_ms);
            let seconds = (now_ms - since).max(0) as f64 / 1000.0;
            self.shared.metrics.latency.observe(seconds);
            self.latencies.add(now_ms - lease.ticket.received_ms);
        }
        if end == Final::Foreign {
            self.shared.metrics.webhook("any", "foreign_instance");
            let message = "deliveries of another Clerk instance were dropped; check which instance's \
                           endpoint points here";
            self.shared
                .alerts
                .raise("foreign_instance", message, now_ms);
        }
        tracing::debug!(
            table,
            key = lease.record.key.as_str(),
            origin,
            outcome = end.name(),
            reason = end.reason(),
            entry = lease.ticket.seq,
            "settled"
        );
        let settled = settle(lease.ticket.seq, end);
        self.waiting.finish(lease);
        settled
    }

    fn refused(&mut self, lease: Lease, code: &str, reason: String, now_ms: i64) {
        let attempts = lease.attempts + 1;
        let rule = self.shared.settings.load().retry;
        if let Some(wait) = rule.wait_before(attempts, rand::random()) {
            tracing::warn!(
                table = lease.record.table.name(),
                key = lease.record.key.as_str(),
                attempt = attempts,
                code,
                "refused; tried again in {} ms",
                wait.as_millis()
            );
            self.shared
                .metrics
                .retries
                .get_or_create(&RetryLabels { cause: "record" })
                .inc();
            let at = now_ms + i64::try_from(wait.as_millis()).unwrap_or(0);
            let fetch = lease.fetch;
            return self.put_back(lease, Some(attempts), fetch, at);
        }
        let says = lease.ticket.says;
        let meta = Meta {
            seq: lease.ticket.seq,
            position: lease.ticket.position,
            received_ms: lease.ticket.received_ms,
            record: Some(lease.record.clone()),
            version: says.map_or_else(Default::default, |says| says.standing.version),
            deleted: says.is_some_and(|says| says.standing.deleted),
            fingerprint: says.map_or(0, |says| says.fingerprint),
            cause: match lease.ticket.origin {
                Origin::Webhook => CauseKind::Delivery,
                Origin::Operator => CauseKind::Request(RequestOrigin::Operator),
                Origin::Repair => CauseKind::Request(RequestOrigin::Repair),
            },
        };
        self.waiting.finish(lease);
        self.park(meta, attempts, code, reason, now_ms);
    }

    fn park(&mut self, meta: Meta, attempts: u32, code: &str, reason: String, now_ms: i64) {
        tracing::error!(
            table = meta.record.as_ref().map(|record| record.table.name()),
            key = meta.record.as_ref().map(|record| record.key.as_str()),
            attempt = attempts,
            code,
            "became dead letter dl_{}: {reason}",
            meta.seq
        );
        let parked = Parked {
            seq: meta.seq,
            attempts,
            code: code.into(),
            reason: reason.into(),
            at_ms: now_ms,
        };
        self.shared.journal.park(parked.clone());
        for out in self.dead_letters.add(DeadLetter { meta, parked }) {
            self.shared
                .journal
                .settle([settle(out.meta.seq, Final::Dropped)]);
        }
        let message = format!(
            "{} dead letter(s): look at them with `failures list`, then `failures retry`",
            self.dead_letters.len()
        );
        self.shared.alerts.raise("dead_letters", message, now_ms);
    }

    fn put_back(&mut self, lease: Lease, attempts: Option<u32>, fetch: bool, at: order::Millis) {
        let record = lease.record.clone();
        let attempts = attempts.unwrap_or(lease.attempts);
        if let Some(lost) = self.waiting.put_back(lease, attempts, fetch, at) {
            self.superseded(&record, lost);
        }
    }

    fn superseded(&mut self, record: &RecordKey, lost: Ticket) {
        let table = record.table.name();
        self.shared
            .metrics
            .change(table, Final::Superseded.name(), lost.origin.name());
        self.shared
            .journal
            .settle([settle(lost.seq, Final::Superseded)]);
    }

    fn obey(&mut self, command: Command) {
        // Whoever asked may have gone; that is no reason to do anything else.
        match command {
            Command::Status(answer) => drop(answer.send(self.status())),
            Command::Pause(paused) => {
                self.paused = paused;
                let cell = paused.then_some(&b"1"[..]);
                let state = &self.shared.state;
                // A person's word must outlive a crash a moment later; it is rare enough to wait for.
                if let Err(error) = state
                    .put_cell(PAUSED_CELL, cell)
                    .and_then(|()| state.sync())
                {
                    self.shared.state_failed(&error);
                }
                tracing::info!(paused, "applying was switched by a person");
            }
            Command::Reconsider => {
                let policy = Policy {
                    max_hold: MAX_HOLD,
                    ..Policy::default()
                };
                for circuit in [&self.shared.convex_circuit, &self.shared.clerk_circuit] {
                    *circuit.lock().unwrap_or_else(PoisonError::into_inner) = Circuit::new(policy);
                }
            }
            Command::Failures {
                after,
                limit,
                answer,
            } => {
                let page = self.dead_letters.page(after, limit);
                drop(answer.send((page, self.dead_letters.len())));
            }
            Command::Failure(seq, answer) => {
                drop(answer.send(self.dead_letters.get(seq).cloned()));
            }
            Command::Retry(seqs, answer) => {
                let seqs = seqs.unwrap_or_else(|| self.dead_letters.seqs());
                let retried = seqs.into_iter().filter(|seq| self.retry(*seq)).collect();
                drop(answer.send(retried));
                self.clear_if_none();
            }
            Command::Drop(seq, answer) => {
                let dropped = self.dead_letters.remove(seq).is_some();
                if dropped {
                    self.shared.journal.settle([settle(seq, Final::Dropped)]);
                }
                let _ = answer.send(dropped);
                self.clear_if_none();
            }
        }
    }

    fn retry(&mut self, seq: u64) -> bool {
        let Some(letter) = self.dead_letters.remove(seq) else {
            return false;
        };
        self.shared.journal.unpark(seq);
        tracing::info!(entry = seq, "dead letter is tried again");
        self.take_in(letter.meta);
        true
    }

    fn clear_if_none(&self) {
        if self.dead_letters.is_empty() {
            self.shared.alerts.clear("dead_letters");
        }
    }

    fn status(&self) -> Status {
        let circuit = self
            .shared
            .convex_circuit
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Status {
            depth: self.waiting.depth(),
            oldest_received_ms: self.waiting.oldest_received_ms(),
            dead_letters: self.dead_letters.len(),
            paused: self.paused,
            circuit: circuit.name(),
            latency_ms: (self.latencies.percentile(50), self.latencies.percentile(99)),
        }
    }

    fn publish(&self) {
        let gauge = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.shared
            .metrics
            .queue_depth
            .set(gauge(self.waiting.depth()));
        self.shared
            .metrics
            .dead_letters
            .set(gauge(self.dead_letters.len()));
    }
}

impl Shared {
    /// A lease whose entry was not where it should be: looks up where the journal has it now.
    async fn found_again(&self, ended: (Lease, Ending)) -> (Lease, Ending, Option<i64>) {
        let (mut lease, mut ending) = ended;
        if let Ending::Moved = ending {
            match self.journal.locate(lease.ticket.seq).await {
                Some(position) => lease.ticket.position = position,
                None => ending = Ending::Final(Final::Superseded),
            }
        }
        (lease, ending, None)
    }
}

fn finished(done: Vec<call::Done>) -> impl Iterator<Item = (Lease, Ending, Option<i64>)> {
    done.into_iter()
        .map(|(work, ending)| (work.lease, ending, work.happened_ms))
}

fn settle(seq: u64, end: Final) -> Settled {
    Settled {
        seq,
        state: end.code(),
        reason: end.reason().map(Into::into),
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
