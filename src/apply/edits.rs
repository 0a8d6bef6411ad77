//! The other direction: what only Convex knows, on its way to Clerk.
//!
//! One task beside the applier, which does nothing unless `profile_edits.enabled` or `clerk.write_back` is on; a
//! reload may change that. It looks into the outbox of `editProfile`, changes the user in Clerk, and settles the
//! edit; and it writes into Clerk which row a user has. [`pace`], [`loops`], [`waiting`] and [`verdict`] decide and are pure; `carry`,
//! `restore` and `write_back` do it; `calls` asks; `tell` shows Convex what Clerk has just said. Promises: nothing is done
//! that may not be done twice, so a crash anywhere costs a request; an edit is settled only when Clerk has
//! answered about it; waits and memory are bounded; an outage costs no edit anything but time.

mod calls;
mod carry;
pub mod contest;
pub mod judged;
pub mod loops;
mod noting;
pub mod overwrites;
pub mod pace;
mod restore;
mod tell;
pub mod verdict;
pub mod waiting;
mod write_back;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use self::{
    contest::{Contests, Overruled},
    loops::LoopBreaker,
    overwrites::Overwritten,
    pace::Pace,
    verdict::Field,
    waiting::Waiting,
    write_back::WriteBacks,
};
use super::Shared;
use crate::{clerk::ClerkError, model::Fault};

pub use self::write_back::Written;
pub(super) use noting::note_of;

/// Between two looks into the outbox while edits come, and what it doubles up to while none do.
const LOOK: Duration = Duration::from_secs(1);
/// See [`LOOK`].
const IDLE_LOOK: Duration = Duration::from_secs(5);
/// The shortest wait between two looks.
const NEXT_LOOK: Duration = Duration::from_millis(100);
/// Writes of one field in ten minutes that are still no loop.
const EDITS_NO_LOOP: usize = 5;
/// The same for `syncedAt`, which follows every change of a row.
const WRITE_BACKS_NO_LOOP: usize = 20;
/// How long Clerk is left alone when it does not let this key change users.
const KEY_HOLD: Duration = Duration::from_secs(60);
/// How long it is left alone after a 429 that does not say how long.
const BUSY_HOLD: Duration = Duration::from_secs(5);
/// Failures in a row, of whichever users, after which all wait.
const FAILURES_TO_HOLD: u32 = 3;
/// The first wait of all after that many failures, and what it doubles up to.
const HOLD: Duration = Duration::from_secs(1);
/// See [`HOLD`].
const MAX_HOLD: Duration = Duration::from_secs(15);

/// What is carried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The profile fields that may travel; none at all if edits do not.
    pub fields: Vec<Field>,
    /// Whether Clerk is told which row a user has.
    pub write_back: bool,
}

impl Options {
    /// True if nothing may be changed in Clerk.
    pub fn is_nothing(&self) -> bool {
        self.fields.is_empty() && !self.write_back
    }
}

/// The task. See the module's words.
pub struct Carrier {
    shared: Arc<Shared>,
    options: Options,
    waiting: Waiting,
    contests: Contests,
    /// What the last look has seen to be overruled: by the next one Convex's own word about it has come, if it comes.
    overruled: Vec<Overruled>,
    /// Words of Clerk's that edits have overwritten, to be put back.
    overwritten: Vec<Overwritten>,
    pace: Pace,
    loops: LoopBreaker,
    hold: Hold,
    idle: Duration,
    /// True if the last look into the outbox found nothing.
    is_idle: bool,
    write_backs: WriteBacks,
    written: mpsc::Receiver<Written>,
}

impl Carrier {
    /// A carrier. From now on the appliers tell it of rows, if Clerk is to be told of them.
    pub fn new(shared: Arc<Shared>) -> Carrier {
        // As many as it keeps: a scan hands over all that it has found at once.
        let (sender, written) = mpsc::channel(write_back::MAX_WAITING);
        // A second carrier of one daemon would be a mistake; the first one keeps hearing of rows.
        let _ = shared.written.set(sender);
        Carrier {
            shared,
            options: Options::default(),
            waiting: Waiting::default(),
            contests: Contests::default(),
            overruled: Vec::new(),
            overwritten: Vec::new(),
            pace: Pace::default(),
            loops: LoopBreaker::new(EDITS_NO_LOOP),
            hold: Hold::default(),
            idle: LOOK,
            is_idle: false,
            write_backs: WriteBacks::new(WRITE_BACKS_NO_LOOP),
            written,
        }
    }

    /// Works until `stop`, which may cut it off anywhere: whatever is repeated after that changes nothing.
    pub async fn run(mut self, stop: CancellationToken) {
        let shared = Arc::clone(&self.shared);
        let mut look = Instant::now();
        loop {
            let wake = match self.write_backs.next_at() {
                Some(at) => look.min(at),
                None => look,
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = shared.reloaded.notified() => {
                    // Another key may be allowed what the former one was not.
                    self.hold = Hold::default();
                    self.idle = LOOK;
                    look = Instant::now();
                }
                Some(row) = self.written.recv() => self.write_backs.add(row, Instant::now()),
                () = sleep_until(wake) => {
                    let work = self.work(look);
                    tokio::select! {
                        () = stop.cancelled() => return,
                        next = work => look = next,
                    }
                }
            }
        }
    }

    /// Does what is due; answers when to look into the outbox again.
    async fn work(&mut self, look: Instant) -> Instant {
        let now = Instant::now();
        self.options = self.shared.settings.load().carried.clone();
        if self.options.is_nothing() {
            self.shared.alerts.clear("clerk_writes_held");
        }
        if self.options.fields.is_empty() {
            self.waiting.see(&[], now.into_std());
            self.contests.forget();
        }
        if self.is_stopped() {
            self.write_backs.wait_until(now + LOOK);
            return now + LOOK;
        }
        self.restore().await;
        let next = match look <= now {
            true if self.options.fields.is_empty() => now + IDLE_LOOK,
            true => self.carry().await,
            false => look,
        };
        self.write_back().await;
        self.tell_of_loops();
        self.tell_of_nothing_left();
        next
    }

    /// Nothing is written while applying is switched off or paused: settling writes to Convex.
    fn is_stopped(&self) -> bool {
        self.shared.is_paused() || !self.shared.settings.load().enabled
    }

    fn tell_of_loops(&self) {
        let now = Instant::now().into_std();
        let frozen = self.loops.frozen(now) + self.write_backs.loops.frozen(now);
        if frozen == 0 {
            self.shared.alerts.clear("edit_loop");
            return;
        }
        let message = format!(
            "{frozen} field(s) of users went round between Convex and Clerk and are left alone for a \
             while: look for a trigger or hook of the app that edits a profile whenever the sync has \
             written it"
        );
        let now_ms = self.shared.clock.now_ms();
        self.shared.alerts.raise("edit_loop", message, now_ms);
    }

    /// Where nothing is left that could be written, nothing is held.
    fn tell_of_nothing_left(&self) {
        let edits = !self.options.fields.is_empty() && !self.is_idle;
        let left = edits || self.write_backs.next_at().is_some();
        if !left && self.hold.wait_until(Instant::now()).is_none() {
            self.shared.alerts.clear("clerk_writes_held");
        }
    }

    /// Clerk answered a change: it works.
    fn clerk_works(&mut self) {
        self.hold.failures = 0;
        self.shared.alerts.clear("clerk_writes_held");
    }

    /// A change failed without telling anything about its user. True if this user may be the reason.
    fn clerk_failed(&mut self, error: &ClerkError) {
        let now = Instant::now();
        let (wait, tell) = match (error, error.fault()) {
            // Somebody else is changing this very user.
            (ClerkError::Busy { status: 409, .. }, _) => return,
            (
                ClerkError::Busy {
                    status: 429,
                    retry_after,
                    ..
                },
                _,
            ) => (retry_after.unwrap_or(BUSY_HOLD), false),
            (_, Fault::Refused | Fault::Ours) => (KEY_HOLD, true),
            _ => {
                self.hold.failures = self.hold.failures.saturating_add(1);
                if self.hold.failures < FAILURES_TO_HOLD {
                    return;
                }
                let doublings = (self.hold.failures - FAILURES_TO_HOLD).min(5);
                ((HOLD * (1 << doublings)).min(MAX_HOLD), true)
            }
        };
        self.hold.until = Some(self.hold.until.unwrap_or(now).max(now + wait));
        if tell {
            let message = format!("changes for Clerk wait: {error}");
            let now_ms = self.shared.clock.now_ms();
            self.shared
                .alerts
                .raise("clerk_writes_held", message, now_ms);
        }
    }
}

/// When Clerk is left alone as a whole.
#[derive(Debug, Default)]
struct Hold {
    until: Option<Instant>,
    failures: u32,
}

impl Hold {
    /// When a change may be made, if not now.
    fn wait_until(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| *until > now)
    }
}
