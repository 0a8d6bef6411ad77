//! Dealing with what a sweep was shown: what the ledger knows is left alone, the rest is put right.
//!
//! Newest wins is the ledger's and Convex's business; here a listed record is offered as it was listed. Two contents
//! of one version are looked up by id first, since a list may lag and a look-up does not. What cannot
//! be written (refused by Convex, not mappable, deleted there before) is remembered for as long as it lies in
//! the overlap, so that it is not tried twice a minute for ever.

use std::collections::HashMap;

use super::super::missed::{Cause, GRACE_MS, Known, causes, late};
use crate::{
    clerk::{RawRecord, client::MAX_IDS},
    convex::reader::MAX_KEYS,
    mapping,
    model::{
        Action, ContentHash, Difference, DriftKind, Key, Origin, Outcome, RecordKey, Table, Upsert,
        Version,
    },
    queue::repairs::{Repair, Repaired, Wish},
    reconcile::{belief::Beliefs, ends::Ends},
    report::{Report, TableFigures},
    store::state::Seen,
};

/// Records offered at once: two rows each, one call to Convex by default.
const BATCH: usize = 100;
/// Records remembered as settled; half of what one sweep can show. Those beyond are tried again.
const MAX_SETTLED: usize = 10_000;

const _: () = assert!(BATCH <= MAX_KEYS);

/// Records that need no second try, by version and content.
#[derive(Debug, Default)]
pub struct Settled {
    before: HashMap<Key, (Version, ContentHash)>,
    now: HashMap<Key, (Version, ContentHash)>,
}

impl Settled {
    fn knows(&mut self, key: &Key, like: (Version, ContentHash)) -> bool {
        if let Some(kept) = self.before.remove(key) {
            self.now.insert(key.clone(), kept);
        }
        self.now.get(key) == Some(&like)
    }

    fn add(&mut self, key: Key, like: (Version, ContentHash)) {
        if self.now.len() < MAX_SETTLED {
            self.now.insert(key, like);
        }
    }

    /// A sweep has ended; one that saw everything forgets what was not in the list any more.
    pub fn swept(mut self, complete: bool) -> Settled {
        if complete {
            self.before.clear();
        }
        self.before.extend(self.now.drain());
        self
    }
}

/// A record that is to be written.
struct Wanted {
    record: RecordKey,
    created_at: i64,
    version: Version,
    hash: ContentHash,
    rows: Vec<Upsert>,
    /// True if the ledger says that it was written before.
    written_before: bool,
}

/// What is to be done about a listed record.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    /// Nothing.
    Known,
    /// It is new, or newer.
    Write,
    /// Another content of the same version was written.
    Tie,
}

/// One sweep's work, and what it found.
pub struct Dealing<'e> {
    ends: &'e Ends,
    known: &'e dyn Known,
    beliefs: &'e Beliefs,
    repair: bool,
    /// False on the first sweep: nobody has listened before, so nothing was missed.
    counting: bool,
    /// Records that need no second try.
    pub settled: Settled,
    /// Figures of the users; `clerk` is the caller's.
    pub figures: TableFigures,
    /// The first ones found.
    pub differences: Vec<Difference>,
    /// Why, and when it was changed, of each that a delivery should have told.
    pub missed: Vec<(Cause, i64)>,
    /// When those were changed whose deliveries may be on their way.
    pub young: Vec<i64>,
}

impl<'e> Dealing<'e> {
    /// Work that has not begun.
    pub fn new(
        ends: &'e Ends,
        known: &'e dyn Known,
        beliefs: &'e Beliefs,
        repair: bool,
        counting: bool,
        settled: Settled,
    ) -> Dealing<'e> {
        Dealing {
            ends,
            known,
            beliefs,
            repair,
            counting,
            settled,
            figures: TableFigures::default(),
            differences: Vec::new(),
            missed: Vec::new(),
            young: Vec::new(),
        }
    }

    /// Deals with a page. An error says why the rest of it was not dealt with.
    pub async fn deal(&mut self, rows: Vec<RawRecord>) -> Result<(), String> {
        let mut wanted = Vec::new();
        let mut ties = Vec::new();
        for row in rows {
            match self.look(&row) {
                (Look::Write, found) => wanted.extend(found),
                (Look::Tie, _) => ties.push(row.key().clone()),
                (Look::Known, _) => {}
            }
        }
        for keys in ties.chunks(MAX_IDS) {
            let looked_up = self.ends.clerk.users_by_id(keys).await;
            for row in looked_up.map_err(|error| error.to_string())? {
                // A tie again is Clerk's word against the ledger's, and Clerk's holds.
                match self.look(&row) {
                    (Look::Known, _) => {}
                    (_, found) => wanted.extend(found),
                }
            }
        }
        while !wanted.is_empty() {
            let batch: Vec<Wanted> = wanted.drain(..BATCH.min(wanted.len())).collect();
            if self.repair {
                self.put_right(batch).await?;
            } else {
                self.only_look(batch).await?;
            }
        }
        Ok(())
    }

    fn look(&mut self, row: &RawRecord) -> (Look, Option<Wanted>) {
        let record = row.name();
        let seen = self.ends.state.ledger_get(&record);
        if seen.is_some_and(|seen| seen.deleted || seen.version > row.version()) {
            return (Look::Known, None);
        }
        let mapped = match mapping::record(record.table, row.text(), &self.ends.rules) {
            Ok(mapped) => mapped,
            Err(error) => {
                let like = (row.version(), ContentHash([0; 16]));
                if !self.settled.knows(&record.key, like) {
                    self.failed(record.key.clone(), error.to_string());
                    self.settled.add(record.key, like);
                }
                return (Look::Known, None);
            }
        };
        let served = |upsert: &Upsert| self.ends.tables.contains(&upsert.table);
        let rows: Vec<Upsert> = mapped
            .into_iter()
            .map(|mapped| mapped.upsert)
            .filter(served)
            .collect();
        let hash = ContentHash::of_all(rows.iter().map(|row| &row.fields));
        let look = judge(seen, row.version(), hash);
        if look == Look::Known || self.settled.knows(&record.key, (row.version(), hash)) {
            return (Look::Known, None);
        }
        let wanted = Wanted {
            created_at: row.created_at(),
            version: row.version(),
            hash,
            rows,
            written_before: seen.is_some(),
            record,
        };
        (look, Some(wanted))
    }

    async fn put_right(&mut self, batch: Vec<Wanted>) -> Result<(), String> {
        // Asked before: what waits now may be done by then.
        let told = self.causes(&batch).await;
        let repair = |wanted: &Wanted| Repair {
            record: wanted.record.clone(),
            wish: Wish::Write {
                version: wanted.version,
                rows: wanted.rows.clone(),
            },
            why: Some(match wanted.written_before {
                true => DriftKind::Stale,
                false => DriftKind::Missing,
            }),
        };
        let repairs: Vec<Repair> = batch.iter().map(repair).collect();
        let answers = self.ends.lane.apply(repairs, Origin::Repair).await;
        let answers = answers.filter(|answers| answers.len() == batch.len());
        let answers = answers.ok_or("the daemon ends, or its applier has failed")?;
        let mut away = None;
        for ((wanted, cause), answer) in batch.into_iter().zip(told).zip(answers) {
            match answer {
                Repaired::Applied { outcome, .. } => self.applied(wanted, cause, outcome),
                Repaired::Overtaken => {}
                Repaired::Refused { code, reason } => {
                    self.failed(wanted.record.key.clone(), format!("{reason} ({code})"));
                    self.settled
                        .add(wanted.record.key, (wanted.version, wanted.hash));
                }
                Repaired::Away { reason } => away = Some(reason),
            }
        }
        away.map_or(Ok(()), Err)
    }

    fn applied(&mut self, wanted: Wanted, cause: Cause, outcome: Outcome) {
        let (kind, action) = match outcome {
            Outcome::Created => (DriftKind::Missing, Action::Created),
            Outcome::Linked => (DriftKind::Missing, Action::Updated),
            Outcome::Updated => (DriftKind::Stale, Action::Updated),
            Outcome::Tombstoned => {
                let reason = "it was deleted in Convex before; if it is to come back: `clerk-convex-sync sync \
                              user ID --revive`";
                let key = wanted.record.key.clone();
                self.found(key, DriftKind::Missing, Action::None, reason.into());
                return self
                    .settled
                    .add(wanted.record.key, (wanted.version, wanted.hash));
            }
            Outcome::Unchanged | Outcome::Stale | Outcome::Deleted | Outcome::Absent => {
                return self
                    .settled
                    .add(wanted.record.key, (wanted.version, wanted.hash));
            }
        };
        if kind == DriftKind::Missing {
            self.beliefs.created(wanted.created_at);
        }
        let removed = kind == DriftKind::Missing && wanted.written_before;
        let cause = if removed { Cause::Overwritten } else { cause };
        let reason = self.explain(&wanted, cause);
        self.figures.repaired += 1;
        self.found(wanted.record.key, kind, action, reason);
    }

    /// Compares versions with Convex instead of writing.
    async fn only_look(&mut self, batch: Vec<Wanted>) -> Result<(), String> {
        let keys: Vec<Key> = batch
            .iter()
            .map(|wanted| wanted.record.key.clone())
            .collect();
        let page = self.ends.reader.get(Table::Users, &keys).await;
        let page = page.map_err(|error| error.to_string())?;
        let mut newest: HashMap<&Key, Option<Version>> = HashMap::new();
        for row in &page.rows {
            let version = newest.entry(&row.key).or_default();
            *version = (*version).max(row.version);
        }
        let told = self.causes(&batch).await;
        for (wanted, cause) in batch.into_iter().zip(told) {
            let kind = match newest.get(&wanted.record.key) {
                None => DriftKind::Missing,
                Some(version) if *version < Some(wanted.version) => DriftKind::Stale,
                Some(_) => continue,
            };
            let reason = self.explain(&wanted, cause);
            let key = wanted.record.key.clone();
            self.found(key, kind, Action::None, reason);
            self.settled
                .add(wanted.record.key, (wanted.version, wanted.hash));
        }
        Ok(())
    }

    async fn causes(&self, batch: &[Wanted]) -> Vec<Cause> {
        let records: Vec<RecordKey> = batch.iter().map(|one| one.record.clone()).collect();
        causes(self.known, &records).await
    }

    /// The reason in a report; counts what a delivery should have told.
    fn explain(&mut self, wanted: &Wanted, cause: Cause) -> String {
        let age = (self.ends.now)().saturating_sub(wanted.version.ms());
        if !self.counting {
            return "the first sweep found it".into();
        }
        if age < GRACE_MS {
            self.young.push(wanted.version.ms());
            return "found before its delivery".into();
        }
        self.missed.push((cause, wanted.version.ms()));
        format!("{}; found {} after the change", cause.words(), late(age))
    }

    fn failed(&mut self, key: Key, reason: String) {
        self.figures.failed += 1;
        self.found(key, DriftKind::Stale, Action::Failed, reason);
    }

    fn found(&mut self, key: Key, kind: DriftKind, action: Action, reason: String) {
        *self.figures.of_mut(kind) += 1;
        if self.differences.len() < Report::MAX_DIFFERENCES {
            self.differences.push(Difference {
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

/// What the ledger says to a listed record that is neither deleted nor older than it.
fn judge(seen: Option<Seen>, version: Version, hash: ContentHash) -> Look {
    match seen {
        None => Look::Write,
        Some(seen) if seen.version < version => Look::Write,
        Some(seen) if seen.hash == hash => Look::Known,
        Some(_) => Look::Tie,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_ledger_knows_like_this_is_left_alone() {
        let (a, b) = (ContentHash([1; 16]), ContentHash([2; 16]));
        let seen = |version, hash| {
            Some(Seen {
                version: Version(version),
                deleted: false,
                hash,
            })
        };
        for (seen, hash, look) in [
            (None, a, Look::Write),
            (seen(10, a), a, Look::Known),
            (seen(10, a), b, Look::Tie),
            // Written with the same content: the row has to learn the version, or an older change of
            // other content could still come in between.
            (seen(9, a), a, Look::Write),
            (seen(9, a), b, Look::Write),
        ] {
            assert_eq!(judge(seen, Version(10), hash), look, "{seen:?}");
        }
    }

    #[test]
    fn what_is_settled_is_forgotten_once_it_is_not_listed_any_more() {
        let key = |text| Key::parse(text).unwrap();
        let like = (Version(1), ContentHash([0; 16]));
        let mut settled = Settled::default();
        settled.add(key("user_1"), like);
        settled.add(key("user_2"), like);
        let mut settled = settled.swept(true);
        assert!(settled.knows(&key("user_1"), like));
        assert!(
            !settled.knows(&key("user_1"), (Version(2), like.1)),
            "another version is new"
        );
        let mut settled = settled.swept(false);
        assert!(
            settled.knows(&key("user_2"), like),
            "a sweep that broke off forgets nothing"
        );
        let mut settled = settled.swept(true);
        assert!(!settled.knows(&key("user_1"), like));
        assert!(settled.knows(&key("user_2"), like));
    }
}
