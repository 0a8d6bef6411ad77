//! From a lease to something that can be written: read, guard, map, guard again.
//!
//! Knows the journal, the ledger and the mapping; makes no request. What it cannot decide becomes an
//! [`Ending`] that says what happens next, so that the caller has no opinion about records.

use std::time::Duration;

use super::{
    Lease, Settings, Shared,
    ending::{Ending, Final, refused},
    guard::{self, Verdict},
    instance::Belonging,
    load::{Load, Rows},
    noting,
};
use crate::{
    clerk::{
        RawRecord,
        wire::{Envelope, Head, Parents},
    },
    mapping,
    model::{
        Asked, Change, ConfirmedDelete, ContentHash, Key, RecordKey, Standing, Table, Version,
    },
    store::{
        journal::{Cause, Entry, ReadError, RequestOrigin},
        state::Seen,
    },
    twin::{self, Twin},
};

/// How far Clerk's clock is believed to be ahead of ours at most, in milliseconds.
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// A lease with what is to be written for it.
#[derive(Debug)]
pub struct Work {
    /// The right to do so.
    pub lease: Lease,
    /// The rows, ready for the wire; written in one transaction.
    pub(super) rows: Rows,
    /// What the ledger will remember.
    pub seen: Seen,
    /// Records that the rows refer to: of a membership its user and its organization.
    pub mentions: Vec<RecordKey>,
    /// When it happened by the event, in milliseconds; for latency.
    pub happened_ms: Option<i64>,
    /// On whose behalf; for the operations log.
    asked: Asked,
}

impl Load for Work {
    const ALONE: bool = true;

    fn record(&self) -> &RecordKey {
        &self.lease.record
    }

    fn rows(&self) -> &Rows {
        &self.rows
    }

    fn seen(&self) -> Seen {
        self.seen
    }

    fn asked(&self) -> Option<&Asked> {
        Some(&self.asked)
    }
}

/// An entry that Clerk has to be asked about, with what the request needs.
#[derive(Debug)]
pub struct Question {
    /// The right to work on the record.
    pub lease: Lease,
    /// A membership's ends, without which it cannot be asked for.
    pub parents: Parents,
    /// The instance that the event names, if whose it is has to be found out.
    pub instance: Option<Box<str>>,
    /// True if Clerk's answer decides whether the event is ours at all.
    pub arbitrate: bool,
    /// Somebody wants this record written, whatever the ledger believes.
    pub insist: bool,
    /// On whose behalf it is asked.
    pub asked: Asked,
    /// See [`Work::happened_ms`].
    pub happened_ms: Option<i64>,
}

impl Shared {
    /// Decides about a lease by its event alone.
    pub(super) fn prepare(&self, lease: Lease) -> Result<Work, (Lease, Ending)> {
        if !self.serves(lease.record.table) {
            return Err((lease, Ending::Final(Final::NotServed)));
        }
        let seen = match twin::broken(Twin::NoDedupe) {
            true => None,
            false => self.seen(&lease.record),
        };
        let floor = self.state.ledger_floor();
        let Some(says) = lease.ticket.says else {
            return Err((lease, Ending::Ask));
        };
        if let Some(verdict) = guard::at_a_glance(seen, floor, says.standing)
            && verdict != Verdict::Write
        {
            return Err(self.ended(lease, verdict, None));
        }
        let entry = match self.read(&lease) {
            Ok(entry) => entry,
            Err(ending) => return Err((lease, ending)),
        };
        let body = &entry.content.body;
        let Ok(envelope) = Envelope::parse(body) else {
            return Err((lease, Ending::Ask));
        };
        match self.judge_instance(envelope.instance()) {
            Belonging::Ours => {}
            Belonging::Foreign => return Err((lease, Ending::Final(Final::Foreign))),
            Belonging::Unsure => return Err((lease, Ending::Ask)),
        }
        let happened_ms = envelope
            .timestamp
            .map(|at| Version::from_timestamp(at.0).ms());
        let RecordKey { table, key } = lease.record.clone();
        if says.standing.deleted {
            // Intake has read this very body as a deletion, after its signature held.
            let deletion = ConfirmedDelete::by_event(table, key);
            let work = self.deletion(lease, &deletion, says.standing, happened_ms);
            return Ok(work.asked_by(entry.content.cause));
        }
        // What the event says cannot become a row; what Clerk says now may.
        let Ok(Ok(mut changes)) = envelope.data().map(|data| self.map(table, data)) else {
            return Err((lease, Ending::Ask));
        };
        if twin::broken(Twin::NoDedupe) {
            overrule(&mut changes, Version(self.clock.now_ms()));
        }
        let hash = hash_of(&changes);
        let verdict = guard::judge(seen, floor, says.standing, hash);
        match guard::unless_certain(verdict, || self.is_certain(&lease.record)) {
            Verdict::Write => Ok(work(lease, &changes, says.standing, hash, happened_ms)
                .asked_by(entry.content.cause)),
            verdict => Err(self.ended(lease, verdict, Some((says.standing, hash)))),
        }
    }

    /// What Clerk has to be asked for a lease.
    pub(super) fn question(&self, lease: Lease) -> Result<Question, (Lease, Ending)> {
        if !self.serves(lease.record.table) {
            return Err((lease, Ending::Final(Final::NotServed)));
        }
        let entry = match self.read(&lease) {
            Ok(entry) => entry,
            Err(ending) => return Err((lease, ending)),
        };
        let related = entry.content.related;
        let head = Head::parse(&entry.content.body).ok();
        let happened_ms = head.as_ref().and_then(|head| Some(head.happened?.ms()));
        let instance = head.and_then(|head| head.instance_id);
        let arbitrate = self.judge_instance(instance.as_deref()) == Belonging::Unsure;
        let insist = matches!(
            entry.content.cause,
            Cause::Request {
                origin: RequestOrigin::Operator | RequestOrigin::Repair
            }
        );
        let parents = Parents {
            organization: related.organization,
            user: related.user,
        };
        Ok(Question {
            lease,
            parents,
            instance,
            arbitrate,
            insist,
            asked: noting::asked(entry.content.cause),
            happened_ms,
        })
    }

    /// Decides about a record as Clerk has just shown it.
    pub(super) fn fetched(
        &self,
        lease: Lease,
        record: &RawRecord,
        insist: bool,
        happened_ms: Option<i64>,
    ) -> Result<Work, (Lease, Ending)> {
        if guard::lags(
            lease.ticket.says.map(|says| says.standing),
            record.version(),
        ) {
            let reason = "Clerk shows this record older than its own event says";
            return Err((lease, refused("clerk_lags", reason.into())));
        }
        let changes = match self.map(record.table(), record.text()) {
            Ok(changes) => changes,
            Err(error) => {
                let ending = refused(error.code(), error.to_string());
                return Err((lease, ending));
            }
        };
        let hash = hash_of(&changes);
        let standing = Standing::alive(record.version());
        let seen = self.seen(&lease.record);
        let verdict = guard::judge_fetched(seen, record.version(), hash, insist);
        match guard::unless_certain(verdict, || self.is_certain(&lease.record)) {
            Verdict::Write => Ok(work(lease, &changes, standing, hash, happened_ms)),
            verdict => Err(self.ended(lease, verdict, Some((standing, hash)))),
        }
    }

    /// Decides about a record that Clerk has just said does not exist.
    pub(super) fn gone(
        &self,
        lease: Lease,
        deletion: &ConfirmedDelete,
        happened_ms: Option<i64>,
    ) -> Work {
        let now_ms = self.clock.now_ms();
        let version = lease
            .ticket
            .says
            .map_or(now_ms, |says| says.standing.version.ms());
        let standing = Standing::gone(Version(version));
        self.deletion(lease, deletion, standing, happened_ms)
    }

    fn deletion(
        &self,
        lease: Lease,
        deletion: &ConfirmedDelete,
        standing: Standing,
        happened_ms: Option<i64>,
    ) -> Work {
        let change = self.settings.load().deletion(deletion);
        work(
            lease,
            &[change],
            standing,
            ContentHash([0; 16]),
            happened_ms,
        )
    }

    pub(super) fn map(&self, table: Table, data: &str) -> Result<Vec<Change>, mapping::MapError> {
        let settings = self.settings.load();
        let mapped = mapping::record(table, data, &settings.user_rules)?;
        for note in mapped.iter().flat_map(|mapped| &mapped.notes) {
            tracing::debug!(table = table.name(), ?note, "not taken over as it is");
        }
        // An app without profiles still has users.
        let rows = mapped
            .into_iter()
            .filter(|mapped| self.serves(mapped.upsert.table));
        Ok(rows.map(mapping::Mapped::into_change).collect())
    }

    fn ended(
        &self,
        lease: Lease,
        verdict: Verdict,
        content: Option<(Standing, ContentHash)>,
    ) -> (Lease, Ending) {
        let ending = match verdict {
            Verdict::Unchanged => match content {
                Some((standing, hash)) => self.known(&lease.record, seen(standing, hash)),
                None => Ending::Final(Final::Known),
            },
            Verdict::Stale(why) => Ending::Final(Final::Stale(why)),
            Verdict::Ask(_) | Verdict::Write => Ending::Ask,
        };
        (lease, ending)
    }

    fn read(&self, lease: &Lease) -> Result<Entry, Ending> {
        self.journal
            .read(lease.ticket.position)
            .map_err(|error| match error {
                ReadError::Gone => Ending::Moved,
                ReadError::Io(_) => Ending::Hold(Duration::from_secs(1)),
                ReadError::Damaged(_) if lease.fetch => refused("damaged", error.to_string()),
                // What the event said is lost; what Clerk says is not.
                ReadError::Damaged(_) => Ending::Ask,
            })
    }
}

/// Makes these the newest of all, so that no guard holds them up: a promise broken on purpose, see [`twin`].
fn overrule(changes: &mut [Change], now: Version) {
    for change in changes {
        if let Change::Upsert(upsert) = change {
            upsert.version = now;
        }
    }
}

/// What the ledger keeps of this.
pub(super) fn seen(standing: Standing, hash: ContentHash) -> Seen {
    Seen {
        version: standing.version,
        deleted: standing.deleted,
        hash,
    }
}

fn work(
    lease: Lease,
    changes: &[Change],
    standing: Standing,
    hash: ContentHash,
    happened_ms: Option<i64>,
) -> Work {
    Work {
        lease,
        rows: Rows::of(changes),
        mentions: mentions(changes),
        seen: seen(standing, hash),
        happened_ms,
        asked: Asked::Daemon,
    }
}

impl Work {
    fn asked_by(self, cause: Cause) -> Work {
        self.on_behalf(noting::asked(cause))
    }

    /// The same, with whose doing it is.
    pub(super) fn on_behalf(self, asked: Asked) -> Work {
        Work { asked, ..self }
    }
}

fn mentions(changes: &[Change]) -> Vec<RecordKey> {
    let Some(Change::Upsert(upsert)) = changes.first() else {
        return Vec::new();
    };
    if upsert.table != Table::Memberships {
        return Vec::new();
    }
    let parent = |table, field| {
        let key = Key::parse(upsert.fields.get(field)?.as_str()?)?;
        Some(RecordKey::new(table, key))
    };
    let user = parent(Table::Users, "clerkUserId");
    let organization = parent(Table::Organizations, "clerkOrganizationId");
    user.into_iter().chain(organization).collect()
}

/// The hash of what is written.
pub(super) fn hash_of(changes: &[Change]) -> ContentHash {
    ContentHash::of_all(changes.iter().filter_map(|change| match change {
        Change::Upsert(upsert) => Some(&upsert.fields),
        Change::Delete { .. } => None,
    }))
}

impl Settings {
    /// The deletion of a record, as it is configured.
    pub(super) fn deletion(&self, deletion: &ConfirmedDelete) -> Change {
        // Only users have a soft way to go, and files.
        let personal = matches!(deletion.table(), Table::Users | Table::Profiles);
        let mode = match personal && !deletion.is_for_good() {
            true => self.delete_mode,
            false => Default::default(),
        };
        Change::delete(deletion, mode, Some(self.files_on_delete))
    }
}

impl Shared {
    /// What the ledger knows of a record.
    pub(super) fn seen(&self, record: &RecordKey) -> Option<Seen> {
        self.state.ledger_get(record)
    }

    /// Lets the ledger remember; false if it does not.
    pub(super) fn remember(&self, seen: &[(RecordKey, Seen)]) -> bool {
        let kept = self.state.ledger_put_many(seen, self.horizon());
        kept.map_err(|error| self.state_failed(&error)).is_ok()
    }

    /// Lets the ledger remember what was written by the thousand; false if it does not.
    pub(super) fn remember_some(&self, seen: &[(RecordKey, Seen)]) -> bool {
        let kept = self.state.ledger_put_some(seen, self.horizon());
        kept.unwrap_or_else(|error| {
            self.state_failed(&error);
            false
        })
    }

    /// Versions beyond it come from a clock that is wrong.
    fn horizon(&self) -> Version {
        Version(self.clock.now_ms().saturating_add(DAY_MS))
    }
}
