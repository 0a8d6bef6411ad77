//! The one task that owns the queue: takes in what was stored, hands out leases, takes back what came
//! of them.
//!
//! Workers do everything that waits for a disk or a service; this task never does. At most
//! `convex.concurrency` workers write at once: an event is sent at once while one is free and travels
//! in a batch when none is.

mod endings;
mod malformed;
mod operators;
mod parents;
mod verdicts;
mod workers;

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use self::{
    malformed::Malformed,
    verdicts::Verdicts,
    workers::{FETCH_RECORDS, Message},
};
use super::{
    Handle, Settings, Shared,
    book::{Book, IDLE_MS, Road, Rules, ticket_of},
    handle::Command,
    latency::Latencies,
};
use crate::{
    model::RecordKey,
    queue::{dead_letters::DeadLetter, order},
    store::journal::{
        Cause, CauseKind, Meta, NewEntry, Notice, Notices, Recovered, Related, RequestOrigin,
    },
};

/// Notices taken at once; the queue looks at what is ready in between.
const NOTICES: usize = 64;
/// The cell in the state that remembers a pause.
const PAUSED_CELL: &str = "paused";

/// Owns the queue. See the module's words.
pub struct Applier {
    shared: Arc<Shared>,
    book: Book,
    latencies: Latencies,
    started: Instant,
    verdicts: Verdicts,
    malformed: Malformed,
    notices: Notices,
    commands: mpsc::Receiver<Command>,
    reconsider: Arc<Notify>,
    reports: mpsc::UnboundedSender<Message>,
    reported: mpsc::UnboundedReceiver<Message>,
}

impl Applier {
    /// Takes over what earlier processes left.
    pub fn new(
        shared: Arc<Shared>,
        recovered: Recovered,
        notices: Notices,
        max_dead_letters: usize,
    ) -> (Applier, Handle) {
        let (commands, receiver) = mpsc::channel(64);
        let (reports, reported) = mpsc::unbounded_channel();
        let paused = shared.state.get_cell(PAUSED_CELL);
        if let Err(error) = &paused {
            let message = format!(
                "whether applying was paused cannot be read ({error}), so it is; `clerk-convex-sync resume` lets it \
                 go on"
            );
            let now_ms = shared.clock.now_ms();
            shared.alerts.raise("pause_unknown", message, now_ms);
        }
        shared.set_paused(!matches!(paused, Ok(None)));
        let mut applier = Applier {
            shared,
            book: Book::new(max_dead_letters),
            latencies: Latencies::default(),
            started: Instant::now(),
            verdicts: Verdicts::default(),
            malformed: Malformed::default(),
            notices,
            commands: receiver,
            reconsider: Arc::default(),
            reports,
            reported,
        };
        // The oldest of them, whichever process it was.
        let since_ms = recovered.parked.iter().map(|one| one.parked.at_ms).min();
        for parked in recovered.parked {
            applier.book.dead_letters.add(DeadLetter {
                meta: parked.meta,
                parked: parked.parked,
            });
        }
        for meta in recovered.pending {
            applier.take_in(meta);
        }
        if let Some(since_ms) = since_ms {
            applier.tell_of_dead_letters(since_ms);
        }
        let reconsider = Arc::clone(&applier.reconsider);
        let handle = Handle {
            commands,
            reconsider,
        };
        // A second applier of one daemon would be a mistake; the first one keeps being asked.
        let _ = applier.shared.applier.set(handle.clone());
        (applier, handle)
    }

    /// Works until `stop`, then finishes what is in hand for up to `grace`. What is not finished is
    /// in the journal.
    pub async fn run(mut self, stop: CancellationToken, grace: Duration) {
        loop {
            self.hand_over();
            self.read_malformed();
            let wake = self.dispatch();
            let wake = self
                .verdicts
                .due(self.book.workers())
                .map_or(wake, |due| due.min(wake));
            self.publish();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(message) = self.reported.recv() => self.take_back(message),
                () = self.reconsider.notified() => self.reconsider(),
                Some(command) = self.commands.recv() => self.obey(command),
                told = self.notices.recv() => match told {
                    Some(notice) => self.hear_some(notice),
                    None => break,
                },
                () = sleep_until(wake) => {}
            }
        }
        let deadline = Instant::now() + grace;
        while self.book.workers() > 0 || self.verdicts.is_underway() {
            tokio::select! {
                Some(message) = self.reported.recv() => self.take_back(message),
                () = sleep_until(deadline) => break,
            }
        }
        self.hand_over_rest(deadline).await;
    }

    /// Hears a notice, and others that lie there already.
    fn hear_some(&mut self, notice: Notice) {
        self.hear(notice);
        for _ in 1..NOTICES {
            let Some(notice) = self.notices.try_recv() else {
                return;
            };
            self.hear(notice);
        }
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
                let moves: HashMap<u64, _> = moves.into_iter().collect();
                self.book.moved(&moves);
                for (seq, position) in moves {
                    self.malformed.moved(seq, position);
                }
            }
        }
    }

    fn take_in(&mut self, meta: Meta) {
        let Some(record) = meta.record.clone() else {
            return self.malformed.add(meta);
        };
        // Before the queue gives it up for something newer.
        self.shared.hear_of_carried(&meta);
        let deeds = self.book.take_in(record, ticket_of(&meta));
        self.follow(deeds);
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
        let now = Instant::now();
        let in_ms = |wait| now + Duration::from_millis(u64::try_from(wait).unwrap_or(0));
        let settings = self.shared.settings.load_full();
        if self.shared.is_paused() || !settings.enabled || self.verdicts.is_full() {
            return in_ms(IDLE_MS);
        }
        let (blocked, circuit) = self.shared.convex.state();
        let closed = circuit == "closed";
        let road = Road { blocked, closed };
        let (deeds, wait) = self.book.hand_out(self.tick(), road, rules(&settings));
        self.follow(deeds);
        in_ms(wait)
    }
}

fn rules(settings: &Settings) -> Rules {
    Rules {
        writers: settings.concurrency,
        // As many records as make one call: a user brings its profile along.
        written: settings.batch.div_ceil(2),
        fetched: FETCH_RECORDS,
        retry: settings.retry,
    }
}
