//! What was written, for the operations log.
//!
//! Nothing here decides anything, and nothing waits for the disk: the log takes in what was done, or has whoever
//! writes wait for a moment while it is behind. An entry is handed in before the journal hears of the end.

use std::sync::PoisonError;

use super::{
    Shared,
    batch::Call,
    call::concerns,
    edits,
    load::{Load, Manner},
};
use crate::{
    convex::wire::Conflict,
    model::{Asked, Outcome},
    report::oplog::{
        OperationsLog,
        note::{self, Note, Place, Row},
    },
    store::journal::{Cause, RequestOrigin},
    twin::{self, Twin},
};

impl Shared {
    /// Lets all that is written be noted there; the first one stays.
    pub fn keep_log(&self, log: OperationsLog) {
        let _first = self.oplog.set(log);
    }

    /// Begins the entry of a call that was answered.
    pub(super) fn noting<L: Load>(&self, call: &Call<L>, manner: Manner<'_>) -> Option<note::Call> {
        self.oplog
            .get()
            .filter(|_| !twin::broken(Twin::UnnotedWrites))?;
        let records = call.items.len();
        Some(note::Call::begin(
            self.clock.now_ms(),
            manner.asked,
            records,
        ))
    }

    /// What an answer tells of fields that both sides had changed, each once.
    pub(super) fn contested<L: Load>(
        &self,
        call: &Call<L>,
        conflicts: Vec<Conflict>,
        manner: Manner<'_>,
    ) -> Vec<Note> {
        let mut judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        let news = conflicts.into_iter().filter(|one| judged.note(one));
        let note = |one: Conflict| {
            let load = call
                .items
                .iter()
                .find(|load| concerns(*load, one.key.as_str()));
            let asked = load.and_then(Load::asked).or(manner.asked);
            let asked = asked.cloned().unwrap_or(Asked::Daemon);
            edits::note_of(&one, self.clock.now_ms(), asked)
        };
        news.map(note).collect()
    }

    /// Hands the entry in, and what goes with it.
    pub(super) async fn noted(&self, call: Option<note::Call>, notes: Vec<Note>) {
        let Some(log) = self.oplog.get() else {
            return;
        };
        if let Some(call) = call {
            log.call(call).await;
        }
        for note in notes {
            log.note(note).await;
        }
    }

    /// A record that Convex refused.
    pub(super) fn note_refusal<L: Load>(&self, load: &L, code: &str, manner: Manner<'_>) {
        let asked = load.asked().or(manner.asked);
        self.note_now(|at_ms| {
            let asked = asked.cloned().unwrap_or(Asked::Daemon);
            let rows = &load.rows().changes;
            let deletes = rows.iter().all(|row| row.columns().is_empty());
            let what = if deletes { "delete" } else { "upsert" };
            Note::new(at_ms, Place::Convex, asked, what, "refused")
                .about(load.record().clone())
                .code(Some(code))
        });
    }

    /// Notes something without waiting, if there is a log.
    pub fn note_now(&self, note: impl FnOnce(i64) -> Note) {
        if let Some(log) = self.oplog.get() {
            log.note_now(note(self.clock.now_ms()));
        }
    }
}

/// A record of a call, with what became of it.
pub(super) fn row<L: Load>(load: &L, outcome: Outcome) -> Row {
    let rows = &load.rows().changes;
    let columns = |at: usize| {
        let row = rows.get(at)?;
        Some((row.table(), row.columns().clone()))
    };
    Row {
        record: load.record().clone(),
        asked: load.asked().cloned(),
        columns: [columns(0), columns(1)],
        version: load.seen().version,
        why: load.why(),
        outcome,
    }
}

/// On whose behalf an entry of the journal is applied.
pub(super) fn asked(cause: Cause) -> Asked {
    match cause {
        Cause::Delivery { id, .. } => Asked::Delivery { id },
        Cause::Request { origin } => Asked::Request {
            from: match origin {
                RequestOrigin::Operator => "operator",
                RequestOrigin::Repair => "mention",
                RequestOrigin::Malformed => "malformed",
            },
        },
    }
}
